//! Facts: what a workload was told an address is called.

use super::abi;
use crate::{
    address::Address,
    id::{SubjectId, WorkloadId},
    limits::FACT_SLOTS,
};

abi! {
    /// Key of `FACTS`.
    pub struct FactKey (20 bytes) {
        pub workload: WorkloadId,
        pub address: Address,
    }
}

abi! {
    /// Value of `FACTS`, packed [`Fact`]s; the kernel reads and writes each slot whole.
    pub struct FactValue (64 bytes) {
        pub slots: [u64; FACT_SLOTS],
    }
}

/// One name of an address: the pattern and when it ends. Packed into a `u64`, so that it is read
/// and written whole. 0 is an empty slot.
#[derive(Clone, Copy, Debug, Default, Eq, PartialEq)]
pub struct Fact {
    pub pattern: SubjectId,
    /// Seconds of the monotonic clock.
    pub expiry: u32,
}

impl Fact {
    #[inline(always)]
    pub const fn pack(self) -> u64 {
        (self.pattern.raw() as u64) << 32 | self.expiry as u64
    }

    #[inline(always)]
    #[expect(
        clippy::cast_possible_truncation,
        reason = "each half of the word is taken on purpose"
    )]
    pub const fn unpack(word: u64) -> Self {
        Self { pattern: SubjectId::new((word >> 32) as u32), expiry: word as u32 }
    }
}

#[cfg(test)]
mod tests {
    use super::Fact;
    use crate::id::SubjectId;

    #[test]
    fn facts_pack_whole() {
        let fact = Fact { pattern: SubjectId::pattern(9, true, 3), expiry: 0xdead_beef };
        assert_eq!(Fact::unpack(fact.pack()), fact);
        assert_eq!(Fact::default().pack(), 0);
    }
}
