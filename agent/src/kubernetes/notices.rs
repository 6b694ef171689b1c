//! What the cluster is told, and how much of it: pure. Denials come by the thousand, and every node
//! finds the same fault in an object; an API server has neither asked for.

use std::{
    collections::{BTreeMap, BTreeSet},
    hash::{DefaultHasher, Hash as _, Hasher as _},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    flows::Line,
    registry::report::Report,
    workloads::{WorkloadKey, pod::Pods},
};

/// Events that may be written at once, and one more each so often.
const BURST: u32 = 20;
const ONE_EACH: Duration = Duration::from_secs(2);
/// Different denials that are told of one pod.
const OF_A_POD: usize = 8;
/// How long a denial counts as the same as before.
const SAME_FOR: Duration = Duration::from_mins(30);
/// How often the count of a denial is told.
const COUNT_EACH: Duration = Duration::from_mins(5);
/// Longest text of an event, in bytes.
///
/// Source: Kubernetes, `pkg/apis/core/validation/events.go`.
const NOTE_BYTES: usize = 1024;

/// The object that an event is about.
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub(super) struct Subject {
    pub(super) api_version: String,
    pub(super) kind: String,
    pub(super) namespace: String,
    pub(super) name: String,
    pub(super) uid: String,
}

/// One event.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) struct Notice {
    pub(super) subject: Subject,
    pub(super) reason: &'static str,
    pub(super) action: &'static str,
    pub(super) note: String,
    /// Which denials of one pod are the same.
    round: u64,
}

impl Notice {
    /// The name of its object: the same on every node, so that the first to write it is the only one.
    pub(super) fn name(&self) -> String {
        let mut hasher = DefaultHasher::new();
        (&self.subject, self.reason, &self.note, self.round).hash(&mut hasher);
        // Names have 253 bytes at most.
        let name: String = self.subject.name.chars().take(200).collect();
        format!("{}.{:016x}", name.trim_end_matches(['.', '-']), hasher.finish())
    }
}

/// What is to be written.
#[derive(Clone, Debug, Eq, PartialEq)]
pub(super) enum Post {
    Create(Notice),
    /// It was written, and has happened so often by now.
    Count(Notice, u64),
}

/// What was told, and what waits.
#[derive(Debug)]
pub(super) struct Notices {
    /// Refusals that were told, until they are over.
    refused: BTreeSet<(Subject, String)>,
    denied: BTreeMap<WorkloadKey, BTreeMap<String, Denied>>,
    /// Events that may be written now.
    may: u32,
    since: Instant,
    rounds: u64,
}

#[derive(Debug)]
struct Denied {
    notice: Notice,
    first: Instant,
    told: Instant,
    count: u64,
}

impl Notices {
    pub(super) fn new(now: Instant) -> Self {
        let (refused, denied) = (BTreeSet::new(), BTreeMap::new());
        Self { refused, denied, may: BURST, since: now, rounds: 0 }
    }

