//! What was written: the shape of a case file. Unknown keys are errors; values that have a syntax
//! of their own are read here, so that their errors carry line and column.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
};

use hickory_proto::rr::Name;
use ipnet::IpNet;
use serde::Deserialize;
use serde_yaml::Value;

use super::super::{Protocol, Verdict};
use crate::{
    config::{ExternalName, GatewayTransport, Matching, Scope},
    registry::{cidr, host::HostPattern, labels::Labels},
};

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Case {
    pub(super) title: String,
    #[serde(rename = "source", default)]
    _source: Option<OneOrMany<String>>,
    #[serde(default)]
    pub(super) mode: Mode,
    #[serde(default)]
    pub(super) mesh: Option<Value>,
    #[serde(default)]
    pub(super) agent: Agent,
    #[serde(default)]
    pub(super) resolve: BTreeMap<Host, OneOrMany<IpAddr>>,
    #[serde(default)]
    pub(super) registry: Vec<Value>,
    #[serde(default)]
    pub(super) reject: Vec<Said>,
    #[serde(default)]
    pub(super) report: Vec<Said>,
    #[serde(default)]
    pub(super) expect: Vec<Flow>,
}

/// `outboundTrafficPolicy.mode` of the mesh.
#[derive(Clone, Copy, Debug, Default, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "SCREAMING_SNAKE_CASE")]
pub(super) enum Mode {
    #[default]
    RegistryOnly,
    AllowAny,
    /// Unknown destinations are resolved again by the sidecar; for the agent as `ALLOW_ANY`.
    AllowAnyDynamicDns,
}

#[derive(Debug, Default, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields, default)]
pub(super) struct Agent {
    #[serde(rename = "match")]
    pub(super) matching: Matching,
    pub(super) external_name: ExternalName,
    /// `all` unless it is given.
    pub(super) scope: Option<Scope>,
    pub(super) gateway_transport: GatewayTransport,
    pub(super) sidecar_may_relax: Option<bool>,
    pub(super) trusted_resolvers: Option<Vec<Resolver>>,
    pub(super) dns_grace_seconds: Option<u32>,
    pub(super) cluster_cidrs: Option<Vec<Cidr>>,
    pub(super) internal_domains: Option<Vec<Host>>,
    pub(super) vips: BTreeMap<Host, OneOrMany<IpAddr>>,
}

/// What is said of an object.
#[derive(Clone, Debug, Deserialize, Eq, PartialEq)]
#[serde(deny_unknown_fields)]
pub(super) struct Said {
    pub(super) kind: String,
    #[serde(default)]
    pub(super) namespace: Option<String>,
    pub(super) name: String,
    pub(super) code: String,
    /// For readers.
    #[serde(default)]
    pub(super) reason: String,
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Flow {
    pub(super) client: Client,
    #[serde(default)]
    pub(super) dns: Option<DomainName>,
    #[serde(default)]
    pub(super) answers: Option<Vec<IpAddr>>,
    #[serde(default)]
    pub(super) cname: Vec<DomainName>,
    #[serde(default)]
    pub(super) resolver: Option<Resolver>,
    #[serde(default = "ttl")]
    pub(super) ttl: u32,
    #[serde(default)]
    pub(super) age: u32,
    #[serde(rename = "sni", default)]
    _sni: Option<String>,
    #[serde(rename = "httpHost", default)]
    _http_host: Option<String>,
    pub(super) dest: Destination,
    pub(super) verdict: Verdict,
    #[serde(default)]
    pub(super) why: String,
    #[serde(default)]
    pub(super) rewrite: Option<Vec<SocketAddr>>,
    #[serde(default)]
    pub(super) via: Option<String>,
    #[serde(rename = "match", default)]
    pub(super) entry: Option<String>,
    #[serde(default)]
    pub(super) reason: Option<String>,
    #[serde(default)]
    pub(super) requires: Vec<Part>,
    #[serde(rename = "istio", default)]
    _istio: Option<String>,
}

const fn ttl() -> u32 {
    60
}

#[derive(Clone, Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct Client {
    #[serde(default = "default_namespace")]
    pub(super) namespace: String,
    #[serde(default)]
    pub(super) labels: Labels,
    #[serde(default)]
    pub(super) sidecar: bool,
    #[serde(default)]
    pub(super) ambient: bool,
    #[serde(default)]
    pub(super) host_network: bool,
}

pub(super) fn default_namespace() -> String {
    "default".to_owned()
}

#[derive(Clone, Copy, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Destination {
    pub(super) ip: IpAddr,
    pub(super) port: u16,
    pub(super) proto: Protocol,
}

/// A part of exeat that a flow may need.
#[derive(Clone, Copy, Debug, Deserialize, Eq, PartialEq)]
#[serde(rename_all = "kebab-case")]
pub(super) enum Part {
    /// Reads the server name of a TLS hello.
    SniPeek,
    /// Reads the Host header of a request.
    HttpPeek,
    /// Answers DNS itself for hosts with a virtual address.
    DnsResponder,
}

impl Part {
    /// Whether this version has it.
    pub(super) const fn is_built(self) -> bool {
        match self {
            Self::SniPeek | Self::HttpPeek => false,
            Self::DnsResponder => true,
        }
    }
}

#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub(super) enum OneOrMany<T> {
    One(T),
    Many(Vec<T>),
}

impl<T> OneOrMany<T> {
    pub(super) fn into_vec(self) -> Vec<T> {
        match self {
            Self::One(one) => vec![one],
            Self::Many(many) => many,
        }
    }
}

macro_rules! parsed {
    ($(#[$doc:meta])* $name:ident($inner:ty) = $parse:expr) => {
        $(#[$doc])*
        #[derive(Clone, Debug, Deserialize, Eq, Ord, PartialEq, PartialOrd)]
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
    /// A host without a star.
    Host(HostPattern) = |text| match HostPattern::parse(text) {
        Ok(host) if host.is_wildcard() => Err(format!("`{text}`: a host without a star is meant")),
        Ok(host) => Ok(host),
        Err(error) => Err(format!("`{text}` is not a host: {error}")),
    }
);
parsed!(
    /// A name as a client asks for it: case, underscores and a dot at the end are its own affair.
    DomainName(Name) = |text| match Name::from_ascii(text) {
        Ok(name) if name.is_root() => Err("an empty name cannot be asked for".to_owned()),
        Ok(name) => Ok(name),
        Err(error) => Err(format!("`{text}` is not a domain name: {error}")),
    }
);
parsed!(
    Cidr(IpNet) = |text| match cidr::parse(text) {
        Some(net) if cidr::swallows_ipv4(net) =>
            Err(format!("`{text}` is so wide that it holds every IPv4 address as well")),
        Some(net) => Ok(net),
        None => Err(format!("`{text}` is not a CIDR such as 10.244.0.0/16")),
    }
);
parsed!(
    /// An address, with or without a port.
    Resolver(SocketAddr) = |text| {
        let parsed = text.parse::<IpAddr>().map(|ip| SocketAddr::new(ip, 53));
        parsed
            .or_else(|_| text.parse::<SocketAddr>())
            .map(|it| SocketAddr::new(it.ip().to_canonical(), it.port()))
            .map_err(|_| format!("`{text}` is not a resolver such as 10.96.0.10 or 10.96.0.10:5353"))
    }
);
