//! Bytes of known flows are counted apart from verdicts: none is lost or told twice, whoever had the entry before.

#![cfg(test)]

use std::{collections::BTreeSet, net::SocketAddr};

use exeat_agent::{
    datapath::{
        Datapath as _,
        aya::{self, Kernel, WireProgram},
    },
    policy::{diff::diff, image::Image},
    trial::IFINDEX,
};
use exeat_common::{
    abi::{CounterKey, CounterValue, Settings, Workload, mode, workload_flag},
    id::WorkloadId,
    limits::PASSED_ENTRIES,
    reason::{Layer, Reason, Verdict},
};
use exeat_tests::{frame::Ends, run::RunGuard};
use nix::{
    sched::{CpuSet, sched_getaffinity, sched_setaffinity},
    unistd::Pid,
};
use zerocopy::FromZeros as _;

/// Traffic control action (`linux/pkt_cls.h`).
const TC_ACT_UNSPEC: i32 = -1;
/// Packets that follow the one that opens a connection.
const PACKETS: u64 = 5;

/// Keeps this thread on one processor: each has entries of its own.
fn stay_on_one_processor() {
    let this = Pid::from_raw(0);
    let allowed = sched_getaffinity(this).expect("the processors");
    let is_allowed = |cpu: &usize| allowed.is_set(*cpu).unwrap_or_default();
    let mut one = CpuSet::new();
    one.set((0..CpuSet::count()).find(is_allowed).expect("a processor")).expect("one of them");
    sched_setaffinity(this, &one).expect("to stay there");
}

/// Tables with one workload, which may send anywhere.
fn image(number: u32) -> Image {
    let workload = Workload {
        id: WorkloadId::new(number),
        mode: mode::ALLOW_ANY,
        flags: workload_flag::ON_WIRE,
        ..Workload::new_zeroed()
    };
    let settings = Settings { generation: 1, ..Settings::new_zeroed() };
    Image { settings: Some(settings), by_ifindex: [(IFINDEX, workload)].into(), ..Image::default() }
}

fn place(kernel: &mut Kernel, from: &Image, to: &Image) {
    kernel.apply(&diff(from, to)).expect("tables that take it");
}

fn ends(from: &str, to: &str) -> Ends {
    let end = |text: &str| text.parse::<SocketAddr>().expect("an end");
    Ends { source: end(from), destination: end(to) }
}

fn sends(kernel: &mut Kernel, frame: &[u8]) {
    let result = kernel.run_frame(WireProgram::FromPod, frame).expect("a run");
    assert_eq!(result.action, TC_ACT_UNSPEC);
}

/// Opens a connection and sends on it; returns the bytes of what followed.
fn talks(kernel: &mut Kernel) -> u64 {
    let ends = ends("10.244.7.7:40000", "192.0.2.1:443");
    sends(kernel, &ends.syn());
    let data = ends.ack(&[7; 100]);
    for _ in 0..PACKETS {
        sends(kernel, &data);
    }
    PACKETS * data.len() as u64
}

/// Is asked, and answers; returns the bytes of the answers.
fn answers(kernel: &mut Kernel) -> u64 {
    let ends = ends("198.51.100.3:5000", "10.244.7.7:80");
    let result = kernel.run_frame(WireProgram::ToPod, &ends.syn()).expect("a run");
    assert_eq!(result.action, TC_ACT_UNSPEC);
    let data = ends.reversed().ack(&[7; 60]);
    for _ in 0..PACKETS {
        sends(kernel, &data);
    }
    PACKETS * data.len() as u64
}

fn counted(kernel: &mut Kernel, number: u32, reason: Reason) -> CounterValue {
    let key = CounterKey::new(WorkloadId::new(number), Layer::Wire, Verdict::Allow, reason);
    let counters = kernel.counters().expect("the counters");
    let mut of_key = counters.into_iter().filter(|(it, _)| *it == key);
    let (_, value) = of_key.next().unwrap_or((key, CounterValue { count: 0, bytes: 0 }));
    assert!(of_key.next().is_none(), "told once");
    value
}

#[test]
fn bytes_of_known_flows_are_counted_also_past_the_end_of_their_workload() {
    stay_on_one_processor();
    let next_number = 7 + u32::try_from(PASSED_ENTRIES).expect("a small table");
    let run = RunGuard::new("counters").expect("a run");
    let (mut kernel, _events) = aya::open_at(&run.bpffs().join("exeat")).expect("the kernel side");
    let known = |bytes| CounterValue { count: 0, bytes };
    let (first, second) = (image(7), image(next_number));

    place(&mut kernel, &Image::default(), &first);
    let (sent, answered) = (talks(&mut kernel), answers(&mut kernel));
    assert_eq!(kernel.passed_owners().expect("the table"), BTreeSet::from([WorkloadId::new(7)]));
    assert_eq!(counted(&mut kernel, 7, Reason::Established), known(sent));
    assert_eq!(counted(&mut kernel, 7, Reason::Inbound), known(answered));

    // Another one comes in its place, with the same index: both are told in full.
    place(&mut kernel, &first, &second);
    let next = talks(&mut kernel);
    assert_eq!(kernel.passed_owners().expect("the table"), BTreeSet::from([WorkloadId::new(7)]));
    assert_eq!(counted(&mut kernel, next_number, Reason::Established), known(next));
    assert_eq!(counted(&mut kernel, 7, Reason::Established), known(sent));

    // Swept, the entry is free for it, and what the first one sent is told under no workload.
    kernel.collect_garbage().expect("a sweep");
    assert_eq!(kernel.passed_owners().expect("the table"), BTreeSet::new());
    let more = talks(&mut kernel);
    assert_eq!(
        kernel.passed_owners().expect("the table"),
        BTreeSet::from([WorkloadId::new(next_number)])
    );
    assert_eq!(counted(&mut kernel, next_number, Reason::Established), known(next + more));
    assert_eq!(counted(&mut kernel, 0, Reason::Established), known(sent));
    assert_eq!(counted(&mut kernel, 0, Reason::Inbound), known(answered));

    // What is in use stays.
    kernel.collect_garbage().expect("a sweep");
    assert_eq!(
        kernel.passed_owners().expect("the table"),
        BTreeSet::from([WorkloadId::new(next_number)])
    );
}
