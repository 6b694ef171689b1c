//! Where the rules of a `VirtualService` lead.

use super::{Destination, raw};
use crate::registry::{
    findings::Findings, host::is_dns_label, istio::names::complete, port::in_range, report::Code,
};

/// Checks a list of destinations and their weights. Of several, those of weight 0 get no flows and
/// are left out; a single one needs no weight.
pub(super) fn check<'a>(
    route: impl Iterator<Item = (Option<&'a raw::Destination>, i64)>,
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Vec<Destination> {
    let mut destinations = Vec::new();
    let mut is_valid = true;
    for (index, (destination, weight)) in route.enumerate() {
        let path = format!("{path}[{index}]");
        let weight = i32::try_from(weight).ok().and_then(|weight| u32::try_from(weight).ok());
        if weight.is_none() {
            let message = "a weight is a number from 0 to 2147483647";
            found.add(Code::VirtualServiceRoute, format!("{path}.weight"), message);
            is_valid = false;
        }
        let Some(destination) = destination else {
            found.add(Code::VirtualServiceRoute, path, "a route needs a destination");
            continue;
        };
        let path = format!("{path}.destination");
        if let Some(mut destination) = check_one(destination, &path, namespace, found) {
            destination.weight = weight.unwrap_or_default();
            destinations.push(destination);
        }
    }
    if destinations.len() > 1 {
        destinations.retain(|destination| destination.weight > 0);
        if destinations.is_empty() && is_valid {
            let message = "all weights are 0, so the flows have nowhere to go";
            found.add(Code::VirtualServiceRoute, path, message);
        }
    }
    for destination in &mut destinations {
        destination.weight = destination.weight.max(1);
    }
    destinations
}

fn check_one(
    raw: &raw::Destination,
    path: &str,
    namespace: &str,
    found: &mut Findings<'_>,
) -> Option<Destination> {
    if !raw.subset.is_empty() && !is_dns_label(&raw.subset) {
        let message = format!("`{}` is not a DNS label, as names of subsets are", raw.subset);
        found.add(Code::VirtualServiceRoute, format!("{path}.subset"), message);
    }
    let port = raw.port.as_ref().map(|port| port.number);
    let number = port.and_then(in_range);
    if let Some(port) = port.filter(|_| number.is_none()) {
        let message = format!("{port} is not a port (1 to 65535)");
        found.add(Code::PortRange, format!("{path}.port.number"), message);
    }
    match complete(&raw.host, namespace) {
        Ok(host) => Some(Destination {
            host,
            subset: Some(raw.subset.clone()).filter(|subset| !subset.is_empty()),
            port: number,
            weight: 0,
        }),
        Err(error) => {
            let message = format!("`{}`: {error}", raw.host);
            found.add(Code::VirtualServiceRoute, format!("{path}.host"), message);
            None
        }
    }
}
