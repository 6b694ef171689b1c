//! Workloads without a veth of their own: what their sockets may be, and their packets where those
//! sockets send and receive them.
//!
//! It is the judgement of the wire layer, with what is different so close to the sockets: loopback
//! is seen, and whoever sends is inside the enforced tree himself.

use crate::{
    abi::{Workload, workload_flag},
    address::Address,
    decide::{Decision, Tables},
    flow::protocol,
    memory::Memory,
    packet::Packet,
    reason::{Layer, Reason},
    wire::{self, Arrive, Leave},
};

/// Port of DNS (RFC 1035 §4.2).
const DNS_PORT: u16 = 53;

/// Socket types and the one protocol beyond 255 (socket(2); RFC 8684 over `IPPROTO_MPTCP`).
mod socket {
    pub(super) const STREAM: u32 = 1;
    pub(super) const DATAGRAM: u32 = 2;
    pub(super) const MPTCP: u32 = 262;
}

const TCP: u32 = protocol::TCP as u32;
const UDP: u32 = protocol::UDP as u32;
const ICMP: u32 = protocol::ICMP as u32;
const ICMPV6: u32 = protocol::ICMPV6 as u32;

/// Whether packets that leave are judged at the sockets.
#[inline(always)]
pub const fn leaves_here(workload: &Workload) -> bool {
    workload.flags & (workload_flag::ON_WIRE | workload_flag::EXEMPT) == 0
}

/// Whether packets that arrive pass the host side of the veth by.
#[inline(always)]
pub const fn is_past_wire(workload: &Workload) -> bool {
    workload.flags & workload_flag::PAST_WIRE != 0
}

/// Whether packets that arrive are looked at where the sockets receive them.
#[inline(always)]
pub const fn arrives_here(workload: &Workload) -> bool {
    workload.flags & workload_flag::EXEMPT == 0
        && (is_past_wire(workload) || workload.flags & workload_flag::ON_WIRE == 0)
}

/// Which layer judges packets that leave.
#[inline(always)]
pub(crate) const fn layer_of_leaving(workload: &Workload) -> Layer {
    if leaves_here(workload) { Layer::Cgroup } else { Layer::Wire }
}

/// Which layer looks at packets that arrive.
#[inline(always)]
pub(crate) const fn layer_of_arriving(workload: &Workload) -> Layer {
    if arrives_here(workload) { Layer::Cgroup } else { Layer::Wire }
}

/// Whether the workload may have internet sockets in the network namespace with this cookie.
///
/// What arrives at a socket teaches addresses and opens ways back. In a namespace that a process
/// made for itself it is also whoever it wants to be: the resolver, and any host at all.
#[inline(always)]
pub const fn is_at_home(workload: &Workload, netns_cookie: u64) -> bool {
    !arrives_here(workload) || workload.netns_cookie == netns_cookie
}

/// Whether a workload whose packets are judged here may have a socket of this type and protocol.
/// Raw sockets, and transports that no entry can declare, are refused before they exist. ICMP
/// stands for ping sockets, whose packets are judged as they leave.
#[inline(always)]
pub const fn may_create(kind: u32, protocol: u32) -> bool {
    matches!(
        (kind, protocol),
        (socket::STREAM, TCP | socket::MPTCP) | (socket::DATAGRAM, UDP | ICMP | ICMPV6)
    )
}

/// Judges a packet that a socket of the workload sends. `on_loopback` says that it goes to this
/// very network namespace.
#[inline(always)]
pub fn leave<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    on_loopback: bool,
    memory: &M,
) -> Leave {
    if impersonates(workload, packet, memory) {
        return Leave::Judged(Decision::deny(Reason::SpoofedSource));
    }
    if on_loopback && packet.destination.is_loopback() {
        return leave_by_loopback(packet, memory);
    }
    wire::leave(Some(workload), packet, memory)
}

/// Loopback goes to processes of this host, or of the workload's own namespace. But a question to
/// a name server there would be carried on, so it must be one that is trusted to be asked.
#[inline(always)]
fn leave_by_loopback<T: Tables>(packet: &Packet, tables: &T) -> Leave {
    if !is_transport(packet) {
        return Leave::Judged(Decision::allow(Reason::Loopback));
    }
    if tables.is_resolver(packet.destination, packet.destination_port) {
        return if packet.protocol == protocol::TCP && packet.payload_length == 0 {
            Leave::Judged(Decision::allow(Reason::TrustedResolver))
        } else {
            Leave::Query
        };
    }
    if packet.destination_port == DNS_PORT {
        return Leave::Judged(Decision::deny(Reason::NotRegistered));
    }
    Leave::Judged(Decision::allow(Reason::Loopback))
}

/// Looks at a packet that a socket of the workload is about to receive.
#[inline(always)]
pub fn arrive<M: Memory>(
    workload: &Workload,
    packet: &Packet,
    on_loopback: bool,
    memory: &M,
) -> Arrive {
    if on_loopback && workload.flags & workload_flag::ON_WIRE != 0 {
        // Its egress is not judged here, so it could be answering itself.
        return Arrive::Pass;
    }
    if packet.source.is_loopback() {
        let is_answer = on_loopback
            && is_transport(packet)
            && memory.is_resolver(packet.source, packet.source_port);
        if !is_answer {
            return Arrive::Pass;
        }
    }
    // The socket was found by the packet's destination, so it is for the workload.
    wire::receive(workload, packet, memory)
}

/// Under which address a query to a resolver is remembered, or a connection. At the sockets that is
/// none: what leaves is seen after the host has translated its addresses, and what comes back after
/// they were translated back. The rest of the key is as elsewhere, and all who answer are trusted.
#[inline(always)]
pub const fn asked_at(workload: &Workload, address: Address) -> Address {
    address.times(((workload.flags / workload_flag::ON_WIRE) & 1) as u32)
}

/// Whether the packet would pass for the answer of a trusted resolver: a workload that could send
/// those would learn whatever it tells itself. It may, from an address that is declared to be its
/// own: then it is the resolver.
#[inline(always)]
fn impersonates<T: Tables>(workload: &Workload, packet: &Packet, tables: &T) -> bool {
    is_transport(packet)
        && tables.is_resolver(packet.source, packet.source_port)
        && (workload.address_count == 0 || !wire::is_own_source(workload, packet))
}

#[inline(always)]
fn is_transport(packet: &Packet) -> bool {
    matches!(packet.protocol, protocol::UDP | protocol::TCP)
}
