//! Ordinary sockets, and every call that names a destination.

use crate::leaks::row::{ALL, Port, Row, Start, V4};

const NO_WORKER: &str = "a worker of the kernel opens later paths and belongs to no workload, so the \
                         socket layer refuses them; the connection keeps its first path";

pub(super) fn rows() -> [Row; 22] {
    [
        Row::call("connect, blocking", "connect", Port::Http).versions(ALL),
        Row::call("connect, non-blocking", "connect-nonblocking", Port::Http),
        Row::call("connect, io_uring", "connect-uring", Port::Http),
        Row::call("connect, io_uring with a polling thread", "connect-uring-poll", Port::Http),
        Row::call("connect, MPTCP", "connect-mptcp", Port::Mptcp),
        later_path().starts(&[Start::Pod]).no_twin(NO_WORKER),
        later_path().starts(&[Start::Outside]),
        Row::call(
            "connect, taken back (AF_UNSPEC), connect elsewhere",
            "connect-unspec",
            Port::Http,
        )
        .versions(ALL),
        Row::call("TCP Fast Open, sendto", "fastopen-send", Port::Http),
        Row::call("TCP Fast Open, socket option", "fastopen-option", Port::Http),
        Row::call(
            "connect to an allowed host over a source route",
            "connect-source-route",
            Port::Http,
        )
        .versions(V4)
        .on_the_wire()
        .no_twin("a source route is refused, wherever it leads"),
        Row::call("UDP, sendto", "sendto", Port::Echo).versions(ALL),
        Row::call("UDP, sendmsg", "sendmsg", Port::Echo).versions(ALL),
        Row::call("UDP, sendmmsg, first one allowed", "sendmmsg", Port::Echo),
        Row::call("UDP, send by io_uring", "send-uring", Port::Echo),
        Row::call("UDP, connected", "connected-send", Port::Echo).versions(ALL),
        Row::call("UDP, connected, sendto elsewhere", "connected-sendto", Port::Echo).versions(ALL),
        Row::call("UDP, taken back (AF_UNSPEC), connect elsewhere", "unspec-datagram", Port::Echo),
        Row::call("UDP-Lite, connected", "udplite-connect", Port::Echo)
            .on_the_wire()
            .no_twin("an entry cannot declare UDP-Lite"),
        Row::call("UDP-Lite, sendto", "udplite-sendto", Port::Echo)
            .no_twin("an entry cannot declare UDP-Lite"),
        Row::call("ping socket, connect", "ping-connect", Port::Echo),
        Row::call("ping socket, sendto", "ping-sendto", Port::Echo).on_the_wire(),
    ]
}

fn later_path() -> Row {
    Row::call("MPTCP, a later path to an address the server names", "join-mptcp", Port::Mptcp)
}
