//! Bodies on their way through: what comes from a destination is logged when it has ended.

use std::{
    pin::Pin,
    task::{Context, Poll},
};

use http_body_util::{Either, Full};
use hyper::body::{Body, Bytes, Frame, Incoming, SizeHint};

use crate::gateway::log::{Outcome, Record};

/// From a destination, or a sentence of our own.
pub(super) type ReplyBody = Either<Passing, Full<Bytes>>;

/// A body of a destination. What is to be done at its end is done when it is dropped, because a
/// client may leave before.
pub(super) struct Passing {
    inner: Incoming,
    end: End,
}

/// What is to be done when a response has ended.
struct End {
    received: u64,
    outcome: Outcome,
    record: Option<Record>,
    note: Box<dyn Fn(Record) + Send>,
}

impl Passing {
    pub(super) fn new(
        inner: Incoming,
        record: Record,
        note: impl Fn(Record) + Send + 'static,
    ) -> Self {
        // Until the end has come, the client is the one who left.
        let outcome = if inner.is_end_stream() { Outcome::Closed } else { Outcome::Reset };
        let end = End { received: 0, outcome, record: Some(record), note: Box::new(note) };
        Self { inner, end }
    }
}

impl Body for Passing {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.inner).poll_frame(context);
        match &polled {
            Poll::Ready(Some(Ok(frame))) => {
                let bytes = frame.data_ref().map_or(0, Bytes::len);
                self.end.received += bytes as u64;
                if self.inner.is_end_stream() {
                    self.end.outcome = Outcome::Closed;
                }
            }
            Poll::Ready(Some(Err(_))) => {
                self.end.outcome = Outcome::Cut(crate::gateway::refusal::Cause::Broken);
            }
            Poll::Ready(None) => self.end.outcome = Outcome::Closed,
            Poll::Pending => {}
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.inner.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.inner.size_hint()
    }
}

impl Drop for End {
    fn drop(&mut self) {
        if let Some(mut record) = self.record.take() {
            record.received_bytes = Some(self.received);
            (self.note)(record.ended(self.outcome));
        }
    }
}
