//! A kubelet is replayed: pods start in the order and at the pace that was measured on a node, while
//! the API tells of them before, between and after. Nothing leaves a pod before it is enforced, and
//! it is enforced before its application sends its first packet.

#![cfg(test)]

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result};
use exeat_agent::workloads::pod::Pods;
use exeat_tests::embedded::{Embedded, Held};
use exeat_tests::kubelet::{Driver, Kubelet, Started};
use exeat_tests::node::Node;
use exeat_tests::probe::Reached;
use exeat_tests::registry::Entry;
use exeat_tests::servers::HttpServer;
use exeat_tests::tap::Tap;

/// Milliseconds from the API's word to each step (kubelet 1.36 with containerd, one pod).
const CGROUP: Duration = Duration::from_micros(6_600);
const VETH: Duration = Duration::from_millis(23);
const BETWEEN: Duration = Duration::from_millis(60);
const SANDBOX: Duration = Duration::from_millis(83);
const CONTAINER: Duration = Duration::from_millis(116);
const FIRST_PACKET: Duration = Duration::from_micros(135_500);
const ADDRESS: Duration = Duration::from_micros(144_700);

const IN_TIME: Duration = Duration::from_mins(1);
const PORT: u16 = 80;

/// When the API tells of a pod.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Told {
    Before,
    Between,
    AfterFirstPacket,
}

/// The agent ends first, the node last.
struct Scene {
    agent: Embedded,
    kubelet: Kubelet,
    http: HttpServer,
    tap: Tap,
    _node: Node,
}

/// What one start showed.
struct Replay {
    told: Told,
    cgroup: Instant,
    /// When the last of the sources had told.
    known: Instant,
    first_packet: Instant,
    held: Held,
}

impl Scene {
    fn start(test: &str, driver: Driver) -> Result<Self> {
        let node = Node::new(test)?;
        let http = HttpServer::start(node.internet(), &[PORT], &[])?;
        let tap = Tap::start(&node)?;
        let kubelet = Kubelet::new(&node, driver)?;
        let entry = Entry::new("shop", "allowed", "allowed.example.com")
            .address("198.18.0.0/16")
            .port(PORT, "HTTP");
        let (root, results) = (kubelet.root().to_owned(), kubelet.results().to_owned());
        let agent = Embedded::start(&node, root, results, &[entry], Pods::new())?;
        Ok(Self { agent, kubelet, http, tap, _node: node })
    }

    fn pods(&self, first: u16, count: u16) -> Result<Vec<Started>> {
        let numbers = first..first + count;
        numbers.map(|number| self.kubelet.pod("shop", &format!("p{number}"), number)).collect()
    }

    /// Everything one pod does until its application has sent what it wants to send.
    fn replay(&self, pod: &mut Started, number: u16, told: Told) -> Result<Replay> {
        let start = Instant::now();
        let at = |step: Duration| thread::sleep((start + step).duration_since(Instant::now()));
        if told == Told::Before {
            self.agent.tell(&pod.pod);
        }
        at(CGROUP);
        let cgroup = Instant::now();
        pod.make_cgroup()?;
        at(VETH);
        pod.connect()?;
        let mut known = Instant::now();
        at(BETWEEN);
        if told == Told::Between {
            known = Instant::now();
            self.agent.tell(&pod.pod);
        }
        at(SANDBOX);
        pod.start_sandbox()?;
        at(CONTAINER);
        pod.make_container()?;
        at(FIRST_PACKET);
        let first_packet = Instant::now();
        if told == Told::AfterFirstPacket {
            // Nobody knows it: what its namespace may do is denied too.
            for to in [allowed(number), denied(number)] {
                assert_eq!(connect(pod, to)?.result, "EPERM", "{} to {to}", pod.pod.key);
                assert_eq!(self.tap.packets(to)?, 0, "packets of {} to {to}", pod.pod.key);
            }
            known = Instant::now();
            self.agent.tell(&pod.pod);
            self.agent.wait_until_wired(&pod.pod.key, IN_TIME)?;
        }
        self.check(pod, number)?;
        at(ADDRESS);
        self.agent.tell(&pod.with_address());
        let held = self.agent.wait_until_wired(&pod.pod.key, IN_TIME)?;
        // With its own address it goes on as before.
        assert!(connect(pod, allowed(number))?.is_ok(), "{} with its address", pod.pod.key);
        Ok(Replay { told, cgroup, known, first_packet, held })
    }

