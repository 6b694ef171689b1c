//! Every rule of a `ServiceEntry`, by the code it gives.

use super::ServiceEntry;
use crate::registry::{findings::Checked, meta::Meta, testing};

fn read(metadata: &str, spec: &str) -> Checked<ServiceEntry> {
    let spec = format!(", spec: {spec}");
    let (meta, document) = testing::object("networking.istio.io/v1 ServiceEntry", metadata, &spec);
    ServiceEntry::check(&meta, &document)
}

/// Whether the entry is valid, and exactly which codes it gives.
#[track_caller]
fn check_with(metadata: &str, spec: &str, valid: bool, codes: &[&str]) {
    testing::check_codes(&read(metadata, spec), spec, valid, codes);
}

#[track_caller]
fn refused(spec: &str, code: &str) {
    check_with("", spec, false, &[code]);
}

#[track_caller]
fn accepted(spec: &str, codes: &[&str]) {
    check_with("", spec, true, codes);
}

/// An entry with host, HTTP port 80 and these further fields.
fn http(more: &str) -> String {
    format!("{{hosts: [a.example.com], ports: [{{number: 80, name: http, protocol: HTTP}}]{more}}}")
}

fn port(fields: &str) -> String {
    format!("{{hosts: [a.example.com], resolution: DNS, ports: [{fields}]}}")
}

#[test]
fn hosts() {
    let hosts = |list: &str| {
        format!("{{hosts: {list}, ports: [{{number: 80, name: http, protocol: HTTP}}]}}")
    };
    refused(&hosts("[]"), "E-HOSTS-EMPTY");
    refused(&hosts("null"), "E-HOSTS-EMPTY");
    refused("{}", "E-HOSTS-EMPTY");
    refused(&hosts("[ok.example.com, '*']"), "E-HOST-FULL-WILDCARD");
    refused(&hosts("['*.']"), "E-HOST-FULL-WILDCARD");
    for bad in ["-", "foo.*.com", "foo*.bar.com", "203.0.113.4", "_sip.example.com"] {
        refused(&hosts(&format!("['{bad}']")), "E-HOST-SYNTAX");
    }
    accepted(&hosts("['*washingtonpost.com', '*.nytimes.com']"), &["U-HOST-PARTIAL-WILDCARD"]);
    accepted(&hosts("['*.test']"), &["W-HOST-TLD-WILDCARD"]);
    let entry =
        read("", &hosts("[shortname, Trailing.Dot.example., shortname.]")).value.expect("valid");
    let names: Vec<String> = entry.hosts.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["shortname", "trailing.dot.example"]);
    let many = (0..257).map(|it| format!("h{it}.example")).collect::<Vec<_>>().join(", ");
    refused(&hosts(&format!("[{many}]")), "E-TOO-MANY");
}

#[test]
fn ports() {
    let check = |fields: &str, code: &str| refused(&port(fields), code);
    check("{number: 0, name: http, protocol: HTTP}", "E-PORT-RANGE");
    check("{name: http, protocol: HTTP}", "E-PORT-RANGE");
    check("{number: -1, name: http, protocol: HTTP}", "E-PORT-RANGE");
    check("{number: 99999, name: http, protocol: HTTP}", "E-PORT-RANGE");
    check("{number: 80, name: http, protocol: HTTP, targetPort: 65536}", "E-TARGETPORT-RANGE");
    check("{number: 80, name: http, protocol: WEBSOCKET}", "E-PORT-PROTOCOL");
    check("{number: 80, name: http_1, protocol: HTTP}", "E-PORT-NAME");
    check("{number: 80, protocol: HTTP}", "E-PORT-NAME");
    check(
        "{number: 80, name: http, protocol: HTTP}, {number: 8080, name: http, protocol: HTTP}",
        "E-PORT-NAME-DUP",
    );
    check(
        "{number: 80, name: a, protocol: HTTP}, {number: 80, name: b, protocol: UDP}",
        "E-PORT-NUMBER-DUP",
    );
    check("{number: eighty, name: a}", "E-FIELD-TYPE");
    accepted(&port("{number: 80, name: HTTP-Web, protocol: grpc-web}"), &[]);
    accepted("{hosts: [a.example.com]}", &["W-NO-PORTS"]);
    accepted(&port("{number: 80, name: http, protocol: HTTP, targetPort: 80}"), &[]);
    accepted(&port("{number: 80, name: http, protocol: HTTP, targetPort: 443}"), &[]);
}

