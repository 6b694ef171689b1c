//! `image`: the agent as one static binary in an otherwise empty container image, tried where nothing else is.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail, ensure};

use crate::{build_ebpf, run, setup};

/// Named, so that what runs during the build (macros, build scripts) is linked as usual.
const TARGET: &str = "x86_64-unknown-linux-gnu";
/// As the manifests in `deploy/` call it.
const NAME: &str = "localhost/exeat";
/// What the promise of a small agent allows, unpacked.
const LARGEST_MB: u64 = 25;
/// What the binary is asked to check where there is nothing but itself.
const EXAMPLES: &str = "deploy/registry.d";

/// Builds the image, tries it, and leaves it as an archive in `target/image`.
pub(crate) fn image() -> Result<()> {
    setup::ensure(setup::Scope::Build)?;
    setup::ensure_image()?;
    ensure!(
        run::is_root(),
        "an image's files are root's, and its trial is a chroot: run it as root"
    );
    build_ebpf::build(&build_ebpf::Options { debug_log: false })?;
    let folder = run::target("image");
    remove(&folder)?;
    let root = folder.join("root");
    make(&root)?;
    fill(&root, &compile()?)?;
    let bytes = size(&root)?;

    let buildah = Buildah { storage: folder.join("storage") };
    let archive = folder.join("exeat.oci.tar");
    let digest = buildah.assemble(&root, &archive);
    let tried = digest.and_then(|digest| buildah.smoke().map(|()| digest));
    // Its storage holds nothing that the archive lacks.
    remove(&buildah.storage)?;
    let digest = tried?;

    println!("image: {NAME}:{} in {}", version(), archive.display());
    println!("image: digest {digest}");
    println!("image: {}.{} MB unpacked", bytes / 1_000_000, bytes / 100_000 % 10);
    ensure!(bytes <= LARGEST_MB * 1_000_000, "the image has more than {LARGEST_MB} MB");
    Ok(())
}

fn version() -> &'static str {
    env!("CARGO_PKG_VERSION")
}

/// Compiles the agent so that it needs no other file.
fn compile() -> Result<PathBuf> {
    let mut cargo = run::cargo();
    cargo.args(["build", "--release", "--package", "exeat-agent", "--bin", "exeat"]);
    cargo.args(["--target", TARGET]).env("RUSTFLAGS", "-C target-feature=+crt-static");
    // Nobody debugs in the image.
    cargo.env("CARGO_PROFILE_RELEASE_DEBUG", "0").env("CARGO_PROFILE_RELEASE_STRIP", "symbols");
    run::run(&mut cargo)?;
    let binary = run::target(TARGET).join("release/exeat");
    let segments = run::output(run::isolated("readelf").arg("-lW").arg(&binary))?;
    let dynamic = run::output(run::isolated("readelf").arg("-dW").arg(&binary))?;
    if segments.contains("INTERP") || dynamic.contains("(NEEDED)") {
        bail!("{} is not static:\n{segments}{dynamic}", binary.display());
    }
    Ok(binary)
}

/// Lays out the root of the image: the binary, and under which licences it is.
fn fill(root: &Path, binary: &Path) -> Result<()> {
    copy(binary, &root.join("exeat"))?;
    for licence in ["LICENSE-APACHE", "LICENSE-MIT"] {
        copy(&run::root().join(licence), &root.join("licenses").join(licence))?;
    }
    Ok(())
}

/// A store of its own, which needs neither a daemon nor a kernel with overlayfs.
struct Buildah {
    storage: PathBuf,
}

impl Buildah {
    fn command(&self) -> Command {
        let mut command = run::isolated("buildah");
        command.args(["--storage-driver", "vfs", "--root"]).arg(self.storage.join("root"));
        command.arg("--runroot").arg(self.storage.join("run"));
        command.env("BUILDAH_ISOLATION", "chroot");
        command
    }

    fn say(&self, arguments: &[&str]) -> Result<String> {
        run::output(self.command().args(arguments)).map(|text| text.trim().to_owned())
    }

