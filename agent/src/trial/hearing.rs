//! DNS as the kernel hears it: a real message goes through its very parser, over tables in memory.
//! Knows nothing of verdicts.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use exeat_common::{
    abi::{
        Fact, FactKey, FactValue, FlowKey, FlowValue, NameKeyLong, NameValue, QueryKey, QueryValue,
        RuleKey, RuleValue, StreamValue, WildcardLimits, Workload,
    },
    address::Address,
    bytes::Veil,
    decide::Tables,
    dns::{
        Answer, Asked, Burden, MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, Room, Transport,
        ask, hear,
    },
    id::{PolicyId, SubjectId, WorkloadId},
    limits::{FACT_SLOTS, MESSAGE_BYTES},
    memory::{Full, Memory},
    packet::Packet,
    reason::{Layer, Reason},
    redirect::Passage,
};
use hickory_proto::op::Message;

use super::{Lookup, message::Exchange};
use crate::policy::{
    image::Image,
    image_tables::{Facts, ImageTables},
};

/// Any client port.
const CLIENT_PORT: u16 = 40_000;

/// One workload that listens.
pub(super) struct Hearing<'a> {
    workload: &'a Workload,
    memory: Heard<'a>,
}

impl<'a> Hearing<'a> {
    pub(super) fn new(image: &'a Image, workload: &'a Workload) -> Self {
        let memory = Heard {
            image,
            facts: RefCell::default(),
            queries: RefCell::default(),
            is_guarded: Cell::new(false),
            now: 0,
        };
        Self { workload, memory }
    }

    pub(super) fn into_facts(self) -> Facts {
        self.memory.facts.into_inner()
    }

    /// Asks and hears the answer at second `now`; returns what became of it.
    pub(super) fn hear(&mut self, lookup: &Lookup, now: u32) -> Reason {
        self.memory.now = now;
        self.memory.is_guarded.set(false);
        let resolver = Address::from(lookup.resolver.ip());
        if !self.memory.is_resolver(resolver, lookup.resolver.port()) {
            // An ordinary flow, of which nothing is read.
            return Reason::NotRegistered;
        }
        let mut reason = Reason::AnswerPassed;
        for exchange in lookup.exchanges() {
            let each = self.exchange(lookup, &exchange);
            if reason == Reason::AnswerPassed {
                reason = each;
            }
        }
        if self.memory.is_guarded.get() { Reason::AddressGuarded } else { reason }
    }

    fn exchange(&self, lookup: &Lookup, exchange: &Exchange) -> Reason {
        let query = Encoded::new(&exchange.query);
        let answer = Encoded::new(&exchange.answer);
        let (Some(query), Some(answer)) = (query, answer) else {
            return Reason::DnsMalformed;
        };
        let resolver = (Address::from(lookup.resolver.ip()), lookup.resolver.port());
        let client = (Address::default(), CLIENT_PORT);
        let packet = Packet::udp(client, resolver);
        let mut buffer = NameBuffer::new();
        let memory = &self.memory;
        let asked =
            ask(self.workload, &packet, Transport::Udp, &query.bytes(), &mut buffer, memory);
        match asked {
            Asked::Pass { .. } => {}
            Asked::Refuse(refusal) => return refusal.reason,
            Asked::Tell(_) => return Reason::AnsweredHere,
            Asked::Drop(reason) => return reason,
        }
        let packet = Packet::udp(resolver, client);
        let mut room = Room::new();
        match hear(self.workload, &packet, Transport::Udp, &answer.bytes(), &mut room, memory) {
            Answer::Pass(heard) => heard.reason,
            Answer::Drop(reason) => reason,
            Answer::Defer => Reason::AnswerDeferred,
        }
    }
}

/// A message in the buffer that the kernel has for it.
struct Encoded {
    buffer: Box<[u8; MESSAGE_BUFFER_BYTES]>,
    length: usize,
}

impl Encoded {
    /// None if the message is larger than the kernel reads.
    fn new(message: &Message) -> Option<Self> {
        let bytes = message.to_vec().ok()?;
        if bytes.len() > MESSAGE_BYTES {
            return None;
        }
        let mut buffer = Box::new([0; MESSAGE_BUFFER_BYTES]);
        buffer.get_mut(..bytes.len())?.copy_from_slice(&bytes);
        Some(Self { buffer, length: bytes.len() })
    }

    fn bytes(&self) -> MessageBytes<'_> {
        MessageBytes::new(&self.buffer, self.length)
    }
}