#[test]
fn addresses() {
    refused(&http(", addresses: [198.51.100.0/24], resolution: DNS"), "E-ADDR-CIDR-RESOLUTION");
    refused(&http(", addresses: [1.2.3.4/99]"), "E-ADDR-SYNTAX");
    refused(&http(", addresses: [vip.example.com]"), "E-ADDR-SYNTAX");
    refused(&http(", addresses: ['unix:///x']"), "E-ADDR-SYNTAX");
    accepted(&http(", addresses: [192.192.192.192/24, '2001:db8::1']"), &[]);
    accepted(&http(", addresses: [192.0.2.1/32, '2001:db8::1/128'], resolution: DNS"), &[]);
    refused(&http(&format!(", addresses: ['{}']", "0".repeat(65))), "E-ADDR-SYNTAX");
    let many = (0..257).map(|it| format!("10.0.{}.{}", it / 256, it % 256)).collect::<Vec<_>>();
    refused(&http(&format!(", addresses: [{}]", many.join(", "))), "E-TOO-MANY");
    let shared = |protocol: &str, more: &str| {
        format!(
            "{{hosts: [a.example, b.example], addresses: [192.0.2.1], ports: [{{number: 443, name: x, protocol: {protocol}}}]{more}}}"
        )
    };
    accepted(&shared("TLS", ", resolution: DNS"), &["W-MULTIHOST-ADDRESS"]);
    accepted(&shared("HTTPS", ", resolution: DNS_ROUND_ROBIN"), &["W-MULTIHOST-ADDRESS"]);
    accepted(&shared("HTTP", ", resolution: DNS"), &[]);
    accepted(&shared("TLS", ""), &[]);
    refused(&shared("TCP", ", resolution: DNS"), "E-MULTIHOST-TCP");
    refused(&shared("UDP", ", resolution: DNS"), "E-MULTIHOST-TCP");
    accepted(
        "{hosts: [a.example.com], addresses: [198.51.100.0/24], ports: [{number: 443, name: tls, protocol: TLS}]}",
        &["W-SNI-NOT-CHECKED"],
    );
    let entry = read("", &http(", addresses: [10.1.2.3/8, 10.0.0.0/8]")).value.expect("valid");
    assert_eq!(entry.addresses.len(), 1);
}

#[test]
fn resolutions() {
    refused(&http(", resolution: STRICT_DNS"), "E-RESOLUTION");
    refused(&http(", location: ELSEWHERE"), "E-LOCATION");
    refused(
        "{hosts: ['*.c.example.com'], ports: [{number: 80, name: http, protocol: HTTP}], resolution: DNS}",
        "E-DNS-HOST-WILDCARD",
    );
    refused(
        "{hosts: [a.example, b.example], ports: [{number: 1, name: x}], resolution: DNS}",
        "E-MULTIHOST-TCP",
    );
    accepted(
        "{hosts: [a.example, b.example], ports: [{number: 1, name: x}]}",
        &["W-TCP-NO-ADDRESS"],
    );
    let dynamic = |hosts: &str, protocol: &str, more: &str| {
        format!(
            "{{hosts: [{hosts}], ports: [{{number: 80, name: x, protocol: {protocol}}}], resolution: DYNAMIC_DNS{more}}}"
        )
    };
    accepted(&dynamic("'*.a.example'", "HTTP", ""), &[]);
    refused(&dynamic("a.example", "HTTP", ""), "E-DYN-HOST-EXACT");
    for protocol in ["HTTP2", "GRPC", "TLS"] {
        accepted(&dynamic("'*.a.example', '*.b.example'", protocol, ""), &[]);
    }
    for protocol in ["HTTPS", "TCP", "''", "UDP", "GRPC-Web"] {
        refused(&dynamic("'*.a.example'", protocol, ""), "E-DYN-PROTOCOL");
    }
    accepted(&dynamic("'*a.example', '*.b.example'", "HTTP", ""), &["U-HOST-PARTIAL-WILDCARD"]);
    refused(&dynamic("'*.a.example'", "TLS", ", addresses: [192.0.2.1]"), "E-DYN-ADDRESSES");
    refused(
        &dynamic("'*.a.example'", "TLS", ", endpoints: [{address: 192.0.2.1}]"),
        "E-DYN-ENDPOINTS",
    );
    check_with(
        ", labels: {istio.io/use-waypoint: w}",
        &dynamic("'*.a.example'", "TLS", ", location: MESH_INTERNAL"),
        false,
        &["E-DYN-WAYPOINT"],
    );
}

