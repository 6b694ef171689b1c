//! What is kept with a socket, and goes with it: where it was redirected from. And what is not accepted yet.

use core::ptr;

use aya_ebpf::{
    bindings::{BPF_ANY, BPF_NOEXIST, BPF_SK_STORAGE_GET_F_CREATE},
    btf_maps::{HashMap, SkStorage},
    helpers::{bpf_sk_storage_delete, bpf_sk_storage_get},
    macros::btf_map,
};
use exeat_common::{
    abi::{Dialled, HandoverKey, HandoverValue, Redirect},
    id::WorkloadId,
    limits::{HANDOVERS_ENTRIES, HANDOVERS_PER_WORKLOAD},
    redirect::Peers,
};

use super::{ON_DEMAND, clock::seconds, share::share};
use crate::load::Socket;

/// Where a connected socket was redirected from.
#[btf_map]
static REDIRECTED: SkStorage<Redirect> = SkStorage::new();
/// The same for each destination of a datagram socket without a peer.
#[btf_map]
static PEERS: SkStorage<Peers> = SkStorage::new();
/// What the other end of an accepted connection had dialled.
#[btf_map]
static ACCEPTED: SkStorage<Dialled> = SkStorage::new();
/// The same between `connect()` and its acceptance, in one network namespace.
#[btf_map]
static HANDOVERS: HashMap<HandoverKey, HandoverValue, HANDOVERS_ENTRIES, ON_DEMAND> =
    HashMap::new();

/// The value a socket has in a storage, or a new one that is all zeros.
#[inline(always)]
fn stored<T>(storage: *const SkStorage<T>, socket: Socket, create: bool) -> Option<&'static mut T> {
    let map = storage.cast_mut().cast();
    let flags = if create { u64::from(BPF_SK_STORAGE_GET_F_CREATE) } else { 0 };
    // SAFETY: the map is one of sockets, and a `Socket` is never null; without a first value the kernel
    // makes one of zeros, which is a value of each of these types.
    let value = unsafe { bpf_sk_storage_get(map, socket.pointer().cast(), ptr::null_mut(), flags) };
    // SAFETY: null, or a value of the type the map was made with, which stays readable until the
    // program ends (RCU). Who changes it holds the socket; a reader may see half of a change, which
    // then goes to no end that its packets have.
    unsafe { value.cast::<T>().as_mut() }
}

/// Where the socket was redirected from when it connected.
#[inline(always)]
pub(crate) fn redirected(socket: Socket) -> Option<&'static Redirect> {
    stored(&raw const REDIRECTED, socket, false).map(|it| &*it)
}

/// Says whether there was memory for it.
#[inline(always)]
pub(crate) fn set_redirected(socket: Socket, redirect: &Redirect) -> bool {
    let place = stored(&raw const REDIRECTED, socket, true);
    if let Some(place) = place {
        *place = *redirect;
        return true;
    }
    false
}

/// The socket connects to something else.
#[inline(always)]
pub(crate) fn forget_redirected(socket: Socket) {
    let map: *const SkStorage<Redirect> = &raw const REDIRECTED;
    // SAFETY: the map is one of sockets, and a `Socket` is never null.
    let _was_none =
        unsafe { bpf_sk_storage_delete(map.cast_mut().cast(), socket.pointer().cast()) };
}

/// Where a datagram socket without a peer was redirected from.
#[inline(always)]
pub(crate) fn peers(socket: Socket) -> Option<&'static Peers> {
    stored(&raw const PEERS, socket, false).map(|it| &*it)
}

/// The same, to be changed; made if there is memory for it.
#[inline(always)]
pub(crate) fn peers_to_change(socket: Socket) -> Option<&'static mut Peers> {
    stored(&raw const PEERS, socket, true)
}

/// What the other end of this accepted connection had dialled.
#[inline(always)]
pub(crate) fn accepted(socket: Socket) -> Option<&'static Dialled> {
    stored(&raw const ACCEPTED, socket, false).map(|it| &*it)
}

/// Whether one more connection of the workload may wait to be accepted.
#[inline(always)]
pub(crate) fn may_hand_over(workload: WorkloadId) -> bool {
    share(workload).is_some_and(|share| {
        share.handovers.load().cast_signed() < i64::from(HANDOVERS_PER_WORKLOAD)
    })
}

/// Notes what a connection was dialled as, for whoever accepts it. In the place of one that had the
/// same end before and is gone.
#[inline(always)]
pub(crate) fn hand_over(key: &HandoverKey, redirect: &Redirect, socket: u64) {
    let dialled =
        Dialled { address: redirect.dialled, port: redirect.dialled_port, reserved: [0; 2] };
    let workload = redirect.workload;
    let value = HandoverValue { dialled, workload, socket, since: seconds(), reserved: 0 };
    if HANDOVERS.insert(key, value, u64::from(BPF_NOEXIST)).is_ok() {
        if let Some(share) = share(workload) {
            share.handovers.add(1);
        }
        return;
    }
    // A full table leaves the connection without what it was dialled as: a proxy cannot send it on then.
    let _full = HANDOVERS.insert(key, value, u64::from(BPF_ANY));
}

/// Gives the accepted socket what its other end had dialled, and forgets it otherwise.
#[inline(always)]
pub(crate) fn accept(key: &HandoverKey, socket: Socket) {
    // SAFETY: entries are replaced whole; the copy is taken at once.
    let Some(value) = (unsafe { HANDOVERS.get(key) }).copied() else {
        return;
    };
    if let Some(place) = stored(&raw const ACCEPTED, socket, true) {
        *place = value.dialled;
    }
    take(key, value.workload);
}

/// The connecting socket is closed: nobody will accept it any more.
#[inline(always)]
pub(crate) fn withdraw(key: &HandoverKey, socket: u64) {
    // SAFETY: as above.
    if let Some(value) = (unsafe { HANDOVERS.get(key) }).copied()
        && value.socket == socket
    {
        take(key, value.workload);
    }
}

#[inline(always)]
fn take(key: &HandoverKey, workload: WorkloadId) {
    if HANDOVERS.remove(key).is_ok()
        && let Some(share) = share(workload)
    {
        share.handovers.add(u64::MAX);
    }
}
