//! A client in a pod: tries one thing and prints what came of it as one JSON object.

mod dns;
mod exchange;
mod flood;
mod forge;
mod leak;
mod load;
mod proxy;
mod reach;
mod session;
mod stream;

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use anyhow::Result;
use clap::{Parser, Subcommand, ValueEnum};
use hickory_proto::rr::RecordType;

/// Tries one thing from where it is started and prints the outcome as JSON.
#[derive(Parser)]
#[command(version)]
struct Args {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Asks a DNS server for a name.
    Resolve {
        name: String,
        #[arg(long)]
        server: SocketAddr,
        #[arg(long, value_enum, default_value = "a")]
        kind: Kind,
        #[arg(long)]
        tcp: bool,
        /// Message id, for tests which forge an answer to it.
        #[arg(long)]
        id: Option<u16>,
        /// Local port, for the same.
        #[arg(long, default_value_t = 0)]
        local_port: u16,
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
    },
    /// Asks a DNS server several questions over one TCP connection.
    Stream {
        /// `NAME/TYPE`
        #[arg(required = true)]
        questions: Vec<String>,
        #[arg(long)]
        server: SocketAddr,
        /// Writes in pieces: takes a breath after so many bytes.
        #[arg(long)]
        cut: Vec<usize>,
        /// Sends each piece at once (`TCP_NODELAY`).
        #[arg(long)]
        no_delay: bool,
        #[arg(long, default_value_t = 5000)]
        timeout_ms: u64,
    },
    /// Opens a TCP connection and asks for a page.
    Connect {
        address: IpAddr,
        port: u16,
        /// Binds the socket to this interface.
        #[arg(long)]
        device: Option<String>,
        #[arg(long, default_value_t = 3000)]
        timeout_ms: u64,
    },
    /// Sends a datagram and waits for it to come back.
    Udp {
        address: IpAddr,
        port: u16,
        /// Connects the socket before sending; else each datagram names its destination.
        #[arg(long)]
        connected: bool,
        /// Where the same socket sends another datagram, which is the one that counts.
        #[arg(long, conflicts_with = "connected")]
        then: Option<IpAddr>,
        #[arg(long, default_value_t = 1500)]
        timeout_ms: u64,
    },
    /// Resolves `n<i>.SUFFIX` for i = first… and connects to the answer at once.
    ResolveConnect {
        suffix: String,
        port: u16,
        #[arg(long)]
        server: SocketAddr,
        #[arg(long, default_value_t = 0)]
        first: u32,
        #[arg(long, default_value_t = 1)]
        count: u32,
        #[arg(long, value_enum, default_value = "a")]
        kind: Kind,
        #[arg(long)]
        tcp: bool,
    },
    /// Connects to allowed and to denied addresses in turn.
    Load {
        #[arg(long, required = true)]
        allowed: Vec<SocketAddr>,
        #[arg(long, required = true)]
        denied: Vec<SocketAddr>,
        /// Stops after this many connects.
        #[arg(long)]
        attempts: u64,
        /// Goes on beyond `attempts` until this file exists.
        #[arg(long)]
        until: Option<std::path::PathBuf>,
    },
    /// Sends a DNS answer that nobody gave, from any source address this host can bind.
    Forge {
        #[arg(long)]
        from: SocketAddr,
        #[arg(long)]
        to: SocketAddr,
        #[arg(long)]
        id: u16,
        #[arg(long)]
        name: String,
        #[arg(long)]
        answer: IpAddr,
        #[arg(long, default_value_t = 1)]
        times: u32,
    },
    /// Sends bytes, written in hexadecimal, in one datagram, and waits for whatever comes back.
    Exchange {
        to: SocketAddr,
        bytes: String,
        #[arg(long, default_value_t = 1000)]
        timeout_ms: u64,
    },
    /// Tries one way out of the pod.
    Leak(leak::Attempt),
    /// Asks for `n<i>.SUFFIX`, again and again, and reads no answer.
    FloodQueries {
        suffix: String,
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        count: u32,
    },
    /// Sends a datagram to each of many addresses.
    FloodFlows {
        first: std::net::Ipv4Addr,
        port: u16,
        #[arg(long)]
        count: u32,
    },
    /// Sends many datagrams from one local port.
    FloodDatagrams {
        to: SocketAddr,
        #[arg(long)]
        count: u32,
    },
    /// Resolves a name many times and tells how long that took.
    Pace {
        name: String,
        #[arg(long)]
        server: SocketAddr,
        #[arg(long)]
        count: usize,
    },
    /// Keeps connections open and does what the lines on standard input say.
    Session,
    /// Stands in a pod as its proxy.
    Proxy {
        port: u16,
        /// Answers with the original destination and goes no further.
        #[arg(long)]
        tell: bool,
    },
    /// Stands on the internet and tells each client where it is.
    Here { port: u16 },
    /// Dials through such a proxy, many at a time, and compares.
    Originals {
        #[arg(long, required = true)]
        to: Vec<SocketAddr>,
        #[arg(long)]
        clients: u32,
        #[arg(long)]
        connections: u32,
    },
    /// Keeps a CPU busy until it is ended.
    Burn,
}

