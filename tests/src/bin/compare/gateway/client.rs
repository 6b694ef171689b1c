//! The half of `gateway` in a pod: asks for server names, and takes the times of what comes back.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use exeat_tests::gateway::client_hello;
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::{ANSWER_BYTES, STREAM_BYTES};

/// For a connection that nothing answers.
const PATIENCE: Duration = Duration::from_secs(5);
const BUFFER_BYTES: usize = 256 * 1024;

/// Where to connect, and the server name to ask for.
#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Way {
    pub(crate) to: SocketAddr,
    pub(crate) name: String,
}

#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// Connections a second.
    Short { to: Way, count: u32, parallel: u32 },
    /// Microseconds from connect to the first byte, above which is one in a hundred.
    Wait { to: Way, count: u32 },
    /// Megabytes a second.
    Stream { to: Way },
    /// Tries once, and gives the word for how it went; `answered` if it went well.
    Try { to: Way },
}

pub(crate) fn answer(order: &Order) -> Result<Value> {
    Ok(match order {
        Order::Short { to, count, parallel } => json!(short(to, *count, *parallel)?),
        Order::Wait { to, count } => json!(wait(to, *count)?),
        Order::Stream { to } => json!(stream(to)?),
        Order::Try { to } => json!(attempt(to)?),
    })
}

fn short(way: &Way, count: u32, parallel: u32) -> Result<f64> {
    let hello = client_hello(&way.name)?;
    let began = Instant::now();
    thread::scope(|scope| {
        let ask_often = || (0..count / parallel).try_for_each(|_| ask(way.to, &hello).map(drop));
        let threads: Vec<_> = (0..parallel).map(|_| scope.spawn(ask_often)).collect();
        threads.into_iter().try_for_each(|it| match it.join() {
            Ok(result) => result,
            Err(panic) => std::panic::resume_unwind(panic),
        })
    })?;
    Ok(f64::from(count / parallel * parallel) / began.elapsed().as_secs_f64())
}

fn wait(way: &Way, count: u32) -> Result<f64> {
    let hello = client_hello(&way.name)?;
    let waits = (0..count).map(|_| ask(way.to, &hello)).collect::<Result<Vec<_>>>();
    let mut waits = waits?;
    waits.sort_unstable();
    let slowest = waits.get(waits.len() * 99 / 100).context("nothing was measured")?;
    Ok(slowest.as_secs_f64() * 1e6)
}

/// One connection to its end; the time to its first byte.
fn ask(to: SocketAddr, hello: &[u8]) -> Result<Duration> {
    let began = Instant::now();
    let mut stream = TcpStream::connect(to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(hello)?;
    let mut answer = [0; ANSWER_BYTES];
    let mut length = stream.read(&mut answer)?;
    let waited = began.elapsed();
    while let rest @ [_, ..] = answer.get_mut(length..).unwrap_or_default() {
        let read = stream.read(rest)?;
        ensure!(read > 0, "the connection ended after {length} bytes");
        length += read;
    }
    ensure!(stream.read(&mut [0])? == 0, "the server said more than was asked for");
    Ok(waited)
}

#[expect(clippy::cast_precision_loss, reason = "the length of a stream fits the mantissa")]
fn stream(way: &Way) -> Result<f64> {
    let hello = client_hello(&way.name)?;
    let mut buffer = vec![0; BUFFER_BYTES];
    let mut stream = TcpStream::connect(way.to)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&hello)?;
    let began = Instant::now();
    let mut left = STREAM_BYTES;
    while left > 0 {
        let read = stream.read(&mut buffer)?;
        ensure!(read > 0, "the stream ended {left} bytes too soon");
        left = left.saturating_sub(read);
    }
    Ok(STREAM_BYTES as f64 / 1e6 / began.elapsed().as_secs_f64())
}

/// Whoever refuses may do so by an alert, a reset, or by closing.
fn attempt(way: &Way) -> Result<String> {
    let hello = client_hello(&way.name)?;
    let tried = || -> std::io::Result<bool> {
        let mut stream = TcpStream::connect_timeout(&way.to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&hello)?;
        let mut answer = Vec::new();
        stream.read_to_end(&mut answer)?;
        Ok(answer.len() == ANSWER_BYTES)
    };
    Ok(match tried() {
        Ok(true) => "answered".to_owned(),
        Ok(false) => "refused".to_owned(),
        Err(error) if error.kind() == ErrorKind::ConnectionReset => "refused".to_owned(),
        Err(error) => error.to_string(),
    })
}
