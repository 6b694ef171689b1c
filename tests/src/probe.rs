//! What `exeat-probe` prints: one JSON object a run, the same types on both sides.

use std::net::{IpAddr, SocketAddr};

use serde::{Deserialize, Serialize};

/// Result of `exeat-probe resolve`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Resolved {
    /// The response code (`NoError`, `NXDomain`, …), or what kept an answer away: the name of
    /// an errno, `TIMEOUT`.
    pub rcode: String,
    pub addresses: Vec<IpAddr>,
    pub micros: u64,
}

/// Result of `exeat-probe stream`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Stream {
    /// Those that came.
    pub answers: Vec<Resolved>,
    /// `OK` if all came, or what kept the next one away.
    pub end: String,
    pub micros: u64,
}

/// Result of `exeat-probe connect` and `exeat-probe udp`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Reached {
    /// `OK`, the name of an errno such as `EPERM`, or `TIMEOUT`.
    pub result: String,
    pub micros: u64,
    /// Who is at the other end, as the application is told: by `getpeername()` of a connected
    /// socket, else by the datagram that came back.
    #[serde(default)]
    pub peer: Option<SocketAddr>,
}

/// Result of `exeat-probe exchange`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct Exchanged {
    /// As in [`Reached`].
    pub result: String,
    pub answer: Vec<u8>,
}

/// Result of `exeat-probe resolve-connect`.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub struct FirstConnects {
    pub attempts: u32,
    pub failed: u32,
    /// The first few failures, in words.
    pub failures: Vec<String>,
    pub seconds: f64,
}

/// Result of `exeat-probe load`.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Load {
    pub allowed_ok: u64,
    pub allowed_failed: u64,
    pub denied_blocked: u64,
    pub denied_leaked: u64,
    /// The first few failures and leaks, in words.
    pub surprises: Vec<String>,
    pub seconds: f64,
}

/// Result of `exeat-probe originals`: what a proxy was told of connections, and what it should have been.
#[derive(Clone, Debug, Default, Serialize, Deserialize)]
pub struct Originals {
    pub right: u64,
    pub wrong: u64,
    /// The proxy was told nothing.
    pub missing: u64,
    /// Reset by the client before the proxy said anything.
    pub reset: u64,
    pub failed: u64,
    /// Distinct ports that the connections came from.
    pub source_ports: usize,
    /// The first few that went wrong, in words.
    pub surprises: Vec<String>,
}

impl Originals {
    /// One connection to `to`, of which the proxy said `told`.
    pub fn note(&mut self, to: SocketAddr, told: Option<&str>) {
        match told {
            None => self.reset += 1,
            Some("none") => self.missing += 1,
            Some(told) if told == to.to_string() => self.right += 1,
            Some(told) => {
                self.wrong += 1;
                self.surprise(&format!("{to} was said to be {told}"));
            }
        }
    }

    pub fn fail(&mut self, why: &str) {
        self.failed += 1;
        self.surprise(why);
    }

    fn surprise(&mut self, what: &str) {
        const KEPT: usize = 5;
        if self.surprises.len() < KEPT {
            self.surprises.push(what.to_owned());
        }
    }

    /// Adds what another client met. Source ports are left alone: both may have met the same.
    pub fn add(&mut self, other: &Self) {
        self.right += other.right;
        self.wrong += other.wrong;
        self.missing += other.missing;
        self.reset += other.reset;
        self.failed += other.failed;
        other.surprises.iter().for_each(|it| self.surprise(it));
    }
}

/// Result of `exeat-probe flood-…`: what the calls returned, not what arrived.
#[derive(Clone, Copy, Debug, Default, Serialize, Deserialize)]
pub struct Flooded {
    pub sent: u64,
    pub refused: u64,
}

/// Result of `exeat-probe pace`.
#[derive(Clone, Copy, Debug, Serialize, Deserialize)]
pub struct Pace {
    pub count: usize,
    pub failed: usize,
    pub p50_micros: u64,
    pub p99_micros: u64,
}

impl Flooded {
    pub fn note(&mut self, is_sent: bool) {
        *(if is_sent { &mut self.sent } else { &mut self.refused }) += 1;
    }
}

impl Resolved {
    pub fn is_nxdomain(&self) -> bool {
        self.rcode == "NXDomain"
    }
}

impl Reached {
    pub fn is_ok(&self) -> bool {
        self.result == "OK"
    }
}