    /// Objects that are refused, all of them. Each fault is told once; one that is over and comes
    /// again is told again.
    pub(super) fn refused<'a>(
        &mut self,
        faults: impl IntoIterator<Item = (&'a Subject, &'a Report)>,
        now: Instant,
    ) -> Vec<Post> {
        let mut posts = Vec::new();
        let mut still = BTreeSet::new();
        for (subject, report) in faults {
            let note = cut(format!("{} {}: {}", report.code.as_str(), report.path, report.message));
            let key = (subject.clone(), note);
            if !self.refused.contains(&key) {
                if !take(&mut self.may, &mut self.since, now) {
                    // It is told when the registry changes again.
                    continue;
                }
                posts.push(Post::Create(Notice {
                    subject: subject.clone(),
                    reason: "RegistryObjectRefused",
                    action: "Validate",
                    note: key.1.clone(),
                    round: 0,
                }));
            }
            still.insert(key);
        }
        self.refused = still;
        posts
    }

    /// A flow that was denied. Told of the pod at once, if it is the first of its kind; how often
    /// it happened is told now and then.
    pub(super) fn denied(&mut self, line: &Line, pods: &Pods, now: Instant) -> Option<Post> {
        let workload = line.record.workload.as_ref().filter(|_| line.is_denied())?;
        let key =
            WorkloadKey { namespace: workload.namespace.clone(), name: workload.name.clone() };
        let pod = pods.values().find(|pod| pod.key == key)?;
        let what = subject_of(line);
        let known = self.denied.entry(key).or_default();
        known.retain(|_, it| now.duration_since(it.first) < SAME_FOR);
        let count = line.record.count.max(1);
        if let Some(denied) = known.get_mut(&what) {
            denied.count += count;
            let is_due = now.duration_since(denied.told) >= COUNT_EACH;
            if !is_due || !take(&mut self.may, &mut self.since, now) {
                return None;
            }
            denied.told = now;
            return Some(Post::Count(denied.notice.clone(), denied.count));
        }
        if known.len() >= OF_A_POD || !take(&mut self.may, &mut self.since, now) {
            return None;
        }
        self.rounds += 1;
        let notice = Notice {
            subject: Subject {
                api_version: "v1".to_owned(),
                kind: "Pod".to_owned(),
                namespace: pod.key.namespace.clone(),
                name: pod.key.name.clone(),
                uid: pod.uid.clone(),
            },
            reason: "EgressDenied",
            action: "Judge",
            note: cut(line.message.clone()),
            round: self.rounds,
        };
        let denied = Denied { notice: notice.clone(), first: now, told: now, count };
        known.insert(what, denied);
        Some(Post::Create(notice))
    }

    /// Forgets pods that are gone.
    pub(super) fn keep(&mut self, pods: &Pods) {
        self.denied.retain(|key, _| pods.values().any(|pod| pod.key == *key));
    }
}

/// Takes one of what may be written, which comes back with time.
fn take(may: &mut u32, since: &mut Instant, now: Instant) -> bool {
    while *may < BURST && now.duration_since(*since) >= ONE_EACH {
        *may += 1;
        *since += ONE_EACH;
    }
    if *may == BURST {
        *since = now;
    }
    let may_one = *may > 0;
    *may = may.saturating_sub(1);
    may_one
}

/// What makes a denial the same as another: where to, and why.
fn subject_of(line: &Line) -> String {
    let to = &line.record.destination;
    let ip = to.ip.map(|ip| ip.to_string());
    let whom = to.name.clone().or(ip).unwrap_or_default();
    let protocol = to.protocol.as_deref().unwrap_or_default();
    format!("{} {whom} {} {protocol}", line.record.reason, to.port)
}

