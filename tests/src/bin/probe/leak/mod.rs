//! Ways out of a pod that somebody might hope nobody watches, one file an idea. Each is tried once
//! and ends with what its caller sees; whether anything arrived is for the receiver to say.

mod connect;
mod datagram;
mod fastopen;
mod frames;
mod groups;
mod handed;
mod mptcp;
mod option;
mod ping;
mod raw;
mod stream;
mod uring;

use std::io::{Error, Result};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use clap::{Args, ValueEnum};
use exeat_tests::probe::Reached;

use crate::reach::reached;

/// One attempt.
#[derive(Args)]
pub(crate) struct Attempt {
    #[arg(value_enum)]
    way: Way,
    /// Where it should arrive.
    #[arg(long)]
    to: SocketAddr,
    /// A destination that is allowed, for ways that begin there.
    #[arg(long)]
    via: Option<SocketAddr>,
    /// A cgroup to go to on the way.
    #[arg(long)]
    cgroup: Option<PathBuf>,
    /// How long to wait for an answer.
    #[arg(long, default_value_t = 300)]
    wait_ms: u64,
    /// IP protocol of a raw socket.
    #[arg(long, default_value_t = 255)]
    protocol: u8,
    /// Frames or packets to send as they are, in hexadecimal.
    #[arg(long, value_parser = hexadecimal)]
    bytes: Vec<Bytes>,
}

/// A frame or packet.
#[derive(Clone)]
struct Bytes(Vec<u8>);

#[derive(Clone, Copy, ValueEnum)]
enum Way {
    Connect,
    ConnectNonblocking,
    ConnectUring,
    ConnectUringPoll,
    ConnectMptcp,
    JoinMptcp,
    ConnectUnspec,
    ConnectSourceRoute,
    FastopenSend,
    FastopenOption,
    Send,
    Sendto,
    Sendmsg,
    Sendmmsg,
    SendUring,
    ConnectedSend,
    ConnectedSendto,
    UnspecDatagram,
    UdpliteConnect,
    UdpliteSendto,
    PingConnect,
    PingSendto,
    RawSendto,
    RawConnect,
    RawHeader,
    Frames,
    HandedStream,
    HandedDatagram,
    TakenStream,
    TakenDatagram,
    LateStream,
    LateDatagram,
    ThreadStream,
    ThreadDatagram,
}

impl Attempt {
    pub(crate) fn make(&self) -> Reached {
        let start = Instant::now();
        // The word alone would not tell which step of a way failed.
        let outcome = self.attempt().inspect_err(|error| eprintln!("{error}"));
        reached(start, outcome)
    }

    fn attempt(&self) -> Result<()> {
        match self.way {
            Way::Connect => connect::blocking(self),
            Way::ConnectNonblocking => connect::nonblocking(self),
            Way::ConnectUnspec => connect::again(self),
            Way::ConnectSourceRoute => connect::source_route(self),
            Way::ConnectUring => uring::connect(self, false),
            Way::ConnectUringPoll => uring::connect(self, true),
            Way::SendUring => uring::send(self),
            Way::ConnectMptcp => mptcp::connect(self),
            Way::JoinMptcp => mptcp::join(self),
            Way::FastopenSend => fastopen::sendto(self),
            Way::FastopenOption => fastopen::option(self),
            Way::Send => datagram::send(self),
            Way::Sendto => datagram::sendto(self),
            Way::Sendmsg => datagram::sendmsg(self),
            Way::Sendmmsg => datagram::sendmmsg(self),
            Way::ConnectedSend => datagram::connected(self),
            Way::ConnectedSendto => datagram::elsewhere(self),
            Way::UnspecDatagram => datagram::again(self),
            Way::UdpliteConnect => datagram::lite_connected(self),
            Way::UdpliteSendto => datagram::lite(self),
            Way::PingConnect => ping::connect(self),
            Way::PingSendto => ping::sendto(self),
            Way::RawSendto => raw::sendto(self),
            Way::RawConnect => raw::connect(self),
            Way::RawHeader => raw::header(self),
            Way::Frames => frames::send(self),
            Way::HandedStream => handed::hand_over(self, "taken-stream"),
            Way::HandedDatagram => handed::hand_over(self, "taken-datagram"),
            Way::TakenStream => handed::take_stream(self),
            Way::TakenDatagram => handed::take_datagram(self),
            Way::LateStream => handed::late_stream(self),
            Way::LateDatagram => handed::late_datagram(self),
            Way::ThreadStream => groups::thread(self, connect::blocking),
            Way::ThreadDatagram => groups::thread(self, datagram::sendto),
        }
    }

    fn wait(&self) -> Duration {
        Duration::from_millis(self.wait_ms)
    }

    fn via(&self) -> Result<SocketAddr> {
        self.via.ok_or_else(|| Error::other("this way takes --via"))
    }

    fn cgroup(&self) -> Result<&Path> {
        self.cgroup.as_deref().ok_or_else(|| Error::other("this way takes --cgroup"))
    }
}

fn hexadecimal(text: &str) -> std::result::Result<Bytes, String> {
    let digit =
        |byte: &u8| char::from(*byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
    let pair = |pair: &[u8]| match pair {
        [high, low] => Some(digit(high)? << 4 | digit(low)?),
        _ => None,
    };
    let bytes: Option<Vec<u8>> = text.as_bytes().chunks(2).map(pair).collect();
    bytes.map(Bytes).ok_or_else(|| format!("`{text}` is not hexadecimal"))
}
