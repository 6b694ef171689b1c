//! Answers at the wire: loads each message, has it read, and drops what was not read.

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
    let length = {
        let Some(scratch) = load::scratch_at(slot) else {
            return Fate::Stop;
        };
        scratch.dropped = 0;
        let length = dns::load(ctx, scratch);
        if length == 0 {
            // Part of a TCP stream that is not one whole message: the pod may read it, for it could
            // only ask what was granted, and nothing is learned from it.
            let stream = scratch.packet.protocol == protocol::TCP;
            let (verdict, reason) = if stream {
                (Verdict::Allow, Reason::AnswerPassed)
            } else {
                (Verdict::Deny, Reason::DnsMalformed)
            };
            dns::count(workload.id, scratch.facts, verdict, reason);
            return if stream { Fate::Go } else { Fate::Stop };
        }
        let source = scratch.packet.source;
        scratch.query.room.begin(workload, source);
        length
    };
    let turn = read(&mut Verified { slot, length }, true);
    let Some(scratch) = load::scratch_at(slot) else {
        return Fate::Stop;
    };
    match turn.answer(scratch.query.room.reading.pattern()) {
        Answer::Pass(heard) => {
            dns::count(workload.id, scratch.facts, Verdict::Allow, heard.reason);
            if heard.pattern.is_some() {
                count::copy_answer(scratch, workload.id, heard.pattern, length);
            }
            Fate::Go
        }
        Answer::Drop(reason) => {
            dns::count(workload.id, scratch.facts, Verdict::Deny, reason);
            scratch.dropped = reason as u8;
            Fate::Stop
        }
        Answer::Defer => {
            dns::count(workload.id, scratch.facts, Verdict::Deny, Reason::AnswerDeferred);
            scratch.dropped = Reason::AnswerDeferred as u8;
            Fate::Stop
        }
    }
}
