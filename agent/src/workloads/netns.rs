//! Network namespaces: which one a workload lives in. Looks, changes nothing.

use std::{
    fs::{self, File},
    io,
    os::{fd::AsFd as _, unix::fs::MetadataExt as _},
    path::Path,
    sync::mpsc,
    thread,
};

use nix::sched::{CloneFlags, setns};

use super::{Workload, place::Unplaced};
use crate::datapath::netns_cookie;

/// Cookie of the namespace that the configuration names, or else of the agent's own. If the
/// workload is evidently elsewhere, that is said rather than guessed: a process of the workload
/// may have made a namespace of its own.
pub(super) fn home(workload: &Workload) -> Result<u64, Unplaced> {
    let path = workload.netns.as_deref().unwrap_or(Path::new(OWN));
    let failed = |source: io::Error| Unplaced::NetNs {
        path: path.to_owned(),
        source_text: source.to_string(),
    };
    match (&workload.netns, &workload.cgroup) {
        (Some(path), _) => cookie_of(path).map_err(failed),
        (None, Some(cgroup)) if is_elsewhere(cgroup) => {
            Err(Unplaced::OtherNetNs { cgroup: cgroup.clone() })
        }
        (None, _) => netns_cookie().map_err(failed),
    }
}

fn cookie_of(path: &Path) -> io::Result<u64> {
    Asker::start()?.cookie(File::open(path)?)
}

/// A thread that goes into network namespaces and asks for their cookies, for only a thread that is
/// in a namespace can ask. One for all, because to start a thread takes long while processes are
/// moved between cgroups: the kernel keeps one from the other (`cgroup_threadgroup_rwsem`).
pub(super) struct Asker {
    questions: mpsc::Sender<Question>,
}

struct Question {
    namespace: File,
    reply: mpsc::Sender<io::Result<u64>>,
}

impl Asker {
    /// Ends with the last question.
    pub(super) fn start() -> io::Result<Self> {
        let own = File::open(OWN_OF_THREAD)?;
        let (questions, asked) = mpsc::channel::<Question>();
        thread::Builder::new().name("netns".to_owned()).spawn(move || {
            for Question { namespace, reply } in asked {
                let cookie = ask(&namespace);
                // Whoever is in a namespace keeps it: it is left before anybody is told.
                let back = setns(own.as_fd(), CloneFlags::CLONE_NEWNET);
                let answer = cookie.and_then(|cookie| back.map(|()| cookie).map_err(Into::into));
                // Who asked may be gone.
                drop(reply.send(answer));
            }
        })?;
        Ok(Self { questions })
    }

    pub(super) fn cookie(&self, namespace: File) -> io::Result<u64> {
        let gone = || io::Error::other("the thread that asks is gone");
        let (reply, answer) = mpsc::channel();
        self.questions.send(Question { namespace, reply }).map_err(|_| gone())?;
        answer.recv().map_err(|_| gone())?
    }
}

fn ask(namespace: &File) -> io::Result<u64> {
    setns(namespace.as_fd(), CloneFlags::CLONE_NEWNET)?;
    netns_cookie()
}

/// Whether there are processes in the cgroup, and all of them in other namespaces than the agent.
fn is_elsewhere(cgroup: &Path) -> bool {
    let Ok(own) = fs::metadata(OWN).map(|it| it.ino()) else {
        return false;
    };
    let mut found = false;
    let is_home = any_process(cgroup, &mut |process| {
        let Ok(namespace) = fs::metadata(format!("/proc/{process}/ns/net")) else {
            return false;
        };
        found = true;
        namespace.ino() == own
    });
    found && !is_home
}

/// Whether any process in the cgroup or below is as wanted.
fn any_process(cgroup: &Path, is_wanted: &mut impl FnMut(&str) -> bool) -> bool {
    let processes = fs::read_to_string(cgroup.join("cgroup.procs")).unwrap_or_default();
    if processes.lines().any(&mut *is_wanted) {
        return true;
    }
    let Ok(entries) = fs::read_dir(cgroup) else {
        return false;
    };
    let mut folders =
        entries.flatten().filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()));
    folders.any(|folder| any_process(&folder.path(), is_wanted))
}

const OWN: &str = "/proc/self/ns/net";
const OWN_OF_THREAD: &str = "/proc/thread-self/ns/net";

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::{OWN, cookie_of};
    use crate::datapath::netns_cookie;

    #[test]
    fn a_namespace_has_one_cookie() {
        let own = netns_cookie().expect("Linux 5.14");
        assert_ne!(own, 0);
        assert_eq!(netns_cookie().expect("as before"), own);
        let error = cookie_of(Path::new("/nowhere/at/all")).expect_err("missing");
        assert_eq!(error.kind(), std::io::ErrorKind::NotFound);
        // Entering even the own namespace takes CAP_SYS_ADMIN.
        match cookie_of(Path::new(OWN)) {
            Ok(cookie) => assert_eq!(cookie, own),
            Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::PermissionDenied),
        }
    }
}
