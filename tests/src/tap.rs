//! Sees every packet that reaches a namespace, by destination: the strictest receiver. It
//! notices a SYN, a datagram or a ping that no server would have counted.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, MsgFlags, SockFlag, SockProtocol, SockType, recv, setsockopt, socket, sockopt,
};
use nix::sys::time::{TimeVal, TimeValLike};

use crate::netns::NetNs;
use crate::node::Node;
use crate::wait;

/// Where the barrier's datagrams go: the discard port of an address no test uses.
const BARRIER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(192, 0, 2, 254)), 9);
const BARRIER_DEADLINE: Duration = Duration::from_secs(10);
const RECEIVE_BUFFER_BYTES: usize = 32 << 20;

type Counts = Arc<Mutex<BTreeMap<(IpAddr, u16), u64>>>;

/// Counts packets that reach the internet of a node.
#[derive(Debug)]
pub struct Tap {
    // Held for one map operation at a time.
    counts: Counts,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
    sender: NetNs,
}

impl Tap {
    pub fn start(node: &Node) -> Result<Self> {
        let socket = node.internet().run(open)??;
        let counts = Counts::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (counted, stopped) = (Arc::clone(&counts), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("tap".to_owned())
            .spawn(move || watch(&socket, &counted, &stopped))?;
        Ok(Self { counts, stop, thread: Some(thread), sender: node.netns().clone() })
    }

    /// Packets that arrived for `address` so far, whatever their port and protocol.
    pub fn packets(&self, address: IpAddr) -> Result<u64> {
        self.barrier()?;
        Ok(self.sum(|(ip, _)| ip == address))
    }

    /// Packets that arrived for one address and port.
    pub fn packets_to(&self, destination: SocketAddr) -> Result<u64> {
        self.barrier()?;
        Ok(self.sum(|(ip, port)| ip == destination.ip() && port == destination.port()))
    }

    fn sum(&self, wanted: impl Fn((IpAddr, u16)) -> bool) -> u64 {
        let counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        counts.iter().filter(|(key, _)| wanted(**key)).map(|(_, count)| count).sum()
    }

    /// Sends a datagram down the same wire and waits until it was seen, so everything that
    /// was sent before it has been counted.
    fn barrier(&self) -> Result<()> {
        let count = || self.sum(|key| key == (BARRIER.ip(), BARRIER.port()));
        let before = count();
        self.sender
            .run(|| {
                UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0))
                    .and_then(|socket| socket.send_to(b"barrier", BARRIER))
            })?
            .context("send the barrier datagram")?;
        let seen = wait::holds(BARRIER_DEADLINE, || count() > before);
        ensure!(seen, "the tap did not see its own barrier datagram: packets may be uncounted");
        Ok(())
    }
}

impl Drop for Tap {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take()
            && thread.join().is_err()
            && !std::thread::panicking()
        {
            panic!("the tap thread panicked");
        }
    }
}

/// `SOCK_DGRAM` leaves out the link header, so a packet begins with its IP header.
pub(crate) fn open() -> Result<OwnedFd> {
    let (family, kind) = (AddressFamily::Packet, SockType::Datagram);
    let socket = socket(family, kind, SockFlag::SOCK_CLOEXEC, SockProtocol::EthAll)
        .context("open a packet socket (needs CAP_NET_RAW)")?;
    setsockopt(&socket, sockopt::RcvBufForce, &RECEIVE_BUFFER_BYTES)?;
    setsockopt(&socket, sockopt::ReceiveTimeout, &TimeVal::milliseconds(50))?;
    Ok(socket)
}

fn watch(socket: &OwnedFd, counts: &Counts, stop: &AtomicBool) {
    let mut packet = [0; 128];
    while !stop.load(Ordering::Relaxed) {
        match recv(socket.as_raw_fd(), &mut packet, MsgFlags::empty()) {
            Ok(length) => {
                if let Some(key) = destination(&packet[..length.min(packet.len())]) {
                    let mut counts = counts.lock().unwrap_or_else(PoisonError::into_inner);
                    *counts.entry(key).or_default() += 1;
                }
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The barrier then reports it.
            Err(_) => return,
        }
    }
}

/// Destination address, and port where there is one (0 otherwise).
fn destination(packet: &[u8]) -> Option<(IpAddr, u16)> {
    let (address, protocol, header) = match packet.first()? >> 4 {
        4 => {
            let bytes: [u8; 4] = packet.get(16..20)?.try_into().ok()?;
            let header = usize::from(packet[0] & 0x0f) * 4;
            (IpAddr::V4(Ipv4Addr::from(bytes)), *packet.get(9)?, header)
        }
        6 => {
            let bytes: [u8; 16] = packet.get(24..40)?.try_into().ok()?;
            (IpAddr::V6(Ipv6Addr::from(bytes)), *packet.get(6)?, 40)
        }
        _ => return None,
    };
    let port = match protocol {
        6 | 17 => {
            let bytes: [u8; 2] = packet.get(header + 2..header + 4)?.try_into().ok()?;
            u16::from_be_bytes(bytes)
        }
        _ => 0,
    };
    Some((address, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn destination_of_a_tcp_packet() {
        let mut packet = [0; 40];
        packet[0] = 0x45;
        packet[9] = 6;
        packet[16..20].copy_from_slice(&[192, 0, 2, 10]);
        packet[22..24].copy_from_slice(&443_u16.to_be_bytes());
        let expected = (IpAddr::from([192, 0, 2, 10]), 443);
        assert_eq!(destination(&packet), Some(expected));
        assert_eq!(destination(&packet[..20]), None, "cut short");
    }
}
