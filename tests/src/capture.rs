//! Keeps every frame that reaches one interface of a namespace: the strictest receiver, for what is
//! no connection and no datagram, or must be looked at more closely than [`crate::tap`] does.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::libc::{PACKET_HOST, PACKET_OUTGOING};
use nix::net::if_::if_nametoindex;
use nix::sched::{CpuSet, sched_getaffinity, sched_setaffinity};
use nix::sys::socket::{
    AddressFamily, LinkAddr, SockFlag, SockProtocol, SockType, recvfrom, setsockopt, socket,
    sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};
use nix::unistd::Pid;

use crate::frame::Mac;
use crate::netns::NetNs;
use crate::wait;

const BARRIER_DEADLINE: Duration = Duration::from_secs(10);
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;
/// Longer than any frame here needs to be told apart.
const FRAME_BYTES: usize = 512;

/// A frame that arrived, from its Ethernet header on.
#[derive(Clone, Debug)]
pub struct Seen {
    pub bytes: Vec<u8>,
    /// Whether it was meant for this interface alone.
    pub for_us: bool,
}

impl Seen {
    pub fn source_mac(&self) -> Option<Mac> {
        self.array(6)
    }

    pub fn ethertype(&self) -> Option<u16> {
        self.array(12).map(u16::from_be_bytes)
    }

    pub fn source(&self) -> Option<IpAddr> {
        match self.ethertype()? {
            0x0800 => self.array::<4>(26).map(|ip| Ipv4Addr::from(ip).into()),
            0x86dd => self.array::<16>(22).map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        }
    }

    pub fn destination(&self) -> Option<IpAddr> {
        match self.ethertype()? {
            0x0800 => self.array::<4>(30).map(|ip| Ipv4Addr::from(ip).into()),
            0x86dd => self.array::<16>(38).map(|ip| Ipv6Addr::from(ip).into()),
            _ => None,
        }
    }

    /// What the IP header says follows: a transport, or an extension header.
    pub fn next_header(&self) -> Option<u8> {
        match self.ethertype()? {
            0x0800 => self.bytes.get(23).copied(),
            0x86dd => self.bytes.get(20).copied(),
            _ => None,
        }
    }

    /// What follows the IP header with its options.
    pub fn body(&self) -> &[u8] {
        let header = match self.ethertype() {
            Some(0x0800) => usize::from(self.bytes.get(14).unwrap_or(&0) & 0x0f) * 4,
            Some(0x86dd) => 40,
            _ => 0,
        };
        self.bytes.get(14 + header..).unwrap_or_default()
    }

    /// Whether these bytes stand anywhere in it.
    pub fn holds(&self, bytes: &[u8]) -> bool {
        self.bytes.windows(bytes.len()).any(|window| window == bytes)
    }

    /// Whether it is a plain UDP datagram with this destination.
    pub fn is_datagram_to(&self, to: SocketAddr) -> bool {
        self.next_header() == Some(17)
            && self.destination() == Some(to.ip())
            && self.body().get(2..4) == Some(&to.port().to_be_bytes()[..])
    }

    fn array<const N: usize>(&self, at: usize) -> Option<[u8; N]> {
        self.bytes.get(at..at + N)?.try_into().ok()
    }
}

/// Everything that arrives at an interface, in order.
#[derive(Debug)]
pub struct Capture {
    // Held for one look or one push at a time.
    seen: Arc<Mutex<Vec<Seen>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// A position in a capture.
#[derive(Clone, Copy, Debug)]
pub struct Mark(usize);

impl Capture {
    pub fn start(netns: &NetNs, interface: &str) -> Result<Self> {
        let (socket, index) = netns.run(|| -> Result<_> {
            let index = if_nametoindex(interface).with_context(|| format!("find {interface}"))?;
            Ok((open()?, usize::try_from(index)?))
        })??;
        let seen = Arc::<Mutex<Vec<Seen>>>::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&seen), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || watch(&socket, index, &kept, &stopped))?;
        Ok(Self { seen, stop, thread: Some(thread) })
    }

    /// Everything seen so far lies before the mark.
    pub fn mark(&self) -> Mark {
        Mark(self.frames().len())
    }

    /// How many of the frames behind the mark are wanted.
    pub fn count(&self, since: Mark, wanted: impl Fn(&Seen) -> bool) -> u64 {
        let frames = self.frames();
        let behind = frames.get(since.0..).unwrap_or_default();
        behind.iter().map(|seen| u64::from(wanted(seen))).sum()
    }

    /// Sends datagrams over the whole way from `sender` to here and waits until they were seen, so
    /// all that was sent before them over the same way has arrived, or never will. One from each
    /// CPU: the kernel keeps the order of frames within a CPU, and not beyond.
    pub fn barrier(&self, sender: &NetNs, to: SocketAddr) -> Result<()> {
        let mark = self.mark();
        let from: IpAddr = match to {
            SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
            SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
        };
        let sent = sender
            .run(|| -> Result<u64> {
                let socket = UdpSocket::bind((from, 0))?;
                let own = Pid::from_raw(0);
                let cpus = sched_getaffinity(own)?;
                let mut sent = 0;
                for cpu in (0..CpuSet::count()).filter(|cpu| cpus.is_set(*cpu).unwrap_or(false)) {
                    let mut one = CpuSet::new();
                    one.set(cpu)?;
                    sched_setaffinity(own, &one)?;
                    socket.send_to(b"barrier", to)?;
                    sent += 1;
                }
                Ok(sent)
            })?
            .with_context(|| format!("send the barrier to {to}"))?;
        let arrived = || self.count(mark, |seen| seen.is_datagram_to(to)) >= sent;
        let all = wait::holds(BARRIER_DEADLINE, arrived);
        ensure!(all, "the barrier to {to} was not seen: frames may be uncounted");
        Ok(())
    }

    fn frames(&self) -> MutexGuard<'_, Vec<Seen>> {
        self.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Drop for Capture {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the capture thread panicked");
        }
    }
}

fn open() -> Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Packet, SockType::Raw);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .context("open a packet socket (needs CAP_NET_RAW)")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    Ok(socket)
}

/// Keeps what arrives at the interface with this index; the socket sees all of them.
fn watch(socket: &OwnedFd, index: usize, kept: &Mutex<Vec<Seen>>, stop: &AtomicBool) {
    let mut frame = [0; FRAME_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut frame) {
            Ok((length, from)) => {
                let kind = from.map_or(PACKET_HOST, |from| from.pkttype());
                if kind != PACKET_OUTGOING && from.is_some_and(|from| from.ifindex() == index) {
                    let bytes = frame[..length.min(FRAME_BYTES)].to_vec();
                    let seen = Seen { bytes, for_us: kind == PACKET_HOST };
                    kept.lock().unwrap_or_else(PoisonError::into_inner).push(seen);
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The barrier then reports it.
            Err(_) => return,
        }
    }
}
