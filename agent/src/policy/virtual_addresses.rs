//! Virtual addresses that this agent gives to hosts which have none, so that their names can be
//! dialled although no resolver may know them. Knows nothing of views: who sees a host is theirs.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::{IpAddr, Ipv4Addr, Ipv6Addr},
};

use exeat_common::abi::RuleKey;

use super::image::Image;
use crate::registry::{Registry, host::HostPattern};

/// Which host has which pair of addresses. A host keeps its pair as long as it needs one: clients
/// keep what they were told.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct VirtualAddresses {
    /// By host, the number that both addresses end with.
    given: BTreeMap<HostPattern, u16>,
}

/// Hosts that are given addresses: each takes two prefixes of every view that has it, and a view whose
/// prefixes do not fit the table is denied everything.
const HOSTS_MOST: usize = 1024;

impl VirtualAddresses {
    /// Continues with what the tables of an earlier agent tell.
    pub fn seeded(installed: &Image) -> Self {
        let answers = installed.rules.iter().filter_map(|(key, rule)| {
            let is_answer = *key == RuleKey::answer(key.policy, key.subject);
            is_answer.then_some((key.subject, rule.target))
        });
        let answers: BTreeMap<_, _> = answers.collect();
        let given = installed.names.iter().filter_map(|(name, value)| {
            let target = installed.targets.get(answers.get(&value.exact)?)?;
            let host = HostPattern::from_wire(name.as_bytes(), false)?;
            let mut addresses = target.backends.iter().filter_map(|it| it.address);
            Some((host, addresses.find_map(number)?))
        });
        Self { given: given.collect() }
    }

    /// The addresses of every host of `registry` that needs them from us.
    pub fn update(&mut self, registry: &Registry) -> BTreeMap<HostPattern, Vec<IpAddr>> {
        let needy = needy(registry);
        if needy.is_empty() {
            self.given.clear();
            return BTreeMap::new();
        }
        // What others declare or were given is theirs; of two of ours, what one had stays its own.
        let mut taken = claimed(registry);
        self.given.retain(|host, number| needy.contains(host) && taken.insert(*number));
        let needed = needy.len();
        for host in needy {
            if self.given.len() < HOSTS_MOST
                && !self.given.contains_key(&host)
                && let Some(number) = free(&host, &taken)
            {
                taken.insert(number);
                self.given.insert(host, number);
            }
        }
        if needed > self.given.len() {
            let given = self.given.len();
            tracing::warn!(
                needed,
                given,
                "not every host with endpoints has a virtual address: questions for the others go to the resolver (declare `addresses` for them)"
            );
        }
        self.given.iter().map(|(host, number)| (host.clone(), pair(*number).into())).collect()
    }
}

/// The hosts whose flows go to endpoints, and that have no address of their own: entries that Istio
/// would give one, and Gloo's services.
fn needy(registry: &Registry) -> BTreeSet<HostPattern> {
    let entries = registry.service_entries().iter().filter(|entry| !entry.is_direct());
    let entries = entries.flat_map(|entry| {
        let own = entry.hosts.iter().filter(|host| entry.allocates(host));
        own.filter(|host| !entry.virtual_addresses.contains_key(*host))
    });
    let services = registry.external_services().iter().filter(|it| !it.selector.is_empty());
    let hosts = entries.chain(services.flat_map(|it| &it.hosts));
    hosts.filter(|host| !host.is_wildcard()).cloned().collect()
}

/// Numbers of the addresses in our ranges that the registry speaks of.
fn claimed(registry: &Registry) -> BTreeSet<u16> {
    let entries = registry.service_entries().iter();
    let given = entries.clone().flat_map(|it| it.virtual_addresses.values().flatten().copied());
    let declared = entries.flat_map(|it| &it.addresses);
    let declared = declared.chain(registry.external_services().iter().flat_map(|it| &it.addresses));
    given.chain(declared.map(ipnet::IpNet::addr)).filter_map(number).collect()
}

/// The first free number from the one that the name leads to, so that other hosts play as small a
/// part as can be.
fn free(host: &HostPattern, taken: &BTreeSet<u16>) -> Option<u16> {
    let start = start(host);
    (0..=u16::MAX)
        .map(|step| start.wrapping_add(step))
        .find(|number| !matches!(number & 0xff, 0 | 0xff) && !taken.contains(number))
}

/// FNV-1a over the name, folded: the same in every version of this program.
fn start(host: &HostPattern) -> u16 {
    let hash = host
        .wire()
        .iter()
        .fold(0x811c_9dc5_u32, |hash, byte| (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193));
    let [a, b, c, d] = hash.to_be_bytes();
    u16::from_be_bytes([a ^ c, b ^ d])
}

/// Of `240.240.0.0/16` and `2001:2::/48`, where Istio takes its own from: no host on the internet has
/// such an address (RFC 1112 §4, RFC 5180 §8).
fn pair(number: u16) -> [IpAddr; 2] {
    let [high, low] = number.to_be_bytes();
    [
        Ipv4Addr::new(240, 240, high, low).into(),
        Ipv6Addr::new(0x2001, 2, 0, 0, 0, 0, 0xf0f0, number).into(),
    ]
}

/// The number of an address that is one of such a pair.
fn number(address: IpAddr) -> Option<u16> {
    let number = match address {
        IpAddr::V4(v4) => {
            let [_, _, high, low] = v4.octets();
            u16::from_be_bytes([high, low])
        }
        IpAddr::V6(v6) => v6.segments()[7],
    };
    pair(number).contains(&address).then_some(number)
}

