//! Which names are wanted, when they are asked for, and what stays while nobody answers.

#![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

use std::{
    collections::BTreeMap,
    net::IpAddr,
    sync::{Arc, Mutex},
    time::Duration,
};

use tokio::{
    task::JoinHandle,
    time::{Instant, sleep, timeout},
};
use tokio_util::sync::CancellationToken;

use super::{Known, Reader, Wanted, book::Book, keeper::Keeper, pair, wanted};
use crate::{
    config::{Config, Matching},
    metrics::EndpointNames,
    policy::image::WireName,
    preseed::{
        Found,
        desk::{Resolve, Resolved},
    },
    registry::{Registry, host::HostPattern, load::Loaded, object},
};

const FLOOR: Duration = Duration::from_secs(30);

fn host(text: &str) -> HostPattern {
    HostPattern::parse(text).expect("a name")
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("an address")
}

/// Answers from a list that a test changes, and notes when it was asked. A name that is not in the
/// list is not answered.
#[derive(Clone, Debug, Default)]
struct Zone(Arc<Mutex<Inner>>);

#[derive(Debug, Default)]
struct Inner {
    answers: BTreeMap<WireName, Resolved>,
    asked: Vec<Instant>,
}

impl Zone {
    fn set(&self, name: &str, addresses: &[&str], ttl: u32) {
        let found = |text: &&str| Found { address: ip(text), ttl };
        let addresses = addresses.iter().map(found).collect();
        let answer = Resolved { addresses, is_whole: true };
        self.0.lock().expect("not poisoned").answers.insert(WireName(host(name).wire()), answer);
    }

    fn silence(&self) {
        self.0.lock().expect("not poisoned").answers.clear();
    }

    fn asked(&self) -> usize {
        self.0.lock().expect("not poisoned").asked.len()
    }
}

impl Resolve for Zone {
    async fn resolve(&self, name: &WireName) -> Resolved {
        sleep(Duration::from_millis(5)).await;
        let mut zone = self.0.lock().expect("not poisoned");
        zone.asked.push(Instant::now());
        zone.answers.get(name).cloned().unwrap_or_default()
    }
}

/// A keeper at work.
struct Work {
    zone: Zone,
    reader: Reader,
    counts: EndpointNames,
    stop: CancellationToken,
    task: JoinHandle<()>,
}

fn work(zone: Zone, remembered: Known) -> Work {
    let (reader, desk) = pair();
    let counts = EndpointNames::default();
    let stop = CancellationToken::new();
    let keeper = Keeper {
        desk,
        resolver: zone.clone(),
        book: Book::new(remembered, FLOOR),
        memory: None,
        counts: counts.clone(),
    };
    let task = tokio::spawn(keeper.run(stop.clone()));
    Work { zone, reader, counts, stop, task }
}

impl Work {
    fn want(&mut self, names: &[&str]) -> Arc<Known> {
        self.reader.read(names.iter().map(|it| host(it)).collect())
    }

    /// The addresses of a name at the next change.
    async fn told(&mut self, name: &str) -> Vec<IpAddr> {
        let in_time = timeout(Duration::from_hours(2), self.reader.changed()).await;
        in_time.expect("something changes");
        let known = Arc::clone(&self.reader.known.borrow_and_update());
        known.get(&host(name)).cloned().unwrap_or_default()
    }

    async fn end(self) {
        self.stop.cancel();
        self.task.await.expect("it ends");
    }
}

