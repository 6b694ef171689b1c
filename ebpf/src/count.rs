//! Counters and events: what user space is told of verdicts.

use aya_ebpf::{
    bindings::BPF_NOEXIST,
    btf_maps::{PerCpuHashMap, RingBuf},
    macros::btf_map,
};
use exeat_common::{
    abi::{AnswerHeader, CounterKey, CounterValue, FlowEvent, QueryHeader, QueryKey, event},
    decide::Decision,
    dns::Refusal,
    flow::Flow,
    id::{SubjectId, WorkloadId},
    limits::{
        COUNTERS_ENTRIES, EVENTS_BYTES, EVENTS_PER_SECOND, MESSAGE_COPY_BYTES, NAME_BUFFER_BYTES,
    },
    reason::{Layer, Reason, Verdict},
};

use zerocopy::{FromZeros as _, IntoBytes as _};

use crate::{
    load::{self, Process, Scratch},
    tables::{may_emit, nanoseconds},
};

#[btf_map]
static COUNTERS: PerCpuHashMap<CounterKey, CounterValue, COUNTERS_ENTRIES> = PerCpuHashMap::new();
#[btf_map]
static EVENTS: RingBuf<(), EVENTS_BYTES> = RingBuf::new();

/// What is added to a counter.
#[derive(Clone, Copy)]
pub(crate) struct Tally {
    /// 1 when a flow or message was judged, 0 for a later packet of a known flow.
    pub(crate) flows: u64,
    pub(crate) bytes: u64,
}

#[inline(always)]
pub(crate) fn count(
    workload: WorkloadId,
    layer: Layer,
    verdict: Verdict,
    reason: Reason,
    tally: Tally,
) {
    let key = CounterKey::new(workload, layer, verdict, reason);
    if let Some(value) = COUNTERS.get_ptr_mut(key) {
        // SAFETY: the slot belongs to this CPU, and the program cannot be migrated while it runs;
        // another program on this CPU could at worst lose one count.
        let value = unsafe { &mut *value };
        value.count = value.count.wrapping_add(tally.flows);
        value.bytes = value.bytes.wrapping_add(tally.bytes);
        return;
    }
    let first = CounterValue { count: tally.flows, bytes: tally.bytes };
    // A full table loses the count, not the verdict.
    let _lost = COUNTERS.insert(key, first, u64::from(BPF_NOEXIST));
}

/// Reports a verdict at the socket that somebody will ask about.
#[inline(always)]
pub(crate) fn report(flow: &Flow<'_>, decision: &Decision) {
    if is_reported(flow, decision) {
        let event = event_of(flow, Layer::Socket, decision, load::current_process());
        output(event.as_bytes(), size_of::<FlowEvent>());
    }
}

/// The same at the wire, where nobody knows the process. The event is made in map memory: the
/// stacks of the calls below the wire programs have no room for it.
#[inline(always)]
pub(crate) fn report_packet(
    flow: &Flow<'_>,
    layer: Layer,
    decision: &Decision,
    room: &mut FlowEvent,
) {
    if is_reported(flow, decision) {
        *room = event_of(flow, layer, decision, Process::NONE);
        output(room.as_bytes(), size_of::<FlowEvent>());
    }
}

/// Denials are reported, and what would have been one, up to the workload's limit.
#[inline(always)]
fn is_reported(flow: &Flow<'_>, decision: &Decision) -> bool {
    let workload = flow.workload.map_or(WorkloadId::default(), |workload| workload.id);
    (decision.verdict == Verdict::Deny || decision.reason == Reason::AllowAny)
        && may_emit(workload, EVENTS_PER_SECOND)
}

#[inline(always)]
fn event_of(flow: &Flow<'_>, layer: Layer, decision: &Decision, process: Process) -> FlowEvent {
    FlowEvent {
        kind: event::FLOW,
        workload: flow.workload.map_or(WorkloadId::default(), |workload| workload.id),
        time: nanoseconds(),
        address: flow.destination,
        subject: decision.subject,
        port: flow.port,
        protocol: flow.protocol,
        layer: layer as u8,
        verdict: decision.verdict as u8,
        reason: decision.reason as u8,
        reserved: [0; 2],
        pid: process.pid,
        command: process.command,
    }
}

/// Reports a refused question. Its name is still in the scratch.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "a name is at most 255 bytes long")]
pub(crate) fn report_refusal(scratch: &mut Scratch, workload: WorkloadId, refusal: &Refusal) {
    if !may_emit(workload, EVENTS_PER_SECOND) {
        return;
    }
    scratch.query.head = QueryHeader {
        kind: event::QUERY,
        workload,
        time: nanoseconds(),
        query_type: refusal.query_type,
        name_length: refusal.name.length as u16,
        verdict: Verdict::Deny as u8,
        reason: refusal.reason as u8,
        reserved: [0; 2],
        pattern: SubjectId::NONE,
        key: QueryKey::new_zeroed(),
        also_reserved: 0,
        more_reserved: 0,
    };
    output(scratch.query.as_bytes(), size_of::<QueryHeader>() + NAME_BUFFER_BYTES);
}

/// Asks the agent to learn a name, because the answer about it could not be read. The name is still
/// in the scratch.
#[inline(always)]
pub(crate) fn report_deferred(scratch: &mut Scratch, workload: WorkloadId) {
    if !may_emit(workload, EVENTS_PER_SECOND) {
        return;
    }
    let (key, query) = scratch.query.room.reading.question();
    scratch.query.head = QueryHeader {
        kind: event::DEFERRED,
        workload,
        time: nanoseconds(),
        query_type: query.query_type,
        name_length: query.name_length,
        verdict: Verdict::Deny as u8,
        reason: Reason::AnswerDeferred as u8,
        reserved: [0; 2],
        pattern: scratch.query.room.reading.pattern(),
        key,
        also_reserved: 0,
        more_reserved: 0,
    };
    output(scratch.query.as_bytes(), size_of::<QueryHeader>() + NAME_BUFFER_BYTES);
}

/// Copies an answer that taught something. Its message is still in the scratch.
#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the length is at most MESSAGE_COPY_BYTES")]
pub(crate) fn copy_answer(
    scratch: &mut Scratch,
    workload: WorkloadId,
    pattern: SubjectId,
    length: usize,
) {
    if length == 0 || length > MESSAGE_COPY_BYTES {
        return;
    }
    scratch.answer.head = AnswerHeader {
        kind: event::ANSWER,
        workload,
        time: nanoseconds(),
        pattern,
        length: length as u32,
        reserved: [0; 8],
    };
    output(scratch.answer.as_bytes(), size_of::<AnswerHeader>() + length);
}

/// Emits the first `length` bytes. A full ring loses the event, not the verdict.
#[inline(always)]
fn output(data: &[u8], length: usize) {
    if let Some(event) = data.get(..length) {
        let _lost = EVENTS.output_untyped::<[u8]>(event, 0);
    }
}
