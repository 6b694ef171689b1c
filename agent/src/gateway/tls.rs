//! One TLS connection: judged by its server name, never terminated, then carried both ways.

use std::{sync::Arc, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::TcpStream,
    time::timeout,
};

use super::{
    connect::connect,
    listen::{Client, Shared},
    log::{Outcome, Record},
    refusal::{Cause, Refusal},
    route::{Passage, Route, Wanted},
    sniff::{self, NoHello},
    traffic::{Counted, Traffic, carry},
};
use crate::preseed::desk::Resolve;
use exeat_common::reason::Reason;

/// For the client to read an alert, after which it closes.
const FAREWELL: Duration = Duration::from_secs(1);
/// What is read of it meanwhile.
const FAREWELL_BYTES: u64 = 65_536;

/// Descriptions of fatal alerts (RFC 8446 §6.2).
mod alert {
    pub(super) const HANDSHAKE_FAILURE: u8 = 40;
    pub(super) const ACCESS_DENIED: u8 = 49;
    pub(super) const INTERNAL_ERROR: u8 = 80;
    pub(super) const MISSING_EXTENSION: u8 = 109;
    pub(super) const UNRECOGNIZED_NAME: u8 = 112;
}

/// Serves a client that speaks TLS.
pub(super) async fn serve<R: Resolve>(shared: &Shared<R>, client: &Client, stream: TcpStream) {
    let traffic = Traffic::new();
    let mut stream = Counted::new(stream, Arc::clone(&traffic));
    let mut record = Record::new(client, "tls");
    let timeouts = shared.gateway.timeouts;
    let hello = sniff::hello(&mut stream, shared.gateway.limits.header_bytes);
    let hello = match timeout(timeouts.handshake, hello).await {
        Ok(Ok(hello)) => hello,
        Ok(Err(NoHello { cause, alert })) => {
            let alert = if alert.is_empty() { alert_of(cause) } else { alert };
            refuse(&mut stream, alert).await;
            return shared.note(record.refused(&cause.into()), Some(&traffic));
        }
        Err(_) => {
            refuse(&mut stream, alert_of(Cause::Silent)).await;
            return shared.note(record.refused(&Cause::Silent.into()), Some(&traffic));
        }
    };
    let wanted = Wanted { host: hello.name, port: client.listener.tls_port() };
    record.wants(&wanted);
    let (route, mut upstream, passage) = match open(shared, client, &wanted).await {
        Ok(opened) => opened,
        Err(refusal) => {
            refuse(&mut stream, alert_of(refusal.cause)).await;
            return shared.note(record.refused(&refusal), Some(&traffic));
        }
    };
    record.goes(&route, &passage);
    let outcome = if upstream.write_all(&hello.bytes).await.is_err() {
        refuse(&mut stream, alert_of(Cause::Broken)).await;
        Outcome::Cut(Cause::Broken)
    } else {
        tokio::select! {
            carried = carry(&mut stream, &mut upstream) => match carried {
                Ok(()) => Outcome::Closed,
                Err(_) => Outcome::Reset,
            },
            outcome = shared.cut(&passage, &traffic) => outcome,
        }
    };
    shared.note(record.ended(outcome), Some(&traffic));
}

/// Finds the way and takes it.
pub(super) async fn open<R: Resolve>(
    shared: &Shared<R>,
    client: &Client,
    wanted: &Wanted,
) -> Result<(Route, TcpStream, Passage), Refusal> {
    let route = shared.router.route(wanted).await?;
    let started = tokio::time::Instant::now();
    let within = shared.gateway.timeouts.connect;
    let connected = connect(&route, client.ends, within, &shared.own_ports).await;
    shared.meter.connected(started.elapsed());
    match connected {
        Ok((stream, passage)) => Ok((route, stream, passage)),
        Err(cause) => Err(Refusal { entry: route.entry, ..cause.into() }),
    }
}

/// Says why and closes, such that the client can read it: closing with its bytes unread would
/// make a reset of it, which overtakes the alert.
async fn refuse(stream: &mut Counted<TcpStream>, alert: Vec<u8>) {
    let farewell = async {
        stream.write_all(&alert).await?;
        stream.shutdown().await?;
        tokio::io::copy(&mut stream.take(FAREWELL_BYTES), &mut tokio::io::sink()).await
    };
    // Whether the client listens is its own affair.
    drop(timeout(FAREWELL, farewell).await);
}

fn alert_of(cause: Cause) -> Vec<u8> {
    let description = match cause {
        Cause::NoName => alert::MISSING_EXTENSION,
        Cause::Rule(Reason::NameNotGranted | Reason::NotRegistered) => alert::UNRECOGNIZED_NAME,
        Cause::Rule(_) | Cause::Itself | Cause::NotOffered => alert::ACCESS_DENIED,
        Cause::Malformed | Cause::Silent | Cause::Gone => alert::HANDSHAKE_FAILURE,
        Cause::Unresolved | Cause::Unreachable | Cause::Broken => alert::INTERNAL_ERROR,
    };
    // A record of type alert, the version that every client takes (RFC 8446 §5.1), two bytes: fatal.
    vec![21, 3, 3, 0, 2, 2, description]
}
