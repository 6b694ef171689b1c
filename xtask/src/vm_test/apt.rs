//! Packages of any Debian suite, fetched and unpacked without touching the machine: lists and archives
//! lie in a folder of the project, and the mirror is the one that the machine's own sources name.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// The key ring that signs all suites of Debian, where the machine keeps it.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
/// What `apt-get indextargets` is asked to print of each source.
const TARGET_FORMAT: &str = "$(ORIGIN)|$(LABEL)|$(REPO_URI)";

/// One suite of Debian.
pub(super) struct Suite {
    folder: PathBuf,
}

impl Suite {
    /// Reads the package lists of `suite` into a folder of its own below `target`.
    pub(super) fn open(suite: &str) -> Result<Self> {
        let folder = run::target("vm/suites").join(suite);
        for part in ["lists/partial", "cache/archives/partial"] {
            make(&folder.join(part))?;
        }
        let signed = if Path::new(KEYRING).exists() {
            format!("[signed-by={KEYRING}] ")
        } else {
            String::new()
        };
        let source = format!("deb {signed}{} {suite} main\n", mirror_of(suite)?);
        write(&folder.join("sources.list"), &source)?;
        let opened = Self { folder };
        run::output(opened.apt("apt-get").arg("update"))
            .with_context(|| format!("cannot read the package lists of {suite}"))?;
        Ok(opened)
    }

    /// Names of packages that begin like this.
    pub(super) fn packages(&self, beginning: &str) -> Result<Vec<String>> {
        let names = run::output(self.apt("apt-cache").args(["pkgnames", beginning]))?;
        Ok(names.lines().map(str::to_owned).collect())
    }

    /// Names of the packages that `package` depends on.
    pub(super) fn depends(&self, package: &str) -> Result<Vec<String>> {
        let shown = run::output(self.apt("apt-cache").args(["depends", package]))?;
        Ok(dependencies(&shown))
    }

    /// Downloads packages and unpacks them into `root`.
    pub(super) fn unpack(&self, packages: &[String], root: &Path) -> Result<()> {
        unpack(self.apt("apt-get"), packages, root)
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = run::isolated(program);
        for (option, path) in [
            ("Dir::Etc::SourceList", self.folder.join("sources.list")),
            ("Dir::Etc::SourceParts", PathBuf::from("/dev/null")),
            ("Dir::State::Lists", self.folder.join("lists")),
            ("Dir::Cache", self.folder.join("cache")),
        ] {
            command.arg("-o").arg(format!("{option}={}", path.display()));
        }
        command.args(["-o", "Acquire::Languages=none"]);
        command
    }
}

/// Downloads packages with `apt_get` and unpacks them into `root`.
pub(crate) fn unpack(mut apt_get: Command, packages: &[String], root: &Path) -> Result<()> {
    let archives = root.with_extension("archives");
    make(&archives)?;
    make(root)?;
    run::output(apt_get.arg("download").args(packages).current_dir(&archives))?;
    let entries =
        fs::read_dir(&archives).with_context(|| format!("cannot read {}", archives.display()))?;
    for archive in entries {
        run::output(run::isolated("dpkg-deb").arg("-x").arg(archive?.path()).arg(root))?;
    }
    fs::remove_dir_all(&archives).with_context(|| format!("cannot remove {}", archives.display()))
}

/// The mirror that this machine gets Debian from; the one of the security archive for its suites.
fn mirror_of(suite: &str) -> Result<String> {
    let label = if suite.ends_with("-security") { "Debian-Security" } else { "Debian" };
    let mut ask = run::isolated("apt-get");
    ask.args(["indextargets", "--format", TARGET_FORMAT, "Created-By: Packages"]);
    let targets = run::output(&mut ask)?;
    let found = mirror(&targets, label).map(str::to_owned);
    found.with_context(|| {
        format!(
            "{suite} is on no mirror that this machine knows: among its package sources none says \
             `Origin: Debian` and `Label: {label}` (is it Debian, and was `apt-get update` run?)"
        )
    })
}

fn mirror<'a>(targets: &'a str, label: &str) -> Option<&'a str> {
    targets.lines().find_map(|line| {
        let mut fields = line.splitn(3, '|');
        let fits = fields.next() == Some("Debian") && fields.next() == Some(label);
        fields.next().filter(|_| fits)
    })
}

/// The names after `Depends:`, alternatives (`|Depends:`) and virtual packages (`<…>`) left out.
fn dependencies(shown: &str) -> Vec<String> {
    let lines = shown.lines().filter_map(|line| line.trim_start().strip_prefix("Depends: "));
    lines.filter(|name| !name.starts_with('<')).map(str::to_owned).collect()
}

fn make(folder: &Path) -> Result<()> {
    fs::create_dir_all(folder).with_context(|| format!("cannot make {}", folder.display()))
}

fn write(path: &Path, text: &str) -> Result<()> {
    fs::write(path, text).with_context(|| format!("cannot write {}", path.display()))
}

/// Fails where there is no apt.
pub(crate) fn ensure_apt() -> Result<()> {
    for program in ["apt-get", "apt-cache", "dpkg-deb"] {
        if run::find_program(program).is_none() {
            bail!("there is no {program}: this comes as a Debian package, so it takes a Debian");
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{dependencies, mirror};

    #[test]
    fn the_mirror_is_that_of_debian_with_the_label() {
        let targets = "Other|Other|http://other.test/\n\
                       Debian|Debian|http://mirror.test/debian/\n\
                       Debian|Debian-Security|http://mirror.test/debian-security/\n";
        assert_eq!(mirror(targets, "Debian"), Some("http://mirror.test/debian/"));
        let security = "http://mirror.test/debian-security/";
        assert_eq!(mirror(targets, "Debian-Security"), Some(security));
        assert_eq!(mirror("Other|Debian|http://other.test/\n", "Debian"), None);
    }

    #[test]
    fn dependencies_are_the_packages_that_have_to_be_there() {
        let shown = "linux-image-7.0.4-cloud-amd64\n  PreDepends: linux-base\n  \
                     Depends: linux-binary-7.0.4-cloud-amd64\n |Depends: initramfs-tools\n  \
                     Depends: <linux-initramfs-tool>\n    dracut\n  Recommends: apparmor\n";
        assert_eq!(dependencies(shown), ["linux-binary-7.0.4-cloud-amd64"]);
    }
}