    /// Makes the image of a folder, writes it to an archive, and returns its digest.
    fn assemble(&self, root: &Path, archive: &Path) -> Result<String> {
        let container = self.say(&["from", "scratch"])?;
        self.say(&["copy", "--quiet", &container, &root.display().to_string(), "/"])?;
        let mut config = self.command();
        config.args(["config", "--entrypoint", r#"["/exeat"]"#, "--user", "0:0"]);
        config.args(["--stop-signal", "SIGTERM"]);
        for (key, value) in labels()? {
            config.arg("--label").arg(format!("org.opencontainers.image.{key}={value}"));
        }
        run::output(config.arg(&container))?;
        let name = format!("{NAME}:{}", version());
        // The time of the commit, so that one state of the sources makes one digest.
        let time = git(&["show", "--no-patch", "--format=%ct", "HEAD"])?;
        let commit = ["commit", "--quiet", "--format", "oci", "--timestamp", &time];
        self.say(&[commit.as_slice(), &[&container, &name]].concat())?;
        let digest = self.storage.join("digest");
        let mut push = self.command();
        push.args(["push", "--quiet", "--digestfile"]).arg(&digest).arg(&name);
        run::output(push.arg(format!("oci-archive:{}:{name}", archive.display())))?;
        fs::read_to_string(&digest).context("buildah wrote no digest")
    }

    /// Starts the binary in the root of a container of the image, where there is no file but its own.
    fn smoke(&self) -> Result<()> {
        let container = self.say(&["from", &format!("{NAME}:{}", version())])?;
        let root = PathBuf::from(self.say(&["mount", &container])?);
        let said = run::output(inside(&root).arg("--version"))?;
        ensure!(said.contains(version()), "the image's binary says `{said}` about its version");
        let examples = root.join("examples");
        make(&examples)?;
        let folder = run::root().join(EXAMPLES);
        for entry in fs::read_dir(&folder).context("cannot list the examples")? {
            let path = entry.context("cannot list the examples")?.path();
            copy(&path, &examples.join(path.file_name().unwrap_or_default()))?;
        }
        let checked = run::output(inside(&root).args(["check", "/examples"]))?;
        println!("image: in its own root: {}; check: {}", said.trim(), checked.trim());
        Ok(())
    }
}

/// The binary, with the folder as its root.
fn inside(root: &Path) -> Command {
    let mut chroot = run::isolated("chroot");
    chroot.arg(root).arg("/exeat");
    chroot
}

/// Annotations that the image specification names.
fn labels() -> Result<Vec<(&'static str, String)>> {
    Ok(vec![
        ("title", "exeat".to_owned()),
        ("description", "Holds every pod of a node to the declared destinations".to_owned()),
        ("version", version().to_owned()),
        ("licenses", "MIT OR Apache-2.0".to_owned()),
        ("revision", revision()?),
        ("created", git(&["show", "--no-patch", "--format=%cI", "HEAD"])?),
    ])
}

/// The commit, and whether something was changed since.
fn revision() -> Result<String> {
    let commit = git(&["rev-parse", "HEAD"])?;
    let changes = git(&["status", "--porcelain"])?;
    Ok(if changes.is_empty() { commit } else { format!("{commit}-modified") })
}

fn git(arguments: &[&str]) -> Result<String> {
    run::output(run::isolated("git").args(arguments)).map(|text| text.trim().to_owned())
}

/// Bytes of all files below a folder.
fn size(folder: &Path) -> Result<u64> {
    let mut bytes = 0;
    for entry in
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?
    {
        let entry = entry?;
        let metadata = entry.metadata()?;
        bytes += if metadata.is_dir() { size(&entry.path())? } else { metadata.len() };
    }
    Ok(bytes)
}

fn copy(from: &Path, to: &Path) -> Result<()> {
    make(to.parent().unwrap_or(to))?;
    fs::copy(from, to)
        .map(drop)
        .with_context(|| format!("cannot copy {} to {}", from.display(), to.display()))
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder)
            .with_context(|| format!("cannot remove {}", folder.display()))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::labels;

    #[test]
    fn labels_tell_what_it_was_made_of() {
        let labels = labels().unwrap();
        let of = |key| labels.iter().find(|(it, _)| *it == key).unwrap().1.clone();
        let revision = of("revision");
        assert_eq!(revision.trim_end_matches("-modified").len(), 40, "{revision}");
        assert!(of("created").contains('T'), "{}", of("created"));
    }
}
