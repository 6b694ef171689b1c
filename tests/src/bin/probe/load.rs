//! Many attempts in a row, counted: first connects to new names, and allowed beside denied.

use std::net::{SocketAddr, TcpStream};
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::Result;
use exeat_tests::probe::{FirstConnects, Load};
use hickory_proto::rr::RecordType;
use nix::sys::socket::{setsockopt, sockopt};

use crate::dns::{Question, resolve};
use crate::reach::word;

const TIMEOUT: Duration = Duration::from_secs(5);
/// Failures told in words; the rest is only counted.
const TOLD: usize = 10;

/// Resolves each name and connects to its first address at once.
pub(crate) fn first_connects(
    names: impl Iterator<Item = String>,
    (tcp, kind): (bool, RecordType),
    server: SocketAddr,
    port: u16,
) -> Result<FirstConnects> {
    let start = Instant::now();
    let (mut attempts, mut failed, mut failures) = (0, 0, Vec::new());
    for name in names {
        attempts += 1;
        let (id, local_port) = (None, 0);
        let question =
            Question { name: &name, kind, server, id, local_port, tcp, timeout: TIMEOUT };
        let resolved = resolve(&question)?;
        let problem = match resolved.addresses.first() {
            None => Some(format!("{name}: no address, {}", resolved.rcode)),
            Some(address) => touch(SocketAddr::new(*address, port))
                .err()
                .map(|error| format!("{name}: connect to {address}: {}", word(&error))),
        };
        if let Some(problem) = problem {
            failed += 1;
            if failures.len() < TOLD {
                failures.push(problem);
            }
        }
    }
    Ok(FirstConnects { attempts, failed, failures, seconds: start.elapsed().as_secs_f64() })
}

/// Connects to allowed and denied addresses in turn: at least `attempts` times, and then on
/// until the file `until` exists.
pub(crate) fn load(
    allowed: &[SocketAddr],
    denied: &[SocketAddr],
    attempts: u64,
    until: Option<&Path>,
) -> Load {
    let start = Instant::now();
    let mut load = Load::default();
    let mut turn = 0;
    let pairs = allowed.iter().cycle().zip(denied.iter().cycle());
    for (allowed, denied) in pairs {
        // A look at the file system on each turn would slow the load down.
        if turn >= attempts && (turn % 64 < 2 && until.is_none_or(Path::exists)) {
            break;
        }
        turn += 2;
        let surprise = match touch(*allowed) {
            Ok(()) => {
                load.allowed_ok += 1;
                None
            }
            Err(error) => {
                load.allowed_failed += 1;
                Some(format!("{allowed} is allowed, but: {}", word(&error)))
            }
        };
        note(&mut load, surprise);
        let surprise = match touch(*denied) {
            Ok(()) => {
                load.denied_leaked += 1;
                Some(format!("{denied} is denied, but the connection was made"))
            }
            Err(error) if error.raw_os_error() == Some(nix::libc::EADDRNOTAVAIL) => {
                Some("ran out of local ports: the load proves nothing".to_owned())
            }
            Err(_) => {
                load.denied_blocked += 1;
                None
            }
        };
        note(&mut load, surprise);
    }
    load.seconds = start.elapsed().as_secs_f64();
    load
}

fn note(load: &mut Load, surprise: Option<String>) {
    if let Some(surprise) = surprise
        && load.surprises.len() < TOLD
    {
        load.surprises.push(surprise);
    }
}

/// Connects and hangs up with a reset, so that no local port stays in TIME-WAIT.
fn touch(destination: SocketAddr) -> std::io::Result<()> {
    let stream = TcpStream::connect_timeout(&destination, TIMEOUT)?;
    let at_once = nix::libc::linger { l_onoff: 1, l_linger: 0 };
    setsockopt(&stream, sockopt::Linger, &at_once)?;
    Ok(())
}
