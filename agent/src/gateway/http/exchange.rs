//! One request and its answer: judged, sent on, given back; or refused with a sentence.

use std::sync::{Arc, MutexGuard, PoisonError};

use exeat_common::reason::Reason;
use http_body_util::{Either, Full};
use hyper::{
    Request, Response, StatusCode,
    body::{Bytes, Incoming},
    client::conn::http1::{self, SendRequest},
    header::{CONTENT_TYPE, HOST, HeaderValue},
    upgrade::{OnUpgrade, on},
};
use hyper_util::rt::TokioIo;
use tokio::{net::TcpStream, sync::Mutex, task::JoinSet, time::Instant};

use super::{
    body::{Passing, ReplyBody},
    headers,
    target::target,
};
use crate::{
    gateway::{
        listen::{Client, Shared},
        log::Record,
        refusal::{Cause, Refusal},
        route::{Passage, Route, Wanted},
        tls::open,
    },
    preseed::desk::Resolve,
};

/// Longest head of a response.
const HEAD_BYTES: usize = 65_536;

/// What one client's connection has open.
#[derive(Default)]
pub(super) struct Talk {
    destination: Option<Destination>,
    pub(super) tunnel: Option<Tunnel>,
    /// A request was answered.
    pub(super) is_used: bool,
}

/// One client's connection.
#[derive(Default)]
pub(super) struct Line {
    /// Held while one request is answered: a client's requests come one after the other.
    pub(super) talk: Mutex<Talk>,
    // Held to copy it, or to change it.
    way: std::sync::Mutex<OnItsWay>,
}

/// Where the last request went, to be looked at while it is answered.
#[derive(Default)]
struct OnItsWay {
    passage: Option<Passage>,
    /// Of a request that has no answer yet, and since when.
    record: Option<(Instant, Record)>,
}

impl Line {
    fn goes(&self, passage: &Passage, record: &Record) {
        let record = Some((Instant::now(), record.clone()));
        *self.way() = OnItsWay { passage: Some(passage.clone()), record };
    }

    fn passage(&self) -> Option<Passage> {
        self.way().passage.clone()
    }

    /// The record of a request that was sent on and has no answer yet.
    pub(super) fn unanswered(&self) -> Option<Record> {
        let (since, mut record) = self.way().record.take()?;
        record.stamp(since.elapsed());
        Some(record)
    }

    fn way(&self) -> MutexGuard<'_, OnItsWay> {
        self.way.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A connection to a destination, kept for the next request that is for it.
struct Destination {
    route: Route,
    passage: Passage,
    sender: SendRequest<Incoming>,
    /// Moves its bytes; ends with it.
    driver: JoinSet<()>,
}

/// Two connections that speak something else from here on.
pub(super) struct Tunnel {
    pub(super) client: OnUpgrade,
    pub(super) destination: OnUpgrade,
    pub(super) passage: Passage,
    pub(super) record: Record,
    /// Moves the bytes of the destination until it has switched.
    pub(super) driver: JoinSet<()>,
}

/// Answers one request.
pub(super) async fn answer<R: Resolve>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    line: &Line,
    request: Request<Incoming>,
) -> Response<ReplyBody> {
    let started = Instant::now();
    let mut record = Record::new(client, "http");
    record.method = Some(request.method().to_string());
    let mut talk = line.talk.lock().await;
    talk.is_used = true;
    let answered = forward(shared, client, (line, &mut talk), request, &mut record).await;
    drop(line.unanswered());
    let note = {
        let shared = Arc::clone(shared);
        move |mut record: Record| {
            record.stamp(started.elapsed());
            shared.note(record, None);
        }
    };
    match answered {
        Ok(response) => {
            let (mut parts, body) = response.into_parts();
            let is_upgraded = talk.tunnel.is_some();
            headers::of_response(&mut parts.headers, is_upgraded);
            record.status = Some(parts.status.as_u16());
            if let Some(tunnel) = &mut talk.tunnel {
                tunnel.record = record;
                return Response::from_parts(parts, Either::Right(Full::default()));
            }
            let body = Passing::new(body, record, note);
            Response::from_parts(parts, Either::Left(body))
        }
        Err(refusal) => {
            let mut record = record.refused(&refusal);
            record.status = Some(StatusCode::BAD_GATEWAY.as_u16());
            let sentence = sentence(&record, &refusal);
            note(record);
            let mut response = Response::new(Either::Right(Full::from(sentence)));
            *response.status_mut() = StatusCode::BAD_GATEWAY;
            let text = HeaderValue::from_static("text/plain; charset=utf-8");
            response.headers_mut().insert(CONTENT_TYPE, text);
            response
        }
    }
}

