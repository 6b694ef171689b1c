//! What the ways over TCP share: a socket, and a page asked for, so that a connection is known to
//! work in both directions.

use std::io::{Read, Result, Write};
use std::net::SocketAddr;
use std::time::Duration;

use socket2::{Domain, Protocol, Socket, Type};

pub(super) const REQUEST: &[u8] = b"GET / HTTP/1.0\r\n\r\n";

/// A socket whose blocking calls give up after `wait`.
pub(super) fn socket(to: SocketAddr, protocol: Protocol, wait: Duration) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::STREAM, Some(protocol))?;
    socket.set_write_timeout(Some(wait))?;
    socket.set_read_timeout(Some(wait))?;
    Ok(socket)
}

pub(super) fn page(mut socket: &Socket) -> Result<()> {
    socket.write_all(REQUEST)?;
    answer(socket)
}

/// A byte is an answer: servers of TLS alert, those of HTTP send a page.
pub(super) fn answer(mut socket: &Socket) -> Result<()> {
    socket.read_exact(&mut [0])
}
