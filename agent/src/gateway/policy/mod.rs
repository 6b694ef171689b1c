//! What the registry allows this gateway: the agent's compiler and the one function that decides,
//! over tables in memory. Asks nobody and connects nowhere.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};

use exeat_common::{
    abi::{Fact, FactKey, FactValue, RuleKey, Workload as WorkloadValue, mode},
    address::Address,
    decide::{Decision, decide},
    dns::{
        MESSAGE_BUFFER_BYTES, MessageBytes, NameBuffer, learn::is_guarded, match_name,
        message::HEADER, read_name,
    },
    flow::{Flow, protocol},
    id::{PolicyId, SubjectId},
    limits::FACT_SLOTS,
    reason::{Reason, Verdict},
};

use super::{
    host::{Host, HostName},
    refusal::{Cause, Refusal},
};
use crate::{
    config::{Config, Scope, gateway::Gateway},
    endpoints::Known,
    policy::{
        answers::Answers,
        compile::{Compiled, Input, compile},
        directory::Directory,
        ids::Ids,
        image::Image,
        image_tables::{Facts, ImageTables},
        target::Target,
    },
    registry::{
        Registry,
        report::{Code, ObjectRef, Report},
    },
    workloads::{PlacedWorkload, Workload},
};

/// A registry compiled for the gateway. Immutable: another registry is another policy.
#[derive(Debug, Default)]
pub struct Policy {
    image: Image,
    directory: Directory,
    reports: Vec<Report>,
    workload: Option<WorkloadValue>,
    /// A documentation address (RFC 5737) that no prefix of the gateway covers, to ask about a name
    /// alone. None where a prefix covers them all; then addresses decide.
    free: Option<IpAddr>,
}

/// What a name is worth by itself.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Standing {
    /// Declared by this pattern, for some port.
    Granted(SubjectId),
    /// Not declared, and the mode is `ALLOW_ANY`.
    Relaxed,
}

/// One address that a flow may go to.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Way {
    /// The address of the name that was looked at; none if the registry itself says where to.
    pub dialled: Option<IpAddr>,
    pub to: SocketAddr,
}

/// Where a flow may go, and by whose leave.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Leave {
    pub ways: Vec<Way>,
    pub entry: Option<ObjectRef>,
    pub reason: Reason,
}

/// Cgroup id of the only workload: any number.
const CGROUP: u64 = 1;
/// Facts of the moment neither age nor expire.
const NOW: u32 = 1;

impl Policy {
    /// `known` are the addresses of endpoints that are names.
    pub fn new(registry: &Registry, config: &Config, gateway: &Gateway, known: &Known) -> Self {
        // Nothing goes past the registry: a gateway is no client of the cluster's own services, and
        // nobody has to reach a resolver through it.
        let mut config = Config { scope: Scope::All, workloads: Vec::new(), ..config.clone() };
        config.dns.resolvers.clear();
        let workloads = [place(gateway)];
        let answers = Answers { resolved: known.clone(), ..Answers::default() };
        let input = Input { registry, config: &config, workloads: &workloads, answers: &answers };
        let Compiled { image, reports, directory } = compile(&input, &mut Ids::default());
        let workload = image.by_cgroup.get(&CGROUP).copied();
        let free = workload.and_then(|it| unclaimed_address(&image, it.policy));
        Self { image, directory, reports, workload, free }
    }

    /// What the compiler had to say.
    pub fn reports(&self) -> &[Report] {
        &self.reports
    }

    /// Whether a resolver may be asked for the name, as the kernel asks it of a pod's question.
    pub fn standing(&self, name: &HostName) -> Result<Standing, Refusal> {
        let refused = |reason: Reason| Refusal {
            nearest: self.directory.nearest(name.as_str()),
            ..reason.into()
        };
        let workload = self.workload.as_ref().ok_or_else(|| refused(Reason::UnknownWorkload))?;
        let pattern = self.pattern(name).ok_or_else(|| refused(Reason::NameNotGranted))?;
        let grant = RuleKey::grant(workload.policy, pattern);
        if pattern.is_some() && self.image.rules.contains_key(&grant) {
            Ok(Standing::Granted(pattern))
        } else if workload.mode == mode::ALLOW_ANY {
            Ok(Standing::Relaxed)
        } else {
            Err(refused(Reason::NameNotGranted))
        }
    }

