//! From what a client asks for to where it may go: the policy, the trusted resolvers, the policy
//! again for each address.

use std::{
    net::SocketAddr,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
};

use tokio::sync::watch;

use super::{
    host::{Host, HostName},
    policy::{Leave, Policy, Standing, Way},
    refusal::{Cause, Refusal},
};
use crate::{
    config::gateway::{Hosts, ProxyProtocol, Upstream},
    preseed::desk::Resolve,
    registry::{host::HostPattern, report::ObjectRef},
};

/// Addresses of one name that are tried.
const WAYS: usize = 16;

/// What a client asks for.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Wanted {
    pub host: Host,
    pub port: u16,
}

/// Where a client may go.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Route {
    pub wanted: Wanted,
    /// In the order in which they are tried; at least one.
    pub ways: Vec<Way>,
    pub entry: Option<ObjectRef>,
    pub reason: &'static str,
    /// A further gateway takes it on.
    pub through: Option<ProxyProtocol>,
}

/// A connection that is there, and what it rests on.
#[derive(Clone, Debug, Eq, PartialEq)]
pub struct Passage {
    pub wanted: Wanted,
    pub way: Way,
    pub through: Option<ProxyProtocol>,
}

/// Finds routes. Asks the resolvers only about names that are granted.
#[derive(Debug)]
pub struct Router<R> {
    pub policy: watch::Receiver<Arc<Policy>>,
    pub upstreams: Vec<Upstream>,
    pub resolver: R,
    /// Spreads flows over endpoints.
    turn: AtomicUsize,
}

impl<R: Resolve> Router<R> {
    pub fn new(
        policy: watch::Receiver<Arc<Policy>>,
        upstreams: Vec<Upstream>,
        resolver: R,
    ) -> Self {
        Self { policy, upstreams, resolver, turn: AtomicUsize::new(0) }
    }

    /// Where a client may go.
    pub async fn route(&self, wanted: &Wanted) -> Result<Route, Refusal> {
        let policy = Arc::clone(&self.policy.borrow());
        let Wanted { host, port } = wanted;
        let name = match host {
            Host::Address(address) => {
                let leave = policy.address(None, *address, *port)?;
                return Ok(self.routed(wanted, leave, None));
            }
            Host::Name(name) => name,
        };
        let standing = policy.standing(name)?;
        if let Some(upstream) = self.upstreams.iter().find(|it| it.takes(name)) {
            let leave = policy.by_name(standing, *port)?;
            let way = |to: &SocketAddr| Way { dialled: None, to: *to };
            let ways = upstream.addresses.iter().map(way).collect();
            return Ok(self.routed(wanted, Leave { ways, ..leave }, Some(upstream.proxy_protocol)));
        }
        if let Some(leave) = policy.endpoints(standing, *port) {
            return Ok(self.routed(wanted, leave, None));
        }
        let leave = self.resolved(&policy, standing, name, *port).await?;
        Ok(self.routed(wanted, leave, None))
    }

    /// The addresses of a name that may be dialled. One that may not hides none of the others.
    async fn resolved(
        &self,
        policy: &Policy,
        standing: Standing,
        name: &HostName,
        port: u16,
    ) -> Result<Leave, Refusal> {
        let found = self.resolver.resolve(&name.wire()).await;
        let mut refusal = Refusal::from(Cause::Unresolved);
        let mut all: Option<Leave> = None;
        for found in found.addresses {
            match (policy.address(Some(standing), found.address, port), &mut all) {
                (Ok(leave), Some(all)) => all.ways.extend(leave.ways),
                (Ok(leave), none @ None) => *none = Some(leave),
                (Err(why), _) => refusal = why,
            }
        }
        all.ok_or(refusal)
    }

    fn routed(&self, wanted: &Wanted, leave: Leave, through: Option<ProxyProtocol>) -> Route {
        let Leave { ways, entry, reason } = leave;
        // Only endpoints of an entry stand there with weights. The addresses of a name come from a
        // resolver, and upstream gateways in the order of the configuration.
        let is_by_weight = through.is_none() && ways.iter().all(|way| way.dialled.is_none());
        let turn = if is_by_weight { self.turn.fetch_add(1, Ordering::Relaxed) } else { 0 };
        let wanted = wanted.clone();
        Route { wanted, ways: distinct(&ways, turn), entry, reason: reason.as_str(), through }
    }
}

impl Upstream {
    fn takes(&self, name: &HostName) -> bool {
        let own = HostPattern::parse(name.as_str()).ok();
        self.hosts.iter().any(|hosts| match hosts {
            Hosts::All => true,
            Hosts::Pattern(pattern) => {
                own.as_ref().is_some_and(|own| own == pattern || pattern.covers(own))
            }
        })
    }
}

impl Passage {
    /// Whether the policy would still let it begin. Asks nobody: a name may have other addresses by
    /// now, and the connection stays with its own.
    pub fn is_permitted(&self, policy: &Policy) -> bool {
        let Self { wanted: Wanted { host, port }, way, through } = self;
        let Ok(standing) = host.standing(policy) else {
            return false;
        };
        let leads_here = |leave: Leave| leave.ways.iter().any(|it| it.to == way.to);
        match (way.dialled, standing) {
            (_, Some(standing)) if through.is_some() => policy.by_name(standing, *port).is_ok(),
            (Some(dialled), standing) => {
                policy.address(standing, dialled, *port).is_ok_and(leads_here)
            }
            // Endpoints come and go, and a connection stays with its own.
            (None, Some(standing)) => policy.endpoints(standing, *port).is_some(),
            // An address that the registry leads to endpoints.
            (None, None) => match host {
                Host::Address(address) => {
                    let leads_elsewhere =
                        |leave: Leave| leave.ways.iter().all(|it| it.dialled.is_none());
                    policy.address(None, *address, *port).is_ok_and(leads_elsewhere)
                }
                Host::Name(_) => false,
            },
        }
    }
}

/// Each way once, beginning at the `turn`-th.
fn distinct(ways: &[Way], turn: usize) -> Vec<Way> {
    let start = turn.checked_rem(ways.len()).unwrap_or(0);
    let mut order: Vec<Way> = Vec::new();
    for way in ways.iter().cycle().skip(start).take(ways.len()) {
        if order.len() < WAYS && !order.contains(way) {
            order.push(*way);
        }
    }
    order
}

#[cfg(test)]
mod tests;
