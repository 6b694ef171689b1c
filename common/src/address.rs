//! One form for every IP address: 16 bytes, IPv4 as IPv4-mapped IPv6 (RFC 4291 §2.5.5.2).

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

/// An IPv4 or IPv6 address. `::ffff:a.b.c.d` and `a.b.c.d` are the same value.
#[derive(
    Clone,
    Copy,
    Debug,
    Default,
    Eq,
    Hash,
    Ord,
    PartialEq,
    PartialOrd,
    FromBytes,
    Immutable,
    IntoBytes,
    KnownLayout,
)]
#[repr(transparent)]
pub struct Address([u8; 16]);

impl Address {
    /// Prefix length that stands before every IPv4 address in the 16-byte form, in bits.
    pub const V4_PREFIX_BITS: u8 = 96;

    #[inline(always)]
    pub const fn from_v4(octets: [u8; 4]) -> Self {
        let [a, b, c, d] = octets;
        Self([0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, b, c, d])
    }

    #[inline(always)]
    pub const fn from_v6(octets: [u8; 16]) -> Self {
        Self(octets)
    }

    #[inline(always)]
    pub const fn octets(&self) -> [u8; 16] {
        self.0
    }

    #[inline(always)]
    pub const fn is_v4(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, ..])
    }

    /// 127.0.0.0/8 or ::1.
    #[inline(always)]
    pub const fn is_loopback(&self) -> bool {
        matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 127, ..])
            || matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1])
    }

    /// fe80::/10.
    #[inline(always)]
    pub const fn is_v6_link_local(&self) -> bool {
        matches!(self.0, [0xfe, second, ..] if second & 0xc0 == 0x80)
    }

    /// ff00::/8 or 224.0.0.0/4.
    #[inline(always)]
    pub const fn is_multicast(&self) -> bool {
        matches!(self.0, [0xff, ..])
            || matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, a, ..] if a & 0xf0 == 0xe0)
    }

    /// Whether no public name may point here: unspecified, loopback, link-local (which holds the
    /// cloud metadata services), multicast and broadcast. The guard against DNS rebinding.
    #[inline(always)]
    pub const fn is_never_public(&self) -> bool {
        self.is_loopback()
            || self.is_v6_link_local()
            || self.is_multicast()
            || matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 0, ..])
            || matches!(
                self.0,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 169, 254, ..]
            )
            || matches!(
                self.0,
                [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 255, 255, 255, 255]
            )
            || matches!(self.0, [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0])
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
        match address.0 {
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
        for text in [
            "192.0.2.1",
            "10.0.0.1",
            "8.8.8.8",
            "2001:db8::1",
            "fec0::1",
            "fd00::1",
            "::2",
        ] {
            assert!(!address(text).is_never_public(), "{text}");
        }
    }
}
