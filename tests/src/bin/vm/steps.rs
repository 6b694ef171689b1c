//! What is tried on a kernel: whether the programs load, whether anything leaks, whether names
//! are learned, what stays without the agent, and what `cleanup` leaves.

use std::net::{IpAddr, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

use anyhow::{Context as _, Result, ensure};
use exeat_tests::agent::text;
use exeat_tests::node::Pod;
use exeat_tests::pod_client::{Kind, probe_outside_cgroup};
use exeat_tests::probe::Reached;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;

use crate::report::Report;

const BOTH: [Kind; 2] = [Kind::A, Kind::Aaaa];
const GRANTED: &str = "www.example.com";
const NOT_GRANTED: &str = "www.example.org";
/// An emulated processor verifies the programs slowly, and on a busy machine more so.
const READY_WITHIN: Duration = Duration::from_mins(15);
/// First connects to names that were never asked for before, for each IP version.
const FIRST_CONNECTS: u32 = 50;

/// A kernel on which everything has to work.
pub(crate) fn supported(report: &mut Report) {
    let Some(mut scene) = report.step("load", load) else {
        return;
    };
    report.step("deny", |_| deny(&scene));
    report.step("learn", |report| learn(report, &scene));
    report.step("agent-dead", |_| without_agent(&mut scene));
    report.step("takeover", |report| takeover(report, &mut scene));
    report.step("cleanup", |_| cleanup(&mut scene));
}

/// A kernel below the floor.
pub(crate) fn refused(report: &mut Report) {
    report.step("refuse", refuse);
}

fn prepare() -> Result<Scene> {
    let www = Entry::new("shop", "www", GRANTED).port(80, "HTTP");
    let many = Entry::new("shop", "many", "*.many.example.net").port(80, "HTTP");
    let mut scene = Scene::prepare("vm", &[www, many])?;
    scene.files.ready_within = READY_WITHIN;
    let dns = &scene.world.dns;
    dns.set(GRANTED, &[ip("203.0.113.10"), ip("2001:db8::10")], 3600);
    dns.set(NOT_GRANTED, &[bare(Kind::A), bare(Kind::Aaaa)], 3600);
    dns.numbered("many.example.net", |number| {
        let [.., high, low] = number.to_be_bytes();
        vec![
            IpAddr::from([198, 18, high, low]),
            IpAddr::from([0x2001, 0xdb8, 0x18, 0, 0, 0, 0, u16::from_be_bytes([high, low])]),
        ]
    });
    // What is refused later is reached now, else its refusal would show nothing.
    for kind in BOTH {
        scene.assert_reaches(&scene.world.web, bare(kind), 80);
    }
    Ok(scene)
}

/// The kernel takes all programs, and the agent says that everything is enforced.
fn load(report: &mut Report) -> Result<Scene> {
    let mut scene = prepare()?;
    let started = Instant::now();
    scene.start_agent()?;
    report.note(&format!("ready after {} ms", started.elapsed().as_millis()));
    let status = scene.agent().status(&scene.world.node)?;
    let programs = status["programs"].as_array().context("`exeat status` names no programs")?;
    ensure!(!programs.is_empty(), "`exeat status` names no programs");
    for program in programs {
        let name = program["name"].as_str().unwrap_or("?");
        let instructions = program["verifiedInstructions"].as_u64();
        let instructions = instructions.with_context(|| format!("{name}: not counted"))?;
        report.note(&format!("{name} {instructions}"));
    }
    Ok(scene)
}

/// Socket and wire refuse what is not declared; the wire passes what is.
fn deny(scene: &Scene) -> Result<()> {
    let web = &scene.world.web;
    for kind in BOTH {
        scene.assert_refused(web, bare(kind), 80);
        scene.assert_name_reaches(web, GRANTED, kind, 80);
        scene.assert_no_such_name(web, NOT_GRANTED);
        let denied = SocketAddr::new(bare(kind), 80);
        let attempt = || outside(scene, web, bare(kind));
        let before = scene.world.tap.packets_to(denied)?;
        let reached = attempt()?;
        ensure!(!reached.is_ok(), "a socket of no cgroup reached {denied}");
        let leaked = scene.world.tap.packets_to(denied)? - before;
        ensure!(leaked == 0, "{leaked} packets for {denied} left the node");
        let granted = web.address_of(GRANTED, kind)?;
        let reached: Reached = outside(scene, web, granted)?;
        ensure!(reached.is_ok(), "a socket of no cgroup to {granted}, allowed: {reached:?}");
    }
    Ok(())
}

/// From the pod's network but outside of its cgroup: only the wire layer sees it.
fn outside(scene: &Scene, pod: &Pod, address: IpAddr) -> Result<Reached> {
    let args = ["connect", &address.to_string(), "80", "--timeout-ms", "1000"];
    probe_outside_cgroup(&scene.world.node, pod, &args)
}

/// Over UDP and TCP, the first connect after an answer succeeds.
fn learn(report: &mut Report, scene: &Scene) -> Result<()> {
    let web = &scene.world.web;
    for (index, kind) in BOTH.into_iter().enumerate() {
        let first = u32::try_from(index)? * FIRST_CONNECTS;
        let rounds = web.first_connects("many.example.net", 80, first, FIRST_CONNECTS, kind)?;
        ensure!(rounds.attempts == FIRST_CONNECTS, "only {} rounds", rounds.attempts);
        ensure!(rounds.failed == 0, "{:?}", rounds.failures);
        let over_tcp = format!("n{}.many.example.net", 1000 + index);
        let answer = web.resolve_at(kind.resolver(), &over_tcp, kind, &["--tcp"])?;
        let address = answer.addresses.first().copied();
        let address = address.with_context(|| format!("{over_tcp} over TCP: {answer:?}"))?;
        scene.assert_reaches(web, address, 80);
    }
    report.note(&format!("{} first connects, none failed", 2 * FIRST_CONNECTS));
    Ok(())
}

/// What is pinned, or stays as a filter, enforces and learns by itself.
fn without_agent(scene: &mut Scene) -> Result<()> {
    scene.kill_agent()?;
    assert_enforced(scene, 2000);
    Ok(())
}

/// A new agent takes over in place: nothing twice, nothing missing.
fn takeover(report: &mut Report, scene: &mut Scene) -> Result<()> {
    let before = filters(scene)?;
    scene.start_agent()?;
    let after = filters(scene)?;
    ensure!(before == after, "filters before {before:?} and after {after:?}");
    report.note(&format!("{after} clsact filters"));
    assert_enforced(scene, 3000);
    Ok(())
}

/// `number` is that of a name nobody asked for before.
fn assert_enforced(scene: &Scene, number: u32) {
    let web = &scene.world.web;
    for kind in BOTH {
        scene.assert_name_reaches(web, &format!("n{number}.many.example.net"), kind, 80);
        scene.assert_refused(web, bare(kind), 80);
    }
    scene.assert_no_such_name(web, NOT_GRANTED);
}

/// Everything is gone from the kernel, and nothing is refused any more.
fn cleanup(scene: &mut Scene) -> Result<()> {
    scene.kill_agent()?;
    scene.files.clean_up(&scene.world.node)?;
    let left = scene.files.pinned();
    ensure!(left.is_empty(), "still pinned: {left:?}");
    let filters = filters(scene)?;
    ensure!(filters == 0, "{filters} filters are still attached");
    for kind in BOTH {
        scene.assert_reaches(&scene.world.web, bare(kind), 80);
        let answer = scene.world.web.resolve(NOT_GRANTED, kind)?;
        ensure!(!answer.addresses.is_empty(), "{NOT_GRANTED} does not resolve: {answer:?}");
    }
    Ok(())
}

/// Filters of the clsact queueing discipline at the node's side of all pods.
fn filters(scene: &Scene) -> Result<usize> {
    let mut count = 0;
    for pod in scene.world.node.pods() {
        for direction in ["ingress", "egress"] {
            let mut tc = Command::new("tc");
            tc.args(["filter", "show", "dev", &pod.interface, direction]);
            let output = scene.world.node.netns().run(|| tc.output())??;
            ensure!(output.status.success(), "tc filter show: {}", text(&output));
            let shown = String::from_utf8_lossy(&output.stdout);
            count += shown.lines().filter(|line| line.contains(" handle ")).count();
        }
    }
    Ok(count)
}

/// The agent ends by itself, says why in one sentence, and has changed nothing.
fn refuse(report: &mut Report) -> Result<()> {
    let scene = prepare()?;
    let output = scene.files.run_to_end(&scene.world.node)?;
    ensure!(!output.status.success(), "the agent took this kernel: {}", text(&output));
    let said = text(&output);
    let sentence = said.lines().find(|line| line.contains("this kernel lacks"));
    let sentence = sentence.with_context(|| format!("the agent did not say why: {said}"))?;
    report.note(sentence);
    for words in ["(BPF_CMPXCHG) of 5.12", "network namespace cookie", "of 5.15"] {
        ensure!(sentence.contains(words), "the sentence does not name {words}: {sentence}");
    }
    let left = scene.files.pinned();
    ensure!(left.is_empty(), "it pinned {left:?}");
    for kind in BOTH {
        scene.assert_reaches(&scene.world.web, bare(kind), 80);
    }
    Ok(())
}

/// An address that nobody declared.
fn bare(kind: Kind) -> IpAddr {
    match kind {
        Kind::A => ip("203.0.113.99"),
        Kind::Aaaa => ip("2001:db8::99"),
    }
}

fn ip(text: &str) -> IpAddr {
    text.parse().expect("invariant: an address literal")
}
