//! A gate before an API server, real or not: shut, it is as if the server were gone.

use std::{net::SocketAddr, sync::Arc};

use anyhow::Result;
use tokio::{
    io::copy_bidirectional,
    net::{TcpListener, TcpStream},
    sync::{oneshot, watch},
    task::JoinSet,
};

/// Lets connections through while it is open.
#[derive(Debug)]
pub struct Gate {
    pub address: SocketAddr,
    is_open: Arc<watch::Sender<bool>>,
}

impl Gate {
    /// Opens a gate to `server`. What serves it ends when `stop` is given or dropped.
    pub async fn start(
        server: String,
        mut stop: oneshot::Receiver<()>,
        tasks: &mut JoinSet<()>,
    ) -> Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        let address = listener.local_addr()?;
        let is_open = Arc::new(watch::Sender::new(true));
        let states = Arc::clone(&is_open);
        tasks.spawn(async move {
            let mut connections = JoinSet::new();
            loop {
                let accepted = tokio::select! {
                    _ = &mut stop => return,
                    accepted = listener.accept() => accepted,
                };
                let Ok((stream, _)) = accepted else { continue };
                while connections.try_join_next().is_some() {}
                connections.spawn(carry(stream, server.clone(), states.subscribe()));
            }
        });
        Ok(Self { address, is_open })
    }

    /// Breaks all connections off and lets none through.
    pub fn shut(&self) {
        self.is_open.send_replace(false);
    }

    pub fn open(&self) {
        self.is_open.send_replace(true);
    }
}

async fn carry(mut client: TcpStream, server: String, mut is_open: watch::Receiver<bool>) {
    if !*is_open.borrow_and_update() {
        return;
    }
    let Ok(mut server) = TcpStream::connect(server).await else { return };
    tokio::select! {
        _ = copy_bidirectional(&mut client, &mut server) => {}
        _ = is_open.wait_for(|is_open| !is_open) => {}
    }
}
