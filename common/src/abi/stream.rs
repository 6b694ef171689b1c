//! TCP connections to resolvers.

use super::abi;

/// What the piece of a stream was that went through last.
pub mod stream_part {
    /// There was none yet.
    pub const NOTHING: u8 = 0;
    /// Whole messages, each behind its length.
    pub const MESSAGES: u8 = 1;
    /// A length alone; its message is still to come.
    pub const LENGTH: u8 = 2;
    /// A length alone and then, as a piece of its own, its message.
    pub const JOINED: u8 = 3;
}

abi! {
    /// Value of `STREAMS` (key: [`FlowKey`](super::FlowKey) of the connection): how much of what
    /// the pod sends went through. Sequence numbers are those of the pod.
    pub struct StreamValue (16 bytes) {
        /// Of the first byte after the handshake.
        pub first: u32,
        /// Of the first byte of the last piece.
        pub start: u32,
        /// Of the first byte after the last piece.
        pub next: u32,
        /// The length that went through alone; 0 if there was none.
        pub announced: u16,
        /// [`stream_part`] code.
        pub part: u8,
        pub reserved: u8,
    }
}
