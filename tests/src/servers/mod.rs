//! Servers of the test's internet. Each runs on a thread of its own inside a network
//! namespace, and each counts what reached it: promises are checked at the receiver.

mod dns;
mod dnsmasq;
mod echo;
mod http;
mod line;
mod raw;

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, PoisonError, mpsc};
use std::thread::JoinHandle;

use anyhow::{Context, Result};
use tokio::sync::oneshot;
use tokio::task::JoinSet;

pub use dns::{DnsServer, Unknown};
pub use dnsmasq::Dnsmasq;
pub use echo::EchoServer;
pub use http::{HttpServer, PAGE};
pub use line::LineServer;
pub use raw::{FAREWELL, RawServer};

use crate::netns::NetNs;

/// What arrived, by the local address and port at which it did.
#[derive(Clone, Debug, Default)]
pub struct Arrivals {
    // Held for one map operation at a time.
    counts: Arc<Mutex<BTreeMap<SocketAddr, u64>>>,
}

impl Arrivals {
    pub fn at(&self, address: SocketAddr) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.get(&address).copied().unwrap_or(0)
    }

    /// What arrived at a port, whatever the address.
    pub fn at_port(&self, port: u16) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(local, _)| local.port() == port).map(|(_, count)| count).sum()
    }

    pub fn total(&self) -> u64 {
        self.counts.lock().unwrap_or_else(PoisonError::into_inner).values().sum()
    }

    fn add(&self, local: SocketAddr) {
        // A dual-stack listener reports IPv4 peers in mapped form.
        let address = SocketAddr::new(local.ip().to_canonical(), local.port());
        *self.counts.lock().unwrap_or_else(PoisonError::into_inner).entry(address).or_default() +=
            1;
    }
}

/// A thread in a namespace with a runtime; everything on it ends when this is dropped.
#[derive(Debug)]
struct ServerThread {
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
}

impl ServerThread {
    /// Runs `set_up` inside `netns`. It binds its sockets and gives the tasks that serve them;
    /// its error is returned from here, so a server that exists is a server that listens.
    fn start<S, F>(netns: &NetNs, name: &str, set_up: S) -> Result<Self>
    where
        S: FnOnce() -> F + Send + 'static,
        F: Future<Output = Result<JoinSet<()>>>,
    {
        let (stop, stopped) = oneshot::channel();
        let (report, outcome) = mpsc::channel();
        let netns = netns.clone();
        let serve = move || {
            let runtime = netns.enter().and_then(|()| {
                tokio::runtime::Builder::new_current_thread()
                    .enable_all()
                    .build()
                    .context("make a runtime")
            });
            let runtime = match runtime {
                Ok(runtime) => runtime,
                Err(error) => return report.send(Err(error)).unwrap_or(()),
            };
            runtime.block_on(async {
                let (mut tasks, result) = match set_up().await {
                    Ok(tasks) => (tasks, Ok(())),
                    Err(error) => (JoinSet::new(), Err(error)),
                };
                // Without a starter that listens there is nobody to serve.
                if report.send(result).is_err() {
                    return;
                }
                tokio::select! {
                    // Both a message and a dropped sender mean the end.
                    _ = stopped => {}
                    Some(Err(panic)) = tasks.join_next() => panic!("a server task: {panic}"),
                }
            });
        };
        let thread = std::thread::Builder::new().name(name.to_owned()).spawn(serve)?;
        outcome
            .recv()
            .with_context(|| format!("server thread {name} ended while starting"))?
            .with_context(|| format!("start server {name}"))?;
        Ok(Self { stop: Some(stop), thread: Some(thread) })
    }
}

impl Drop for ServerThread {
    fn drop(&mut self) {
        drop(self.stop.take());
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("a server thread panicked");
        }
    }
}
