//! The same calls through `io_uring`, made by the kernel on the caller's behalf.

use std::io::{Error, ErrorKind, Result};
use std::os::fd::AsRawFd as _;

use io_uring::{IoUring, opcode, squeue::Entry, types};
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::{Attempt, stream};

/// How long a thread of the kernel looks for work before it sleeps.
const POLL_MS: u32 = 100;

/// `poll`: a thread of the kernel takes the calls from the ring.
pub(super) fn connect(attempt: &Attempt, poll: bool) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    let to = SockAddr::from(attempt.to);
    let call = opcode::Connect::new(types::Fd(socket.as_raw_fd()), to.as_ptr().cast(), to.len());
    call_and_wait(attempt, &call.build(), poll)?;
    stream::page(&socket)
}

/// A datagram whose destination stands in the call.
pub(super) fn send(attempt: &Attempt) -> Result<()> {
    let socket = Socket::new(Domain::for_address(attempt.to), Type::DGRAM, Some(Protocol::UDP))?;
    socket.set_read_timeout(Some(attempt.wait()))?;
    let to = SockAddr::from(attempt.to);
    let call = opcode::Send::new(types::Fd(socket.as_raw_fd()), b"exeat".as_ptr(), 5)
        .dest_addr(to.as_ptr().cast())
        .dest_addr_len(to.len());
    call_and_wait(attempt, &call.build(), false)?;
    stream::answer(&socket)
}

fn call_and_wait(attempt: &Attempt, call: &Entry, poll: bool) -> Result<()> {
    let mut builder = IoUring::builder();
    if poll {
        builder.setup_sqpoll(POLL_MS);
    }
    let mut ring: IoUring = builder.build(8)?;
    // SAFETY: what the entry points to lives in the callers, who wait for this function; and the
    // ring is dropped here, which ends a call that is still under way.
    unsafe { ring.submission().push(call) }.map_err(Error::other)?;
    let wait = types::Timespec::from(attempt.wait());
    let until = types::SubmitArgs::new().timespec(&wait);
    ring.submitter().submit_with_args(1, &until).map_err(|error| {
        let late = error.raw_os_error() == Some(nix::libc::ETIME);
        if late { ErrorKind::TimedOut.into() } else { error }
    })?;
    let done = ring.completion().next().ok_or(ErrorKind::TimedOut)?;
    if done.result() < 0 { Err(Error::from_raw_os_error(-done.result())) } else { Ok(()) }
}
