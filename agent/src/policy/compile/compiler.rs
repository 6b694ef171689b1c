//! A compiler that remembers: after a small change it makes only what that concerns.

use std::collections::BTreeSet;

use exeat_common::id::SubjectId;

use super::{Compiled, Hosts, Input, Tables, ViewOf, client, hosts, views};
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
    /// About objects together.
    linking: BTreeSet<Report>,
    /// About what views make of them.
    viewing: BTreeSet<Report>,
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
        let follows = last.follow(input);
        if follows {
            let steps = last.tables.step(input, &last.views, last.hosts.clone(), ids);
            if let Some(steps) = steps {
                return Change::Steps(steps);
            }
        }
        let before = std::mem::take(&mut last.tables.image);
        if follows {
            last.tables = Tables::whole(input, &last.views, last.hosts.clone(), ids);
        } else {
            *last = Last::new(input, ids);
        }
        Change::Whole(Some(Box::new(before)))
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
        let all = last.linking.iter().chain(&last.viewing).chain(&last.tables.reports);
        all.collect::<BTreeSet<_>>().into_iter().cloned().collect()
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
        let (mut linking, mut viewing) = (BTreeSet::new(), BTreeSet::new());
        let services = Services::link(input.registry, input.config, input.answers, &mut linking);
        let views = views(input, &services, &mut viewing);
        let hosts = hosts(&services);
        let tables = Tables::whole(input, &views, hosts.clone(), ids);
        Self {
            registry: input.registry.clone(),
            config: input.config.clone(),
            workloads: input.workloads.to_vec(),
            services,
            hosts,
            views,
            linking,
            viewing,
            tables,
        }
    }

    /// Brings services and views up to date, if only a few entries are different, or what their
    /// endpoints are resolved to; says whether it did.
    fn follow(&mut self, input: &Input<'_>) -> bool {
        let is_same = self.config == *input.config && self.workloads == input.workloads;
        if !is_same {
            return false;
        }
        let Input { registry, config, answers, .. } = *input;
        let Some(touched) = self.services.update(&self.registry, registry, config, answers) else {
            return false;
        };
        self.registry.clone_from(registry);
        self.viewing.retain(|report| !touched.objects.contains(&report.object));
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
        let Self { services, views, workloads, viewing, .. } = self;
        let mut first = None;
        for (view, members) in views {
            let Some(placed) = members.first().and_then(|index| workloads.get(*index)) else {
                continue;
            };
            services.patch(&client(&placed.workload), view, touched, viewing);
            match &first {
                None => first = Some(view.clone()),
                Some(first) => view.share_around(touched, first),
            }
        }
    }
}
