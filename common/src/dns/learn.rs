//! What becomes of an address in an answer: whether it may be learned, for how long, and where it is
//! noted. The kernel and the agent, which learns ahead for workloads that ran before it, do the same.

use crate::{
    abi::{Fact, FactValue},
    address::Address,
    decide::Tables,
    id::PolicyId,
};

/// Longest TTL that is believed, in seconds: a week (RFC 8767 §4 recommends the same cap).
const TTL_MAX: u32 = 7 * 24 * 3600;

/// Whether no answer may open this address, whatever name it is said to have: the guard against DNS
/// rebinding.
#[inline(always)]
pub fn is_guarded<T: Tables>(address: Address, tables: &T) -> bool {
    address.is_never_public() || tables.prefix(PolicyId::INTERNAL, address).is_some()
}

/// Seconds for which an answer with this TTL holds.
#[inline(always)]
pub const fn hold_seconds(ttl: u32, minimum_ttl: u32, grace: u32) -> u32 {
    // RFC 2181 §8: a TTL with the top bit set counts as 0.
    let ttl = if ttl > i32::MAX.cast_unsigned() {
        0
    } else if ttl > TTL_MAX {
        TTL_MAX
    } else {
        ttl
    };
    let ttl = if ttl < minimum_ttl { minimum_ttl } else { ttl };
    ttl.saturating_add(grace)
}

/// What [`place`] did.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub enum Placed {
    /// The value is another one now.
    Changed,
    /// It said so already, for as long or longer.
    Known,
    /// Every slot holds a live fact of another pattern.
    Full,
}

/// Puts a fact into the slot of its pattern, else into one that is empty or expired. Never replaces
/// a live fact of another pattern, and never shortens what an earlier answer promised.
///
/// The kernel does the same slot by slot, because other CPUs write the entry at the same time.
pub fn place(value: &mut FactValue, fact: Fact, now: u32) -> Placed {
    let mut free = None;
    for slot in &mut value.slots {
        let held = Fact::unpack(*slot);
        if held.pattern == fact.pattern {
            if held.expiry >= fact.expiry {
                return Placed::Known;
            }
            *slot = fact.pack();
            return Placed::Changed;
        }
        // An empty slot has expired at second 0.
        if held.expiry < now && free.is_none() {
            free = Some(slot);
        }
    }
    match free {
        Some(slot) => {
            *slot = fact.pack();
            Placed::Changed
        }
        None => Placed::Full,
    }
}

#[cfg(test)]
mod tests {
    use super::{Placed, hold_seconds, place};
    use crate::{
        abi::{Fact, FactValue},
        id::SubjectId,
        limits::FACT_SLOTS,
    };

    fn fact(serial: u32, expiry: u32) -> Fact {
        Fact { pattern: SubjectId::pattern(serial, true, 3), expiry }
    }

    #[test]
    fn a_ttl_is_raised_cut_and_prolonged() {
        let week = 7 * 24 * 3600;
        for (ttl, seconds) in
            [(0, 60), (29, 60), (31, 61), (week, week + 30), (week + 1, week + 30), (1 << 31, 60)]
        {
            assert_eq!(hold_seconds(ttl, 30, 30), seconds, "TTL {ttl}");
        }
        assert_eq!(hold_seconds(5, 0, u32::MAX), u32::MAX);
    }

    #[test]
    fn a_fact_takes_its_own_slot_then_a_free_one_and_never_a_live_one() {
        let mut value = FactValue { slots: [0; FACT_SLOTS] };
        assert_eq!(place(&mut value, fact(1, 50), 10), Placed::Changed);
        assert_eq!(place(&mut value, fact(1, 40), 10), Placed::Known, "a promise is kept");
        assert_eq!(place(&mut value, fact(1, 60), 10), Placed::Changed);
        for serial in 2..=8 {
            assert_eq!(place(&mut value, fact(serial, 100), 10), Placed::Changed);
        }
        assert_eq!(place(&mut value, fact(9, 100), 60), Placed::Full);
        assert_eq!(place(&mut value, fact(9, 100), 61), Placed::Changed, "the first has expired");
        let held: [Fact; FACT_SLOTS] = value.slots.map(Fact::unpack);
        assert!(!held.contains(&fact(1, 60)) && held.contains(&fact(9, 100)));
    }
}
