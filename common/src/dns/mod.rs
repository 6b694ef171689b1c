//! DNS as the wire layer sees it: questions that leave, answers that arrive (RFC 1035).

mod answer;
pub mod learn;
pub mod message;
mod name;
mod query;
pub mod stream;

pub use answer::{Answer, FoundList, Heard, Room, hear};
pub use message::{InvalidMessage, MESSAGE_BUFFER_BYTES, MessageBytes, Transport};
pub use name::{Name, NameBuffer, NameMatch, match_name, read_name};
pub use query::{Asked, Question, Refusal, ask, read_question};
