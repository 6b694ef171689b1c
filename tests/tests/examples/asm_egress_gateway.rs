//! The four steps of Alibaba Cloud ASM's guide on egress gateways, with `exeat gateway` as the
//! gateway of the last.

use std::fs;
use std::process::Stdio;
use std::time::Duration;

use exeat_tests::node::{Pod, RESOLVER_V4};
use exeat_tests::pod_client::Background;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

use super::envoy::wait_until_listens;
use super::stage::{
    NO_SUCH_HOST, apply, as_gateway, assert_no_page, assert_page, at, configure, curl, ip,
    kube_proxy, prepare,
};

const SITE: &str = "203.0.113.83";
const URL: &str = "http://aliyun.com/";
const WITHIN: Duration = Duration::from_secs(10);

/// `exeat gateway` in the pod, over the registry of the scene.
fn start_gateway(scene: &Scene, pod: &Pod) -> Background {
    let dir = scene.world.node.run().dir();
    let config = dir.join("gateway.yaml");
    let text = format!(
        "registry: {{files: [{registry}], watch: true}}\n\
         dns: {{resolvers: [\"{RESOLVER_V4}\"]}}\n\
         metrics: {{listen: \"127.0.0.1:9469\"}}\n\
         gateway: {{namespace: {namespace}, accessLog: {log}, listeners: [{{address: \"0.0.0.0:80\", protocol: http}}, {{address: \"[::]:80\", protocol: http}}]}}\n",
        registry = scene.files.registry().display(),
        namespace = pod.namespace,
        log = dir.join("access.log").display(),
    );
    fs::write(&config, text).expect("a configuration");
    let mut command = pod.command(scene.files.binary()).expect("a command");
    command.args(["gateway", "--config"]).arg(&config).stdin(Stdio::null());
    let words = fs::File::create(dir.join("gateway.words")).expect("a file");
    command.stdout(words.try_clone().expect("the file")).stderr(words);
    let gateway = Background::new(command.spawn().expect("start exeat gateway"));
    wait_until_listens(pod, &[80]);
    gateway
}

/// Lines of the gateway's access log about this host.
fn logged(scene: &Scene, host: &str) -> Vec<serde_json::Value> {
    let path = scene.world.node.run().dir().join("access.log");
    let text = fs::read_to_string(path).unwrap_or_default();
    let lines = text.lines().filter_map(|it| serde_json::from_str(it).ok());
    lines.filter(|it: &serde_json::Value| it.to_string().contains(&format!("\"{host}\""))).collect()
}

fn mode(scene: &mut Scene, mode: &str) {
    if scene.agent.is_some() {
        scene.kill_agent().expect("a kill");
    }
    let mode = format!("mode: {mode}");
    configure(scene, |config| as_gateway(&config.replace("mode: REGISTRY_ONLY", &mode)));
    scene.start_agent().expect("an agent");
}

#[test]
fn open_then_closed_then_declared_then_through_the_gateway() {
    let pods = [("default", "sleep"), ("istio-system", "gateway")];
    let mut scene = prepare("asm-steps", pods);
    let (sleep, gateway) = (scene.world.web.clone(), scene.world.ledger.clone());
    scene.world.dns.set("aliyun.com", &[ip(SITE)], 3600);
    scene.world.dns.set("other.com", &[ip(SITE)], 3600);

    // 1. Nothing is declared, and everything is open.
    mode(&mut scene, "ALLOW_ANY");
    assert_page(&scene, &sleep, &[URL], at(SITE, 80));
    assert_page(&scene, &sleep, &["http://other.com/"], at(SITE, 80));

    // 2. Nothing is declared, and everything is closed.
    mode(&mut scene, "REGISTRY_ONLY");
    assert_no_page(&scene, &sleep, &[URL], NO_SUCH_HOST);
    scene.assert_refused(&sleep, ip(SITE), 80);

    // 3. Declared: straight to the site.
    apply(&scene, "asm-3-entry.yaml");
    scene.wait_until_resolves(&sleep, "aliyun.com");
    assert_page(&scene, &sleep, &[URL], at(SITE, 80));
    assert_no_page(&scene, &sleep, &["http://other.com/"], NO_SUCH_HOST);

    // 4. Through the gateway, and not past it.
    let running = start_gateway(&scene, &gateway);
    kube_proxy(&scene, &[(at("10.96.50.1", 80), at(&gateway.v4.to_string(), 80))]);
    apply(&scene, "asm-4-gateway.yaml");
    let through = || {
        let curled = curl(&sleep, &[URL]);
        curled.status == "200" && !logged(&scene, "aliyun.com").is_empty()
    };
    assert!(wait::holds(WITHIN, through), "{:?}", logged(&scene, "aliyun.com"));
    let lines = logged(&scene, "aliyun.com").len();
    assert_page(&scene, &sleep, &[URL], at(SITE, 80));
    let is_logged = || logged(&scene, "aliyun.com").len() == lines + 1;
    assert!(wait::holds(WITHIN, is_logged), "{:?}", logged(&scene, "aliyun.com"));
    // What the gateway is asked for beside that, it refuses, and says so.
    let before = scene.world.http.arrivals().total();
    let curled = curl(&sleep, &["-H", "Host: other.com", URL]);
    assert_eq!((curled.status.as_str(), scene.world.http.arrivals().total()), ("502", before));
    assert!(curled.body.contains("other.com"), "{curled:?}");
    // Without the gateway nothing arrives: there is no way round it.
    drop(running);
    let curled = curl(&sleep, &["--max-time", "2", URL]);
    assert_ne!(curled.exit, Some(0), "{curled:?}");
    assert_eq!(scene.world.http.arrivals().total(), before);
}
