//! HTTP over TCP or TLS on every address of a namespace: counts accepted connections and
//! answers each with one short page.

use std::net::{Ipv6Addr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinSet;
use tokio::time::timeout;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

use super::{Arrivals, ServerThread};
use crate::netns::NetNs;

/// What a client finds in the page.
pub const PAGE: &str = "exeat test page\n";

/// A client that opens a connection and says nothing is let go after this.
const SILENT_FOR: Duration = Duration::from_secs(10);

#[derive(Debug)]
pub struct HttpServer {
    arrivals: Arrivals,
    _thread: ServerThread,
}

impl HttpServer {
    /// Serves plain HTTP on `plain` and HTTPS with a self-signed certificate on `tls` ports,
    /// on all IPv4 and IPv6 addresses.
    pub fn start(netns: &NetNs, plain: &[u16], tls: &[u16]) -> Result<Self> {
        let arrivals = Arrivals::default();
        let (counted, plain, tls) = (arrivals.clone(), plain.to_vec(), tls.to_vec());
        let thread = ServerThread::start(netns, "http", move || async move {
            let acceptor = acceptor()?;
            let mut tasks = JoinSet::new();
            for (port, acceptor) in plain
                .into_iter()
                .map(|port| (port, None))
                .chain(tls.into_iter().map(|port| (port, Some(acceptor.clone()))))
            {
                let listener = TcpListener::bind((Ipv6Addr::UNSPECIFIED, port))
                    .await
                    .with_context(|| format!("listen on TCP port {port}"))?;
                tasks.spawn(listen(listener, acceptor, counted.clone()));
            }
            Ok(tasks)
        })?;
        Ok(Self { arrivals, _thread: thread })
    }

    /// Serves plain HTTP on one port over TCP with several paths (RFC 8684).
    pub fn start_mptcp(netns: &NetNs, port: u16) -> Result<Self> {
        let arrivals = Arrivals::default();
        let counted = arrivals.clone();
        let thread = ServerThread::start(netns, "mptcp", move || async move {
            let address = SocketAddr::from((Ipv6Addr::UNSPECIFIED, port));
            let socket = Socket::new(Domain::IPV6, Type::STREAM, Some(Protocol::MPTCP))
                .context("make an MPTCP socket (net.mptcp.enabled)")?;
            socket.set_nonblocking(true)?;
            socket.bind(&address.into())?;
            socket.listen(16)?;
            let listener = TcpListener::from_std(socket.into())?;
            let mut tasks = JoinSet::new();
            tasks.spawn(listen(listener, None, counted));
            Ok(tasks)
        })?;
        Ok(Self { arrivals, _thread: thread })
    }

    pub fn arrivals(&self) -> &Arrivals {
        &self.arrivals
    }
}

async fn listen(listener: TcpListener, acceptor: Option<TlsAcceptor>, arrivals: Arrivals) {
    let mut connections = JoinSet::new();
    loop {
        let accepted = tokio::select! {
            accepted = listener.accept() => accepted,
            // How a connection ended is what its client reports.
            Some(_) = connections.join_next() => continue,
        };
        // A connection reset before it is accepted is the client's affair.
        let Ok((stream, _)) = accepted else { continue };
        if let Ok(local) = stream.local_addr() {
            arrivals.add(local);
        }
        connections.spawn(timeout(SILENT_FOR, serve(stream, acceptor.clone())));
    }
}

/// Errors end the connection: the client sees them, and its result is what a test checks.
async fn serve(stream: TcpStream, acceptor: Option<TlsAcceptor>) -> std::io::Result<()> {
    match acceptor {
        Some(acceptor) => answer(acceptor.accept(stream).await?).await,
        None => answer(stream).await,
    }
}

async fn answer(mut stream: impl AsyncRead + AsyncWrite + Unpin) -> std::io::Result<()> {
    let mut request = Vec::new();
    while !request.windows(4).any(|window| window == b"\r\n\r\n") {
        if stream.read_buf(&mut request).await? == 0 {
            return Ok(());
        }
    }
    let length = PAGE.len();
    let reply =
        format!("HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{PAGE}");
    stream.write_all(reply.as_bytes()).await?;
    stream.shutdown().await
}

fn acceptor() -> Result<TlsAcceptor> {
    let names = vec!["exeat.test".to_owned()];
    let made = rcgen::generate_simple_self_signed(names).context("make a certificate")?;
    let key = PrivateKeyDer::Pkcs8(made.signing_key.serialize_der().into());
    let config = ServerConfig::builder()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .context("use the certificate")?;
    Ok(TlsAcceptor::from(Arc::new(config)))
}
