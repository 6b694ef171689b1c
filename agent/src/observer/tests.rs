//! Events to records, with a directory that the real compiler made.

#![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

use std::{fs, net::IpAddr, sync::Arc, time::Duration};

use exeat_common::{
    abi::{AnswerHeader, FlowEvent, event},
    flow::protocol,
    id::{SubjectId, WorkloadId},
    reason::{Layer, Reason, Verdict},
};
use hickory_proto::{
    op::{Message, MessageType, OpCode, Query as Question},
    rr::{Name, RData, Record, RecordType, rdata},
};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tokio_util::sync::CancellationToken;

use super::{Observer, pump};
use crate::{
    config::Config,
    datapath::{Event, Query, fake::FakeDatapath},
    flows::{FlowLog, Line, record::Destination},
    metrics::Lost,
    policy::{
        answers::Answers,
        compile::{Input, compile},
        ids::Ids,
    },
    reconcile::State,
    registry::load::load,
    workloads::PlacedWorkload,
};

const ENTRY: &str = "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\n\
    metadata: {name: api, namespace: shop}\n\
    spec: {hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}\n";

/// A state with one workload, `shop/web`, and the numbers of it and of `api.example.com`.
fn state() -> (State, WorkloadId, SubjectId) {
    let folder = tempfile::tempdir().expect("a folder");
    fs::write(folder.path().join("api.yaml"), ENTRY).expect("write");
    let loaded = load(&[folder.path().to_owned()], None);
    let config = Config::parse(
        "workloads: [{namespace: shop, name: web, labels: {app: web}, interface: veth-web}]",
    )
    .expect("valid");
    let placed = PlacedWorkload {
        workload: config.workloads[0].clone(),
        cgroup_id: None,
        cgroup_depth: None,
        ifindex: Some(7),
        netns_cookie: None,
        sidecar_cgroup_id: None,
    };
    let input = Input {
        registry: &loaded.registry,
        config: &config,
        workloads: &[placed],
        answers: &Answers::default(),
    };
    let compiled = compile(&input, &mut Ids::default());
    let workload = compiled.image.by_ifindex[&7].id;
    let subject = compiled.image.names.values().map(|it| it.exact).max().expect("the name");
    let state = State { directory: Arc::new(compiled.directory), ..State::default() };
    (state, workload, subject)
}

/// Lets an observer see `events` and returns what it wrote.
async fn observe(state: State, events: Vec<Event>, lines: usize) -> Vec<Arc<Line>> {
    let (_state, receiver) = watch::channel(Arc::new(state));
    let log = FlowLog::default();
    let (_, mut live) = log.subscribe();
    let stop = CancellationToken::new();
    let (sender, queue) = mpsc::channel(16);
    let observer = Observer::new("node-1".into(), receiver, log.clone());
    let task = tokio::spawn(observer.run(queue, stop.clone()));
    for event in events {
        sender.send(event).await.expect("the observer runs");
    }
    for _ in 0..lines {
        timeout(Duration::from_secs(20), live.recv()).await.expect("in time").expect("a line");
    }
    stop.cancel();
    task.await.expect("no panic");
    log.kept()
}

fn flow(workload: WorkloadId, subject: SubjectId, to: &str, reason: Reason) -> Event {
    let address: IpAddr = to.parse().expect("an address");
    let mut command = [0; 16];
    command[..4].copy_from_slice(b"curl");
    Event::Flow(FlowEvent {
        kind: event::FLOW,
        workload,
        time: 1,
        address: address.into(),
        subject,
        port: 80,
        protocol: protocol::TCP,
        layer: Layer::Socket as u8,
        verdict: Verdict::Deny as u8,
        reason: reason as u8,
        reserved: [0; 2],
        pid: 42,
        command,
    })
}

fn answer(workload: WorkloadId, name: &str, address: [u8; 4]) -> Event {
    let name = Name::from_ascii(name).expect("a name");
    let mut message = Message::new(1, MessageType::Response, OpCode::Query);
    message.add_query(Question::query(name.clone(), RecordType::A));
    message.add_answer(Record::from_rdata(name, 60, RData::A(rdata::A(address.into()))));
    let message = message.to_vec().expect("encodes");
    let header = AnswerHeader {
        kind: event::ANSWER,
        workload,
        time: 1,
        pattern: SubjectId::NONE,
        length: u32::try_from(message.len()).expect("short"),
        reserved: [0; 8],
    };
    Event::Answer { header, message }
}

