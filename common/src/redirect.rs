//! Where a redirected flow goes: which backend of its target, and what a socket then remembers of it.

use crate::{
    abi::{BackendKey, BackendValue, Redirect, TargetValue, Workload, target_kind},
    address::Address,
    bytes::kept,
    decide::{Tables, is_still_redirected},
    flow::{Flow, protocol},
    id::{SubjectId, WorkloadId},
    limits::{FLOW_IDLE_DATAGRAM_SECONDS, PEER_SLOTS},
    reason::Reason,
};

/// What targets list.
pub trait Backends {
    /// One backend of a target; none past the last.
    fn backend(&self, key: &BackendKey) -> Option<BackendValue>;
}

/// The tables a choice reads.
pub trait Targets: Backends {
    fn target(&self, number: u32) -> Option<&TargetValue>;
    /// Another number at every call, all alike probable.
    fn random(&self) -> u32;
    /// Where the proxy in a pod listens, on loopback.
    fn sidecar_port(&self) -> u16;
}

/// One end of a flow.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct End {
    pub address: Address,
    /// Host order.
    pub port: u16,
}

/// What matters of the socket that is to be redirected.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "each is a question of its own about one socket")]
pub struct Caller {
    /// The call comes from the workload's own proxy.
    pub is_sidecar: bool,
    /// It may go to an address of the other family: an IPv6 socket that connects.
    pub may_cross: bool,
    /// Its packets leave by a certain interface, so never by loopback.
    pub is_bound_to_device: bool,
    /// It makes its own headers.
    pub is_raw: bool,
}

/// Where a flow goes whose rule names `target`. For the proxy itself that is where it dialled: what is
/// sent to a proxy comes out of it again.
#[inline(always)]
pub fn send<T: Targets>(
    target: u32,
    flow: &Flow<'_>,
    caller: Caller,
    tables: &T,
) -> Result<End, Reason> {
    // Echo has no port that could be another one.
    if caller.is_raw || !matches!(flow.protocol, protocol::TCP | protocol::UDP) {
        return Err(Reason::NoRedirect);
    }
    let Some(found) = tables.target(target) else {
        return Err(Reason::NoUpstream);
    };
    if found.kind == target_kind::SIDECAR {
        return to_sidecar(flow, caller, tables);
    }
    let is_v4 = flow.destination.is_v4();
    let Some(backend) = choose(target, found, is_v4, caller.may_cross, tables) else {
        return Err(Reason::NoUpstream);
    };
    // Zero is the address that was dialled.
    let is_dialled = backend.address == Address::default();
    let address = if is_dialled { flow.destination } else { backend.address };
    Ok(End { address, port: backend.port })
}

#[inline(always)]
fn to_sidecar<T: Targets>(flow: &Flow<'_>, caller: Caller, tables: &T) -> Result<End, Reason> {
    let is_there = flow.workload.is_some_and(|workload| workload.sidecar_cgroup != 0);
    // Whoever comes from an unknown proxy would be sent back to it, without end.
    if !is_there {
        return Err(Reason::NoSidecar);
    }
    if caller.is_sidecar {
        return Ok(End { address: flow.destination, port: flow.port });
    }
    if caller.is_bound_to_device {
        return Err(Reason::NoRedirect);
    }
    // A socket that takes IPv6 alone cannot reach the IPv4 loopback.
    let is_v4 = flow.destination.is_v4();
    let address = if is_v4 { Address::LOOPBACK_V4 } else { Address::LOOPBACK_V6 };
    Ok(End { address, port: tables.sidecar_port() })
}

/// One of the backends of a family, each as often as its weight says.
#[inline(always)]
fn choose<T: Targets>(
    number: u32,
    target: &TargetValue,
    is_v4: bool,
    may_cross: bool,
    tables: &T,
) -> Option<BackendValue> {
    let (v4, v6) = ((0, target.v4), (target.v4, target.v6));
    let (own, other) = if is_v4 { (v4, v6) } else { (v6, v4) };
    let (first, count) = if own.1 == 0 && may_cross { other } else { own };
    let index = first + tables.random().checked_rem(count)?;
    let drawn = tables.backend(&BackendKey { target: number, index })?;
    if tables.random() < drawn.chance {
        return Some(drawn);
    }
    tables.backend(&BackendKey { target: number, index: drawn.alias })
}

/// What the wire layer asks about a packet's socket: who sent it elsewhere, and why.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Passage {
    pub workload: WorkloadId,
    pub subject: SubjectId,
    pub dialled_port: u16,
}

impl Passage {
    /// Whether the rule that sent the socket elsewhere still does.
    #[inline(always)]
    pub fn stands<T: Tables>(&self, workload: &Workload, protocol: u8, tables: &T) -> bool {
        self.workload == workload.id
            && is_still_redirected(workload, self.subject, (self.dialled_port, protocol), tables)
    }
}

impl Redirect {
    /// The passage to `to`, if this is where the socket's packets go.
    #[inline(always)]
    pub fn passage(&self, to: Address, port: u16) -> Option<Passage> {
        let Self { workload, subject, dialled_port, .. } = *self;
        self.goes_to(to, port).then_some(Passage { workload, subject, dialled_port })
    }

    #[inline(always)]
    pub fn goes_to(&self, to: Address, port: u16) -> bool {
        self.sent_to_port == port && port != 0 && self.sent_to == to
    }

    #[inline(always)]
    fn came_from(&self, dialled: End) -> bool {
        self.sent_to_port != 0
            && self.dialled_port == dialled.port
            && self.dialled == dialled.address
    }
}

/// What a datagram socket without a peer was redirected from and to.
pub type Peers = [Redirect; PEER_SLOTS];

/// The slot of what was dialled, if the socket sent there before.
#[inline(always)]
pub fn peer_of(peers: &Peers, dialled: End) -> Option<usize> {
    let mut index = 0;
    while index < PEER_SLOTS {
        if let Some(slot) = peers.get(index)
            && slot.came_from(dialled)
        {
            return Some(index);
        }
        index += 1;
    }
    None
}

/// The slot for another pair. What comes from `sent_to` is for one of them only, and an answer to the
/// other would seem to come from the wrong end.
#[inline(always)]
pub fn room_for(peers: &Peers, sent_to: End, now: u32) -> Result<usize, Reason> {
    let mut free = None;
    let mut index = 0;
    while index < PEER_SLOTS {
        if let Some(slot) = peers.get(index & kept(PEER_SLOTS - 1)) {
            let is_idle = slot.sent_to_port == 0
                || now.wrapping_sub(slot.last_used) > FLOW_IDLE_DATAGRAM_SECONDS;
            if is_idle {
                free = Some(index);
            } else if slot.goes_to(sent_to.address, sent_to.port) {
                return Err(Reason::PeerTaken);
            }
        }
        index += 1;
    }
    free.ok_or(Reason::ShareUsed)
}
