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
