//! DNS as the wire layer sees it: questions that leave, answers that arrive (RFC 1035).

pub mod answer;
pub mod learn;
pub mod message;
mod name;
mod query;
pub mod stream;

pub use answer::{Answer, Heard, Room, hear};
pub use message::{InvalidMessage, MESSAGE_BUFFER_BYTES, MessageBytes, Transport};
pub use name::{Name, NameBuffer, NameMatch, match_name, read_name, short_hash};
pub use query::{Asked, Question, Refusal, ask, read_question};
