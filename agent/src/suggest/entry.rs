//! A `ServiceEntry` as it is written, the smallest that opens one destination for one namespace.
//! Fields: <https://istio.io/latest/docs/reference/config/networking/service-entry/>.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Serialize;

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ServiceEntry {
    api_version: &'static str,
    kind: &'static str,
    pub metadata: Metadata,
    pub spec: Spec,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Metadata {
    pub name: String,
    pub namespace: String,
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Spec {
    pub hosts: [String; 1],
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub addresses: Vec<IpAddr>,
    pub ports: Vec<Port>,
    location: &'static str,
    resolution: &'static str,
    export_to: [&'static str; 1],
}

#[derive(Clone, Debug, Eq, PartialEq, Serialize)]
pub struct Port {
    pub number: u16,
    pub name: String,
    pub protocol: &'static str,
}

impl ServiceEntry {
    /// A name: whatever addresses the trusted resolvers give it.
    pub(super) fn of_name(namespace: &str, name: &str, ports: &BTreeSet<(u16, String)>) -> Self {
        let ports = ports.iter().map(|(number, transport)| {
            let protocol = match (*number, &**transport) {
                (_, "udp") => "UDP",
                (443, _) => "TLS",
                (80, _) => "HTTP",
                _ => "TCP",
            };
            Port::new(*number, protocol)
        });
        Self::new(namespace, name, Vec::new(), ports.collect())
    }

    /// An address, which no trusted resolver gave a name. Hosts are names, so it gets one that
    /// never exists (RFC 6761 §6.4).
    pub(super) fn of_address(
        namespace: &str,
        address: IpAddr,
        ports: &BTreeSet<(u16, String)>,
    ) -> Self {
        let label = match address {
            IpAddr::V4(v4) => v4.octets().map(|it| it.to_string()).join("-"),
            IpAddr::V6(v6) => v6.segments().map(|it| format!("{it:x}")).join("-"),
        };
        let host = format!("ip-{label}.invalid");
        let ports = ports.iter().map(|(number, transport)| {
            Port::new(*number, if transport == "udp" { "UDP" } else { "TCP" })
        });
        Self::new(namespace, &host, vec![address], ports.collect())
    }

    fn new(namespace: &str, host: &str, addresses: Vec<IpAddr>, ports: Vec<Port>) -> Self {
        Self {
            api_version: "networking.istio.io/v1",
            kind: "ServiceEntry",
            // Names of objects may have dots, as hosts do.
            metadata: Metadata { name: host.to_owned(), namespace: namespace.to_owned() },
            spec: Spec {
                hosts: [host.to_owned()],
                addresses,
                ports,
                location: "MESH_EXTERNAL",
                resolution: "NONE",
                export_to: ["."],
            },
        }
    }
}

impl Port {
    fn new(number: u16, protocol: &'static str) -> Self {
        Self { number, name: format!("{}-{number}", protocol.to_ascii_lowercase()), protocol }
    }
}
