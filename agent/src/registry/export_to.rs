//! `exportTo`: which namespaces see an object.

use std::collections::BTreeSet;

use super::{findings::Findings, host::is_dns_label, report::Code};

/// Who sees an object, relative to the namespace it is in.
///
/// Source: `exportTo` in <https://istio.io/latest/docs/reference/config/networking/service-entry/>.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum ExportTo {
    All,
    Nobody,
    /// Exactly these; the own namespace only if it is among them.
    Namespaces(BTreeSet<String>),
}

/// Why a list is refused.
#[derive(Clone, Debug, Eq, PartialEq, thiserror::Error)]
pub enum InvalidExportTo {
    #[error("`{0}` cannot stand beside anything else")]
    NotAlone(&'static str),
    #[error("`{0}` stands here twice (`.` is the object's own namespace)")]
    Duplicate(String),
    #[error("`{0}` is neither `.`, `*`, `~` nor a namespace name")]
    Namespace(String),
    #[error("`~` (nobody) is for service entries only")]
    Nobody,
}

impl ExportTo {
    /// Reads the list of an object in `namespace`; an empty one says nothing, so that the mesh's
    /// default counts.
    pub fn parse(list: &[String], namespace: &str) -> Result<Option<Self>, InvalidExportTo> {
        if list.is_empty() {
            return Ok(None);
        }
        Self::parse_some(list, namespace).map(Some)
    }

    /// Reads `spec.exportTo` of an object for which `~` makes sense.
    pub(super) fn check(
        list: &[String],
        namespace: &str,
        found: &mut Findings<'_>,
    ) -> Option<Self> {
        Self::parse(list, namespace).unwrap_or_else(|error| {
            found.add(Code::ExportTo, "spec.exportTo", error.to_string());
            None
        })
    }

    /// Reads `spec.exportTo` of an object that must be visible to somebody.
    pub(super) fn check_visible(
        list: &[String],
        namespace: &str,
        found: &mut Findings<'_>,
    ) -> Option<Self> {
        let export_to = Self::check(list, namespace, found);
        if export_to == Some(Self::Nobody) {
            found.add(Code::ExportTo, "spec.exportTo", InvalidExportTo::Nobody.to_string());
        }
        export_to
    }

    /// Checks a default of the mesh, which stands for objects of any namespace.
    pub(super) fn check_default(list: &[String], may_hide: bool) -> Result<(), InvalidExportTo> {
        // Its own namespace is any, so that no name can repeat it.
        if Self::parse(list, ".")? == Some(Self::Nobody) && !may_hide {
            return Err(InvalidExportTo::Nobody);
        }
        Ok(())
    }

    fn parse_some(list: &[String], namespace: &str) -> Result<Self, InvalidExportTo> {
        for (mark, meaning) in [("*", Self::All), ("~", Self::Nobody)] {
            if list.iter().any(|item| item == mark) {
                return if list.len() == 1 {
                    Ok(meaning)
                } else {
                    Err(InvalidExportTo::NotAlone(mark))
                };
            }
        }
        let mut namespaces = BTreeSet::new();
        for item in list {
            let is_name = is_dns_label(item) && !item.bytes().any(|byte| byte.is_ascii_uppercase());
            if item != "." && !is_name {
                return Err(InvalidExportTo::Namespace(item.clone()));
            }
            let name = if item == "." { namespace } else { item };
            if !namespaces.insert(name.to_owned()) {
                return Err(InvalidExportTo::Duplicate(item.clone()));
            }
        }
        Ok(Self::Namespaces(namespaces))
    }

    pub fn includes(&self, namespace: &str) -> bool {
        match self {
            Self::All => true,
            Self::Nobody => false,
            Self::Namespaces(namespaces) => namespaces.contains(namespace),
        }
    }

    pub const fn is_public(&self) -> bool {
        matches!(self, Self::All)
    }
}

#[cfg(test)]
mod tests {
    use super::{ExportTo, InvalidExportTo};

    /// Which of `team-a` (its own), `team-b` and `team-c` see the object.
    #[track_caller]
    fn check(list: &[&str], expected: &Result<[bool; 3], InvalidExportTo>) {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        let got = ExportTo::parse(&list, "team-a")
            .map(|it| it.unwrap_or(ExportTo::All))
            .map(|it| ["team-a", "team-b", "team-c"].map(|name| it.includes(name)));
        assert_eq!(got.as_ref(), expected.as_ref(), "{list:?}");
    }

    #[test]
    fn lists() {
        check(&[], &Ok([true; 3]));
        check(&["*"], &Ok([true; 3]));
        check(&["."], &Ok([true, false, false]));
        check(&["~"], &Ok([false; 3]));
        check(&["team-b"], &Ok([false, true, false]));
        check(&[".", "team-b"], &Ok([true, true, false]));
        check(&[".", "team-a"], &Err(InvalidExportTo::Duplicate("team-a".into())));
        check(&[".", "."], &Err(InvalidExportTo::Duplicate(".".into())));
        check(&["*", "team-b"], &Err(InvalidExportTo::NotAlone("*")));
        check(&["*", "*"], &Err(InvalidExportTo::NotAlone("*")));
        check(&["~", "."], &Err(InvalidExportTo::NotAlone("~")));
        check(&["team_b"], &Err(InvalidExportTo::Namespace("team_b".into())));
        check(&["Team"], &Err(InvalidExportTo::Namespace("Team".into())));
        check(&[""], &Err(InvalidExportTo::Namespace(String::new())));
    }

    #[track_caller]
    fn check_default(list: &[&str], may_hide: bool, expected: &Result<(), InvalidExportTo>) {
        let list: Vec<String> = list.iter().map(ToString::to_string).collect();
        assert_eq!(&ExportTo::check_default(&list, may_hide), expected, "{list:?}");
    }

    #[test]
    fn defaults_of_the_mesh() {
        check_default(&[], false, &Ok(()));
        check_default(&["."], false, &Ok(()));
        check_default(&[".", "shared"], false, &Ok(()));
        check_default(&["~"], true, &Ok(()));
        check_default(&["~"], false, &Err(InvalidExportTo::Nobody));
        check_default(&[".", "."], true, &Err(InvalidExportTo::Duplicate(".".into())));
        check_default(&["*", "."], true, &Err(InvalidExportTo::NotAlone("*")));
    }
}
