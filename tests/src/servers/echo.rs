//! UDP echo: sends every datagram back and counts it.

use std::net::SocketAddr;

use anyhow::{Context, Result};
use tokio::net::UdpSocket;
use tokio::task::JoinSet;

use super::{Arrivals, ServerThread};
use crate::netns::NetNs;

#[derive(Debug)]
pub struct EchoServer {
    arrivals: Arrivals,
    _thread: ServerThread,
}

impl EchoServer {
    /// One socket for each address, so that an answer comes from where the question went.
    pub fn start(netns: &NetNs, addresses: &[SocketAddr]) -> Result<Self> {
        let arrivals = Arrivals::default();
        let (counted, addresses) = (arrivals.clone(), addresses.to_vec());
        let thread = ServerThread::start(netns, "echo", move || async move {
            let mut tasks = JoinSet::new();
            for address in addresses {
                let socket = UdpSocket::bind(address)
                    .await
                    .with_context(|| format!("bind UDP {address}"))?;
                tasks.spawn(echo(socket, address, counted.clone()));
            }
            Ok(tasks)
        })?;
        Ok(Self { arrivals, _thread: thread })
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

async fn echo(socket: UdpSocket, local: SocketAddr, arrivals: Arrivals) {
    let mut datagram = [0; 2048];
    loop {
        // An ICMP error of an earlier answer shows up here; the next datagram may be fine.
        let Ok((length, peer)) = socket.recv_from(&mut datagram).await else {
            continue;
        };
        arrivals.add(local);
        if let Err(error) = socket.send_to(&datagram[..length], peer).await {
            eprintln!("exeat-tests: echo from {local} to {peer}: {error}");
        }
    }
}
