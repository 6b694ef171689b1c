//! `AF_PACKET`: whole Ethernet frames, past everything that knows of IP.

use std::io::{Error, Result};
use std::os::fd::AsRawFd as _;

use nix::sys::socket::{AddressFamily, MsgFlags, SockFlag, SockType, sendto, socket};

use super::Attempt;

/// The pod's interface.
const INTERFACE: &str = "eth0";

pub(super) fn send(attempt: &Attempt) -> Result<()> {
    if attempt.bytes.is_empty() {
        return Err(Error::other("this way takes --bytes"));
    }
    let socket = socket(AddressFamily::Packet, SockType::Raw, SockFlag::SOCK_CLOEXEC, None)?;
    let interface = nix::ifaddrs::getifaddrs()?
        .filter(|it| it.interface_name == INTERFACE)
        .find_map(|it| it.address.and_then(|address| address.as_link_addr().copied()))
        .ok_or_else(|| Error::other(format!("no interface {INTERFACE}")))?;
    for bytes in &attempt.bytes {
        sendto(socket.as_raw_fd(), &bytes.0, &interface, MsgFlags::empty())?;
    }
    Ok(())
}
