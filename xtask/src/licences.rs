//! What we build on: its licences, where it comes from, and that no crate comes in two versions unasked.

use std::collections::BTreeMap;

use crate::metadata::Package;

/// Licences that both of ours can be combined with.
const ALLOWED: [&str; 11] = [
    "0BSD",
    "Apache-2.0",
    "Apache-2.0 WITH LLVM-exception",
    "BSD-2-Clause",
    "BSD-3-Clause",
    "CC0-1.0",
    "ISC",
    "MIT",
    "Unicode-3.0",
    "Unlicense",
    "Zlib",
];

/// The only place that packages come from.
const REGISTRY: &str = "registry+https://github.com/rust-lang/crates.io-index";

/// Crates that come in more than one version, and why that cannot be helped yet.
const DUPLICATES: &[(&str, &str)] = &[
    ("base64", "k8s-openapi needs 0.22; kube 0.23"),
    ("getrandom", "ring needs 0.2; the others 0.4"),
    ("hashbrown", "kube's watches need 0.16; the others 0.17"),
    ("syn", "aya, tracing and zerocopy expand their macros with 2; clap and serde with 3"),
    ("synstructure", "one for each version of syn"),
];

/// Complains about each package that breaks a rule.
pub(crate) fn check(packages: &[Package]) -> Vec<String> {
    let mut faults: Vec<String> = packages.iter().filter_map(licence_fault).collect();
    faults.extend(packages.iter().filter_map(source_fault));
    faults.extend(duplicate_faults(packages, DUPLICATES));
    faults
}

fn licence_fault(package: &Package) -> Option<String> {
    let Package { name, version, licence, .. } = package;
    let allowed = satisfied(licence);
    (!allowed).then(|| {
        format!("{name} {version} is under `{licence}`, which xtask/src/licences.rs does not allow")
    })
}

fn source_fault(package: &Package) -> Option<String> {
    let Package { name, version, source, .. } = package;
    let source = source.as_deref().filter(|source| *source != REGISTRY)?;
    Some(format!("{name} {version} comes from {source}: take it from crates.io"))
}

fn duplicate_faults(packages: &[Package], excused: &[(&str, &str)]) -> Vec<String> {
    let unexcused = duplicates(packages).into_iter().filter(|(name, _)| !names(excused, name));
    unexcused
        .map(|(name, versions)| {
            format!(
                "{name} comes in {} versions ({}): `cargo tree --invert {name}@VERSION` says for \
                 whom; unite them, or excuse them with the reason in xtask/src/licences.rs",
                versions.len(),
                versions.join(", ")
            )
        })
        .collect()
}

/// Excuses that are needed no more.
pub(crate) fn notes(packages: &[Package]) -> Vec<String> {
    let duplicates = duplicates(packages);
    let stale = DUPLICATES.iter().filter(|(name, _)| !duplicates.contains_key(name));
    stale.map(|(name, _)| format!("{name} comes in one version: take it off the list")).collect()
}

fn duplicates(packages: &[Package]) -> BTreeMap<&str, Vec<&str>> {
    let mut versions: BTreeMap<&str, Vec<&str>> = BTreeMap::new();
    for Package { name, version, .. } in packages {
        versions.entry(name).or_default().push(version);
    }
    versions.retain(|_, versions| versions.len() > 1);
    versions
}

fn names(excused: &[(&str, &str)], name: &str) -> bool {
    excused.iter().any(|(excuse, _)| *excuse == name)
}

/// Whether a choice of allowed licences satisfies an SPDX expression. `/` is the old way to write `OR`.
fn satisfied(expression: &str) -> bool {
    let spaced = expression.replace('(', " ( ").replace(')', " ) ").replace('/', " OR ");
    let words: Vec<&str> = spaced.split_whitespace().collect();
    let mut rest = words.as_slice();
    any_of(&mut rest) == Some(true) && rest.is_empty()
}

/// `all_of (OR all_of)*`; none for what is no expression. `AND` binds tighter.
fn any_of(words: &mut &[&str]) -> Option<bool> {
    let mut result = all_of(words)?;
    while let ["OR", rest @ ..] = words {
        *words = rest;
        result |= all_of(words)?;
    }
    Some(result)
}

fn all_of(words: &mut &[&str]) -> Option<bool> {
    let mut result = single(words)?;
    while let ["AND", rest @ ..] = words {
        *words = rest;
        result &= single(words)?;
    }
    Some(result)
}

fn single(words: &mut &[&str]) -> Option<bool> {
    match words {
        ["(", rest @ ..] => {
            *words = rest;
            let result = any_of(words)?;
            *words = words.strip_prefix(&[")"])?;
            Some(result)
        }
        [licence, "WITH", exception, rest @ ..] => {
            *words = rest;
            Some(ALLOWED.contains(&format!("{licence} WITH {exception}").as_str()))
        }
        [licence, rest @ ..] => {
            *words = rest;
            Some(ALLOWED.contains(licence))
        }
        [] => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn licence_expressions() {
        let check = |expression, expected| {
            assert_eq!(satisfied(expression), expected, "{expression:?}");
        };
        check("MIT", true);
        check("MIT OR Apache-2.0", true);
        check("MIT/Apache-2.0", true);
        check("MIT OR GPL-3.0-only", true);
        check("MIT AND GPL-3.0-only", false);
        check("(MIT OR Apache-2.0) AND Unicode-3.0", true);
        check("(MIT OR Apache-2.0) AND (MIT OR GPL-2.0-only)", true);
        check("GPL-3.0-only OR MIT AND AGPL-3.0-only", false);
        check("Apache-2.0 WITH LLVM-exception OR Apache-2.0 OR MIT", true);
        check("GPL-2.0-only WITH Classpath-exception-2.0", false);
        check("", false);
        check("MIT OR", false);
        check("(MIT", false);
        check("MIT Apache-2.0", false);
    }

    fn package(name: &str, version: &str, source: &str) -> Package {
        Package {
            name: name.to_owned(),
            version: version.to_owned(),
            licence: "MIT".to_owned(),
            source: Some(source.to_owned()),
            dependencies: Vec::new(),
        }
    }

    #[test]
    fn two_versions_need_an_excuse() {
        let one = [package("a", "1.0.0", REGISTRY)];
        let two = [package("a", "1.0.0", REGISTRY), package("a", "2.0.0", REGISTRY)];
        assert!(duplicate_faults(&one, &[]).is_empty());
        assert!(duplicate_faults(&two, &[("a", "b still needs the first")]).is_empty());
        assert!(duplicate_faults(&two, &[])[0].contains("2 versions (1.0.0, 2.0.0)"));
        assert_eq!(notes(&two).len(), DUPLICATES.len());
    }

    #[test]
    fn a_git_source_is_refused() {
        assert!(source_fault(&package("a", "1.0.0", REGISTRY)).is_none());
        assert!(source_fault(&package("a", "1.0.0", "git+https://example.com/a")).is_some());
    }
}
