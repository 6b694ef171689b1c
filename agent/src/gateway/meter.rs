//! What the gateway counts, by the naming of the agent's metrics.

use std::{sync::atomic::AtomicU64, time::Duration};

use prometheus_client::{
    encoding::{EncodeLabelSet, text::encode},
    metrics::{
        counter::Counter,
        family::Family,
        gauge::Gauge,
        histogram::{Histogram, exponential_buckets},
        info::Info,
    },
    registry::{Registry, Unit},
};
use tokio::time::Instant;

use super::{limits::Full, log::Record};
use crate::{
    metrics::{ENDPOINT_NAMES_HELP, EndpointNames},
    registry::file::Snapshot,
};

/// Counts for as long as the gateway runs. Cheap to copy.
#[derive(Clone, Debug)]
pub struct Meter {
    connections: Family<ListenerLabels, Counter>,
    refused: Family<LimitLabels, Counter>,
    requests: Family<RequestLabels, Counter>,
    bytes: Family<DirectionLabels, Counter>,
    connect: Histogram,
    lost: Counter,
    /// Set by whoever resolves them.
    pub endpoints: EndpointNames,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct StateLabels {
    state: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct ListenerLabels {
    listener: String,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct LimitLabels {
    limit: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct RequestLabels {
    listener: String,
    protocol: &'static str,
    verdict: &'static str,
    reason: &'static str,
}

#[derive(Clone, Debug, EncodeLabelSet, Eq, Hash, PartialEq)]
struct DirectionLabels {
    direction: &'static str,
}

impl Default for Meter {
    fn default() -> Self {
        Self {
            connections: Family::default(),
            refused: Family::default(),
            requests: Family::default(),
            bytes: Family::default(),
            // 1 ms to 16 s.
            connect: Histogram::new(exponential_buckets(0.001, 2.0, 15)),
            lost: Counter::default(),
            endpoints: EndpointNames::default(),
        }
    }
}

impl Meter {
    pub fn accepted(&self, listener: &str) {
        self.connections.get_or_create(&ListenerLabels { listener: listener.to_owned() }).inc();
    }

    pub fn kept_out(&self, full: Full) {
        self.refused.get_or_create(&LimitLabels { limit: full.as_str() }).inc();
    }

    pub fn ended(&self, record: &Record) {
        let labels = RequestLabels {
            listener: record.listener_label.clone(),
            protocol: record.protocol,
            verdict: record.verdict,
            reason: record.reason,
        };
        self.requests.get_or_create(&labels).inc();
    }

    /// Bytes of the client's side of a connection that has ended.
    pub fn moved(&self, sent: u64, received: u64) {
        let of = |direction| self.bytes.get_or_create_owned(&DirectionLabels { direction });
        of("sent").inc_by(sent);
        of("received").inc_by(received);
    }

    pub fn connected(&self, took: Duration) {
        self.connect.observe(took.as_secs_f64());
    }

    pub fn lost_line(&self) {
        self.lost.inc();
    }

    /// The text of `/metrics` in the `OpenMetrics` format.
    ///
    /// # Errors
    ///
    /// None that can be caused: writing to a `String` does not fail.
    pub fn render(
        &self,
        open: usize,
        source: &Snapshot,
        now: Instant,
    ) -> Result<String, std::fmt::Error> {
        let mut all = Registry::with_prefix("exeat");
        let gateway = all.sub_registry_with_prefix("gateway");
        gateway.register("connections", "Connections accepted", self.connections.clone());
        gateway.register(
            "refused_connections",
            "Connections closed at once, because a limit was reached",
            self.refused.clone(),
        );
        gateway.register(
            "requests",
            "HTTP requests and TLS connections, by verdict, when they ended",
            self.requests.clone(),
        );
        gateway.register(
            "bytes",
            "Bytes from (sent) and to (received) clients, of connections that have ended",
            self.bytes.clone(),
        );
        gateway.register_with_unit(
            "connect",
            "Time until a destination took the connection or none did",
            Unit::Seconds,
            self.connect.clone(),
        );
        gateway.register(
            "log_lost",
            "Lines of the access log that were not written, because the disk is too slow",
            self.lost.clone(),
        );
        let count: Gauge = Gauge::default();
        count.set(i64::try_from(open).unwrap_or(i64::MAX));
        gateway.register("open_connections", "Connections of clients that are open", count);

        let names = Family::<StateLabels, Gauge>::default();
        for (state, count) in self.endpoints.counts() {
            let gauge = names.get_or_create_owned(&StateLabels { state });
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        }
        all.register("endpoint_names", ENDPOINT_NAMES_HELP, names);
        let age = Gauge::<f64, AtomicU64>::default();
        age.set(source.age(now).as_secs_f64());
        all.register(
            "registry_age_seconds",
            "How long some registry file could not be read, so that what it said before is in force; 0 while all can be",
            age,
        );
        let unreadable: Gauge = Gauge::default();
        unreadable.set(i64::try_from(source.loaded.errors.len()).unwrap_or(i64::MAX));
        all.register("registry_files_unreadable", "Registry files that cannot be read", unreadable);
        let build = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        all.register("build", "The running version; always 1", build);
        let mut text = String::new();
        encode(&mut text, &all)?;
        Ok(text)
    }
}
