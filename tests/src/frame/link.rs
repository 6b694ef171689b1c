//! Ethernet headers, VLAN tags, and ARP.

use std::net::{IpAddr, Ipv4Addr};

/// A hardware address.
pub type Mac = [u8; 6];

pub const BROADCAST: Mac = [0xff; 6];

/// Ethertypes (IANA).
const IPV4: u16 = 0x0800;
const ARP: u16 = 0x0806;
const IPV6: u16 = 0x86dd;

/// Whom a frame says it comes from and goes to.
#[derive(Clone, Copy, Debug)]
pub struct Link {
    pub source: Mac,
    pub destination: Mac,
}

impl Link {
    /// Two locally administered addresses, for readers that do not look at them.
    pub const ANY: Self = Self { source: [2, 0, 0, 0, 0, 2], destination: [2, 0, 0, 0, 0, 1] };

    pub fn frame(&self, ethertype: u16, body: &[u8]) -> Vec<u8> {
        [&self.destination[..], &self.source, &ethertype.to_be_bytes(), body].concat()
    }

    /// A frame around an IP packet of either version.
    pub fn ip(&self, packet: &[u8]) -> Vec<u8> {
        self.frame(if packet[0] >> 4 == 4 { IPV4 } else { IPV6 }, packet)
    }

    pub fn arp(&self, arp: &Arp) -> Vec<u8> {
        self.frame(ARP, &arp.message())
    }

    #[must_use]
    pub const fn to(self, destination: Mac) -> Self {
        Self { destination, ..self }
    }

    #[must_use]
    pub const fn from(self, source: Mac) -> Self {
        Self { source, ..self }
    }
}

/// The same frame with a VLAN tag: 0x8100 for IEEE 802.1Q, 0x88a8 for an outer tag.
pub fn tag(frame: &[u8], kind: u16, vlan: u16) -> Vec<u8> {
    let (ends, rest) = frame.split_at(12);
    [ends, &kind.to_be_bytes(), &vlan.to_be_bytes(), rest].concat()
}

/// The hardware address of a multicast group (RFC 1112 §6.4, RFC 2464 §7), or that of everybody.
pub fn multicast(group: IpAddr) -> Mac {
    match group {
        IpAddr::V4(ip) if ip.is_multicast() => {
            let [_, b, c, d] = ip.octets();
            [0x01, 0x00, 0x5e, b & 0x7f, c, d]
        }
        IpAddr::V4(_) => BROADCAST,
        IpAddr::V6(ip) => {
            let [.., a, b, c, d] = ip.octets();
            [0x33, 0x33, a, b, c, d]
        }
    }
}

/// An ARP message for IPv4 over Ethernet (RFC 826).
#[derive(Clone, Copy, Debug)]
pub struct Arp {
    pub reply: bool,
    pub sender: (Mac, Ipv4Addr),
    pub target: (Mac, Ipv4Addr),
}

impl Arp {
    fn message(&self) -> Vec<u8> {
        let mut message = vec![0, 1, 8, 0, 6, 4, 0, 1 + u8::from(self.reply)];
        for (mac, ip) in [self.sender, self.target] {
            message.extend(mac);
            message.extend(ip.octets());
        }
        message
    }
}
