//! What `deploy/` installs against what the agent is: its configuration, what it reads, what it measures.

#![cfg(test)]

mod configurations;
mod monitoring;
mod rights;
mod schema;

use std::{fs, path::PathBuf};

/// A file below `deploy/`.
fn deployed(path: &str) -> String {
    let path = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../deploy").join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}
