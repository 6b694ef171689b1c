//! The task that resolves names: owns the questions that are not answered yet.

use std::{collections::BTreeSet, future::Future, sync::Arc, time::Duration};

use futures_util::{StreamExt as _, stream};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep_until},
};
use tokio_util::sync::CancellationToken;

use super::{Found, Question, Told};
use crate::policy::image::WireName;

/// Questions under way at a time.
const AT_A_TIME: usize = 32;
/// A pass in which so many questions fail before any succeeds is broken off: nobody is there.
const FAILURES: usize = 2 * AT_A_TIME;
/// First and longest wait before another pass over what is not resolved.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_mins(1));
/// Passes after which the rest is given up, some five minutes after the first. By then workloads
/// have asked again themselves, or need nothing.
const PASSES: u32 = 10;

/// Asks the trusted resolvers.
pub trait Resolve: Send + Sync + 'static {
    /// All addresses of a name. It has ended within seconds.
    fn resolve(&self, name: &WireName) -> impl Future<Output = Resolved> + Send;
}

/// One resolver for several tasks.
impl<R: Resolve> Resolve for Arc<R> {
    fn resolve(&self, name: &WireName) -> impl Future<Output = Resolved> + Send {
        R::resolve(self, name)
    }
}

/// What a resolver said of one name.
#[derive(Clone, Debug, Default, Eq, PartialEq)]
pub struct Resolved {
    pub addresses: Vec<Found>,
    /// Every question about it was answered, if only with "no such name".
    pub is_whole: bool,
}

/// What the task says.
#[derive(Clone, Debug, Eq, PartialEq)]
pub enum Reply {
    Told(Told),
    /// Every question was tried once more; so many have no whole answer yet.
    Pass {
        unresolved: usize,
        /// They will not be tried again.
        is_over: bool,
    },
}

/// The side that asks.
#[derive(Debug)]
pub struct Asker {
    questions: mpsc::Sender<Vec<Question>>,
    /// None once the task has ended.
    replies: Option<mpsc::Receiver<Reply>>,
}

/// The side that resolves.
#[derive(Debug)]
pub struct Desk {
    questions: mpsc::Receiver<Vec<Question>>,
    replies: mpsc::Sender<Reply>,
}

/// A desk and whoever asks there.
pub fn desk() -> (Asker, Desk) {
    let (questions, asked) = mpsc::channel(16);
    let (replies, answered) = mpsc::channel(256);
    (Asker { questions, replies: Some(answered) }, Desk { questions: asked, replies })
}

impl Asker {
    /// Says whether the questions were taken.
    pub fn ask(&self, questions: Vec<Question>) -> bool {
        self.replies.is_some() && self.questions.try_send(questions).is_ok()
    }

    /// The next reply; none once there will be no more.
    pub async fn reply(&mut self) -> Option<Reply> {
        let reply = self.replies.as_mut()?.recv().await;
        if reply.is_none() {
            self.replies = None;
        }
        reply
    }

    /// Whether replies may come.
    pub const fn is_open(&self) -> bool {
        self.replies.is_some()
    }
}

/// What is not resolved yet.
#[derive(Debug)]
struct Open {
    questions: Vec<Question>,
    passes: u32,
    again: Instant,
    wait: Duration,
}

impl Desk {
    /// Resolves what is asked until told to stop, or until nobody asks.
    pub async fn run(mut self, resolver: impl Resolve, stop: CancellationToken) {
        // Its error means that it was stopped.
        let _stopped = stop.run_until_cancelled(self.serve(&resolver)).await;
    }

    async fn serve(&mut self, resolver: &impl Resolve) {
        let mut open: Option<Open> = None;
        loop {
            let again = open.as_ref().map(|open| open.again);
            tokio::select! {
                biased;
                asked = self.questions.recv() => {
                    let Some(asked) = asked else { return };
                    let mut questions = asked;
                    questions.extend(open.take().into_iter().flat_map(|open| open.questions));
                    open = self.pass(resolver, questions, 1, BACKOFF.0).await;
                }
                () = sleep_until(again.unwrap_or_else(Instant::now)), if again.is_some() => {
                    let Some(Open { questions, passes, wait, .. }) = open.take() else { continue };
                    let wait = (wait * 2).min(BACKOFF.1);
                    open = self.pass(resolver, questions, passes + 1, wait).await;
                }
            }
        }
    }

    /// Tries every question once. What has no whole answer then is tried again after `wait`.
    async fn pass(
        &self,
        resolver: &impl Resolve,
        questions: Vec<Question>,
        passes: u32,
        wait: Duration,
    ) -> Option<Open> {
        let mut unresolved: BTreeSet<usize> = (0..questions.len()).collect();
        let (mut failures, mut successes) = (0, 0);
        let resolve = |(index, question): (usize, Question)| async move {
            let answer = resolver.resolve(&question.name).await;
            (index, question, answer)
        };
        let all = questions.iter().cloned().enumerate();
        let mut answers = stream::iter(all).map(resolve).buffer_unordered(AT_A_TIME);
        while let Some((index, question, Resolved { addresses, is_whole })) = answers.next().await {
            if is_whole {
                unresolved.remove(&index);
            }
            if is_whole || !addresses.is_empty() {
                successes += 1;
            } else {
                failures += 1;
            }
            if !addresses.is_empty() {
                self.say(Reply::Told(Told { question, addresses })).await;
            }
            if successes == 0 && failures >= FAILURES {
                break;
            }
        }
        drop(answers);
        let is_over = passes >= PASSES || unresolved.is_empty();
        self.say(Reply::Pass { unresolved: unresolved.len(), is_over }).await;
        if is_over {
            return None;
        }
        let left =
            questions.into_iter().enumerate().filter(|(index, _)| unresolved.contains(index));
        let questions = left.map(|(_, question)| question).collect();
        Some(Open { questions, passes, again: Instant::now() + wait, wait })
    }

    async fn say(&self, reply: Reply) {
        // Whoever asked may be gone, and the questions with it.
        drop(self.replies.send(reply).await);
    }
}
