//! The first bytes of a client: whether they begin TLS, and the server name in its `ClientHello`.
//!
//! The message is read by rustls, as a server would: over several records and segments, with
//! nothing decrypted. What was read stays with us and goes on to the destination as it came.

use rustls::server::Acceptor;
use tokio::io::{AsyncRead, AsyncReadExt as _};

use super::{
    host::{Host, HostName},
    refusal::Cause,
};

/// First byte of a TLS record that carries a handshake (RFC 8446 §5.1).
const HANDSHAKE: u8 = 22;
/// Bytes taken in at a time.
const STEP_BYTES: usize = 4_096;

/// Whether a first byte is that of TLS.
pub const fn is_tls(first: u8) -> bool {
    first == HANDSHAKE
}

/// A `ClientHello`.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Hello {
    pub name: Host,
    /// All that the client has sent, to be passed on.
    pub bytes: Vec<u8>,
}

/// Why there is none.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct NoHello {
    pub cause: Cause,
    /// What a TLS server would say to it, if anything.
    pub alert: Vec<u8>,
}

/// Reads until the `ClientHello` is whole. Takes in at most `limit` bytes, and a step more.
pub async fn hello<S: AsyncRead + Unpin>(stream: &mut S, limit: usize) -> Result<Hello, NoHello> {
    let mut listening = Listening::default();
    let mut bytes = Vec::with_capacity(STEP_BYTES);
    loop {
        if bytes.len() >= limit {
            return Err(Cause::Malformed.into());
        }
        let known = bytes.len();
        bytes.reserve(STEP_BYTES);
        match stream.read_buf(&mut bytes).await {
            Ok(0) | Err(_) => return Err(Cause::Gone.into()),
            Ok(_) => {}
        }
        let new = bytes.get(known..).unwrap_or_default();
        match listening.hear(new)? {
            Heard::Part => {}
            Heard::Name(name) => return Ok(Hello { name: Host::Name(name), bytes }),
            Heard::NoName => return Err(Cause::NoName.into()),
        }
    }
}

/// The part that reads bytes and waits for none.
#[derive(Default)]
struct Listening {
    acceptor: Acceptor,
}

/// What a `ClientHello` has said so far.
enum Heard {
    Part,
    Name(HostName),
    NoName,
}

impl Listening {
    /// What is known after these bytes, which follow those before.
    fn hear(&mut self, mut bytes: &[u8]) -> Result<Heard, NoHello> {
        while !bytes.is_empty() {
            // It takes as much as it has room for, and fails when it has none.
            match self.acceptor.read_tls(&mut bytes) {
                Ok(0) | Err(_) => return Err(Cause::Malformed.into()),
                Ok(_) => {}
            }
            match self.acceptor.accept() {
                Ok(None) => {}
                Ok(Some(accepted)) => {
                    let name = accepted.client_hello().server_name().and_then(HostName::parse);
                    return Ok(name.map_or(Heard::NoName, Heard::Name));
                }
                Err((error, mut alert)) => {
                    tracing::debug!(%error, "ClientHello");
                    let mut bytes = Vec::new();
                    // Writing to a `Vec` does not fail.
                    drop(alert.write_all(&mut bytes));
                    return Err(NoHello { cause: Cause::Malformed, alert: bytes });
                }
            }
        }
        Ok(Heard::Part)
    }
}

impl From<Cause> for NoHello {
    fn from(cause: Cause) -> Self {
        Self { cause, alert: Vec::new() }
    }
}

#[cfg(test)]
pub(super) mod tests;
