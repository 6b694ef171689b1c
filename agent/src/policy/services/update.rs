//! A change of a few service entries, or of what names of their endpoints lead to, without linking
//! everything anew.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use ipnet::IpNet;

use super::{Linking, Services, istio};
use crate::{
    config::{Config, Matching},
    policy::answers::Answers,
    registry::{
        Registry,
        endpoint::{Endpoint, EndpointAddress},
        header::Header,
        host::HostPattern,
        istio::{mesh::Mesh, service_entry::ServiceEntry},
        kubernetes::service::Kind,
        report::ObjectRef,
    },
};

/// What a change touches: everything a view may say about other names and addresses stays.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Touched {
    pub hosts: BTreeSet<HostPattern>,
    pub nets: BTreeSet<IpNet>,
    /// Objects whose reports are made anew.
    pub objects: BTreeSet<Arc<ObjectRef>>,
}

/// An entry before and after.
type Change<'a> = (Option<&'a Arc<ServiceEntry>>, Option<&'a Arc<ServiceEntry>>);

impl Services {
    /// Turns the services of `before` into those of `after`, and says what that touches. None, and
    /// nothing is changed, if more than entries and their endpoints differ, or if routes, policies,
    /// aliases or ports for every address could be concerned: then everything has to be linked anew.
    pub fn update(
        &mut self,
        before: &Registry,
        after: &Registry,
        config: &Config,
        answers: &Answers,
    ) -> Option<Touched> {
        let moved = self.answers.moved(answers);
        if self.settings.matching == Matching::IstioCompat
            || !before.differs_in_entries_only(after)
            || self.answers.virtual_addresses != answers.virtual_addresses
            || (!moved.is_empty() && is_used_elsewhere(after, &moved))
        {
            return None;
        }
        let mut changes = changes(before.service_entries(), after.service_entries());
        let others = after.service_entries().iter().filter(|entry| leads_to(entry, &moved));
        let others: Vec<Change<'_>> = others
            .filter(|entry| {
                changes.iter().all(|(_, new)| new.is_none_or(|it| !Arc::ptr_eq(it, entry)))
            })
            .map(|entry| (Some(entry), Some(entry)))
            .collect();
        changes.extend(others);
        let touched = self.touched(&changes)?;
        let standard = Mesh::default();
        let mesh = after.meshes().first().map_or(&standard, |mesh| &**mesh);
        let linking = Linking::new(after, config, answers, mesh);
        for (old, new) in changes {
            if let Some(old) = old {
                self.remove(&old.header.object, &touched);
            }
            if let Some(new) = new.filter(|it| linking.namespaces.counts(it.header.namespace())) {
                self.add(&Arc::new(istio::declare(new, &linking)));
            }
        }
        self.sort_touched(&touched);
        self.answers.clone_from(answers);
        Some(touched)
    }

