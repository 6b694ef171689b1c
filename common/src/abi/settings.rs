//! The settings that hold for all workloads.

use super::abi;
use crate::limits::CGROUP_DEPTHS;

/// Switches of [`Settings::flags`].
pub mod setting_flag {
    /// `scope: external`: what is inside `clusterCidrs` is left alone.
    pub const SCOPE_EXTERNAL: u32 = 1;
    /// `denied: ECONNREFUSED` instead of EPERM.
    pub const DENY_REFUSED: u32 = 2;
    /// `dns.denied: REFUSED` instead of NXDOMAIN.
    pub const DNS_REFUSED: u32 = 4;
}

abi! {
    /// The one value of `SETTINGS` (array, index 0).
    pub struct Settings (28 bytes) {
        /// Raised with every change of rules; established flows are judged again.
        pub generation: u32,
        /// [`setting_flag`] bits.
        pub flags: u32,
        pub grace_seconds: u32,
        pub minimum_ttl_seconds: u32,
        /// Wire length of the longest wildcard suffix, in bytes; longer suffixes of a name are not
        /// looked up.
        pub longest_wildcard_bytes: u32,
        /// Levels below the cgroup2 root at which workloads are found, deepest first; 0 ends it.
        pub cgroup_depths: [u8; CGROUP_DEPTHS],
        pub reserved: u32,
    }
}
