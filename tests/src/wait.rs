//! Waiting for a condition with a deadline, in place of sleeping for a fixed time.

use std::time::{Duration, Instant};

/// How long to stay away between two looks at a condition.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

/// Asks `condition` until it gives a value; `None` when `deadline` has passed before.
///
/// The condition is asked once more after the deadline, so a machine that stood still for
/// that long does not fail a test whose condition holds by then.
pub fn until<T>(deadline: Duration, mut condition: impl FnMut() -> Option<T>) -> Option<T> {
    let end = Instant::now() + deadline;
    loop {
        let late = Instant::now() >= end;
        if let Some(value) = condition() {
            return Some(value);
        }
        if late {
            return None;
        }
        std::thread::sleep(LOOK_AGAIN);
    }
}

/// The same for a plain yes or no.
#[must_use]
pub fn holds(deadline: Duration, mut condition: impl FnMut() -> bool) -> bool {
    until(deadline, || condition().then_some(())).is_some()
}
