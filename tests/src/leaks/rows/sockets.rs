//! Sockets and processes that are not where they were when the socket was made.

use crate::leaks::row::{Port, Row, Start, Toward};

pub(super) fn rows() -> [Row; 12] {
    const JOINING: &[Start] = &[Start::Joining];
    const MOVING: &[Start] = &[Start::Moving];
    const NESTED: &[Start] = &[Start::Nested];
    const THREADED: &[Start] = &[Start::Threaded];
    [
        Row::call("TCP socket from outside, handed in (SCM_RIGHTS)", "handed-stream", Port::Http)
            .starts(JOINING)
            .on_the_wire(),
        Row::call("UDP socket from outside, handed in (SCM_RIGHTS)", "handed-datagram", Port::Echo)
            .starts(JOINING)
            .on_the_wire(),
        Row::call("process joins after it made its TCP socket", "late-stream", Port::Http)
            .starts(JOINING)
            .on_the_wire(),
        Row::call("process joins after it made its UDP socket", "late-datagram", Port::Echo)
            .starts(JOINING)
            .on_the_wire(),
        Row::call("process moves to a pod that may, TCP", "late-stream", Port::Http)
            .starts(MOVING)
            .toward(Toward::OfLedger)
            .on_the_wire(),
        Row::call("process moves to a pod that may, UDP", "late-datagram", Port::Echo)
            .starts(MOVING)
            .toward(Toward::OfLedger)
            .on_the_wire(),
        Row::call("process moves from a pod that may, TCP", "late-stream", Port::Http)
            .starts(MOVING)
            .toward(Toward::OfWeb),
        Row::call("process moves from a pod that may, UDP", "late-datagram", Port::Echo)
            .starts(MOVING)
            .toward(Toward::OfWeb),
        Row::call("nested cgroups, TCP", "connect", Port::Http).starts(NESTED),
        Row::call("nested cgroups, UDP", "sendto", Port::Echo).starts(NESTED),
        Row::call("thread in a threaded cgroup, TCP", "thread-stream", Port::Http).starts(THREADED),
        Row::call("thread in a threaded cgroup, UDP", "thread-datagram", Port::Echo)
            .starts(THREADED),
    ]
}
