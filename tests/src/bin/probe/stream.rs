//! DNS questions over one TCP connection, written in pieces of the caller's choice.

use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use exeat_tests::probe::{Resolved, Stream};
use hickory_proto::op::{Message, Query};
use hickory_proto::rr::{Name, RecordType};

use crate::dns::read_answer;
use crate::reach::{micros, word};

pub(crate) struct Questions<'a> {
    /// Each `NAME/TYPE`.
    pub(crate) list: &'a [String],
    pub(crate) server: SocketAddr,
    /// After how many bytes the writer takes a breath.
    pub(crate) cuts: &'a [usize],
    pub(crate) no_delay: bool,
    pub(crate) timeout: Duration,
}

/// Long enough that the kernel sends what was written, if it wants to.
const BREATH: Duration = Duration::from_millis(20);

pub(crate) fn ask(questions: &Questions<'_>) -> Result<Stream> {
    let mut bytes = Vec::new();
    for (id, question) in (1..).zip(questions.list) {
        let message = message(id, question)?;
        bytes.extend(u16::try_from(message.len()).context("a short question")?.to_be_bytes());
        bytes.extend(message);
    }
    let start = Instant::now();
    let mut answers = Vec::new();
    let end = exchange(questions, &bytes, start, &mut answers);
    let end = end.err().map_or_else(|| "OK".to_owned(), |error| word(&error));
    let answers: Result<Vec<Resolved>> = answers.into_iter().collect();
    Ok(Stream { answers: answers?, end, micros: micros(start) })
}

fn message(id: u16, question: &str) -> Result<Vec<u8>> {
    let (name, kind) = question.split_once('/').context("NAME/TYPE")?;
    let mut message = Message::query();
    message.metadata.id = id;
    message.metadata.recursion_desired = true;
    let name = Name::from_ascii(format!("{}.", name.trim_end_matches('.')))?;
    message.add_query(Query::query(name, kind.parse::<RecordType>()?));
    message.to_vec().context("write the question")
}

/// Writes all, and reads as many answers as there are questions.
fn exchange(
    questions: &Questions<'_>,
    bytes: &[u8],
    start: Instant,
    answers: &mut Vec<Result<Resolved>>,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect_timeout(&questions.server, questions.timeout)?;
    stream.set_read_timeout(Some(questions.timeout))?;
    stream.set_nodelay(questions.no_delay)?;
    let mut from = 0;
    for cut in questions.cuts.iter().copied().chain([bytes.len()]) {
        let piece = bytes.get(from..cut).ok_or(ErrorKind::InvalidInput)?;
        stream.write_all(piece)?;
        std::thread::sleep(BREATH);
        from = cut;
    }
    for _ in questions.list {
        let mut length = [0; 2];
        stream.read_exact(&mut length)?;
        let mut answer = vec![0; u16::from_be_bytes(length).into()];
        stream.read_exact(&mut answer)?;
        answers.push(read_answer(&answer, start));
    }
    Ok(())
}
