//! `connect()` in its forms.

use std::io::{Error, Result};
use std::net::{IpAddr, SocketAddr};

use socket2::Protocol;

use super::{Attempt, option, stream};

/// The call waits for the handshake.
pub(super) fn blocking(attempt: &Attempt) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    socket.connect(&attempt.to.into())?;
    stream::page(&socket)
}

/// The call returns at once, and the caller asks later.
pub(super) fn nonblocking(attempt: &Attempt) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    socket.connect_timeout(&attempt.to.into(), attempt.wait())?;
    stream::page(&socket)
}

/// Connects where that is allowed, takes the connection back (`AF_UNSPEC`), and connects elsewhere.
pub(super) fn again(attempt: &Attempt) -> Result<()> {
    let via = attempt.via()?;
    let socket = stream::socket(via, Protocol::TCP, attempt.wait())?;
    socket.connect(&via.into()).map_err(|error| Error::other(format!("to {via}: {error}")))?;
    rustix::net::connect_unspec(&socket)?;
    socket.connect(&attempt.to.into())?;
    stream::page(&socket)
}

/// Connects to `via` over `to`: the kernel then sends to the first hop of the route, and writes the
/// destination of the call behind it (RFC 791 §3.1).
pub(super) fn source_route(attempt: &Attempt) -> Result<()> {
    const LOOSE: u8 = 131;
    let via = attempt.via()?;
    let SocketAddr::V4(hop) = attempt.to else {
        return Err(Error::other("only IPv4 has source routes"));
    };
    let IpAddr::V4(end) = via.ip() else {
        return Err(Error::other("only IPv4 has source routes"));
    };
    let hops = hop.ip().octets().into_iter().chain(end.octets());
    let route: Vec<u8> = [LOOSE, 11, 4].into_iter().chain(hops).collect();
    let socket = stream::socket(via, Protocol::TCP, attempt.wait())?;
    option::set_ip_options(&socket, &route)?;
    socket.connect(&via.into())?;
    stream::page(&socket)
}
