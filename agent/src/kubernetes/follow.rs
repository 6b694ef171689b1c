//! One list and the watch after it, begun again whenever it breaks.

use std::{pin::Pin, time::Duration};

use futures_util::{Stream, StreamExt as _, stream::unfold};
use kube::{
    Api,
    core::{PartialObjectMeta, Status},
    runtime::{
        utils::Backoff as _,
        watcher::{self, DefaultBackoff, Error, Event, InitialListStrategy},
    },
};
use tokio::time::sleep;

use super::fetched::Fetched;

/// Seconds until the API server is asked to end a watch, and it is asked anew. A connection that died
/// without a word is found by then.
pub(super) const WATCH_FOR: u32 = 120;
/// Between tries, when the library has no more to say.
const LONGEST_WAIT: Duration = Duration::from_secs(30);

/// Objects, or their metadata alone.
pub(super) enum Subject {
    Whole(Api<Fetched>),
    Names(Api<PartialObjectMeta<Fetched>>),
}

type Events = Pin<Box<dyn Stream<Item = Result<Event<Fetched>, Error>> + Send>>;

/// Follows one source for ever. After an error all is listed again: that alone shows that nothing
/// was missed, and that it is over.
///
/// Lists come as a stream where the server can do that, so that neither side holds them whole
/// (Kubernetes: KEP-3157, `sendInitialEvents`). Others refuse the parameters with 400 or 422, or do
/// not know them and never end the list; they are asked for pages.
pub(super) fn follow(
    subject: Subject,
    selection: watcher::Config,
) -> impl Stream<Item = Result<Event<Fetched>, Error>> + Send {
    let start = move |is_streaming: bool| -> Events {
        let strategy = if is_streaming {
            InitialListStrategy::StreamingList
        } else {
            InitialListStrategy::ListWatch
        };
        let config = watcher::Config { initial_list_strategy: strategy, ..selection.clone() };
        match &subject {
            Subject::Whole(api) => watcher::watcher(api.clone(), config).boxed(),
            Subject::Names(api) => {
                watcher::watcher(api.clone(), config).map(|event| event.map(named)).boxed()
            }
        }
    };
    let follow = Follow {
        start,
        events: None,
        is_streaming: true,
        lists_begun: 0,
        backoff: DefaultBackoff::default(),
        wait: None,
    };
    unfold(follow, |mut follow| async { Some((follow.next().await, follow)) })
}

struct Follow<F> {
    start: F,
    events: Option<Events>,
    is_streaming: bool,
    /// Lists that were begun and not completed.
    lists_begun: u32,
    backoff: DefaultBackoff,
    wait: Option<Duration>,
}

impl<F: Fn(bool) -> Events> Follow<F> {
    async fn next(&mut self) -> Result<Event<Fetched>, Error> {
        loop {
            if let Some(wait) = self.wait.take() {
                sleep(wait).await;
            }
            let events = self.events.get_or_insert_with(|| (self.start)(self.is_streaming));
            match events.next().await {
                Some(Ok(event)) => {
                    if self.is_endless(&event) {
                        self.begin_anew();
                        self.is_streaming = false;
                        continue;
                    }
                    return Ok(event);
                }
                Some(Err(error)) => {
                    self.begin_anew();
                    let status = status(&error);
                    if self.is_streaming && status.is_some_and(|it| [400, 422].contains(&it.code)) {
                        self.is_streaming = false;
                        continue;
                    }
                    self.wait = Some(self.backoff.next().unwrap_or(LONGEST_WAIT));
                    if status.is_some_and(|it| it.code == 410) {
                        // Too long ago for the server to tell what happened since: no fault.
                        tracing::debug!("a watch expired: listing again");
                        continue;
                    }
                    return Err(error);
                }
                None => self.events = None,
            }
        }
    }

    fn begin_anew(&mut self) {
        self.events = None;
        self.lists_begun = 0;
    }

    /// Whether a streamed list began again without having been completed.
    fn is_endless(&mut self, event: &Event<Fetched>) -> bool {
        match event {
            Event::Init => self.lists_begun += 1,
            Event::InitDone => {
                self.lists_begun = 0;
                self.backoff.reset();
            }
            Event::Apply(_) | Event::Delete(_) | Event::InitApply(_) => {}
        }
        self.is_streaming && self.lists_begun > 1
    }
}

/// What the API server said, if it was the API server.
pub(super) fn status(error: &Error) -> Option<&Status> {
    match error {
        Error::InitialListFailed(kube::Error::Api(status))
        | Error::WatchStartFailed(kube::Error::Api(status))
        | Error::WatchFailed(kube::Error::Api(status))
        | Error::WatchError(status) => Some(status),
        Error::InitialListFailed(_)
        | Error::WatchStartFailed(_)
        | Error::WatchFailed(_)
        | Error::NoResourceVersion => None,
    }
}

fn named(event: Event<PartialObjectMeta<Fetched>>) -> Event<Fetched> {
    match event {
        Event::Apply(object) => Event::Apply(object.into()),
        Event::Delete(object) => Event::Delete(object.into()),
        Event::Init => Event::Init,
        Event::InitApply(object) => Event::InitApply(object.into()),
        Event::InitDone => Event::InitDone,
    }
}
