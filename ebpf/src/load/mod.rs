//! From contexts to bytes and back: the only access to packets and socket addresses.

mod frame;
mod replace;
mod scratch;
mod socket;

pub(crate) use frame::{
    FrameFacts, ancestor_cgroup_of_socket, frame_facts, load_header, load_message, load_word,
    replace_word, return_to_pod, swap_ends,
};
pub(crate) use replace::{copy_to_pod, replace, replace_by_datagram};
pub(crate) use scratch::{Claim, Hook, Scratch, scratch, scratch_at, shared_message};
pub(crate) use socket::{
    Destination, Process, ancestor_cgroup, creation, current_process, destination4, destination6,
    local_port, netns_of_address, netns_of_socket, set_errno,
};
