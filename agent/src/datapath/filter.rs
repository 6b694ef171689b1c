//! The wire hook below Linux 6.6: filters of the clsact queueing discipline, and finding them again.
//!
//! A filter is no link, so it cannot be pinned; it stays when its loader ends. Its program is pinned
//! in its stead, under a name that says where it is attached.

use std::{io, path::Path};

use aya::programs::{
    ProgramError, SchedClassifier, TcAttachType,
    tc::{
        NlOptions, SchedClassifierLink, TcAttachOptions, TcError, TcHandle, qdisc_add_clsact,
        qdisc_detach_program,
    },
};
use exeat_common::limits::program;
use nix::{errno::Errno, net::if_::if_indextoname};

use super::Takeover;

/// Fixed, so that the next agent replaces the filter in place.
const PRIORITY: u16 = 49_161;
const PREFIX: &str = "ifindex_";

/// Attaches the program called `name`, in the place of an earlier agent's if there is one.
pub(super) fn attach(
    program: &mut SchedClassifier,
    name: &str,
    interface: &str,
) -> Result<Takeover, ProgramError> {
    let (handle, direction) = (TcHandle::new(0, 1), direction(name));
    let replaced = SchedClassifierLink::attached(interface, direction, PRIORITY, handle, None)
        .map_err(|source| TcError::IoError(source).into())
        .and_then(|link| program.attach_to_link(link));
    let (id, takeover) = if let Ok(id) = replaced {
        (id, Takeover::Updated)
    } else {
        // It may be there already, for other programs.
        drop(qdisc_add_clsact(interface));
        let options = NlOptions { priority: PRIORITY, handle, ..NlOptions::default() };
        let options = TcAttachOptions::Netlink(options);
        (program.attach_with_options(interface, direction, options)?, Takeover::Fresh)
    };
    // Dropping the link would remove the filter.
    std::mem::forget(program.take_link(id)?);
    Ok(takeover)
}

/// Removes the filter whose program is pinned as `pin`. One that is gone, by itself or with its
/// interface, is no error. Filters of other programs stay, and so does the queueing discipline.
pub(super) fn detach(pin: &Path) -> io::Result<()> {
    let Some((ifindex, name)) = place(pin) else {
        return Ok(());
    };
    let interface = match if_indextoname(ifindex) {
        Ok(interface) => interface,
        Err(Errno::ENXIO | Errno::ENODEV) => return Ok(()),
        Err(errno) => return Err(errno.into()),
    };
    let interface = interface.to_str().map_err(io::Error::other)?;
    match qdisc_detach_program(interface, direction(name), name) {
        Err(TcError::IoError(error)) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        result => result.map_err(io::Error::other),
    }
}

/// The name of a wire program's pin.
pub(super) fn pin_name(ifindex: u32, program: &str) -> String {
    format!("{PREFIX}{ifindex}_{program}")
}

/// Interface and program that such a name stands for.
fn place(pin: &Path) -> Option<(u32, &'static str)> {
    let rest = pin.file_name()?.to_str()?.strip_prefix(PREFIX)?;
    let (ifindex, name) = rest.split_once('_')?;
    let name = [program::FROM_POD, program::TO_POD].into_iter().find(|known| *known == name)?;
    Some((ifindex.parse().ok()?, name))
}

/// The hook of a program at the host side of a veth pair.
pub(super) fn direction(program: &str) -> TcAttachType {
    // What the pod sends comes in at the host side.
    if program == program::FROM_POD { TcAttachType::Ingress } else { TcAttachType::Egress }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use exeat_common::limits::program;

    use super::{pin_name, place};

    #[test]
    fn a_pin_says_where_its_program_is_attached() {
        for name in [program::FROM_POD, program::TO_POD] {
            let pin = Path::new("/pins/v1/links").join(pin_name(17, name));
            assert_eq!(place(&pin), Some((17, name)));
        }
        for other in ["cgroup_17_exeat_connect4", "ifindex_x_exeat_to_pod", "ifindex_17_other"] {
            assert_eq!(place(Path::new(other)), None, "{other}");
        }
    }
}
