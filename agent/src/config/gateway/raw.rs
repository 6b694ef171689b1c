//! What was written of a gateway: the shape of the section `gateway`.

use std::{collections::BTreeMap, net::SocketAddr, num::NonZeroU16, path::PathBuf};

use serde::Deserialize;

use super::{
    super::raw::{Label, Name, Span},
    ListenerProtocol, ProxyProtocol,
};
use crate::registry::host::HostPattern;

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(in crate::config) struct Gateway {
    pub(super) namespace: Label,
    pub(super) name: Option<Name>,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    pub(super) listeners: Vec<Listener>,
    #[serde(default)]
    pub(super) upstreams: Vec<Upstream>,
    pub(super) access_log: Option<AccessLog>,
    #[serde(default)]
    pub(super) limits: Limits,
    #[serde(default)]
    pub(super) timeouts: Timeouts,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Listener {
    pub(super) address: SocketAddr,
    #[serde(default)]
    pub(super) protocol: ListenerProtocol,
    pub(super) port: Option<NonZeroU16>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Upstream {
    pub(super) hosts: Vec<Hosts>,
    pub(super) addresses: Vec<SocketAddr>,
    #[serde(default)]
    pub(super) proxy_protocol: ProxyProtocol,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Limits {
    pub(super) connections: Option<usize>,
    pub(super) connections_per_client: Option<usize>,
    pub(super) header_bytes: Option<usize>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Timeouts {
    pub(super) handshake: Option<Span>,
    pub(super) connect: Option<Span>,
    pub(super) idle: Option<Span>,
    pub(super) drain: Option<Span>,
}

/// `stdout`, `off`, or a path.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct AccessLog(pub(super) super::AccessLog);

impl TryFrom<String> for AccessLog {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        match text.as_str() {
            "stdout" => Ok(Self(super::AccessLog::Stdout)),
            "off" => Ok(Self(super::AccessLog::Off)),
            path if path.starts_with('/') => Ok(Self(super::AccessLog::File(PathBuf::from(path)))),
            _ => Err(format!("`{text}` is neither `stdout` nor `off` nor an absolute path")),
        }
    }
}

/// A host, `*.` and a domain, or `*` for all.
#[derive(Clone, Debug, Deserialize)]
#[serde(try_from = "String")]
pub(super) struct Hosts(pub(super) super::Hosts);

impl TryFrom<String> for Hosts {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text == "*" {
            return Ok(Self(super::Hosts::All));
        }
        match HostPattern::parse(&text) {
            Ok(pattern) => Ok(Self(super::Hosts::Pattern(pattern))),
            Err(error) => Err(format!("`{text}` is not a host: {error}")),
        }
    }
}
