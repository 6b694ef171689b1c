//! The half of `connect` on the internet: answers one connection after the other, at an address that is
//! granted and at one that is not, and counts what arrives at the latter.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use anyhow::{Context as _, Result};
use clap::Args;

use crate::half;

pub(crate) const MESSAGE_BYTES: usize = 64;
/// First byte of a message after which the connection ends, and of one that others follow.
pub(crate) const LAST: u8 = b'.';
pub(crate) const MORE: u8 = b',';
/// For a client that says nothing.
const PATIENCE: Duration = Duration::from_secs(5);

#[derive(Args)]
pub(crate) struct Addresses {
    granted: SocketAddr,
    other: SocketAddr,
}

/// Answers each line of its input by the number of connections to what is not granted.
pub(crate) fn serve(addresses: &Addresses) -> Result<()> {
    let arrived = Arc::new(AtomicU64::new(0));
    for address in [addresses.granted, addresses.other] {
        let counts = (address == addresses.other).then(|| Arc::clone(&arrived));
        let listener = TcpListener::bind(address).with_context(|| format!("bind {address}"))?;
        thread::spawn(move || answer_all(&listener, counts.as_deref()));
    }
    half::serve(|(): &()| Ok(arrived.load(Ordering::SeqCst)))
}

fn answer_all(listener: &TcpListener, counts: Option<&AtomicU64>) {
    for stream in listener.incoming() {
        if let Some(counts) = counts {
            counts.fetch_add(1, Ordering::SeqCst);
        }
        // A client that is gone is no fault of this side: it tells what it missed.
        let _ended = stream.and_then(answer);
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(PATIENCE))?;
    let mut message = [0; MESSAGE_BYTES];
    loop {
        stream.read_exact(&mut message)?;
        stream.write_all(&message)?;
        if message.first() == Some(&LAST) {
            return Ok(());
        }
    }
}
