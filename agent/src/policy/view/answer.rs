//! What a client is told that asks for a name: the addresses that the registry gives the host, where
//! they lead somewhere.

use std::{collections::BTreeSet, net::IpAddr, sync::Arc};

use exeat_common::limits::TOLD_ADDRESSES;
use ipnet::IpNet;

use super::{
    Action, Granted,
    action::{Dial, Dialled},
    choose::Chosen,
    sight::Sight,
};
use crate::{
    policy::target::{Backend, Target, TargetKind},
    registry::{cidr, report::Report},
};

impl<'a> Sight<'a> {
    /// The answer to a question for the host itself; none if a resolver is to be asked.
    ///
    /// A proxy has to be told real addresses: it asks from within the pod like everybody else there,
    /// and connects to what it is told. Services have their answers from the cluster's DNS.
    pub(super) fn answer(
        &self,
        chosen: &Chosen<'a>,
        reports: &mut BTreeSet<Report>,
    ) -> Option<Granted> {
        let is_proxy = self.has_proxy() || self.is_gateway;
        let is_own = chosen.first.by_name && !chosen.host.is_wildcard();
        if is_proxy || !is_own || chosen.first.is_kubernetes() {
            return None;
        }
        let (v4, v6): (Vec<_>, Vec<_>) = given(chosen)
            .into_iter()
            .filter(|(net, is_virtual)| {
                let dialled = if *is_virtual { Dialled::Virtual } else { Dialled::Address };
                self.leads_somewhere(chosen, dialled(*net), reports)
            })
            .map(|(net, _)| net.addr())
            .partition(IpAddr::is_ipv4);
        let most = TOLD_ADDRESSES as usize / 2;
        let addresses: BTreeSet<IpAddr> =
            [v4, v6].into_iter().flat_map(|all| all.into_iter().take(most)).collect();
        if addresses.is_empty() {
            return None;
        }
        let backend = |address| Backend { address: Some(address), port: 0, weight: 1 };
        let backends = addresses.into_iter().map(backend).collect();
        Some(Granted {
            entry: Arc::clone(&chosen.first.entry),
            rank: chosen.host.rank(),
            action: Action::To(Arc::new(Target { kind: TargetKind::Answer, backends })),
        })
    }

    /// Whether any port is open at this address.
    fn leads_somewhere(
        &self,
        chosen: &Chosen<'a>,
        dialled: Dialled<'_>,
        reports: &mut BTreeSet<Report>,
    ) -> bool {
        chosen.ports.iter().any(|&(port, owner)| {
            let action = self.action(Dial { chosen, port, owner, dialled }, reports);
            !matches!(action, Action::Deny(_))
        })
    }
}

/// The addresses of a host, and which of them are virtual: those that its declarations list, and
/// those that it was given.
fn given(chosen: &Chosen<'_>) -> BTreeSet<(IpNet, bool)> {
    let parts = chosen.parts.iter();
    parts
        .flat_map(|part| {
            let single = |net: &&IpNet| net.prefix_len() == net.max_prefix_len();
            let declared = part.addresses.iter().filter(single).map(|net| (*net, false));
            let handed_out = part.virtual_addresses.get(chosen.host).into_iter().flatten();
            declared.chain(handed_out.map(|ip| (cidr::normalize((*ip).into()), true)))
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use exeat_common::abi::{RuleKey, action};
    use hickory_proto::rr::Name;

    use crate::{
        config::Config,
        policy::answers::Answers,
        registry::{load::Loaded, object},
        trial::{Trial, TrialClient},
    };

    const HOST: &str = "db.internal.example";

    fn trial(spec: &str, client: TrialClient) -> Trial {
        let text = format!(
            "{{apiVersion: networking.istio.io/v1, kind: ServiceEntry, metadata: {{name: db, namespace: a}}, spec: {{hosts: [{HOST}], {spec}}}}}"
        );
        let read = object::read(&serde_yaml::from_str(&text).expect("YAML"));
        let loaded = Loaded::of(vec![read]);
        assert_eq!(loaded.registry.service_entries().len(), 1, "{:?}", loaded.reports);
        let client = TrialClient { namespace: "a".to_owned(), ..client };
        Trial::new(&loaded.registry, &Config::offline(), &Answers::default(), &client)
    }

    #[track_caller]
    fn check(spec: &str, expected: &[&str]) {
        let told = trial(spec, TrialClient::default()).told(&Name::from_ascii(HOST).expect("it"));
        let told: Vec<String> = told.iter().map(ToString::to_string).collect();
        assert_eq!(told, expected, "{spec}");
    }

    const TCP: &str = "ports: [{number: 5432, name: tcp, protocol: TCP}]";
    const HTTP: &str = "ports: [{number: 80, name: http, protocol: HTTP}]";

    #[test]
    fn single_addresses_are_told_four_of_a_family() {
        check(
            &format!("addresses: [192.0.2.1, '2001:db8::1'], {TCP}"),
            &["192.0.2.1", "2001:db8::1"],
        );
        check(
            &format!(
                "addresses: [192.0.2.1, 192.0.2.2, 192.0.2.3, 192.0.2.4, 192.0.2.5, 198.51.100.0/24, '2001:db8::1'], {TCP}"
            ),
            &["192.0.2.1", "192.0.2.2", "192.0.2.3", "192.0.2.4", "2001:db8::1"],
        );
        check(&format!("addresses: [198.51.100.0/24], {TCP}"), &[]);
    }

    #[test]
    fn what_is_reached_at_its_real_addresses_is_not_told_others() {
        check(&format!("addresses: [192.0.2.1], {HTTP}"), &[]);
        // The twins: by address alone, and by name as well, to endpoints.
        check(&format!("addresses: [192.0.2.1], {TCP}"), &["192.0.2.1"]);
        let endpoints = "resolution: STATIC, endpoints: [{address: 203.0.113.1}]";
        check(&format!("addresses: [192.0.2.1], {HTTP}, {endpoints}"), &["192.0.2.1"]);
    }

    #[test]
    fn an_address_where_nothing_is_open_is_not_told() {
        check(&format!("addresses: [192.0.2.1], {TCP}, resolution: STATIC"), &[]);
        check(&format!("addresses: [192.0.2.1], {TCP}, resolution: DNS"), &[]);
    }

    #[test]
    fn a_proxy_is_told_nothing() {
        let client = TrialClient { has_sidecar: true, ..TrialClient::default() };
        let trial = trial(&format!("addresses: [192.0.2.1], {TCP}"), client);
        assert!(trial.told(&Name::from_ascii(HOST).expect("it")).is_empty());
    }

    /// Its name may be asked for, and an address that a resolver gives it opens nothing.
    #[test]
    fn a_name_that_is_only_told_opens_nothing_by_itself() {
        let trial = trial(&format!("addresses: [192.0.2.1], {TCP}"), TrialClient::default());
        let rules = &trial.image().rules;
        let told = rules.keys().find(|key| **key == RuleKey::answer(key.policy, key.subject));
        let RuleKey { policy, subject, .. } = told.expect("an answer");
        assert_eq!(rules[&RuleKey::grant(*policy, *subject)].action, action::DENY);
    }
}
