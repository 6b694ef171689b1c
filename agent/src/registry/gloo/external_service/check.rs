//! The rules of an `ExternalService` that need nothing but the object itself.

use std::collections::BTreeSet;

use ipnet::IpNet;

use super::{ExternalService, ports, raw};
use crate::registry::{
    cidr,
    findings::{Checked, Findings, check_selector},
    header::Header,
    hosts,
    meta::Meta,
    report::{Code, Report},
};

pub(super) fn check(
    meta: &Meta,
    spec: &raw::Spec,
    warnings: Vec<Report>,
) -> Checked<ExternalService> {
    let mut found = Findings::new(&meta.object, warnings);
    match (spec.hosts.is_empty(), spec.addresses.is_empty()) {
        (false, false) => {
            let message = "hosts and addresses exclude each other: write one object for each";
            found.add(Code::GlooHostsXorAddresses, "spec", message);
        }
        (true, true) => {
            let message = "one of hosts and addresses is required";
            found.add(Code::GlooHostsXorAddresses, "spec", message);
        }
        (true, false) | (false, true) => {}
    }
    check_selector(&spec.selector, "spec.selector", &mut found);
    let service = ExternalService {
        header: Header::new(meta),
        hosts: hosts::check(&spec.hosts, "spec.hosts", &mut found),
        addresses: addresses(&spec.addresses, &mut found),
        ports: ports::check(spec, &meta.object.namespace, &mut found),
        selector: spec.selector.clone(),
    };
    if spec.ports.is_empty() {
        let message = "a service without ports is valid and opens nothing";
        found.add(Code::NoPorts, "spec.ports", message);
    }
    if !spec.subject_alt_names.is_empty() {
        let message =
            "the names in the server's certificate are checked by a proxy only, if the pod has one";
        found.add(Code::SanNotVerified, "spec.subjectAltNames", message);
    }
    found.finish(service)
}

fn addresses(list: &[String], found: &mut Findings<'_>) -> Vec<IpNet> {
    let mut addresses = Vec::new();
    let mut seen = BTreeSet::new();
    for (index, text) in list.iter().enumerate() {
        let Some(net) = cidr::parse(text) else {
            let message = format!("`{text}` is not an address or CIDR (names belong in hosts)");
            found.add(Code::AddressSyntax, format!("spec.addresses[{index}]"), message);
            continue;
        };
        if seen.insert(net) {
            addresses.push(net);
        }
    }
    addresses
}
