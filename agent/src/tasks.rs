//! The tasks of a process: none ends before all are told to, and then they get some time.

use std::{fmt, time::Duration};

use anyhow::bail;
use tokio::{
    task::JoinSet,
    time::{Instant, timeout_at},
};
use tokio_util::sync::CancellationToken;

/// Tasks with a name each, for whoever reads why the process ended. Dropping them ends them.
#[derive(Default)]
pub struct Tasks {
    running: JoinSet<(&'static str, anyhow::Result<()>)>,
}

impl Tasks {
    pub fn spawn<E>(
        &mut self,
        name: &'static str,
        task: impl Future<Output = Result<(), E>> + Send + 'static,
    ) where
        E: Into<anyhow::Error> + 'static,
    {
        self.running.spawn(async move { (name, task.await.map_err(Into::into)) });
    }

    pub fn spawn_infallible(
        &mut self,
        name: &'static str,
        task: impl Future<Output = ()> + Send + 'static,
    ) {
        self.running.spawn(async move {
            task.await;
            (name, Ok(()))
        });
    }

    /// On a thread of its own.
    pub fn spawn_blocking(&mut self, name: &'static str, task: impl FnOnce() + Send + 'static) {
        self.running.spawn_blocking(move || {
            task();
            (name, Ok(()))
        });
    }

    /// Waits for the first task to end. Without `stop` that is a fault.
    pub async fn supervise(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        tokio::select! {
            biased;
            () = stop.cancelled() => Ok(()),
            ended = self.running.join_next() => match ended {
                Some(Ok((_, _))) if stop.is_cancelled() => Ok(()),
                Some(Ok((task, Ok(())))) => bail!("the task `{task}` ended (this is a bug of exeat)"),
                Some(Ok((task, Err(error)))) => Err(error.context(format!("the task `{task}` failed"))),
                Some(Err(panic)) => bail!("a task panicked: {panic} (this is a bug of exeat)"),
                None => Ok(()),
            },
        }
    }

    /// Lets the tasks end by themselves, for so long; then ends them.
    pub async fn wind_down(mut self, grace: Duration) {
        let deadline = Instant::now() + grace;
        while let Ok(Some(ended)) = timeout_at(deadline, self.running.join_next()).await {
            if let Ok((task, Err(error))) = ended {
                tracing::warn!(task, "while stopping: {error:#}");
            }
        }
        if !self.running.is_empty() {
            tracing::warn!(tasks = self.running.len(), "still busy, ended anyway");
        }
        self.running.shutdown().await;
    }
}

impl fmt::Debug for Tasks {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Tasks").field("running", &self.running.len()).finish()
    }
}
