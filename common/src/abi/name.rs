//! The tables of names.

use super::abi;
use crate::{
    id::SubjectId,
    limits::{NAME_BUFFER_BYTES, NAME_SHORT_BYTES},
};

/// Key of `NAMES_SHORT`: a lower-case wire name with its root byte, filled up with zeros.
pub type NameKeyShort = [u8; NAME_SHORT_BYTES];
/// Key of `NAMES_LONG`, in the same form.
pub type NameKeyLong = [u8; NAME_BUFFER_BYTES];

abi! {
    /// Value of `NAMES_SHORT` and `NAMES_LONG`: what the name means as itself and as a suffix.
    pub struct NameValue (12 bytes) {
        /// Pattern of the name itself, or [`SubjectId::NONE`].
        pub exact: SubjectId,
        /// Pattern of `*.name`, or [`SubjectId::NONE`].
        pub wildcard: SubjectId,
        /// [`name_flag`] bits.
        pub flags: u32,
    }
}

/// Flag bits of a name.
pub mod name_flag {
    /// The name itself lies in `internalDomains`.
    pub const INTERNAL: u32 = 1;
    /// Every name below it lies in `internalDomains`.
    pub const INTERNAL_BELOW: u32 = 2;
}
