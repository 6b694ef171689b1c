//! Running other programs: what they inherit, where their output goes, and errors that name the command.

use std::{
    env, fs,
    os::unix::fs::{MetadataExt as _, PermissionsExt as _},
    path::{Path, PathBuf},
    process::{Command, Stdio},
    time::Instant,
};

use anyhow::{Context as _, Result, bail};

/// Lines of a log that a failure shows; the whole log stays on disk.
const TAIL_LINES: usize = 25;

/// The root folder of the workspace.
pub(crate) fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .parent()
        .expect("invariant: xtask is a folder of the workspace")
}

/// A path below the workspace's `target`. All verbs use this folder, whatever `CARGO_TARGET_DIR`
/// says: the agent's build script has to find the kernel object, and the tests the agent.
pub(crate) fn target(path: &str) -> PathBuf {
    root().join("target").join(path)
}

/// The cargo that started this program, set up to build for the host.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(cargo_path());
    command.current_dir(root()).env("CARGO_TARGET_DIR", target("")).env_remove("LD_LIBRARY_PATH");
    for (name, _) in env::vars_os() {
        let of_this_package = name.to_str().is_some_and(|name| {
            name.starts_with("CARGO_PKG_") || name.starts_with("CARGO_MANIFEST_")
        });
        if of_this_package {
            command.env_remove(name);
        }
    }
    command
}

/// The path of the cargo that started this program.
pub(crate) fn cargo_path() -> PathBuf {
    env::var_os("CARGO").map_or_else(|| PathBuf::from("cargo"), PathBuf::from)
}

/// A command that inherits nothing of what a surrounding cargo or rustup chose for the host.
pub(crate) fn isolated(program: impl AsRef<Path>) -> Command {
    let mut command = Command::new(program.as_ref());
    command.current_dir(root());
    for (name, _) in env::vars_os() {
        if name.to_str().is_some_and(chooses_a_toolchain) {
            command.env_remove(name);
        }
    }
    command
}

/// Whether an environment variable selects or tunes a compiler. How cargo reaches its registry and
/// prints its output is the user's setting and stays.
fn chooses_a_toolchain(name: &str) -> bool {
    const KEPT: [&str; 8] = [
        "CARGO_HOME",
        "CARGO_HTTP_",
        "CARGO_NET_",
        "CARGO_REGISTR",
        "CARGO_SOURCE_",
        "CARGO_TERM_",
        "RUSTUP_HOME",
        "RUST_BACKTRACE",
    ];
    let tuning = name.starts_with("CARGO") || name.starts_with("RUST") || name == "LD_LIBRARY_PATH";
    tuning && !KEPT.iter().any(|kept| name.starts_with(kept))
}

/// Runs a command whose output the reader sees.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    let status = command.status().with_context(|| format!("cannot start {}", shown(command)))?;
    if !status.success() {
        bail!("{} failed ({status})", shown(command));
    }
    Ok(())
}

/// Runs a command and returns what it wrote to standard output.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command
        .stdin(Stdio::null())
        .output()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    if !output.status.success() {
        let stderr = String::from_utf8_lossy(&output.stderr);
        bail!("{} failed ({})\n{}", shown(command), output.status, stderr.trim_end());
    }
    String::from_utf8(output.stdout)
        .with_context(|| format!("{} did not print UTF-8", shown(command)))
}

/// Runs a long command as one line, `what … 12 s`, with its output in `target/NAME.log`.
pub(crate) fn logged(what: &str, log_name: &str, command: &mut Command) -> Result<()> {
    let log = target(&format!("{log_name}.log"));
    fs::create_dir_all(target(""))
        .with_context(|| format!("cannot make {}", target("").display()))?;
    let file = fs::File::create(&log).with_context(|| format!("cannot write {}", log.display()))?;
    let both = file.try_clone().with_context(|| format!("cannot write {}", log.display()))?;
    println!("  {what} (log: {})", log.display());
    let started = Instant::now();
    let status = command
        .stdin(Stdio::null())
        .stdout(file)
        .stderr(both)
        .status()
        .with_context(|| format!("cannot start {}", shown(command)))?;
    let seconds = started.elapsed().as_secs();
    if !status.success() {
        bail!(
            "{} failed after {seconds} s ({status}); the end of {}:\n{}",
            shown(command),
            log.display(),
            tail(&fs::read_to_string(&log).unwrap_or_default())
        );
    }
    println!("  {what}: done in {seconds} s");
    Ok(())
}

/// The last lines of a log, indented.
fn tail(text: &str) -> String {
    let lines: Vec<&str> = text.lines().collect();
    let first = lines.len().saturating_sub(TAIL_LINES);
    lines[first..].iter().map(|line| format!("    {line}")).collect::<Vec<_>>().join("\n")
}

/// A command as a person would type it.
fn shown(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    let words: Vec<_> = words.map(|word| word.to_string_lossy()).collect();
    format!("`{}`", words.join(" "))
}

/// Finds a program on `PATH`, or where the system keeps its daemons, which some users' `PATH` lacks.
pub(crate) fn find_program(name: &str) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|folder| folder.join(name))
        .find(|program| is_executable(program))
}

/// Whether a path names a file that somebody may execute.
pub(crate) fn is_executable(path: &Path) -> bool {
    fs::metadata(path).is_ok_and(|meta| meta.is_file() && meta.permissions().mode() & 0o111 != 0)
}

/// Whether this process is root's: its own folder in `/proc` belongs to its user.
pub(crate) fn is_root() -> bool {
    fs::metadata("/proc/self").is_ok_and(|meta| meta.uid() == 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_surrounding_toolchain_is_not_inherited_but_registry_settings_are() {
        for name in [
            "RUSTUP_TOOLCHAIN",
            "RUSTC",
            "RUSTFLAGS",
            "CARGO",
            "CARGO_ENCODED_RUSTFLAGS",
            "CARGO_BUILD_TARGET",
            "CARGO_PROFILE_RELEASE_LTO",
            "RUSTC_WRAPPER",
            "LD_LIBRARY_PATH",
        ] {
            assert!(chooses_a_toolchain(name), "{name}");
        }
        for name in ["CARGO_HOME", "CARGO_NET_OFFLINE", "CARGO_REGISTRIES_X_INDEX", "PATH", "HOME"]
        {
            assert!(!chooses_a_toolchain(name), "{name}");
        }
    }

    #[test]
    fn a_tail_is_the_end_of_the_text() {
        let text: Vec<String> = (0..100).map(|n| n.to_string()).collect();
        let tail = tail(&text.join("\n"));
        assert_eq!(tail.lines().count(), TAIL_LINES);
        assert!(tail.ends_with("    99"));
    }

    #[test]
    fn a_failing_command_is_named_in_the_error() {
        let error = run(Command::new("false").arg("--why")).unwrap_err().to_string();
        assert!(error.contains("`false --why` failed"), "{error}");
        let error = run(&mut Command::new("no-such-program-anywhere")).unwrap_err().to_string();
        assert!(error.contains("cannot start `no-such-program-anywhere`"), "{error}");
    }
}
