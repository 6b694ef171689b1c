//! The cluster: what its API server says of the registry and of this node's pods, and what it is
//! told of them as Events. Nobody's objects are changed. Where pods are on this node is the business of [`crate::workloads`].
//!
//! Everything that is followed is one [`source::Source`]. `follow` lists it and watches it, a
//! `shelf::Shelf` keeps of it what matters, and [`sources::Sources`] publishes. `teller` tells.

pub mod client;
mod discovery;
mod fetched;
mod follow;
pub mod health;
pub mod join;
mod library;
mod notices;
mod pod;
mod shelf;
pub mod source;
pub mod sources;
pub mod teller;

use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use tokio::time::Instant;

use crate::registry::object::Read;

/// What the cluster declares, once everything was listed.
#[derive(Debug, Default)]
pub struct Declared {
    pub reads: Vec<Arc<Read>>,
    /// Those of the cluster that are refused.
    refused: Vec<(notices::Subject, Arc<Read>)>,
    /// Since when something cannot be followed, so that what it said before is in force.
    pub stale_since: Option<Instant>,
    /// When the first change was noticed that nobody took before.
    pub noticed: Option<Instant>,
    /// Somebody took it, and what is published next is about later changes.
    is_taken: AtomicBool,
}

impl Declared {
    /// Since when somebody waits for what is in it.
    fn waiting(&self) -> Option<Instant> {
        self.noticed.filter(|_| !self.is_taken.load(Ordering::Relaxed))
    }

    fn take(&self) {
        self.is_taken.store(true, Ordering::Relaxed);
    }
}
