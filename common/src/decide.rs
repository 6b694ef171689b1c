//! The decision: the only function of the project that makes a verdict about a flow.

use crate::{
    abi::{
        Fact, FactKey, FactValue, NameKeyLong, NameValue, RuleKey, RuleValue, Workload, action,
        mode, setting_flag, workload_flag,
    },
    address::Address,
    bytes::{Veil, hidden},
    flow::{Flow, protocol},
    id::{PolicyId, SubjectId, WorkloadId},
    reason::{Reason, Verdict},
};

/// The tables a decision reads: maps in the kernel, plain collections in tests.
pub trait Tables {
    /// Longest prefix of `policy` that holds `address`.
    fn prefix(&self, policy: PolicyId, address: Address) -> Option<SubjectId>;
    /// What `workload` was told about `address`: packed [`Fact`]s.
    fn facts(&self, key: &FactKey) -> Option<FactValue>;
    fn rule(&self, key: &RuleKey) -> Option<RuleValue>;
    fn is_resolver(&self, address: Address, port: u16) -> bool;
    /// False if no trusted resolver has this port.
    fn may_be_resolver(&self, port: u16) -> bool;
    /// Looks up a wire name of `length` bytes.
    fn name(&self, key: &NameKeyLong, length: usize) -> Option<NameValue>;
    /// [`setting_flag`] bits.
    fn setting_flags(&self) -> u32;
    /// Wire length of the longest wildcard suffix, in bytes.
    fn longest_wildcard_bytes(&self) -> u32;
    /// Seconds of the monotonic clock.
    fn now(&self) -> u32;
}

/// A verdict, why, and what it rests on.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[must_use]
pub struct Decision {
    pub verdict: Verdict,
    pub reason: Reason,
    /// The prefix or pattern that matched, or [`SubjectId::NONE`].
    pub subject: SubjectId,
    /// Where a redirect goes.
    pub target: u32,
}

impl Decision {
    #[inline(always)]
    pub const fn allow(reason: Reason) -> Self {
        Self { verdict: Verdict::Allow, reason, subject: SubjectId::NONE, target: 0 }
    }

    #[inline(always)]
    pub const fn deny(reason: Reason) -> Self {
        Self { verdict: Verdict::Deny, reason, subject: SubjectId::NONE, target: 0 }
    }

    #[inline(always)]
    pub const fn about(self, subject: SubjectId) -> Self {
        Self { subject, ..self }
    }

    /// The same decision, of which the verifier knows nothing: what follows would be verified for each way
    /// to it.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "each part is taken by itself")]
    pub fn veiled<V: Veil>(&self, veil: &V) -> Self {
        let subject = u64::from(self.subject.raw());
        let word = subject << 32 | (self.reason as u64) << 8 | self.verdict as u64;
        let word = hidden(word, veil);
        Self {
            verdict: Verdict::from_u8(word as u8).unwrap_or_default(),
            reason: Reason::from_u8((word >> 8) as u8).unwrap_or_default(),
            subject: SubjectId::new((word >> 32) as u32),
            target: self.target,
        }
    }

    /// The decision where nothing can redirect: the undirected flow is not what was declared, so
    /// it is denied.
    #[inline(always)]
    pub const fn without_redirect(self) -> Self {
        match self.verdict {
            Verdict::Redirect => {
                Self { verdict: Verdict::Deny, reason: Reason::NoRedirect, ..self }
            }
            Verdict::Allow | Verdict::Deny => self,
        }
    }
}

