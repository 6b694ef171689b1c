//! The pass for internal names: whether a search list completed the name that was meant.

use super::{Names, Room, Turn};
use crate::{
    bytes::Veil,
    decide::Tables,
    dns::{
        message::HEADER,
        name::{Name, match_name},
    },
};

/// If the question's own alias is the question without an internal suffix, the addresses belong to
/// the alias: some resolvers answer `www.example.com.shop.svc.cluster.local` so, to spare the client
/// the rest of its search list.
#[inline(always)]
pub fn rename<N: Names, T: Tables + Veil>(room: &mut Room, names: &N, tables: &T) -> Turn {
    let [_, alias, ..] = room.chain;
    if room.reading.links < 2 {
        return Turn::PASS;
    }
    let Some(shared) = names.compare(alias as usize, HEADER).shared() else {
        return Turn::PASS;
    };
    let shared = tables.veil(shared);
    // What is left of the question has to end with the internal domain, or be it.
    let suffix = (room.reading.name_bytes as usize).saturating_sub(shared);
    if suffix < room.reading.internal_bytes as usize {
        return Turn::PASS;
    }
    let name = Name { length: tables.veil(room.name.cut(shared, tables)) };
    let found = match_name(&room.name, name, tables);
    room.reading.pattern = found.pattern;
    if found.pattern.is_some() { Turn::GO_ON } else { Turn::PASS }
}
