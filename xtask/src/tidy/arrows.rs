//! Which of our crates may depend on which.

use crate::metadata::Package;

/// Each of our crates, and those of ours that it may use.
const ARROWS: [(&str, &[&str]); 5] = [
    ("exeat-agent", &["exeat-common"]),
    ("exeat-common", &[]),
    ("exeat-ebpf", &["exeat-common"]),
    ("exeat-tests", &["exeat-agent", "exeat-common"]),
    ("xtask", &[]),
];

/// Complains about each dependency against the arrows, and each crate of ours that has none drawn.
pub(super) fn check(packages: &[Package]) -> Vec<String> {
    let mut complaints = Vec::new();
    for package in packages.iter().filter(|package| package.source.is_none()) {
        let name = package.name.as_str();
        let Some((_, allowed)) = ARROWS.iter().find(|(ours, _)| *ours == name) else {
            complaints.push(format!("{name} is not in the table of xtask/src/tidy/arrows.rs"));
            continue;
        };
        let ours = |dependency: &&String| ARROWS.iter().any(|(ours, _)| ours == dependency);
        for dependency in package.dependencies.iter().filter(ours) {
            if !allowed.contains(&dependency.as_str()) {
                complaints.push(format!("{name} must not depend on {dependency}"));
            }
        }
    }
    complaints
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ours(name: &str, dependencies: &[&str]) -> Package {
        Package {
            name: name.to_owned(),
            version: "0.1.0".to_owned(),
            licence: "MIT".to_owned(),
            source: None,
            dependencies: dependencies.iter().map(|&name| name.to_owned()).collect(),
        }
    }

    #[test]
    fn dependencies_follow_the_arrows() {
        assert!(check(&[ours("exeat-agent", &["exeat-common", "serde"])]).is_empty());
        assert_eq!(
            check(&[ours("exeat-common", &["exeat-agent"])]),
            ["exeat-common must not depend on exeat-agent"]
        );
        assert_eq!(check(&[ours("new", &[])]).len(), 1);
    }
}
