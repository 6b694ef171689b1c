//! `exeat suggest`: what it drafts opens what was denied, and nothing beside it.

#![cfg(test)]

use std::net::IpAddr;
use std::time::Duration;

use exeat_tests::pod_client::Kind;
use exeat_tests::registry::Entry;
use exeat_tests::scene::Scene;
use exeat_tests::wait;

const DEADLINE: Duration = Duration::from_secs(5);

/// What the command says about a scene.
fn suggest(scene: &Scene, more: &[&str]) -> String {
    let mut command =
        scene.files.command(&scene.world.node, &["suggest", "--socket"]).expect("a command");
    let output = command.arg(scene.files.socket()).args(more).output().expect("exeat suggest");
    assert!(output.status.success(), "{output:?}");
    String::from_utf8(output.stdout).expect("UTF-8")
}

/// The same, as soon as it has `words`: records take a moment.
#[track_caller]
fn suggest_with(scene: &Scene, words: &str) -> String {
    wait::until(DEADLINE, || Some(suggest(scene, &[])).filter(|it| it.contains(words)))
        .unwrap_or_else(|| panic!("no {words:?} in\n{}", suggest(scene, &[])))
}

#[test]
fn what_was_denied_is_opened_by_what_is_suggested() {
    let www = Entry::new("shop", "www", "www.example.com").port(80, "HTTP");
    let scene = Scene::start("suggested", &[www]).expect("a scene");
    let dns = &scene.world.dns;
    let address = |text: &str| text.parse::<IpAddr>().expect("an address");
    dns.set("www.example.com", &[address("203.0.113.10")], 60);
    dns.set("www.example.org", &[address("203.0.113.20")], 60);
    let (web, ledger) = (&scene.world.web, &scene.world.ledger);
    let bare = address("203.0.113.99");

    assert!(suggest(&scene, &[]).starts_with("# Nothing to suggest"));
    scene.assert_no_such_name(web, "www.example.org");
    scene.assert_refused(web, bare, 443);
    scene.assert_refused(ledger, bare, 443);
    let known = scene.assert_name_reaches(web, "www.example.com", Kind::A, 80);
    scene.assert_refused(web, known, 443);

    let missing = "declares www.example.com without port 443/tcp: add it there.";
    let draft = suggest_with(&scene, missing);
    assert!(draft.contains("# Tried once by shop/web\n"), "{draft}");
    assert!(draft.contains("# ServiceEntry/shop/www declares"), "{draft}");
    let own = suggest(&scene, &["--namespace", &web.namespace]);
    scene.files.put("suggested.yaml", &own).expect("a file of the registry");

    scene.wait_until_resolves(web, "www.example.org");
    scene.assert_name_reaches(web, "www.example.org", Kind::A, 443);
    scene.assert_reaches(web, bare, 443);
    // Whoever did not ask, or asked for another port, is where it was.
    scene.assert_refused(ledger, bare, 443);
    scene.assert_no_such_name(ledger, "www.example.org");
    scene.assert_refused(web, bare, 80);
    scene.assert_refused(web, known, 443);
}
