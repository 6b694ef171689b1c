//! The observer task: events of the kernel to flow records. Explains, enforces nothing.

use std::{
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use exeat_common::{abi::AnswerHeader, id::WorkloadId};
use nix::time::{ClockId, clock_gettime};
use tokio::sync::{mpsc, watch};
use tokio_util::sync::CancellationToken;

use crate::{
    datapath::{Deferred, Event, EventSource},
    dns::{self, cache::NameCache},
    flows::{
        FlowLog, Line,
        record::{self, Context},
    },
    metrics::Lost,
    reconcile::State,
};

/// Events that may wait for the observer; more are counted as lost.
pub const QUEUE: usize = 4096;

/// Reads the source as fast as it can, so that the ring does not fill up. Runs until `stop`. Answers
/// that were held back do not wait behind what is only to be observed.
pub async fn pump<S: EventSource>(
    mut source: S,
    output: mpsc::Sender<Event>,
    deferred: mpsc::Sender<Deferred>,
    lost: Lost,
    stop: CancellationToken,
) -> Result<(), S::Error> {
    loop {
        let event = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            event = source.next() => event?,
        };
        let is_taken = match event {
            Event::Deferred(question) => deferred.try_send(question).is_ok(),
            event @ (Event::Answer { .. } | Event::Flow(_) | Event::Query(_)) => {
                output.try_send(event).is_ok()
            }
        };
        if !is_taken {
            lost.add(1);
        }
    }
}

/// Turns events into records.
#[derive(Debug)]
pub struct Observer {
    pub node: String,
    pub state: watch::Receiver<Arc<State>>,
    pub log: FlowLog,
    names: NameCache,
}

impl Observer {
    pub fn new(node: String, state: watch::Receiver<Arc<State>>, log: FlowLog) -> Self {
        Self { node, state, log, names: NameCache::default() }
    }

    /// Runs until `stop` or the end of the events.
    pub async fn run(mut self, mut events: mpsc::Receiver<Event>, stop: CancellationToken) {
        let mut tidy = tokio::time::interval(Duration::from_mins(5));
        loop {
            tokio::select! {
                () = stop.cancelled() => return,
                event = events.recv() => match event {
                    Some(event) => self.observe(&event, Instant::now()),
                    None => return,
                },
                _ = tidy.tick() => self.forget_gone(),
            }
        }
    }

    fn observe(&mut self, event: &Event, now: Instant) {
        match event {
            Event::Answer { header, message } => self.learn(header, message, now),
            Event::Flow(flow) => {
                let workload = flow.workload;
                let name = self.names.name(workload, flow.address.into(), now);
                let line = self.line(flow.time, name, |context| record::of_flow(flow, context));
                self.publish(line);
            }
            // It went to whoever learns; see `pump`.
            Event::Deferred(_) => {}
            Event::Query(query) => {
                let name = dns::message::name(&query.name).ok();
                let line = self
                    .line(query.time, name.as_deref(), |context| record::of_query(query, context));
                self.publish(line);
            }
        }
    }

    fn line(&self, time: u64, name: Option<&str>, make: impl FnOnce(&Context<'_>) -> Line) -> Line {
        let directory = Arc::clone(&self.state.borrow().directory);
        make(&Context { node: &self.node, directory: &directory, time: wall_time(time), name })
    }

    fn publish(&self, line: Line) {
        tracing::debug!(
            layer = line.record.layer,
            verdict = line.record.verdict,
            reason = line.record.reason,
            destination = ?line.record.destination,
            "flow"
        );
        self.log.add(line);
    }

    fn learn(&mut self, header: &AnswerHeader, message: &[u8], now: Instant) {
        match dns::message::answer(message) {
            Ok(answer) => {
                for (address, ttl) in answer.addresses {
                    let address = address.to_canonical();
                    self.names.learn(header.workload, address, &answer.name, ttl, now);
                }
            }
            // The kernel read it, so the two readers disagree: worth knowing, not worth more.
            Err(error) => tracing::debug!(%error, "DNS answer"),
        }
    }

    fn forget_gone(&mut self) {
        let directory = Arc::clone(&self.state.borrow().directory);
        let is_known = |workload: WorkloadId| directory.workload(workload).is_some();
        self.names.keep_workloads(is_known);
    }
}

/// The wall-clock time of an event, from nanoseconds of the kernel's monotonic clock.
fn wall_time(monotonic: u64) -> SystemTime {
    let now = SystemTime::now();
    let elapsed = clock_gettime(ClockId::CLOCK_MONOTONIC)
        .map(Duration::from)
        .map_or(Duration::ZERO, |it| it.saturating_sub(Duration::from_nanos(monotonic)));
    now.checked_sub(elapsed).unwrap_or(now)
}

#[cfg(test)]
mod tests;
