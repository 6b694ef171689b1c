//! The flow log: the last records, and a live feed of new ones.

pub mod record;

use std::{
    collections::VecDeque,
    sync::{Arc, Mutex, PoisonError},
};

pub use record::{FlowRecord, Line};
use tokio::sync::broadcast;

/// Records kept for `exeat flows` without `--follow`.
const KEPT: usize = 1000;
/// Records a slow follower may lag behind before it loses some.
const LAG: usize = 4096;

/// Shared by the observer, which writes, and whoever reads.
#[derive(Clone, Debug)]
pub struct FlowLog {
    // Held to add one line, or to copy the handles of those kept; never across an await.
    kept: Arc<Mutex<VecDeque<Arc<Line>>>>,
    live: broadcast::Sender<Arc<Line>>,
}

impl Default for FlowLog {
    fn default() -> Self {
        Self { kept: Arc::default(), live: broadcast::Sender::new(LAG) }
    }
}

impl FlowLog {
    pub fn add(&self, line: Line) {
        let line = Arc::new(line);
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        if kept.len() == KEPT {
            kept.pop_front();
        }
        kept.push_back(Arc::clone(&line));
        // Without followers there is nobody to send to. Under the lock, so that a subscriber sees
        // every line exactly once.
        drop(self.live.send(line));
    }

    /// The lines kept, oldest first.
    pub fn kept(&self) -> Vec<Arc<Line>> {
        self.subscribe().0
    }

    /// The lines kept and all that come after them.
    pub fn subscribe(&self) -> (Vec<Arc<Line>>, broadcast::Receiver<Arc<Line>>) {
        let kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        (kept.iter().cloned().collect(), self.live.subscribe())
    }
}

#[cfg(test)]
mod tests {
    use super::{FlowLog, KEPT, Line};

    #[tokio::test]
    async fn the_last_are_kept_and_followers_miss_nothing() {
        let log = FlowLog::default();
        for number in 0..KEPT + 5 {
            log.add(Line { message: number.to_string(), ..Line::default() });
        }
        let (kept, mut live) = log.subscribe();
        assert_eq!((kept.len(), kept[0].message.as_str()), (KEPT, "5"));
        log.add(Line { message: "new".into(), ..Line::default() });
        assert_eq!(live.recv().await.expect("a line").message, "new");
        assert_eq!(log.kept().last().expect("a line").message, "new");
    }
}