    /// What is denied leaves nothing, and what is allowed arrives at the first attempt. A machine
    /// that was too busy to be in time must not decide, so the pod waits for being held.
    fn check(&self, pod: &Started, number: u16) -> Result<()> {
        let to = denied(number);
        assert_eq!(connect(pod, to)?.result, "EPERM", "{} to {to}", pod.pod.key);
        assert_eq!(self.tap.packets(to)?, 0, "packets of {} to {to}", pod.pod.key);
        let held = exeat_tests::wait::holds(IN_TIME, || self.agent.held(&pod.pod.key).is_some());
        assert!(held, "{} is not enforced", pod.pod.key);
        let server = SocketAddr::new(allowed(number), PORT);
        let reached = connect(pod, allowed(number))?;
        assert!(reached.is_ok(), "{} to {server}: {reached:?}", pod.pod.key);
        assert_eq!(self.http.arrivals().at(server), 1, "{} at {server}", pod.pod.key);
        Ok(())
    }
}

fn connect(pod: &Started, to: IpAddr) -> Result<Reached> {
    pod.probe(&["connect", &to.to_string(), &PORT.to_string()])
}

/// An address of its own for each pod, so that what arrives says who sent it.
fn allowed(number: u16) -> IpAddr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(198, 18, high, low).into()
}

fn denied(number: u16) -> IpAddr {
    let [high, low] = (number + 1).to_be_bytes();
    Ipv4Addr::new(198, 19, high, low).into()
}

fn order(number: u16) -> Told {
    match number % 3 {
        0 => Told::Before,
        1 => Told::Between,
        _ => Told::AfterFirstPacket,
    }
}

/// Median and the highest of a hundred.
fn quantiles(times: impl Iterator<Item = Duration>) -> String {
    let mut times: Vec<Duration> = times.collect();
    times.sort();
    let at = |share: usize| times.get((times.len() * share / 100).min(times.len() - 1));
    let show = |time: Option<&Duration>| time.map_or(0.0, |it| it.as_secs_f64() * 1000.0);
    format!("median {:.1} ms, p99 {:.1} ms", show(at(50)), show(at(99)))
}

fn report(what: &str, replays: &[Replay]) {
    let since = |from: fn(&Replay) -> Instant, told: Option<Told>| {
        let chosen = replays.iter().filter(move |it| told.is_none_or(|told| it.told == told));
        quantiles(chosen.map(move |it| it.held.enforced.saturating_duration_since(from(it))))
    };
    let wired = replays.iter().filter_map(|it| Some((it, it.held.wired?)));
    let late = replays
        .iter()
        .filter(|it| it.told != Told::AfterFirstPacket && it.held.enforced > it.first_packet);
    println!("{what}: {} pods", replays.len());
    println!(
        "  cgroup appears -> enforced, told before: {}",
        since(|it| it.cgroup, Some(Told::Before))
    );
    for told in [Told::Before, Told::Between, Told::AfterFirstPacket] {
        println!("  last source tells -> enforced, {told:?}: {}", since(|it| it.known, Some(told)));
    }
    let to_wire = wired.map(|(it, wired)| wired.saturating_duration_since(it.known));
    println!("  last source tells -> all frames judged at the veth: {}", quantiles(to_wire));
    println!("  enforced later than the first packet although told before it: {}", late.count());
}

#[test]
fn pods_start_one_by_one() -> Result<()> {
    for (driver, count) in [(Driver::Systemd, 6), (Driver::Cgroupfs, 15)] {
        let scene = Scene::start("pods-one", driver)?;
        let mut replays = Vec::new();
        for number in 0..count {
            let mut pod = scene.kubelet.pod("shop", &format!("p{number}"), number)?;
            replays.push(scene.replay(&mut pod, number, order(number))?);
            scene.agent.tell_gone(&pod.pod.uid);
            pod.remove()?;
        }
        report(&format!("one by one, {driver:?}"), &replays);
        scene.agent.stop()?;
    }
    Ok(())
}

