//! The desk, with resolvers that answer, fail and stay silent, on a paused clock.

#![expect(clippy::disallowed_methods, reason = "each test awaits the task it starts")]

use std::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    time::Duration,
};

use exeat_common::id::{SubjectId, WorkloadId};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::{
    Found, Question,
    desk::{Asker, Reply, Resolve, Resolved, desk},
};
use crate::policy::image::WireName;

/// Counts questions, and gives the n-th answer that it is told to.
struct Script<F> {
    asked: Arc<AtomicUsize>,
    answer: F,
}

impl<F: Fn(usize) -> Resolved + Send + Sync + 'static> Resolve for Script<F> {
    async fn resolve(&self, _: &WireName) -> Resolved {
        let turn = self.asked.fetch_add(1, Ordering::Relaxed);
        tokio::time::sleep(Duration::from_secs(1)).await;
        (self.answer)(turn)
    }
}

fn questions(count: u32) -> Vec<Question> {
    let question = |serial| Question {
        name: WireName(vec![1, b'a', 0]),
        pattern: SubjectId::pattern(serial, true, 1),
        workloads: [WorkloadId::new(1)].into(),
    };
    (1..=count).map(question).collect()
}

fn found() -> Resolved {
    let address = "192.0.2.1".parse().expect("an address");
    Resolved { addresses: vec![Found { address, ttl: 60 }], is_whole: true }
}

/// Asks, and collects every reply up to the last pass: names told, and what each pass left.
async fn run(
    count: u32,
    answer: impl Fn(usize) -> Resolved + Send + Sync + 'static,
) -> (usize, Vec<usize>, usize, Duration) {
    let (mut asker, desk) = desk();
    let count_asked = Arc::new(AtomicUsize::new(0));
    let script = Script { asked: Arc::clone(&count_asked), answer };
    let start = Instant::now();
    let task = tokio::spawn(desk.run(script, CancellationToken::new()));
    assert!(asker.ask(questions(count)));
    let (mut told, mut passes) = (0, Vec::new());
    loop {
        match asker.reply().await.expect("a reply") {
            Reply::Told(_) => told += 1,
            Reply::Pass { unresolved, is_over } => {
                passes.push(unresolved);
                if is_over {
                    break;
                }
            }
        }
    }
    let took = start.elapsed();
    drop(asker);
    task.await.expect("it ends with whoever asks");
    (told, passes, count_asked.load(Ordering::Relaxed), took)
}

#[tokio::test(start_paused = true)]
async fn names_are_resolved_beside_each_other() {
    let (told, passes, asked, took) = run(100, |_| found()).await;
    assert_eq!((told, passes, asked), (100, vec![0], 100));
    assert!(took < Duration::from_secs(5), "32 at a time, a second each: {took:?}");
}

#[tokio::test(start_paused = true)]
async fn no_such_name_is_an_answer() {
    let nothing = Resolved { addresses: Vec::new(), is_whole: true };
    let (told, passes, asked, _) = run(3, move |_| nothing.clone()).await;
    assert_eq!((told, passes, asked), (0, vec![0], 3));
}

#[tokio::test(start_paused = true)]
async fn what_failed_is_tried_again_and_half_an_answer_counts() {
    let half = Resolved { is_whole: false, ..found() };
    let answer = move |turn| match turn {
        1 => half.clone(),
        2 | 3 => Resolved::default(),
        _ => found(),
    };
    // The first pass: whole, half, failed. The second: failed, then whole. The third: whole.
    let (told, passes, asked, _) = run(3, answer).await;
    assert_eq!((told, passes, asked), (4, vec![2, 1, 0], 6));
}

#[tokio::test(start_paused = true)]
async fn silence_is_not_asked_to_the_end_and_not_for_ever() {
    let (told, passes, asked, took) = run(5_000, |_| Resolved::default()).await;
    assert_eq!((told, passes), (0, vec![5_000; 10]));
    assert!(asked < 1_000, "{asked} questions to nobody");
    assert!(took > Duration::from_mins(3) && took < Duration::from_mins(8), "{took:?}");
}

#[tokio::test(start_paused = true)]
async fn who_has_ended_replies_no_more() {
    let (mut asker, desk) = desk();
    drop(desk);
    assert!(!asker.ask(questions(1)));
    assert_eq!(asker.reply().await, None);
    assert!(!Asker::is_open(&asker));
}