#[tokio::test(start_paused = true)]
async fn names_are_asked_again_when_their_answer_has_had_its_time() {
    for (ttl, expected) in [(300, 300), (5, 30), (0, 30), (1_000_000, 3600)] {
        let mut work = work(Zone::default(), Known::new());
        work.zone.set("a.example.com", &["192.0.2.1", "2001:db8::1"], ttl);
        assert!(work.want(&["a.example.com"]).is_empty());
        assert_eq!(work.told("a.example.com").await, [ip("192.0.2.1"), ip("2001:db8::1")]);
        let start = Instant::now();
        work.zone.set("a.example.com", &["192.0.2.2"], ttl);
        assert_eq!(work.told("a.example.com").await, [ip("192.0.2.2")]);
        assert_eq!(start.elapsed().as_secs(), expected, "TTL {ttl}");
        assert_eq!(work.zone.asked(), 2, "TTL {ttl}");
        work.end().await;
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_known_stays_until_somebody_says_otherwise() {
    let mut work = work(Zone::default(), Known::new());
    work.zone.set("a.example.com", &["192.0.2.1"], 60);
    work.want(&["a.example.com", "b.example.com"]);
    assert_eq!(work.told("a.example.com").await, [ip("192.0.2.1")]);
    assert_eq!(work.counts.summary().unanswered, ["b.example.com"]);
    work.zone.silence();
    sleep(Duration::from_mins(30)).await;
    assert!(!work.reader.known.has_changed().expect("open"), "silence takes nothing away");
    assert_eq!(work.counts.summary().kept, ["a.example.com"]);
    let asked = work.zone.asked();
    assert!((60..200).contains(&asked), "{asked} questions in half an hour, about two names");
    // The resolver is back, and says that there is no such name.
    work.zone.set("a.example.com", &[], 0);
    assert_eq!(work.told("a.example.com").await, [] as [IpAddr; 0]);
    assert_eq!(work.counts.summary().absent, ["a.example.com"]);
    work.end().await;
}

#[tokio::test(start_paused = true)]
async fn changes_are_told_together_and_seldom() {
    let names: Vec<String> = (0..200).map(|it| format!("n{it}.example.com")).collect();
    let mut work = work(Zone::default(), Known::new());
    let all = |zone: &Zone, last: u8| {
        for (number, name) in names.iter().enumerate() {
            zone.set(name, &[&format!("198.51.{number}.{last}")], 1);
        }
    };
    all(&work.zone, 1);
    work.want(&names.iter().map(String::as_str).collect::<Vec<_>>());
    let start = Instant::now();
    let (mut tellings, mut before) = (0, None);
    for last in 2..=20 {
        work.told("n0.example.com").await;
        assert_eq!(work.reader.known.borrow().len(), names.len(), "all at once");
        let gap = before.map(|before: Instant| before.elapsed());
        assert!(gap.is_none_or(|gap| gap >= Duration::from_secs(2)), "{gap:?}");
        before = Some(Instant::now());
        tellings += 1;
        all(&work.zone, last);
    }
    // Every name changes as often as it is asked, which is every 30 s, and they are not asked at once.
    let seconds = start.elapsed().as_secs();
    assert!(tellings <= seconds / 15 + 2, "{tellings} in {seconds} s");
    work.end().await;
}

#[tokio::test(start_paused = true)]
async fn what_another_agent_knew_is_in_use_until_it_is_answered() {
    let remembered = Known::from([(host("a.example.com"), vec![ip("192.0.2.1")])]);
    let mut work = work(Zone::default(), remembered);
    let start = Instant::now();
    work.reader.settle(Wanted::from([host("a.example.com")])).await;
    assert!(start.elapsed() < Duration::from_millis(100), "there is nothing to wait for");
    assert_eq!(work.want(&["a.example.com"])[&host("a.example.com")], [ip("192.0.2.1")]);
    work.zone.set("a.example.com", &["192.0.2.9"], 60);
    assert_eq!(work.told("a.example.com").await, [ip("192.0.2.9")]);
    work.end().await;
}

#[tokio::test(start_paused = true)]
async fn a_silent_resolver_holds_nobody_up_for_long() {
    let mut work = work(Zone::default(), Known::new());
    let start = Instant::now();
    work.reader.settle(Wanted::from([host("a.example.com")])).await;
    assert_eq!(start.elapsed().as_secs(), 1);
    // "No such name" is an answer.
    work.zone.set("b.example.com", &[], 0);
    let start = Instant::now();
    work.reader.settle(Wanted::from([host("b.example.com")])).await;
    assert!(start.elapsed() < Duration::from_secs(1));
    work.end().await;
}

#[tokio::test(start_paused = true)]
async fn no_more_than_there_is_room_for() {
    let mut book = Book::new(Known::new(), FLOOR);
    let names: Wanted = (0..600).map(|it| host(&format!("n{it}.example.com"))).collect();
    let now = Instant::now();
    book.want(&names, now);
    assert_eq!((book.take_due(1_000, now).len(), book.summary().left_out), (512, 88));
    let name = book.summary().unanswered.first().map(|it| host(it)).expect("a name");
    let answer = |from: u8| {
        let addresses = (from..from + 20).map(|it| format!("192.0.2.{it}"));
        let found = |text: String| Found { address: ip(&text), ttl: 60 };
        Resolved { addresses: addresses.map(found).collect(), is_whole: true }
    };
    // Five seconds between one and the next, so that nothing is held back.
    let mut now = now;
    let mut told = |from| {
        book.heard(&name, &answer(from), now);
        now += Duration::from_secs(5);
        book.tell(now).map(|known| known[&name].clone())
    };
    let first = told(10).expect("a change");
    assert_eq!((first.len(), first[0], first[15]), (16, ip("192.0.2.10"), ip("192.0.2.25")));
    // Of more than there is room for, those in use stay.
    assert_eq!(told(9), None);
    let moved = told(20).expect("a change");
    assert!(moved.starts_with(&first[10..]), "{moved:?}");
}

#[tokio::test(start_paused = true)]
async fn a_family_that_nobody_answers_for_stays() {
    let mut book = Book::new(Known::new(), FLOOR);
    let name = host("a.example.com");
    let mut now = Instant::now();
    book.want(&Wanted::from([name.clone()]), now);
    let mut told = |addresses: &[&str], is_whole| {
        let found = |text: &&str| Found { address: ip(text), ttl: 60 };
        let answer = Resolved { addresses: addresses.iter().map(found).collect(), is_whole };
        book.heard(&name, &answer, now);
        now += Duration::from_secs(5);
        book.tell(now).map(|known| known[&name].clone())
    };
    assert!(told(&["192.0.2.1", "2001:db8::1"], true).is_some());
    assert_eq!(told(&["192.0.2.2"], false), Some(vec![ip("192.0.2.2"), ip("2001:db8::1")]));
    assert_eq!(told(&["192.0.2.2"], true), Some(vec![ip("192.0.2.2")]));
}

fn registry(manifests: &str) -> Registry {
    let documents = manifests.split("---\n").map(|text| {
        object::read(&serde_yaml::from_str(text).unwrap_or_else(|_| panic!("YAML: {text}")))
    });
    let loaded = Loaded::of(documents.collect());
    let errors: Vec<_> = loaded.reports.iter().filter(|it| it.code.refuses()).collect();
    assert!(errors.is_empty(), "{errors:?}");
    loaded.registry
}

#[track_caller]
fn check(manifests: &str, expected: &[&str]) {
    let names = wanted(&registry(manifests), &Config::offline());
    let names: Vec<String> = names.iter().map(ToString::to_string).collect();
    assert_eq!(names, expected, "{manifests}");
}

fn entry(name: &str, spec: &str) -> String {
    format!(
        "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: shop}}\nspec: {{ports: [{{number: 80, name: http, protocol: HTTP}}], {spec}}}\n"
    )
}

const WORKLOADS: &str = "\
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: one, namespace: shop, labels: {app: vm}}
spec: {address: vm.example.com}
---
apiVersion: networking.istio.io/v1
kind: WorkloadEntry
metadata: {name: two, namespace: bank, labels: {app: vm}}
spec: {address: other.example.com}
";

const GLOO: &str = "\
apiVersion: networking.gloo.solo.io/v2
kind: ExternalService
metadata: {name: s, namespace: shop}
spec: {hosts: [in.example.com], ports: [{name: http, number: 80, protocol: HTTP}], selector: {app: s}}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalEndpoint
metadata: {name: e, namespace: shop, labels: {app: s}}
spec: {address: real.example.com, ports: [{name: http, number: 80}]}
---
apiVersion: networking.gloo.solo.io/v2
kind: ExternalEndpoint
metadata: {name: f, namespace: shop, labels: {app: t}}
spec: {address: nobodys.example.com, ports: [{name: http, number: 80}]}
";

#[test]
fn names_of_endpoints_are_wanted_and_hosts_only_where_they_are_sent_to() {
    let us = "hosts: [foo.bar.com], resolution: DNS, endpoints: [{address: us.foo.bar.com}, {address: 192.0.2.1}]";
    check(&entry("a", us), &["us.foo.bar.com"]);
    let direct = "hosts: [www.example.com], resolution: DNS";
    check(&entry("a", direct), &[]);
    check(&entry("a", &format!("{direct}, addresses: [192.0.2.1]")), &["www.example.com"]);
    let selector =
        "hosts: [sel.example.com], resolution: DNS, workloadSelector: {labels: {app: vm}}";
    check(&format!("{}---\n{WORKLOADS}", entry("a", selector)), &["vm.example.com"]);
    check(GLOO, &["real.example.com"]);
    let route = "apiVersion: networking.istio.io/v1\nkind: VirtualService\nmetadata: {name: v, namespace: shop}\nspec: {hosts: [old.example.com], http: [{route: [{destination: {host: www.example.com}}]}]}\n";
    check(&format!("{}---\n{route}", entry("a", direct)), &["www.example.com"]);
    let own = route.replace("old.", "www.");
    check(&format!("{}---\n{own}", entry("a", direct)), &[]);
    let alias = "apiVersion: v1\nkind: Service\nmetadata: {name: gw, namespace: shop}\nspec: {type: ExternalName, externalName: gw.example.net, ports: [{port: 80}]}\n";
    let to_alias = route.replace("host: www.example.com", "host: gw.shop.svc.cluster.local");
    check(&format!("{alias}---\n{to_alias}"), &["gw.example.net"]);
    check(alias, &[]);
}

#[test]
fn where_every_address_is_open_the_host_is_looked_up() {
    let tcp = entry("a", "hosts: [db.example.com], resolution: DNS").replace("HTTP", "TCP");
    let mut config = Config::offline();
    assert!(wanted(&registry(&tcp), &config).is_empty());
    config.matching = Matching::IstioCompat;
    assert_eq!(wanted(&registry(&tcp), &config), Wanted::from([host("db.example.com")]));
}
