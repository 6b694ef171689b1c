//! Where things are pinned, and how all of it is taken out of the kernel again.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use exeat_common::limits::{ABI_VERSION, map, program};
use nix::sys::statfs::{BPF_FS_MAGIC, statfs};

use super::{filter, probe, syscall::detach_pinned_link};

/// What [`cleanup`] took out.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Removed {
    /// Pinned links and programs. A link that loses its pin is detached.
    pub links: usize,
    /// Pinned tables.
    pub maps: usize,
}

/// Why cleaning up failed. What was removed before stays removed; trying again goes on from there.
#[derive(Debug, thiserror::Error)]
pub enum PinError {
    #[error("pinPath {path} is not on a bpffs, so nothing there is exeat's (is the path right?)")]
    NotBpffs { path: PathBuf },
    #[error("read {path}: {source} (may this user read it? it takes root)")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("remove {path}: {source} (may this user write there? it takes root)")]
    Unremovable { path: PathBuf, source: io::Error },
}

/// The folder of this version's pins.
pub fn version_folder(pin_path: &Path) -> PathBuf {
    pin_path.join(format!("v{ABI_VERSION}"))
}

/// Removes what every version pinned below `pin_path`: links first, which detaches the programs,
/// then tables, then folders. Nothing there is no error.
pub fn cleanup(pin_path: &Path) -> Result<Removed, PinError> {
    match statfs(pin_path) {
        Ok(kind) if kind.filesystem_type() == BPF_FS_MAGIC => remove_versions(pin_path),
        Ok(_) => Err(PinError::NotBpffs { path: pin_path.to_owned() }),
        Err(nix::errno::Errno::ENOENT) => Ok(Removed::default()),
        Err(errno) => Err(PinError::Unreadable { path: pin_path.to_owned(), source: errno.into() }),
    }
}

fn remove_versions(pin_path: &Path) -> Result<Removed, PinError> {
    let mut files = Vec::new();
    let mut folders = Vec::new();
    for path in entries(pin_path)? {
        if is_version_folder(&path) {
            walk(path, &mut files, &mut folders)?;
        }
    }
    let (maps, links): (Vec<_>, Vec<_>) = files.into_iter().partition(|path| is_map(path));
    // The hooks towards the workloads go first: without those that note the questions they would
    // take every answer for one that nobody asked for.
    let (inward, others): (Vec<_>, Vec<_>) = links.iter().partition(|path| is_inward(path));
    for path in inward.into_iter().chain(others) {
        remove(path, unpin_link)?;
    }
    for path in &maps {
        remove(path, |path| fs::remove_file(path))?;
    }
    for folder in folders.iter().rev() {
        remove(folder, |path| fs::remove_dir(path))?;
    }
    if entries(pin_path)?.is_empty() {
        remove(pin_path, |path| fs::remove_dir(path))?;
    }
    Ok(Removed { links: links.len(), maps: maps.len() })
}

/// Folders that a version of exeat made: `v` and a number. What else lies there is not ours.
fn is_version_folder(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    let is_number = |digits: &str| !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
    path.is_dir() && name.strip_prefix('v').is_some_and(is_number)
}

/// Detaches a link, or a filter, at once, then removes its pin.
pub(super) fn unpin_link(pin: &Path) -> io::Result<()> {
    if !probe::at_least(probe::TCX) {
        // Without its pin nobody would find it again.
        filter::detach(pin)?;
    }
    // What cannot be detached, because its place is gone or it is no link, ends with its pin.
    if let Err(error) = detach_pinned_link(pin) {
        tracing::debug!(pin = %pin.display(), %error, "detach");
    }
    fs::remove_file(pin)
}

fn is_inward(path: &Path) -> bool {
    let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
    [program::TO_POD, program::INGRESS].iter().any(|program| name.ends_with(program))
}

fn is_map(path: &Path) -> bool {
    path.file_name().and_then(|name| name.to_str()).is_some_and(|name| map::ALL.contains(&name))
}

/// Lists files and folders below `folder` and itself, parents before children.
fn walk(
    folder: PathBuf,
    files: &mut Vec<PathBuf>,
    folders: &mut Vec<PathBuf>,
) -> Result<(), PinError> {
    let children = entries(&folder)?;
    folders.push(folder);
    for path in children {
        if path.is_dir() {
            walk(path, files, folders)?;
        } else {
            files.push(path);
        }
    }
    Ok(())
}

fn entries(folder: &Path) -> Result<Vec<PathBuf>, PinError> {
    let list = || -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?.map(|entry| entry.map(|entry| entry.path())).collect()
    };
    let mut paths =
        list().map_err(|source| PinError::Unreadable { path: folder.to_owned(), source })?;
    paths.sort();
    Ok(paths)
}

fn remove(path: &Path, with: impl Fn(&Path) -> io::Result<()>) -> Result<(), PinError> {
    match with(path) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => {
            Err(PinError::Unremovable { path: path.to_owned(), source: error })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::fs;

    use super::{PinError, Removed, cleanup, remove_versions};

    #[test]
    fn every_version_goes_and_what_is_not_ours_stays() {
        let folder = tempfile::tempdir().expect("a folder");
        let pins = folder.path().join("exeat");
        for file in ["v1/FACTS", "v1/RULES", "v1/links/connect4", "v2/FACTS"] {
            let path = pins.join(file);
            fs::create_dir_all(path.parent().expect("a parent")).expect("folders");
            fs::write(path, "").expect("a pin");
        }
        let removed = remove_versions(&pins).expect("removable");
        assert_eq!(removed, Removed { links: 1, maps: 3 });
        assert!(!pins.exists());

        fs::create_dir_all(pins.join("v1")).expect("a folder");
        fs::write(pins.join("foreign"), "").expect("a file");
        assert_eq!(remove_versions(&pins).expect("removable"), Removed::default());
        assert!(pins.join("foreign").exists() && !pins.join("v1").exists());
    }

    #[test]
    fn a_path_outside_of_bpffs_is_left_alone() {
        let folder = tempfile::tempdir().expect("a folder");
        let error = cleanup(folder.path()).expect_err("not a bpffs");
        assert!(matches!(error, PinError::NotBpffs { .. }));
        assert_eq!(cleanup(&folder.path().join("none")).expect("nothing"), Removed::default());
    }
}
