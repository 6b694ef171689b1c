//! Promise 5 for routes to an egress gateway, which here is another pod: its flows go straight out, those
//! of the others go to it and nowhere else.

#![cfg(test)]

use std::net::{IpAddr, SocketAddr};

use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::probe::Reached;
use exeat_tests::scene::{IN_FORCE_WITHIN, Scene};
use exeat_tests::servers::HttpServer;
use exeat_tests::wait;

const HOST: &str = "www.example.com";
const SITE: [&str; 2] = ["203.0.113.10", "2001:db8::10"];
/// As the page on egress gateways has it, for a gateway whose pods have the label `app: ledger`.
const ROUTES: &str = r#"
apiVersion: networking.istio.io/v1
kind: ServiceEntry
metadata: {name: www, namespace: shop}
spec:
  hosts: [www.example.com]
  exportTo: [".", bank]
  ports: [{number: 80, name: http, protocol: HTTP}, {number: 443, name: tls, protocol: TLS}]
  resolution: DNS
---
apiVersion: networking.istio.io/v1
kind: Gateway
metadata: {name: gw, namespace: bank}
spec:
  selector: {app: ledger}
  servers:
  - {port: {number: 80, name: http, protocol: HTTP}, hosts: ["*"]}
  - {port: {number: 443, name: tls, protocol: TLS}, hosts: ["*"], tls: {mode: PASSTHROUGH}}
---
apiVersion: networking.istio.io/v1
kind: VirtualService
metadata: {name: via, namespace: shop}
spec:
  hosts: [www.example.com]
  gateways: [mesh, bank/gw]
  http:
  - {match: [{port: 80, gateways: [mesh]}], route: [{destination: {host: egress.bank.svc.cluster.local, port: {number: 80}}}]}
  - {match: [{port: 80, gateways: [bank/gw]}], route: [{destination: {host: www.example.com}}]}
  tls:
  - {match: [{port: 443, gateways: [mesh], sniHosts: [www.example.com]}], route: [{destination: {host: egress.bank.svc.cluster.local, port: {number: 443}}}]}
  - {match: [{port: 443, gateways: [bank/gw], sniHosts: [www.example.com]}], route: [{destination: {host: www.example.com, port: {number: 443}}}]}
---
apiVersion: v1
kind: Service
metadata: {name: egress, namespace: bank}
spec: {clusterIP: None, selector: {app: ledger}, ports: [{name: http, port: 80}, {name: https, port: 443}]}
"#;

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Endpoints of the gateway's service, of which the second is not ready unless told so.
fn slices(pod: &exeat_tests::node::Pod, is_ready: bool) -> String {
    let slice = |family: &str, address: IpAddr| {
        format!(
            "---\napiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n\
             metadata: {{name: egress-{family}, namespace: bank, labels: {{kubernetes.io/service-name: egress}}}}\n\
             addressType: {family}\n\
             ports: [{{name: http, port: 80, protocol: TCP}}, {{name: https, port: 443, protocol: TCP}}]\n\
             endpoints: [{{addresses: [\"{address}\"], conditions: {{ready: {is_ready}}}}}]\n",
            family = family.to_owned(),
        )
        .replace(&format!("egress-{family}"), &format!("egress-{}", family.to_ascii_lowercase()))
    };
    slice("IPv4", pod.v4.into()) + &slice("IPv6", pod.v6.into())
}

fn scene(test: &str) -> Scene {
    let mut scene = Scene::prepare(test, &[]).expect("a world");
    let slices = slices(&scene.world.ledger, true);
    scene.files.put("routes.yaml", ROUTES).expect("manifests");
    scene.files.put("slices.yaml", &slices).expect("manifests");
    scene.world.dns.set(HOST, &SITE.map(ip), 3600);
    scene.start_agent().expect("an agent");
    scene
}

#[test]
fn flows_of_others_go_to_the_gateway_and_its_own_go_out() {
    let scene = scene("gateway");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let gateway = HttpServer::start(&ledger.netns, &[80], &[443]).expect("a gateway");
    for (kind, own) in [(Kind::A, IpAddr::from(ledger.v4)), (Kind::Aaaa, ledger.v6.into())] {
        let address = web.address_of(HOST, kind).expect("an address");
        for port in [80, 443] {
            let (at, all) = (SocketAddr::new(own, port), scene.world.http.arrivals().total());
            let before = gateway.arrivals().at(at);
            let reached = web.connect(address, port).expect("a probe");
            assert!(reached.is_ok(), "{address} {port}: {reached:?}");
            assert_eq!(reached.peer, Some(SocketAddr::new(address, port)));
            assert_eq!(gateway.arrivals().at(at) - before, 1, "at the gateway, {at}");
            assert_eq!(scene.world.http.arrivals().total(), all, "nothing goes straight out");
            // Past the gateway nothing leaves.
            let args = ["connect", &address.to_string(), &port.to_string(), "--timeout-ms", "1000"];
            let reached: Reached =
                probe_outside_cgroup(&scene.world.node, web, &args).expect("a probe");
            assert!(!reached.is_ok(), "{address} {port}: {reached:?}");
            let to = SocketAddr::new(address, port);
            assert_eq!(scene.world.tap.packets_to(to).expect("a count"), 0, "{to}");
        }
    }
    // The twin: from the gateway's own pod.
    for kind in [Kind::A, Kind::Aaaa] {
        let address = scene.assert_name_reaches(ledger, HOST, kind, 80);
        scene.assert_reaches(ledger, address, 443);
        scene.assert_refused(ledger, address, 8080);
    }
}

#[test]
fn a_gateway_that_is_not_ready_is_left_out() {
    let scene = scene("unready");
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let gateway = HttpServer::start(&ledger.netns, &[80], &[443]).expect("a gateway");
    let address = web.address_of(HOST, Kind::A).expect("an address");
    assert!(web.connect(address, 80).expect("a probe").is_ok());
    scene.files.put("slices.yaml", &slices(ledger, false)).expect("manifests");
    scene.wait_until_refused(web, address, 80);
    let before = gateway.arrivals().total();
    assert_eq!(web.connect(address, 80).expect("a probe").result, "EPERM");
    assert_eq!(gateway.arrivals().total(), before);
    scene.files.put("slices.yaml", &slices(ledger, true)).expect("manifests");
    let opened = wait::holds(IN_FORCE_WITHIN, || {
        web.connect(address, 80).is_ok_and(|reached| reached.is_ok())
    });
    assert!(opened, "ready again");
}