#[test]
fn endpoints() {
    let check = |resolution: &str, endpoint: &str, code: &str| {
        refused(&http(&format!(", resolution: {resolution}, endpoints: [{endpoint}]")), code);
    };
    check("NONE", "{address: 203.0.113.1}", "E-NONE-ENDPOINTS");
    check("STATIC", "{address: google.com}", "E-STATIC-FQDN");
    check("DNS", "{address: '*.lon.example.com'}", "E-DNS-ENDPOINT");
    check("DNS", "{address: 'unix:///run/x'}", "E-DNS-ENDPOINT");
    check("STATIC", "{address: 'unix://./x.sock'}", "E-UDS-PATH");
    check("STATIC", "{address: 'unix:///run/'}", "E-UDS-PATH");
    check("STATIC", "{address: 'unix://@'}", "E-UDS-PATH");
    check("STATIC", "{address: 'unix:///run/x', ports: {http: 80}}", "E-UDS-PORTS");
    check("STATIC", "{address: 203.0.113.1, ports: {http: 65536}}", "E-ENDPOINT-PORT");
    check("STATIC", "{address: 203.0.113.1, ports: {https: 80}}", "E-ENDPOINT-PORT-UNKNOWN");
    check("STATIC", "{labels: {a: b}}", "E-ENDPOINT-ADDRESS");
    check("STATIC", "{address: 203.0.113.1, labels: {app: 'not valid!'}}", "E-ENDPOINT-LABEL");
    check("DNS_ROUND_ROBIN", "{address: a.example}, {address: b.example}", "E-DNSRR-ENDPOINTS");
    refused(
        "{hosts: [a.example], ports: [{number: 80, name: a, protocol: HTTP}, {number: 81, name: b, protocol: HTTP}], resolution: STATIC, endpoints: [{address: 'unix:///run/x'}]}",
        "E-UDS-PORTS",
    );
    accepted(&http(", resolution: STATIC, endpoints: [{address: 'unix://@x'}]"), &["U-UDS"]);
    accepted(
        &http(
            ", resolution: STATIC, endpoints: [{address: '2001:db8::1', ports: {http: 8080}, weight: 3, locality: a/b, labels: {x/y: ''}}]",
        ),
        &[],
    );
    accepted(&http(", resolution: DNS, endpoints: [{address: us.example.com}]"), &[]);
    accepted(&http(", resolution: STATIC, endpoints: [{network: other}]"), &["W-ENDPOINT-NETWORK"]);
    accepted(&http(", resolution: STATIC"), &["W-NO-UPSTREAM"]);
}

