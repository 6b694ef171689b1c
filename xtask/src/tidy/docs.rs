//! Rules for the documents: what they point at exists.

use std::path::Path;

use super::File;

/// Documents about the present. A changelog may name what is gone.
const DOCUMENTS: [&str; 3] = ["ARCHITECTURE.md", "CONTRIBUTING.md", "README.md"];

/// Folders whose names make a word in backticks a path of this project.
const FOLDERS: [&str; 8] =
    ["agent/", "common/", "ebpf/", "tests/", "xtask/", "deploy/", ".cargo/", ".ci/"];

/// Complains about each path, and each `path::item`, that a document names and the project lacks.
pub(super) fn check(files: &[File], root: &Path) -> Vec<String> {
    let documents = files.iter().filter(|file| DOCUMENTS.contains(&file.path.as_str()));
    documents.flat_map(|document| check_document(document, files, root)).collect()
}

fn check_document(document: &File, files: &[File], root: &Path) -> Vec<String> {
    let mut complaints = Vec::new();
    for (number, line) in (1..).zip(document.text.lines()) {
        for reference in references(line) {
            if let Some(fault) = fault(reference, files, root) {
                complaints.push(format!("{}:{number}: {fault}", document.path));
            }
        }
    }
    complaints
}

/// What stands in backticks on a line and looks like a path of this project.
fn references(line: &str) -> impl Iterator<Item = &str> {
    line.split('`').skip(1).step_by(2).filter(|word| {
        FOLDERS.iter().any(|folder| word.starts_with(folder))
            && !word.contains(|c: char| c.is_whitespace() || "*{<…".contains(c))
    })
}

fn fault(reference: &str, files: &[File], root: &Path) -> Option<String> {
    let (path, item) = match reference.split_once("::") {
        Some((path, item)) => (path, item.rsplit("::").next()),
        None => (reference, None),
    };
    if !root.join(path).exists() {
        return Some(format!("there is no `{path}`"));
    }
    let item = item?;
    let has_item = |text: &str| {
        ["fn", "struct", "enum", "trait", "const", "static", "type", "mod"].iter().any(|kind| {
            text.split(&format!("{kind} {item}"))
                .skip(1)
                .any(|rest| !rest.starts_with(|c: char| c.is_alphanumeric() || c == '_'))
        })
    };
    let found = files.iter().any(|file| file.path == path && has_item(&file.text));
    (!found).then(|| format!("`{path}` has no `{item}`"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::run;

    #[track_caller]
    fn complains(line: &str, expected: Option<&str>) {
        let files = [
            File { path: "README.md".to_owned(), text: line.to_owned() },
            File { path: "xtask/src/run.rs".to_owned(), text: "fn root() {}\n".to_owned() },
        ];
        let complaints = check(&files, run::root());
        assert_eq!(complaints.len(), usize::from(expected.is_some()), "{complaints:?}");
        if let Some(expected) = expected {
            assert!(complaints[0].contains(expected), "{complaints:?}");
        }
    }

    #[test]
    fn paths_and_items_in_documents_exist() {
        complains("see `xtask/src/run.rs` and `xtask/`", None);
        complains("see `xtask/src/gone.rs`", Some("README.md:1: there is no `xtask/src/gone.rs`"));
        complains("see `xtask/src/run.rs::root`", None);
        complains("see `xtask/src/run.rs::tests::root`", None);
        complains("see `xtask/src/run.rs::roo`", Some("has no `roo`"));
        complains("`target/release/exeat`, `a/b.rs`, `tests/*.rs`, `agent/x y`", None);
    }
}
