//! What goes wrong ends in one clear sentence and changes nothing of what is enforced.

#![cfg(test)]

use std::fs;
use std::net::IpAddr;
use std::process::{Command, Output};
use std::time::Duration;

use exeat_tests::agent::text;
use exeat_tests::cgroup;
use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

fn ip(text: &str) -> IpAddr {
    text.parse().unwrap()
}

fn www() -> Entry {
    Entry::new("shop", "www", "www.example.com").port(80, "HTTP")
}

fn scene(test: &str) -> Scene {
    let scene = Scene::start(test, &[www()]).unwrap();
    let dns = &scene.world.dns;
    dns.set("www.example.com", &[ip("203.0.113.10")], 3600);
    dns.set("www.example.org", &[ip("203.0.113.99")], 3600);
    dns.set("more.example.com", &[ip("203.0.113.20")], 3600);
    scene
}

#[track_caller]
fn assert_enforced(scene: &Scene) {
    let web = &scene.world.web;
    scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    scene.assert_refused(web, ip("203.0.113.99"), 80);
    scene.assert_no_such_name(web, "www.example.org");
}

/// Kills the agent, starts it with `config`, and expects it to give up with `words`.
#[track_caller]
fn refuses_config(test: &str, change: impl Fn(&Scene, String) -> String, words: &[&str]) {
    let mut scene = scene(test);
    scene.kill_agent().unwrap();
    let good = scene.files.config_for(&scene.world.node);
    let pinned = scene.files.pinned();
    scene.files.write_config(&change(&scene, good.clone())).unwrap();
    let output = scene.files.run_to_end(&scene.world.node).unwrap();
    assert_one_sentence(&output, words);
    assert_eq!(scene.files.pinned(), pinned, "what is pinned");
    assert_enforced(&scene);
    // The twin: the good configuration is taken.
    scene.files.write_config(&good).unwrap();
    scene.start_agent().unwrap();
    assert_enforced(&scene);
}

/// Non-zero exit, no panic, and one line which has all of `words`.
#[track_caller]
fn assert_one_sentence(output: &Output, words: &[&str]) {
    let said = text(output);
    assert!(!output.status.success(), "it should have failed:\n{said}");
    assert!(!said.contains("panicked") && !said.contains("RUST_BACKTRACE"), "{said}");
    let sentence = |line: &str| words.iter().all(|word| line.contains(word));
    let lines = String::from_utf8_lossy(&output.stderr);
    assert!(lines.lines().any(sentence), "no line of standard error has {words:?}:\n{said}");
}

#[test]
fn an_unknown_key_is_named_with_line_and_column() {
    let place = "line 2";
    let change = |_: &Scene, good: String| good.replacen('\n', "\nfrobnicate: 1\n", 1);
    refuses_config("key", change, &["frobnicate", place, "column"]);
}

#[test]
fn a_value_of_the_wrong_kind_is_named_with_line_and_column() {
    let change = |_: &Scene, good: String| good.replacen("REGISTRY_ONLY", "PERHAPS", 1);
    refuses_config("value", change, &["PERHAPS", "line 1", "column"]);
}

#[test]
fn a_configuration_that_is_not_there_is_named() {
    let mut scene = scene("absent");
    scene.kill_agent().unwrap();
    fs::remove_file(scene.files.config()).unwrap();
    let output = scene.files.run_to_end(&scene.world.node).unwrap();
    assert_one_sentence(&output, &[&scene.files.config().display().to_string()]);
    assert_enforced(&scene);
}

#[test]
fn a_missing_cgroup_is_named() {
    let change = |scene: &Scene, good: String| {
        let cgroup = scene.world.web.cgroup.display().to_string();
        good.replace(&cgroup, &format!("{cgroup}-nowhere"))
    };
    refuses_config("cgroup", change, &["web-nowhere", "cgroup"]);
}

#[test]
fn a_missing_cgroup_root_is_named() {
    let change = |scene: &Scene, good: String| {
        let root = scene.world.node.cgroup_root().display().to_string();
        good.replace(&format!("cgroupRoot: {root}\n"), &format!("cgroupRoot: {root}-nowhere\n"))
    };
    refuses_config("root", change, &["pods-nowhere", "cgroup"]);
}

