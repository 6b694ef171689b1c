//! Multipath TCP (RFC 8684): connections that may grow further paths by themselves.

use std::fs;
use std::io::{Error, Result, Write as _};
use std::time::Duration;

use exeat_tests::wait;
use socket2::Protocol;

use super::{Attempt, stream};

/// How long the kernel may take to open a path to an address that it was told.
const JOINS_WITHIN: Duration = Duration::from_secs(5);

pub(super) fn connect(attempt: &Attempt) -> Result<()> {
    let socket = stream::socket(attempt.to, Protocol::MPTCP, attempt.wait())?;
    socket.connect(&attempt.to.into())?;
    stream::page(&socket)
}

/// Connects to a server that announces another address of itself, `to`, and waits until the kernel
/// has tried to open a second path there.
pub(super) fn join(attempt: &Attempt) -> Result<()> {
    let via = attempt.via()?;
    let (sent, refused) = joins()?;
    let socket = stream::socket(via, Protocol::MPTCP, JOINS_WITHIN)?;
    socket.connect(&via.into()).map_err(|error| Error::other(format!("to {via}: {error}")))?;
    // The server reads on for the rest of the request, so the connection stays.
    (&socket).write_all(&stream::REQUEST[..1])?;
    let tried = wait::until(JOINS_WITHIN, || match joins() {
        Ok((now_sent, _)) if now_sent > sent => Some(Ok(())),
        Ok((_, now_refused)) if now_refused > refused => {
            Some(Err(Error::from_raw_os_error(nix::libc::EPERM)))
        }
        Ok(_) => None,
        Err(error) => Some(Err(error)),
    });
    tried.unwrap_or_else(|| Err(Error::other("the kernel opened no second path")))
}

/// Further paths that the kernel opened, and that it was not let open, in this network namespace.
fn joins() -> Result<(u64, u64)> {
    let table = fs::read_to_string("/proc/self/net/netstat")?;
    let mut rows = table.lines().filter_map(|line| line.strip_prefix("MPTcpExt:"));
    let (names, values) = (rows.next(), rows.next());
    let counters: Vec<(&str, &str)> = names
        .unwrap_or_default()
        .split_whitespace()
        .zip(values.unwrap_or_default().split_whitespace())
        .collect();
    let number = |name: &str| {
        let value =
            counters.iter().find(|(known, _)| *known == name).map(|(_, value)| value.parse());
        value.and_then(std::result::Result::ok).ok_or_else(|| {
            Error::other(format!("the kernel does not count {name} (since Linux 6.12)"))
        })
    };
    Ok((number("MPJoinSynTx")?, number("MPJoinSynTxConnectErr")?))
}
