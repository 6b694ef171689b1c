//! TCP Fast Open: data in the segment that opens the connection (RFC 7413).

use std::io::{Result, Write as _};

use nix::libc::MSG_FASTOPEN;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::Protocol;

use super::{Attempt, stream};

/// There is no `connect()`: the first `sendto()` opens the connection.
pub(super) fn sendto(attempt: &Attempt) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    socket.send_to_with_flags(stream::REQUEST, &attempt.to.into(), MSG_FASTOPEN)?;
    stream::answer(&socket)
}

/// `connect()` sends nothing, the first `write()` does.
pub(super) fn option(attempt: &Attempt) -> Result<()> {
    let mut socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    setsockopt(&socket, sockopt::TcpFastOpenConnect, &true)?;
    socket.connect(&attempt.to.into())?;
    socket.write_all(stream::REQUEST)?;
    stream::answer(&socket)
}
