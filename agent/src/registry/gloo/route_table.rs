//! Gloo's `RouteTable`: not carried out here, so flows to its hosts need a proxy.

use serde::Deserialize;
use serde_yaml::Value;

use super::super::{
    findings::{Checked, Findings},
    header::Header,
    host::HostPattern,
    meta::Meta,
    report::Code,
    shape::{or_default, read_leniently},
};

/// The hosts a route table is for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct RouteTable {
    pub header: Header,
    /// None for a table that others delegate to: those have the hosts.
    pub hosts: Vec<HostPattern>,
    /// It is for every host, or for one that could not be read.
    pub all_hosts: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Document {
    #[serde(deserialize_with = "or_default")]
    spec: Spec,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    hosts: Vec<String>,
}

impl RouteTable {
    /// Reads the hosts; nothing else of it matters.
    ///
    /// Source: <https://docs.solo.io/gloo-mesh-enterprise/latest/reference/api/route_table/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        let spec = match read_leniently::<Document>(meta, document) {
            Ok(document) => document.spec,
            Err(report) => return Checked::refused(*report),
        };
        let mut found = Findings::new(&meta.object, Vec::new());
        let message = "routes of Gloo are not carried out here: flows to the hosts need a proxy in the pod, and are denied without";
        found.add(Code::Kind, "spec.hosts", message);
        let mut hosts = Vec::new();
        let mut all_hosts = false;
        for text in &spec.hosts {
            match HostPattern::parse(text) {
                Ok(host) => hosts.push(host),
                Err(_) => all_hosts = true,
            }
        }
        found.finish(Self { header: Header::new(meta), hosts, all_hosts })
    }
}

#[cfg(test)]
mod tests {
    use super::RouteTable;
    use crate::registry::testing;

    #[track_caller]
    fn check(spec: &str, hosts: &[&str], all_hosts: bool) {
        let kind = "networking.gloo.solo.io/v2 RouteTable";
        let (meta, document) = testing::object(kind, "", &format!(", spec: {spec}"));
        let checked = RouteTable::check(&meta, &document);
        testing::check(&checked, spec, &["U-KIND spec.hosts"]);
        let table = checked.value.expect("valid");
        let got: Vec<String> = table.hosts.iter().map(ToString::to_string).collect();
        assert_eq!(got, hosts, "{spec}");
        assert_eq!(table.all_hosts, all_hosts, "{spec}");
    }

    #[test]
    fn hosts() {
        check(
            "{hosts: [A.example, '*.b.example'], http: [{}]}",
            &["a.example", "*.b.example"],
            false,
        );
        check("{hosts: ['*']}", &[], true);
        check("{hosts: [a.example, '*b.example']}", &["a.example"], true);
        check("{hosts: ['a.example:8080']}", &[], true);
        check("{}", &[], false);
        check("null", &[], false);
    }

    #[test]
    fn wrong_types_are_refused() {
        let kind = "networking.gloo.solo.io/v2 RouteTable";
        let (meta, document) = testing::object(kind, "", ", spec: {hosts: a.example}");
        let checked = RouteTable::check(&meta, &document);
        testing::check(&checked, "hosts", &["E-FIELD-TYPE spec.hosts"]);
    }
}
