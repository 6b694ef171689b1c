//! The last pass: an address that counts becomes a fact, unless it is guarded.

use super::{Room, entry};
use crate::{
    abi::FactKey,
    address::Address,
    dns::{
        learn::{hold_seconds, is_guarded},
        message::MessageBytes,
    },
    id::{PolicyId, SubjectId, WorkloadId},
    memory::Memory,
    reason::{Layer, Reason},
};

/// Where an address lies in the message, and the fixed part of its record.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) struct Place {
    pub(super) data: usize,
    pub(super) fixed: usize,
    pub(super) is_v6: bool,
}

impl Place {
    const V6: u32 = 0x8000;

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    pub(super) const fn pack(self) -> u32 {
        let family = if self.is_v6 { Self::V6 } else { 0 };
        (self.data as u32) << 16 | family | self.fixed as u32
    }

    #[inline(always)]
    const fn unpack(word: u32) -> Self {
        Self {
            data: (word >> 16) as usize,
            fixed: (word & (Self::V6 - 1)) as usize,
            is_v6: word & Self::V6 != 0,
        }
    }
}

/// One address that a workload was told.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Lesson {
    pub workload: WorkloadId,
    pub policy: PolicyId,
    pub pattern: SubjectId,
    pub address: Address,
    /// As in the answer, in seconds.
    pub ttl: u32,
}

/// Learns the address number `index` of those that [`follow()`](super::follow()) and
/// [`hints()`](super::hints()) left.
#[inline(always)]
pub fn learn<M: Memory>(message: &MessageBytes<'_>, room: &Room, index: usize, memory: &M) {
    let Some(word) = entry(&room.addresses, index) else {
        return;
    };
    let place = Place::unpack(word);
    let bytes = if place.is_v6 { 16 } else { 4 };
    if place.data + bytes > message.length() {
        return;
    }
    // Not an `Option` of either: where its payload is undefined, LLVM spills a register that the
    // verifier knows to be dead.
    let address = if place.is_v6 {
        Address::from_v6(message.residue(place.data))
    } else {
        Address::from_v4(message.residue(place.data))
    };
    // Type and class come before the TTL.
    let Some(ttl) = message.u32(place.fixed + 4) else {
        return;
    };
    let reading = &room.reading;
    let lesson = Lesson {
        workload: reading.workload,
        policy: reading.policy,
        pattern: reading.pattern,
        address,
        ttl,
    };
    teach(&lesson, memory);
}

/// Makes a fact of an address, unless no public name may have it.
#[inline(always)]
pub fn teach<M: Memory>(lesson: &Lesson, memory: &M) {
    let Lesson { workload, policy, pattern, address, ttl } = *lesson;
    if is_guarded(address, memory) {
        // If an entry lists the address, it is open for that entry, with no name needed.
        if memory.prefix(policy, address).is_none() {
            memory.note(workload, Layer::Dns, Reason::AddressGuarded);
        }
        return;
    }
    let hold = hold_seconds(ttl, memory.minimum_ttl_seconds(), memory.grace_seconds());
    let expiry = memory.now().saturating_add(hold);
    if let Err(full) = memory.learn(&FactKey { workload, address }, pattern, expiry) {
        memory.note(workload, Layer::Dns, full.reason());
    }
}
