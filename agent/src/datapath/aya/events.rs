//! The ring buffer as a stream of events.

use std::{
    io,
    os::fd::{AsFd as _, OwnedFd},
    sync::Arc,
};

use aya::{
    Ebpf,
    maps::{MapData, RingBuf},
};
use exeat_common::{
    abi::{AnswerHeader, FlowEvent, QueryHeader, event},
    limits::map,
};
use tokio::io::unix::AsyncFd;
use zerocopy::FromBytes as _;

use super::{OpenError, kernel_log::KernelLog};
use crate::datapath::{Deferred, Event, EventSource, Query, syscall::wait_readable};

/// Why the ring cannot be read any more.
#[derive(Clone, Debug, thiserror::Error)]
#[error("wait on the event ring: {source}")]
pub struct RingError {
    source: Arc<io::Error>,
}

/// The reading end of `EVENTS`.
pub struct Events {
    ring: RingBuf<MapData>,
    /// Registered when first waited on, inside the runtime.
    ready: Option<AsyncFd<OwnedFd>>,
    log: Option<KernelLog>,
}

impl Events {
    pub(super) fn open(ebpf: &mut Ebpf) -> Result<Self, OpenError> {
        let name = map::EVENTS;
        let ring = ebpf.take_map(name).ok_or(OpenError::Missing { name })?;
        let ring = RingBuf::try_from(ring)
            .map_err(|source| OpenError::Map { map: name, source: Box::new(source) })?;
        Ok(Self { ring, ready: None, log: KernelLog::open(ebpf) })
    }

    /// Takes what is there; what no version of this agent can read is passed over.
    fn take(&mut self) -> Option<Event> {
        while let Some(bytes) = self.ring.next() {
            if let Some(event) = parse(&bytes) {
                return Some(event);
            }
            tracing::debug!(bytes = bytes.len(), "an event of unknown kind");
        }
        None
    }

    /// Waits until the ring has something to read.
    async fn wait(&mut self) -> io::Result<()> {
        if self.ready.is_none() {
            self.ready = Some(wait_readable(self.ring.as_fd().try_clone_to_owned()?)?);
        }
        if let Some(ready) = &self.ready {
            ready.readable().await?.clear_ready();
        }
        Ok(())
    }
}

impl EventSource for Events {
    type Error = RingError;

    async fn next(&mut self) -> Result<Event, RingError> {
        let failed = |source| RingError { source: Arc::new(source) };
        loop {
            if let Some(event) = self.take() {
                return Ok(event);
            }
            let mut log = self.log.take();
            let waited = tokio::select! {
                waited = self.wait() => waited,
                passed = pass_on(&mut log) => passed,
            };
            self.log = log;
            waited.map_err(failed)?;
        }
    }
}

/// Passes log lines on; without any, waits for ever.
async fn pass_on(log: &mut Option<KernelLog>) -> io::Result<()> {
    match log {
        Some(log) => log.pass_on().await,
        None => std::future::pending().await,
    }
}

/// Reads one record of the ring by its first word.
fn parse(bytes: &[u8]) -> Option<Event> {
    let kind = u32::from_ne_bytes(*bytes.first_chunk()?);
    match kind {
        event::FLOW => FlowEvent::read_from_bytes(bytes).ok().map(Event::Flow),
        event::DEFERRED => {
            let (head, name) = QueryHeader::read_from_prefix(bytes).ok()?;
            Some(Event::Deferred(Deferred {
                question: head.key,
                pattern: head.pattern,
                name: name.get(..usize::from(head.name_length))?.to_vec(),
            }))
        }
        event::QUERY => {
            let (head, name) = QueryHeader::read_from_prefix(bytes).ok()?;
            Some(Event::Query(Query {
                workload: head.workload,
                time: head.time,
                query_type: head.query_type,
                verdict: head.verdict,
                reason: head.reason,
                name: name.get(..usize::from(head.name_length))?.to_vec(),
            }))
        }
        event::ANSWER => {
            let (header, message) = AnswerHeader::read_from_prefix(bytes).ok()?;
            let length = usize::try_from(header.length).ok()?;
            Some(Event::Answer { header, message: message.get(..length)?.to_vec() })
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use exeat_common::{
        abi::{AnswerHeader, QueryHeader, QueryKey, event},
        id::{SubjectId, WorkloadId},
    };
    use zerocopy::{FromZeros as _, IntoBytes as _};

    use super::parse;
    use crate::datapath::Event;

    #[test]
    fn records_are_cut_to_what_they_announce() {
        let head = QueryHeader {
            kind: event::QUERY,
            workload: WorkloadId::new(7),
            time: 1,
            query_type: 1,
            name_length: 3,
            verdict: 0,
            reason: 19,
            reserved: [0; 2],
            pattern: SubjectId::pattern(3, true, 2),
            key: QueryKey { workload: WorkloadId::new(7), ..QueryKey::new_zeroed() },
            also_reserved: 0,
            more_reserved: 0,
        };
        let mut bytes = head.as_bytes().to_vec();
        bytes.extend([1, b'a', 0, 9, 9]);
        let Some(Event::Query(query)) = parse(&bytes) else { panic!("a query") };
        assert_eq!((query.name, query.workload), (vec![1, b'a', 0], WorkloadId::new(7)));
        bytes[0] = 4;
        let Some(Event::Deferred(deferred)) = parse(&bytes) else { panic!("a deferred answer") };
        assert_eq!((deferred.name, deferred.question), (vec![1, b'a', 0], head.key));
        assert_eq!(deferred.pattern, head.pattern);

        let header = AnswerHeader {
            kind: event::ANSWER,
            workload: WorkloadId::new(7),
            time: 1,
            pattern: SubjectId::NONE,
            length: 9,
            reserved: [0; 8],
        };
        assert_eq!(parse(header.as_bytes()), None, "a message shorter than announced");
        assert_eq!(parse(&[]), None);
        assert_eq!(parse(&99_u32.to_ne_bytes()), None);
    }
}
