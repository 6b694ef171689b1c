//! Tables in memory for the tests of the decision, the wire layer and DNS.

#![allow(dead_code, reason = "each test program uses its part")]

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
};

use exeat_common::{
    abi::{
        BackendKey, BackendValue, Fact, FactKey, FactValue, FlowKey, FlowValue, NameKeyLong,
        NameValue, QueryKey, QueryValue, Redirect, RuleKey, RuleValue, StreamValue, WildcardLimits,
        Workload, mode, workload_flag,
    },
    address::Address,
    bytes::Veil,
    decide::Tables,
    dns::{Burden, draw},
    id::{PolicyId, SubjectId, WorkloadId},
    limits::FACT_SLOTS,
    memory::{Full, Memory},
    reason::{Layer, Reason},
    redirect::{Backends, Passage},
};
use zerocopy::FromZeros as _;

pub(crate) const POLICY: PolicyId = PolicyId::new(5);
pub(crate) const WORKLOAD: WorkloadId = WorkloadId::new(7);
pub(crate) const POD: &str = "10.9.0.2";
pub(crate) const RESOLVER: &str = "192.0.2.53";
pub(crate) const NOW: u32 = 1_000;

/// Every table, writable through a shared reference as maps are.
#[derive(Default)]
pub(crate) struct World {
    pub(crate) rules: BTreeMap<RuleKey, RuleValue>,
    /// Policy, masked address and length in bits of the 16-byte form.
    pub(crate) prefixes: Vec<(PolicyId, u128, u8, SubjectId)>,
    pub(crate) names: BTreeMap<Vec<u8>, NameValue>,
    pub(crate) flags: u32,
    pub(crate) generation: u32,
    /// Backends of targets.
    pub(crate) backends: BTreeMap<BackendKey, Address>,
    pub(crate) full: bool,
    /// Record types that may not be asked for.
    pub(crate) unasked_types: Vec<u16>,
    pub(crate) facts: RefCell<BTreeMap<FactKey, FactValue>>,
    pub(crate) flows: RefCell<BTreeMap<FlowKey, FlowValue>>,
    pub(crate) queries: RefCell<BTreeMap<QueryKey, QueryValue>>,
    /// Where the socket of every packet was redirected from.
    pub(crate) redirect: Option<Redirect>,
    pub(crate) streams: RefCell<BTreeMap<FlowKey, StreamValue>>,
    pub(crate) limits: Option<WildcardLimits>,
    /// What was spent of the rate below wildcards, and what went through.
    pub(crate) spent: Cell<u64>,
    pub(crate) carried: RefCell<Vec<Burden>>,
    pub(crate) notes: RefCell<Vec<(Layer, Reason)>>,
    /// Added to [`NOW`].
    pub(crate) later: u32,
    /// In the place of [`RESOLVER`], if it is not empty.
    pub(crate) resolver: &'static str,
}

pub(crate) fn address(text: &str) -> Address {
    text.parse::<std::net::IpAddr>().expect("an address").into()
}

pub(crate) fn workload() -> Workload {
    let mut addresses = [Address::default(); 4];
    addresses[0] = address(POD);
    Workload {
        id: WORKLOAD,
        policy: POLICY,
        mode: mode::REGISTRY_ONLY,
        flags: workload_flag::ON_WIRE,
        address_count: 1,
        reserved: 0,
        default_target: 0,
        sidecar_cgroup: 0,
        netns_cookie: 0,
        addresses,
    }
}

/// `www.example.com` as it goes over the wire.
pub(crate) fn wire(name: &str) -> Vec<u8> {
    let mut bytes = Vec::new();
    for label in name.split('.').filter(|label| !label.is_empty()) {
        bytes.push(u8::try_from(label.len()).expect("a label"));
        bytes.extend(label.as_bytes());
    }
    bytes.push(0);
    bytes
}

impl World {
    pub(crate) fn grant(&mut self, subject: SubjectId, port: u16, protocol: u8, rule: RuleValue) {
        self.rules.insert(RuleKey::new(POLICY, subject, port, protocol), rule);
        self.rules.insert(RuleKey::grant(POLICY, subject), rule);
    }

    pub(crate) fn prefix(&mut self, policy: PolicyId, prefix: &str, subject: SubjectId) {
        let (base, bits) = prefix.split_once('/').expect("a prefix");
        let base = address(base);
        let bits: u8 = bits.parse().expect("a length");
        let bits = if base.is_v4() { Address::V4_PREFIX_BITS + bits } else { bits };
        self.prefixes.push((policy, masked(base, bits), bits, subject));
    }

    pub(crate) fn name(&mut self, name: &str, value: NameValue) {
        self.names.insert(wire(name), value);
    }

    /// Notes what a pod was told, as the DNS path does.
    pub(crate) fn told(&self, to: &str, pattern: SubjectId, expiry: u32) {
        let key = FactKey { workload: WORKLOAD, address: address(to) };
        self.learn(&key, pattern, expiry).expect("room");
    }

