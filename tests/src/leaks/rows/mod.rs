//! All rows, by idea.

mod calls;
mod fragments;
mod hardware;
mod headers;
mod icmp;
mod links;
mod neighbours;
mod raw;
mod sockets;
mod tunnels;

use super::row::Row;

pub(super) use neighbours::link_local;

pub(super) fn all() -> Vec<Row> {
    [
        &calls::rows()[..],
        &sockets::rows(),
        &raw::rows(),
        &hardware::rows(),
        &headers::rows(),
        &fragments::rows(),
        &tunnels::rows(),
        &icmp::rows(),
        &links::rows(),
        &neighbours::rows(),
    ]
    .concat()
}
