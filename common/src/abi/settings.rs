//! The settings that hold for all workloads.

use super::{WildcardLimits, abi};
use crate::{
    bytes::kept,
    limits::{CGROUP_DEPTHS, QUERY_TYPES},
};

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
    pub struct Settings (104 bytes) {
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
        /// Ports of the trusted resolvers: bit `n % 32` for port `n`, see
        /// [`Settings::may_be_resolver`].
        pub resolver_ports: u32,
        /// Record types that may be asked for, a bit each; see [`Settings::may_ask`].
        pub query_types: QueryTypeSet,
        pub wildcards: WildcardLimits,
        /// Where the proxy in a pod takes redirected connections, on loopback.
        pub sidecar_port: u16,
        pub reserved: [u8; 2],
    }
}

const WORD_BITS: usize = u32::BITS as usize;
/// Words of a [`QueryTypeSet`].
const WORDS: usize = QUERY_TYPES / WORD_BITS;

/// A set of record types: bit `n % 32` of word `n / 32` stands for type `n`.
pub type QueryTypeSet = [u32; WORDS];

impl Settings {
    /// The bit of [`Settings::resolver_ports`] that stands for this port, among others.
    #[inline(always)]
    pub const fn resolver_port(port: u16) -> u32 {
        1 << (port % 32)
    }

    /// False if no trusted resolver has this port: so most packets need no look at the table.
    #[inline(always)]
    pub const fn may_be_resolver(&self, port: u16) -> bool {
        self.resolver_ports & Self::resolver_port(port) != 0
    }

    /// Whether questions of this type may leave. Types past the end of the set may not.
    #[inline(always)]
    pub fn may_ask(&self, query_type: u16) -> bool {
        let query_type = usize::from(query_type);
        if query_type >= QUERY_TYPES {
            return false;
        }
        let word = self.query_types.get((query_type / WORD_BITS) & kept(WORDS - 1));
        word.is_some_and(|word| word >> (query_type % WORD_BITS) & 1 != 0)
    }
}

#[cfg(test)]
mod tests {
    use super::{Settings, WildcardLimits};

    #[test]
    fn types_are_bits_of_the_set() {
        let mut settings = Settings {
            generation: 0,
            flags: 0,
            grace_seconds: 0,
            minimum_ttl_seconds: 0,
            longest_wildcard_bytes: 0,
            cgroup_depths: [0; _],
            resolver_ports: 0,
            query_types: [0; _],
            wildcards: WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 },
            sidecar_port: 0,
            reserved: [0; _],
        };
        assert!((0..=u16::MAX).all(|it| !settings.may_ask(it)));
        settings.query_types[0] = 1 << 1;
        settings.query_types[15] = 1 << 31;
        let mut allowed = (0..=u16::MAX).filter(|it| settings.may_ask(*it));
        assert_eq!([allowed.next(), allowed.next(), allowed.next()], [Some(1), Some(511), None]);
    }
}