/// The writable tables: what one workload has learned.
struct Heard<'a> {
    image: &'a Image,
    facts: RefCell<Facts>,
    queries: RefCell<BTreeMap<QueryKey, QueryValue>>,
    /// Whether an answer named an internal address since this was last reset.
    is_guarded: Cell<bool>,
    now: u32,
}

impl Heard<'_> {
    /// Answers a question about the tables that DNS does not write.
    fn tables<T>(&self, question: impl FnOnce(&ImageTables<'_>) -> T) -> T {
        let facts = self.facts.borrow();
        question(&ImageTables { image: self.image, facts: &facts, now: self.now })
    }
}

impl Tables for Heard<'_> {
    fn prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId> {
        self.tables(|it| it.prefix(policy, address))
    }

    fn facts(&self, key: &FactKey) -> Option<FactValue> {
        self.tables(|it| it.facts(key))
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.tables(|it| it.rule(key))
    }

    fn is_resolver(&self, address: Address, port: u16) -> bool {
        self.tables(|it| it.is_resolver(address, port))
    }

    fn may_be_resolver(&self, port: u16) -> bool {
        self.tables(|it| it.may_be_resolver(port))
    }

    fn name(&self, key: &NameKeyLong, length: usize) -> Option<NameValue> {
        self.tables(|it| it.name(key, length))
    }

    fn setting_flags(&self) -> u32 {
        self.tables(|it| it.setting_flags())
    }

    fn longest_wildcard_bytes(&self) -> u32 {
        self.tables(|it| it.longest_wildcard_bytes())
    }

    fn now(&self) -> u32 {
        self.now
    }
}

impl Veil for Heard<'_> {
    fn veil(&self, number: usize) -> usize {
        number
    }
}

impl Memory for Heard<'_> {
    fn generation(&self) -> u32 {
        0
    }

    fn flow(&self, _: &FlowKey) -> Option<FlowValue> {
        None
    }

    fn begin_flow(&self, _: &FlowKey, _: &FlowValue) -> Result<(), Full> {
        Err(Full::Table)
    }

    fn renew_flow(&self, _: &FlowKey, _: &FlowValue) -> bool {
        false
    }

    fn remove_flow(&self, _: &FlowKey) {}

    fn redirected(&self, _: Address, _: u16) -> Option<Passage> {
        None
    }

    fn set_query(&self, key: &QueryKey, value: &QueryValue) -> Result<(), Full> {
        self.queries.borrow_mut().insert(*key, *value);
        Ok(())
    }

    fn take_query(&self, key: &QueryKey) -> Option<QueryValue> {
        self.queries.borrow_mut().remove(key)
    }

    fn stream(&self, _: &FlowKey) -> Option<StreamValue> {
        None
    }

    fn set_stream(&self, _: &FlowKey, _: &StreamValue) {}

    /// As in the kernel: the name's own slot, else one that is empty or has expired.
    fn learn(&self, key: &FactKey, pattern: SubjectId, expiry: u32) -> Result<(), Full> {
        let mut facts = self.facts.borrow_mut();
        let slots = &mut facts.entry(*key).or_insert(FactValue { slots: [0; FACT_SLOTS] }).slots;
        let held = |word: &u64| Fact::unpack(*word);
        if let Some(slot) = slots.iter_mut().find(|word| held(word).pattern == pattern) {
            // A shorter TTL does not shorten what an earlier answer promised.
            let expiry = expiry.max(held(slot).expiry);
            *slot = Fact { pattern, expiry }.pack();
            return Ok(());
        }
        let free = slots.iter_mut().find(|word| held(word).expiry < self.now).ok_or(Full::Table)?;
        *free = Fact { pattern, expiry }.pack();
        Ok(())
    }

    fn grace_seconds(&self) -> u32 {
        self.image.settings.map_or(0, |settings| settings.grace_seconds)
    }

    fn minimum_ttl_seconds(&self) -> u32 {
        self.image.settings.map_or(0, |settings| settings.minimum_ttl_seconds)
    }

    fn may_ask(&self, query_type: u16) -> bool {
        self.image.settings.is_some_and(|settings| settings.may_ask(query_type))
    }

    fn wildcard_limits(&self) -> WildcardLimits {
        let none = WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 };
        self.image.settings.map_or(none, |settings| settings.wildcards)
    }

    /// What is tried here is one flow: no rate is kept.
    fn draw(&self, _: WorkloadId, _: Burden, _: u32) -> bool {
        true
    }

    fn note(&self, _: WorkloadId, _: Layer, reason: Reason) {
        if reason == Reason::AddressGuarded {
            self.is_guarded.set(true);
        }
    }
}
