//! Raw sockets: any IP protocol, and whole IP packets with their headers.

use std::io::{Error, Result};
use std::net::SocketAddr;

use socket2::{Domain, Protocol, Socket, Type};

use super::Attempt;

/// The kernel writes the IP header, the caller what follows.
pub(super) fn sendto(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt)?;
    each(attempt, |bytes| socket.send_to(bytes, &portless(attempt.to).into()))
}

pub(super) fn connect(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt)?;
    socket.connect(&portless(attempt.to).into())?;
    each(attempt, |bytes| socket.send(bytes))
}

/// The caller writes the IP header as well (`IP_HDRINCL`, `IPV6_HDRINCL`).
pub(super) fn header(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt)?;
    if attempt.to.is_ipv4() {
        socket.set_header_included_v4(true)?;
    } else {
        socket.set_header_included_v6(true)?;
    }
    each(attempt, |bytes| socket.send_to(bytes, &portless(attempt.to).into()))
}

fn socket(attempt: &Attempt) -> Result<Socket> {
    let protocol = Protocol::from(i32::from(attempt.protocol));
    Socket::new(Domain::for_address(attempt.to), Type::RAW, Some(protocol))
}

fn each(attempt: &Attempt, mut send: impl FnMut(&[u8]) -> Result<usize>) -> Result<()> {
    if attempt.bytes.is_empty() {
        return Err(Error::other("this way takes --bytes"));
    }
    attempt.bytes.iter().try_for_each(|bytes| send(&bytes.0).map(|_| ()))
}

/// In IPv6 the port would be taken for the protocol (ipv6(7)).
fn portless(to: SocketAddr) -> SocketAddr {
    SocketAddr::new(to.ip(), 0)
}