#[test]
fn a_hundred_pods_start_at_once() -> Result<()> {
    let scene = Scene::start("pods-many", Driver::Cgroupfs)?;
    let mut pods = scene.pods(0, 100)?;
    let replays: Result<Vec<Replay>> = thread::scope(|scope| {
        let threads: Vec<_> = (0_u16..)
            .zip(&mut pods)
            .map(|(number, pod)| {
                let scene = &scene;
                scope.spawn(move || scene.replay(pod, number, order(number)))
            })
            .collect();
        threads
            .into_iter()
            .map(|thread| thread.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
            .collect()
    });
    report("a hundred at once", &replays.context("a pod")?);
    let workloads = scene.agent.state().workloads.len();
    assert_eq!(workloads, 100, "pods that the agent knows");
    drop(pods);
    scene.agent.stop()
}

/// Starts pods together and lets them go again, some of them before they are enforced.
fn churn(scene: &Scene, first: u16, count: u16) -> Result<()> {
    let mut pods = scene.pods(first, count)?;
    thread::scope(|scope| {
        let threads: Vec<_> = (first..)
            .zip(&mut pods)
            .map(|(number, pod)| {
                scope.spawn(move || -> Result<()> {
                    pod.make_cgroup()?;
                    scene.agent.tell(&pod.with_address());
                    pod.connect()?;
                    if number % 5 != 0 {
                        pod.start_sandbox()?;
                        pod.make_container()?;
                        scene.agent.wait_until_wired(&pod.pod.key, IN_TIME)?;
                        assert!(connect(pod, allowed(number))?.is_ok(), "{}", pod.pod.key);
                        assert_eq!(
                            connect(pod, denied(number))?.result,
                            "EPERM",
                            "{}",
                            pod.pod.key
                        );
                    }
                    // The kubelet reports before or after it has cleared away.
                    if number % 2 == 0 {
                        scene.agent.tell_gone(&pod.pod.uid);
                    }
                    Ok(())
                })
            })
            .collect();
        threads
            .into_iter()
            .try_for_each(|it| it.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic)))
    })?;
    for pod in pods {
        let uid = pod.pod.uid.clone();
        pod.remove()?;
        scene.agent.tell_gone(&uid);
    }
    Ok(())
}

/// What is left of pods that are gone; nothing if that is nothing.
fn leftovers(scene: &Scene) -> Result<Vec<String>> {
    let mut found = Vec::new();
    let sample = scene.agent.sample()?;
    for usage in &sample.usage {
        let is_of_pods = ["WORKLOADS", "FACTS", "FLOWS", "QUOTA", "WILDCARDS", "RULES", "TARGETS"]
            .iter()
            .any(|table| usage.map.starts_with(table));
        if is_of_pods && usage.entries > 0 {
            found.push(format!("{} entries of {}", usage.entries, usage.map));
        }
    }
    let counted = sample.counters.iter().filter(|(key, _)| key.workload.raw() != 0);
    found.extend(counted.map(|(key, _)| format!("counter {key:?}")));
    let links = scene.agent.links()?.into_iter().filter(|it| it.starts_with("ifindex"));
    found.extend(links.map(|link| format!("link {link}")));
    let workloads = scene.agent.state().workloads.len();
    if workloads > 0 {
        found.push(format!("{workloads} workloads"));
    }
    Ok(found)
}

fn entries_of(folder: &str) -> usize {
    std::fs::read_dir(folder).map_or(0, Iterator::count)
}

/// Descriptors and threads of this process, of which the agent is a part.
fn descriptors_and_threads() -> (usize, usize) {
    (entries_of("/proc/self/fd"), entries_of("/proc/self/task"))
}

/// `EXEAT_CHURN_PODS` says how many; a node starts some twenty thousand in a day of jobs.
#[test]
fn pods_that_come_and_go_leave_nothing_behind() -> Result<()> {
    let wanted = std::env::var("EXEAT_CHURN_PODS").ok().and_then(|it| it.parse().ok());
    let wanted: u32 = wanted.unwrap_or(120);
    let scene = Scene::start("pods-churn", Driver::Systemd)?;
    let is_clean = || leftovers(&scene).is_ok_and(|found| found.is_empty());
    // The first ones show what the agent opens once.
    churn(&scene, 0, 4)?;
    assert!(exeat_tests::wait::holds(IN_TIME, is_clean), "{:#?}", leftovers(&scene)?);
    let before = descriptors_and_threads();
    let (started, mut done) = (Instant::now(), 0);
    while done < wanted {
        // Numbers, and with them names and addresses, come again with other pods.
        churn(&scene, 1000, 20)?;
        done += 20;
    }
    println!("{done} pods came and went in {:.1} s", started.elapsed().as_secs_f64());
    assert!(exeat_tests::wait::holds(IN_TIME, is_clean), "{:#?}", leftovers(&scene)?);
    let is_as_before = || {
        let (descriptors, threads) = descriptors_and_threads();
        descriptors <= before.0 && threads <= before.1
    };
    let held = exeat_tests::wait::holds(IN_TIME, is_as_before);
    assert!(held, "{before:?} before, {:?} after", descriptors_and_threads());
    scene.agent.stop()
}
