//! A `Pod`, as an endpoint of entries that select it.

mod raw;

use std::{collections::BTreeMap, net::IpAddr};

use exeat_common::flow::protocol;
use serde_yaml::Value;

use self::raw::Document;
use super::{
    super::{
        findings::{Checked, Findings},
        header::Header,
        meta::Meta,
        port::check_number,
        report::Code,
        shape::read_leniently,
    },
    mode_label, transport,
};

/// Annotations by which a pod asks its proxy to leave traffic alone, and the value of each that
/// takes nothing out.
///
/// Source: <https://istio.io/latest/docs/reference/config/annotations/>.
const EXCLUSIONS: &[(&str, &[&str])] = &[
    ("traffic.sidecar.istio.io/excludeOutboundIPRanges", &[""]),
    ("traffic.sidecar.istio.io/excludeOutboundPorts", &[""]),
    ("traffic.sidecar.istio.io/includeOutboundIPRanges", &["*"]),
    // What it names is added to the ranges.
    ("traffic.sidecar.istio.io/includeOutboundPorts", &["*", ""]),
];

/// A pod.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Pod {
    pub header: Header,
    /// Empty until it has one.
    pub addresses: Vec<IpAddr>,
    pub is_ready: bool,
    /// Its TCP container ports by name; the first of a name counts.
    pub ports: BTreeMap<String, u16>,
}

impl Pod {
    /// Checks a document whose metadata were read; `W-POD-EXCLUSION` for annotations that take
    /// traffic away from its proxy, `W-MODE-LABEL` for a mode that is none.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        let document = match read_leniently::<Document>(meta, document) {
            Ok(document) => document,
            Err(report) => return Checked::refused(*report),
        };
        let mut found = Findings::new(&meta.object, Vec::new());
        exclusions(&document, &mut found);
        mode_label::check(&meta.labels, &mut found);
        let pod = Self {
            header: Header::new(meta),
            addresses: addresses(&document, &mut found),
            is_ready: is_ready(&document),
            ports: ports(&document, &mut found),
        };
        found.finish(pod)
    }
}

fn exclusions(document: &Document, found: &mut Findings<'_>) {
    for (annotation, harmless) in EXCLUSIONS {
        let Some(value) = document.metadata.annotations.get(*annotation) else {
            continue;
        };
        if !harmless.contains(&value.trim()) {
            let message = "the pod takes traffic away from its proxy; that changes nothing here: the registry decides";
            let path = format!("metadata.annotations[{annotation}]");
            found.add(Code::PodExclusion, path, message);
        }
    }
}

fn addresses(document: &Document, found: &mut Findings<'_>) -> Vec<IpAddr> {
    let status = &document.status;
    let listed = status.pod_ips.iter().enumerate();
    let mut texts: Vec<(String, &str)> =
        listed.map(|(index, it)| (format!("status.podIPs[{index}].ip"), it.ip.as_str())).collect();
    if texts.is_empty() && !status.pod_ip.is_empty() {
        texts.push(("status.podIP".to_owned(), &status.pod_ip));
    }
    let mut addresses = Vec::new();
    for (path, text) in texts {
        match text.parse::<IpAddr>() {
            Ok(address) => addresses.push(address.to_canonical()),
            Err(_) => {
                found.add(Code::EndpointAddress, path, format!("`{text}` is not an IP address"));
            }
        }
    }
    addresses
}

/// Whether it runs, is not being deleted, and says that it is ready, if it says anything.
fn is_ready(document: &Document) -> bool {
    let status = &document.status;
    let runs = matches!(status.phase.as_str(), "" | "Running");
    let mut conditions = status.conditions.iter();
    let says_so = status.conditions.is_empty()
        || conditions.any(|it| it.kind == "Ready" && it.status == "True");
    runs && says_so && document.metadata.deletion_timestamp.is_none()
}

fn ports(document: &Document, found: &mut Findings<'_>) -> BTreeMap<String, u16> {
    let mut ports = BTreeMap::new();
    for (container, it) in document.spec.containers.iter().enumerate() {
        for (index, port) in it.ports.iter().enumerate() {
            let path = format!("spec.containers[{container}].ports[{index}]");
            let number_path = format!("{path}.containerPort");
            let number = check_number(port.number, number_path, Code::PortRange, found);
            // SCTP ports are as little of a concern as UDP ports.
            let is_tcp = port.protocol != "SCTP"
                && transport::check(&port.protocol, &format!("{path}.protocol"), found)
                    == Some(protocol::TCP);
            if let Some(number) = number
                && is_tcp
                && !port.name.is_empty()
            {
                ports.entry(port.name.clone()).or_insert(number);
            }
        }
    }
    ports
}

#[cfg(test)]
mod tests;
