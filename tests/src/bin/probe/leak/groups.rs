//! A thread in a cgroup of its own, below that of its process (cgroups(7), threaded mode).

use std::fs;
use std::io::{Error, Result};

use super::Attempt;

pub(super) fn thread(attempt: &Attempt, act: fn(&Attempt) -> Result<()>) -> Result<()> {
    let threads = attempt.cgroup()?.join("cgroup.threads");
    std::thread::scope(|scope| {
        let thread = scope.spawn(|| {
            fs::write(&threads, "0")?;
            act(attempt)
        });
        thread.join().map_err(|_| Error::other("the thread panicked"))?
    })
}
