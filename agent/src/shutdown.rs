//! From a signal to the token that every task watches.

use std::{io, time::Duration};

use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio_util::sync::CancellationToken;

/// How long tasks may take to end once they were told.
pub const DEADLINE: Duration = Duration::from_secs(5);

/// The signals that end the agent, subscribed to before anything is done that they would cut off.
#[derive(Debug)]
pub struct Signals {
    terminate: Signal,
    interrupt: Signal,
}

impl Signals {
    pub fn subscribe() -> io::Result<Self> {
        Ok(Self {
            terminate: signal(SignalKind::terminate())?,
            interrupt: signal(SignalKind::interrupt())?,
        })
    }

    /// Does `work` to its end. A signal meanwhile is told with what it means, and cancels `token`,
    /// which `work` watches.
    pub async fn guard<T>(
        self,
        token: CancellationToken,
        meaning: &str,
        work: impl Future<Output = T>,
    ) -> T {
        let signals = self.watch(token, meaning);
        tokio::pin!(signals, work);
        tokio::select! {
            result = &mut work => result,
            () = &mut signals => work.await,
        }
    }

    async fn watch(mut self, token: CancellationToken, meaning: &str) {
        let name = tokio::select! {
            () = token.cancelled() => return,
            _ = self.terminate.recv() => "SIGTERM",
            _ = self.interrupt.recv() => "SIGINT",
        };
        tracing::info!(signal = name, "{meaning}");
        token.cancel();
    }
}
