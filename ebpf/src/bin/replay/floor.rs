//! The least that a packet of a known flow and a question cost: what cannot be left out, and nothing around it.

use aya_ebpf::{
    bindings::{BPF_ANY, TC_ACT_SHOT, TC_ACT_UNSPEC},
    btf_maps::{HashMap, PerCpuArray},
    helpers::bpf_skb_load_bytes,
    macros::{btf_map, classifier},
    programs::TcContext,
};
use exeat_common::{
    abi::{
        FlowKey, FlowValue, NameKeyShort, NameValue, QueryKey, QueryValue, RuleKey, RuleValue,
        Workload,
    },
    address::Address,
    flow::protocol,
    id::SubjectId,
    known::{Head as _, V4_BYTES},
    limits::{
        FLOWS_ENTRIES, NAME_SHORT_BYTES, NAMES_SHORT_ENTRIES, RULES_ENTRIES, WORKLOADS_ENTRIES,
    },
};

use super::{QUERIES, head::Head};

// The tables of `ebpf/src/tables/`, found by their pins.
#[btf_map]
static WORKLOADS_BY_IFINDEX: HashMap<u32, Workload, WORKLOADS_ENTRIES> = HashMap::new();
#[btf_map]
static FLOWS: HashMap<FlowKey, FlowValue, FLOWS_ENTRIES> = HashMap::new();
#[btf_map]
static NAMES_SHORT: HashMap<NameKeyShort, NameValue, NAMES_SHORT_ENTRIES> = HashMap::new();
#[btf_map]
static RULES: HashMap<RuleKey, RuleValue, RULES_ENTRIES, ON_DEMAND> = HashMap::new();

/// Flag of a table whose entries are allocated one by one.
const ON_DEMAND: usize = aya_ebpf::bindings::BPF_F_NO_PREALLOC as usize;

/// What is counted, and room for a name.
#[repr(C)]
struct Area {
    bytes: u64,
    name: NameKeyShort,
}

#[btf_map]
static AREA: PerCpuArray<Area, 1> = PerCpuArray::new();

/// Where things are in a frame: Ethernet, IPv4, TCP or UDP, DNS, all without options.
const SOURCE: usize = 26;
const DESTINATION: usize = 30;
const SOURCE_PORT: usize = 34;
const DESTINATION_PORT: usize = 36;
const TRANSACTION: usize = 42;
const NAME: u32 = 54;

/// The workload of the interface, the flow, and the bytes.
#[classifier]
pub(crate) fn exeat_floor_packet(ctx: TcContext) -> i32 {
    packet(&ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn packet(ctx: &TcContext) -> Option<i32> {
    let (workload, head) = begin(ctx)?;
    let local = (Address::from_v4_word(head.word::<SOURCE>()), head.half::<SOURCE_PORT>());
    let remote =
        (Address::from_v4_word(head.word::<DESTINATION>()), head.half::<DESTINATION_PORT>());
    let key = FlowKey::new(workload.id, protocol::TCP, local, remote);
    // SAFETY: only whether it is there matters.
    unsafe { FLOWS.get(key) }?;
    count(ctx)?;
    Some(TC_ACT_UNSPEC)
}

/// The workload of the interface, the name and a rule for it, the question noted, and the bytes.
#[classifier]
pub(crate) fn exeat_floor_question(ctx: TcContext) -> i32 {
    question(&ctx).unwrap_or(TC_ACT_SHOT)
}

#[inline(always)]
fn question(ctx: &TcContext) -> Option<i32> {
    let (workload, head) = begin(ctx)?;
    let resolver =
        (Address::from_v4_word(head.word::<DESTINATION>()), head.half::<DESTINATION_PORT>());
    let (port, transaction) = (head.half::<SOURCE_PORT>(), head.half::<TRANSACTION>());
    let key = QueryKey::new(workload.id, protocol::UDP, resolver, port, transaction);
    let name = name(ctx)?;
    // With the bytes behind it the name is another one: an entry that is missed is looked for like one that is there.
    // SAFETY: only whether it is there matters; likewise below.
    let found = unsafe { NAMES_SHORT.get(name) };
    let subject = found.map_or(SubjectId::NONE, |value| value.exact);
    let rule = RuleKey::grant(workload.policy, subject);
    // SAFETY: as above.
    let granted = unsafe { RULES.get(rule) }.map_or(0, |rule| rule.target);
    let value = QueryValue::new(subject, granted, 1, (1, 0));
    QUERIES.insert(key, value, u64::from(BPF_ANY)).ok()?;
    count(ctx)?;
    Some(TC_ACT_UNSPEC)
}

#[inline(always)]
fn begin(ctx: &TcContext) -> Option<(&'static Workload, Head<V4_BYTES>)> {
    // SAFETY: the context pointer is valid while the program runs.
    let interface = unsafe { (*ctx.skb.skb).ifindex };
    // SAFETY: nobody writes the table while a measurement runs.
    let workload = unsafe { WORKLOADS_BY_IFINDEX.get(interface) }?;
    Some((workload, Head::of(ctx)?))
}

#[inline(always)]
fn area() -> Option<&'static mut Area> {
    let area = AREA.get_ptr_mut(0)?;
    // SAFETY: the entry belongs to this CPU, and only one measurement runs at a time.
    Some(unsafe { &mut *area })
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name key is small")]
fn name(ctx: &TcContext) -> Option<&'static NameKeyShort> {
    let name = &mut area()?.name;
    let length = NAME_SHORT_BYTES as u32;
    // SAFETY: `name` is so many bytes long, and the kernel checks the offset.
    let failed =
        unsafe { bpf_skb_load_bytes(ctx.skb.skb.cast(), NAME, name.as_mut_ptr().cast(), length) };
    (failed == 0).then_some(name)
}

#[inline(always)]
fn count(ctx: &TcContext) -> Option<()> {
    let area = area()?;
    area.bytes = area.bytes.wrapping_add(u64::from(ctx.len()));
    Some(())
}
