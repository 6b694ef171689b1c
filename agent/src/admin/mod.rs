//! What the agent says of itself: HTTP for machines, and more over the unix socket for the
//! `exeat` commands. Reads what others publish, changes nothing.

mod flows;
pub mod status;

use std::{
    io,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::{Duration, SystemTime},
};

use axum::{
    Json, Router,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{
    net::{TcpListener, UnixListener},
    sync::oneshot,
    time::{Instant, timeout},
};
use tokio_util::sync::CancellationToken;

use crate::{
    flows::FlowLog,
    metrics::Metrics,
    ready,
    reconcile::{Handle, Sample},
};
use status::Status;

/// What the pages are made from.
#[derive(Clone, Debug)]
pub struct Pages {
    pub reconcile: Handle,
    pub metrics: Metrics,
    pub flows: FlowLog,
    pub node: String,
    pub started: SystemTime,
    /// Ends live feeds, so that they do not hold up the end of the agent.
    pub stop: CancellationToken,
}

/// Why the agent cannot be asked.
#[derive(Debug, thiserror::Error)]
pub enum AdminError {
    #[error(
        "metrics.listen {address}: {source} (does something else listen there? is the address one of this machine?)"
    )]
    Listen { address: std::net::SocketAddr, source: io::Error },
    #[error("socket {path}: {source} (does its folder exist, and may this user write there?)")]
    Socket { path: PathBuf, source: io::Error },
    #[error("serve the admin pages: {0}")]
    Serve(#[source] io::Error),
}

/// Reconcile comes round at least every few seconds; after this it is stuck.
const ALIVE_WITHIN: Duration = Duration::from_secs(30);
/// For an answer of reconcile.
const SAMPLE_WITHIN: Duration = Duration::from_secs(5);

/// Binds the HTTP listener.
pub async fn bind(address: std::net::SocketAddr) -> Result<TcpListener, AdminError> {
    TcpListener::bind(address).await.map_err(|source| AdminError::Listen { address, source })
}

/// Binds the unix socket, for its owner only. Call it only with the lock held: a socket that is
/// there then was left by an agent that is gone, and is replaced.
pub fn bind_socket(path: &Path) -> Result<UnixListener, AdminError> {
    let failed = |source| AdminError::Socket { path: path.to_owned(), source };
    match std::fs::remove_file(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(failed(error)),
        _ => {}
    }
    let listener = UnixListener::bind(path).map_err(failed)?;
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).map_err(failed)?;
    Ok(listener)
}

/// Serves the pages for machines. Ends with `pages.stop`.
pub async fn serve(listener: TcpListener, pages: Pages) -> Result<(), AdminError> {
    let stop = pages.stop.clone();
    axum::serve(listener, machine_pages().with_state(pages))
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(AdminError::Serve)
}

/// Serves all pages. Ends with `pages.stop`.
pub async fn serve_socket(listener: UnixListener, pages: Pages) -> Result<(), AdminError> {
    let stop = pages.stop.clone();
    let router = machine_pages()
        .route("/status", get(status_page))
        .route("/flows", get(flows::page))
        .with_state(pages);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(AdminError::Serve)
}

fn machine_pages() -> Router<Pages> {
    Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(health_page))
        .route("/readyz", get(ready_page))
}

async fn metrics_page(Extract(pages): Extract<Pages>) -> Response {
    let sample = match pages.sample().await {
        Ok(sample) => sample,
        Err(error) => {
            return (StatusCode::SERVICE_UNAVAILABLE, format!("{error}\n")).into_response();
        }
    };
    let state = Arc::clone(&pages.reconcile.state.borrow());
    match pages.metrics.render(&state, &sample, Instant::now()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

pub(crate) const OPEN_METRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

async fn health_page(Extract(pages): Extract<Pages>) -> (StatusCode, String) {
    let silent = pages.reconcile.heartbeat.borrow().elapsed();
    if silent < ALIVE_WITHIN {
        (StatusCode::OK, "alive\n".to_owned())
    } else {
        let seconds = silent.as_secs();
        (StatusCode::SERVICE_UNAVAILABLE, format!("reconcile is silent for {seconds} s\n"))
    }
}

async fn ready_page(Extract(pages): Extract<Pages>) -> (StatusCode, String) {
    let missing = ready::missing(&pages.reconcile.state.borrow());
    if missing.is_empty() {
        (StatusCode::OK, "ready\n".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, missing.join("\n") + "\n")
    }
}

async fn status_page(Extract(pages): Extract<Pages>) -> Result<Json<Status>, (StatusCode, String)> {
    let sample =
        pages.sample().await.map_err(|error| (StatusCode::SERVICE_UNAVAILABLE, error + "\n"))?;
    let state = Arc::clone(&pages.reconcile.state.borrow());
    Ok(Json(Status::new(&pages, &state, &sample, Instant::now())))
}

impl Pages {
    /// Asks reconcile, which alone may ask the kernel.
    async fn sample(&self) -> Result<Sample, String> {
        let ask = async {
            let (reply, answer) = oneshot::channel();
            let gone = |()| "reconcile has ended".to_owned();
            self.reconcile.samples.send(reply).await.map_err(|_| gone(()))?;
            answer.await.map_err(|_| gone(()))?
        };
        let busy = |_| "reconcile is busy; try again".to_owned();
        timeout(SAMPLE_WITHIN, ask).await.map_err(busy)?
    }
}

#[cfg(test)]
mod tests;
