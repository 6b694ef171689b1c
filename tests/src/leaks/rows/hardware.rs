//! What stands before the IP header: tags, hardware addresses, and frames that are no IP at all.

use crate::frame::{multicast, protocol, tag};
use crate::leaks::row::{Aim, BOTH, Row, Toward, V4, arrived};

const NO_TAGS: &str = "tagged frames are refused, wherever they go";
const NO_OTHERS: &str = "only IPv4, IPv6 and ARP frames leave";
const TEXT: &[u8] = b"exeat says hello over a link of its own";

pub(super) fn rows() -> [Row; 7] {
    [
        Row::frames("AF_PACKET, VLAN tag", |aim| vec![tag(&datagram(aim), 0x8100, 0)])
            .no_twin(NO_TAGS),
        Row::frames("AF_PACKET, two VLAN tags", |aim| {
            vec![tag(&tag(&datagram(aim), 0x8100, 0), 0x88a8, 0)]
        })
        .no_twin(NO_TAGS),
        Row::frames("AF_PACKET, VLAN tag, to a pod on the bridge", |aim| {
            let frame = aim.link.to(aim.someone_mac).ip(&packet(aim));
            vec![tag(&frame, 0x8100, 5)]
        })
        .toward(Toward::Neighbour)
        .no_twin(NO_TAGS),
        Row::frames("another's hardware address as source", |aim| {
            vec![aim.link.from(aim.someone_mac).ip(&packet(aim))]
        }),
        Row::frames("another pod's IP address as source", |aim| {
            vec![datagram(&Aim { own: aim.someone, ..*aim })]
        })
        .toward(Toward::Allowed)
        .seen(|seen, aim| seen.source() == Some(aim.someone))
        .instead(
            |aim| vec![datagram(aim)],
            |seen, aim| arrived(seen, aim) && seen.source() == Some(aim.own),
        )
        .versions(BOTH),
        Row::frames("an ethertype of one's own", |aim| {
            vec![aim.link.to(aim.someone_mac).frame(0x88b5, TEXT)]
        })
        .toward(Toward::Neighbour)
        .versions(V4)
        .seen(|seen, _| seen.holds(TEXT))
        .no_twin(NO_OTHERS),
        Row::frames("an IEEE 802.3 frame with a length", |aim| {
            let length = u16::try_from(TEXT.len()).expect("short");
            vec![aim.link.to(multicast(aim.to.ip())).frame(length, TEXT)]
        })
        .toward(Toward::Group("239.9.9.9"))
        .versions(V4)
        .seen(|seen, _| seen.holds(TEXT))
        .no_twin(NO_OTHERS),
    ]
}

fn packet(aim: &Aim) -> Vec<u8> {
    aim.ends().packet(protocol::UDP, &aim.ends().datagram(b"exeat"))
}

fn datagram(aim: &Aim) -> Vec<u8> {
    aim.link.ip(&packet(aim))
}