/// Judges one flow. The first step that decides wins:
///
/// 1. unknown workload → deny; loopback or exempt → allow
/// 2. DNS to a trusted resolver → allow, for the DNS path to look at; an address inside the
///    cluster under `scope: external` → allow
/// 3. the most specific of: longest prefix (an exact address is the longest), exact learned name,
///    longest learned wildcard, any address at all. It must have a rule for this port and
///    protocol; if the names of one address disagree, a redirect beats a direct rule,
///    then the more specific pattern counts, then a denial
/// 4. the action of that rule; what cannot be enforced → deny with its reason
/// 5. nothing matched → deny; under `ALLOW_ANY` allow, and count what would have been denied;
///    under `GATEWAY` the workload's default target
#[inline(always)]
pub fn decide<T: Tables + Veil>(flow: &Flow<'_>, tables: &T) -> Decision {
    // Step 1.
    let Some(workload) = flow.workload else {
        return Decision::deny(Reason::UnknownWorkload);
    };
    if flow.destination.is_loopback() {
        return Decision::allow(Reason::Loopback);
    }
    if workload.flags & workload_flag::EXEMPT != 0 {
        return Decision::allow(Reason::Exempt);
    }
    // What was just found out about the address would split all that follows.
    let flow = &Flow { destination: flow.destination.veiled(tables), ..*flow };

    // Step 2.
    if matches!(flow.protocol, protocol::UDP | protocol::TCP)
        && tables.is_resolver(flow.destination, flow.port)
    {
        return Decision::allow(Reason::TrustedResolver);
    }
    if is_cluster_internal(flow.destination, tables) {
        return Decision::allow(Reason::ClusterInternal);
    }

    // Steps 3 and 4.
    let by_prefix = match tables.prefix(workload.policy, flow.destination) {
        Some(subject) => match tables.rule(&rule_key(workload.policy, subject, flow)) {
            Some(rule) => return act(subject, rule),
            None => Decision::deny(Reason::PortNotDeclared).about(subject),
        },
        None => Decision::deny(Reason::NotRegistered),
    };
    let by_name = decide_by_name(workload.id, workload.policy, flow, tables);
    if by_name.verdict != Verdict::Deny || !is_absence(by_name.reason) {
        return by_name;
    }

    let anywhere = RuleKey::new(workload.policy, SubjectId::ANYWHERE, flow.port, flow.protocol);
    if let Some(rule) = tables.rule(&anywhere) {
        return act(SubjectId::ANYWHERE, rule);
    }

    // Step 5.
    match workload.mode {
        mode::ALLOW_ANY => return Decision::allow(Reason::AllowAny),
        mode::GATEWAY => {
            return Decision {
                verdict: Verdict::Redirect,
                target: workload.default_target,
                ..Decision::allow(Reason::AllowAny)
            };
        }
        _ => {}
    }
    if matches!(by_name.reason, Reason::NotRegistered) { by_prefix } else { by_name }
}

/// Whether `address` lies inside the cluster and is therefore left alone.
#[inline(always)]
pub fn is_cluster_internal<T: Tables>(address: Address, tables: &T) -> bool {
    tables.setting_flags() & setting_flag::SCOPE_EXTERNAL != 0
        && tables.prefix(PolicyId::INTERNAL, address).is_some()
}

/// Whether a rule still sends flows elsewhere that were dialled on this port, as it did when one began. Where
/// to plays no part: a backend that is gone takes no new flows, and what it has goes on.
#[inline(always)]
pub fn is_still_redirected<T: Tables>(
    workload: &Workload,
    subject: SubjectId,
    (dialled_port, protocol): (u16, u8),
    tables: &T,
) -> bool {
    if !subject.is_some() {
        return workload.mode == mode::GATEWAY;
    }
    let key = RuleKey::new(workload.policy, subject, dialled_port, protocol);
    matches!(tables.rule(&key), Some(rule) if rule.action == action::REDIRECT)
}

/// Whether a rule still allows what it allowed when an established flow began. Facts play no part:
/// an answer that expired ends no connection, a rule that is gone does.
#[inline(always)]
pub fn is_still_allowed<T: Tables>(flow: &Flow<'_>, subject: SubjectId, tables: &T) -> bool {
    let Some(workload) = flow.workload else {
        return false;
    };
    match tables.rule(&rule_key(workload.policy, subject, flow)) {
        Some(rule) => rule.action == action::ALLOW,
        None => false,
    }
}

/// The key of the rule that governs `flow`. Echo has no port: it needs the grant alone.
#[inline(always)]
fn rule_key(policy: PolicyId, subject: SubjectId, flow: &Flow<'_>) -> RuleKey {
    match flow.protocol {
        protocol::ICMP | protocol::ICMPV6 => RuleKey::grant(policy, subject),
        other => RuleKey::new(policy, subject, flow.port, other),
    }
}

