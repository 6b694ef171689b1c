//! What is known of each name, and when it is asked for again. Pure: takes `now`.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::IpAddr,
    sync::Arc,
    time::Duration,
};

use tokio::time::Instant;

use super::{Known, Summary, Wanted};
use crate::{preseed::desk::Resolved, registry::host::HostPattern};

/// Names that are kept fresh. The tables have room for as many endpoints, and resolvers have
/// others to serve.
const NAMES_MOST: usize = 512;
/// Addresses of one name and family: whoever runs the zone shall not fill the tables.
const ADDRESSES_MOST: usize = 16;
/// However long an answer holds, a name that has moved is noticed within this.
const CEILING: Duration = Duration::from_hours(1);
/// First and longest wait before a name is tried again that the resolvers did not answer.
const BACKOFF: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));
/// Two changes of what is known are told so far apart: each makes all tables anew.
const APART: Duration = Duration::from_secs(2);
/// How long a change waits for others, since names are asked together.
const GATHER: Duration = Duration::from_millis(50);
/// How much longer it waits while there are names that nobody has been asked for yet.
const GATHER_FIRST: Duration = Duration::from_millis(500);

/// All names that are wanted.
#[derive(Debug)]
pub struct Book {
    pages: BTreeMap<HostPattern, Page>,
    /// What was told last.
    told: Arc<Known>,
    /// When what is new may be told.
    tell_at: Option<Instant>,
    told_at: Option<Instant>,
    /// Shortest time between two questions about one name.
    floor: Duration,
    left_out: usize,
}

/// One name.
#[derive(Debug)]
struct Page {
    /// Sorted.
    addresses: Vec<IpAddr>,
    standing: Standing,
    /// It was asked for, with whatever result.
    is_tried: bool,
    /// None while it is being asked for.
    due: Option<Instant>,
    /// For the next failure.
    backoff: Duration,
}

#[derive(Clone, Copy, Debug, Eq, PartialEq)]
enum Standing {
    /// Nobody answered yet.
    Unanswered,
    /// Nobody answers any more.
    Kept,
    Fresh,
    /// It has no address.
    Absent,
}

impl Book {
    /// `remembered` are the addresses of before, in use until the resolvers say otherwise.
    pub fn new(remembered: Known, floor: Duration) -> Self {
        Self {
            pages: BTreeMap::new(),
            told: Arc::new(remembered),
            tell_at: None,
            told_at: None,
            floor,
            left_out: 0,
        }
    }

    /// What was told last.
    pub fn known(&self) -> Arc<Known> {
        Arc::clone(&self.told)
    }

    /// These names are wanted, and no others.
    pub fn want(&mut self, wanted: &Wanted, now: Instant) {
        self.pages.retain(|name, _| wanted.contains(name));
        for name in wanted {
            if self.pages.len() < NAMES_MOST && !self.pages.contains_key(name) {
                let addresses = self.told.get(name).cloned().unwrap_or_default();
                let standing =
                    if addresses.is_empty() { Standing::Unanswered } else { Standing::Kept };
                let page = Page {
                    addresses,
                    standing,
                    is_tried: false,
                    due: Some(now),
                    backoff: BACKOFF.0,
                };
                self.pages.insert(name.clone(), page);
            }
        }
        let left_out = wanted.len() - self.pages.len();
        if left_out > self.left_out {
            tracing::warn!(
                left_out,
                "more endpoints are names than are resolved: what leads to the others is denied"
            );
        }
        self.left_out = left_out;
    }

    /// At most `count` names that it is time to ask for. Each is to be heard of.
    pub fn take_due(&mut self, count: usize, now: Instant) -> Vec<HostPattern> {
        let mut due: Vec<_> = self
            .pages
            .iter_mut()
            .filter_map(|(name, page)| Some((page.due.filter(|due| *due <= now)?, name, page)))
            .collect();
        due.sort_by_key(|(due, ..)| *due);
        let take = |(_, name, page): (Instant, &HostPattern, &mut Page)| {
            page.due = None;
            name.clone()
        };
        due.into_iter().take(count).map(take).collect()
    }

