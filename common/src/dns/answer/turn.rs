//! What a pass over an answer came to: a plain number, for a function that the verifier looks at by
//! itself returns nothing else.

use super::{Answer, Heard};
use crate::{id::SubjectId, reason::Reason};

/// The next pass, or the end.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
#[must_use]
pub struct Turn(u32);

impl Turn {
    pub const GO_ON: Self = Self(0);
    pub const DEFER: Self = Self(Self::DEFERS);
    /// The same pass again.
    pub const AGAIN: Self = Self(0x800);
    /// The answer teaches nothing.
    pub const PASS: Self = Self::pass(Reason::AnswerPassed);
    pub const MALFORMED: Self = Self::drop(Reason::DnsMalformed);

    const PASSES: u32 = 0x100;
    const DROPS: u32 = 0x200;
    const DEFERS: u32 = 0x400;

    #[inline(always)]
    pub const fn pass(reason: Reason) -> Self {
        Self(Self::PASSES | reason as u32)
    }

    #[inline(always)]
    pub const fn drop(reason: Reason) -> Self {
        Self(Self::DROPS | reason as u32)
    }

    #[inline(always)]
    pub const fn from_raw(raw: u32) -> Self {
        Self(raw)
    }

    #[inline(always)]
    pub const fn raw(self) -> u32 {
        self.0
    }

    #[inline(always)]
    pub const fn goes_on(self) -> bool {
        self.0 == 0
    }

    #[inline(always)]
    pub const fn passes(self) -> bool {
        self.0 & Self::PASSES != 0
    }

    #[inline(always)]
    pub const fn defers(self) -> bool {
        self.0 & Self::DEFERS != 0
    }

    /// The reason of an answer that passes or is dropped.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "the low byte is taken on purpose")]
    pub const fn reason(self) -> Reason {
        match Reason::from_u8(self.0 as u8) {
            Some(reason) if !self.defers() => reason,
            _ => Reason::AnswerDeferred,
        }
    }

    /// The outcome, where `pattern` is what was learned for.
    #[inline(always)]
    pub const fn answer(self, pattern: SubjectId) -> Answer {
        let reason = self.reason();
        if self.passes() {
            let pattern =
                if matches!(reason, Reason::AnswerLearned) { pattern } else { SubjectId::NONE };
            Answer::Pass(Heard { reason, pattern })
        } else if self.defers() {
            Answer::Defer
        } else {
            Answer::Drop(reason)
        }
    }
}
