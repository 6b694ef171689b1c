//! Kernel modules in the order in which they can be loaded: what a module depends on comes before it.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::run;

/// What a machine of the test needs and Debian does not build in: virtual network pairs, and the hook of
/// kernels before tcx.
const WANTED: [&str; 3] = ["veth", "sch_ingress", "cls_bpf"];

/// A module and its content, not compressed.
pub(super) struct Module {
    pub(super) name: String,
    pub(super) content: Vec<u8>,
}

/// All modules that are wanted, each behind what it depends on.
pub(super) fn wanted(folder: &Path) -> Result<Vec<Module>> {
    let mut files = BTreeMap::new();
    walk(folder, &mut files)?;
    let built_in = folder.join("modules.builtin");
    let built_in = fs::read_to_string(&built_in)
        .with_context(|| format!("cannot read {}", built_in.display()))?;
    let built_in: BTreeSet<String> = built_in.lines().map(name_of).collect();
    let mut contents = BTreeMap::new();
    let order = order(&WANTED, |name| {
        if built_in.contains(name) {
            return Ok(None);
        }
        let Some(path) = files.get(name) else {
            bail!("there is no module {name} in {}", folder.display());
        };
        let content = read(path)?;
        let depends = depends(&content);
        contents.insert(name.to_owned(), content);
        Ok(Some(depends))
    })?;
    let module = |name: String| contents.remove(&name).map(|content| Module { name, content });
    Ok(order.into_iter().filter_map(module).collect())
}

/// Names in the order to load them in. `depends` says what a module needs, or None if it is built in.
fn order(
    wanted: &[&str],
    mut depends: impl FnMut(&str) -> Result<Option<Vec<String>>>,
) -> Result<Vec<String>> {
    fn visit(
        name: &str,
        depends: &mut impl FnMut(&str) -> Result<Option<Vec<String>>>,
        seen: &mut BTreeSet<String>,
        order: &mut Vec<String>,
    ) -> Result<()> {
        if !seen.insert(name.to_owned()) {
            return Ok(());
        }
        let Some(needed) = depends(name)? else {
            return Ok(());
        };
        for needed in needed {
            visit(&needed, depends, seen, order)?;
        }
        order.push(name.to_owned());
        Ok(())
    }
    let (mut seen, mut order) = (BTreeSet::new(), Vec::new());
    for name in wanted {
        visit(name, &mut depends, &mut seen, &mut order)?;
    }
    Ok(order)
}

/// The names in the `depends=` field that the kernel's build writes into each module (section `.modinfo`:
/// fields that end with a zero byte). A package has no `modules.dep`: that is made when it is installed.
fn depends(content: &[u8]) -> Vec<String> {
    const FIELD: &[u8] = b"\0depends=";
    let found = content.windows(FIELD.len()).position(|window| window == FIELD);
    let value = found.map_or(&[][..], |at| &content[at + FIELD.len()..]);
    let end = value.iter().position(|byte| *byte == 0).unwrap_or(0);
    let names = String::from_utf8_lossy(&value[..end]);
    names.split(',').filter(|name| !name.is_empty()).map(name_of).collect()
}

/// `kernel/net/sched/cls-bpf.ko.xz` is the module `cls_bpf`.
fn name_of(path: &str) -> String {
    let file = path.rsplit('/').next().unwrap_or(path);
    file.split('.').next().unwrap_or(file).replace('-', "_")
}

/// All module files below a folder, by the names of the modules.
fn walk(folder: &Path, files: &mut BTreeMap<String, PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot read {}", folder.display()))?;
    for path in entries.flatten().map(|entry| entry.path()) {
        let name = path.to_string_lossy();
        if path.is_dir() && !path.is_symlink() {
            walk(&path, files)?;
        } else if [".ko", ".ko.xz", ".ko.zst"].iter().any(|end| name.ends_with(end)) {
            files.insert(name_of(&name), path);
        }
    }
    Ok(())
}

fn read(path: &Path) -> Result<Vec<u8>> {
    let unpacker = match path.extension().and_then(|extension| extension.to_str()) {
        Some("xz") => "xz",
        Some("zst") => "zstd",
        _ => return fs::read(path).with_context(|| format!("cannot read {}", path.display())),
    };
    let mut command = run::isolated(unpacker);
    let output = command
        .arg("-dc")
        .arg(path)
        .output()
        .with_context(|| format!("cannot start {unpacker} for {}", path.display()))?;
    if !output.status.success() {
        bail!("{unpacker} cannot unpack {}", path.display());
    }
    Ok(output.stdout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_a_module_depends_on_comes_before_it_and_once() {
        let order = order(&["a", "b", "c"], |name| {
            let needed: &[&str] = match name {
                "a" => &["x", "built_in"],
                "b" => &["x", "y"],
                "y" => &["x"],
                "built_in" => return Ok(None),
                _ => &[],
            };
            Ok(Some(needed.iter().map(|name| (*name).to_owned()).collect()))
        });
        assert_eq!(order.unwrap(), ["x", "a", "y", "b", "c"]);
    }

    #[test]
    fn modules_that_need_each_other_come_to_an_end() {
        let order =
            order(&["a"], |name| Ok(Some(vec![if name == "a" { "b" } else { "a" }.to_owned()])));
        assert_eq!(order.unwrap(), ["b", "a"]);
    }

    #[test]
    fn a_missing_module_is_an_error() {
        assert!(order(&["a"], |name| bail!("no {name}")).is_err());
    }

    #[test]
    fn the_field_in_a_module_is_read_whole() {
        let names = |content: &[u8]| depends(content);
        assert_eq!(names(b"ELF\0name=a\0depends=nf_x,nf-y\0retpoline=Y\0"), ["nf_x", "nf_y"]);
        assert!(names(b"ELF\0depends=\0name=a\0").is_empty());
        assert!(names(b"ELF\0softdepends=b\0").is_empty());
    }

    #[test]
    fn a_module_is_named_by_its_file() {
        assert_eq!(name_of("kernel/net/sched/cls-bpf.ko.xz"), "cls_bpf");
        assert_eq!(name_of("veth"), "veth");
    }
}
