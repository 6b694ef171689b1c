//! The page of the flow log: JSON lines, and a live feed if asked for.

use std::{convert::Infallible, sync::Arc};

use axum::{
    body::Body,
    extract::{Query, State as Extract},
    response::{IntoResponse as _, Response},
};
use futures_util::stream;
use serde::Deserialize;
use tokio::sync::broadcast::{Receiver, error::RecvError};
use tokio_util::sync::CancellationToken;

use super::Pages;
use crate::flows::Line;

/// What is asked for.
#[derive(Clone, Copy, Debug, Default, Deserialize)]
#[serde(default)]
pub(super) struct Wanted {
    follow: bool,
    /// Only what was denied.
    denied: bool,
}

struct Feed {
    live: Receiver<Arc<Line>>,
    wanted: Wanted,
    stop: CancellationToken,
}

pub(super) async fn page(Extract(pages): Extract<Pages>, Query(wanted): Query<Wanted>) -> Response {
    let (kept, live) = pages.flows.subscribe();
    let kept: String = kept.iter().filter_map(|line| json_line(line, wanted)).collect();
    if !wanted.follow {
        return kept.into_response();
    }
    let feed = Feed { live, wanted, stop: pages.stop };
    let body = stream::unfold((Some(kept), feed), |(first, mut feed)| async move {
        let text = match first {
            Some(kept) => kept,
            None => feed.next().await?,
        };
        Some((Ok::<_, Infallible>(text), (None, feed)))
    });
    Body::from_stream(body).into_response()
}

impl Feed {
    /// The next line that is wanted; none at the end of the agent.
    async fn next(&mut self) -> Option<String> {
        loop {
            let line = tokio::select! {
                () = self.stop.cancelled() => return None,
                line = self.live.recv() => line,
            };
            match line {
                Ok(line) => {
                    if let Some(text) = json_line(&line, self.wanted) {
                        return Some(text);
                    }
                }
                Err(RecvError::Lagged(missed)) => tracing::debug!(missed, "a follower lags behind"),
                Err(RecvError::Closed) => return None,
            }
        }
    }
}

fn json_line(line: &Line, wanted: Wanted) -> Option<String> {
    if wanted.denied && !line.is_denied() {
        return None;
    }
    let json = serde_json::to_string(line);
    Some(json.expect("invariant: a record has only string keys") + "\n")
}
