//! A compiler that remembers: after a small change it makes only what that concerns.

use std::collections::BTreeSet;

use exeat_common::id::SubjectId;

use super::{
    Compiled, Hosts, Input, Tables, ViewOf,
    audiences::{self, Audience},
    client, hosts,
};
use crate::{
    config::Config,
    policy::{
        directory::Directory,
        ids::Ids,
        image::{Image, MapOp},
        services::{Services, update::Touched},
    },
    registry::{Registry, report::Report},
    workloads::PlacedWorkload,
};

/// Compiles one input after the other.
#[derive(Debug, Default)]
pub struct Compiler {
    pub(super) ids: Ids,
    last: Option<Last>,
}

/// What the tables were made from.
#[derive(Debug)]
struct Last {
    registry: Registry,
    config: Config,
    workloads: Vec<PlacedWorkload>,
    services: Services,
    hosts: Hosts,
    views: Vec<ViewOf>,
    /// One line a view.
    audiences: Vec<Audience>,
    /// About objects together.
    linking: BTreeSet<Report>,
    tables: Tables,
}

/// What became of the tables.
#[derive(Clone, Debug, Eq, PartialEq)]
#[must_use]
pub enum Change {
    /// They were made anew. These are those of before, if there were any.
    Whole(Option<Box<Image>>),
    /// The operations that lead from the tables of before to those of now, in a safe order, as
    /// [`crate::policy::diff::diff`] gives them.
    Steps(Vec<MapOp>),
}

impl Compiler {
    /// Continues with the numbers of the tables an earlier agent left.
    pub fn seeded(installed: &Image) -> Self {
        Self { ids: Ids::seeded(installed), last: None }
    }

    /// Continues above `serial`, for facts that outlived the tables.
    pub fn raise_pattern_floor(&mut self, serial: u32) {
        self.ids.raise_pattern_floor(serial);
    }

    /// Compiles `input`. Never fails: what does not fit is left out, which denies it, and reported.
    pub fn update(&mut self, input: &Input<'_>) -> Change {
        let ids = &mut self.ids;
        let Some(last) = &mut self.last else {
            self.last = Some(Last::new(input, ids));
            return Change::Whole(None);
        };
        let places = last.tables.image.places();
        let follows = last.follow(input);
        if let Some(steps) = follows.then(|| last.step(input, ids)).flatten() {
            return Change::Steps(steps);
        }
        let mut before = std::mem::take(&mut last.tables.image);
        before.put_back(places);
        if follows {
            last.leave_out_deserted();
            last.tables = Tables::whole(input, &last.views, last.hosts.clone(), ids);
        } else {
            *last = Last::new(input, ids);
        }
        Change::Whole(Some(Box::new(before)))
    }

    /// Takes out the policies of workloads that are gone. They may come again, so [`Self::update`]
    /// leaves them where they are. None if there are none.
    pub fn settle(&mut self) -> Option<Change> {
        let last = self.last.as_mut().filter(|last| last.is_deserted())?;
        last.leave_out_deserted();
        let input = Input {
            registry: &last.registry,
            config: &last.config,
            workloads: &last.workloads,
            answers: &last.services.answers,
        };
        let tables = Tables::whole(&input, &last.views, last.hosts.clone(), &mut self.ids);
        let before = std::mem::replace(&mut last.tables, tables).image;
        Some(Change::Whole(Some(Box::new(before))))
    }

    /// The tables of the last input.
    pub fn image(&self) -> Option<&Image> {
        self.last.as_ref().map(|last| &last.tables.image)
    }

    /// Explains the tables of the last input.
    pub fn directory(&self) -> Directory {
        self.last.as_ref().map(|last| last.tables.directory.clone()).unwrap_or_default()
    }

