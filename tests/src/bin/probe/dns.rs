//! One DNS question over UDP or TCP, with nothing between it and the wire: no cache, no retry.

use std::io::{Read, Write};
use std::net::{IpAddr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exeat_tests::probe::Resolved;
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RData, RecordType};

use crate::reach::{micros, unspecified, word};

pub(crate) struct Question<'a> {
    pub(crate) name: &'a str,
    pub(crate) kind: RecordType,
    pub(crate) server: SocketAddr,
    pub(crate) id: Option<u16>,
    pub(crate) local_port: u16,
    pub(crate) tcp: bool,
    pub(crate) timeout: Duration,
}

pub(crate) fn resolve(question: &Question<'_>) -> Result<Resolved> {
    let mut message = Message::query();
    if let Some(id) = question.id {
        message.metadata.id = id;
    }
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{}.", question.name.trim_end_matches('.')))
        .with_context(|| format!("name {}", question.name))?;
    message.add_query(Query::query(name, question.kind));
    let bytes = message.to_vec().context("write the question")?;
    let start = Instant::now();
    let answer = if question.tcp {
        over_tcp(question, &bytes)
    } else {
        over_udp(question, message.metadata.id, &bytes)
    };
    match answer {
        Ok(answer) => read_answer(&answer, start),
        Err(error) => {
            let micros = micros(start);
            Ok(Resolved { rcode: word(&error), addresses: Vec::new(), micros })
        }
    }
}

/// What an answer says that has just come, to a question that was asked at `start`.
pub(crate) fn read_answer(bytes: &[u8], start: Instant) -> Result<Resolved> {
    let micros = micros(start);
    let answer = Message::from_vec(bytes).context("read the answer")?;
    Ok(Resolved {
        rcode: format!("{:?}", answer.metadata.response_code),
        addresses: answer.answers.iter().filter_map(|it| address(&it.data)).collect(),
        micros,
    })
}

fn over_udp(question: &Question<'_>, id: u16, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let socket = UdpSocket::bind((unspecified(question.server), question.local_port))?;
    socket.connect(question.server)?;
    socket.set_read_timeout(Some(question.timeout))?;
    socket.send(bytes)?;
    let mut answer = vec![0; 4096];
    loop {
        let length = socket.recv(&mut answer)?;
        // An answer to another question is not for us, as any resolver holds it.
        if answer.get(..2) == Some(&id.to_be_bytes()) {
            answer.truncate(length);
            return Ok(answer);
        }
    }
}

fn over_tcp(question: &Question<'_>, bytes: &[u8]) -> std::io::Result<Vec<u8>> {
    let mut stream = TcpStream::connect_timeout(&question.server, question.timeout)?;
    stream.set_read_timeout(Some(question.timeout))?;
    let length = u16::try_from(bytes.len()).map_err(std::io::Error::other)?;
    // One write: RFC 7766 section 8 asks for length and message in one segment.
    stream.write_all(&[&length.to_be_bytes(), bytes].concat())?;
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut answer = vec![0; u16::from_be_bytes(length).into()];
    stream.read_exact(&mut answer)?;
    Ok(answer)
}

fn address(data: &RData) -> Option<IpAddr> {
    if let RData::A(address) = data {
        Some(address.0.into())
    } else if let RData::AAAA(address) = data {
        Some(address.0.into())
    } else {
        None
    }
}
