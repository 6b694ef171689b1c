//! A socket option that no crate offers: IP options, source routes among them (ip(7)).

use std::io::{Error, Result};
use std::os::fd::{AsFd, AsRawFd as _};

use nix::libc::{IP_OPTIONS, IPPROTO_IP, setsockopt, socklen_t};

/// Has the kernel put `options` into every IPv4 header that it writes for this socket.
pub(super) fn set_ip_options(socket: impl AsFd, options: &[u8]) -> Result<()> {
    let socket = socket.as_fd().as_raw_fd();
    let length = socklen_t::try_from(options.len()).map_err(Error::other)?;
    // SAFETY: pointer and length are those of one slice, which outlives the call; the kernel copies.
    let done =
        unsafe { setsockopt(socket, IPPROTO_IP, IP_OPTIONS, options.as_ptr().cast(), length) };
    if done == 0 { Ok(()) } else { Err(Error::last_os_error()) }
}
