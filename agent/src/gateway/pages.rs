//! What the gateway says of itself over HTTP: metrics, and whether it is alive and ready.

use std::sync::Arc;

use axum::{
    Router,
    extract::State as Extract,
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::get,
};
use tokio::{net::TcpListener, sync::watch, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{limits::Admission, meter::Meter};
use crate::{
    admin::{AdminError, OPEN_METRICS},
    registry::file::Snapshot,
};

/// What the pages are made from.
#[derive(Clone, Debug)]
pub struct Pages {
    pub meter: Meter,
    pub admission: Admission,
    pub registry: watch::Receiver<Arc<Snapshot>>,
    pub stop: CancellationToken,
}

/// Serves the pages. Ends with `pages.stop`.
pub async fn serve(listener: TcpListener, pages: Pages) -> Result<(), AdminError> {
    let stop = pages.stop.clone();
    let router = Router::new()
        .route("/metrics", get(metrics_page))
        .route("/healthz", get(|| async { "alive\n" }))
        .route("/readyz", get(ready_page))
        .with_state(pages);
    axum::serve(listener, router)
        .with_graceful_shutdown(stop.cancelled_owned())
        .await
        .map_err(AdminError::Serve)
}

async fn metrics_page(Extract(pages): Extract<Pages>) -> Response {
    let source = Arc::clone(&pages.registry.borrow());
    match pages.meter.render(pages.admission.open(), &source, Instant::now()) {
        Ok(text) => ([(header::CONTENT_TYPE, OPEN_METRICS)], text).into_response(),
        Err(error) => (StatusCode::INTERNAL_SERVER_ERROR, format!("{error}\n")).into_response(),
    }
}

/// Listening comes before this page, so the only thing that ends readiness is the end.
async fn ready_page(Extract(pages): Extract<Pages>) -> (StatusCode, &'static str) {
    if pages.stop.is_cancelled() {
        (StatusCode::SERVICE_UNAVAILABLE, "stopping\n")
    } else {
        (StatusCode::OK, "ready\n")
    }
}
