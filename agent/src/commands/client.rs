//! Asks the running agent over its unix socket: HTTP, so that `curl --unix-socket` works too.

use std::path::Path;

use anyhow::{Context as _, bail};
use http_body_util::{BodyExt as _, Empty};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use tokio::net::UnixStream;

/// Runs `command` on a runtime of its own.
pub(super) fn block_on<T>(command: impl Future<Output = anyhow::Result<T>>) -> anyhow::Result<T> {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .context("start the runtime")?
        .block_on(command)
}

/// Asks for a page; an answer other than 200 is an error with the agent's words.
#[expect(clippy::disallowed_methods, reason = "the process ends with its one connection")]
pub(super) async fn ask(socket: &Path, page: &str) -> anyhow::Result<Incoming> {
    let stream = UnixStream::connect(socket).await.with_context(|| {
        format!(
            "no agent answers at {} (does it run, is this the `socket` of its configuration, and may this user open it?)",
            socket.display()
        )
    })?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await?;
    // Ends with the answer or with the process.
    tokio::spawn(async move {
        if let Err(error) = connection.await {
            tracing::debug!(%error, "connection to the agent");
        }
    });
    let request = Request::get(page).header(header::HOST, "exeat").body(Empty::<Bytes>::new())?;
    let response = sender.send_request(request).await.context("ask the agent")?;
    let status = response.status();
    if !status.is_success() {
        let words = response.into_body().collect().await?.to_bytes();
        bail!("the agent says: {} ({status})", String::from_utf8_lossy(&words).trim());
    }
    // The connection ends when its sender is dropped and the body is read.
    Ok(response.into_body())
}
