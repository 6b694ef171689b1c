//! The whole agent, on a kernel in memory, with a cluster as the source of its registry.

use std::{net::IpAddr, path::PathBuf, time::Duration};

use exeat_agent::{
    app::{self, Ground},
    config::Config,
    datapath::fake::{FakeDatapath, FakeKernel},
    kubernetes::client::Cluster,
    registry::file::Snapshot,
    workloads::place::SystemNode,
};
use exeat_common::reason::Verdict;
use exeat_tests::test_cluster::TestCluster;
use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinSet,
};
use tokio_util::sync::CancellationToken;

use super::{cluster, objects::entry, put};

struct Agent {
    socket: PathBuf,
    stop: CancellationToken,
    tasks: JoinSet<anyhow::Result<()>>,
}

impl Agent {
    async fn start(cluster: &TestCluster) -> (Self, FakeKernel) {
        let socket = cluster.kubeconfig().with_file_name("exeat.sock");
        let text = format!(
            "kubernetes: {{kubeconfig: {}, nodeName: {}, meshConfigMap: null, pods: false}}\n\
             workloads: [{{namespace: {}, name: web, interface: lo}}]\n\
             metrics: {{listen: \"127.0.0.1:0\"}}\nsocket: {}\n",
            cluster.kubeconfig().display(),
            cluster.node,
            cluster.namespace,
            socket.display(),
        );
        let config = Config::parse(&text).expect("valid");
        let kubernetes = config.kubernetes.clone().expect("a cluster");
        let (datapath, kernel, events) = FakeDatapath::new();
        let stop = CancellationToken::new();
        let ground = Ground {
            config,
            datapath,
            events,
            node: Box::new(SystemNode),
            registry: Snapshot::default(),
            cluster: Some(Cluster::connect(&kubernetes).await.expect("a client")),
            site: None,
            stop: stop.clone(),
        };
        let mut tasks = JoinSet::new();
        tasks.spawn(app::run(ground));
        (Self { socket, stop, tasks }, kernel)
    }

    /// One of its pages, and whether it is good.
    async fn page(&self, page: &str) -> (bool, String) {
        let mut stream = UnixStream::connect(&self.socket).await.expect("connect");
        let request = format!("GET {page} HTTP/1.0\r\nHost: exeat\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut text = String::new();
        stream.read_to_string(&mut text).await.expect("read");
        (text.split(' ').nth(1) == Some("200"), text)
    }

    /// Waits until it says something.
    async fn says(&self, page: &str, wanted: impl Fn(bool, &str) -> bool) {
        let mut last = String::new();
        let says = async {
            loop {
                if self.socket.exists() {
                    let (is_good, text) = self.page(page).await;
                    if wanted(is_good, &text) {
                        return;
                    }
                    last = text;
                }
                tokio::time::sleep(Duration::from_millis(10)).await;
            }
        };
        let is_in_time = tokio::time::timeout(DEADLINE, says).await.is_ok();
        assert!(is_in_time, "{page} says {last}");
    }

    async fn end(mut self) {
        self.stop.cancel();
        while let Some(ended) = self.tasks.join_next().await {
            ended.expect("no panic").expect("no error");
        }
    }
}

const DEADLINE: Duration = Duration::from_mins(1);
const LOOPBACK: u32 = 1;
const ADDRESS: &str = "203.0.113.7";

fn is_allowed(kernel: &FakeKernel) -> bool {
    let address: IpAddr = ADDRESS.parse().expect("an address");
    kernel.judge(LOOPBACK, address, 443, 6).verdict == Verdict::Allow
}

/// Before the API server has answered, nothing is touched; then what it declares is enforced; and
/// while it is gone, that stays and its age is told.
#[tokio::test]
async fn enforces_what_the_cluster_declares() {
    let cluster = cluster("agent").await;
    let mut declared = entry(&cluster, "a", "a.example.com");
    declared["spec"]["addresses"] = serde_json::json!([ADDRESS]);
    put(&cluster, &declared).await;
    cluster.gate.shut();
    let (agent, kernel) = Agent::start(&cluster).await;
    agent.says("/healthz", |is_good, _| is_good).await;
    agent
        .says("/metrics", |_, text| {
            text.contains("exeat_registry_source_failures_total{source=\"ServiceEntry\"}")
                || text.contains("exeat_registry_source_failures_total{source=\"Service\"} 1")
        })
        .await;
    agent.says("/readyz", |is_good, _| !is_good).await;
    assert_eq!(kernel.look().dumps, 0, "what an earlier agent left stays as it is");

    cluster.gate.open();
    agent.says("/readyz", |is_good, _| is_good).await;
    assert!(is_allowed(&kernel));

    cluster.gate.shut();
    let is_aging = |text: &str| {
        let age = text.lines().find_map(|line| line.strip_prefix("exeat_registry_age_seconds "));
        age.is_some_and(|age| age != "0.0")
    };
    agent.says("/metrics", |_, text| is_aging(text)).await;
    assert!(is_allowed(&kernel), "the last good state stays");
    agent.says("/readyz", |is_good, _| is_good).await;
    cluster.gate.open();
    agent.says("/metrics", |_, text| !is_aging(text)).await;

    cluster.remove(&declared).await.expect("remove");
    let is_withdrawn = async {
        while is_allowed(&kernel) {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(DEADLINE, is_withdrawn).await.expect("in time");
    agent.end().await;
    cluster.finish().await.expect("nothing is left");
}

/// An agent that is told to stop before the API server ever answered leaves all as it was.
#[tokio::test]
async fn ends_before_the_cluster_has_answered() {
    let cluster = cluster("agent-ends").await;
    cluster.gate.shut();
    let (agent, kernel) = Agent::start(&cluster).await;
    agent.says("/healthz", |is_good, _| is_good).await;
    let socket = agent.socket.clone();
    assert!(socket.exists());
    agent.end().await;
    assert!(!socket.exists(), "the socket is left behind");
    assert_eq!(kernel.look().dumps, 0, "what an earlier agent left stays as it is");
    cluster.gate.open();
    cluster.finish().await.expect("nothing is left");
}