    /// What the resolvers said.
    pub fn heard(&mut self, name: &HostPattern, answer: &Resolved, now: Instant) {
        let Some(page) = self.pages.get_mut(name) else {
            return;
        };
        page.is_tried = true;
        if !answer.is_whole && answer.addresses.is_empty() {
            page.fail(now);
            return;
        }
        let found = answer.addresses.iter().map(|it| it.address.to_canonical()).collect();
        page.addresses = page.chosen(&found, answer.is_whole);
        let is_absent = page.addresses.is_empty();
        page.standing = if is_absent { Standing::Absent } else { Standing::Fresh };
        if answer.is_whole {
            let ttl = answer.addresses.iter().map(|it| it.ttl).min().unwrap_or_default();
            let wait = Duration::from_secs(ttl.into()).clamp(self.floor, CEILING.max(self.floor));
            page.due = Some(now + wait);
            page.backoff = BACKOFF.0;
        } else {
            page.again(now);
        }
        if self.told.get(name) != Some(&page.addresses) && self.tell_at.is_none() {
            let apart = self.told_at.map_or(now, |before| before + APART);
            self.tell_at = Some(apart.max(now + GATHER));
        }
    }

    /// What is to be told now, if it is another thing than before.
    pub fn tell(&mut self, now: Instant) -> Option<Arc<Known>> {
        self.tell_at().filter(|at| *at <= now)?;
        self.tell_at = None;
        let answered = self.pages.iter().filter(|(_, it)| it.standing != Standing::Unanswered);
        let known: Known =
            answered.map(|(name, page)| (name.clone(), page.addresses.clone())).collect();
        if known == *self.told {
            return None;
        }
        self.told_at = Some(now);
        self.told = Arc::new(known);
        Some(self.known())
    }

    /// When the next change is told. A first answer is waited for, since it belongs to the same change.
    fn tell_at(&self) -> Option<Instant> {
        let is_waiting = self.pages.values().any(|page| !page.is_tried);
        self.tell_at.map(|at| if is_waiting { at + GATHER_FIRST } else { at })
    }

    /// When there is something to ask, if anybody is free to, or to tell.
    pub fn next(&self, is_free: bool) -> Option<Instant> {
        let due = self.pages.values().filter_map(|page| page.due).min().filter(|_| is_free);
        due.into_iter().chain(self.tell_at()).min()
    }

    pub fn summary(&self) -> Summary {
        let mut summary = Summary { left_out: self.left_out, ..Summary::default() };
        for (name, page) in &self.pages {
            let list = match page.standing {
                Standing::Fresh => {
                    summary.fresh += 1;
                    continue;
                }
                Standing::Kept => &mut summary.kept,
                Standing::Absent => &mut summary.absent,
                Standing::Unanswered => &mut summary.unanswered,
            };
            list.push(name.to_string());
        }
        summary
    }
}

impl Page {
    /// Nobody answered: what is known stays.
    fn fail(&mut self, now: Instant) {
        if self.standing == Standing::Fresh {
            self.standing = Standing::Kept;
        }
        self.again(now);
    }

    fn again(&mut self, now: Instant) {
        self.due = Some(now + self.backoff);
        self.backoff = (self.backoff * 2).min(BACKOFF.1);
    }

    /// The addresses from here on. Of more than there is room for, those in use go first, so that
    /// a resolver that gives them in turn changes nothing. Of a family that nobody answered for,
    /// those of before stay.
    fn chosen(&self, found: &BTreeSet<IpAddr>, is_whole: bool) -> Vec<IpAddr> {
        let family = |is_v4: bool| {
            let found = found.iter().filter(move |it| it.is_ipv4() == is_v4).copied();
            let before = self.addresses.iter().filter(move |it| it.is_ipv4() == is_v4).copied();
            let found: Vec<IpAddr> = found.collect();
            if found.is_empty() && !is_whole {
                return before.collect::<Vec<_>>();
            }
            let used: Vec<IpAddr> = before.filter(|it| found.contains(it)).collect();
            let fresh = found.into_iter().filter(|it| !used.contains(it));
            used.iter().copied().chain(fresh).take(ADDRESSES_MOST).collect()
        };
        let mut chosen = [family(true), family(false)].concat();
        chosen.sort_unstable();
        chosen
    }
}
