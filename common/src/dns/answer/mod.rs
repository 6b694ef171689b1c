//! An answer that arrives: it must have been asked for, then its addresses become facts.
//!
//! # The rule
//!
//! This is the only place that says which addresses of an answer count. The kernel follows it as far
//! as it can. Of what it cannot read it tells the agent, which asks the same question itself; tests and
//! fuzzers hold both to it.
//!
//! 1. The answer comes from a trusted resolver and belongs to a question that this workload asked: the
//!    same resolver, ports, protocol, transaction, name (without regard to ASCII case) and type, not
//!    longer ago than [`QUERY_SECONDS`](crate::limits::QUERY_SECONDS).
//! 2. Only the answer section is read, and of it only records of class IN.
//! 3. The *chain* begins as the name of the question. Whenever the owner of a CNAME record is on the
//!    chain, its target is on the chain too, whatever the order of the records. Data that is not
//!    exactly one name is no target. Names are equal if their labels are, without regard to ASCII
//!    case (RFC 4343). A pointer leads to what was wholly written before (RFC 1035 §4.1.4): an owner or
//!    target that comes back into itself is no name.
//! 4. An A record of four bytes or an AAAA record of sixteen counts if its owner is on the chain.
//! 5. The hints (`ipv4hint`, `ipv6hint`) of an HTTPS or SVCB record count if its owner is on the
//!    chain, its priority is not 0, and its target is "." or a name on the chain. A target elsewhere is
//!    a name of its own, which clients ask about (RFC 9460 §7.3).
//! 6. The addresses belong to the name of the question: its pattern is learned for them, and not those
//!    of the other names on the chain. Else an entry `*.cdn.example` would open whatever site has an
//!    alias there.
//! 7. One exception: if the name of the question is internal and matches no pattern, and the first
//!    record is a CNAME record of the question whose target is the name of the question without a suffix, and
//!    that suffix is internal itself, then a search list completed the name, and the addresses belong
//!    to the target.
//! 8. An address that no public name may have, or that is guarded, is not learned. TTLs are cut to
//!    a week.
//!
//! Hints are learned and not stripped: to strip them, the message would have to be rewritten, with its
//! lengths and pointers, and a client that checks signatures would refuse it. A hint is what an A record
//! in the same answer is, said by the same resolver about the same name.

mod follow;
mod hints;
mod learn;
mod names;
mod open;
mod rename;
mod turn;
mod walk;

use zerocopy::{FromBytes, FromZeros as _, Immutable, IntoBytes, KnownLayout};

use super::{
    message::{HEADER, MessageBytes, Transport},
    name::NameBuffer,
};
use crate::{
    abi::{QueryKey, QueryValue, Workload},
    address::Address,
    bytes::{Veil, kept},
    cgroup::asked_at,
    id::{PolicyId, SubjectId, WorkloadId},
    limits::{ANSWER_ADDRESSES, ANSWER_CHAIN, ANSWER_RECORDS, ANSWER_SERVICES},
    memory::Memory,
    packet::Packet,
    reason::Reason,
};

pub use follow::follow;
pub use hints::hints;
pub use learn::{Lesson, learn, teach};
pub use names::{Comparison, Names, compare, end};
pub use open::{open, put_back, recognise};
pub use rename::rename;
pub use turn::Turn;
pub use walk::walk;

/// What to do with an answer.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Answer {
    Pass(Heard),
    Drop(Reason),
    /// The kernel cannot tell what it teaches: the agent has to learn the name before the pod has it.
    Defer,
}

/// What an answer taught.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Heard {
    pub reason: Reason,
    /// Pattern its addresses were learned for, or none.
    pub pattern: SubjectId,
}

/// Room for reading one answer. The kernel keeps it in a per-CPU map.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Room {
    pub name: NameBuffer,
    pub reading: Reading,
    /// What [`walk()`] found: `Found`, packed.
    found: [u32; ANSWER_RECORDS],
    /// Offsets of the names on the chain: the question, then the target of each alias.
    chain: [u32; ANSWER_CHAIN],
    /// Where the fixed parts of the services lie whose hints may count.
    services: [u32; ANSWER_SERVICES],
    /// Where the addresses that count lie: `Place`, packed.
    addresses: [u32; ANSWER_ADDRESSES],
}

