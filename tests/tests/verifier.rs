//! Every program is loaded for real, and what its verification costs stays under the budget.

#![cfg(test)]

use std::collections::BTreeMap;

use exeat_agent::{
    datapath::{Datapath as _, aya},
    policy::{
        image::MapOp,
        target::{Backend, Target, TargetKind},
    },
};
use exeat_common::limits::map;
use exeat_tests::run::RunGuard;

/// Sixty per cent of what the kernel processes before it gives up.
const CEILING: u32 = 600_000;

const BUDGET: &str = include_str!("../verifier.budget");

fn budget() -> BTreeMap<&'static str, u32> {
    BUDGET
        .lines()
        .filter(|line| !line.starts_with('#') && !line.trim().is_empty())
        .map(|line| {
            let (program, number) = line.split_once(' ').expect("a program and a number");
            (program, number.trim().parse().expect("a number"))
        })
        .collect()
}

#[test]
fn every_program_verifies_within_its_budget() {
    let run = RunGuard::new("verifier").expect("a run");
    let (mut kernel, _events) = aya::open_at(&run.bpffs().join("exeat")).expect("the kernel side");
    let budget = budget();
    let programs = kernel.programs().expect("what is loaded");
    assert_eq!(programs.len(), budget.len(), "each program has a line in the budget");
    for program in programs {
        let allowed = budget[program.program];
        let processed = program.verified_instructions.expect("the kernel tells since 5.16");
        println!("{:<16} {processed:>7} of {allowed:>7} instructions", program.program);
        assert!(allowed <= CEILING, "{} has a budget above the ceiling", program.program);
        assert!(
            processed <= allowed,
            "{} takes {processed} instructions, its budget is {allowed}",
            program.program
        );
    }
}

#[test]
fn every_table_is_pinned_and_empty_tables_dump_to_nothing() {
    let run = RunGuard::new("tables").expect("a run");
    let pins = run.bpffs().join("exeat");
    let (mut kernel, _events) = aya::open_at(&pins).expect("the kernel side");
    for name in map::ALL {
        let pin = aya_pin(&pins, name);
        assert!(pin.exists(), "{} is missing", pin.display());
    }
    let image = kernel.dump().expect("a dump");
    assert_eq!(image, exeat_agent::policy::image::Image::default());
}

fn aya_pin(pins: &std::path::Path, name: &str) -> std::path::PathBuf {
    exeat_agent::datapath::pins::version_folder(pins).join(name)
}

#[test]
fn targets_come_back_as_they_were_written() {
    let run = RunGuard::new("targets").expect("a run");
    let (mut kernel, _events) = aya::open_at(&run.bpffs().join("exeat")).expect("the kernel side");
    let backend = |address: Option<&str>| Backend {
        address: address.map(|it| it.parse().expect("an address")),
        port: 8443,
        weight: 2,
    };
    let gateway =
        TargetKind::Gateway { host: "gw.istio-system.svc.cluster.local".to_owned(), port: 443 };
    let wanted = BTreeMap::from([
        (3, Target { kind: TargetKind::Sidecar, backends: Vec::new() }),
        (5, Target { kind: gateway, backends: vec![backend(Some("10.0.0.1"))] }),
        (
            7,
            Target {
                kind: TargetKind::Endpoints,
                backends: vec![backend(None), backend(Some("2001:db8::1"))],
            },
        ),
    ]);
    let set: Vec<MapOp> =
        wanted.iter().map(|(number, target)| MapOp::SetTarget(*number, target.clone())).collect();
    kernel.apply(&set).expect("room");
    assert_eq!(kernel.dump().expect("a dump").targets, wanted);
    let removed: Vec<MapOp> = wanted.keys().map(|number| MapOp::RemoveTarget(*number)).collect();
    kernel.apply(&removed).expect("removable");
    kernel.apply(&removed).expect("what is gone is as good as removed");
    let usage = kernel.usage().expect("the usage");
    for name in [map::TARGETS, map::BACKENDS] {
        let table = usage.iter().find(|table| table.map == name).expect("the table");
        assert_eq!(table.entries, 0, "{name}");
    }
}
