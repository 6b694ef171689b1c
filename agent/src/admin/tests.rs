//! The pages, over a real socket, of an agent on a kernel in memory.

#![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

use std::{os::unix::fs::PermissionsExt as _, path::Path, time::Duration};

use tokio::{
    io::{AsyncReadExt as _, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinHandle,
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use crate::{
    app::{self, Ground},
    config::Config,
    datapath::{Event, fake::FakeDatapath},
    registry::{file::Snapshot, load::Loaded},
    workloads::{
        Workload,
        place::{Cgroup, Node, Unplaced},
        sockets::Sockets,
    },
};

/// A node where everything is where it should be.
struct FullNode;

impl Node for FullNode {
    fn cgroup(&self, _: &Path) -> Result<Cgroup, Unplaced> {
        Ok(Cgroup { id: 100, depth: 2 })
    }

    fn interface(&self, _: &str) -> Result<u32, Unplaced> {
        Ok(7)
    }

    fn netns(&self, _: &Workload) -> Result<u64, Unplaced> {
        Ok(1)
    }

    fn sockets(&self, _: &Path) -> std::io::Result<Sockets> {
        Ok(Sockets::default())
    }
}

struct Agent {
    folder: tempfile::TempDir,
    events: tokio::sync::mpsc::Sender<Event>,
    stop: CancellationToken,
    task: JoinHandle<anyhow::Result<()>>,
}

impl Agent {
    async fn start() -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("exeat.sock");
        let text = format!(
            "workloads: [{{namespace: shop, name: web, interface: veth-web}}]\n\
             registry: {{files: [], watch: false}}\n\
             metrics: {{listen: \"127.0.0.1:0\"}}\nsocket: {}\n",
            socket.display()
        );
        let (datapath, _, events) = FakeDatapath::new();
        let sender = events.sender();
        let stop = CancellationToken::new();
        // What a dead agent left does not stop the next one.
        std::fs::write(&socket, "").expect("write");
        let task = tokio::spawn(app::run(Ground {
            config: Config::parse(&text).expect("valid"),
            datapath,
            events,
            node: Box::new(FullNode),
            registry: Snapshot::started(Loaded::default()),
            cluster: None,
            site: None,
            stop: stop.clone(),
        }));
        let agent = Self { folder, events: sender, stop, task };
        let is_up = async {
            while UnixStream::connect(agent.socket()).await.is_err() {
                tokio::task::yield_now().await;
            }
        };
        timeout(Duration::from_secs(20), is_up).await.expect("in time");
        agent
    }

    fn socket(&self) -> std::path::PathBuf {
        self.folder.path().join("exeat.sock")
    }

    /// HTTP/1.0, so that the end of the connection is the end of the page.
    async fn page(&self, page: &str) -> (u16, String) {
        let mut stream = UnixStream::connect(self.socket()).await.expect("connect");
        let request = format!("GET {page} HTTP/1.0\r\nHost: exeat\r\n\r\n");
        stream.write_all(request.as_bytes()).await.expect("write");
        let mut text = String::new();
        let read = stream.read_to_string(&mut text);
        timeout(Duration::from_secs(20), read).await.expect("in time").expect("read");
        let (head, body) = text.split_once("\r\n\r\n").expect("a header");
        let code = head.split(' ').nth(1).and_then(|code| code.parse().ok()).expect("a code");
        (code, body.to_owned())
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("no error");
        assert!(!self.folder.path().join("exeat.sock").exists(), "the socket is removed");
    }
}

#[tokio::test]
async fn every_page_answers() {
    let agent = Agent::start().await;
    let mode = std::fs::metadata(agent.socket()).expect("there").permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
    assert_eq!(agent.page("/healthz").await, (200, "alive\n".into()));
    assert_eq!(agent.page("/readyz").await, (200, "ready\n".into()));
    let (code, metrics) = agent.page("/metrics").await;
    assert_eq!(code, 200);
    assert!(metrics.contains("exeat_workloads{state=\"enforced\"} 1"), "{metrics}");
    let (code, status) = agent.page("/status").await;
    let status: super::Status = serde_json::from_str(&status).expect("a status");
    assert_eq!((code, status.ready, status.workloads.len()), (200, true, 1));
    assert_eq!(status.workloads[0].wire, "enforced");
    assert_eq!(agent.page("/flows").await, (200, String::new()));
    assert_eq!(agent.page("/other").await.0, 404);
    agent.end().await;
}

#[tokio::test]
async fn flows_are_followed_until_the_agent_ends() {
    let agent = Agent::start().await;
    let query = crate::datapath::Query {
        workload: exeat_common::id::WorkloadId::new(1),
        time: 1,
        query_type: 1,
        verdict: 0,
        reason: exeat_common::reason::Reason::NameNotGranted as u8,
        name: b"\x03www\x07example\x00".to_vec(),
    };
    let mut stream = UnixStream::connect(agent.socket()).await.expect("connect");
    let request = b"GET /flows?follow=true&denied=true HTTP/1.1\r\nHost: exeat\r\n\r\n";
    stream.write_all(request).await.expect("write");
    agent.events.send(Event::Query(query)).await.expect("the agent runs");
    let mut text = String::new();
    let told = async {
        while !text.contains("www.example") {
            let mut bytes = [0; 4096];
            let count = stream.read(&mut bytes).await.expect("read");
            assert_ne!(count, 0, "ended after {text}");
            text.push_str(&String::from_utf8_lossy(&bytes[..count]));
        }
    };
    timeout(Duration::from_secs(20), told).await.expect("in time");
    let (_, kept) = agent.page("/flows?denied=true").await;
    assert_eq!(kept.lines().count(), 1, "{kept}");
    agent.end().await;
    let mut rest = Vec::new();
    timeout(Duration::from_secs(20), stream.read_to_end(&mut rest)).await.expect("in time").ok();
}
