//! What a client calls its destination: a name or an address, read strictly.

use std::{
    fmt,
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use crate::policy::image::WireName;

/// Longest name in text form, without trailing dot (RFC 1035 §2.3.4).
const NAME_BYTES: usize = 253;
/// Longest label (RFC 1035 §2.3.4).
const LABEL_BYTES: usize = 63;

/// A destination without its port.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Host {
    Name(HostName),
    /// IPv4-mapped addresses are IPv4.
    Address(IpAddr),
}

/// A lower-case name without trailing dot.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct HostName(String);

impl Host {
    /// Reads `www.example.com`, `192.0.2.1` or `[2001:db8::1]`.
    ///
    /// Underscores are taken, because there are such names below declared wildcards. Numbers that
    /// old libraries read as addresses (`127.1`, `0x7f000001`) are not: what is no address in four
    /// decimal parts is a name, whose last label is not a number.
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(inner) = text.strip_prefix('[') {
            let address: Ipv6Addr = inner.strip_suffix(']')?.parse().ok()?;
            return Some(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if let Ok(address) = text.parse::<Ipv4Addr>() {
            return Some(Self::Address(address.into()));
        }
        HostName::parse(text).map(Self::Name)
    }
}

impl HostName {
    pub fn parse(text: &str) -> Option<Self> {
        let name = text.strip_suffix('.').unwrap_or(text);
        let is_label = |label: &str| {
            (1..=LABEL_BYTES).contains(&label.len())
                && label.bytes().all(|it| it.is_ascii_alphanumeric() || it == b'-' || it == b'_')
        };
        let last = name.rsplit('.').next().unwrap_or_default();
        let is_number = last.bytes().all(|it| it.is_ascii_digit());
        let is_name = name.len() <= NAME_BYTES && name.split('.').all(is_label) && !is_number;
        is_name.then(|| Self(name.to_ascii_lowercase()))
    }

    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub fn wire(&self) -> WireName {
        let mut wire = Vec::with_capacity(self.0.len() + 2);
        for label in self.0.split('.') {
            // A label has 63 bytes at most.
            wire.push(u8::try_from(label.len()).unwrap_or(u8::MAX));
            wire.extend_from_slice(label.as_bytes());
        }
        wire.push(0);
        WireName(wire)
    }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name.as_str()),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
            Self::Address(address) => address.fmt(formatter),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::{Host, HostName};

    #[test]
    fn names_and_addresses() {
        for (text, shown) in [
            ("WWW.Example.com.", "www.example.com"),
            ("a_b.example.com", "a_b.example.com"),
            ("192.0.2.1", "192.0.2.1"),
            ("[2001:db8::1]", "[2001:db8::1]"),
            ("[::ffff:192.0.2.1]", "192.0.2.1"),
            ("0x7f000001", "0x7f000001"),
        ] {
            let host = Host::parse(text).unwrap_or_else(|| panic!("{text}"));
            assert_eq!(host.to_string(), shown);
        }
        let long = format!("{}.com", "a".repeat(64));
        for text in [
            "",
            ".",
            "..",
            "a..b",
            ".a",
            "a b",
            "*.example.com",
            "127.1",
            "2130706433",
            "1.2.3.4.5",
            "2001:db8::1",
            "[2001:db8::1",
            "[fe80::1%eth0]",
            "a@b.com",
            "a.com\0",
            "a.com/",
            &long,
        ] {
            assert_eq!(Host::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn a_name_on_the_wire() {
        let name = HostName::parse("Www.Example.com").expect("a name");
        assert_eq!(name.wire().as_bytes(), b"\x03www\x07example\x03com\0");
    }

    proptest! {
        #[test]
        fn a_name_stays_what_it_is(text in "[a-zA-Z0-9_.-]{0,260}") {
            if let Some(name) = HostName::parse(&text) {
                prop_assert_eq!(HostName::parse(name.as_str()), Some(name.clone()));
                prop_assert!(name.wire().as_bytes().len() <= 255);
            }
        }
    }
}
