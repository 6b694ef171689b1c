//! Floods of a hostile pod, each a bounded number of datagrams, and what a neighbour feels of it.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use anyhow::{Context, Result};
use exeat_tests::probe::{Flooded, Pace};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

use crate::dns::{Question, resolve};
use crate::reach::unspecified;

/// Queries that one socket sends; then the next local port takes over.
const QUERIES_PER_SOCKET: u32 = 1000;

/// Asks for `n<i>.SUFFIX` without ever reading an answer.
pub(crate) fn queries(server: SocketAddr, suffix: &str, count: u32) -> Result<Flooded> {
    let mut flooded = Flooded::default();
    let mut socket = None;
    for number in 0..count {
        if number % QUERIES_PER_SOCKET == 0 {
            let fresh = UdpSocket::bind((unspecified(server), 0)).context("bind")?;
            fresh.connect(server).context("connect")?;
            socket = Some(fresh);
        }
        let mut message = Message::query();
        message.metadata.id = u16::try_from(number % QUERIES_PER_SOCKET)?;
        message.metadata.recursion_desired = true;
        let name = Name::from_ascii(format!("n{number}.{suffix}."))?;
        message.add_query(Query::query(name, RecordType::A));
        let bytes = message.to_vec().context("write the question")?;
        flooded.note(socket.as_ref().is_some_and(|it| it.send(&bytes).is_ok()));
    }
    Ok(flooded)
}

/// Sends one datagram to each of `count` addresses from `first` on: as many flows.
pub(crate) fn flows(first: Ipv4Addr, port: u16, count: u32) -> Result<Flooded> {
    let mut flooded = Flooded::default();
    let socket = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).context("bind")?;
    for number in 0..count {
        let to = Ipv4Addr::from(u32::from(first) + number);
        flooded.note(socket.send_to(b"flow", (to, port)).is_ok());
    }
    Ok(flooded)
}

/// Sends `count` datagrams from one local port.
pub(crate) fn datagrams(to: SocketAddr, count: u32) -> Result<Flooded> {
    let mut flooded = Flooded::default();
    let socket = UdpSocket::bind((unspecified(to), 0)).context("bind")?;
    for _ in 0..count {
        flooded.note(socket.send_to(b"no way out", to).is_ok());
    }
    Ok(flooded)
}

/// Resolves the same name `count` times and tells how long that took.
pub(crate) fn pace(server: SocketAddr, name: &str, count: usize) -> Result<Pace> {
    let mut micros = Vec::with_capacity(count);
    let mut failed = 0;
    for _ in 0..count {
        let question = Question {
            name,
            kind: RecordType::A,
            server,
            id: None,
            local_port: 0,
            tcp: false,
            timeout: Duration::from_secs(5),
        };
        let resolved = resolve(&question)?;
        if resolved.addresses.is_empty() {
            failed += 1;
        }
        micros.push(resolved.micros);
    }
    micros.sort_unstable();
    let at = |share: usize| micros.get(count * share / 100).copied().unwrap_or_default();
    Ok(Pace { count, failed, p50_micros: at(50), p99_micros: at(99) })
}
