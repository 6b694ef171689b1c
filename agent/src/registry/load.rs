//! Paths to a registry: the only file here that reads files.

use std::path::PathBuf;

use super::{Registry, report::Report};

/// What the files say, as far as they can be believed.
#[derive(Debug, Default)]
pub struct Loaded {
    pub registry: Registry,
    /// About objects, sorted.
    pub reports: Vec<Report>,
    /// About files that could not be read or parsed. What they said before stays in force.
    pub errors: Vec<LoadError>,
    /// Objects that were read, valid or not.
    pub objects: usize,
}

/// A file that could not be read or parsed.
#[derive(Debug, thiserror::Error)]
#[error("registry: {path}: {reason}")]
pub struct LoadError {
    pub path: PathBuf,
    pub reason: String,
}

/// Reads `paths`, files or folders. What cannot be read or is no longer valid stays as it was in
/// `previous`.
pub fn load(paths: &[PathBuf], previous: Option<&Loaded>) -> Loaded {
    let _ = (paths, previous);
    Loaded::default()
}
