//! Every rule of a `Service`, by the code it gives.

use super::{Kind, Service, Target};
use crate::registry::{findings::Checked, port::Protocol, testing};

fn read(metadata: &str, spec: &str) -> Checked<Service> {
    let (meta, document) = testing::object("v1 Service", metadata, &format!(", spec: {spec}"));
    Service::check(&meta, &document)
}

#[track_caller]
fn check(spec: &str, expected: &[&str]) {
    testing::check(&read("", spec), spec, expected);
}

#[track_caller]
fn check_ports(ports: &str, expected: &[&str]) {
    check(&format!("{{ports: [{ports}]}}"), expected);
}

fn valid(metadata: &str, spec: &str) -> Service {
    read(metadata, spec).value.expect("valid")
}

#[test]
fn kinds() {
    #[track_caller]
    fn kind(spec: &str, expected: &str) {
        let got = match valid("", spec).kind {
            Kind::Headless => "headless".to_owned(),
            Kind::ExternalName(host) => host.to_string(),
            Kind::ClusterIp(addresses) => format!("{addresses:?}"),
        };
        assert_eq!(got, expected, "{spec}");
    }
    kind("null", "[]");
    kind("{clusterIP: '', clusterIPs: null}", "[]");
    kind("{clusterIP: 10.96.7.7}", "[10.96.7.7]");
    kind("{type: NodePort, clusterIP: 10.96.7.7}", "[10.96.7.7]");
    kind("{type: LoadBalancer, clusterIP: 10.96.7.7}", "[10.96.7.7]");
    kind("{clusterIP: 10.96.7.7, clusterIPs: [10.96.7.7, 'fd00::7']}", "[10.96.7.7, fd00::7]");
    kind("{clusterIP: None}", "headless");
    kind("{clusterIP: None, clusterIPs: [None]}", "headless");
    kind("{type: ExternalName, externalName: HttpBin.org.}", "httpbin.org");
    // What is left over from another type has no meaning.
    kind("{type: ExternalName, externalName: a.example, clusterIP: ''}", "a.example");
}

#[test]
fn faults_of_kinds() {
    check("{type: Ingress}", &["E-SERVICE spec.type"]);
    check("{clusterIP: none, ports: [{port: 80}]}", &["E-SERVICE spec.clusterIP"]);
    check("{clusterIPs: [10.0.0.1, x]}", &["E-SERVICE spec.clusterIPs[1]"]);
    check("{clusterIPs: [10.0.0.1, None]}", &["E-SERVICE spec.clusterIPs"]);
    check("{clusterIP: 10.0.0.1, clusterIPs: [10.0.0.2]}", &["E-SERVICE spec.clusterIPs"]);
    for bad in ["''", "'*.example.com'", "'*'", "192.0.2.1", "a_b.example", "http://a.example"] {
        let spec = format!("{{type: ExternalName, externalName: {bad}}}");
        check(&spec, &["E-HOST-SYNTAX spec.externalName"]);
    }
    check("{type: ExternalName}", &["E-HOST-SYNTAX spec.externalName"]);
    check("{type: ExternalName, externalName: a.example}", &["W-EXTNAME-NO-PORTS spec.ports"]);
    check("{clusterIP: 10.0.0.1}", &["W-NO-PORTS spec.ports"]);
    check("{clusterIP: None}", &[]);
    check("[1]", &["E-FIELD-TYPE spec"]);
    check("{clusterIP: [10.0.0.1]}", &["E-FIELD-TYPE spec.clusterIP"]);
    check("{ports: [{port: '80'}]}", &["E-FIELD-TYPE spec.ports[0].port"]);
    check("{sessionAffinity: None, unheardOf: 1, ports: [{port: 80, nodePort: 30080}]}", &[]);
}

#[test]
fn ports() {
    check_ports("{port: 80}", &[]);
    check_ports("{port: 0}", &["E-PORT-RANGE spec.ports[0].port"]);
    check_ports("{name: a}", &["E-PORT-RANGE spec.ports[0].port"]);
    check_ports("{port: 65536}", &["E-PORT-RANGE spec.ports[0].port"]);
    check_ports("{port: 80, name: a_b}", &["E-PORT-NAME spec.ports[0].name"]);
    check_ports("{port: 80, name: a}, {port: 81}", &["E-PORT-NAME spec.ports[1].name"]);
    check_ports(
        "{port: 80, name: a}, {port: 81, name: a}",
        &["E-PORT-NAME-DUP spec.ports[1].name"],
    );
    check_ports(
        "{port: 80, name: a}, {port: 80, name: b}",
        &["E-PORT-NUMBER-DUP spec.ports[1].port"],
    );
    check_ports("{port: 53, name: a, protocol: UDP}, {port: 53, name: b, protocol: TCP}", &[]);
    check_ports("{port: 80, protocol: HTTP}", &["E-PORT-PROTOCOL spec.ports[0].protocol"]);
    check_ports("{port: 80, protocol: SCTP}", &["W-PORT-TRANSPORT spec.ports[0].protocol"]);
    for bad in ["65536", "-1", "'8080'", "a_b", "a-name-of-16-byte"] {
        check_ports(
            &format!("{{port: 80, targetPort: {bad}}}"),
            &["E-TARGETPORT-RANGE spec.ports[0].targetPort"],
        );
    }
    check_ports("{port: 80, targetPort: [1]}", &["E-FIELD-TYPE spec.ports[0].targetPort"]);
    check_ports(
        "{port: 0, name: '-', targetPort: -1}",
        &[
            "E-PORT-NAME spec.ports[0].name",
            "E-PORT-RANGE spec.ports[0].port",
            "E-TARGETPORT-RANGE spec.ports[0].targetPort",
        ],
    );
}