#[test]
fn selectors_and_the_rest() {
    refused(
        &http(
            ", resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: [{address: 203.0.113.1}]",
        ),
        "E-SELECTOR-AND-ENDPOINTS",
    );
    refused(
        &http(", resolution: STATIC, workloadSelector: {labels: {app: '*'}}"),
        "E-SELECTOR-SYNTAX",
    );
    refused(&http(", exportTo: ['.', v]"), "E-EXPORTTO");
    accepted(&http(", workloadSelector: {}"), &["W-SELECTOR-EMPTY", "W-SELECTOR-IGNORED"]);
    accepted(&http(", resolution: STATIC, workloadSelector: {labels: {a: b}}"), &[]);
    refused(
        &http(", resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: []"),
        "E-SELECTOR-AND-ENDPOINTS",
    );
    accepted(
        &http(", resolution: STATIC, workloadSelector: {labels: {a: b}}, endpoints: null"),
        &[],
    );
    refused(
        &http(&format!(
            ", resolution: STATIC, workloadSelector: {{labels: {{a: {}}}}}",
            "b".repeat(64)
        )),
        "E-SELECTOR-SYNTAX",
    );
    accepted(&http(", subjectAltNames: [x]"), &["W-SAN-NOT-VERIFIED"]);
    accepted(&http(", portz: [1]"), &["W-FIELD-UNKNOWN"]);
    accepted(&http(", endpoints: null, exportTo: null"), &[]);
    for (label, expected) in [("w", Some(true)), ("none", Some(false)), ("''", None)] {
        let labels = format!(", labels: {{istio.io/use-waypoint: {label}}}");
        assert_eq!(read(&labels, &http("")).value.expect("valid").waypoint, expected, "{label}");
    }
}

/// Auto-allocated addresses are read from the status of entries that can have them.
#[test]
fn virtual_addresses() {
    #[track_caller]
    fn check(spec: &str, labels: &str, expected: &[(&str, &str)]) {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: e, namespace: v{labels}}}, spec: {spec}, status: {{addresses: [{{value: 240.240.0.5, host: a.example.com}}, {{value: '2001:2::5', host: a.example.com}}, {{value: 240.240.0.6, host: '*.b.example'}}, {{value: 240.240.0.7, host: other.example}}, {{value: x, host: a.example.com}}, {{value: 240.240.0.8}}]}}}}"
        );
        let document = serde_yaml::from_str(&text).expect("YAML");
        let meta = Meta::read(&document).expect("metadata");
        let entry = ServiceEntry::check(&meta, &document).value.expect("valid");
        let got: Vec<(String, String)> = entry
            .virtual_addresses
            .iter()
            .flat_map(|(host, list)| list.iter().map(|it| (host.to_string(), it.to_string())))
            .collect();
        let expected: Vec<(String, String)> =
            expected.iter().map(|(host, ip)| ((*host).to_owned(), (*ip).to_owned())).collect();
        assert_eq!(got, expected, "{spec}");
    }
    let of_a = ["240.240.0.5", "2001:2::5", "240.240.0.8"].map(|ip| ("a.example.com", ip));
    check(&http(", resolution: DNS"), "", &of_a);
    check(&http(", resolution: STATIC"), "", &of_a);
    check(&http(""), "", &[]);
    check(&http(", resolution: DNS, addresses: [192.0.2.1]"), "", &[]);
    let off = ", labels: {networking.istio.io/enable-autoallocate-ip: 'false'}";
    check(&http(", resolution: DNS"), off, &[]);
    let wild = |resolution: &str| {
        format!(
            "{{hosts: ['*.b.example'], ports: [{{number: 80, name: http, protocol: HTTP}}], resolution: {resolution}}}"
        )
    };
    check(&wild("STATIC"), "", &[]);
    check(
        &wild("DYNAMIC_DNS"),
        "",
        &[("*.b.example", "240.240.0.6"), ("*.b.example", "240.240.0.8")],
    );
}

#[test]
fn paths_point_at_the_fault() {
    let checked = read("", &port("{number: 80, name: a, protocol: HTTP}, {number: x, name: b}"));
    assert_eq!(checked.reports[0].path, "spec.ports[1].number");
    let checked = read("", &port("{number: 80, name: a, protocol: HTTP, nmae: b}"));
    assert_eq!(checked.reports[0].path, "spec.ports[0].nmae");
    let checked = read("", "[1]");
    assert_eq!(checked.reports[0].path, "spec");
}
