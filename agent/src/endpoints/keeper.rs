//! The task that asks for names when it is time to, and tells what has changed. Owns the book.

use futures_util::{StreamExt as _, stream::FuturesUnordered};
use tokio::time::{Instant, sleep_until};
use tokio_util::sync::CancellationToken;

use super::{Desk, book::Book, memory::Memory};
use crate::{metrics::EndpointNames, policy::image::WireName, preseed::desk::Resolve};

/// Names under way at a time.
const AT_A_TIME: usize = 16;

/// Keeps names fresh.
#[derive(Debug)]
pub struct Keeper<R> {
    pub desk: Desk,
    pub resolver: R,
    pub book: Book,
    /// None where nothing is to outlive the process.
    pub memory: Option<Memory>,
    pub counts: EndpointNames,
}

impl<R: Resolve> Keeper<R> {
    /// Runs until told to stop, or until nobody wants anything any more.
    pub async fn run(self, stop: CancellationToken) {
        // Its error means that it was stopped.
        let _stopped = stop.run_until_cancelled(self.keep()).await;
    }

    async fn keep(self) {
        let Self { mut desk, resolver, mut book, mut memory, counts } = self;
        // What was remembered is in use at once.
        if !book.known().is_empty() {
            desk.known.send_replace(book.known());
        }
        let resolver = &resolver;
        let mut under_way = FuturesUnordered::new();
        loop {
            let now = Instant::now();
            for name in book.take_due(AT_A_TIME - under_way.len(), now) {
                under_way.push(async move {
                    let answer = resolver.resolve(&WireName(name.wire())).await;
                    (name, answer)
                });
            }
            if let Some(known) = book.tell(now) {
                tracing::info!(names = known.len(), "addresses of endpoints have changed");
                if let Some(memory) = &mut memory {
                    memory.write(&known);
                }
                desk.known.send_replace(known);
            }
            counts.set(book.summary());
            let next = book.next(under_way.len() < AT_A_TIME);
            tokio::select! {
                biased;
                changed = desk.wanted.changed() => {
                    if changed.is_err() {
                        return;
                    }
                    let wanted = std::sync::Arc::clone(&desk.wanted.borrow_and_update());
                    book.want(&wanted, Instant::now());
                }
                Some((name, answer)) = under_way.next(), if !under_way.is_empty() => {
                    book.heard(&name, &answer, Instant::now());
                }
                () = sleep_until(next.unwrap_or(now)), if next.is_some() => {}
            }
        }
    }
}
