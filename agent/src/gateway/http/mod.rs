//! One connection of plain HTTP/1: every request is read whole, judged by its own host, and written
//! anew for the destination. Bytes are never spliced, so no second request hides behind a first.

mod body;
mod exchange;
mod headers;
mod target;

use std::{pin::pin, sync::Arc};

use hyper::{server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::net::TcpStream;

use super::{
    listen::{Client, Shared},
    log::{Outcome, Record},
    refusal::Cause,
    traffic::{Counted, Traffic, carry},
};
use crate::preseed::desk::Resolve;
use exchange::Line;

/// Fields of one request.
const FIELDS: usize = 128;

/// Serves a client that speaks HTTP.
pub(super) async fn serve<R: Resolve>(shared: &Arc<Shared<R>>, client: &Client, stream: TcpStream) {
    let traffic = Traffic::new();
    let stream = TokioIo::new(Counted::new(stream, Arc::clone(&traffic)));
    let line = Arc::new(Line::default());
    let service = service_fn(|request| {
        let (shared, client, line) = (Arc::clone(shared), client.clone(), Arc::clone(&line));
        async move {
            Ok::<_, std::convert::Infallible>(
                exchange::answer(&shared, &client, &line, request).await,
            )
        }
    });
    let idle = shared.gateway.timeouts.idle;
    let connection = builder(shared).serve_connection(stream, service).with_upgrades();
    let ended = {
        // Gone with this block, and with it the request that it may be busy with.
        let mut connection = pin!(connection);
        let mut is_stopping = false;
        loop {
            tokio::select! {
                result = connection.as_mut() => break Ok(result),
                () = shared.stop.cancelled(), if !is_stopping => {
                    is_stopping = true;
                    connection.as_mut().graceful_shutdown();
                }
                () = traffic.stands_still(idle) => break Err(Outcome::Idle),
                () = exchange::revoked(shared, &line) => break Err(Outcome::Revoked),
            }
        }
    };
    if let Some(record) = line.unanswered() {
        shared.note(record.ended(ended.as_ref().err().copied().unwrap_or(Outcome::Reset)), None);
    }
    let mut talk = line.talk.lock().await;
    if let Ok(Err(error)) = &ended {
        note_broken(shared, client, talk.is_used, error);
    }
    let tunnel = talk.tunnel.take();
    drop(talk);
    if let Some(tunnel) = tunnel {
        through(shared, tunnel, &traffic).await;
    }
    shared.meter.moved(traffic.sent(), traffic.received());
}

fn builder<R>(shared: &Shared<R>) -> http1::Builder {
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(shared.gateway.timeouts.handshake)
        .max_buf_size(shared.gateway.limits.header_bytes)
        .max_headers(FIELDS)
        .half_close(true)
        .preserve_header_case(true)
        .auto_date_header(false);
    builder
}

/// Carries what follows an upgrade that both sides have agreed on.
async fn through<R>(shared: &Shared<R>, tunnel: exchange::Tunnel, traffic: &Traffic) {
    let exchange::Tunnel { client, destination, passage, record, driver } = tunnel;
    let (Ok(client), Ok(destination)) = tokio::join!(client, destination) else {
        return shared.note(record.ended(Outcome::Cut(Cause::Broken)), None);
    };
    drop(driver);
    let (mut client, mut destination) = (TokioIo::new(client), TokioIo::new(destination));
    let outcome = tokio::select! {
        carried = carry(&mut client, &mut destination) => match carried {
            Ok(()) => Outcome::Closed,
            Err(_) => Outcome::Reset,
        },
        outcome = shared.cut(&passage, traffic) => outcome,
    };
    let mut record = record.ended(outcome);
    record.sent_bytes = Some(traffic.sent());
    record.received_bytes = Some(traffic.received());
    record.stamp(traffic.age());
    shared.note(record, None);
}

/// Logs what could not be read as a request. The library has answered it. A connection that was used
/// and is not any more ends in the same way as one that says nothing.
fn note_broken<R>(shared: &Shared<R>, client: &Client, is_used: bool, error: &hyper::Error) {
    let cause = if error.is_timeout() && !is_used {
        Cause::Silent
    } else if error.is_parse() {
        Cause::Malformed
    } else {
        return tracing::debug!(%error, client = %client.ends.client, "HTTP connection");
    };
    let mut record = Record::new(client, "http").refused(&cause.into());
    record.stamp(std::time::Duration::ZERO);
    shared.note(record, None);
}
