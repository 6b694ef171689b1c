//! Gloo's `ExternalEndpoint`: where an `ExternalService` is found.

use std::{collections::BTreeSet, net::IpAddr};

use serde::Deserialize;
use serde_yaml::Value;

use super::super::{
    endpoint::EndpointAddress,
    findings::{Checked, Findings},
    header::Header,
    host::{HostPattern, is_dns_label},
    meta::Meta,
    port::check_number,
    report::Code,
    shape::{Known, or_default, read_spec},
};

/// A valid endpoint. Services select it by the labels of its metadata.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct ExternalEndpoint {
    pub header: Header,
    pub address: EndpointAddress,
    /// Name (may be empty if it is the only one) and number.
    pub ports: Vec<(String, u16)>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Spec {
    #[serde(deserialize_with = "or_default")]
    address: String,
    #[serde(deserialize_with = "or_default")]
    ports: Vec<Port>,
    // A preference among endpoints is a proxy's business: known, not looked at.
    #[serde(rename = "locality")]
    _locality: Option<Known>,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Port {
    #[serde(deserialize_with = "or_default")]
    name: String,
    #[serde(deserialize_with = "or_default")]
    number: i64,
}

impl ExternalEndpoint {
    /// Checks a document whose metadata were read.
    ///
    /// Source: <https://docs.solo.io/gloo-mesh-enterprise/latest/reference/api/external_endpoint/>.
    pub fn check(meta: &Meta, document: &Value) -> Checked<Self> {
        let (spec, warnings) = match read_spec::<Spec>(meta, document) {
            Ok(read) => read,
            Err(report) => return Checked::refused(*report),
        };
        let mut found = Findings::new(&meta.object, warnings);
        let address = address(&spec.address, &mut found);
        let ports = ports(&spec.ports, &mut found);
        match address {
            Some(address) => found.finish(Self { header: Header::new(meta), address, ports }),
            None => Checked { value: None, reports: found.finish(()).reports },
        }
    }
}

/// Reads the address; none if it was reported.
fn address(text: &str, found: &mut Findings<'_>) -> Option<EndpointAddress> {
    const PATH: &str = "spec.address";
    if let Ok(ip) = text.parse::<IpAddr>() {
        return Some(EndpointAddress::Ip(ip.to_canonical()));
    }
    if let Some(socket) = text.strip_prefix("unix://") {
        let is_file = socket.starts_with('/') && !socket.ends_with('/');
        let is_abstract = socket.starts_with('@') && socket.len() > 1;
        if is_file || is_abstract {
            return Some(EndpointAddress::Unix(socket.to_owned()));
        }
        let message = format!("`{text}` is neither an absolute path nor an abstract name");
        found.add(Code::UdsPath, PATH, message);
        return None;
    }
    match HostPattern::parse(text) {
        Ok(name) if !name.is_wildcard() => Some(EndpointAddress::Name(name)),
        _ => {
            let message = format!("`{text}` is no IP address, no plain name and no unix socket");
            found.add(Code::EndpointAddress, PATH, message);
            None
        }
    }
}

fn ports(raw: &[Port], found: &mut Findings<'_>) -> Vec<(String, u16)> {
    let mut names = BTreeSet::new();
    let mut ports = Vec::new();
    for (index, port) in raw.iter().enumerate() {
        let path = format!("spec.ports[{index}]");
        let fault = if port.name.is_empty() {
            (raw.len() > 1).then(|| "each port needs a name, because there are several".to_owned())
        } else if !is_dns_label(&port.name) {
            Some(format!("`{}` is not a DNS label", port.name))
        } else {
            let is_new = names.insert(&port.name);
            (!is_new).then(|| format!("the name `{}` stands twice", port.name))
        };
        if let Some(message) = fault {
            found.add(Code::EndpointPortName, format!("{path}.name"), message);
        }
        let number_path = format!("{path}.number");
        if let Some(number) = check_number(port.number, number_path, Code::EndpointPort, found) {
            ports.push((port.name.clone(), number));
        }
    }
    ports
}

#[cfg(test)]
mod tests {
    use super::ExternalEndpoint;
    use crate::registry::{endpoint::EndpointAddress, findings::Checked, testing};

    fn read(spec: &str) -> Checked<ExternalEndpoint> {
        let kind = "networking.gloo.solo.io/v2 ExternalEndpoint";
        let (meta, document) = testing::object(kind, "", &format!(", spec: {spec}"));
        ExternalEndpoint::check(&meta, &document)
    }

    #[track_caller]
    fn check(spec: &str, expected: &[&str]) {
        testing::check(&read(spec), spec, expected);
    }

    #[track_caller]
    fn address(text: &str, expected: &str) {
        let spec = format!("{{address: '{text}'}}");
        check(&spec, &[]);
        let got = match read(&spec).value.expect("valid").address {
            EndpointAddress::Ip(ip) => format!("ip {ip}"),
            EndpointAddress::Name(name) => format!("name {name}"),
            EndpointAddress::Unix(path) => format!("unix {path}"),
            EndpointAddress::Network(name) => format!("network {name}"),
        };
        assert_eq!(got, expected, "{text}");
    }

    #[test]
    fn addresses() {
        address("203.0.113.21", "ip 203.0.113.21");
        address("2001:db8::1", "ip 2001:db8::1");
        address("::ffff:192.0.2.1", "ip 192.0.2.1");
        address("Db.Example.com.", "name db.example.com");
        address("unix:///run/x", "unix /run/x");
        address("unix://@x", "unix @x");
        for bad in ["''", "'*.example.com'", "a b", "203.0.113.0/24", "203.0.113.300", "db:5432"] {
            check(&format!("{{address: {bad}}}"), &["E-ENDPOINT-ADDRESS spec.address"]);
        }
        check("{}", &["E-ENDPOINT-ADDRESS spec.address"]);
        for bad in ["unix://run/x", "unix:///run/", "unix://@", "unix://"] {
            check(&format!("{{address: '{bad}'}}"), &["E-UDS-PATH spec.address"]);
        }
    }

    #[test]
    fn ports() {
        let ports = |ports: &str| {
            format!("{{address: 203.0.113.21, locality: {{region: a}}, ports: [{ports}]}}")
        };
        check(&ports(""), &[]);
        check(&ports("{number: 6432}"), &[]);
        let two = ports("{name: sql, number: 6432}, {name: admin, number: 9000}");
        check(&two, &[]);
        assert_eq!(
            read(&two).value.expect("valid").ports,
            [("sql".to_owned(), 6432), ("admin".to_owned(), 9000)]
        );
        check(
            &ports("{number: 80}, {number: 81}"),
            &["E-ENDPOINT-PORT-NAME spec.ports[0].name", "E-ENDPOINT-PORT-NAME spec.ports[1].name"],
        );
        check(
            &ports("{name: a, number: 80}, {name: a, number: 81}"),
            &["E-ENDPOINT-PORT-NAME spec.ports[1].name"],
        );
        check(&ports("{name: a_b, number: 80}"), &["E-ENDPOINT-PORT-NAME spec.ports[0].name"]);
        for bad in ["0", "65536", "-1", "null"] {
            let spec = ports(&format!("{{name: a, number: {bad}}}"));
            check(&spec, &["E-ENDPOINT-PORT spec.ports[0].number"]);
        }
        check(&ports("{number: http}"), &["E-FIELD-TYPE spec.ports[0].number"]);
        check(&ports("{port: 80, number: 1}"), &["W-FIELD-UNKNOWN spec.ports[0].port"]);
        check(
            "{address: '', ports: [{number: 0}]}",
            &["E-ENDPOINT-ADDRESS spec.address", "E-ENDPOINT-PORT spec.ports[0].number"],
        );
    }
}
