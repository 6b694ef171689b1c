//! A [`Scene`] for an example: its pods, its files, and what curl says in a pod.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;

use exeat_tests::node::Pod;
use exeat_tests::scene::Scene;
use exeat_tests::servers::PAGE;
use exeat_tests::world::World;

/// Two pods, and no agent yet.
pub(crate) fn prepare(test: &str, pods: [(&str, &str); 2]) -> Scene {
    let world = World::with_pods(test, pods).expect("a world");
    Scene::in_world(world, &[]).expect("a scene")
}

/// Puts a file of `tests/examples` into the registry folder, as a user would.
#[track_caller]
pub(crate) fn apply(scene: &Scene, file: &str) {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("examples").join(file);
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{file}: {error}"));
    scene.files.put(file, &text).expect("in the registry folder");
}

/// Changes the configuration that the agent will have.
pub(crate) fn configure(scene: &Scene, change: impl FnOnce(String) -> String) {
    let config = change(scene.files.config_for(&scene.world.node));
    scene.files.write_config(&config).expect("a configuration");
}

/// A configuration in which the pod `gateway` has the label that Istio's egress gateways have.
pub(crate) fn as_gateway(config: &str) -> String {
    config.replace("{app: gateway}", "{app: gateway, istio: egressgateway}")
}

/// Gives the internet addresses beside those of the documentation prefixes.
pub(crate) fn add_to_internet(scene: &Scene, addresses: &[&str]) {
    let routes = addresses.iter().map(|it| format!("route add local {it} dev lo\n"));
    scene.world.node.internet().ip(&routes.collect::<String>()).expect("routes");
}

/// Stands in for kube-proxy: on its way through the node, what is for the address of a Service goes
/// to one of its endpoints.
pub(crate) fn kube_proxy(scene: &Scene, services: &[(SocketAddr, SocketAddr)]) {
    let rule = |(service, endpoint): &(SocketAddr, SocketAddr)| {
        let family = if service.is_ipv4() { "ip" } else { "ip6" };
        let (address, port) = (service.ip(), service.port());
        format!("    {family} daddr {address} tcp dport {port} dnat {family} to {endpoint}\n")
    };
    let rules: String = services.iter().map(rule).collect();
    let ruleset = format!(
        "table inet services {{\n  chain prerouting {{\n    type nat hook prerouting priority dstnat;\n{rules}  }}\n}}\n"
    );
    let file = scene.world.node.run().dir().join("services.nft");
    std::fs::write(&file, ruleset).expect("a ruleset");
    let mut command = scene.world.node.command("nft".as_ref()).expect("a command");
    let output = command.arg("-f").arg(&file).output().expect("run nft (Debian package nftables)");
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}

pub(crate) fn ip(text: &str) -> IpAddr {
    text.parse().unwrap_or_else(|_| panic!("{text} is not an address"))
}

pub(crate) fn at(text: &str, port: u16) -> SocketAddr {
    SocketAddr::new(ip(text), port)
}

/// What became of one curl.
#[derive(Clone, Debug)]
pub(crate) struct Curled {
    /// 0 for a page, 6 for "could not resolve host", 7 for "could not connect", 35 for a TLS error.
    pub(crate) exit: Option<i32>,
    /// HTTP status; `000` without one.
    pub(crate) status: String,
    pub(crate) body: String,
}

pub(crate) fn curl(pod: &Pod, args: &[&str]) -> Curled {
    let always = ["-sSk", "--noproxy", "*", "--max-time", "10", "-w", "\n%{http_code}"];
    let output = pod.tool("curl", &[&always, args].concat()).expect("curl");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    let (body, status) = text.rsplit_once('\n').unwrap_or_default();
    Curled { exit: output.status.code(), status: status.to_owned(), body: body.to_owned() }
}

/// curl has the page, and one connection arrived at `server`.
#[track_caller]
pub(crate) fn assert_page(scene: &Scene, pod: &Pod, args: &[&str], server: SocketAddr) {
    let arrivals = scene.world.http.arrivals();
    let before = (arrivals.at(server), arrivals.total());
    let curled = curl(pod, args);
    assert_eq!(
        (curled.status.as_str(), curled.body.as_str()),
        ("200", PAGE),
        "{args:?}: {curled:?}"
    );
    let after = (arrivals.at(server), arrivals.total());
    assert_eq!(
        after,
        (before.0 + 1, before.1 + 1),
        "{args:?}: connections at {server}, and in all"
    );
}

/// curl ends with `exit`, and nothing arrived at any server.
#[track_caller]
pub(crate) fn assert_no_page(scene: &Scene, pod: &Pod, args: &[&str], exit: i32) {
    let before = scene.world.http.arrivals().total();
    let curled = curl(pod, args);
    assert_eq!(curled.exit, Some(exit), "{args:?}: {curled:?}");
    assert_eq!(scene.world.http.arrivals().total(), before, "{args:?}: connections at servers");
}

/// Exit statuses of curl.
pub(crate) const NO_SUCH_HOST: i32 = 6;
pub(crate) const NOT_CONNECTED: i32 = 7;
pub(crate) const TLS_REFUSED: i32 = 35;
