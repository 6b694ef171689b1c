//! What a measurement tells the program that puts its frame back between two runs (`ebpf/src/bin/replay/main.rs`).
//! Nothing in a packet's way reads this.

use zerocopy::{FromBytes, Immutable, IntoBytes, KnownLayout};

use crate::abi::{QueryKey, QueryValue};

/// Largest frame that is put back; a power of two.
pub const FRAME_BYTES: usize = 1024;
/// Places in a frame that are made different in each run.
pub const STAMPS: usize = 32;

/// Programs and maps of the object, and of its table of programs.
pub mod name {
    pub const REPLAY: &str = "exeat_replay";
    pub const EMPTY: &str = "exeat_empty";
    pub const FLOOR_PACKET: &str = "exeat_floor_packet";
    pub const FLOOR_QUESTION: &str = "exeat_floor_question";
    pub const ORDERS: &str = "ORDERS";
    pub const SUBJECTS: &str = "SUBJECTS";
    pub const QUERIES: &str = "QUERIES";
}

/// What is done before each run. The one value of the map `ORDERS`.
#[derive(Clone, Copy, Debug, Eq, PartialEq, FromBytes, Immutable, IntoBytes, KnownLayout)]
#[repr(C)]
pub struct Replay {
    /// Index in `SUBJECTS` of the program that is measured.
    pub subject: u32,
    /// Number of the next run.
    pub number: u32,
    /// Bytes of `frame` that the frame consists of: at least 1.
    pub length: u32,
    /// 1 if `query` is remembered before each run, as if it had just been asked.
    pub asks: u32,
    /// Offsets in `frame` that get the lower half of the number, big-endian; 0 ends it.
    pub stamps: [u16; STAMPS],
    /// Its transaction is the lower half of the number.
    pub query: QueryKey,
    pub answer_to: QueryValue,
    pub reserved: u32,
    pub frame: [u8; FRAME_BYTES],
}
