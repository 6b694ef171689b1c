//! One agent on a node: a lock beside its socket. The kernel drops the lock with the process, so
//! an agent that was killed leaves nothing to tidy.

use std::{
    fs::{self, File, TryLockError},
    io::{self, Read as _, Seek as _, Write as _},
    path::{Path, PathBuf},
};

/// Held for as long as the value lives.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

/// Why the lock could not be taken.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    #[error(
        "another agent{} holds the lock {path}: only one may run on a node (stop that one first, or give this one a `socket` of its own if it has a `pinPath` of its own)",
        .pid.map(|pid| format!(" (pid {pid})")).unwrap_or_default()
    )]
    Held { path: PathBuf, pid: Option<u32> },
    #[error(
        "lock {path}: {source} (does the folder of `socket` exist, and may this user write there?)"
    )]
    Unusable { path: PathBuf, source: io::Error },
}

impl Lock {
    /// Takes the lock that belongs to the agent with this `socket`.
    pub fn take(socket: &Path) -> Result<Self, LockError> {
        let path = lock_path(socket);
        let unusable = |source| LockError::Unusable { path: path.clone(), source };
        if let Some(folder) = path.parent() {
            fs::create_dir_all(folder).map_err(unusable)?;
        }
        let mut file = File::options()
            .create(true)
            .read(true)
            .write(true)
            .truncate(false)
            .open(&path)
            .map_err(unusable)?;
        match file.try_lock() {
            Ok(()) => {}
            Err(TryLockError::WouldBlock) => {
                let pid = pid_in(&mut file);
                return Err(LockError::Held { path, pid });
            }
            Err(TryLockError::Error(source)) => return Err(unusable(source)),
        }
        let write = |file: &mut File| {
            file.set_len(0)?;
            file.rewind()?;
            writeln!(file, "{}", std::process::id())
        };
        write(&mut file).map_err(unusable)?;
        Ok(Self { _file: file })
    }
}

/// The lock that belongs to `socket`. It stays on disk: removing it would let two agents lock two
/// different files of one name.
pub fn lock_path(socket: &Path) -> PathBuf {
    let mut name = socket.as_os_str().to_owned();
    name.push(".lock");
    PathBuf::from(name)
}

fn pid_in(file: &mut File) -> Option<u32> {
    let mut text = String::new();
    file.read_to_string(&mut text).ok()?;
    text.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::{Lock, LockError};

    #[test]
    fn the_second_one_is_told_who_holds_it() {
        let folder = tempfile::tempdir().expect("a folder");
        let socket = folder.path().join("below/exeat.sock");
        let held = Lock::take(&socket).expect("free");
        let error = Lock::take(&socket).expect_err("held");
        assert!(
            matches!(error, LockError::Held { pid: Some(pid), .. } if pid == std::process::id())
        );
        let words = error.to_string();
        assert!(words.contains("another") && words.contains("lock"), "{words}");
        drop(held);
        Lock::take(&socket).expect("free again");
    }

    #[test]
    fn a_folder_that_cannot_be_made_is_named() {
        let error = Lock::take("/proc/nowhere/exeat.sock".as_ref()).expect_err("no such place");
        assert!(error.to_string().contains("/proc/nowhere/exeat.sock.lock"), "{error}");
    }
}
