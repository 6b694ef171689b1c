//! The rules of a `Service`, but for its ports.

use std::net::IpAddr;

use super::{Kind, Service, ports, raw};
use crate::registry::{
    export_to::ExportTo,
    findings::{Checked, Findings},
    header::Header,
    host::HostPattern,
    meta::Meta,
    report::Code,
};

/// Says who sees the Service, as `spec.exportTo` of Istio's kinds does.
///
/// Source: <https://istio.io/latest/docs/reference/config/annotations/#NetworkingExportTo>.
const EXPORT_TO: &str = "networking.istio.io/exportTo";
const USE_WAYPOINT: &str = "istio.io/use-waypoint";
/// `clusterIP` of a headless Service.
const HEADLESS: &str = "None";

pub(super) fn check(meta: &Meta, raw: &raw::Document) -> Checked<Service> {
    let mut found = Findings::new(&meta.object, Vec::new());
    let spec = &raw.spec;
    let kind = kind(spec, &mut found);
    let waypoint = meta.labels.get(USE_WAYPOINT).filter(|name| !name.is_empty());
    let service = Service {
        header: Header::new(meta),
        export_to: export_to(meta, raw, &mut found),
        ports: ports::check(&spec.ports, &mut found),
        kind: kind.unwrap_or(Kind::Headless),
        selector: spec.selector.clone(),
        publishes_not_ready: spec.publishes_not_ready,
        waypoint: waypoint.map(|name| name != "none"),
    };
    if !found.refuse() && spec.ports.is_empty() {
        match service.kind {
            Kind::ExternalName(_) => {
                let message = "an alias without ports opens nothing by itself; list the ports its target is reached on";
                found.add(Code::ExternalNameNoPorts, "spec.ports", message);
            }
            Kind::ClusterIp(_) => {
                let message = "a Service without ports opens nothing";
                found.add(Code::NoPorts, "spec.ports", message);
            }
            Kind::Headless => {}
        }
    }
    found.finish(service)
}

fn kind(spec: &raw::Spec, found: &mut Findings<'_>) -> Option<Kind> {
    match spec.kind.as_str() {
        "" | "ClusterIP" | "NodePort" | "LoadBalancer" => Some(cluster_ips(spec, found)),
        "ExternalName" => external_name(spec, found),
        other => {
            let message =
                format!("`{other}` is not one of ClusterIP, NodePort, LoadBalancer, ExternalName");
            found.add(Code::Service, "spec.type", message);
            None
        }
    }
}

fn external_name(spec: &raw::Spec, found: &mut Findings<'_>) -> Option<Kind> {
    let text = &spec.external_name;
    let message = match HostPattern::parse(text) {
        Ok(host) if !host.is_wildcard() => return Some(Kind::ExternalName(host)),
        Ok(_) => format!("`{text}`: an alias stands for one name, not for a wildcard"),
        Err(error) => format!("`{text}`: {error}"),
    };
    found.add(Code::HostSyntax, "spec.externalName", message);
    None
}

fn cluster_ips(spec: &raw::Spec, found: &mut Findings<'_>) -> Kind {
    let (first, many) = (&spec.cluster_ip, &spec.cluster_ips);
    if !first.is_empty() && many.first().is_some_and(|it| it != first) {
        let message = format!("the first of clusterIPs is not `{first}`, the clusterIP");
        found.add(Code::Service, "spec.clusterIPs", message);
    }
    let texts: Vec<(String, &String)> = if many.is_empty() {
        vec![("spec.clusterIP".to_owned(), first)]
    } else {
        many.iter()
            .enumerate()
            .map(|(index, text)| (format!("spec.clusterIPs[{index}]"), text))
            .collect()
    };
    let mut addresses = Vec::new();
    let mut is_headless = false;
    for (path, text) in texts.iter().filter(|(_, text)| !text.is_empty()) {
        if *text == HEADLESS {
            is_headless = true;
        } else if let Ok(address) = text.parse::<IpAddr>() {
            addresses.push(address.to_canonical());
        } else {
            let message = format!("`{text}` is neither an IP address nor `{HEADLESS}`");
            found.add(Code::Service, path, message);
        }
    }
    if is_headless && !addresses.is_empty() {
        let message = format!("`{HEADLESS}` stands beside addresses");
        found.add(Code::Service, "spec.clusterIPs", message);
    }
    if is_headless { Kind::Headless } else { Kind::ClusterIp(addresses) }
}

fn export_to(meta: &Meta, raw: &raw::Document, found: &mut Findings<'_>) -> Option<ExportTo> {
    let text = raw.metadata.annotations.get(EXPORT_TO).filter(|text| !text.trim().is_empty())?;
    let list: Vec<String> = text.split(',').map(|item| item.trim().to_owned()).collect();
    ExportTo::parse(&list, &meta.object.namespace).unwrap_or_else(|error| {
        let path = format!("metadata.annotations[{EXPORT_TO}]");
        found.add(Code::ExportTo, path, error.to_string());
        None
    })
}