    /// Of the last input, sorted; beside those of loading, which they do not repeat.
    pub fn reports(&self) -> Vec<Report> {
        let Some(last) = &self.last else {
            return Vec::new();
        };
        let viewing = last.audiences.iter().flat_map(|audience| &audience.reports);
        let all = last.linking.iter().chain(viewing).chain(&last.tables.reports);
        all.chain(&last.tables.placing).collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// Everything about the last input.
    pub fn compiled(&self) -> Compiled {
        Compiled {
            image: self.image().cloned().unwrap_or_default(),
            reports: self.reports(),
            directory: self.directory(),
        }
    }

    /// Forgets subjects that left the registry and that nothing in the kernel names any more.
    pub fn forget_retired(&mut self, in_use: impl Fn(SubjectId) -> bool) {
        if let Some(last) = &mut self.last {
            let forgotten = self.ids.forget_retired(&last.tables.image, in_use);
            last.tables.forget(forgotten);
        }
    }
}

impl Last {
    fn new(input: &Input<'_>, ids: &mut Ids) -> Self {
        let mut linking = BTreeSet::new();
        let services = Services::link(input.registry, input.config, input.answers, &mut linking);
        let (views, audiences) = audiences::gather(input, &services);
        let hosts = hosts(&services);
        let tables = Tables::whole(input, &views, hosts.clone(), ids);
        Self {
            registry: input.registry.clone(),
            config: input.config.clone(),
            workloads: input.workloads.to_vec(),
            services,
            hosts,
            views,
            audiences,
            linking,
            tables,
        }
    }

    /// Brings services and views up to date, if only a few entries are different, or what their
    /// endpoints are resolved to; says whether it did. Workloads are still those of before then.
    fn follow(&mut self, input: &Input<'_>) -> bool {
        let Input { registry, config, answers, .. } = *input;
        if self.config != *config {
            return false;
        }
        if self.registry.is_same_as(registry) && self.services.answers == *answers {
            return true;
        }
        let Some(touched) = self.services.update(&self.registry, registry, config, answers) else {
            return false;
        };
        self.registry.clone_from(registry);
        self.patch_views(&touched);
        for host in &touched.hosts {
            match self.services.declarer(host) {
                Some(by) => self.hosts.insert(host.clone(), std::sync::Arc::clone(by)),
                None => self.hosts.remove(host),
            }
        }
        true
    }

    fn patch_views(&mut self, touched: &Touched) {
        let Self { services, views, audiences, .. } = self;
        let mut first = None;
        for ((view, _), Audience { sample, reports, .. }) in views.iter_mut().zip(audiences) {
            reports.retain(|report| !touched.objects.contains(&report.object));
            services.patch(&client(sample), view, touched, reports);
            match &first {
                None => first = Some(view.clone()),
                Some(first) => view.share_around(touched, first),
            }
        }
    }

    /// Moves workloads, then changes the tables in a few places. None if that is not enough; then
    /// the places of workloads in the image may be those of now, and all else is as before.
    fn step(&mut self, input: &Input<'_>, ids: &mut Ids) -> Option<Vec<MapOp>> {
        let mut steps = Vec::new();
        if self.workloads != input.workloads {
            if !self.regroup(input) {
                return None;
            }
            steps = self.tables.move_workloads(input, &self.views, ids);
        }
        steps.extend(self.tables.step(input, &self.views, self.hosts.clone(), ids)?);
        Some(steps)
    }

    /// Gives every workload its view; says whether all of these were there.
    fn regroup(&mut self, input: &Input<'_>) -> bool {
        let Self { workloads, services, views, audiences, .. } = self;
        let were_there = audiences::regroup(input, workloads, services, views, audiences);
        self.workloads = input.workloads.to_vec();
        were_there
    }

    /// Whether there is a view that nobody has.
    fn is_deserted(&self) -> bool {
        self.views.iter().any(|(_, members)| members.is_empty())
    }

    fn leave_out_deserted(&mut self) {
        let mut is_used = self.views.iter().map(|(_, members)| !members.is_empty());
        self.audiences.retain(|_| is_used.next().unwrap_or_default());
        self.views.retain(|(_, members)| !members.is_empty());
    }
}
