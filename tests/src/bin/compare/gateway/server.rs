//! The half of `gateway` on the internet: takes a `ClientHello` and answers it shortly, or with a stream;
//! counts what arrives where nothing should.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::half;

/// As many as a small page has.
pub(crate) const ANSWER_BYTES: usize = 1_024;
pub(crate) const STREAM_BYTES: usize = 256 << 20;
const PIECE_BYTES: usize = 256 * 1024;
/// Connections that are answered at a time.
const THREADS: usize = 32;
/// Of a TLS record, whose length are the last two bytes (RFC 8446 §5.1).
const RECORD_HEADER_BYTES: usize = 5;
/// For a client that says nothing.
const PATIENCE: Duration = Duration::from_secs(10);

#[derive(Args)]
pub(crate) struct Addresses {
    short: SocketAddr,
    stream: SocketAddr,
    other: SocketAddr,
}

/// Answers each line of its input by the number of connections to what is not granted.
pub(crate) fn serve(addresses: &Addresses) -> Result<()> {
    let arrived = Arc::new(AtomicU64::new(0));
    let Addresses { short, stream, other } = *addresses;
    for address in [short, stream, other] {
        let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
        let length = if address == stream { STREAM_BYTES } else { ANSWER_BYTES };
        for _ in 0..THREADS {
            let listener = listener.try_clone()?;
            let counts = (address == other).then(|| Arc::clone(&arrived));
            thread::spawn(move || answer_all(&listener, length, counts.as_deref()));
        }
    }
    half::serve(|(): &()| Ok(arrived.load(Ordering::SeqCst)))
}

fn answer_all(listener: &TcpListener, length: usize, counts: Option<&AtomicU64>) {
    let bytes = vec![0; PIECE_BYTES.min(length)];
    for stream in listener.incoming() {
        if let Some(counts) = counts {
            counts.fetch_add(1, Ordering::SeqCst);
        }
        // A client that is gone is no fault of this side: it tells what it missed.
        let _ended = stream.and_then(|stream| answer(stream, length, &bytes));
    }
}

fn answer(mut stream: TcpStream, length: usize, bytes: &[u8]) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut header = [0; RECORD_HEADER_BYTES];
    stream.read_exact(&mut header)?;
    let [_, _, _, high, low] = header;
    let mut hello = vec![0; usize::from(u16::from_be_bytes([high, low]))];
    stream.read_exact(&mut hello)?;
    for _ in 0..length / bytes.len() {
        stream.write_all(bytes)?;
    }
    Ok(())
}
