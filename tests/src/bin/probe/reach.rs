//! Opening TCP connections and exchanging datagrams, with the outcome as a word.

use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use exeat_tests::probe::Reached;
use nix::errno::Errno;
use socket2::{Domain, Socket, Type};

/// The name of what went wrong, as an application would see it.
pub(crate) fn word(error: &std::io::Error) -> String {
    match (error.raw_os_error(), error.kind()) {
        (None, ErrorKind::TimedOut) | (_, ErrorKind::WouldBlock) => "TIMEOUT".to_owned(),
        (Some(number), _) => format!("{:?}", Errno::from_raw(number)),
        (None, kind) => format!("{kind:?}"),
    }
}

/// What a word says, the other way round: for what another process tried.
pub(crate) fn outcome(reached: &Reached) -> std::io::Result<()> {
    if reached.is_ok() {
        return Ok(());
    }
    let known = (1..Errno::EHWPOISON as i32)
        .find(|number| format!("{:?}", Errno::from_raw(*number)) == reached.result);
    Err(known.map_or_else(|| ErrorKind::TimedOut.into(), std::io::Error::from_raw_os_error))
}

/// Connects and asks for a page, so that the connection is known to work in both directions.
pub(crate) fn connect(destination: SocketAddr, device: Option<&str>, timeout: Duration) -> Reached {
    let start = Instant::now();
    let mut peer = None;
    let outcome = open(destination, device, timeout).and_then(|mut stream| {
        peer = stream.peer_addr().ok();
        stream.set_read_timeout(Some(timeout))?;
        stream.write_all(b"GET / HTTP/1.0\r\n\r\n")?;
        let mut byte = [0];
        // A TLS server answers an HTTP request with an alert, which is an answer as well.
        stream.read_exact(&mut byte)
    });
    Reached { peer, ..reached(start, outcome) }
}

fn open(
    destination: SocketAddr,
    device: Option<&str>,
    timeout: Duration,
) -> std::io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(destination), Type::STREAM, None)?;
    socket.bind_device(device.map(str::as_bytes))?;
    socket.connect_timeout(&destination.into(), timeout)?;
    Ok(socket.into())
}

/// Sends a datagram and waits for it to come back.
pub(crate) fn udp(
    destination: SocketAddr,
    connected: bool,
    then: Option<SocketAddr>,
    timeout: Duration,
) -> Reached {
    let start = Instant::now();
    let (outcome, peer) = match exchange(destination, connected, then, timeout) {
        Ok(peer) => (Ok(()), Some(peer)),
        Err(error) => (Err(error), None),
    };
    Reached { peer, ..reached(start, outcome) }
}

/// Returns who is at the other end. Whoever asks in both ways is told the same.
fn exchange(
    destination: SocketAddr,
    connected: bool,
    then: Option<SocketAddr>,
    timeout: Duration,
) -> std::io::Result<SocketAddr> {
    let socket = UdpSocket::bind((unspecified(destination), 0))?;
    socket.set_read_timeout(Some(timeout))?;
    if connected {
        socket.connect(destination)?;
        socket.send(b"exeat")?;
    } else {
        socket.send_to(b"exeat", destination)?;
    }
    let mut datagram = [0; 64];
    let (_, sender) = socket.recv_from(&mut datagram)?;
    if connected && socket.peer_addr()? != sender {
        return Err(std::io::Error::from_raw_os_error(Errno::EXDEV as i32));
    }
    let Some(then) = then else { return Ok(sender) };
    socket.send_to(b"exeat", then)?;
    socket.recv_from(&mut datagram).map(|(_, sender)| sender)
}

pub(crate) fn unspecified(like: SocketAddr) -> IpAddr {
    match like {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

pub(crate) fn micros(start: Instant) -> u64 {
    u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX)
}

pub(crate) fn reached(start: Instant, outcome: std::io::Result<()>) -> Reached {
    let result = outcome.map_or_else(|error| word(&error), |()| "OK".to_owned());
    Reached { result, micros: micros(start), peer: None }
}
