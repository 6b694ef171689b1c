//! What `cargo metadata` says about the workspace and the packages it builds on.

use anyhow::{Context as _, Result};
use serde_json::Value;

use crate::run;

/// A package of ours or of somebody else.
pub(crate) struct Package {
    pub(crate) name: String,
    pub(crate) version: String,
    /// The SPDX expression, empty if the package declares none.
    pub(crate) licence: String,
    /// Where it comes from; none for a member of the workspace.
    pub(crate) source: Option<String>,
    /// Names of the packages it declares as dependencies of any kind.
    pub(crate) dependencies: Vec<String>,
}

/// Reads all packages that the workspace resolves to on Linux, the only system it is for.
pub(crate) fn packages() -> Result<Vec<Package>> {
    let mut cargo = run::cargo();
    cargo.args(["metadata", "--format-version", "1", "--locked"]);
    cargo.args(["--filter-platform", "x86_64-unknown-linux-gnu"]);
    let json = run::output(&mut cargo)?;
    parse(&json).context("cannot understand the output of cargo metadata")
}

fn parse(json: &str) -> Result<Vec<Package>> {
    let metadata: Value = serde_json::from_str(json)?;
    list(&metadata, "packages")?.iter().map(package).collect()
}

fn package(value: &Value) -> Result<Package> {
    let dependencies = list(value, "dependencies")?.iter().map(|entry| text(entry, "name"));
    Ok(Package {
        name: text(value, "name")?,
        version: text(value, "version")?,
        licence: text(value, "license").unwrap_or_default(),
        source: text(value, "source").ok(),
        dependencies: dependencies.collect::<Result<_>>()?,
    })
}

fn list<'a>(value: &'a Value, key: &str) -> Result<&'a Vec<Value>> {
    value[key].as_array().with_context(|| format!("no list `{key}`"))
}

fn text(value: &Value, key: &str) -> Result<String> {
    value[key].as_str().map(str::to_owned).with_context(|| format!("no text `{key}`"))
}
