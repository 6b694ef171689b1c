//! IP fragments: the first has the ports, the others have none.

use crate::frame::{Extras, fragment, protocol, tcp_flag};
use crate::leaks::row::{Aim, Port, Row, V4, V6};

const MORE: u16 = 0x2000;
const NO_LATER: &str = "a later fragment has no ports to judge, so none leaves";

pub(super) fn rows() -> [Row; 5] {
    [
        Row::frames("first fragment", |aim| vec![piece(aim, MORE, &first(aim))])
            .versions(V4)
            .port(Port::Http),
        Row::frames("first fragment", |aim| vec![piece_v6(aim, 0, true, &first(aim))])
            .versions(V6)
            .port(Port::Http),
        Row::frames("later fragment", |aim| vec![piece(aim, 2, &first(aim))])
            .versions(V4)
            .port(Port::Http)
            .no_twin(NO_LATER),
        Row::frames("later fragment", |aim| vec![piece_v6(aim, 2, false, &first(aim))])
            .versions(V6)
            .port(Port::Http)
            .no_twin(NO_LATER),
        Row::frames("first fragment too short for its ports", |aim| {
            vec![piece(aim, MORE, &first(aim)[..8])]
        })
        .versions(V4)
        .port(Port::Http)
        .no_twin("what is cut short is not judged, it is refused (RFC 1858 §3)"),
    ]
}

/// A segment whose length is a multiple of eight, as all fragments but the last have it.
fn first(aim: &Aim) -> Vec<u8> {
    aim.ends().segment(tcp_flag::SYN, b"data")
}

fn piece(aim: &Aim, flags_and_offset: u16, body: &[u8]) -> Vec<u8> {
    let extras = Extras { fragment: flags_and_offset, ..Extras::default() };
    aim.link.ip(&aim.ends().packet_with(&extras, protocol::TCP, body))
}

fn piece_v6(aim: &Aim, offset: u16, more: bool, body: &[u8]) -> Vec<u8> {
    let extras = Extras { headers: vec![fragment(offset, more)], ..Extras::default() };
    aim.link.ip(&aim.ends().packet_with(&extras, protocol::TCP, body))
}