/// Judges a request and sends it on.
async fn forward<R: Resolve>(
    shared: &Arc<Shared<R>>,
    client: &Client,
    (line, talk): (&Line, &mut Talk),
    request: Request<Incoming>,
    record: &mut Record,
) -> Result<Response<Incoming>, Refusal> {
    let (mut parts, body) = request.into_parts();
    let target = target(&parts, client.listener.http_port()).map_err(Refusal::from)?;
    record.wants(&target.wanted);
    let is_websocket = headers::of_request(&mut parts.headers);
    parts.headers.insert(HOST, target.host);
    parts.uri = target.uri;
    parts.version = hyper::Version::HTTP_11;
    let mut request = Request::from_parts(parts, body);
    let upgrade = is_websocket.then(|| on(&mut request));

    let mut destination = match kept(shared, talk, &target.wanted).await {
        Some(destination) => destination,
        None => dial(shared, client, &target.wanted).await?,
    };
    record.goes(&destination.route, &destination.passage);
    line.goes(&destination.passage, record);
    // Who watches for changes did not know of this request until now.
    if !destination.passage.is_permitted(&shared.policy.borrow()) {
        return Err(Reason::Revoked.into());
    }
    let sent = match destination.sender.try_send_request(request).await {
        Err(mut unsent) => match unsent.take_message() {
            // It had closed a connection that was kept, and has seen nothing of this request.
            Some(request) => {
                destination = dial(shared, client, &target.wanted).await?;
                record.goes(&destination.route, &destination.passage);
                line.goes(&destination.passage, record);
                destination.sender.send_request(request).await
            }
            None => Err(unsent.into_error()),
        },
        Ok(response) => Ok(response),
    };
    let mut response = sent.map_err(|error| {
        tracing::debug!(%error, to = %destination.passage.way.to, "HTTP exchange");
        Refusal { entry: destination.route.entry.clone(), ..Cause::Broken.into() }
    })?;
    if response.status() == StatusCode::SWITCHING_PROTOCOLS {
        let Some(upgrade) = upgrade else {
            return Err(Cause::Broken.into());
        };
        let Destination { passage, driver, .. } = destination;
        talk.tunnel = Some(Tunnel {
            client: upgrade,
            destination: on(&mut response),
            passage,
            record: record.clone(),
            driver,
        });
    } else {
        talk.destination = Some(destination);
    }
    Ok(response)
}

/// The connection of the request before, if it is for the same destination and still permitted.
async fn kept<R>(shared: &Shared<R>, talk: &mut Talk, wanted: &Wanted) -> Option<Destination> {
    let mut destination = talk.destination.take()?;
    let is_same = destination.passage.wanted == *wanted
        && destination.passage.is_permitted(&shared.policy.borrow());
    (is_same && destination.sender.ready().await.is_ok()).then_some(destination)
}

async fn dial<R: Resolve>(
    shared: &Shared<R>,
    client: &Client,
    wanted: &Wanted,
) -> Result<Destination, Refusal> {
    let (route, stream, passage): (Route, TcpStream, Passage) =
        open(shared, client, wanted).await?;
    let broken = |error: hyper::Error| {
        tracing::debug!(%error, "HTTP handshake");
        Refusal::from(Cause::Broken)
    };
    let (sender, connection) = http1::Builder::new()
        .preserve_header_case(true)
        .max_headers(super::FIELDS)
        .max_buf_size(HEAD_BYTES)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(broken)?;
    let mut driver = JoinSet::new();
    driver.spawn(async move {
        if let Err(error) = connection.with_upgrades().await {
            tracing::debug!(%error, "connection to a destination");
        }
    });
    Ok(Destination { route, passage, sender, driver })
}

/// Waits until the registry does not permit any more what the connection is busy with.
pub(super) async fn revoked<R>(shared: &Shared<R>, line: &Line) {
    let mut policy = shared.policy.clone();
    policy.mark_unchanged();
    while policy.changed().await.is_ok() {
        let policy = Arc::clone(&policy.borrow());
        if line.passage().is_some_and(|passage| !passage.is_permitted(&policy)) {
            return;
        }
    }
    // The gateway ends.
    std::future::pending::<()>().await;
}

/// One line for the client: what was refused and why, without what else the registry holds.
fn sentence(record: &Record, refusal: &Refusal) -> Bytes {
    let port = record.destination.port.map(|port| format!(":{port}")).unwrap_or_default();
    let what = record.destination.name.as_ref().map(|name| format!("{name}{port}: "));
    let what = what.unwrap_or_default();
    let (why, label) = (refusal.cause.sentence(), refusal.cause.as_str());
    let code = refusal.code.map(|code| format!(", {code}")).unwrap_or_default();
    Bytes::from(format!("exeat: {what}{why} ({label}{code})\n"))
}
