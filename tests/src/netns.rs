//! Named network namespaces (`/run/netns/NAME`, so that `ip netns` shows them), and starting
//! threads and processes inside them. The only file of this package with `unsafe`.

use std::ffi::CString;
use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;

use anyhow::{Context, Result, bail};
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, setns, unshare};

/// An open network namespace. Removing its name is the business of [`crate::run`].
#[derive(Clone, Debug)]
pub struct NetNs {
    name: String,
    handle: Arc<OwnedFd>,
}

impl NetNs {
    /// Makes the namespace, with loopback up and without waiting for address detection.
    pub fn add(name: &str) -> Result<Self> {
        ip(&["netns", "add", name], "")?;
        let path = Path::new("/run/netns").join(name);
        let file = File::open(&path).with_context(|| format!("open {}", path.display()))?;
        let netns = Self { name: name.to_owned(), handle: Arc::new(file.into()) };
        for scope in ["all", "default"] {
            // Duplicate address detection would hold back every IPv6 address for a second.
            netns.sysctl(&format!("net/ipv6/conf/{scope}/accept_dad"), "0")?;
        }
        netns.ip("link set lo up")?;
        Ok(netns)
    }

    pub fn name(&self) -> &str {
        &self.name
    }

    /// Runs lines of `ip` commands (without the word `ip`) in the namespace.
    pub fn ip(&self, batch: &str) -> Result<()> {
        ip(&["-n", &self.name, "-batch", "-"], batch)
    }

    /// Writes a setting below `/proc/sys`, as seen from inside the namespace.
    pub fn sysctl(&self, key: &str, value: &str) -> Result<()> {
        let path = Path::new("/proc/sys").join(key);
        self.run(|| std::fs::write(&path, value))?
            .with_context(|| format!("write {} in namespace {}", path.display(), self.name))
    }

    /// Moves the calling thread into the namespace, for good.
    pub fn enter(&self) -> Result<()> {
        setns(self.handle.as_fd(), CloneFlags::CLONE_NEWNET)
            .with_context(|| format!("enter network namespace {}", self.name))
    }

    /// Runs `work` on a thread of its own inside the namespace and waits for it.
    pub fn run<T: Send>(&self, work: impl FnOnce() -> T + Send) -> Result<T> {
        std::thread::scope(|scope| {
            let thread = scope.spawn(|| self.enter().map(|()| work()));
            match thread.join() {
                Ok(result) => result,
                Err(panic) => std::panic::resume_unwind(panic),
            }
        })
    }

    /// A command that will start in this namespace and in the cgroup `cgroup`.
    pub fn command(&self, program: &Path, cgroup: &Path) -> Result<Command> {
        self.command_with_resolver(program, cgroup, None)
    }

    /// The same, with `resolv_conf` in the place of `/etc/resolv.conf`.
    ///
    /// Not `ip netns exec`: it mounts a fresh `/sys`, which hides the cgroups and bpffs.
    pub fn command_with_resolver(
        &self,
        program: &Path,
        cgroup: &Path,
        resolv_conf: Option<&Path>,
    ) -> Result<Command> {
        let procs_path = cgroup.join("cgroup.procs");
        let procs = File::options()
            .write(true)
            .open(&procs_path)
            .with_context(|| format!("open {}", procs_path.display()))?;
        let handle = Arc::clone(&self.handle);
        let resolver = resolv_conf
            .map(|path| CString::new(path.as_os_str().as_bytes()))
            .transpose()
            .context("path of resolv.conf")?;
        let mut command = Command::new(program);
        let enter = move || -> std::io::Result<()> {
            // The cgroup first: the sockets of the process then belong to it from the start.
            nix::unistd::write(procs.as_fd(), b"0")?;
            setns(handle.as_fd(), CloneFlags::CLONE_NEWNET)?;
            if let Some(source) = &resolver {
                unshare(CloneFlags::CLONE_NEWNS)?;
                let none: Option<&std::ffi::CStr> = None;
                mount(none, c"/", none, MsFlags::MS_REC | MsFlags::MS_PRIVATE, none)?;
                let target = c"/etc/resolv.conf";
                mount(Some(source.as_c_str()), target, none, MsFlags::MS_BIND, none)?;
            }
            Ok(())
        };
        // SAFETY: between fork and exec the closure only makes the system calls write, setns,
        // unshare and mount on values made before the fork: it neither allocates nor locks.
        unsafe { command.pre_exec(enter) };
        Ok(command)
    }
}

/// Runs the `ip` tool, with `input` on its standard input.
pub fn ip(args: &[&str], input: &str) -> Result<()> {
    let mut child = Command::new("ip")
        .args(args)
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .context("start `ip` (Debian package iproute2)")?;
    child.stdin.take().context("standard input of ip")?.write_all(input.as_bytes())?;
    let output = child.wait_with_output().context("wait for ip")?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("`ip {}` failed: {}\n{input}", args.join(" "), stderr.trim());
    }
    Ok(())
}