/// The entry `index` of a list, whose length is a power of two. The comparison is the rule; the mask is
/// what verifiers before Linux 6.8 need.
#[inline(always)]
fn entry<const N: usize>(list: &[u32; N], index: usize) -> Option<u32> {
    const { assert!(N.is_power_of_two()) };
    if index >= N { None } else { list.get(index & kept(N - 1)).copied() }
}

/// Sets it; says no if there is none.
#[inline(always)]
fn set_entry<const N: usize>(list: &mut [u32; N], index: usize, word: u32) -> bool {
    const { assert!(N.is_power_of_two()) };
    if index >= N {
        return false;
    }
    let Some(slot) = list.get_mut(index & kept(N - 1)) else {
        return false;
    };
    *slot = word;
    true
}

/// How far the reading of an answer has come.
#[derive(FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Reading {
    workload: WorkloadId,
    policy: PolicyId,
    key: QueryKey,
    /// What was remembered of the question.
    query: QueryValue,
    /// Pattern of the name that the addresses belong to.
    pattern: SubjectId,
    /// Offset of the answer section.
    start: u32,
    /// Records in it.
    records: u32,
    /// Bytes of the name of the question.
    name_bytes: u32,
    /// Bytes of the internal domain it ends with; 0 if it is not internal.
    internal_bytes: u32,
    /// How much of each list in [`Room`] is set.
    found: u32,
    services: u32,
    links: u32,
    addresses: u32,
}

/// The first name on the chain.
#[expect(clippy::cast_possible_truncation, reason = "a header has twelve bytes")]
const QUESTION: u32 = HEADER as u32;

impl Room {
    pub fn new() -> Self {
        Self::new_zeroed()
    }

    /// Forgets the answer before and notes whose this one is.
    #[inline(always)]
    pub const fn begin(&mut self, workload: &Workload, source: Address) {
        self.reading.workload = workload.id;
        self.reading.key.resolver = asked_at(workload, source);
        self.reading.policy = workload.policy;
        self.reading.pattern = SubjectId::NONE;
        let [question, ..] = &mut self.chain;
        *question = QUESTION;
        self.reading.links = 1;
        self.reading.services = 0;
        self.reading.addresses = 0;
    }
}

impl Default for Room {
    fn default() -> Self {
        Self::new()
    }
}

impl Reading {
    /// Under what the question is remembered, and how long its name is. Set once it was found.
    #[inline(always)]
    pub const fn question(&self) -> (QueryKey, QueryValue) {
        (self.key, self.query)
    }

    /// Pattern of the name that the addresses belong to, or none.
    #[inline(always)]
    pub const fn pattern(&self) -> SubjectId {
        self.pattern
    }

    /// Records whose hints [`hints()`] has to look for.
    #[inline(always)]
    pub const fn services(&self) -> usize {
        self.services as usize
    }

    /// Addresses that [`learn()`] has to learn.
    #[inline(always)]
    pub const fn addresses(&self) -> usize {
        self.addresses as usize
    }
}

/// The parts of reading an answer. In user space they are plain calls. In the kernel each is a
/// function that the verifier looks at once, however often it is called.
pub trait Passes {
    fn open(&mut self) -> Turn;
    fn recognise(&mut self) -> Turn;
    fn walk(&mut self) -> Turn;
    fn follow(&mut self) -> Turn;
    fn rename(&mut self) -> Turn;
    fn hints(&mut self, service: usize) -> Turn;
    fn learn(&mut self, address: usize);
    /// Remembers the question again: its answer was not read.
    fn put_back(&mut self);
    fn services(&self) -> usize;
    fn addresses(&self) -> usize;
    fn pattern(&self) -> SubjectId;
}