#[tokio::test]
async fn a_denied_flow_has_the_name_the_pod_resolved_and_what_is_declared() {
    let (state, workload, subject) = state();
    let events = vec![
        answer(workload, "api.example.com.", [192, 0, 2, 1]),
        flow(workload, subject, "192.0.2.1", Reason::PortNotDeclared),
    ];
    let lines = observe(state, events, 1).await;
    let line = &lines[0];
    let mut json = serde_json::to_value(&line.record).expect("plain data");
    let time = json["time"].take();
    assert!(time.as_str().is_some_and(|it| it.ends_with('Z')), "{time}");
    assert_eq!(
        json,
        serde_json::json!({
            "time": null, "node": "node-1", "layer": "socket", "verdict": "deny",
            "reason": "port-not-declared", "code": null,
            "workload": {"namespace": "shop", "name": "web", "labels": {"app": "web"}},
            "process": {"pid": 42, "comm": "curl"},
            "destination": {
                "ip": "192.0.2.1", "port": 80, "protocol": "tcp", "name": "api.example.com"
            },
            "entry": "ServiceEntry/shop/api", "target": null, "wouldDeny": false, "count": 1,
        })
    );
    assert!(line.message.contains("443/tcp"), "{}", line.message);
}

#[tokio::test]
async fn a_name_that_was_told_to_another_workload_is_not_shown() {
    let (state, workload, _) = state();
    let other = WorkloadId::new(workload.raw() + 1);
    let events = vec![
        answer(other, "api.example.com.", [192, 0, 2, 1]),
        flow(workload, SubjectId::NONE, "192.0.2.1", Reason::NotRegistered),
    ];
    let lines = observe(state, events, 1).await;
    assert_eq!(lines[0].record.destination.name, None);
    assert_eq!(lines[0].record.entry, None);
}

#[tokio::test]
async fn a_packet_that_cannot_be_read_went_nobody_knows_where() {
    let (state, workload, _) = state();
    let mut event = flow(workload, SubjectId::NONE, "::", Reason::Fragment);
    if let Event::Flow(event) = &mut event {
        (event.port, event.protocol, event.pid) = (0, 0, 0);
    }
    let lines = observe(state, vec![event], 1).await;
    let record = &lines[0].record;
    assert_eq!(
        (&record.destination, record.reason.as_str()),
        (&Destination::default(), "fragment")
    );
    assert!(record.workload.is_some());
}

#[tokio::test]
async fn a_refused_question_names_the_nearest_entry() {
    let (state, workload, _) = state();
    let query = Query {
        workload,
        time: 1,
        query_type: 1,
        verdict: Verdict::Deny as u8,
        reason: Reason::NameNotGranted as u8,
        name: b"\x03www\x07example\x03com\x00".to_vec(),
    };
    let lines = observe(state, vec![Event::Query(query)], 1).await;
    let record = &lines[0].record;
    assert_eq!((record.layer.as_str(), record.reason.as_str()), ("dns", "name-not-granted"));
    assert_eq!(record.destination.name.as_deref(), Some("www.example.com"));
    assert_eq!(record.destination.port, 53);
    let message = &lines[0].message;
    assert!(message.contains("api.example.com (ServiceEntry/shop/api)"), "{message}");
}

#[tokio::test]
async fn events_that_do_not_fit_are_counted() {
    let (_, _, source) = FakeDatapath::new();
    let sender = source.sender();
    let (output, mut queue) = mpsc::channel(1);
    let (lost, stop) = (Lost::default(), CancellationToken::new());
    let task = tokio::spawn(pump(source, output, mpsc::channel(1).0, lost.clone(), stop.clone()));
    for _ in 0..3 {
        let event = flow(WorkloadId::new(1), SubjectId::NONE, "::1", Reason::NotRegistered);
        sender.send(event).await.expect("the pump runs");
    }
    let deadline = async {
        while lost.count() < 2 {
            tokio::task::yield_now().await;
        }
    };
    timeout(Duration::from_secs(20), deadline).await.expect("in time");
    assert!(queue.recv().await.is_some());
    stop.cancel();
    task.await.expect("no panic").expect("no error");
}