#[test]
fn the_cgroup_root_of_the_host_is_no_attach_point() {
    let change = |scene: &Scene, good: String| {
        let root = scene.world.node.cgroup_root().display().to_string();
        let host = cgroup::mount_point().unwrap();
        good.replace(&format!("cgroupRoot: {root}\n"), &format!("cgroupRoot: {}\n", host.display()))
    };
    refuses_config("host", change, &["root", "cgroup"]);
}

#[test]
fn a_missing_interface_is_named() {
    let change = |_: &Scene, good: String| good.replace("veth-web", "veth-nowhere");
    refuses_config("interface", change, &["veth-nowhere", "interface"]);
}

#[test]
fn a_pin_path_outside_of_bpffs_is_named() {
    let change = |scene: &Scene, good: String| {
        let pins = scene.files.pin_path.display().to_string();
        let plain = scene.world.node.run().dir().join("plain");
        good.replace(&format!("pinPath: {pins}\n"), &format!("pinPath: {}\n", plain.display()))
    };
    refuses_config("bpffs", change, &["bpffs", "plain"]);
}

#[test]
fn missing_capabilities_are_named() {
    let mut scene = scene("capability");
    scene.kill_agent().unwrap();
    let mut command: Command = scene.world.node.command("setpriv".as_ref()).unwrap();
    command.args(["--bounding-set=-all", "--inh-caps=-all", "--no-new-privs"]);
    command.arg(scene.files.binary()).args(["run", "--config"]).arg(scene.files.config());
    let output = scene.files.to_end(command).unwrap();
    assert_one_sentence(&output, &["CAP_"]);
    assert_enforced(&scene);
    scene.start_agent().unwrap();
    assert_enforced(&scene);
}

/// Waits until the agent's log has a new line about `word`.
#[track_caller]
fn wait_for_report(scene: &Scene, seen: usize, word: &str) {
    let reported = || scene.files.log_text().get(seen..).is_some_and(|new| new.contains(word));
    let log = || scene.files.log_text();
    assert!(wait::holds(Duration::from_secs(5), reported), "no word of {word}:\n{}", log());
}

#[test]
fn bad_yaml_keeps_the_last_good_registry() {
    let scene = scene("yaml");
    let web = &scene.world.web;
    let file = www().file();
    for bad in ["\"unclosed: [\n", "kind: ServiceEntry\n\tspec: {}\n", "- \u{0}\n"] {
        let seen = scene.files.log_text().len();
        scene.files.put(&file, bad).unwrap();
        wait_for_report(&scene, seen, &file);
        assert_enforced(&scene);
        assert_eq!(scene.agent().http("/healthz").unwrap().0, 200);
    }
    // The agent still listens to the folder.
    scene.files.put(&file, &www().host("more.example.com").manifest()).unwrap();
    scene.wait_until_resolves(web, "more.example.com");
    scene.assert_name_reaches(web, "more.example.com", Kind::A, 80);
}

#[test]
fn a_file_that_is_still_being_written_keeps_the_last_good_registry() {
    let scene = scene("half");
    let web = &scene.world.web;
    let path = scene.files.registry().join(www().file());
    let whole = www().host("more.example.com").manifest();
    // In place and cut short, as an editor or a slow copy would leave it.
    for end in (0..whole.len()).step_by(whole.len() / 10).skip(1) {
        fs::write(&path, &whole.as_bytes()[..end]).unwrap();
        scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
        scene.assert_refused(web, ip("203.0.113.99"), 80);
    }
    fs::write(&path, &whole).unwrap();
    scene.wait_until_resolves(web, "more.example.com");
    assert_enforced(&scene);
}

#[test]
fn an_invalid_object_is_reported_and_the_others_count() {
    let scene = scene("object");
    let web = &scene.world.web;
    let seen = scene.files.log_text().len();
    // Port 0 is invalid, so the object is ignored whole; the other one in the file is good.
    let bad = Entry::new("shop", "bad", "www.example.org").port(0, "HTTP").manifest();
    let good = Entry::new("shop", "more", "more.example.com").port(80, "HTTP").manifest();
    scene.files.put("two.yaml", &format!("{bad}---\n{good}")).unwrap();
    scene.wait_until_resolves(web, "more.example.com");
    scene.assert_name_reaches(web, "more.example.com", Kind::A, 80);
    assert_enforced(&scene);
    wait_for_report(&scene, seen, "bad");
    let metrics = scene.agent().metrics().unwrap();
    assert!(metrics.sum("exeat_reports", &[]) > 0.0, "exeat_reports counts it");
}
