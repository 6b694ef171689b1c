//! The half of `connect` in a pod: makes connections and round trips, and takes their times.

use std::io::{ErrorKind, Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::server::{LAST, MESSAGE_BYTES, MORE};

/// For a connection that nothing answers.
const PATIENCE: Duration = Duration::from_secs(2);
/// Operations before those that count, as a part of them.
const WARM_UP: u32 = 10;

#[derive(Serialize, Deserialize)]
pub(crate) enum Order {
    /// The median of so many connections with a request, an answer and the end, in nanoseconds.
    Connect { to: SocketAddr, count: u32 },
    /// The same of round trips on one connection.
    RoundTrip { to: SocketAddr, count: u32 },
    /// Tries once, and gives the word for how it went; `answered` if it went well.
    Try { to: SocketAddr },
}

pub(crate) fn answer(order: &Order) -> Result<Value> {
    Ok(match *order {
        Order::Connect { to, count } => json!(median(count, || connection(to))?),
        Order::RoundTrip { to, count } => {
            let mut stream = TcpStream::connect(to)?;
            stream.set_nodelay(true)?;
            let mut message = [MORE; MESSAGE_BYTES];
            json!(median(count, || {
                stream.write_all(&[MORE; MESSAGE_BYTES])?;
                Ok(stream.read_exact(&mut message)?)
            })?)
        }
        Order::Try { to } => json!(attempt(to)),
    })
}

/// The server closes first, so that the ends that linger are there.
fn connection(to: SocketAddr) -> Result<()> {
    let mut stream = TcpStream::connect(to)?;
    stream.write_all(&[LAST; MESSAGE_BYTES])?;
    let mut message = [0; MESSAGE_BYTES];
    stream.read_exact(&mut message)?;
    ensure!(stream.read(&mut message)? == 0, "the server said more than was asked for");
    Ok(())
}

fn median(count: u32, mut operation: impl FnMut() -> Result<()>) -> Result<u32> {
    for _ in 0..count / WARM_UP {
        operation()?;
    }
    let mut times = Vec::new();
    for _ in 0..count {
        let began = Instant::now();
        operation()?;
        times.push(began.elapsed());
    }
    times.sort_unstable();
    let middle = times.get(times.len() / 2).context("nothing was measured")?;
    Ok(u32::try_from(middle.as_nanos())?)
}

/// Whoever refuses may do so at once, by a reset, or by closing after the connection was made.
fn attempt(to: SocketAddr) -> String {
    let tried = || -> std::io::Result<()> {
        let mut stream = TcpStream::connect_timeout(&to, PATIENCE)?;
        stream.set_read_timeout(Some(PATIENCE))?;
        stream.write_all(&[LAST; MESSAGE_BYTES])?;
        let mut message = [0; MESSAGE_BYTES];
        stream.read_exact(&mut message)
    };
    match tried() {
        Ok(()) => "answered".to_owned(),
        Err(error) if error.kind() == ErrorKind::UnexpectedEof => "closed".to_owned(),
        Err(error) => error.to_string(),
    }
}
