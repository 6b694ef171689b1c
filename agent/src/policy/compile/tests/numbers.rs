//! Numbers that stay, tables that fill, settings.

use std::collections::BTreeSet;

use exeat_common::{
    id::{PolicyId, SubjectId},
    reason::Verdict,
};

use super::{compiled, entry, one_each, read};
use crate::{
    config::{Config, Scope},
    policy::{
        answers::Answers,
        compile::{Input, compile},
        diff::diff,
        ids::Ids,
        testing::{Attempt, judge, match_name, placed},
    },
    registry::Registry,
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
    // Each host: its name, and its rules: two ports and the mark.
    assert_eq!(diff(&before, &after).len(), 250 * 4);
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
