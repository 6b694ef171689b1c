//! Answers at the wire and at sockets: loads each message, has it read, and drops what was not read.

mod passes;

use aya_ebpf::programs::TcContext;
use exeat_common::{
    abi::Workload,
    dns::answer::{Answer, read},
    flow::protocol,
    reason::{Reason, Verdict},
};

use self::passes::Verified;
use crate::{count, dns, load, wire::Fate};

/// A message from a trusted resolver. Its packet is in the scratch of this slot.
#[inline(never)]
pub(crate) fn answer(ctx: &TcContext, workload: &Workload, slot: u32) -> Fate {
    let (length, whole) = {
        let Some(scratch) = load::scratch_at(slot) else {
            return Fate::Stop;
        };
        scratch.dropped = 0;
        let source = scratch.packet.source;
        scratch.query.room.begin(workload, source);
        let length = dns::load(ctx, scratch);
        if length == 0 { (dns::load_part(ctx, scratch), false) } else { (length, true) }
    };
    let answer = if length == 0 {
        Answer::Drop(Reason::DnsMalformed)
    } else {
        let turn = read(&mut Verified { slot, length }, whole);
        load::scratch_at(slot).map_or(Answer::Drop(Reason::DnsMalformed), |scratch| {
            turn.answer(scratch.query.room.reading.pattern())
        })
    };
    let Some(scratch) = load::scratch_at(slot) else {
        return Fate::Stop;
    };
    match answer {
        Answer::Pass(heard) => {
            dns::count(workload.id, scratch.facts, Verdict::Allow, heard.reason);
            if heard.pattern.is_some() {
                count::copy_answer(scratch, workload.id, heard.pattern, length);
            }
            Fate::Go
        }
        // A part of a stream that begins no answer to a question: the pod may read it, for nothing
        // is learned from it.
        Answer::Drop(_) if !whole && scratch.packet.protocol == protocol::TCP => {
            dns::count(workload.id, scratch.facts, Verdict::Allow, Reason::AnswerPassed);
            Fate::Go
        }
        Answer::Drop(reason) => dns::drop_message(workload, scratch, reason),
        Answer::Defer => {
            dns::count(workload.id, scratch.facts, Verdict::Deny, Reason::AnswerDeferred);
            count::report_deferred(scratch, workload.id);
            Fate::Stop
        }
    }
}
