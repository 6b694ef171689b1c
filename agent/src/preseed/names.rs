//! Which names are asked for whom, and which facts come of what was found. Pure.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use exeat_common::{
    abi::{FactKey, RuleKey},
    dns::learn::{hold_seconds, is_guarded},
    id::{PolicyId, SubjectId, WorkloadId},
    limits::{FACTS_ENTRIES, FACTS_PER_WORKLOAD},
};

use super::{NewFact, Question, Told};
use crate::policy::{
    image::{Image, WireName, rules_at, rules_of},
    image_tables::{Facts, ImageTables},
};

/// Names asked for one policy. Each has an address at least, so more would not fit below.
const NAMES_PER_POLICY: usize = FACTS_GIVEN_PER_WORKLOAD;
/// Names asked at a time, whoever they are for: resolvers have others to serve.
const NAMES_MOST: usize = 8_192;
/// Facts given to one workload. The other half of its share is for what it asks itself.
const FACTS_GIVEN_PER_WORKLOAD: usize = FACTS_PER_WORKLOAD as usize / 2;
/// Facts given to all. The other half of the table is for what workloads ask themselves.
const FACTS_GIVEN: usize = FACTS_ENTRIES / 2;

/// Names to be asked.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Questions {
    pub all: Vec<Question>,
    /// Exact names that are granted and not asked, because there are too many.
    pub left_out: usize,
}

/// The exact names that the policies of these workloads are granted.
pub fn questions(image: &Image, workloads: &[(WorkloadId, PolicyId)]) -> Questions {
    let names = exact_names(image);
    let policies: BTreeSet<PolicyId> = workloads.iter().map(|(_, policy)| *policy).collect();
    let mut granted: BTreeMap<SubjectId, Vec<PolicyId>> = BTreeMap::new();
    let mut left_out: BTreeSet<SubjectId> = BTreeSet::new();
    for policy in policies {
        let rules = image.rules.range(rules_of(policy)).map(|(key, _)| key);
        let subjects = rules
            .filter(|key| **key == RuleKey::grant(policy, key.subject))
            .map(|key| key.subject)
            .filter(|subject| !is_by_address_alone(image, policy, *subject));
        for (count, subject) in subjects.filter(|it| names.contains_key(it)).enumerate() {
            let is_new = !granted.contains_key(&subject);
            if count >= NAMES_PER_POLICY || (is_new && granted.len() >= NAMES_MOST) {
                left_out.insert(subject);
            } else {
                granted.entry(subject).or_default().push(policy);
            }
        }
    }
    let mut members: BTreeMap<Vec<PolicyId>, Arc<[WorkloadId]>> = BTreeMap::new();
    let all = granted
        .into_iter()
        .filter_map(|(pattern, policies)| {
            let name = (*names.get(&pattern)?).clone();
            let of = |policies: &Vec<PolicyId>| {
                let them = workloads.iter().filter(|(_, policy)| policies.contains(policy));
                them.map(|(id, _)| *id).collect()
            };
            let workloads = members.entry(policies).or_insert_with_key(of);
            Some(Question { name, pattern, workloads: Arc::clone(workloads) })
        })
        .collect();
    Questions { all, left_out: left_out.len() }
}

/// Whether all that there is of a name is an answer: what it opens is matched by address, and not by
/// what a resolver says. No resolver may know it.
fn is_by_address_alone(image: &Image, policy: PolicyId, subject: SubjectId) -> bool {
    let answer = RuleKey::answer(policy, subject);
    let others = [answer, RuleKey::grant(policy, subject)];
    let mut rules = image.rules.range(rules_at(policy, subject));
    image.rules.contains_key(&answer) && rules.all(|(key, _)| others.contains(key))
}

