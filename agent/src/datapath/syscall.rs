//! What aya and tokio do not offer safely: bpf(2) on pinned links, and waiting on a descriptor.

use std::{
    ffi::CString,
    io,
    os::{
        fd::{AsFd as _, AsRawFd as _, BorrowedFd, FromRawFd as _, OwnedFd},
        unix::{ffi::OsStrExt as _, net::UnixDatagram},
    },
    path::Path,
};

use tokio::io::{Interest, unix::AsyncFd};

/// Gives a pinned link another program; no packet passes unjudged in between (kernel 5.7,
/// `BPF_LINK_UPDATE`).
pub(super) fn update_pinned_link(pin: &Path, program: BorrowedFd<'_>) -> io::Result<()> {
    let link = open_pin(pin)?;
    let attributes = LinkUpdate {
        link_fd: number(link.as_fd()),
        new_prog_fd: number(program),
        flags: 0,
        old_prog_fd: 0,
    };
    bpf(BPF_LINK_UPDATE, &attributes).map(drop)
}

/// Takes a pinned link off its hook at once (kernel 5.9, `BPF_LINK_DETACH`). Removing the pin does
/// that too, but some time later.
pub(super) fn detach_pinned_link(pin: &Path) -> io::Result<()> {
    let link = open_pin(pin)?;
    bpf(BPF_LINK_DETACH, &LinkDetach { link_fd: number(link.as_fd()) }).map(drop)
}

/// Attaches a program to a cgroup's `getsockopt` hook by a link, which other programs may stand beside
/// (kernel 5.7, `BPF_LINK_CREATE`).
pub(super) fn create_getsockopt_link(
    program: BorrowedFd<'_>,
    cgroup: BorrowedFd<'_>,
) -> io::Result<OwnedFd> {
    let attributes = LinkCreate {
        prog_fd: number(program),
        target_fd: number(cgroup),
        attach_type: BPF_CGROUP_GETSOCKOPT,
        flags: 0,
    };
    descriptor(bpf(BPF_LINK_CREATE, &attributes)?)
}

/// A hook of an interface, by the direction in which a frame passes it.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub(super) enum Wire {
    Ingress,
    Egress,
}

/// Attaches a program to an interface of this network namespace by a link, behind all others that
/// are there (kernel 6.6, `BPF_LINK_CREATE`).
pub(super) fn create_wire_link(
    program: BorrowedFd<'_>,
    ifindex: u32,
    hook: Wire,
) -> io::Result<OwnedFd> {
    let attach_type = match hook {
        Wire::Ingress => BPF_TCX_INGRESS,
        Wire::Egress => BPF_TCX_EGRESS,
    };
    let attributes =
        LinkCreate { prog_fd: number(program), target_fd: ifindex, attach_type, flags: 0 };
    descriptor(bpf(BPF_LINK_CREATE, &attributes)?)
}

/// Gives a link a name in bpffs, so that it stays when its descriptor is closed.
pub(super) fn pin_link(link: BorrowedFd<'_>, pin: &Path) -> io::Result<()> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = Object { pathname: path.as_ptr() as u64, bpf_fd: number(link), file_flags: 0 };
    bpf(BPF_OBJ_PIN, &attributes).map(drop)
}

/// Asks for a pin that is not there. A profile of system calls may answer in the kernel's place.
pub(crate) fn ask_bpf() -> io::Error {
    match open_pin(Path::new("/sys/fs/bpf/exeat/no such pin")) {
        Err(error) => error,
        Ok(_) => io::Error::from(io::ErrorKind::AlreadyExists),
    }
}

/// Registers a descriptor with the runtime, to wait until it can be read.
pub(crate) fn wait_readable(descriptor: OwnedFd) -> io::Result<AsyncFd<OwnedFd>> {
    // SAFETY: the owned descriptor moves into the registration, stays open as long as that lives,
    // and always answers with the same number.
    let registered = unsafe { AsyncFd::register_with_interest(descriptor, Interest::READABLE) };
    registered.map_err(io::Error::from)
}

/// Cookie of the network namespace the calling thread is in (kernel 5.14, `SO_NETNS_COOKIE`).
pub(crate) fn netns_cookie() -> io::Result<u64> {
    let socket = UnixDatagram::unbound()?;
    let mut cookie = 0_u64;
    let mut length: libc::socklen_t = 8;
    // SAFETY: both pointers are to live values of the size that is passed along.
    let result = unsafe {
        libc::getsockopt(
            socket.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_NETNS_COOKIE,
            (&raw mut cookie).cast(),
            &raw mut length,
        )
    };
    if result == 0 { Ok(cookie) } else { Err(io::Error::last_os_error()) }
}

fn number(descriptor: BorrowedFd<'_>) -> u32 {
    descriptor.as_raw_fd().cast_unsigned()
}

/// Head of `union bpf_attr` for `BPF_OBJ_GET` and `BPF_OBJ_PIN` (include/uapi/linux/bpf.h).
#[repr(C)]
struct Object {
    pathname: u64,
    bpf_fd: u32,
    file_flags: u32,
}

/// Head of `union bpf_attr` for `BPF_LINK_UPDATE` (include/uapi/linux/bpf.h).
#[repr(C)]
struct LinkUpdate {
    link_fd: u32,
    new_prog_fd: u32,
    flags: u32,
    old_prog_fd: u32,
}

/// Head of `union bpf_attr` for `BPF_LINK_DETACH` (include/uapi/linux/bpf.h).
#[repr(C)]
struct LinkDetach {
    link_fd: u32,
}

/// Head of `union bpf_attr` for `BPF_LINK_CREATE` (include/uapi/linux/bpf.h).
#[repr(C)]
struct LinkCreate {
    prog_fd: u32,
    /// A descriptor, or the index of an interface.
    target_fd: u32,
    attach_type: u32,
    flags: u32,
}

const BPF_OBJ_PIN: libc::c_int = 6;
const BPF_OBJ_GET: libc::c_int = 7;
const BPF_LINK_CREATE: libc::c_int = 28;
const BPF_LINK_UPDATE: libc::c_int = 29;
const BPF_LINK_DETACH: libc::c_int = 34;

/// Of `enum bpf_attach_type` (kernel 5.3).
const BPF_CGROUP_GETSOCKOPT: u32 = 21;
/// As above (kernel 6.6).
const BPF_TCX_INGRESS: u32 = 46;
const BPF_TCX_EGRESS: u32 = 47;

fn open_pin(pin: &Path) -> io::Result<OwnedFd> {
    let path = CString::new(pin.as_os_str().as_bytes())?;
    let attributes = Object { pathname: path.as_ptr() as u64, bpf_fd: 0, file_flags: 0 };
    descriptor(bpf(BPF_OBJ_GET, &attributes)?)
}

/// What a command returned that makes a descriptor.
fn descriptor(result: libc::c_long) -> io::Result<OwnedFd> {
    let descriptor = i32::try_from(result).map_err(io::Error::other)?;
    // SAFETY: the kernel just made this descriptor for us, and nobody else has it.
    Ok(unsafe { OwnedFd::from_raw_fd(descriptor) })
}

fn bpf<T>(command: libc::c_int, attributes: &T) -> io::Result<libc::c_long> {
    // SAFETY: `attributes` is a live, initialised structure without padding, and its size is
    // passed along; the kernel only reads it for these commands.
    let result = unsafe {
        libc::syscall(libc::SYS_bpf, command, std::ptr::from_ref(attributes), size_of::<T>())
    };
    if result < 0 { Err(io::Error::last_os_error()) } else { Ok(result) }
}