/// Takes an answer through all passes. `whole` says whether all of the message is there.
#[inline(always)]
pub fn read<P: Passes>(passes: &mut P, whole: bool) -> Turn {
    let mut turn = passes.open();
    if turn.goes_on() {
        turn = passes.recognise();
    }
    if !turn.goes_on() {
        return turn;
    }
    turn = if whole { passes.walk() } else { Turn::DEFER };
    if turn.goes_on() {
        turn = chase(passes);
    }
    if !passes.pattern().is_some() {
        // The name is internal. Its answer passes whatever is in it; the only question is whether
        // a search list made the name.
        turn = if turn.goes_on() { passes.rename() } else { Turn::PASS };
    }
    if turn.goes_on() {
        turn = spread(passes);
    }
    if turn.defers() {
        passes.put_back();
    }
    if !turn.goes_on() {
        return turn;
    }
    let count = passes.addresses();
    for address in 0..ANSWER_ADDRESSES {
        // LLVM would otherwise end the loop by equality, which tells verifiers before Linux 6.8 nothing.
        if kept(address) >= count {
            break;
        }
        passes.learn(address);
    }
    Turn::pass(if count == 0 { Reason::AnswerPassed } else { Reason::AnswerLearned })
}

/// Follows the chain until it grows no more.
#[inline(always)]
fn chase<P: Passes>(passes: &mut P) -> Turn {
    for _ in 0..ANSWER_CHAIN {
        let turn = passes.follow();
        if turn != Turn::AGAIN {
            return turn;
        }
    }
    Turn::DEFER
}

/// Adds the hints of all services to the addresses.
#[inline(always)]
fn spread<P: Passes>(passes: &mut P) -> Turn {
    let count = passes.services();
    for service in 0..ANSWER_SERVICES {
        // As in `read`.
        if kept(service) >= count {
            break;
        }
        let turn = passes.hints(service);
        if !turn.goes_on() {
            return turn;
        }
    }
    Turn::GO_ON
}

/// Reads an answer of a trusted resolver to `workload` and learns from it, before the pod has it.
pub fn hear<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    transport: Transport,
    message: &MessageBytes<'_>,
    room: &mut Room,
    memory: &M,
) -> Answer {
    room.begin(workload, packet.source);
    let mut passes = Direct { packet, transport, message, room, memory };
    let turn = read(&mut passes, true);
    turn.answer(passes.room.reading.pattern)
}

/// The passes as plain calls.
struct Direct<'a, M> {
    packet: &'a Packet,
    transport: Transport,
    message: &'a MessageBytes<'a>,
    room: &'a mut Room,
    memory: &'a M,
}

impl<'a, M: Memory> Direct<'a, M> {
    const fn names(&self) -> Compared<'a, M> {
        Compared { message: self.message, veil: self.memory }
    }
}

/// Names of a message, compared by plain calls.
struct Compared<'a, V> {
    message: &'a MessageBytes<'a>,
    veil: &'a V,
}

impl<V: Veil> Names for Compared<'_, V> {
    fn compare(&self, first: usize, second: usize) -> Comparison {
        compare(self.message, first, second, self.veil)
    }

    fn end(&self, name: usize) -> usize {
        end(self.message, name, self.veil)
    }
}

impl<M: Memory> Passes for Direct<'_, M> {
    fn open(&mut self) -> Turn {
        open(self.packet, self.transport, self.message, self.room, self.memory)
    }

    fn recognise(&mut self) -> Turn {
        recognise(self.message, self.room, self.memory)
    }

    fn walk(&mut self) -> Turn {
        walk(self.message, self.room, self.memory)
    }

    fn follow(&mut self) -> Turn {
        let names = self.names();
        follow(self.message, self.room, &names, self.memory)
    }

    fn rename(&mut self) -> Turn {
        let names = self.names();
        rename(self.room, &names, self.memory)
    }

    fn hints(&mut self, service: usize) -> Turn {
        let names = self.names();
        hints(self.message, self.room, service, &names, self.memory)
    }

    fn learn(&mut self, address: usize) {
        learn(self.message, self.room, address, self.memory);
    }

    fn put_back(&mut self) {
        put_back(self.room, self.memory);
    }

    fn services(&self) -> usize {
        self.room.reading.services()
    }

    fn addresses(&self) -> usize {
        self.room.reading.addresses()
    }

    fn pattern(&self) -> SubjectId {
        self.room.reading.pattern
    }
}
