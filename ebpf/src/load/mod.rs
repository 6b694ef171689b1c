//! From contexts to bytes and back: the only access to packets and socket addresses.

mod connection;
mod frame;
mod head;
mod option;
mod replace;
mod scratch;
mod socket;

pub(crate) use connection::{Connection, connection, cookie, far_end, near_end, tell_when_closed};
pub(crate) use frame::{
    FrameFacts, ancestor_cgroup_of_socket, frame_facts, load_header, load_message, load_word,
    replace_word, return_to_pod, swap_ends,
};
pub(crate) use head::Head;
pub(crate) use option::{Question, answer_v4, answer_v6, can_ask_cgroup, question};
pub(crate) use replace::{copy_to_pod, replace, replace_by_datagram};
pub(crate) use scratch::{Claim, Hook, Scratch, scratch, scratch_at, shared_message};
pub(crate) use socket::{
    Destination, Process, Socket, ancestor_cgroup, creation, current_process, destination4,
    destination6, is_bound_to_device, local_port, netns_of_address, netns_of_socket,
    set_destination4, set_destination6, set_errno, socket_of_call, socket_of_packet,
};