fn cut(mut text: String) -> String {
    let most = (0..=NOTE_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
    text.truncate(most);
    text
}

#[cfg(test)]
mod tests {
    use std::{sync::Arc, time::Duration};

    use tokio::time::Instant;

    use super::{BURST, Notice, Notices, OF_A_POD, Post, Subject};
    use crate::{
        flows::{
            Line,
            record::{Destination, FlowRecord, RecordWorkload},
        },
        registry::report::{Code, ObjectRef, Report},
        workloads::{
            WorkloadKey,
            pod::{Pod, Pods},
        },
    };

    fn subject(name: &str) -> Subject {
        Subject {
            api_version: "networking.istio.io/v1".into(),
            kind: "ServiceEntry".into(),
            namespace: "shop".into(),
            name: name.into(),
            uid: "1".into(),
        }
    }

    fn report(message: &str) -> Report {
        let object =
            ObjectRef { kind: "ServiceEntry".into(), namespace: "shop".into(), name: "a".into() };
        Report::new(Code::HostSyntax, &object, "spec.hosts[0]", message)
    }

    fn line(pod: &str, port: u16, verdict: &str) -> Line {
        let workload = RecordWorkload {
            namespace: "shop".into(),
            name: pod.into(),
            ..RecordWorkload::default()
        };
        let destination =
            Destination { port, name: Some("a.example".into()), ..Destination::default() };
        let record = FlowRecord {
            verdict: verdict.into(),
            workload: Some(workload),
            destination,
            count: 1,
            ..FlowRecord::default()
        };
        Line { record, message: format!("denied: {port}") }
    }

    fn pods(names: &[&str]) -> Pods {
        let pod = |name: &&str| Pod {
            uid: format!("uid-{name}"),
            key: WorkloadKey { namespace: "shop".into(), name: (*name).into() },
            labels: [].into(),
            addresses: Vec::new(),
            is_host_network: false,
            sidecar: None,
            is_ambient: false,
        };
        names.iter().map(|name| (format!("uid-{name}"), Arc::new(pod(name)))).collect()
    }

    fn created(posts: &[Post]) -> Vec<&Notice> {
        posts
            .iter()
            .filter_map(|post| match post {
                Post::Create(notice) => Some(notice),
                Post::Count(..) => None,
            })
            .collect()
    }

    #[test]
    fn a_fault_is_told_once_while_it_lasts() {
        let now = Instant::now();
        let mut notices = Notices::new(now);
        let (object, fault) = (subject("a"), report("bad"));
        let first = notices.refused([(&object, &fault)], now);
        assert_eq!(created(&first).len(), 1);
        assert_eq!(created(&first)[0].note, "E-HOST-SYNTAX spec.hosts[0]: bad");
        assert!(notices.refused([(&object, &fault)], now).is_empty());
        assert_eq!(notices.refused([(&object, &report("worse"))], now).len(), 1);
        assert!(notices.refused([], now).is_empty());
        assert_eq!(
            notices.refused([(&object, &fault)], now),
            first,
            "under the same name on every node"
        );
    }

    #[test]
    fn denials_of_a_pod_are_told_once_and_then_counted() {
        let now = Instant::now();
        let (mut notices, pods) = (Notices::new(now), pods(&["web"]));
        let denied = |notices: &mut Notices, port, now| {
            notices.denied(&line("web", port, "deny"), &pods, now)
        };
        let Some(Post::Create(notice)) = denied(&mut notices, 80, now) else { panic!("no event") };
        assert_eq!((notice.subject.uid.as_str(), notice.note.as_str()), ("uid-web", "denied: 80"));
        assert_eq!(denied(&mut notices, 80, now), None);
        let later = now + Duration::from_mins(6);
        assert_eq!(denied(&mut notices, 80, later), Some(Post::Count(notice.clone(), 3)));
        assert!(matches!(denied(&mut notices, 81, later), Some(Post::Create(_))), "another port");
        let much_later = now + Duration::from_mins(31);
        let Some(Post::Create(again)) = denied(&mut notices, 80, much_later) else {
            panic!("none")
        };
        assert_ne!(again.name(), notice.name(), "a new event");
    }

    #[test]
    fn nobody_can_fill_the_cluster_with_events() {
        let now = Instant::now();
        let (mut notices, pods) = (Notices::new(now), pods(&["a", "b", "c", "d", "e"]));
        let mut tell = |name: &str, now| {
            (0..100)
                .filter(|port| notices.denied(&line(name, *port, "deny"), &pods, now).is_some())
                .count()
        };
        assert_eq!(tell("a", now), OF_A_POD);
        assert_eq!(tell("b", now) + tell("c", now) + tell("d", now), BURST as usize - OF_A_POD);
        assert_eq!(tell("e", now + Duration::from_secs(7)), 3, "one each two seconds");
    }

    #[test]
    fn what_is_allowed_or_nobodys_is_not_told() {
        let now = Instant::now();
        let (mut notices, pods) = (Notices::new(now), pods(&["web"]));
        assert_eq!(notices.denied(&line("web", 80, "allow"), &pods, now), None);
        assert_eq!(notices.denied(&line("other", 80, "deny"), &pods, now), None);
        assert!(notices.denied(&line("web", 80, "deny"), &pods, now).is_some());
        notices.keep(&Pods::new());
        assert!(notices.denied.is_empty());
    }
}
