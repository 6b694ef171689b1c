//! What is judged: who wants to reach which address, port and protocol.

use crate::{abi::Workload, address::Address};

/// IP protocol numbers (IANA) that the decision or the parsers name.
pub mod protocol {
    pub const HOP_BY_HOP: u8 = 0;
    pub const ICMP: u8 = 1;
    pub const TCP: u8 = 6;
    pub const UDP: u8 = 17;
    pub const ROUTING: u8 = 43;
    pub const FRAGMENT: u8 = 44;
    pub const ICMPV6: u8 = 58;
    pub const DESTINATION_OPTIONS: u8 = 60;
}

/// One flow, as `decide` sees it. `None` is a sender that belongs to no known workload.
#[derive(Clone, Copy, Debug)]
pub struct Flow<'a> {
    pub workload: Option<&'a Workload>,
    pub destination: Address,
    /// Host order; 0 for protocols without ports.
    pub port: u16,
    /// IP protocol number.
    pub protocol: u8,
}
