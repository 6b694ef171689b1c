//! Names resolved through the trusted resolvers alone: no hosts file, no search list.

use std::{net::SocketAddr, time::Duration};

use exeat_common::limits::EDNS_BYTES;
use hickory_proto::{
    op::ResponseCode,
    rr::{Name, Record, RecordType},
};
use hickory_resolver::{
    TokioResolver,
    config::{
        ConnectionConfig, NameServerConfig, ResolveHosts, ResolverConfig, ServerOrderingStrategy,
    },
    net::{DnsError, NetError, runtime::TokioRuntimeProvider},
};
use tokio::time::timeout;

use super::{
    Found,
    desk::{Resolve, Resolved},
};
use crate::policy::image::WireName;

/// Wait for one answer of one resolver.
const ANSWER_WITHIN: Duration = Duration::from_secs(1);
/// Wait for one name, whatever number of resolvers there is.
const NAME_WITHIN: Duration = Duration::from_secs(5);

/// The resolver library, told whom to ask.
pub struct Hickory(TokioResolver);

impl Hickory {
    /// # Errors
    ///
    /// None that a configuration can cause: the library fails on transports that are not built in.
    pub fn new(resolvers: &[SocketAddr]) -> Result<Self, NetError> {
        Self::cached(resolvers, 0)
    }

    /// One that remembers so many answers for as long as they hold.
    ///
    /// # Errors
    ///
    /// As [`Self::new`].
    pub fn cached(resolvers: &[SocketAddr], answers: u64) -> Result<Self, NetError> {
        let servers = resolvers.iter().map(|resolver| {
            let transports = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
            let at_port = |mut transport: ConnectionConfig| {
                transport.port = resolver.port();
                transport
            };
            // As a workload's own library does it, a denial of one resolver is not taken to
            // another one.
            NameServerConfig::new(resolver.ip(), true, transports.map(at_port).to_vec())
        });
        let config = ResolverConfig::from_parts(None, Vec::new(), servers.collect());
        let mut builder =
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default());
        let options = builder.options_mut();
        options.timeout = ANSWER_WITHIN;
        options.attempts = 1;
        options.cache_size = answers;
        options.use_hosts_file = ResolveHosts::Never;
        options.edns_payload_len = EDNS_BYTES;
        options.server_ordering_strategy = ServerOrderingStrategy::UserProvidedOrder;
        options.num_concurrent_reqs = 1;
        Ok(Self(builder.build()?))
    }

    /// The addresses of one type, and whether the question was answered.
    async fn ask(&self, name: &Name, kind: RecordType) -> Resolved {
        let answer = timeout(NAME_WITHIN, self.0.lookup(name.clone(), kind)).await;
        let lookup = match answer {
            Ok(Ok(lookup)) => lookup,
            Ok(Err(error)) => {
                tracing::debug!(%name, %kind, %error, "resolve ahead");
                return Resolved { is_whole: is_answer(&error), ..Resolved::default() };
            }
            Err(_) => return Resolved::default(),
        };
        let found = |record: &Record| {
            record.data.ip_addr().map(|address| Found { address, ttl: record.ttl })
        };
        Resolved { addresses: lookup.answers().iter().filter_map(found).collect(), is_whole: true }
    }
}

impl Resolve for Hickory {
    async fn resolve(&self, name: &WireName) -> Resolved {
        let Some(name) = to_name(name) else {
            // No resolver could be asked for it either.
            return Resolved { is_whole: true, ..Resolved::default() };
        };
        let (v4, v6) =
            tokio::join!(self.ask(&name, RecordType::A), self.ask(&name, RecordType::AAAA));
        Resolved {
            addresses: [v4.addresses, v6.addresses].concat(),
            is_whole: v4.is_whole && v6.is_whole,
        }
    }
}

/// "No such name" and "no such records" are answers; all else may be another one next time.
fn is_answer(error: &NetError) -> bool {
    let NetError::Dns(DnsError::NoRecordsFound(none)) = error else {
        return false;
    };
    matches!(none.response_code, ResponseCode::NXDomain | ResponseCode::NoError)
}

/// Complete as it stands, so that nothing is added to it.
fn to_name(wire: &WireName) -> Option<Name> {
    let mut name = Name::from_labels(wire.split()).ok()?;
    name.set_fqdn(true);
    Some(name)
}
