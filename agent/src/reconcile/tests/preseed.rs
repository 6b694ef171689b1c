//! What workloads are given at their first enforcement, and that it is the first.

use std::{net::SocketAddr, sync::Arc, time::Duration};

use exeat_common::{
    flow::protocol::TCP,
    reason::{Reason, Verdict},
};
use tokio::{task::JoinHandle, time::Instant};
use tokio_util::sync::CancellationToken;

use super::{Agent, Scene};
use crate::{
    policy::image::WireName,
    preseed::{
        Found,
        desk::{Desk, Resolve, Resolved, desk},
    },
    workloads::sockets::Connection,
};

/// The address of `a.example.com`, a second after it was asked; the resolver may be dead before that.
#[derive(Clone, Copy)]
struct Resolver {
    dead_until: Option<Instant>,
}

const ADDRESS: &str = "198.51.100.7";
const STALE: &str = "198.51.100.8:80";
const POD: &str = "10.9.0.2";

impl Resolve for Resolver {
    async fn resolve(&self, name: &WireName) -> Resolved {
        tokio::time::sleep(Duration::from_secs(1)).await;
        if self.dead_until.is_some_and(|end| Instant::now() < end) {
            tokio::time::sleep(Duration::from_secs(4)).await;
            return Resolved::default();
        }
        assert_eq!(name.as_bytes(), b"\x01a\x07example\x03com\0");
        let address = ADDRESS.parse().expect("an address");
        Resolved { addresses: vec![Found { address, ttl: 60 }], is_whole: true }
    }
}

struct Resolving(JoinHandle<()>);

impl Resolving {
    fn start(desk: Desk, dead_for: Option<Duration>) -> Self {
        let dead_until = dead_for.map(|span| Instant::now() + span);
        Self(tokio::spawn(desk.run(Resolver { dead_until }, CancellationToken::new())))
    }
}

fn scene() -> Scene {
    let scene = super::scene();
    let mut config = crate::config::Config::clone(&scene.config);
    config.dns.resolvers = vec!["192.0.2.53:53".parse().expect("a socket address")];
    Scene { config: Arc::new(config), ..scene }
}

async fn start(scene: &Scene, dead_for: Option<Duration>) -> (Agent, Resolving) {
    let (asker, desk) = desk();
    let resolving = Resolving::start(desk, dead_for);
    let agent = scene.try_start_with(asker).await.expect("it starts");
    (agent, resolving)
}

async fn stop(agent: Agent, resolving: Resolving) {
    agent.stop().await;
    resolving.0.await.expect("it ends with whoever asks");
}

fn connect(scene: &Scene, local: u16, remote: &str) {
    let local = SocketAddr::new(POD.parse().expect("an address"), local);
    let remote = remote.parse().expect("a socket address");
    let connection = Connection { local, remote, is_closing: false };
    scene.node.look().sockets.connections.insert(connection);
}

fn verdict(scene: &Scene) -> (Verdict, Reason) {
    let address = ADDRESS.parse().expect("an address");
    // The fake kernel's clock stands still.
    let decision = scene.kernel.judge(7, address, 80, TCP);
    (decision.verdict, decision.reason)
}

#[tokio::test(start_paused = true)]
async fn names_and_connections_are_there_before_anything_is_attached() {
    let scene = scene();
    connect(&scene, 4000, STALE);
    connect(&scene, 4001, "198.51.100.8:81");
    let (agent, resolving) = start(&scene, None).await;
    assert_eq!(verdict(&scene), (Verdict::Allow, Reason::Registered));
    {
        let kernel = scene.kernel.look();
        assert_eq!(kernel.attached_at_first_note, Some(0));
        let ports: Vec<u16> = kernel.flows.keys().map(|key| key.local_port).collect();
        assert_eq!(ports, [4000], "port 81 is not declared for any name");
    }
    assert_eq!((agent.preseeded.names(), agent.preseeded.flows()), (1, 1));
    stop(agent, resolving).await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_holds_nothing_up_and_is_asked_on() {
    let scene = scene();
    let before = Instant::now();
    let (agent, resolving) = start(&scene, Some(Duration::from_secs(30))).await;
    assert!(before.elapsed() < Duration::from_secs(3), "{:?}", before.elapsed());
    assert!(scene.wire().is_some(), "enforced");
    assert_eq!(verdict(&scene).0, Verdict::Deny);
    assert_eq!(agent.preseeded.unresolved(), 1);
    tokio::time::sleep(Duration::from_mins(2)).await;
    assert_eq!(verdict(&scene), (Verdict::Allow, Reason::Registered));
    assert_eq!(agent.preseeded.unresolved(), 0);
    stop(agent, resolving).await;
}

#[tokio::test(start_paused = true)]
async fn a_restart_gives_nothing() {
    let scene = scene();
    let (agent, resolving) = start(&scene, None).await;
    stop(agent, resolving).await;
    scene.kernel.look().facts.clear();
    scene.kernel.look().flows.clear();
    connect(&scene, 4002, STALE);
    let (agent, resolving) = start(&scene, None).await;
    assert_eq!(verdict(&scene).0, Verdict::Deny);
    assert!(scene.kernel.look().flows.is_empty());
    assert_eq!((agent.preseeded.names(), agent.preseeded.flows()), (0, 0));
    // Nor does a veth that is made anew.
    scene.node.set("veth-web", 9);
    tokio::time::sleep(Duration::from_secs(10)).await;
    assert_eq!(scene.wire(), Some(9));
    assert!(scene.kernel.look().flows.is_empty());
    stop(agent, resolving).await;
}

#[tokio::test(start_paused = true)]
async fn what_an_agent_that_failed_left_is_not_taken_for_held() {
    let scene = scene();
    let (agent, resolving) = start(&scene, None).await;
    stop(agent, resolving).await;
    {
        // The tables are written, and nothing is attached.
        let mut kernel = scene.kernel.look();
        kernel.facts.clear();
        kernel.attached.clear();
    }
    let (agent, resolving) = start(&scene, None).await;
    assert_eq!(verdict(&scene).0, Verdict::Allow);
    stop(agent, resolving).await;
}

#[tokio::test(start_paused = true)]
async fn a_workload_that_comes_later_is_enforced_at_once_and_its_names_follow() {
    let scene = scene();
    for place in ["veth-web", super::CGROUP] {
        scene.node.remove(place);
    }
    let (mut agent, resolving) = start(&scene, None).await;
    assert_eq!(agent.preseeded.names(), 0);
    connect(&scene, 4000, STALE);
    scene.node.set(super::CGROUP, 100);
    scene.node.set("veth-web", 7);
    agent.until(super::is_ready).await;
    assert_eq!((agent.preseeded.names(), agent.preseeded.flows()), (0, 1));
    tokio::time::sleep(Duration::from_secs(2)).await;
    assert_eq!(verdict(&scene), (Verdict::Allow, Reason::Registered));
    stop(agent, resolving).await;
}
