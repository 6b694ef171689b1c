//! Istio's `VirtualService`: its shape, its rules, and the checked value.

mod check;
mod destinations;
mod hosts;
mod matches;
mod raw;

use ipnet::IpNet;
use serde_yaml::Value;

use super::super::{
    export_to::ExportTo, findings::Checked, header::Header, host::HostPattern, labels::Labels,
    meta::Meta, shape::read_spec,
};

/// A valid route object: routes for hosts.
///
/// Source: <https://istio.io/latest/docs/reference/config/networking/virtual-service/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct VirtualService {
    pub header: Header,
    /// Short names are completed with the object's namespace; partial wildcards and addresses are
    /// left out. Without any, and without `all_hosts`, the object does nothing by itself: others
    /// may delegate to it. Sorted, because there may be many: look one up with [`Self::names`].
    pub hosts: Vec<HostPattern>,
    /// It is for every host (`*`), which only routes off the mesh can be.
    pub all_hosts: bool,
    /// Who uses the routes whose matches name nobody; `[Mesh]` if absent.
    pub gateways: Vec<GatewayRef>,
    /// None: as the mesh says.
    pub export_to: Option<ExportTo>,
    /// For ports that speak HTTP.
    pub http: Vec<Rule>,
    /// For HTTPS and TLS ports.
    pub tls: Vec<Rule>,
    /// For the others.
    pub tcp: Vec<Rule>,
}

/// Who uses a route.
#[derive(Clone, Debug, Eq, Ord, PartialEq, PartialOrd)]
pub enum GatewayRef {
    /// Every client.
    Mesh,
    /// The pods of a `Gateway` object.
    Named { namespace: String, name: String },
}

/// One route; the first whose match fits is used.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Rule {
    /// One of them must fit; none fits always.
    pub matches: Vec<Match>,
    /// Where flows go. Those of weight 0 beside others are left out.
    pub destinations: Vec<Destination>,
    /// What in it only a proxy can do, as a field name such as `rewrite`.
    pub proxy_only: Option<&'static str>,
}

/// What a route asks of a flow; all of it must hold.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Match {
    /// Instead of those of the object.
    pub gateways: Option<Vec<GatewayRef>>,
    pub port: Option<u16>,
    pub source_labels: Labels,
    pub source_namespace: Option<String>,
    /// Of `tls` rules; each lies within a host of the object. Empty is any name: in rules of
    /// another protocol, and in those for every host off the mesh. Sorted, because there may be many.
    pub sni_hosts: Vec<HostPattern>,
    /// Empty: any.
    pub subnets: Vec<IpNet>,
    /// It looks at what is not known when the rules are made (path, headers, method …), as the
    /// first such field's name.
    pub looks_inside: Option<&'static str>,
}

/// Where a route leads.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Destination {
    /// Short names are completed with the object's namespace.
    pub host: HostPattern,
    pub subset: Option<String>,
    pub port: Option<u16>,
    pub weight: u32,
}

impl VirtualService {
    /// Checks a document whose metadata were read.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        match read_spec::<raw::Spec>(meta, document) {
            Ok((spec, warnings)) => check::check(meta, &spec, warnings),
            Err(report) => Checked::refused(*report),
        }
    }

    /// Whether `host` itself is among the hosts.
    pub fn names(&self, host: &HostPattern) -> bool {
        self.hosts.binary_search(host).is_ok()
    }
}

#[cfg(test)]
mod tests;
