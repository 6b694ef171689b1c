//! Ping sockets: echo requests without privileges (`net.ipv4.ping_group_range`).

use std::io::Result;

use socket2::{Domain, Protocol, Socket, Type};

use super::{Attempt, stream};

/// `connect()` passes the socket layer's hooks since Linux 6.0.
pub(super) fn connect(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt)?;
    socket.connect(&attempt.to.into())?;
    socket.send(&request(attempt))?;
    stream::answer(&socket)
}

pub(super) fn sendto(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt)?;
    socket.send_to(&request(attempt), &attempt.to.into())?;
    stream::answer(&socket)
}

fn socket(attempt: &Attempt) -> Result<Socket> {
    let protocol = if attempt.to.is_ipv4() { Protocol::ICMPV4 } else { Protocol::ICMPV6 };
    let socket = Socket::new(Domain::for_address(attempt.to), Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(attempt.wait()))?;
    Ok(socket)
}

/// The kernel fills identifier and checksum in.
fn request(attempt: &Attempt) -> [u8; 13] {
    let kind = if attempt.to.is_ipv4() { 8 } else { 128 };
    [kind, 0, 0, 0, 0, 0, 0, 1, b'e', b'x', b'e', b'a', b't']
}
