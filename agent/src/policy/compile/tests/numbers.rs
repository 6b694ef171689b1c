//! Numbers that stay, tables that fill, settings.

use std::{collections::BTreeSet, sync::Arc};

use exeat_common::{
    abi::{action, mode},
    id::{PolicyId, SubjectId},
    reason::Verdict,
};

use super::{compiled, entry, one_each, read};
use crate::{
    config::{Config, Scope},
    policy::{
        answers::Answers,
        compile::{Change, Compiled, Compiler, Hosts, Input, Tables, compile},
        diff::diff,
        ids::Ids,
        image::Image,
        target::{Backend, Target, TargetKind},
        testing::{Attempt, judge, match_name, placed},
        view::{Action, Granted, Unmatched, View},
    },
    registry::{Registry, object::Content, report::ObjectRef},
    workloads::PlacedWorkload,
};

#[test]
fn equal_views_share_a_policy_and_keep_it() {
    let public = entry(
        "a",
        "",
        "{hosts: [a.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let private = entry(
        "b",
        ", namespace: c",
        "{hosts: [b.example.com], exportTo: [.], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let workloads = one_each(&["a", "b", "c"]);
    let mut ids = Ids::default();
    let mut policies = |text: &str| {
        let image = compiled(&read(text), &workloads, &mut ids).image;
        [1, 2, 3].map(|cgroup| image.by_cgroup[&cgroup].policy.raw())
    };
    assert_eq!(policies(&public), [1, 1, 1]);
    assert_eq!(policies(&(public.clone() + &private)), [1, 1, 2]);
    assert_eq!(policies(&public), [1, 1, 1]);
    assert_eq!(policies(&private), [1, 1, 3]);
    // All change at once: each group keeps its own.
    let other = entry(
        "a",
        "",
        "{hosts: [other.example.com], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    assert_eq!(policies(&(other + &private)), [1, 1, 3]);
}

#[test]
fn a_workload_at_another_place_was_told_nothing() {
    let registry = Registry::default();
    let mut ids = Ids::default();
    let mut id = |cgroup: Option<u64>, ifindex: Option<u32>| {
        let workload = PlacedWorkload { cgroup_id: cgroup, ifindex, ..placed(1, "a", false) };
        let compiled = compiled(&registry, &[workload], &mut ids);
        compiled.directory.workloads().next().expect("one").0.raw()
    };
    assert_eq!(id(Some(7), None), 1);
    assert_eq!(id(Some(7), Some(3)), 1);
    assert_eq!(id(Some(7), Some(4)), 1);
    assert_eq!(id(Some(8), Some(4)), 2);
    assert_eq!(id(None, Some(4)), 2);
    assert_eq!(id(None, Some(5)), 3);
}

#[test]
fn a_new_agent_takes_numbers_over() {
    let text = entry(
        "a",
        "",
        "{hosts: ['*.example.com', a.example.com], addresses: [192.0.2.0/24], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let mut workloads = one_each(&["a", "b"]);
    workloads[1].ifindex = Some(9);
    let before = compiled(&read(&text), &workloads, &mut Ids::default()).image;
    let more = text
        + &entry(
            "0",
            ", namespace: a",
            "{hosts: [0.example.com], addresses: [10.0.0.0/8], exportTo: [.], ports: [{number: 80, name: http, protocol: HTTP}]}",
        );
    let mut ids = Ids::seeded(&before);
    workloads.push(placed(0, "a", false));
    let after = compiled(&read(&more), &workloads, &mut ids).image;
    for (name, value) in &before.names {
        assert_eq!(after.names[name], *value);
    }
    for (cgroup, workload) in &before.by_cgroup {
        assert_eq!(after.by_cgroup[cgroup].id, workload.id);
    }
    let subjects = |image: &crate::policy::image::Image| -> BTreeSet<SubjectId> {
        image.prefixes.values().copied().collect()
    };
    assert!(subjects(&before).is_subset(&subjects(&after)));
    assert!(after.by_cgroup[&0].id.raw() > 2);
    // The same interface, another cgroup: another workload.
    workloads[1].cgroup_id = Some(99);
    let moved = compiled(&read(&more), &workloads, &mut Ids::seeded(&before)).image;
    assert!(moved.by_cgroup[&99].id.raw() > 2);
}

#[test]
fn a_name_that_left_keeps_what_a_wildcard_grants() {
    let wild = entry(
        "wild",
        "",
        "{hosts: ['*.example.com'], ports: [{number: 80, name: http, protocol: HTTP}]}",
    );
    let exact = entry(
        "exact",
        "",
        "{hosts: [api.example.com], ports: [{number: 443, name: tls, protocol: TLS}]}",
    );
    let workloads = one_each(&["a"]);
    let mut ids = Ids::default();
    let before = compiled(&read(&(wild.clone() + &exact)), &workloads, &mut ids).image;
    let told = match_name(&before, "api.example.com");
    let after = compiled(&read(&wild), &workloads, &mut ids).image;
    assert_ne!(match_name(&after, "api.example.com"), told);
    let attempt = |port| Attempt {
        cgroup: 1,
        address: [192, 0, 2, 1].into(),
        port: (port, 6),
        names: Vec::new(),
    };
    assert_eq!(judge(&after, &attempt(80), &[told]).verdict, Verdict::Allow);
    assert_eq!(judge(&after, &attempt(443), &[told]).verdict, Verdict::Deny);
    // Still, while a fact names it; no longer, when none does.
    ids.forget_retired(&after, |subject| subject == told);
    assert_eq!(compiled(&read(&wild), &workloads, &mut ids).image, after);
    ids.forget_retired(&after, |_| false);
    let forgotten = compiled(&read(&wild), &workloads, &mut ids).image;
    assert_eq!(judge(&forgotten, &attempt(80), &[told]).verdict, Verdict::Deny);
}

#[test]
fn settings_follow_the_configuration() {
    let mut config = Config::offline();
    config.scope = Scope::All;
    config.cluster_cidrs = vec!["10.0.0.0/8".parse().expect("a prefix")];
    let mut workloads = one_each(&["a", "b", "c"]);
    workloads[1].cgroup_depth = Some(5);
    workloads[2].cgroup_depth = None;
    let input = Input {
        registry: &Registry::default(),
        config: &config,
        workloads: &workloads,
        answers: &Answers::default(),
    };
    let compiled = compile(&input, &mut Ids::default());
    let settings = compiled.image.settings.expect("settings");
    assert_eq!((settings.flags, settings.grace_seconds, settings.minimum_ttl_seconds), (0, 30, 30));
    assert_eq!(settings.cgroup_depths, [5, 3, 0, 0]);
    // The wire length of cluster.local, which is internal by default.
    assert_eq!(settings.longest_wildcard_bytes, 15);
    let prefix = compiled.image.prefixes.keys().next().expect("the prefix");
    assert_eq!((prefix.policy, prefix.bits), (PolicyId::INTERNAL, 104));
}

#[test]
fn too_many_depths_are_reported() {
    let mut workloads = one_each(&["a", "a", "a", "a", "a"]);
    for (depth, workload) in (1..).zip(&mut workloads) {
        workload.cgroup_depth = Some(depth);
    }
    let compiled = compiled(&Registry::default(), &workloads, &mut Ids::default());
    let settings = compiled.image.settings.expect("settings");
    assert_eq!(settings.cgroup_depths, [5, 4, 3, 2]);
    assert_eq!(compiled.reports.len(), 1);
    assert_eq!(compiled.reports[0].object.name, "w1");
}

/// Hosts of one entry, each of `count` in all.
fn many(count: usize) -> Registry {
    let mut text = String::new();
    for chunk in 0..count.div_ceil(250) {
        let hosts: Vec<String> = (0..250).map(|it| format!("h{it}.c{chunk}.example.com")).collect();
        text += &entry(
            &format!("e{chunk}"),
            "",
            &format!(
                "{{hosts: [{}], ports: [{{number: 80, name: http, protocol: HTTP}}]}}",
                hosts.join(",")
            ),
        );
    }
    read(
        &(text
            + &entry(
                "wild",
                "",
                "{hosts: ['*.example.com'], ports: [{number: 443, name: tls, protocol: TLS}]}",
            )),
    )
}

#[test]
fn ten_thousand_hosts_fit() {
    let registry = many(10_000);
    let compiled = compiled(&registry, &one_each(&["a", "b"]), &mut Ids::default());
    // Each host with both ports and the mark; the wildcard with one port and the mark.
    assert_eq!(compiled.image.rules.len(), 10_000 * 3 + 2);
    assert_eq!(compiled.reports, []);
}

#[test]
fn one_entry_more_is_a_handful_of_operations() {
    let workloads = one_each(&["a", "b"]);
    let mut ids = Ids::default();
    let before = compiled(&many(10_000), &workloads, &mut ids).image;
    let more = many(10_250);
    let after = compiled(&more, &workloads, &mut ids).image;
    // Each host: its name, and its rules: two ports and the mark. The port that the wildcard has too
    // is the wildcard's at first.
    assert_eq!(diff(&before, &after).len(), 250 * 5);
}

#[test]
fn one_changed_entry_among_many_is_a_handful_of_steps() {
    let change = entry(
        "changed",
        "",
        "{hosts: [h7.c3.example.com, new.example.com], ports: [{number: 8443, name: tls, protocol: TLS}]}",
    );
    let more: Vec<_> = many(5_000)
        .service_entries()
        .iter()
        .chain(read(&change).service_entries())
        .cloned()
        .collect();
    let registries =
        [many(5_000), Registry::new(more.into_iter().map(Content::ServiceEntry)), many(5_000)];
    let (workloads, config, answers) =
        (one_each(&["a", "b"]), Config::offline(), Answers::default());
    let mut compiler = Compiler::default();
    let mut before = Image::default();
    for (registry, expected) in registries.iter().zip([None, Some(5), Some(3)]) {
        let input = Input { registry, config: &config, workloads: &workloads, answers: &answers };
        let change = compiler.update(&input);
        let image = compiler.image().expect("tables").clone();
        match (change, expected) {
            (Change::Whole(None), None) => {}
            (Change::Steps(steps), Some(expected)) => {
                // The changed host: a rule. The new one: its name, two ports and the mark; when it
                // leaves, it keeps what the wildcard grants.
                assert_eq!(steps.len(), expected, "{steps:#?}");
                assert_eq!(steps, diff(&before, &image));
            }
            other => panic!("{other:?}"),
        }
        before = image;
    }
}

#[test]
fn what_does_not_fit_is_denied_and_reported() {
    let registry = many(70_000);
    let compiled = compiled(&registry, &one_each(&["a"]), &mut Ids::default());
    assert!(compiled.image.rules.is_empty());
    let codes: Vec<&str> = compiled.reports.iter().map(|it| it.code.as_str()).collect();
    assert_eq!(codes, ["U-TABLE-FULL"]);
    let attempt =
        Attempt { cgroup: 1, address: [192, 0, 2, 1].into(), port: (443, 6), names: Vec::new() };
    let told = match_name(&compiled.image, "x.example.com");
    assert_eq!(judge(&compiled.image, &attempt, &[told]).verdict, Verdict::Deny);
}

fn target(port: u16, backends: u16) -> Arc<Target> {
    let backend = |number: u16| {
        let [high, low] = number.to_be_bytes();
        Backend { address: Some([10, 0, high, low].into()), port, weight: 1 }
    };
    Arc::new(Target { kind: TargetKind::Endpoints, backends: (0..backends).map(backend).collect() })
}

/// One view, which sends ports of any address to targets.
fn redirecting(targets: &[(u16, Arc<Target>)], default: Option<Arc<Target>>) -> View {
    let entry = Arc::new(ObjectRef {
        kind: "ServiceEntry".to_owned(),
        namespace: "a".to_owned(),
        name: "x".to_owned(),
    });
    let granted = |target: &Arc<Target>| Granted {
        rank: 0,
        entry: Arc::clone(&entry),
        action: Action::To(Arc::clone(target)),
    };
    View {
        anywhere: targets.iter().map(|(port, target)| ((*port, 6), granted(target))).collect(),
        unmatched: default.map_or(Unmatched::Deny, Unmatched::To),
        ..View::default()
    }
}

fn compiled_views(views: &[View], ids: &mut Ids) -> Compiled {
    let workloads = one_each(&["a", "b", "c"][..views.len()]);
    let input = Input {
        registry: &Registry::default(),
        config: &Config::offline(),
        workloads: &workloads,
        answers: &Answers::default(),
    };
    let views: Vec<_> = views.iter().cloned().zip((0..).map(|index| vec![index])).collect();
    let tables = Tables::whole(&input, &views, Hosts::default(), ids);
    let reports = tables.reports.into_iter().collect();
    Compiled { image: tables.image, reports, directory: tables.directory }
}

#[test]
fn equal_targets_share_a_number_and_no_number_changes_hands() {
    let mut ids = Ids::default();
    let views = [
        redirecting(&[(80, target(1, 1)), (81, target(1, 1)), (82, target(2, 1))], None),
        redirecting(&[(80, target(2, 1))], Some(target(3, 1))),
    ];
    let first = compiled_views(&views, &mut ids).image;
    let numbers: Vec<u32> = first.rules.values().map(|rule| rule.target).collect();
    assert_eq!(numbers, [1, 1, 2, 2]);
    assert!(first.rules.values().all(|rule| rule.action == action::REDIRECT));
    let [a, b] = [1, 2].map(|cgroup| first.by_cgroup[&cgroup]);
    assert_eq!((a.mode, a.default_target), (mode::REGISTRY_ONLY, 0));
    assert_eq!((b.mode, b.default_target), (mode::GATEWAY, 3));
    assert_eq!(first.targets[&3], *target(3, 1));

    // One that is gone and comes back is new; one that stayed is not, even for a new agent.
    let second = compiled_views(&[redirecting(&[(80, target(2, 1))], None)], &mut ids).image;
    assert_eq!(second.targets.keys().copied().collect::<Vec<_>>(), [2]);
    let mut later = Ids::seeded(&second);
    for ids in [&mut ids, &mut later] {
        let third = compiled_views(&views, ids).image;
        assert_eq!(third.targets[&2], *target(2, 1));
        assert!(!third.targets.contains_key(&1));
        assert_eq!(third.targets.len(), 3);
    }
}

#[test]
fn a_view_with_too_many_backends_is_left_out() {
    let modest = redirecting(&[(80, target(1, 1))], None);
    let vast: Vec<(u16, Arc<Target>)> = (1..=2).map(|port| (port, target(port, 40_000))).collect();
    let compiled =
        compiled_views(&[redirecting(&vast, Some(target(9, 1))), modest], &mut Ids::default());
    assert_eq!(compiled.image.targets.values().collect::<Vec<_>>(), [&*target(1, 1)]);
    let left_out = compiled.image.by_cgroup[&1];
    assert_eq!((left_out.mode, left_out.default_target), (mode::REGISTRY_ONLY, 0));
    let reports: Vec<(&str, &str)> =
        compiled.reports.iter().map(|it| (it.code.as_str(), it.object.name.as_str())).collect();
    assert_eq!(reports, [("U-TABLE-FULL", "a")]);
}

#[test]
fn the_directory_knows_what_is_open_anywhere() {
    let compiled = compiled_views(&[redirecting(&[(80, target(1, 1))], None)], &mut Ids::default());
    let policy = compiled.image.by_cgroup[&1].policy;
    let grant = compiled.directory.grant(policy, SubjectId::ANYWHERE, 80, 6).expect("a grant");
    assert_eq!(grant.action, Action::To(target(1, 1)));
    assert_eq!(compiled.directory.subject(SubjectId::ANYWHERE).as_deref(), Some("any address"));
}
