//! A process that keeps connections open and does what the lines on its standard input say.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Write, stdin};
use std::net::{Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use exeat_tests::probe::Reached;

use crate::reach::reached;

const TIMEOUT: Duration = Duration::from_millis(1500);

/// `open KEY ADDRESS:PORT` connects, `say KEY` sends a line and waits for it to come back, `listen
/// PORT` sends lines back to whoever connects. Each is answered with one JSON object.
pub(crate) fn run() -> Result<()> {
    let mut streams = BTreeMap::new();
    for line in stdin().lines() {
        let line = line?;
        let words: Vec<&str> = line.split(' ').collect();
        let start = Instant::now();
        let outcome = match words[..] {
            ["open", key, to] => open(to.parse()?).map(|stream| {
                streams.insert(key.to_owned(), stream);
            }),
            ["say", key] => {
                say(streams.get_mut(key).with_context(|| format!("{key} is not open"))?)
            }
            ["listen", port] => listen(port.parse()?),
            _ => bail!("no such order: {line}"),
        };
        let answer: Reached = reached(start, outcome);
        println!("{}", serde_json::to_string(&answer)?);
    }
    Ok(())
}

fn open(to: SocketAddr) -> std::io::Result<BufReader<TcpStream>> {
    let stream = TcpStream::connect_timeout(&to, TIMEOUT)?;
    stream.set_read_timeout(Some(TIMEOUT))?;
    Ok(BufReader::new(stream))
}

fn say(stream: &mut BufReader<TcpStream>) -> std::io::Result<()> {
    stream.get_mut().write_all(b"hello\n")?;
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Err(std::io::ErrorKind::UnexpectedEof.into());
    }
    Ok(())
}

/// The listener lives as long as this process.
fn listen(port: u16) -> std::io::Result<()> {
    let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))?;
    std::thread::spawn(move || {
        for stream in listener.incoming().flatten() {
            std::thread::spawn(move || std::io::copy(&mut &stream, &mut &stream));
        }
    });
    Ok(())
}