#[test]
fn targets() {
    #[track_caller]
    fn target(field: &str, expected: Option<&Target>) {
        let mut service = valid("", &format!("{{ports: [{{port: 80{field}}}]}}"));
        assert_eq!(service.ports.remove(0).target.as_ref(), expected, "{field}");
    }
    target("", None);
    target(", targetPort: null", None);
    target(", targetPort: 0", None);
    target(", targetPort: ''", None);
    target(", targetPort: 8080", Some(&Target::Number(8080)));
    target(", targetPort: web", Some(&Target::Name("web".into())));
}

#[test]
fn protocols() {
    #[track_caller]
    fn protocol(fields: &str, expected: Protocol) {
        let service = valid("", &format!("{{ports: [{{port: 80, {fields}}}]}}"));
        assert_eq!(service.ports[0].protocol, expected, "{fields}");
    }
    protocol("name: http", Protocol::Http);
    protocol("name: HTTP-web", Protocol::Http);
    protocol("name: http2-web", Protocol::Http2);
    protocol("name: https-web", Protocol::Https);
    protocol("name: tls", Protocol::Tls);
    protocol("name: tcp-x", Protocol::Tcp);
    protocol("name: grpc-x", Protocol::Grpc);
    protocol("name: grpc-web", Protocol::GrpcWeb);
    protocol("name: grpc-web-x", Protocol::GrpcWeb);
    protocol("name: mongo", Protocol::Mongo);
    protocol("name: redis-x", Protocol::Redis);
    protocol("name: mysql", Protocol::Mysql);
    protocol("name: web", Protocol::Sniffed);
    protocol("name: httpx", Protocol::Sniffed);
    protocol("protocol: TCP", Protocol::Sniffed);
    protocol("name: udp-x", Protocol::Tcp);
    protocol("name: http, protocol: UDP", Protocol::Udp);
    protocol("name: dns, protocol: UDP, appProtocol: http", Protocol::Udp);
    protocol("name: tcp, appProtocol: http", Protocol::Http);
    protocol("name: tcp, appProtocol: HTTPS", Protocol::Https);
    protocol("name: http, appProtocol: example.com/mine", Protocol::Sniffed);
    protocol("name: http, appProtocol: null", Protocol::Http);
    protocol("name: x, appProtocol: kubernetes.io/h2c", Protocol::Http2);
    protocol("name: x, appProtocol: kubernetes.io/ws", Protocol::Http);
    protocol("name: x, appProtocol: kubernetes.io/wss", Protocol::Https);
    protocol("name: x, appProtocol: udp", Protocol::Tcp);
    protocol("name: x, appProtocol: ééééé", Protocol::Sniffed);
}

#[test]
fn metadata() {
    #[track_caller]
    fn sees(list: &str, expected: Option<[bool; 2]>) {
        let metadata = format!(", annotations: {{networking.istio.io/exportTo: '{list}'}}");
        let export_to = valid(&metadata, "{clusterIP: None}").export_to;
        let got = export_to.map(|it| ["v", "other"].map(|name| it.includes(name)));
        assert_eq!(got, expected, "{list}");
    }
    sees("", None);
    sees(".", Some([true, false]));
    sees("*", Some([true, true]));
    sees("~", Some([false, false]));
    sees("., other", Some([true, true]));
    for bad in ["*,.", "a b", ".,", ".,v"] {
        let metadata = format!(", annotations: {{networking.istio.io/exportTo: '{bad}'}}");
        let path = "E-EXPORTTO metadata.annotations[networking.istio.io/exportTo]";
        testing::check(&read(&metadata, "{clusterIP: None}"), bad, &[path]);
    }
    for (label, expected) in [
        ("", None),
        (", labels: {istio.io/use-waypoint: w}", Some(true)),
        (", labels: {istio.io/use-waypoint: none}", Some(false)),
    ] {
        assert_eq!(valid(label, "{clusterIP: None}").waypoint, expected, "{label}");
    }
    let service = valid("", "{clusterIP: None, selector: {a: b}, publishNotReadyAddresses: true}");
    assert!(service.publishes_not_ready);
    assert_eq!(service.selector.len(), 1);
}