/// Every exact pattern with its name. A name may stand in the table with the number of a wildcard
/// that covers it.
fn exact_names(image: &Image) -> BTreeMap<SubjectId, &WireName> {
    let exact = image.names.iter().map(|(name, value)| (value.exact, name));
    let is_own = |(subject, name): &(SubjectId, &WireName)| {
        let labels = u8::try_from(name.split().count()).unwrap_or(u8::MAX);
        *subject == SubjectId::pattern(subject.serial(), true, labels)
    };
    exact.filter(is_own).collect()
}

/// Turns what was found into facts, within bounds. Lives as long as the agent.
#[derive(Clone, Debug, Default)]
pub struct Giver {
    given: BTreeMap<WorkloadId, usize>,
    total: usize,
}

impl Giver {
    /// Forgets what was given to others than these; the room it took is free again.
    pub fn forget_gone(&mut self, present: &BTreeSet<WorkloadId>) {
        self.given.retain(|id, _| present.contains(id));
        self.total = self.given.values().sum();
    }

    /// The facts for those of the workloads that are in `present`.
    pub fn facts(
        &mut self,
        told: &Told,
        image: &Image,
        present: &BTreeSet<WorkloadId>,
    ) -> Vec<NewFact> {
        let Some(settings) = image.settings else {
            return Vec::new();
        };
        let tables = ImageTables { image, facts: &Facts::new(), now: 0 };
        let mut facts = Vec::new();
        for found in &told.addresses {
            let address = found.address.into();
            if is_guarded(address, &tables) {
                continue;
            }
            let hold_seconds =
                hold_seconds(found.ttl, settings.minimum_ttl_seconds, settings.grace_seconds);
            for workload in told.question.workloads.iter().filter(|it| present.contains(it)) {
                let given = self.given.entry(*workload).or_default();
                if *given >= FACTS_GIVEN_PER_WORKLOAD || self.total >= FACTS_GIVEN {
                    continue;
                }
                *given += 1;
                self.total += 1;
                let key = FactKey { workload: *workload, address };
                facts.push(NewFact { key, pattern: told.question.pattern, hold_seconds });
            }
        }
        facts
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use exeat_common::{
        abi::{NameValue, RuleKey, RuleValue, Settings, WildcardLimits},
        id::{PolicyId, SubjectId, WorkloadId},
    };

    use super::{FACTS_GIVEN_PER_WORKLOAD, Giver, questions};
    use crate::{
        policy::image::{Image, Prefix},
        preseed::{Found, Question, Told},
        registry::host::HostPattern,
    };

    const ONE: (WorkloadId, PolicyId) = (WorkloadId::new(1), PolicyId::new(1));
    const TWO: (WorkloadId, PolicyId) = (WorkloadId::new(2), PolicyId::new(2));
    const WIDE: SubjectId = SubjectId::pattern(3, false, 2);

    fn exact(serial: u32) -> SubjectId {
        SubjectId::pattern(serial, true, 3)
    }

    /// `www` is both policies', `api` that of the second; `*.example.com` covers a name that stands
    /// in the table with its number.
    fn image() -> Image {
        let mut image = Image::default();
        let mut name = |text: &str, exact, wildcard| {
            let wire = HostPattern::parse(text).expect("a name").wire();
            let value = NameValue { exact, wildcard, flags: 0 };
            image.names.insert(super::WireName(wire), value);
        };
        name("www.example.com", exact(1), WIDE);
        name("api.example.com", exact(2), WIDE);
        name("example.com", SubjectId::NONE, WIDE);
        name("a.b.example.com", WIDE, WIDE);
        for (policy, subject) in
            [(ONE.1, exact(1)), (TWO.1, exact(1)), (TWO.1, exact(2)), (ONE.1, WIDE)]
        {
            image.rules.insert(RuleKey::grant(policy, subject), RuleValue::ALLOW);
        }
        image.settings = Some(Settings {
            generation: 1,
            flags: 0,
            grace_seconds: 30,
            minimum_ttl_seconds: 30,
            longest_wildcard_bytes: 0,
            cgroup_depths: [0; _],
            resolver_ports: 0,
            query_types: [0; _],
            wildcards: WildcardLimits { queries_per_second: 0, label_bytes: 0, entropy_bits: 0 },
            sidecar_port: 0,
            reserved: [0; _],
        });
        image
    }

    #[test]
    fn exact_names_are_asked_for_those_who_are_granted_them() {
        let asked = |workloads: &[_]| -> Vec<(SubjectId, Vec<WorkloadId>)> {
            let all = questions(&image(), workloads).all;
            all.iter().map(|it| (it.pattern, it.workloads.to_vec())).collect()
        };
        assert_eq!(asked(&[ONE]), [(exact(1), vec![ONE.0])]);
        assert_eq!(asked(&[ONE, TWO]), [(exact(1), vec![ONE.0, TWO.0]), (exact(2), vec![TWO.0])]);
        assert_eq!(asked(&[]), []);
    }

    #[test]
    fn a_name_that_opens_nothing_by_what_a_resolver_says_is_not_asked_for() {
        let mut image = image();
        image.rules.insert(RuleKey::answer(ONE.1, exact(1)), RuleValue::ALLOW);
        assert!(questions(&image, &[ONE]).all.is_empty());
        // The twin: an address that was resolved before leads to its endpoints.
        image.rules.insert(RuleKey::new(ONE.1, exact(1), 443, 6), RuleValue::ALLOW);
        assert_eq!(questions(&image, &[ONE]).all.len(), 1);
    }

    #[test]
    fn too_many_names_are_left_out_and_counted() {
        let mut image = image();
        for serial in 10..3_000 {
            let wire =
                HostPattern::parse(&format!("n{serial}.example.com")).expect("a name").wire();
            let value = NameValue { exact: exact(serial), wildcard: WIDE, flags: 0 };
            image.names.insert(super::WireName(wire), value);
            image.rules.insert(RuleKey::grant(ONE.1, exact(serial)), RuleValue::ALLOW);
        }
        let questions = questions(&image, &[ONE]);
        assert_eq!(questions.all.len(), FACTS_GIVEN_PER_WORKLOAD);
        assert_eq!(questions.all.len() + questions.left_out, 2_991);
    }

    fn told(addresses: impl Iterator<Item = String>) -> Told {
        let found = |text: String| Found { address: text.parse().expect("an address"), ttl: 7 };
        let name = super::WireName(HostPattern::parse("www.example.com").expect("a name").wire());
        let question = Question { name, pattern: exact(1), workloads: [ONE.0, TWO.0].into() };
        Told { question, addresses: addresses.map(found).collect() }
    }

    #[test]
    fn facts_are_for_workloads_that_are_there_and_for_public_addresses() {
        let mut image = image();
        let internal = Prefix {
            policy: PolicyId::INTERNAL,
            address: "10.0.0.0".parse::<std::net::IpAddr>().expect("an address").into(),
            bits: 104,
        };
        image.prefixes.insert(internal, SubjectId::prefix(1));
        let addresses = ["192.0.2.1", "169.254.169.254", "10.1.2.3", "2001:db8::1", "::1"];
        let told = told(addresses.map(str::to_owned).into_iter());
        let facts = Giver::default().facts(&told, &image, &BTreeSet::from([ONE.0]));
        let given: Vec<_> = facts.iter().map(|it| it.key.address).collect();
        let address = |text: &str| text.parse::<std::net::IpAddr>().expect("an address").into();
        assert_eq!(given, ["192.0.2.1", "2001:db8::1"].map(address));
        assert!(facts.iter().all(|it| it.key.workload == ONE.0 && it.hold_seconds == 60));
    }

    #[test]
    fn half_a_share_is_given() {
        let addresses = (0..3_000).map(|n| format!("198.18.{}.{}", n / 256, n % 256));
        let told = told(addresses);
        let mut giver = Giver::default();
        let present = BTreeSet::from([ONE.0]);
        assert_eq!(giver.facts(&told, &image(), &present).len(), FACTS_GIVEN_PER_WORKLOAD);
        assert!(giver.facts(&told, &image(), &present).is_empty());
    }
}