    fn touched(&self, changes: &[Change<'_>]) -> Option<Touched> {
        let mut touched = Touched::default();
        for entry in changes.iter().flat_map(|(old, new)| old.iter().chain(new)) {
            touched.objects.insert(Arc::clone(&entry.header.object));
            touched.hosts.extend(entry.hosts.iter().cloned());
            touched.nets.extend(entry.addresses.iter().copied());
            let addresses = entry.virtual_addresses.values().flatten();
            touched.nets.extend(addresses.map(|ip| IpNet::from(*ip)));
        }
        self.add_neighbours(&mut touched);
        touched.hosts.iter().all(|host| self.stands_alone(host)).then_some(touched)
    }

    /// Adds the other objects that declare a touched host or address, with all that they declare:
    /// what is reported about them may change, and what they declare there may decide for others.
    fn add_neighbours(&self, touched: &mut Touched) {
        loop {
            let by_host = touched.hosts.iter().flat_map(|host| self.declared(host));
            let by_net = touched.nets.iter().flat_map(|net| self.claims(net));
            let neighbours: Vec<_> =
                by_host.chain(by_net.map(|claim| &claim.declaration)).cloned().collect();
            let count = (touched.hosts.len(), touched.nets.len());
            for neighbour in neighbours {
                touched.objects.insert(Arc::clone(&neighbour.entry));
                touched.hosts.extend(neighbour.hosts.iter().cloned());
                touched.nets.extend(neighbour.nets());
            }
            if count == (touched.hosts.len(), touched.nets.len()) {
                break;
            }
        }
    }

    /// Whether nothing else looks at the declarations of `host`.
    fn stands_alone(&self, host: &HostPattern) -> bool {
        let meets = |other: &HostPattern| other.covers(host) || host.covers(other);
        let destinations = self.routes.values().flatten().flat_map(|routes| {
            let object = &routes.object;
            let rules = [&object.http, &object.tls, &object.tcp].into_iter().flatten();
            rules.flat_map(|rule| &rule.destinations).map(|it| &it.host)
        });
        let proxies = self.sidecars.values().flatten().filter_map(|it| it.policy.as_ref());
        let proxies = proxies.filter_map(|it| it.proxy.as_ref()).map(|it| &it.host);
        !self
            .routes
            .keys()
            .chain(&self.server_names)
            .chain(self.policies.keys())
            .chain(&self.aliases)
            .chain(destinations)
            .chain(proxies)
            .any(meets)
    }

    fn remove(&mut self, entry: &ObjectRef, touched: &Touched) {
        for host in &touched.hosts {
            if let Some(declared) = self.hosts.get_mut(host) {
                declared.retain(|it| *it.entry != *entry);
            }
        }
        for net in &touched.nets {
            if let Some(claims) = self.nets.get_mut(net) {
                claims.retain(|it| *it.declaration.entry != *entry);
            }
        }
    }

    fn sort_touched(&mut self, touched: &Touched) {
        for host in &touched.hosts {
            match self.hosts.get_mut(host) {
                Some(declared) if declared.is_empty() => {
                    self.hosts.remove(host);
                }
                Some(declared) => super::sort_declared(declared),
                None => {}
            }
        }
        for net in &touched.nets {
            match self.nets.get_mut(net) {
                Some(claims) if claims.is_empty() => {
                    self.nets.remove(net);
                }
                Some(claims) => super::sort_claims(claims),
                None => {}
            }
        }
    }
}

/// Whether flows of the entry go to the addresses of one of these names.
fn leads_to(entry: &ServiceEntry, moved: &BTreeSet<&HostPattern>) -> bool {
    let is_named =
        |it: &Endpoint| matches!(&it.address, EndpointAddress::Name(name) if moved.contains(name));
    !moved.is_empty()
        && (entry.endpoints.iter().any(is_named)
            || (entry.is_direct() && entry.hosts.iter().any(|host| moved.contains(host))))
}

/// Whether anything but the endpoints and the hosts of entries has one of these names.
fn is_used_elsewhere(registry: &Registry, moved: &BTreeSet<&HostPattern>) -> bool {
    let is_named = |address: &EndpointAddress| matches!(address, EndpointAddress::Name(name) if moved.contains(name));
    let is_alias =
        |kind: &Kind| matches!(kind, Kind::ExternalName(target) if moved.contains(target));
    registry.workload_entries().iter().any(|it| is_named(&it.endpoint.address))
        || registry.external_endpoints().iter().any(|it| is_named(&it.address))
        || registry.services().iter().any(|it| is_alias(&it.kind))
        || registry
            .external_services()
            .iter()
            .any(|it| it.hosts.iter().any(|host| moved.contains(host)))
}

/// What differs between two lists in order of age.
fn changes<'a>(before: &'a [Arc<ServiceEntry>], after: &'a [Arc<ServiceEntry>]) -> Vec<Change<'a>> {
    let mut changed: BTreeMap<&ObjectRef, Change<'a>> = BTreeMap::new();
    let (mut old, mut new) = (before.iter().peekable(), after.iter().peekable());
    loop {
        let order = match (old.peek(), new.peek()) {
            (None, None) => break,
            (Some(_), None) => std::cmp::Ordering::Less,
            (None, Some(_)) => std::cmp::Ordering::Greater,
            (Some(a), Some(b)) if Arc::ptr_eq(a, b) => std::cmp::Ordering::Equal,
            (Some(a), Some(b)) => Header::by_age(&a.header, &b.header),
        };
        let a = if order.is_le() { old.next() } else { None };
        let b = if order.is_ge() { new.next() } else { None };
        if let (Some(a), Some(b)) = (a, b)
            && (Arc::ptr_eq(a, b) || a == b)
        {
            continue;
        }
        for (entry, is_new) in a.map(|it| (it, false)).into_iter().chain(b.map(|it| (it, true))) {
            let change = changed.entry(&entry.header.object).or_default();
            if is_new { change.1 = Some(entry) } else { change.0 = Some(entry) }
        }
    }
    changed.into_values().collect()
}
