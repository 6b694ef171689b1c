//! Which kinds of others the cluster has, by their names in paths, and when to look again.

use std::{collections::BTreeMap, time::Duration};

use kube::{Client, core::ApiResource};
use tokio::time::Instant;

use super::source::Source;
use crate::registry::object::Kind;

/// Kinds that are served, each in the version to ask for.
pub(super) type Served = BTreeMap<Kind, ApiResource>;

/// Asks the API server what it serves.
pub(super) async fn look(client: Client) -> Result<Served, kube::Error> {
    let mut served = Served::new();
    for group in client.list_api_groups().await?.groups {
        let wanted: Vec<Kind> =
            Source::custom_kinds().filter(|kind| kind.group == group.name).collect();
        let Some(versions) = wanted.first().map(|kind| kind.versions) else {
            continue;
        };
        for version in versions {
            if !group.versions.iter().any(|it| it.version == *version) {
                continue;
            }
            let group_version = format!("{}/{version}", group.name);
            let resources = client.list_api_group_resources(&group_version).await?.resources;
            for kind in &wanted {
                let found = resources.iter().find(|it| {
                    it.kind == kind.kind
                        && !it.name.contains('/')
                        && ["list", "watch"].iter().all(|verb| it.verbs.iter().any(|it| it == verb))
                });
                if let Some(found) = found {
                    served.entry(*kind).or_insert_with(|| ApiResource {
                        group: group.name.clone(),
                        version: (*version).to_owned(),
                        api_version: group_version.clone(),
                        kind: kind.kind.to_owned(),
                        plural: found.name.clone(),
                    });
                }
            }
        }
    }
    Ok(served)
}

/// Whether a definition, by its name (`serviceentries.networking.istio.io`), is of a kind that is
/// read and not served yet. How a kind is called in paths is not known before it is served, so the
/// names are compared but for their ends.
pub(super) fn is_awaited(definition: &str, served: &Served) -> bool {
    let Some((plural, group)) = definition.split_once('.') else {
        return false;
    };
    let is_like = |kind: &Kind| {
        let name = kind.kind.to_ascii_lowercase();
        kind.group == group && plural.starts_with(&name[..name.len() - 1])
    };
    Source::custom_kinds().any(|kind| is_like(&kind))
        && !served.values().any(|it| it.plural == plural && it.group == group)
}

/// After a definition changed: it is served a moment later.
const AFTER_A_CHANGE: [Duration; 6] = [
    Duration::from_millis(50),
    Duration::from_millis(300),
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
];
/// When nothing happens; when definitions may not be watched, this is how they are noticed.
const NOW_AND_THEN: Duration = Duration::from_secs(30);

/// When to look again.
#[derive(Debug)]
pub(super) struct Schedule {
    next: Instant,
    /// How many looks after a change were taken.
    taken: usize,
}

impl Schedule {
    pub(super) fn new(now: Instant) -> Self {
        Self { next: now, taken: AFTER_A_CHANGE.len() }
    }

    pub(super) fn next(&self) -> Instant {
        self.next
    }

    /// Something changed: looks soon, and a few times more.
    pub(super) fn soon(&mut self, now: Instant) {
        self.taken = 0;
        self.next = self.next.min(now + AFTER_A_CHANGE[0]);
    }

    /// A look was taken.
    pub(super) fn taken(&mut self, now: Instant) {
        self.taken = self.taken.saturating_add(1);
        self.next = now + AFTER_A_CHANGE.get(self.taken).copied().unwrap_or(NOW_AND_THEN);
    }

    /// A look failed: it is taken again.
    pub(super) fn failed(&mut self, now: Instant) {
        self.taken = self.taken.min(AFTER_A_CHANGE.len() - 1);
        self.next = now + AFTER_A_CHANGE[self.taken].max(Duration::from_secs(1));
        self.taken += 1;
    }

    /// Whether the looks after a change are over.
    pub(super) fn is_quiet(&self) -> bool {
        self.taken >= AFTER_A_CHANGE.len()
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use tokio::time::Instant;

    use super::{ApiResource, Schedule, Served, Source, is_awaited};

    #[test]
    fn what_is_defined_and_not_served_is_awaited() {
        let mut served = Served::new();
        for name in [
            "serviceentries.networking.istio.io",
            "gateways.networking.istio.io",
            "workspacesettings.admin.gloo.solo.io",
            "asmegresstrafficpolicies.istio.alibabacloud.com",
        ] {
            assert!(is_awaited(name, &served), "{name}");
        }
        for name in [
            "envoyfilters.networking.istio.io",
            "gateways.gateway.networking.k8s.io",
            "serviceentries",
            "",
        ] {
            assert!(!is_awaited(name, &served), "{name}");
        }
        let kind = Source::custom_kinds().find(|it| it.kind == "ServiceEntry").expect("a kind");
        let resource = ApiResource {
            group: kind.group.into(),
            version: "v1".into(),
            api_version: format!("{}/v1", kind.group),
            kind: kind.kind.into(),
            plural: "serviceentries".into(),
        };
        served.insert(kind, resource);
        assert!(!is_awaited("serviceentries.networking.istio.io", &served));
    }

    #[test]
    fn looks_get_rarer() {
        let now = Instant::now();
        let mut schedule = Schedule::new(now);
        assert_eq!(schedule.next(), now);
        schedule.taken(now);
        assert_eq!(schedule.next() - now, Duration::from_secs(30));
        schedule.soon(now);
        assert!(schedule.next() - now < Duration::from_millis(100) && !schedule.is_quiet());
        for _ in 0..6 {
            let before = schedule.next();
            schedule.taken(now);
            assert!(schedule.next() > before);
        }
        assert!(schedule.is_quiet());
        schedule.failed(now);
        assert!(schedule.next() - now < Duration::from_secs(10));
    }
}
