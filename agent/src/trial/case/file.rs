//! Paths to case files: finds them, reads them, says where one is wrong.

use std::{
    fs::File,
    io::{self, Read as _},
    path::{Path, PathBuf},
};

use serde::Deserialize as _;

use super::{Case, raw};
use crate::registry::document::{self, FILE_BYTES, Format, InvalidDocument};

/// The cases of one file.
#[derive(Debug)]
pub struct CaseFile {
    pub path: PathBuf,
    /// In the order of the documents; at least one.
    pub cases: Vec<Case>,
}

/// Why a path holds no cases.
#[derive(Debug, thiserror::Error)]
pub enum InvalidCaseFile {
    #[error("read {path}: {source} (does it exist?)")]
    Unreadable { path: PathBuf, source: io::Error },
    #[error("read {path}: it is larger than {FILE_BYTES} bytes; split it")]
    TooLarge { path: PathBuf },
    #[error("{path}: no *.yaml, *.yml or *.json in this folder")]
    NoFiles { path: PathBuf },
    #[error("{path}: there is no case in it")]
    NoCases { path: PathBuf },
    #[error("{path}: {source}")]
    Document { path: PathBuf, source: InvalidDocument },
    #[error("{path}: {key}{message}")]
    Shape {
        path: PathBuf,
        /// In backquotes and with a colon after it; empty where the parser knows none.
        key: String,
        /// With line and column.
        message: String,
    },
    #[error("{path}: `{title}` expects nothing: no flow, no refusal, no report")]
    ExpectsNothing { path: PathBuf, title: String },
}

/// Reads `paths`, files or folders (not below). Either all of them can be read, or every error is
/// returned.
pub fn read(paths: &[PathBuf]) -> Result<Vec<CaseFile>, Vec<InvalidCaseFile>> {
    let mut files = Vec::new();
    let mut errors = Vec::new();
    for path in paths {
        match list(path) {
            Ok(found) => files.extend(found),
            Err(error) => errors.push(error),
        }
    }
    let mut read = Vec::new();
    for path in files {
        match read_file(path) {
            Ok(file) => read.push(file),
            Err(error) => errors.push(error),
        }
    }
    if errors.is_empty() { Ok(read) } else { Err(errors) }
}

/// The files that a path means, by name.
fn list(path: &Path) -> Result<Vec<PathBuf>, InvalidCaseFile> {
    let unreadable = |source| InvalidCaseFile::Unreadable { path: path.to_owned(), source };
    if !path.metadata().map_err(unreadable)?.is_dir() {
        return Ok(vec![path.to_owned()]);
    }
    let mut files = Vec::new();
    for entry in path.read_dir().map_err(unreadable)? {
        let file = entry.map_err(unreadable)?.path();
        let extension = file.extension().and_then(|extension| extension.to_str());
        let is_hidden =
            file.file_name().is_some_and(|name| name.as_encoded_bytes().starts_with(b"."));
        if matches!(extension, Some("yaml" | "yml" | "json")) && !is_hidden && !file.is_dir() {
            files.push(file);
        }
    }
    files.sort();
    if files.is_empty() {
        return Err(InvalidCaseFile::NoFiles { path: path.to_owned() });
    }
    Ok(files)
}

fn read_file(path: PathBuf) -> Result<CaseFile, InvalidCaseFile> {
    let mut text = String::new();
    let read =
        File::open(&path).and_then(|file| file.take(FILE_BYTES + 1).read_to_string(&mut text));
    if let Err(source) = read {
        return Err(InvalidCaseFile::Unreadable { path, source });
    }
    if text.len() as u64 > FILE_BYTES {
        return Err(InvalidCaseFile::TooLarge { path });
    }
    let cases = parse(&text, &path)?;
    if cases.is_empty() {
        return Err(InvalidCaseFile::NoCases { path });
    }
    Ok(CaseFile { path, cases })
}

/// Reads the cases of a text; `path` is what errors call it.
pub(super) fn parse(text: &str, path: &Path) -> Result<Vec<Case>, InvalidCaseFile> {
    // JSON is YAML too. Syntax and size are judged first, as of a registry.
    document::parse(text, Format::Yaml)
        .map_err(|source| InvalidCaseFile::Document { path: path.to_owned(), source })?;
    let mut cases = Vec::new();
    for document in serde_yaml::Deserializer::from_str(text) {
        let mut track = serde_path_to_error::Track::new();
        let tracked = serde_path_to_error::Deserializer::new(document, &mut track);
        match Option::<raw::Case>::deserialize(tracked) {
            // An empty document.
            Ok(None) => {}
            Ok(Some(case))
                if case.expect.is_empty() && case.reject.is_empty() && case.report.is_empty() =>
            {
                let (path, title) = (path.to_owned(), case.title);
                return Err(InvalidCaseFile::ExpectsNothing { path, title });
            }
            Ok(Some(case)) => cases.push(Case(case)),
            Err(error) => return Err(shape(path, &track.path().to_string(), &error.to_string())),
        }
    }
    Ok(cases)
}

/// The parser knows the path of the enclosing value only, and puts it first.
fn shape(path: &Path, key: &str, error: &str) -> InvalidCaseFile {
    let message = match error.split_once(": ") {
        Some((outer, rest)) if key.starts_with(outer) => rest,
        _ => error,
    };
    let key = match key {
        "." | "?" => String::new(),
        key => format!("`{key}`: "),
    };
    InvalidCaseFile::Shape {
        path: path.to_owned(),
        key,
        // What the parser calls a choice between words.
        message: message.replace("a YAML tag starting with '!'", "one word"),
    }
}
