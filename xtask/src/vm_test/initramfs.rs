//! The file system that a machine starts with, as the kernel unpacks it: a cpio archive in memory.
//! Format: Linux, `Documentation/driver-api/early-userspace/buffer-format.rst`.

use std::{
    collections::BTreeSet,
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result};

use crate::run;

/// File types and permissions as in `st_mode`.
const FOLDER: u32 = 0o040_755;
const PROGRAM: u32 = 0o100_755;
const LINK: u32 = 0o120_777;
const CONSOLE: u32 = 0o020_600;
/// Device number of `/dev/console`, which the kernel opens before anything is mounted.
const CONSOLE_DEVICE: (u32, u32) = (5, 1);

/// An archive under construction.
pub(super) struct Initramfs {
    bytes: Vec<u8>,
    /// Paths without the leading slash that are in it.
    names: BTreeSet<String>,
}

impl Initramfs {
    pub(super) fn new() -> Self {
        let mut archive = Self { bytes: Vec::new(), names: BTreeSet::new() };
        archive.entry("dev", FOLDER, (0, 0), &[]);
        archive.entry("dev/console", CONSOLE, CONSOLE_DEVICE, &[]);
        archive
    }

    /// Adds a program of this machine as `/bin/NAME`, with the libraries that it is linked to.
    pub(super) fn program(&mut self, name: &str, path: &Path) -> Result<()> {
        for library in libraries(path)? {
            let name = library.to_string_lossy();
            self.copy(name.trim_start_matches('/'), &library)?;
        }
        self.copy(&format!("bin/{name}"), path)
    }

    fn copy(&mut self, name: &str, path: &Path) -> Result<()> {
        let content = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        self.file(name, &content);
        Ok(())
    }

    /// Adds a file, and the folders it is in. A second one of the same name is left out.
    pub(super) fn file(&mut self, name: &str, content: &[u8]) {
        self.folders(name);
        self.entry(name, PROGRAM, (0, 0), content);
    }

    pub(super) fn link(&mut self, name: &str, target: &str) {
        self.folders(name);
        self.entry(name, LINK, (0, 0), target.as_bytes());
    }

    /// The finished archive.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.entry("TRAILER!!!", 0, (0, 0), &[]);
        self.bytes
    }

    fn folders(&mut self, name: &str) {
        let ends: Vec<usize> = name.match_indices('/').map(|(at, _)| at).collect();
        for end in ends {
            self.entry(&name[..end], FOLDER, (0, 0), &[]);
        }
    }

    fn entry(&mut self, name: &str, mode: u32, device: (u32, u32), content: &[u8]) {
        if !self.names.insert(name.to_owned()) {
            return;
        }
        let length = |bytes: usize| u32::try_from(bytes).expect("invariant: files are below 4 GiB");
        let number = length(self.names.len());
        let (major, minor) = device;
        // Inode, mode, owner, group, links, time, size, the device it is on, its own device, bytes of the
        // name with its zero, checksum (not used).
        let fields = [
            number,
            mode,
            0,
            0,
            1,
            0,
            length(content.len()),
            0,
            0,
            major,
            minor,
            length(name.len() + 1),
            0,
        ];
        self.bytes.extend(b"070701");
        for field in fields {
            self.bytes.extend(format!("{field:08X}").bytes());
        }
        self.bytes.extend(name.bytes());
        self.bytes.push(0);
        self.align();
        self.bytes.extend(content);
        self.align();
    }

    /// Names and contents end at multiples of four.
    fn align(&mut self) {
        self.bytes.resize(self.bytes.len().next_multiple_of(4), 0);
    }
}

/// The shared libraries of a program, and what loads them.
fn libraries(program: &Path) -> Result<Vec<PathBuf>> {
    let listed = run::output(run::isolated("ldd").arg(program))
        .with_context(|| format!("which libraries {} needs", program.display()))?;
    Ok(paths(&listed))
}

/// Of `libc.so.6 => /lib/libc.so.6 (0x…)` and `/lib64/ld-linux-x86-64.so.2 (0x…)` the paths.
fn paths(listed: &str) -> Vec<PathBuf> {
    listed
        .lines()
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with('/')))
        .map(PathBuf::from)
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_archive_is_what_the_kernel_unpacks() {
        let mut archive = Initramfs::new();
        archive.file("a/b", b"hello");
        archive.file("a/b", b"again");
        archive.link("init", "/a/b");
        let bytes = archive.finish();
        assert_eq!(bytes.len() % 4, 0);
        let text = String::from_utf8_lossy(&bytes);
        for name in ["dev/console", "a", "a/b", "init", "TRAILER!!!"] {
            assert_eq!(text.matches(&format!("{name}\0")).count(), 1, "{name}");
        }
        assert_eq!(text.matches("070701").count(), 6);
        assert!(text.contains("hello") && !text.contains("again"));
        // Header of 110 bytes, then the name, aligned: contents begin at a multiple of four.
        let at = bytes.windows(5).position(|window| window == b"hello").unwrap();
        assert_eq!(at % 4, 0);
    }

    #[test]
    fn libraries_are_listed_by_path() {
        let listed = "\tlinux-vdso.so.1 (0x0)\n\tlibc.so.6 => /lib/libc.so.6 (0x0)\n\
                      \t/lib64/ld-linux-x86-64.so.2 (0x0)\n";
        let expected = ["/lib/libc.so.6", "/lib64/ld-linux-x86-64.so.2"].map(PathBuf::from);
        assert_eq!(paths(listed), expected);
    }
}
