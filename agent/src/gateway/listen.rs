//! Listening, letting clients in, and giving each the protocol it speaks.

use std::{io, net::SocketAddr, sync::Arc, time::Duration};

use socket2::{Domain, Protocol, Socket, Type};
use tokio::{
    net::{TcpListener, TcpStream},
    sync::watch,
    task::JoinSet,
    time::{sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{
    connect::Ends,
    http,
    limits::Admission,
    log::{AccessLog, Outcome, Record},
    meter::Meter,
    policy::Policy,
    refusal::Cause,
    route::{Passage, Router},
    sniff, tls,
    traffic::Traffic,
};
use crate::{
    config::gateway::{Gateway, Listener, ListenerProtocol},
    preseed::desk::Resolve,
    workloads::WorkloadKey,
};

/// Connections that the kernel keeps until they are accepted.
const BACKLOG: i32 = 1_024;
/// After an error that concerns more than one client, such as too many open files.
const BREATH: Duration = Duration::from_millis(100);

/// What all connections share.
#[derive(Debug)]
pub struct Shared<R> {
    pub gateway: Gateway,
    pub router: Router<R>,
    pub policy: watch::Receiver<Arc<Policy>>,
    pub admission: Admission,
    pub meter: Meter,
    pub log: AccessLog,
    /// Ports that the gateway listens at.
    pub own_ports: Vec<u16>,
    /// No new requests from here on.
    pub stop: CancellationToken,
}

/// Who is served.
#[derive(Clone, Debug)]
pub struct Client {
    pub gateway: WorkloadKey,
    pub listener: Listener,
    pub ends: Ends,
}

impl<R> Shared<R> {
    /// Counts and logs a request or connection that has ended. With `traffic`, its bytes too.
    pub fn note(&self, mut record: Record, traffic: Option<&Traffic>) {
        if let Some(traffic) = traffic {
            record.sent_bytes = Some(traffic.sent());
            record.received_bytes = Some(traffic.received());
            record.stamp(traffic.age());
            self.meter.moved(traffic.sent(), traffic.received());
        }
        self.meter.ended(&record);
        // Probes knock and leave; a log of them would hide the rest.
        let has_spoken = traffic.is_none_or(|traffic| traffic.sent() > 0);
        let is_probe = record.reason == Cause::Gone.as_str() && !has_spoken;
        if !is_probe && !self.log.write(&record) {
            self.meter.lost_line();
        }
    }

    /// Waits until a connection has to be cut: nothing moves, or its entry is gone.
    pub async fn cut(&self, passage: &Passage, traffic: &Traffic) -> Outcome {
        let mut policy = self.policy.clone();
        let revoked = async {
            loop {
                if !passage.is_permitted(&policy.borrow_and_update()) {
                    return;
                }
                if policy.changed().await.is_err() {
                    // The gateway ends.
                    return std::future::pending().await;
                }
            }
        };
        tokio::select! {
            () = traffic.stands_still(self.gateway.timeouts.idle) => Outcome::Idle,
            () = revoked => Outcome::Revoked,
        }
    }
}

/// Binds one listener. An IPv6 one takes IPv6 alone, so that both families can be listed.
pub fn bind(address: SocketAddr) -> io::Result<TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    socket.bind(&address.into())?;
    socket.listen(BACKLOG)?;
    TcpListener::from_std(socket.into())
}

/// Serves one listener until the gateway stops, and then what is open until the time for that has
/// passed.
pub async fn serve<R: Resolve>(
    tcp: TcpListener,
    listener: Listener,
    shared: Arc<Shared<R>>,
) -> io::Result<()> {
    let label = listener.address.to_string();
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            () = shared.stop.cancelled() => break,
            Some(ended) = connections.join_next() => {
                if let Err(panic) = ended {
                    tracing::error!(%panic, "a connection (this is a bug of exeat)");
                }
                continue;
            }
            accepted = tcp.accept() => accepted,
        };
        let (stream, client) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::debug!(%error, listener = label, "accept");
                sleep(BREATH).await;
                continue;
            }
        };
        let Ok(gateway) = stream.local_addr() else { continue };
        let admitted = match shared.admission.admit(client.ip()) {
            Ok(admitted) => admitted,
            Err(full) => {
                shared.meter.kept_out(full);
                continue;
            }
        };
        shared.meter.accepted(&label);
        drop(stream.set_nodelay(true));
        let ends = Ends { client, gateway };
        let client = Client { gateway: shared.gateway.key.clone(), listener, ends };
        let shared = Arc::clone(&shared);
        connections.spawn(async move {
            let _admitted = admitted;
            welcome(&shared, &client, stream).await;
        });
    }
    drop(tcp);
    let all = async { while connections.join_next().await.is_some() {} };
    if timeout(shared.gateway.timeouts.drain, all).await.is_err() {
        tracing::warn!(listener = label, left = connections.len(), "connections are cut off");
    }
    connections.shutdown().await;
    Ok(())
}

/// Gives a client the protocol of its listener, or the one that it begins with.
async fn welcome<R: Resolve>(shared: &Arc<Shared<R>>, client: &Client, stream: TcpStream) {
    let is_tls = match client.listener.protocol {
        ListenerProtocol::Http => false,
        ListenerProtocol::Tls => true,
        ListenerProtocol::Auto => {
            let mut first = [0];
            let peeked = timeout(shared.gateway.timeouts.handshake, stream.peek(&mut first)).await;
            match peeked {
                Ok(Ok(1..)) => sniff::is_tls(first[0]),
                Ok(Ok(0) | Err(_)) => return note_silent(shared, client, Cause::Gone),
                Err(_) => return note_silent(shared, client, Cause::Silent),
            }
        }
    };
    if is_tls {
        tls::serve(shared, client, stream).await;
    } else {
        http::serve(shared, client, stream).await;
    }
}

fn note_silent<R>(shared: &Shared<R>, client: &Client, cause: Cause) {
    shared.note(Record::new(client, "unknown").refused(&cause.into()), Some(&Traffic::new()));
}
