//! Names as Istio's objects write them: short hosts.

use super::super::host::{HostPattern, InvalidHost};

/// Reads a host of an object in `namespace`. A name without a dot is that of a Kubernetes Service
/// there.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/virtual-service/#Destination>.
pub(super) fn complete(text: &str, namespace: &str) -> Result<HostPattern, InvalidHost> {
    if text.is_empty() || text.contains(['.', '*']) {
        HostPattern::parse(text)
    } else {
        HostPattern::parse(&format!("{text}.{namespace}.svc.cluster.local"))
    }
}
