//! One form for every IP address: 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).

use core::{
    cmp::Ordering,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::bytes::{Veil, hidden};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 or IPv6 address. `::ffff:a.b.c.d` and `a.b.c.d` are the same value.
///
/// Held as four words whose bytes are in network order, so that the kernel side copies and
/// compares words: a byte array would be handled byte by byte there.
#[derive(
    Clone, Copy, Debug, Default, Eq, Hash, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout,
)]
#[repr(transparent)]
pub struct Address([u32; 4]);

/// The third word of every IPv4 address.
const MAPPED: u32 = u32::from_ne_bytes([0, 0, 0xff, 0xff]);

impl Address {
    pub const LOOPBACK_V4: Self = Self::from_v4([127, 0, 0, 1]);
    pub const LOOPBACK_V6: Self = Self([0, 0, 0, 1_u32.to_be()]);

    /// Prefix length that stands before every IPv4 address in the 16-byte form, in bits.
    pub const V4_PREFIX_BITS: u8 = 96;

    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        Self([0, 0, MAPPED, u32::from_ne_bytes(octets)])
    }

    /// From a word whose bytes are in network order.
    #[inline(always)]
    pub const fn from_v4_word(word: u32) -> Self {
        Self([0, 0, MAPPED, word])
    }

    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        let ([w, x, y, z], _) = octets.as_chunks() else {
            return Self([0; 4]);
        };
        Self([
            u32::from_ne_bytes(*w),
            u32::from_ne_bytes(*x),
            u32::from_ne_bytes(*y),
            u32::from_ne_bytes(*z),
        ])
    }

    /// From words whose bytes are in network order, as socket addresses have them.
    #[inline(always)]
    pub const fn from_words(words: [u32; 4]) -> Self {
        Self(words)
    }

    /// Itself for 1, and nothing for 0, without a branch: the verifier follows each way of those
    /// through all that comes after.
    #[inline(always)]
    #[must_use]
    pub const fn times(self, bit: u32) -> Self {
        let [w, x, y, z] = self.0;
        Self([w * bit, x * bit, y * bit, z * bit])
    }

    /// Words whose bytes are in network order.
    #[inline(always)]
    pub const fn words(&self) -> [u32; 4] {
        self.0
    }

    /// The same address, of which the verifier knows nothing: neither that it is one of IPv4 nor that it is not.
    #[inline(always)]
    #[must_use]
    pub fn veiled<V: Veil>(&self, veil: &V) -> Self {
        let [high, low]: [u64; 2] = zerocopy::transmute!(self.0);
        Self(zerocopy::transmute!([hidden(high, veil), hidden(low, veil)]))
    }

    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        zerocopy::transmute!(self.0)
    }

    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        let [w, x, y, _] = self.0;
        w == 0 && x == 0 && y == MAPPED
    }

    /// 127.0.0.0/8 or `::1`.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        let [w, x, y, z] = self.0;
        let last = u32::from_be(z);
        w == 0 && x == 0 && ((y == MAPPED && last >> 24 == 127) || (y == 0 && last == 1))
    }

    /// `fe80::/10`.
    #[inline(always)]
    pub const fn is_v6_link_local(&self) -> bool {
        let [w, ..] = self.0;
        u32::from_be(w) >> 22 == 0xfe80 >> 6
    }

    /// `ff02::/16`: never forwarded off the link.
    #[inline(always)]
    pub const fn is_v6_link_multicast(&self) -> bool {
        let [w, ..] = self.0;
        u32::from_be(w) >> 16 == 0xff02
    }

    /// Whether this can be one end of a conversation on the wire: neither unspecified (with the
    /// rest of 0.0.0.0/8), loopback, multicast nor broadcast.
    #[inline(always)]
    pub const fn is_one_host(&self) -> bool {
        let [w, x, y, z] = self.0;
        let last = u32::from_be(z);
        if w != 0 || x != 0 {
            return u32::from_be(w) >> 24 != 0xff;
        }
        let first_octet = last >> 24;
        match y {
            0 => last > 1,
            MAPPED => {
                first_octet != 0
                    && first_octet != 127
                    && first_octet >> 4 != 0xe
                    && last != u32::MAX
            }
            _ => true,
        }
    }

    /// `0.0.0.0` or `::`.
    #[inline(always)]
    pub const fn is_unspecified(&self) -> bool {
        let [w, x, y, z] = self.0;
        w == 0 && x == 0 && (y == MAPPED || y == 0) && z == 0
    }

    /// Multicast, or `255.255.255.255`.
    #[inline(always)]
    pub const fn is_group(&self) -> bool {
        let [w, x, y, z] = self.0;
        let last = u32::from_be(z);
        u32::from_be(w) >> 24 == 0xff
            || (w == 0 && x == 0 && y == MAPPED && (last >> 28 == 0xe || last == u32::MAX))
    }

    /// Whether no public name may point here: unspecified, loopback, link-local (which holds the
    /// cloud metadata services), multicast and broadcast. The guard against DNS rebinding.
    #[inline(always)]
    pub const fn is_never_public(&self) -> bool {
        let [w, x, y, z] = self.0;
        let last = u32::from_be(z);
        if w != 0 {
            let first = u32::from_be(w);
            return first >> 24 == 0xff || first >> 22 == 0xfe80 >> 6;
        }
        if x != 0 {
            return false;
        }
        if y == 0 {
            return last <= 1;
        }
        let first_octet = last >> 24;
        y == MAPPED
            && (first_octet == 0
                || first_octet == 127
                || first_octet >> 4 == 0xe
                || last >> 16 == 0xa9fe
                || last == u32::MAX)
    }
}