    /// The most specific pattern of a name, found by the kernel's own function.
    fn pattern(&self, name: &HostName) -> Option<SubjectId> {
        let wire = name.wire();
        let length = HEADER + wire.as_bytes().len();
        let mut bytes = Box::new([0; MESSAGE_BUFFER_BYTES]);
        bytes.get_mut(HEADER..length)?.copy_from_slice(wire.as_bytes());
        let mut buffer = Box::new(NameBuffer::new());
        self.tables(&Facts::new(), |tables| {
            let message = MessageBytes::new(&bytes, length);
            let name = read_name(&message, HEADER, &mut buffer, tables).ok()?;
            Some(match_name(&buffer, name, tables).pattern)
        })
    }

    /// Where flows for a name go whatever its addresses are: the endpoints that its entry declares.
    pub fn endpoints(&self, standing: Standing, port: u16) -> Option<Leave> {
        let free = self.free?;
        let (decision, _) = self.decide(Some(standing), free, port);
        let target = self.target(&decision)?;
        let ways = ways(target, None)?;
        (!ways.is_empty()).then(|| self.leave(&decision, port, ways))
    }

    /// Whether the name may be dialled on that port, for a further gateway that resolves it itself.
    pub fn by_name(&self, standing: Standing, port: u16) -> Result<Leave, Refusal> {
        let free = self.free.ok_or(Refusal::from(Reason::NotRegistered))?;
        let (decision, _) = self.decide(Some(standing), free, port);
        match decision.verdict {
            Verdict::Allow | Verdict::Redirect => Ok(self.leave(&decision, port, Vec::new())),
            Verdict::Deny => Err(self.refusal(&decision, port)),
        }
    }

    /// Where a flow goes that is for this address: of a name, or bare.
    pub fn address(
        &self,
        standing: Option<Standing>,
        address: IpAddr,
        port: u16,
    ) -> Result<Leave, Refusal> {
        let address = address.to_canonical();
        if !may_be_dialled(address) {
            return Err(Reason::AddressGuarded.into());
        }
        let (decision, is_internal) = self.decide(standing, address, port);
        let refused = |reason: Reason| Refusal {
            cause: Cause::Rule(reason),
            ..self.refusal(&decision, port)
        };
        match (decision.verdict, decision.reason) {
            (Verdict::Allow, Reason::Registered) => {
                let way = Way { dialled: Some(address), to: SocketAddr::new(address, port) };
                Ok(self.leave(&decision, port, vec![way]))
            }
            // No mode opens what is internal, and a name that is told so is being rebound.
            (Verdict::Allow, Reason::AllowAny) if !is_internal => {
                let way = Way { dialled: Some(address), to: SocketAddr::new(address, port) };
                Ok(self.leave(&decision, port, vec![way]))
            }
            (Verdict::Redirect, _) => {
                let target = self.target(&decision);
                match target.and_then(|target| ways(target, Some(address))) {
                    Some(ways) if !ways.is_empty() => Ok(self.leave(&decision, port, ways)),
                    _ => Err(refused(Reason::NoRedirect)),
                }
            }
            (Verdict::Allow, Reason::AllowAny) => Err(refused(Reason::AddressGuarded)),
            (Verdict::Deny, Reason::NotRegistered) if is_internal && standing.is_some() => {
                Err(refused(Reason::AddressGuarded))
            }
            // Rules alone open something: exceptions of the kernel are not for what passes through.
            (Verdict::Allow, _) => Err(refused(Reason::NotRegistered)),
            (Verdict::Deny, _) => Err(self.refusal(&decision, port)),
        }
    }

    /// Decides, and says whether the address is one that no answer may open.
    fn decide(&self, standing: Option<Standing>, address: IpAddr, port: u16) -> (Decision, bool) {
        let destination = Address::from(address);
        let is_internal = self.tables(&Facts::new(), |tables| is_guarded(destination, tables));
        let mut facts = Facts::new();
        if let (Some(Standing::Granted(pattern)), Some(workload), false) =
            (standing, &self.workload, is_internal)
        {
            let mut slots = [0; FACT_SLOTS];
            if let Some(slot) = slots.first_mut() {
                *slot = Fact { pattern, expiry: u32::MAX }.pack();
            }
            let key = FactKey { workload: workload.id, address: destination };
            facts.insert(key, FactValue { slots });
        }
        let flow =
            Flow { workload: self.workload.as_ref(), destination, port, protocol: protocol::TCP };
        (self.tables(&facts, |tables| decide(&flow, tables)), is_internal)
    }

