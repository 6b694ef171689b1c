//! What the section `gateway` means: where `exeat gateway` listens, whose part of the registry it
//! has, and its limits.

pub(super) mod raw;

use std::{collections::BTreeSet, net::SocketAddr, path::PathBuf, time::Duration};

use serde::Deserialize;

use crate::{
    registry::{host::HostPattern, labels::Labels},
    workloads::WorkloadKey,
};

/// The configuration of `exeat gateway`, beside that of the registry and of names.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Gateway {
    /// Whose view of the registry is checked.
    pub key: WorkloadKey,
    pub labels: Labels,
    /// At least one; no address twice.
    pub listeners: Vec<Listener>,
    pub upstreams: Vec<Upstream>,
    pub access_log: AccessLog,
    pub limits: Limits,
    pub timeouts: Timeouts,
}

/// One address to listen at.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Listener {
    pub address: SocketAddr,
    pub protocol: ListenerProtocol,
    /// Port of the destination, where the client does not name one.
    pub port: Option<u16>,
}

impl Listener {
    /// Port of a destination that was named without one.
    pub fn http_port(&self) -> u16 {
        self.port.unwrap_or(80)
    }

    /// Port of every destination: a server name has none.
    pub fn tls_port(&self) -> u16 {
        self.port.unwrap_or(443)
    }
}

/// What clients of a listener speak.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ListenerProtocol {
    /// What the first byte says: of a TLS handshake, or of anything else.
    #[default]
    Auto,
    Http,
    Tls,
}

/// A further gateway that takes some hosts on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Upstream {
    pub hosts: Vec<Hosts>,
    /// At least one, tried in this order.
    pub addresses: Vec<SocketAddr>,
    pub proxy_protocol: ProxyProtocol,
}

/// Which hosts an upstream gateway is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Hosts {
    All,
    Pattern(HostPattern),
}

/// Whether an upstream gateway is told who the client is.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "lowercase")]
pub enum ProxyProtocol {
    #[default]
    Off,
    V2,
}

/// Where a line for each request and each TLS connection goes.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub enum AccessLog {
    #[default]
    Stdout,
    File(PathBuf),
    Off,
}

/// How much there may be at a time.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Limits {
    pub connections: usize,
    /// From one client address.
    pub connections_per_client: usize,
    /// Of the head of a request, and of a `ClientHello`.
    pub header_bytes: usize,
}

/// How long things may take.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Timeouts {
    /// Until a client has said where to, in all.
    pub handshake: Duration,
    /// Until some address of the destination has taken the connection.
    pub connect: Duration,
    /// Without a byte in either direction.
    pub idle: Duration,
    /// For what is open when the gateway is told to stop.
    pub drain: Duration,
}

/// Bounds of `limits.headerBytes`; hyper refuses less, and no `ClientHello` is longer.
const HEADER_BYTES: std::ops::RangeInclusive<usize> = 8_192..=65_536;
/// Most addresses to listen at.
const LISTENERS: usize = 64;

impl Gateway {
    /// Resolves defaults. The error is a sentence about the section.
    pub(super) fn resolve(raw: raw::Gateway) -> Result<Self, String> {
        let seconds = |given: Option<super::raw::Span>, default| {
            given.map_or(Duration::from_secs(default), |span| span.0)
        };
        let listeners = raw.listeners.iter().map(|it| Listener {
            address: SocketAddr::new(it.address.ip().to_canonical(), it.address.port()),
            protocol: it.protocol,
            port: it.port.map(Into::into),
        });
        let upstreams = raw.upstreams.into_iter().map(|it| Upstream {
            hosts: it.hosts.into_iter().map(|host| host.0).collect(),
            addresses: it.addresses,
            proxy_protocol: it.proxy_protocol,
        });
        let gateway = Self {
            key: WorkloadKey {
                namespace: raw.namespace.0,
                name: raw.name.map_or_else(|| "gateway".to_owned(), |name| name.0),
            },
            labels: raw.labels,
            listeners: listeners.collect(),
            upstreams: upstreams.collect(),
            access_log: raw.access_log.map(|it| it.0).unwrap_or_default(),
            limits: Limits {
                connections: raw.limits.connections.unwrap_or(4_096),
                connections_per_client: raw.limits.connections_per_client.unwrap_or(512),
                header_bytes: raw.limits.header_bytes.unwrap_or(16_384),
            },
            timeouts: Timeouts {
                handshake: seconds(raw.timeouts.handshake, 10),
                connect: seconds(raw.timeouts.connect, 10),
                idle: seconds(raw.timeouts.idle, 600),
                drain: seconds(raw.timeouts.drain, 30),
            },
        };
        gateway.check()?;
        Ok(gateway)
    }

    fn check(&self) -> Result<(), String> {
        if self.listeners.is_empty() || self.listeners.len() > LISTENERS {
            return Err(format!("`listeners` must have 1 to {LISTENERS} items"));
        }
        let mut seen = BTreeSet::new();
        for Listener { address, .. } in &self.listeners {
            if address.port() == 0 || !seen.insert(*address) {
                return Err(format!("`listeners`: {address} has no port, or stands there twice"));
            }
        }
        if self.upstreams.iter().any(|it| it.hosts.is_empty() || it.addresses.is_empty()) {
            return Err("each of `upstreams` needs `hosts` and `addresses`".to_owned());
        }
        let limits = &self.limits;
        if limits.connections == 0 || limits.connections_per_client == 0 {
            return Err("a limit of 0 connections lets nobody in".to_owned());
        }
        if !HEADER_BYTES.contains(&limits.header_bytes) {
            let (least, most) = (HEADER_BYTES.start(), HEADER_BYTES.end());
            return Err(format!("`limits.headerBytes` must be {least} to {most}"));
        }
        let Timeouts { handshake, connect, idle, .. } = self.timeouts;
        if [handshake, connect, idle].contains(&Duration::ZERO) {
            return Err("a timeout of 0 leaves no time at all".to_owned());
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
