//! The kernel's rule tables as one value, and the operations that change it.

use std::{
    collections::{BTreeMap, BTreeSet},
    ops::RangeInclusive,
};

use exeat_common::{
    abi::{NameValue, ResolverKey, RuleKey, RuleValue, Settings, Workload},
    address::Address,
    id::{PolicyId, SubjectId},
};

use super::target::Target;

/// Everything the compiler writes, keyed as in the kernel. The compiler makes the wanted one, the
/// datapath dumps the installed one, and [`super::diff`] finds the way between them.
///
/// `settings.generation` is the datapath's own: it counts applied changes and is not compared.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Image {
    pub settings: Option<Settings>,
    pub resolvers: BTreeSet<ResolverKey>,
    pub names: BTreeMap<WireName, NameValue>,
    pub prefixes: BTreeMap<Prefix, SubjectId>,
    pub rules: BTreeMap<RuleKey, RuleValue>,
    /// By number; 0 is none. A number never changes its content.
    pub targets: BTreeMap<u32, Target>,
    /// By cgroup id.
    pub by_cgroup: BTreeMap<u64, Workload>,
    /// By index of the host side of the veth.
    pub by_ifindex: BTreeMap<u32, Workload>,
}

/// Where workloads are found, with the settings that say how deep.
pub(super) type Places = (Option<Settings>, BTreeMap<u64, Workload>, BTreeMap<u32, Workload>);

/// A lower-case domain name in wire form, with length bytes and the root byte, left-aligned.
/// At most 255 bytes (RFC 1035 §2.3.4).
#[derive(Clone, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct WireName(pub(crate) Vec<u8>);

impl WireName {
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The labels without their length bytes, and without the root.
    pub fn split(&self) -> impl Iterator<Item = &[u8]> {
        let mut rest = self.as_bytes();
        std::iter::from_fn(move || {
            let tail = parent(rest)?;
            let label = rest.get(1..rest.len().checked_sub(tail.len())?)?;
            rest = tail;
            Some(label)
        })
    }

    /// The name without its first label; none of the root.
    pub(super) fn parent(&self) -> Option<Self> {
        parent(&self.0).map(|wire| Self(wire.to_vec()))
    }
}

/// A wire name without its first label; none of the root.
pub(super) fn parent(wire: &[u8]) -> Option<&[u8]> {
    let (&length, tail) = wire.split_first()?;
    if length == 0 {
        return None;
    }
    tail.get(usize::from(length)..)
}

/// A prefix of one policy.
#[derive(Clone, Copy, Debug, Eq, Hash, Ord, PartialEq, PartialOrd)]
pub struct Prefix {
    pub policy: PolicyId,
    /// Masked address.
    pub address: Address,
    /// Length in bits of the 16-byte form: 96 + n for IPv4.
    pub bits: u8,
}

/// One change of one entry. Setting replaces.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum MapOp {
    RemoveName(WireName),
    RemovePrefix(Prefix),
    RemoveResolver(ResolverKey),
    RemoveRule(RuleKey),
    RemoveTarget(u32),
    RemoveWorkloadByCgroup(u64),
    RemoveWorkloadByIfindex(u32),
    SetName(WireName, NameValue),
    SetPrefix(Prefix, SubjectId),
    SetResolver(ResolverKey),
    SetRule(RuleKey, RuleValue),
    SetSettings(Settings),
    SetTarget(u32, Target),
    SetWorkloadByCgroup(u64, Workload),
    SetWorkloadByIfindex(u32, Workload),
}

impl Image {
    /// Carries out `operations` in order.
    pub fn apply(&mut self, operations: &[MapOp]) {
        for operation in operations {
            self.apply_one(operation);
        }
    }

    /// Where workloads are found.
    pub(super) fn places(&self) -> Places {
        let Self { settings, by_cgroup, by_ifindex, .. } = self;
        (*settings, by_cgroup.clone(), by_ifindex.clone())
    }

    pub(super) fn put_back(&mut self, (settings, by_cgroup, by_ifindex): Places) {
        (self.settings, self.by_cgroup, self.by_ifindex) = (settings, by_cgroup, by_ifindex);
    }

    fn apply_one(&mut self, operation: &MapOp) {
        match operation {
            MapOp::RemoveName(name) => {
                self.names.remove(name);
            }
            MapOp::RemovePrefix(prefix) => {
                self.prefixes.remove(prefix);
            }
            MapOp::RemoveResolver(resolver) => {
                self.resolvers.remove(resolver);
            }
            MapOp::RemoveRule(key) => {
                self.rules.remove(key);
            }
            MapOp::RemoveTarget(number) => {
                self.targets.remove(number);
            }
            MapOp::RemoveWorkloadByCgroup(cgroup) => {
                self.by_cgroup.remove(cgroup);
            }
            MapOp::RemoveWorkloadByIfindex(ifindex) => {
                self.by_ifindex.remove(ifindex);
            }
            MapOp::SetName(name, value) => {
                self.names.insert(name.clone(), *value);
            }
            MapOp::SetPrefix(prefix, subject) => {
                self.prefixes.insert(*prefix, *subject);
            }
            MapOp::SetResolver(resolver) => {
                self.resolvers.insert(*resolver);
            }
            MapOp::SetRule(key, value) => {
                self.rules.insert(*key, *value);
            }
            MapOp::SetSettings(settings) => self.settings = Some(*settings),
            MapOp::SetTarget(number, target) => {
                self.targets.insert(*number, target.clone());
            }
            MapOp::SetWorkloadByCgroup(cgroup, workload) => {
                self.by_cgroup.insert(*cgroup, *workload);
            }
            MapOp::SetWorkloadByIfindex(ifindex, workload) => {
                self.by_ifindex.insert(*ifindex, *workload);
            }
        }
    }
}

/// All rule keys of a policy.
pub(crate) fn rules_of(policy: PolicyId) -> RangeInclusive<RuleKey> {
    let last = SubjectId::prefix(u32::MAX);
    rules_between(policy, SubjectId::NONE, last)
}

/// All rule keys of a subject of a policy.
pub(crate) fn rules_at(policy: PolicyId, subject: SubjectId) -> RangeInclusive<RuleKey> {
    rules_between(policy, subject, subject)
}

fn rules_between(policy: PolicyId, first: SubjectId, last: SubjectId) -> RangeInclusive<RuleKey> {
    let end = RuleKey { kind: u8::MAX, ..RuleKey::new(policy, last, u16::MAX, u8::MAX) };
    RuleKey::new(policy, first, 0, 0)..=end
}

/// All prefixes of a policy.
pub(super) fn prefixes_of(policy: PolicyId) -> RangeInclusive<Prefix> {
    let prefix = |octet: u8| Prefix { policy, address: Address::from_v6([octet; 16]), bits: octet };
    prefix(0)..=prefix(u8::MAX)
}
