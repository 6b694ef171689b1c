//! Keeps the packets that pass the interfaces of a namespace, each with its direction.

use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;
use std::time::Duration;

use anyhow::Result;
use nix::errno::Errno;
use nix::sys::socket::{LinkAddr, recvfrom};

use crate::netns::NetNs;
use crate::{tap, wait};

/// `PACKET_OUTGOING` of packet(7): the namespace itself sent it.
const OUTGOING: u8 = 4;
const PACKET_BYTES: usize = 2048;

/// A packet from its IP header on, cut to `PACKET_BYTES`.
#[derive(Clone, Debug)]
pub struct Captured {
    pub outgoing: bool,
    pub bytes: Vec<u8>,
}

/// Captures from its start to its end.
#[derive(Debug)]
pub struct Capture {
    // Held to add one packet or to copy them.
    packets: Arc<Mutex<Vec<Captured>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Capture {
    pub fn start(netns: &NetNs) -> Result<Self> {
        let socket = netns.run(tap::open)??;
        let packets = Arc::default();
        let stop = Arc::new(AtomicBool::new(false));
        let (kept, stopped) = (Arc::clone(&packets), Arc::clone(&stop));
        let thread = std::thread::Builder::new()
            .name("capture".to_owned())
            .spawn(move || keep(&socket, &kept, &stopped))?;
        Ok(Self { packets, stop, thread: Some(thread) })
    }

    /// What was captured so far. Packets may be on their way; see [`Self::wait_for`].
    pub fn packets(&self) -> Vec<Captured> {
        self.packets.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Packets that `wanted` knows, once there is one or `deadline` has passed.
    pub fn wait_for<T>(
        &self,
        deadline: Duration,
        wanted: impl Fn(&Captured) -> Option<T>,
    ) -> Vec<T> {
        let find = || self.packets().iter().filter_map(&wanted).collect::<Vec<_>>();
        wait::until(deadline, || Some(find()).filter(|found| !found.is_empty())).unwrap_or_default()
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

fn keep(socket: &OwnedFd, packets: &Mutex<Vec<Captured>>, stop: &AtomicBool) {
    let mut packet = [0; PACKET_BYTES];
    while !stop.load(Ordering::Relaxed) {
        match recvfrom::<LinkAddr>(socket.as_raw_fd(), &mut packet) {
            Ok((length, from)) => {
                let bytes = packet[..length.min(PACKET_BYTES)].to_vec();
                let outgoing = from.is_some_and(|from| from.pkttype() == OUTGOING);
                let captured = Captured { outgoing, bytes };
                packets.lock().unwrap_or_else(PoisonError::into_inner).push(captured);
            }
            Err(Errno::EAGAIN | Errno::EINTR) => {}
            // The tests then miss what they wait for.
            Err(_) => return,
        }
    }
}
