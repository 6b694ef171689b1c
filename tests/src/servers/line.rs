//! TCP line echo: keeps connections open, sends every line back and counts it.

use std::net::Ipv6Addr;

use anyhow::{Context, Result};
use tokio::io::{AsyncBufReadExt, AsyncWriteExt, BufReader};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;

use super::{Arrivals, ServerThread};
use crate::netns::NetNs;

#[derive(Debug)]
pub struct LineServer {
    arrivals: Arrivals,
    _thread: ServerThread,
}

impl LineServer {
    /// Listens on all IPv4 and IPv6 addresses of a namespace.
    pub fn start(netns: &NetNs, ports: &[u16]) -> Result<Self> {
        let arrivals = Arrivals::default();
        let (counted, ports) = (arrivals.clone(), ports.to_vec());
        let thread = ServerThread::start(netns, "line", move || async move {
            let mut tasks = JoinSet::new();
            for port in ports {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .await
                    .with_context(|| format!("listen on TCP port {port}"))?;
                tasks.spawn(listen(listener, counted.clone()));
            }
            Ok(tasks)
        })?;
        Ok(Self { arrivals, _thread: thread })
    }

    /// Lines that arrived, by the address they were sent to.
    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

async fn listen(listener: TcpListener, arrivals: Arrivals) {
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            // A connection reset before it is accepted is the client's affair.
            Ok((stream, _)) = listener.accept() => {
                connections.spawn(echo(stream, arrivals.clone()));
            }
            // How a connection ended is what its client reports.
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn echo(mut stream: TcpStream, arrivals: Arrivals) -> std::io::Result<()> {
    let local = stream.local_addr()?;
    let (reader, mut writer) = stream.split();
    let mut lines = BufReader::new(reader).lines();
    while let Some(line) = lines.next_line().await? {
        arrivals.add(local);
        writer.write_all(format!("{line}\n").as_bytes()).await?;
    }
    Ok(())
}