#[cfg(test)]
mod tests {
    use std::{collections::BTreeSet, net::IpAddr};

    use super::{HOSTS_MOST, VirtualAddresses, number, pair, start};
    use crate::{
        config::Config,
        policy::answers::Answers,
        registry::{Registry, host::HostPattern, load::Loaded, object},
        trial::{Trial, TrialClient},
    };

    fn host(text: &str) -> HostPattern {
        HostPattern::parse(text).expect("a host")
    }

    fn entry(host: &str, rest: &str) -> String {
        format!(
            "apiVersion: networking.istio.io/v1\nkind: ServiceEntry\nmetadata: {{name: {name}, namespace: a}}\nspec: {{hosts: ['{host}'], ports: [{{number: 443, name: tls, protocol: TLS}}], {rest}}}\n",
            name = host.replace(['.', '*'], "-").trim_matches('-'),
        )
    }

    const STATIC: &str = "resolution: STATIC, endpoints: [{address: 203.0.113.4}]";

    fn entries(all: &[(&str, &str)]) -> Registry {
        let read = |(host, rest): &(&str, &str)| {
            object::read(&serde_yaml::from_str(&entry(host, rest)).expect("YAML"))
        };
        let loaded = Loaded::of(all.iter().map(read).collect());
        assert_eq!(loaded.registry.service_entries().len(), all.len(), "{:?}", loaded.reports);
        loaded.registry
    }

    #[test]
    fn who_has_endpoints_and_no_address_is_given_a_pair() {
        let registry = entries(&[
            ("static.example.com", STATIC),
            ("dns.example.com", "resolution: DNS, endpoints: [{address: real.example.com}]"),
            ("direct.example.com", "resolution: DNS"),
            ("none.example.com", "resolution: NONE"),
            (
                "own.example.com",
                "resolution: STATIC, addresses: [192.0.2.1], endpoints: [{address: 203.0.113.4}]",
            ),
            ("*.wild.example.com", STATIC),
        ]);
        let given = VirtualAddresses::default().update(&registry);
        let hosts: Vec<String> = given.keys().map(ToString::to_string).collect();
        assert_eq!(hosts, ["dns.example.com", "static.example.com"]);
        let all: BTreeSet<&IpAddr> = given.values().flatten().collect();
        assert_eq!(all.len(), 4, "{given:?}");
    }

    #[test]
    fn a_pair_is_kept_as_long_as_the_host_needs_it() {
        let mut addresses = VirtualAddresses::default();
        let first = addresses.update(&entries(&[("a.example.com", STATIC)]));
        let a = first[&host("a.example.com")].clone();
        // Another comes, and the first would give way to what is declared.
        let both =
            addresses.update(&entries(&[("a.example.com", STATIC), ("b.example.com", STATIC)]));
        assert_eq!(both[&host("a.example.com")], a);
        let claims = format!("resolution: NONE, addresses: [{}]", a[0]);
        let moved =
            addresses.update(&entries(&[("a.example.com", STATIC), ("c.example.com", &claims)]));
        assert_ne!(moved[&host("a.example.com")], a);
        assert!(addresses.update(&entries(&[])).is_empty());
    }

    #[test]
    fn hosts_that_are_led_to_one_number_have_two() {
        let names = (0..).map(|it| format!("n{it}.example.com"));
        let mut seen = std::collections::BTreeMap::new();
        let (one, other) = names
            .map(|name| (start(&host(&name)), name))
            .find_map(|(number, name)| Some((seen.insert(number, name.clone())?, name)))
            .expect("two names");
        let given =
            VirtualAddresses::default().update(&entries(&[(&one, STATIC), (&other, STATIC)]));
        assert_ne!(given[&host(&one)], given[&host(&other)]);
    }

    #[test]
    fn no_more_than_the_tables_can_take() {
        let names: Vec<String> = (0..=HOSTS_MOST).map(|it| format!("n{it}.example.com")).collect();
        let all: Vec<(&str, &str)> = names.iter().map(|name| (name.as_str(), STATIC)).collect();
        let mut addresses = VirtualAddresses::default();
        let given = addresses.update(&entries(&all));
        assert_eq!(given.len(), HOSTS_MOST);
        assert_eq!(addresses.update(&entries(&all)), given);
    }

    /// The next agent has not seen in which order they came: it reads them from the tables.
    #[test]
    fn the_next_agent_gives_the_same() {
        let registry = entries(&[("a.example.com", STATIC), ("b.example.com", STATIC)]);
        // Not where the name leads to.
        let number = start(&host("a.example.com")).wrapping_add(77) | 1;
        let mut first = VirtualAddresses::default();
        first.given.insert(host("a.example.com"), number);
        let given = first.update(&registry);
        assert_eq!(given[&host("a.example.com")], pair(number));
        let answers = Answers { virtual_addresses: given.clone(), ..Answers::default() };
        let client = TrialClient { namespace: "a".to_owned(), ..TrialClient::default() };
        let trial = Trial::new(&registry, &Config::offline(), &answers, &client);
        let mut second = VirtualAddresses::seeded(trial.image());
        assert_eq!(second, first);
        assert_eq!(second.update(&registry), given);
    }

    #[test]
    fn numbers_are_read_back() {
        for it in [1, 0x1234, 0xfffe] {
            assert!(pair(it).into_iter().all(|address| number(address) == Some(it)));
        }
        for other in ["240.241.0.1", "2001:2::1", "::1", "192.0.2.1"] {
            assert_eq!(number(other.parse().expect("an address")), None, "{other}");
        }
    }
}