#[derive(Clone, Copy, ValueEnum)]
enum Kind {
    A,
    Aaaa,
}

impl Kind {
    fn record_type(self) -> RecordType {
        match self {
            Self::A => RecordType::A,
            Self::Aaaa => RecordType::AAAA,
        }
    }
}

fn main() -> Result<()> {
    let output = match Args::parse().command {
        Command::Resolve { name, server, kind, tcp, id, local_port, timeout_ms } => {
            let question = dns::Question {
                name: &name,
                kind: kind.record_type(),
                server,
                id,
                local_port,
                tcp,
                timeout: Duration::from_millis(timeout_ms),
            };
            serde_json::to_string(&dns::resolve(&question)?)?
        }
        Command::Stream { questions, server, cut, no_delay, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            let questions =
                stream::Questions { list: &questions, server, cuts: &cut, no_delay, timeout };
            serde_json::to_string(&stream::ask(&questions)?)?
        }
        Command::Connect { address, port, device, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            let destination = SocketAddr::new(address, port);
            serde_json::to_string(&reach::connect(destination, device.as_deref(), timeout))?
        }
        Command::Udp { address, port, connected, then, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            let destination = SocketAddr::new(address, port);
            let then = then.map(|address| SocketAddr::new(address, port));
            serde_json::to_string(&reach::udp(destination, connected, then, timeout))?
        }
        Command::ResolveConnect { suffix, port, server, first, count, kind, tcp } => {
            let names = (first..first + count).map(|number| format!("n{number}.{suffix}"));
            let over = (tcp, kind.record_type());
            serde_json::to_string(&load::first_connects(names, over, server, port)?)?
        }
        Command::Load { allowed, denied, attempts, until } => {
            serde_json::to_string(&load::load(&allowed, &denied, attempts, until.as_deref()))?
        }
        Command::Forge { from, to, id, name, answer, times } => {
            forge::send(from, to, id, &name, answer, times)?;
            "{}".to_owned()
        }
        Command::Exchange { to, bytes, timeout_ms } => {
            let timeout = Duration::from_millis(timeout_ms);
            serde_json::to_string(&exchange::exchange(to, &bytes, timeout)?)?
        }
        Command::Leak(attempt) => serde_json::to_string(&attempt.make())?,
        Command::FloodQueries { suffix, server, count } => {
            serde_json::to_string(&flood::queries(server, &suffix, count)?)?
        }
        Command::FloodFlows { first, port, count } => {
            serde_json::to_string(&flood::flows(first, port, count)?)?
        }
        Command::FloodDatagrams { to, count } => {
            serde_json::to_string(&flood::datagrams(to, count)?)?
        }
        Command::Pace { name, server, count } => {
            serde_json::to_string(&flood::pace(server, &name, count)?)?
        }
        Command::Proxy { port, tell } => return proxy::serve(port, tell),
        Command::Here { port } => return proxy::name_itself(port),
        Command::Originals { to, clients, connections } => {
            serde_json::to_string(&proxy::compare(&to, clients, connections))?
        }
        Command::Session => return session::run(),
        Command::Burn => burn(),
    };
    println!("{output}");
    Ok(())
}

fn burn() -> ! {
    loop {
        std::hint::spin_loop();
    }
}
