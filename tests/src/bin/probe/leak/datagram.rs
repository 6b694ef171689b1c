//! Datagrams over UDP and UDP-Lite. Each is sent to an echo server and waits to come back.

use std::io::{Error, IoSlice, Result};
use std::net::SocketAddr;
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{
    ControlMessage, MsgFlags, MultiHeaders, SockaddrStorage, sendmmsg as send_many,
    sendmsg as send_one,
};
use socket2::{Domain, Protocol, Socket, Type};

use super::{Attempt, stream};

const TEXT: &[u8] = b"exeat";
/// UDP-Lite (RFC 3828).
const LITE: i32 = 136;

pub(super) fn socket(to: SocketAddr, protocol: Protocol, attempt: &Attempt) -> Result<Socket> {
    let socket = Socket::new(Domain::for_address(to), Type::DGRAM, Some(protocol))?;
    socket.set_read_timeout(Some(attempt.wait()))?;
    socket.set_broadcast(true)?;
    Ok(socket)
}

/// A datagram that nobody answers.
pub(super) fn send(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::UDP, attempt)?;
    socket.send_to(TEXT, &attempt.to.into()).map(|_| ())
}

pub(super) fn sendto(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::UDP, attempt)?;
    socket.send_to(TEXT, &attempt.to.into())?;
    stream::answer(&socket)
}

pub(super) fn sendmsg(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::UDP, attempt)?;
    let to = SockaddrStorage::from(attempt.to);
    send_one(socket.as_raw_fd(), &[IoSlice::new(TEXT)], &[], MsgFlags::empty(), Some(&to))?;
    stream::answer(&socket)
}

/// Two datagrams in one call, the first to where it is allowed.
pub(super) fn sendmmsg(attempt: &Attempt) -> Result<()> {
    let via = attempt.via()?;
    let socket = socket(attempt.to, Protocol::UDP, attempt)?;
    let texts = [[IoSlice::new(TEXT)], [IoSlice::new(TEXT)]];
    let to = [via, attempt.to].map(|to| Some(SockaddrStorage::from(to)));
    let mut headers = MultiHeaders::preallocate(texts.len(), None);
    let none: [ControlMessage<'_>; 0] = [];
    let sent =
        send_many(socket.as_raw_fd(), &mut headers, &texts, to, none, MsgFlags::empty())?.count();
    if sent < texts.len() {
        // The call tells of the first error only if nothing was sent before it.
        socket.send_to(TEXT, &attempt.to.into())?;
    }
    stream::answer(&socket)?;
    stream::answer(&socket)
}

pub(super) fn connected(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::UDP, attempt)?;
    socket.connect(&attempt.to.into())?;
    socket.send(TEXT)?;
    stream::answer(&socket)
}

/// Connected to where it is allowed, and then each datagram names another destination.
pub(super) fn elsewhere(attempt: &Attempt) -> Result<()> {
    let socket = first_via(attempt)?;
    // A connected socket takes answers from its peer alone: there is nothing to wait for.
    socket.send_to(TEXT, &attempt.to.into()).map(|_| ())
}

/// Connected to where it is allowed, taken back (`AF_UNSPEC`), connected elsewhere.
pub(super) fn again(attempt: &Attempt) -> Result<()> {
    let socket = first_via(attempt)?;
    rustix::net::connect_unspec(&socket)?;
    socket.connect(&attempt.to.into())?;
    socket.send(TEXT)?;
    stream::answer(&socket)
}

fn first_via(attempt: &Attempt) -> Result<Socket> {
    let via = attempt.via()?;
    let socket = socket(via, Protocol::UDP, attempt)?;
    let failed = |error| Error::other(format!("to {via}: {error}"));
    socket.connect(&via.into()).map_err(failed)?;
    socket.send(TEXT).map_err(failed)?;
    stream::answer(&socket).map_err(|error| Error::other(format!("from {via}: {error}")))?;
    Ok(socket)
}

pub(super) fn lite(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::from(LITE), attempt)?;
    socket.send_to(TEXT, &attempt.to.into()).map(|_| ())
}

pub(super) fn lite_connected(attempt: &Attempt) -> Result<()> {
    let socket = socket(attempt.to, Protocol::from(LITE), attempt)?;
    socket.connect(&attempt.to.into())?;
    socket.send(TEXT).map(|_| ())
}
