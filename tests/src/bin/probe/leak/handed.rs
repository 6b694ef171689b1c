//! Sockets that are older than their user's membership in the pod: handed in by a process outside,
//! or brought along by a process that joins. Which socket hooks run was decided when they were made.

use std::fs;
use std::io::{Error, IoSlice, IoSliceMut, Result, stdin};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd as _, OwnedFd};
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::process::{Command, Stdio};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, sendmsg,
};
use socket2::{Protocol, Socket};

use super::{Attempt, datagram, stream};
use crate::reach::outcome;

/// Makes a socket here and hands it to a process that joins the pod and uses it.
pub(super) fn hand_over(attempt: &Attempt, taker: &str) -> Result<()> {
    let socket = match taker {
        "taken-stream" => stream::socket(attempt.to, Protocol::TCP, attempt.wait())?,
        _ => datagram::socket(attempt.to, Protocol::UDP, attempt)?,
    };
    let (ours, theirs) = UnixStream::pair()?;
    let taker = Command::new(std::env::current_exe()?)
        .args(["leak", taker, "--to", &attempt.to.to_string(), "--cgroup"])
        .arg(attempt.cgroup()?)
        .args(["--wait-ms", &attempt.wait_ms.to_string()])
        .stdin(OwnedFd::from(theirs))
        .stdout(Stdio::piped())
        .spawn()?;
    let handed = [socket.as_fd()];
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = SendAncillaryBuffer::new(&mut space);
    if !control.push(SendAncillaryMessage::ScmRights(&handed)) {
        return Err(Error::other("no room for a descriptor"));
    }
    sendmsg(&ours, &[IoSlice::new(b"x")], &mut control, SendFlags::empty())?;
    let output = taker.wait_with_output()?;
    outcome(&serde_json::from_slice(&output.stdout)?)
}

pub(super) fn take_stream(attempt: &Attempt) -> Result<()> {
    let socket = take(attempt)?;
    socket.connect(&attempt.to.into())?;
    stream::page(&socket)
}

pub(super) fn take_datagram(attempt: &Attempt) -> Result<()> {
    let socket = take(attempt)?;
    socket.send_to(b"exeat", &attempt.to.into())?;
    stream::answer(&socket)
}

fn take(attempt: &Attempt) -> Result<Socket> {
    join(attempt.cgroup()?)?;
    let mut space = [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(1))];
    let mut control = RecvAncillaryBuffer::new(&mut space);
    let mut byte = [0];
    recvmsg(stdin(), &mut [IoSliceMut::new(&mut byte)], &mut control, RecvFlags::empty())?;
    let descriptor = control.drain().find_map(|message| {
        if let RecvAncillaryMessage::ScmRights(mut handed) = message { handed.next() } else { None }
    });
    descriptor.map(Socket::from).ok_or_else(|| Error::other("no socket was handed over"))
}

/// Makes a socket, joins the pod, and connects.
pub(super) fn late_stream(attempt: &Attempt) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::TCP, attempt.wait())?;
    join(attempt.cgroup()?)?;
    socket.connect(&attempt.to.into())?;
    stream::page(&socket)
}

pub(super) fn late_datagram(attempt: &Attempt) -> Result<()> {
    let socket = datagram::socket(attempt.to, Protocol::UDP, attempt)?;
    join(attempt.cgroup()?)?;
    socket.send_to(b"exeat", &attempt.to.into())?;
    stream::answer(&socket)
}

/// Moves this process into a cgroup.
fn join(cgroup: &Path) -> Result<()> {
    fs::write(cgroup.join("cgroup.procs"), "0")
}
