//! Addresses and prefixes of the registry: masked, IPv4-mapped IPv6 turned into IPv4.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use exeat_common::address::Address;
use ipnet::{IpNet, Ipv4Net, Ipv6Net};

/// Reads `192.0.2.1`, `192.0.2.7/24` (masked) or their IPv6 forms; a plain address is a prefix of
/// full length. `None` if it is neither.
pub fn parse(text: &str) -> Option<IpNet> {
    let net = match text.parse::<IpNet>() {
        Ok(net) => net,
        Err(_) => IpNet::from(text.parse::<IpAddr>().ok()?),
    };
    Some(normalize(net))
}

/// Masks `net` and turns what lies inside `::ffff:0:0/96` into IPv4.
pub fn normalize(net: IpNet) -> IpNet {
    if let IpNet::V6(v6) = net
        && v6.prefix_len() >= Address::V4_PREFIX_BITS
        && let Some(v4) = v6.addr().to_ipv4_mapped()
        && let Ok(v4) = Ipv4Net::new(v4, v6.prefix_len() - Address::V4_PREFIX_BITS)
    {
        return IpNet::V4(v4.trunc());
    }
    net.trunc()
}

/// Length in bits of the 16-byte form, where IPv4 stands behind 96 fixed bits.
pub fn bits(net: IpNet) -> u8 {
    match net {
        IpNet::V4(v4) => v4.prefix_len() + Address::V4_PREFIX_BITS,
        IpNet::V6(v6) => v6.prefix_len(),
    }
}

/// The prefix of `bits` bits of the 16-byte form.
pub fn from_bits(address: Address, bits: u8) -> Option<IpNet> {
    Ipv6Net::new(Ipv6Addr::from(address.octets()), bits).ok().map(|net| normalize(IpNet::V6(net)))
}

/// Whether an IPv6 prefix is so short that its 16-byte form holds every IPv4 address too. In the
/// words of the registry it holds none.
pub fn swallows_ipv4(net: IpNet) -> bool {
    matches!(net, IpNet::V6(v6) if v6.contains(&Ipv4Addr::UNSPECIFIED.to_ipv6_mapped()))
}

#[cfg(test)]
mod tests {
    use exeat_common::address::Address;

    use super::{bits, from_bits, parse, swallows_ipv4};

    #[track_caller]
    fn check(text: &str, expected: Option<(&str, u8)>) {
        let got = parse(text).map(|net| (net.to_string(), bits(net)));
        assert_eq!(got, expected.map(|(text, bits)| (text.to_owned(), bits)), "{text}");
        if let Some(net) = parse(text) {
            assert_eq!(from_bits(Address::from(net.addr()), bits(net)), Some(net));
        }
    }

    #[test]
    fn forms() {
        check("192.0.2.1", Some(("192.0.2.1/32", 128)));
        check("192.192.192.192/24", Some(("192.192.192.0/24", 120)));
        check("0.0.0.0/0", Some(("0.0.0.0/0", 96)));
        check("2001:db8::1", Some(("2001:db8::1/128", 128)));
        check("2001:db8::1/32", Some(("2001:db8::/32", 32)));
        check("::ffff:192.0.2.1", Some(("192.0.2.1/32", 128)));
        check("::ffff:192.0.2.1/120", Some(("192.0.2.0/24", 120)));
        check("::/0", Some(("::/0", 0)));
        check("1.2.3.4/99", None);
        check("vip.example.com", None);
        check("unix:///x", None);
        check("", None);
        check("1.2.3", None);
        check("fe80::1%eth0", None);
    }

    #[test]
    fn short_ipv6_prefixes_are_known() {
        for (text, expected) in
            [("::/0", true), ("::/80", true), ("2000::/3", false), ("0.0.0.0/0", false)]
        {
            assert_eq!(parse(text).map(swallows_ipv4), Some(expected), "{text}");
        }
    }
}