/// In the order of the bytes on the wire, so that ranges of addresses sort as people expect.
impl Ord for Address {
    fn cmp(&self, other: &Self) -> Ordering {
        self.octets().cmp(&other.octets())
    }
}

impl PartialOrd for Address {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl From<IpAddr> for Address {
    fn from(address: IpAddr) -> Self {
        match address {
            IpAddr::V4(v4) => Self::from_v4(v4.octets()),
            IpAddr::V6(v6) => Self::from_v6(v6.octets()),
        }
    }
}

impl From<Address> for IpAddr {
    fn from(address: Address) -> Self {
        match address.octets() {
            [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d] => {
                Self::V4(Ipv4Addr::new(a, b, c, d))
            }
            octets => Self::V6(Ipv6Addr::from(octets)),
        }
    }
}

#[cfg(test)]
mod tests {
    use core::net::IpAddr;

    use super::Address;

    fn address(text: &str) -> Address {
        text.parse::<IpAddr>().expect("a literal address").into()
    }

    #[test]
    fn mapped_and_plain_v4_are_one_value() {
        assert_eq!(address("192.0.2.1"), address("::ffff:192.0.2.1"));
        assert!(IpAddr::from(address("::ffff:192.0.2.1")).is_ipv4());
    }

    #[test]
    fn what_can_be_one_end_of_a_conversation() {
        for text in ["0.0.0.0", "0.9.9.9", "127.0.0.1", "224.0.0.1", "239.9.9.9", "255.255.255.255"]
        {
            assert!(!address(text).is_one_host(), "{text}");
        }
        for text in ["::", "::1", "ff02::1", "ff0e::1"] {
            assert!(!address(text).is_one_host(), "{text}");
        }
        for text in ["1.0.0.1", "10.9.0.2", "169.254.1.1", "240.240.0.1", "255.255.255.254"] {
            assert!(address(text).is_one_host(), "{text}");
        }
        for text in ["::2", "::1:0:0", "fe80::1", "fd00::1", "2001:db8::1", "0:0:1::"] {
            assert!(address(text).is_one_host(), "{text}");
        }
    }

    #[test]
    fn addresses_no_public_name_may_have() {
        for text in [
            "0.0.0.0",
            "0.1.2.3",
            "127.0.0.1",
            "127.9.9.9",
            "169.254.169.254",
            "224.0.0.1",
            "239.1.1.1",
            "255.255.255.255",
            "::",
            "::1",
            "fe80::1",
            "febf::1",
            "ff02::1",
            "::ffff:127.0.0.1",
        ] {
            assert!(address(text).is_never_public(), "{text}");
        }
        for text in ["192.0.2.1", "10.0.0.1", "8.8.8.8", "2001:db8::1", "fec0::1", "fd00::1", "::2"]
        {
            assert!(!address(text).is_never_public(), "{text}");
        }
    }
}
