//! The one place where the kernel side is chosen. A stand-in until the real one is there.
//!
//! Never the fake one, whatever features are on: a build of the whole workspace unites them, and
//! an agent that only seems to enforce must not come out of it.

use super::EventSource;
use crate::config::Config;

/// Why the kernel side could not be opened. Nothing was changed then.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    #[error("this build has no kernel side (build it with `cargo xtask build`)")]
    NotBuilt,
}

/// Loads the programs and opens the tables, pinned ones first. Attaches nothing.
pub fn open(_config: &Config) -> Result<(nothing::Nothing, impl EventSource), OpenError> {
    Err::<(nothing::Nothing, nothing::Nothing), _>(OpenError::NotBuilt)
}

mod nothing {
    //! A datapath that cannot exist.

    use exeat_common::abi::{CounterKey, CounterValue};

    use crate::{
        datapath::{
            Attached, Attachment, Collected, Datapath, Event, EventSource, MapUsage, ProgramUsage,
        },
        policy::image::{Image, MapOp},
    };

    #[derive(Debug)]
    pub enum Nothing {}

    impl Datapath for Nothing {
        type Error = std::convert::Infallible;

        fn dump(&mut self) -> Result<Image, Self::Error> {
            match *self {}
        }

        fn apply(&mut self, _: &[MapOp]) -> Result<(), Self::Error> {
            match *self {}
        }

        fn attach(&mut self, _: &[Attachment]) -> Vec<Attached<Self::Error>> {
            match *self {}
        }

        fn counters(&mut self) -> Result<Vec<(CounterKey, CounterValue)>, Self::Error> {
            match *self {}
        }

        fn collect_garbage(&mut self) -> Result<Collected, Self::Error> {
            match *self {}
        }

        fn usage(&mut self) -> Result<Vec<MapUsage>, Self::Error> {
            match *self {}
        }

        fn programs(&mut self) -> Result<Vec<ProgramUsage>, Self::Error> {
            match *self {}
        }
    }

    impl EventSource for Nothing {
        type Error = std::convert::Infallible;

        async fn next(&mut self) -> Result<Event, Self::Error> {
            match *self {}
        }
    }
}
