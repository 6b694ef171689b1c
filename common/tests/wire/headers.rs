//! What stands between a plain IP header and the transport.

use exeat_common::{
    flow::protocol,
    packet::{InvalidFrame, tcp_flag},
};

use crate::{SITE, frame, read, support::POD, tcp};

/// A frame whose IPv4 header has these options.
fn with_options(options: &[u8]) -> Vec<u8> {
    let plain = frame(POD, SITE, protocol::TCP, &tcp(4000, 443, tcp_flag::SYN));
    let mut bytes = plain[..34].to_vec();
    bytes[14] = 0x45 + u8::try_from(options.len() / 4).expect("few");
    bytes[17] += u8::try_from(options.len()).expect("few");
    bytes.extend(options);
    bytes.extend(&plain[34..]);
    bytes
}

#[test]
fn options_are_walked_and_source_routes_refused() {
    for (options, expected) in [
        (&[7, 7, 4, 0, 0, 0, 0, 0][..], Ok(443)),
        (&[1, 1, 1, 0], Ok(443)),
        (&[148, 4, 0, 0], Ok(443)),
        (&[1; 40], Ok(443)),
        (&[131, 7, 4, 192, 0, 2, 9, 0], Err(InvalidFrame::SourceRoute)),
        (&[137, 7, 4, 192, 0, 2, 9, 0], Err(InvalidFrame::SourceRoute)),
        (&[1, 148, 4, 0, 0, 131, 3, 4], Err(InvalidFrame::SourceRoute)),
        (&[7, 4, 131, 3], Ok(443)),
        (&[7, 0, 131, 3], Err(InvalidFrame::Malformed)),
        (&[7, 1, 131, 3], Err(InvalidFrame::Malformed)),
        (&[7, 5, 0, 0], Ok(443)),
        (&[0, 131, 3, 4], Ok(443)),
    ] {
        assert_eq!(
            read(&with_options(options)).map(|packet| packet.destination_port),
            expected,
            "{options:?}"
        );
    }
    for at in 0..37 {
        let mut options = [1; 40];
        options[at..at + 3].copy_from_slice(&[131, 3, 4]);
        assert_eq!(read(&with_options(&options)), Err(InvalidFrame::SourceRoute), "at {at}");
    }
}

#[test]
fn extension_headers_are_followed_and_routing_headers_are_not() {
    let (pod, site) = ("2001:db8::2", "2001:db8::1");
    let behind = |next: u8, header: [u8; 8]| {
        let segment = [&header[..], &tcp(1, 443, tcp_flag::SYN)].concat();
        read(&frame(pod, site, next, &segment))
    };
    let Ok(packet) = behind(60, [protocol::TCP, 0, 1, 4, 0, 0, 0, 0]) else {
        panic!("destination options are followed");
    };
    assert_eq!(packet.destination_port, 443);
    assert!(behind(44, [protocol::TCP, 0, 0, 1, 0, 0, 0, 0]).is_ok());
    let later = behind(44, [protocol::TCP, 0, 0, 9, 0, 0, 0, 0]);
    assert_eq!(later, Err(InvalidFrame::LaterFragment));
    assert_eq!(behind(43, [protocol::TCP, 0, 0, 0, 0, 0, 0, 0]), Err(InvalidFrame::SourceRoute));
}

/// Such an address would pass for the IPv4 address that it stands for.
#[test]
fn ipv4_mapped_addresses_are_none_on_the_wire() {
    let syn = tcp(4000, 443, tcp_flag::SYN);
    let plain = frame("2001:db8::2", "2001:db8::1", protocol::TCP, &syn);
    assert!(read(&plain).is_ok());
    let mapped = [0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff, 0xff, 192, 0, 2, 1];
    for at in [22, 38] {
        let mut bytes = plain.clone();
        bytes[at..at + 16].copy_from_slice(&mapped);
        assert_eq!(read(&bytes), Err(InvalidFrame::Malformed));
    }
}

#[test]
fn a_jumbogram_and_icmp_of_the_other_version_are_refused() {
    let syn = tcp(4000, 443, tcp_flag::SYN);
    let options = [protocol::TCP, 0, 0xc2, 4, 0, 1, 0, 0];
    let body = [&options[..], &syn].concat();
    let mut jumbo = frame("2001:db8::2", "2001:db8::1", protocol::HOP_BY_HOP, &body);
    assert!(read(&jumbo).is_ok());
    jumbo[18..20].fill(0);
    assert_eq!(read(&jumbo), Err(InvalidFrame::Malformed));

    let echo = [8, 0, 0, 0, 0, 1, 0, 1];
    let other = frame("2001:db8::2", "2001:db8::1", protocol::ICMP, &echo);
    assert_eq!(read(&other), Err(InvalidFrame::Malformed));
    assert_eq!(read(&frame(POD, SITE, protocol::ICMPV6, &echo)), Err(InvalidFrame::Malformed));
    assert!(read(&frame(POD, SITE, protocol::ICMP, &echo)).is_ok());
}
