//! DNS answers that no resolver gave, from a source address of the caller's choice.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use anyhow::{Context, Result};
use hickory_proto::op::{Message, OpCode, Query};
use hickory_proto::rr::rdata::{A, AAAA};
use hickory_proto::rr::{Name, RData, Record, RecordType};

/// Sends the forged answer `times` times. The source address must be bindable here: a forger
/// gives it to its loopback interface first.
pub(crate) fn send(
    from: SocketAddr,
    to: SocketAddr,
    id: u16,
    name: &str,
    answer: IpAddr,
    times: u32,
) -> Result<()> {
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))?;
    let (kind, data) = match answer {
        IpAddr::V4(address) => (RecordType::A, RData::A(A(address))),
        IpAddr::V6(address) => (RecordType::AAAA, RData::AAAA(AAAA(address))),
    };
    let mut message = Message::response(id, OpCode::Query);
    message.add_query(Query::query(name.clone(), kind));
    message.add_answer(Record::from_rdata(name, 300, data));
    let bytes = message.to_vec().context("write the answer")?;
    let socket = UdpSocket::bind(from).with_context(|| format!("bind {from}"))?;
    for _ in 0..times {
        // A refusal (EPERM) is what the test is after: it is seen at the receiver.
        if let Err(error) = socket.send_to(&bytes, to) {
            eprintln!("send to {to}: {error}");
        }
    }
    Ok(())
}
