//! The pass over a service record (HTTPS, SVCB): the addresses it hints at (RFC 9460 §2.2, §7.3).

use super::{Comparison, Names, Room, Turn, entry, learn::Place, set_entry, walk::FIXED};
use crate::{
    bytes::Veil,
    dns::{message::MessageBytes, name::measure},
    limits::HINT_STEPS,
};

/// Keys of the parameters that hold addresses (RFC 9460 §14.3.2).
const IPV4_HINT: u16 = 4;
const IPV6_HINT: u16 = 6;

/// Adds the hints of one service to the addresses. A record that is not well formed teaches nothing;
/// one with more in it than is looked at is deferred.
#[inline(always)]
pub fn hints<N: Names, V: Veil>(
    message: &MessageBytes<'_>,
    room: &mut Room,
    service: usize,
    names: &N,
    veil: &V,
) -> Turn {
    let message = message.veiled(veil);
    let Some(fixed) = entry(&room.services, service) else {
        return Turn::DEFER;
    };
    let fixed = fixed as usize;
    let data = fixed + FIXED;
    let (Some(length), Some(priority)) = (message.u16(fixed + 8), message.u16(data)) else {
        return Turn::MALFORMED;
    };
    let end = veil.veil(data + usize::from(length));
    let target = data + 2;
    if end > message.length() || priority == 0 {
        return Turn::GO_ON;
    }
    let Ok(target_bytes) = measure(&message, target, veil) else {
        return Turn::GO_ON;
    };
    if target_bytes > 1 && !is_on_chain(room, target, names, veil) {
        return Turn::GO_ON;
    }
    let parameters = Parameters { fixed, at: veil.veil(target + target_bytes), end };
    add(&message, room, parameters, veil)
}

#[inline(always)]
fn is_on_chain<N: Names, V: Veil>(room: &Room, name: usize, names: &N, veil: &V) -> bool {
    let links = veil.veil(room.reading.links as usize);
    for (index, link) in room.chain.iter().enumerate() {
        if index >= links {
            break;
        }
        if names.compare(*link as usize, name) == Comparison::SAME {
            return true;
        }
    }
    false
}

/// The parameters of one record.
#[derive(Clone, Copy)]
struct Parameters {
    /// Offset of the fixed part of the record.
    fixed: usize,
    at: usize,
    end: usize,
}

#[inline(always)]
fn add<V: Veil>(
    message: &MessageBytes<'_>,
    room: &mut Room,
    parameters: Parameters,
    veil: &V,
) -> Turn {
    let Parameters { fixed, mut at, mut end } = parameters;
    let mut count = room.reading.addresses as usize;
    // Bytes of addresses that are left of the parameter at hand, and of each of them.
    let (mut left, mut size) = (0, 4);
    let mut lowest_key = 0;
    // One flat loop, a step a parameter or an address.
    for _ in 0..HINT_STEPS {
        at = veil.veil(at);
        end = veil.veil(end);
        count = veil.veil(count);
        left = veil.veil(left);
        size = veil.veil(size);
        lowest_key = veil.veil(lowest_key);
        let message = message.veiled(veil);
        if left == 0 {
            if at == end {
                #[expect(clippy::cast_possible_truncation, reason = "not above the list's length")]
                {
                    room.reading.addresses = count as u32;
                }
                return Turn::GO_ON;
            }
            let (Some(key), Some(length)) = (message.u16(at), message.u16(at + 2)) else {
                return Turn::GO_ON;
            };
            let length = usize::from(length);
            // Keys are in strictly increasing order.
            if at + 4 + length > end || usize::from(key) < lowest_key {
                return Turn::GO_ON;
            }
            lowest_key = usize::from(key) + 1;
            at += 4;
            if matches!(key, IPV4_HINT | IPV6_HINT) {
                size = if key == IPV4_HINT { 4 } else { 16 };
                if length == 0 || length & (size - 1) != 0 {
                    return Turn::GO_ON;
                }
                left = length;
            } else {
                at += length;
            }
            continue;
        }
        let place = Place { data: at, fixed, is_v6: size != 4 };
        if !set_entry(&mut room.addresses, count, place.pack()) {
            return Turn::DEFER;
        }
        count += 1;
        at += size;
        left -= size;
    }
    Turn::DEFER
}