/// Step 3 for learned names: the best rule among the live facts about the address.
#[inline(always)]
fn decide_by_name<T: Tables + Veil>(
    workload: WorkloadId,
    policy: PolicyId,
    flow: &Flow<'_>,
    tables: &T,
) -> Decision {
    let Some(known) = tables.facts(&FactKey { workload, address: flow.destination }) else {
        return Decision::deny(Reason::NotRegistered);
    };
    let now = tables.now();
    // Words of which the verifier knows nothing after each step, so that it need not follow all that a step
    // may have found. The best rule and, above its subject, its weight:
    let mut best = 0;
    let mut best_rule = 0;
    // What is missing, above its subject, where there is no rule.
    let mut absent = 0;
    for word in known.slots {
        let fact = Fact::unpack(word);
        if !fact.pattern.is_some() {
            continue;
        }
        let subject = u64::from(fact.pattern.raw());
        if fact.expiry < now {
            absent = larger(absent, EXPIRED << 32 | subject, tables);
        } else if let Some(rule) = tables.rule(&rule_key(policy, fact.pattern, flow)) {
            let candidate = u64::from(weight(rule)) << 32 | subject;
            if candidate > hidden(best, tables) {
                best = hidden(candidate, tables);
                best_rule = hidden(zerocopy::transmute!(rule), tables);
            }
        } else {
            absent = larger(absent, PORT_MISSING << 32 | subject, tables);
        }
    }
    if best != 0 {
        return act(subject_in(best), zerocopy::transmute!(best_rule));
    }
    match absent >> 32 {
        PORT_MISSING => Decision::deny(Reason::PortNotDeclared).about(subject_in(absent)),
        EXPIRED => Decision::deny(Reason::NameExpired).about(subject_in(absent)),
        _ => Decision::deny(Reason::NotRegistered),
    }
}

/// What may be missing, the more telling one larger.
const EXPIRED: u64 = 1;
const PORT_MISSING: u64 = 2;

#[inline(always)]
fn larger<V: Veil>(a: u64, b: u64, veil: &V) -> u64 {
    if b > hidden(a, veil) { hidden(b, veil) } else { a }
}

#[inline(always)]
#[expect(clippy::cast_possible_truncation, reason = "the subject is the lower half")]
const fn subject_in(word: u64) -> SubjectId {
    SubjectId::new(word as u32)
}

/// What decides between the names of one address: a redirect beats a direct rule, then the pattern
/// counts that the rule was declared for, then a denial. The subject does not say it: it may be the
/// longer pattern of another policy, which carries the rules of the shorter one.
/// Never 0.
#[inline(always)]
pub fn weight(rule: RuleValue) -> u32 {
    let redirects = u32::from(rule.action == action::REDIRECT);
    let denies = u32::from(rule.action != action::REDIRECT && rule.action != action::ALLOW);
    redirects << 17 | u32::from(rule.rank) << 9 | denies << 8 | 1
}

/// Step 4.
#[inline(always)]
fn act(subject: SubjectId, rule: RuleValue) -> Decision {
    match rule.action {
        action::ALLOW => Decision::allow(Reason::Registered).about(subject),
        action::REDIRECT => Decision {
            verdict: Verdict::Redirect,
            reason: Reason::Registered,
            subject,
            target: rule.target,
        },
        _ => Decision::deny(denial_of(rule)).about(subject),
    }
}

/// The reason a deny rule carries; a number that is no denial's is still a denial.
#[inline(always)]
fn denial_of(rule: RuleValue) -> Reason {
    match Reason::from_u8(rule.reason) {
        Some(reason @ (Reason::NoUpstream | Reason::NoRoute | Reason::RouteUnknown)) => reason,
        _ => Reason::Unsupported,
    }
}

/// Whether a denial means that nothing matched, so that step 5 applies.
#[inline(always)]
fn is_absence(reason: Reason) -> bool {
    matches!(reason, Reason::NotRegistered | Reason::PortNotDeclared | Reason::NameExpired)
}
