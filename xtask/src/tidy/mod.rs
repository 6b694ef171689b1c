//! `tidy`: the house rules that no compiler knows. Each rule is a function from text to complaints.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context as _, Result, bail};

use crate::{licences, metadata, run};

mod arrows;
mod docs;
mod sources;

/// Files whose words are checked, by the end of their name.
const TEXT_ENDINGS: [&str; 7] = [".rs", ".md", ".toml", ".yaml", ".yml", ".txt", "/run"];

/// Checks every rule and prints all complaints at once.
pub(crate) fn tidy() -> Result<()> {
    let files = read_files(run::root())?;
    let packages = metadata::packages()?;
    let mut complaints = Vec::new();
    for file in &files {
        complaints.extend(sources::check(file));
    }
    complaints.extend(docs::check(&files, run::root()));
    complaints.extend(arrows::check(&packages));
    complaints.extend(licences::check(&packages));
    for note in sources::notes(&files).into_iter().chain(licences::notes(&packages)) {
        println!("tidy: note: {note}");
    }
    if !complaints.is_empty() {
        bail!("{}", complaints.join("\n"));
    }
    println!("tidy: {} files and {} packages keep the rules", files.len(), packages.len());
    Ok(())
}

/// A text file of the project.
struct File {
    /// Relative to the root, with `/`.
    path: String,
    text: String,
}

impl File {
    fn is_rust(&self) -> bool {
        Path::new(&self.path).extension().is_some_and(|ending| ending == "rs")
    }
}

/// Reads the project's text files in the order of their paths.
fn read_files(root: &Path) -> Result<Vec<File>> {
    let mut paths = Vec::new();
    walk(root, &mut paths)?;
    paths.sort();
    let mut files = Vec::new();
    for path in paths {
        let relative = path.strip_prefix(root).unwrap_or(&path).to_string_lossy().into_owned();
        if TEXT_ENDINGS.iter().any(|ending| relative.ends_with(ending)) {
            let text = fs::read_to_string(&path)
                .with_context(|| format!("cannot read {}", path.display()))?;
            files.push(File { path: relative, text });
        }
    }
    Ok(files)
}

/// Collects the files below a folder, leaving out build output and version control.
fn walk(folder: &Path, paths: &mut Vec<PathBuf>) -> Result<()> {
    let entries =
        fs::read_dir(folder).with_context(|| format!("cannot list {}", folder.display()))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("cannot list {}", folder.display()))?;
        let name = entry.file_name();
        let kind = entry
            .file_type()
            .with_context(|| format!("cannot look at {}", entry.path().display()))?;
        if kind.is_dir() && name != "target" && name != ".git" {
            walk(&entry.path(), paths)?;
        } else if kind.is_file() {
            paths.push(entry.path());
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    #[test]
    fn this_project_is_tidy() {
        super::tidy().unwrap_or_else(|complaints| panic!("{complaints:#}"));
    }
}
