//! TCP that keeps what each connection sends, says one thing at the end of a request's head, and
//! one when the other side has said all.

use std::net::Ipv6Addr;
use std::sync::{Arc, Mutex, PoisonError};

use anyhow::{Context, Result};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::ServerThread;
use crate::netns::NetNs;

/// What it says to a side that has said all.
pub const FAREWELL: &str = "all heard\n";

#[derive(Debug)]
pub struct RawServer {
    heard: Heard,
    _thread: ServerThread,
}

/// Bytes of each connection, in the order in which they were accepted.
// Held for one append or copy at a time.
type Heard = Arc<Mutex<Vec<Vec<u8>>>>;

impl RawServer {
    /// Listens on all IPv4 and IPv6 addresses of a namespace. `reply` follows each empty line.
    pub fn start(netns: &NetNs, port: u16, reply: &'static str) -> Result<Self> {
        let heard = Heard::default();
        let kept = Arc::clone(&heard);
        let thread = ServerThread::start(netns, "raw", move || async move {
            let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                .await
                .with_context(|| format!("listen on TCP port {port}"))?;
            let mut tasks = JoinSet::new();
            tasks.spawn(listen(listener, kept, reply));
            Ok(tasks)
        })?;
        Ok(Self { heard, _thread: thread })
    }

    /// What each connection has sent so far.
    pub fn heard(&self) -> Vec<Vec<u8>> {
        self.heard.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

async fn listen(listener: TcpListener, heard: Heard, reply: &'static str) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A connection reset before it is accepted is the client's affair.
            Ok((stream, _)) = listener.accept() => {
                let number = {
                    let mut heard = heard.lock().unwrap_or_else(PoisonError::into_inner);
                    heard.push(Vec::new());
                    heard.len() - 1
                };
                connections.spawn(hear(stream, Arc::clone(&heard), number, reply));
            }
            // How a connection ended is what its client reports.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn hear(
    mut stream: TcpStream,
    heard: Heard,
    number: usize,
    reply: &'static str,
) -> std::io::Result<()> {
    let mut piece = [0; 4096];
    loop {
        let length = stream.read(&mut piece).await?;
        let piece = &piece[..length];
        if piece.is_empty() {
            stream.write_all(FAREWELL.as_bytes()).await?;
            return stream.shutdown().await;
        }
        if let Some(all) = heard.lock().unwrap_or_else(PoisonError::into_inner).get_mut(number) {
            all.extend_from_slice(piece);
        }
        if piece.ends_with(b"\r\n\r\n") {
            stream.write_all(reply.as_bytes()).await?;
        }
    }
}
