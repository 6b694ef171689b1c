//! Names that stand for endpoints: which ones the registry has, and what addresses they have now.
//!
//! A flow is sent to an address, so a name among the endpoints of an entry has to be resolved by
//! the agent. It asks the trusted resolvers, as workloads do, and asks again when an answer has had
//! its time. What is found enters the compiler beside the registry, and from there goes the way of
//! every other change; a connection that is open stays where it is.
//!
//! While the resolvers are silent, the addresses that were found last stay in use, over a restart
//! as well. Only an answer takes an address away.

pub mod book;
pub mod keeper;
pub mod memory;
pub mod wanted;

#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use serde::{Deserialize, Serialize};
use tokio::{
    sync::watch,
    time::{Instant, timeout_at},
};

use crate::registry::{Registry, host::HostPattern};

/// The addresses of each name that was ever answered, sorted; none for a name that has none.
pub type Known = BTreeMap<HostPattern, Vec<IpAddr>>;

/// Names that are to be kept fresh.
pub type Wanted = BTreeSet<HostPattern>;

/// The side of whoever compiles: says what it needs, and is told what is known.
#[derive(Debug)]
pub struct Reader {
    wanted: watch::Sender<Arc<Wanted>>,
    known: watch::Receiver<Arc<Known>>,
    /// The task that resolves may end before its readers do.
    is_over: bool,
}

/// The side of the task.
#[derive(Debug)]
pub struct Desk {
    pub(super) wanted: watch::Receiver<Arc<Wanted>>,
    pub(super) known: watch::Sender<Arc<Known>>,
}

/// How the names stand.
#[derive(Clone, Debug, Default, Deserialize, Eq, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Summary {
    /// Answered, and the answer still holds.
    pub fresh: usize,
    /// The resolvers are silent: what they said last is in use.
    pub kept: Vec<String>,
    /// The resolvers know no address of them: their endpoints are left out.
    pub absent: Vec<String>,
    /// Never answered: their endpoints are left out.
    pub unanswered: Vec<String>,
    /// Not resolved at all, because there are too many.
    pub left_out: usize,
}

/// How long whoever starts waits for names that were never answered. Enforcement matters more.
const WAIT: Duration = Duration::from_secs(1);

/// Both sides.
pub fn pair() -> (Reader, Desk) {
    let (wanted, asked) = watch::channel(Arc::default());
    let (told, known) = watch::channel(Arc::default());
    (Reader { wanted, known, is_over: false }, Desk { wanted: asked, known: told })
}

impl Reader {
    /// Says which names a registry needs from here on, and takes what is known at the moment.
    pub fn read(&mut self, wanted: Wanted) -> Arc<Known> {
        self.wanted.send_if_modified(|before| {
            let is_other = **before != wanted;
            if is_other {
                *before = Arc::new(wanted);
            }
            is_other
        });
        Arc::clone(&self.known.borrow_and_update())
    }

    /// Waits until something else is known; for ever if that will not come.
    pub async fn changed(&mut self) {
        if self.is_over || self.known.changed().await.is_err() {
            self.is_over = true;
            std::future::pending::<()>().await;
        }
    }

    /// Waits until all that `registry` needs was answered at some time, but not for long.
    pub async fn settle(&mut self, wanted: Wanted) {
        self.read(wanted.clone());
        let end = Instant::now() + WAIT;
        let is_settled = |known: &Arc<Known>| wanted.iter().all(|name| known.contains_key(name));
        // Whoever is late, and whoever is gone, is not waited for.
        let settled = timeout_at(end, self.known.wait_for(is_settled)).await;
        if !matches!(settled, Ok(Ok(_))) {
            tracing::warn!(
                "endpoints that are names are not all resolved yet: what leads to them is denied until then"
            );
        }
    }
}

/// The names that `registry` needs under `config`.
pub fn wanted(registry: &Registry, config: &crate::config::Config) -> Wanted {
    wanted::names(registry, config.matching)
}
