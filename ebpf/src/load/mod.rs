//! From contexts to bytes and back: the only access to packets and socket addresses.

mod frame;
mod scratch;
mod socket;

pub(crate) use frame::{
    FrameFacts, frame_facts, load_header, load_message, load_word, replace_word, return_to_pod,
    swap_ends,
};
pub(crate) use scratch::{Scratch, scratch, shared_message};
pub(crate) use socket::{
    Destination, Process, ancestor_cgroup, current_process, destination4, destination6, local_port,
    set_errno,
};