    pub(crate) fn knows(&self, of: &str) -> Vec<SubjectId> {
        let key = FactKey { workload: WORKLOAD, address: address(of) };
        let facts = self.facts.borrow();
        let slots = facts.get(&key).map(|value| value.slots).unwrap_or_default();
        slots.iter().map(|word| Fact::unpack(*word).pattern).filter(|it| it.is_some()).collect()
    }
}

fn masked(address: Address, bits: u8) -> u128 {
    let kept = u128::MAX.checked_shl(128 - u32::from(bits)).unwrap_or(0);
    u128::from_be_bytes(address.octets()) & kept
}

impl Tables for World {
    fn prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId> {
        self.prefixes
            .iter()
            .filter(|(of, base, bits, _)| *of == policy && masked(address, *bits) == *base)
            .max_by_key(|(_, _, bits, _)| *bits)
            .map(|(_, _, _, subject)| *subject)
    }

    fn facts(&self, key: &FactKey) -> Option<FactValue> {
        self.facts.borrow().get(key).copied()
    }

    fn rule(&self, key: &RuleKey) -> Option<RuleValue> {
        self.rules.get(key).copied()
    }

    fn is_resolver(&self, to: Address, port: u16) -> bool {
        let resolver = if self.resolver.is_empty() { RESOLVER } else { self.resolver };
        to == address(resolver) && port == 53
    }

    fn may_be_resolver(&self, port: u16) -> bool {
        port == 53
    }

    fn name(&self, key: &NameKeyLong, length: usize) -> Option<NameValue> {
        self.names.get(key.get(..length)?).copied()
    }

    fn setting_flags(&self) -> u32 {
        self.flags
    }

    fn longest_wildcard_bytes(&self) -> u32 {
        255
    }

    fn now(&self) -> u32 {
        NOW + self.later
    }
}

impl Veil for World {
    fn veil(&self, number: usize) -> usize {
        number
    }
}

impl Memory for World {
    fn generation(&self) -> u32 {
        self.generation
    }

    fn flow(&self, key: &FlowKey) -> Option<FlowValue> {
        self.flows.borrow().get(key).copied()
    }

    fn begin_flow(&self, key: &FlowKey, value: &FlowValue) -> Result<(), Full> {
        if self.full {
            return Err(Full::Share);
        }
        self.flows.borrow_mut().insert(*key, *value);
        Ok(())
    }

    fn renew_flow(&self, key: &FlowKey, value: &FlowValue) -> bool {
        let mut flows = self.flows.borrow_mut();
        let flow = flows.get_mut(key);
        let is_there = flow.is_some();
        if let Some(flow) = flow {
            *flow = *value;
        }
        is_there
    }

    fn remove_flow(&self, key: &FlowKey) {
        self.flows.borrow_mut().remove(key);
    }

    fn redirected(&self, to: Address, port: u16) -> Option<Passage> {
        self.redirect?.passage(to, port)
    }

    fn set_query(&self, key: &QueryKey, value: &QueryValue) -> Result<(), Full> {
        self.queries.borrow_mut().insert(*key, *value);
        Ok(())
    }

    fn take_query(&self, key: &QueryKey) -> Option<QueryValue> {
        self.queries.borrow_mut().remove(key)
    }

    fn stream(&self, key: &FlowKey) -> Option<StreamValue> {
        self.streams.borrow().get(key).copied()
    }

    fn set_stream(&self, key: &FlowKey, value: &StreamValue) {
        self.streams.borrow_mut().insert(*key, *value);
    }

    fn learn(&self, key: &FactKey, pattern: SubjectId, expiry: u32) -> Result<(), Full> {
        let mut facts = self.facts.borrow_mut();
        let value = facts.entry(*key).or_insert(FactValue { slots: [0; FACT_SLOTS] });
        let slot = value
            .slots
            .iter_mut()
            .find(|word| **word == 0 || Fact::unpack(**word).pattern == pattern)
            .ok_or(Full::Table)?;
        *slot = Fact { pattern, expiry }.pack();
        Ok(())
    }

    fn grace_seconds(&self) -> u32 {
        30
    }

    fn minimum_ttl_seconds(&self) -> u32 {
        30
    }

    fn may_ask(&self, query_type: u16) -> bool {
        !self.unasked_types.contains(&query_type)
    }

    fn wildcard_limits(&self) -> WildcardLimits {
        let none = WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 };
        self.limits.unwrap_or(none)
    }

    fn draw(&self, _: WorkloadId, burden: Burden, per_second: u32) -> bool {
        if per_second != 0 {
            match draw(self.spent.get(), self.now(), per_second) {
                0 => return false,
                spent => self.spent.set(spent),
            }
        }
        self.carried.borrow_mut().push(burden);
        true
    }

    fn note(&self, _: WorkloadId, layer: Layer, reason: Reason) {
        self.notes.borrow_mut().push((layer, reason));
    }
}

impl Backends for World {
    fn backend(&self, key: &BackendKey) -> Option<BackendValue> {
        let address = *self.backends.get(key)?;
        Some(BackendValue { address, ..BackendValue::new_zeroed() })
    }
}