    fn tables<T>(&self, facts: &Facts, question: impl FnOnce(&ImageTables<'_>) -> T) -> T {
        question(&ImageTables { image: &self.image, facts, now: NOW })
    }

    fn target(&self, decision: &Decision) -> Option<&Target> {
        if decision.verdict != Verdict::Redirect {
            return None;
        }
        self.image.targets.get(&decision.target)
    }

    fn leave(&self, decision: &Decision, port: u16, ways: Vec<Way>) -> Leave {
        Leave { ways, entry: self.grant(decision, port).map(|it| it.0), reason: decision.reason }
    }

    fn refusal(&self, decision: &Decision, port: u16) -> Refusal {
        let grant = self.grant(decision, port);
        let (entry, code) = grant.map_or((None, None), |(entry, code)| (Some(entry), code));
        Refusal { code, entry, ..decision.reason.into() }
    }

    /// The entry behind a decision, and the code with which it denies.
    fn grant(&self, decision: &Decision, port: u16) -> Option<(ObjectRef, Option<Code>)> {
        let policy = self.workload?.policy;
        let grant = self.directory.grant(policy, decision.subject, port, protocol::TCP);
        if let Some(grant) = grant {
            let code = grant.denied().filter(|_| decision.verdict == Verdict::Deny);
            return Some((ObjectRef::clone(&grant.entry), code));
        }
        let grants = self.directory.grants(policy, decision.subject);
        grants.first().map(|grant| (ObjectRef::clone(&grant.entry), None))
    }
}

impl Host {
    /// What the policy says of the name; nothing of an address.
    pub fn standing(&self, policy: &Policy) -> Result<Option<Standing>, Refusal> {
        match self {
            Self::Name(name) => policy.standing(name).map(Some),
            Self::Address(_) => Ok(None),
        }
    }
}

fn unclaimed_address(image: &Image, policy: PolicyId) -> Option<IpAddr> {
    let mut candidates = (1..=254).map(|last| Ipv4Addr::new(203, 0, 113, last).into());
    candidates.find(|it: &IpAddr| image.longest_prefix(policy, (*it).into()).is_none())
}

/// What only the host itself may dial: its loopback is where its own control pages are.
fn may_be_dialled(address: IpAddr) -> bool {
    let address = Address::from(address);
    address.is_one_host() && !address.is_loopback()
}

/// Where a target leads; none if it takes a dialled address and there is none.
fn ways(target: &Target, dialled: Option<IpAddr>) -> Option<Vec<Way>> {
    let mut ways = Vec::new();
    for backend in &target.backends {
        let address = backend.address.map(|it| it.to_canonical());
        let to = address.or(dialled)?;
        if may_be_dialled(to) {
            // A way by the entry's own endpoint does not hang on what was dialled.
            let dialled = if address.is_some() { None } else { dialled };
            // Weights are shares of the flows: the router begins at a place of its own choice.
            let way = Way { dialled, to: SocketAddr::new(to, backend.port) };
            ways.extend(std::iter::repeat_n(
                way,
                usize::try_from(backend.weight.min(100)).unwrap_or(1),
            ));
        }
    }
    Some(ways)
}

/// The gateway as the compiler knows workloads.
fn place(gateway: &Gateway) -> PlacedWorkload {
    PlacedWorkload {
        workload: Workload {
            key: gateway.key.clone(),
            labels: gateway.labels.clone(),
            cgroup: Some("/gateway".into()),
            interface: None,
            netns: None,
            arrives_past_interface: false,
            addresses: Vec::new(),
            sidecar_cgroup: None,
            is_ambient: false,
            is_exempt: false,
        },
        cgroup_id: Some(CGROUP),
        cgroup_depth: Some(1),
        ifindex: None,
        sidecar_cgroup_id: None,
        netns_cookie: None,
    }
}

#[cfg(test)]
pub(super) mod tests;
