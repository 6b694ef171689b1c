//! The third pass: which of the records are about a name on the chain.

use super::{
    Comparison, Names, Room, Turn, entry,
    learn::Place,
    set_entry,
    walk::{FIXED, Found},
};
use crate::{
    bytes::Veil,
    dns::message::{MessageBytes, record},
    limits::FOLLOW_STEPS,
};

/// Follows the chain through the records, in their order. Leaves the addresses that count, and the
/// services whose hints may.
///
/// A record whose owner is not on the chain is a stray, unless the chain grows later: then all are looked
/// at again, with the chain as it is by then.
#[inline(always)]
pub fn follow<N: Names, V: Veil>(
    message: &MessageBytes<'_>,
    room: &mut Room,
    names: &N,
    veil: &V,
) -> Turn {
    let mut count = room.reading.found as usize;
    let links = veil.veil(room.reading.links as usize);
    let mut state = State {
        index: 0,
        link: links.saturating_sub(1),
        links,
        services: 0,
        addresses: 0,
        strays: 0,
        late: 0,
    };
    let mut ended = false;
    // One flat loop, a step a record and a name it is compared with: the latest first, since
    // answers come in the order of the chain.
    for _ in 0..FOLLOW_STEPS {
        state = state.veiled(veil);
        count = veil.veil(count);
        let message = message.veiled(veil);
        if state.index >= count {
            ended = true;
            break;
        }
        let (Some(found), Some(name)) =
            (entry(&room.found, state.index), entry(&room.chain, state.link))
        else {
            return Turn::DEFER;
        };
        let found = Found::unpack(found);
        let comparison = names.compare(found.owner, name as usize);
        if comparison == Comparison::INVALID {
            return Turn::MALFORMED;
        }
        if comparison == Comparison::TOO_LONG {
            return Turn::DEFER;
        }
        if comparison == Comparison::SAME {
            if !state.take(&message, room, found, names) {
                return Turn::DEFER;
            }
        } else if state.link > 0 {
            state.link -= 1;
            continue;
        } else {
            state.strays = 1;
        }
        state.index += 1;
        state.link = state.links - 1;
    }
    if !ended {
        return Turn::DEFER;
    }
    state.write(room);
    if state.late != 0 {
        return Turn::AGAIN;
    }
    if state.addresses + state.services == 0 { Turn::PASS } else { Turn::GO_ON }
}

/// Where the pass stands, and how much of each list is set.
#[derive(Clone, Copy)]
struct State {
    /// The record at hand.
    index: usize,
    /// The name it is compared with.
    link: usize,
    links: usize,
    services: usize,
    addresses: usize,
    /// 1 once a record was passed over.
    strays: usize,
    /// 1 once the chain grew after that.
    late: usize,
}

impl State {
    #[inline(always)]
    fn veiled<V: Veil>(self, veil: &V) -> Self {
        Self {
            index: veil.veil(self.index),
            link: veil.veil(self.link),
            links: veil.veil(self.links),
            services: veil.veil(self.services),
            addresses: veil.veil(self.addresses),
            strays: veil.veil(self.strays),
            late: veil.veil(self.late),
        }
    }

    /// Takes a record whose owner is on the chain; says no if there is no room or no order.
    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "offsets in a message are below 2^13")]
    fn take<N: Names>(
        &mut self,
        message: &MessageBytes<'_>,
        room: &mut Room,
        found: Found,
        names: &N,
    ) -> bool {
        let data = found.fixed + FIXED;
        let kind = message.u16(found.fixed).unwrap_or_default();
        match kind {
            record::CNAME => {
                let length = message.u16(found.fixed + 8).unwrap_or_default();
                if found.taken || names.end(data) != data + usize::from(length) {
                    return true;
                }
                let taken = Found { taken: true, ..found };
                let has_room = set_entry(&mut room.chain, self.links, data as u32)
                    && set_entry(&mut room.found, self.index, taken.pack());
                self.links += 1;
                self.late |= self.strays;
                has_room
            }
            record::HTTPS | record::SVCB => {
                let has_room = set_entry(&mut room.services, self.services, found.fixed as u32);
                self.services += 1;
                has_room
            }
            _ => {
                let place = Place { data, fixed: found.fixed, is_v6: kind == record::AAAA };
                let has_room = set_entry(&mut room.addresses, self.addresses, place.pack());
                self.addresses += 1;
                has_room
            }
        }
    }

    #[inline(always)]
    #[expect(clippy::cast_possible_truncation, reason = "not more than the lists are long")]
    fn write(&self, room: &mut Room) {
        room.reading.links = self.links as u32;
        room.reading.services = self.services as u32;
        room.reading.addresses = self.addresses as u32;
    }
}
