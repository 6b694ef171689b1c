//! What was written: the shape of the configuration file. Values that have a syntax of their own
//! are read here, so that their errors carry line and column.

use std::{collections::BTreeMap, net::IpAddr, net::SocketAddr, path::PathBuf, time::Duration};

use ipnet::IpNet;
use serde::Deserialize;

use super::{
    Denied, DnsDenied, ExternalName, GatewayTransport, LabelsMayRelax, Matching, Mode, QueryTypes,
    Scope, Tunnel,
};
use crate::registry::{cidr, host::HostPattern};

/// Port of DNS, where a resolver names none.
const DNS_PORT: u16 = 53;
/// Longest duration that is accepted: a day.
const LONGEST: Duration = Duration::from_hours(24);

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Config {
    pub(super) mode: Mode,
    #[serde(rename = "match")]
    pub(super) matching: Matching,
    pub(super) scope: Scope,
    pub(super) cluster_cidrs: Vec<Cidr>,
    pub(super) external_name: ExternalName,
    pub(super) gateway_transport: GatewayTransport,
    pub(super) sidecar_may_relax: Yes,
    pub(super) labels_may_relax: LabelsMayRelax,
    pub(super) registry: Registry,
    pub(super) kubernetes: super::kubernetes::RawKubernetes,
    pub(super) cgroup_root: Option<Absolute>,
    pub(super) workloads: Vec<Workload>,
    pub(super) dns: Dns,
    pub(super) denied: Denied,
    pub(super) sidecar: Sidecar,
    pub(super) gateway: Option<super::gateway::raw::Gateway>,
    pub(super) metrics: Metrics,
    pub(super) socket: Option<Absolute>,
    pub(super) pin_path: Option<Absolute>,
}

/// A switch that is on unless it is turned off.
#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(transparent)]
pub(super) struct Yes(pub(super) bool);

impl Default for Yes {
    fn default() -> Self {
        Self(true)
    }
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Registry {
    pub(super) files: Option<Vec<PathBuf>>,
    pub(super) watch: Yes,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Workload {
    pub(super) namespace: Label,
    pub(super) name: Name,
    #[serde(default)]
    pub(super) labels: BTreeMap<String, String>,
    #[serde(default)]
    pub(super) cgroup: Option<Absolute>,
    #[serde(default)]
    pub(super) interface: Option<Interface>,
    #[serde(default)]
    pub(super) arrives_past_interface: bool,
    #[serde(default)]
    pub(super) netns: Option<Absolute>,
    #[serde(default)]
    pub(super) addresses: Vec<IpAddr>,
    #[serde(default)]
    pub(super) sidecar_cgroup: Option<Absolute>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Dns {
    pub(super) resolvers: Vec<Resolver>,
    pub(super) internal_domains: Option<Vec<Domain>>,
    pub(super) grace: Option<Span>,
    pub(super) minimum_ttl: Option<Span>,
    pub(super) denied: DnsDenied,
    pub(super) query_types: QueryTypes,
    pub(super) tunnel: Tunnel,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Sidecar {
    pub(super) port: Option<std::num::NonZeroU16>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct Metrics {
    pub(super) listen: Option<SocketAddr>,
}

macro_rules! parsed {
    ($(#[$doc:meta])* $name:ident($inner:ty) = $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize)]
        #[serde(try_from = "String")]
        pub(super) struct $name(pub(super) $inner);

        impl TryFrom<String> for $name {
            type Error = String;

            fn try_from(text: String) -> Result<Self, String> {
                let parse: fn(&str) -> Result<$inner, String> = $parse;
                parse(&text).map(Self)
            }
        }
    };
}

parsed!(
    /// An address or CIDR.
    Cidr(IpNet) = |text| match cidr::parse(text) {
        Some(net) if cidr::swallows_ipv4(net) => Err(format!(
            "`{text}` is so wide that it holds every IPv4 address as well"
        )),
        Some(net) => Ok(net),
        None => Err(format!("`{text}` is not a CIDR such as 10.244.0.0/16")),
    }
);
parsed!(
    /// `10.0.0.53`, `10.0.0.53:5353`, `2001:db8::53` or `[2001:db8::53]:53`.
    Resolver(SocketAddr) = |text| {
        let address = match text.parse::<IpAddr>() {
            Ok(ip) => SocketAddr::new(ip, DNS_PORT),
            Err(_) => text.parse().map_err(|_| {
                format!("`{text}` is not a resolver such as 10.0.0.53, 10.0.0.53:5353 or [2001:db8::53]:53 (names cannot be resolvers)")
            })?,
        };
        let ip = address.ip().to_canonical();
        if address.port() == 0 || ip.is_unspecified() {
            return Err(format!("`{text}` cannot be asked: it has no address or no port"));
        }
        Ok(SocketAddr::new(ip, address.port()))
    }
);
parsed!(
    /// For example `30s`.
    Span(Duration) = |text| match humantime::parse_duration(text) {
        Ok(span) if span <= LONGEST => Ok(span),
        Ok(_) => Err(format!("`{text}` is longer than a day")),
        Err(error) => Err(format!("`{text}` is not a duration such as 30s or 5m: {error}")),
    }
);
parsed!(
    /// A domain, without a star.
    Domain(HostPattern) = |text| match HostPattern::parse(text) {
        Ok(host) if host.is_wildcard() => Err(format!(
            "`{text}`: write the domain without a star; what lies below it is meant too"
        )),
        Ok(host) => Ok(host),
        Err(error) => Err(format!("`{text}` is not a domain: {error}")),
    }
);
parsed!(
    /// A path from the root on, without `..`.
    Absolute(PathBuf) = |text| {
        let path = PathBuf::from(text);
        if path.is_relative() || text.contains('\0') || path.components().any(|it| it.as_os_str() == "..") {
            return Err(format!("`{text}` is not an absolute path without `..`"));
        }
        Ok(path.components().collect())
    }
);
parsed!(
    /// A namespace.
    Label(String) = |text| {
        if crate::registry::host::is_dns_label(text) && text == text.to_ascii_lowercase() {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not a namespace: lower-case letters, digits and inner hyphens"))
        }
    }
);
parsed!(
    /// A workload.
    Name(String) = |text| {
        let is_name = text.split('.').all(crate::registry::host::is_dns_label);
        if is_name && text == text.to_ascii_lowercase() && text.len() <= 253 {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not a name: lower-case letters, digits, and hyphens or dots inside"))
        }
    }
);
parsed!(
    /// A network interface: at most 15 bytes (`IFNAMSIZ` less the zero).
    Interface(String) = |text| {
        let fits = (1..=15).contains(&text.len());
        if fits && !text.contains(['/', '\0']) && !text.contains(char::is_whitespace) {
            Ok(text.to_owned())
        } else {
            Err(format!("`{text}` is not an interface name (1 to 15 bytes)"))
        }
    }
);
