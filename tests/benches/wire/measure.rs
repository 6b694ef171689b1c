//! The kernel side over filled tables, and one case measured on it.

use std::{fs, os::unix::fs::MetadataExt as _, path::Path, time::Duration};

use anyhow::{Context as _, Result, bail, ensure};
use exeat_agent::{
    datapath::{
        Datapath as _, EventSource as _,
        aya::{self, Events, Kernel, Stopwatch, Subject, Timed},
    },
    policy::{diff::diff, image::Image},
    trial::IFINDEX,
};
use exeat_common::{
    abi::{CounterKey, CounterValue, Workload},
    id::{SubjectId, WorkloadId},
    reason::{Layer, Reason, Verdict},
};
use exeat_tests::{cgroup, run::RunGuard};

use crate::{
    cases::{Case, Counter},
    connects::Connects,
    nanoseconds, registry,
};

/// Where `cargo xtask bench wire` puts the programs that replay.
const OBJECT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/../target/bpf/replay.bpf.o");

/// The kernel side, with tables of its own.
pub(crate) struct Bench {
    kernel: Kernel,
    events: Events,
    stopwatch: Stopwatch,
    image: Image,
    runtime: tokio::runtime::Runtime,
    run: RunGuard,
}

impl Bench {
    pub(crate) fn new(entries: usize) -> Result<Self> {
        let run = RunGuard::new("bench")?;
        let pins = run.bpffs().join("exeat");
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (mut kernel, events) = aya::open_at(&pins)?;
        let object =
            fs::read(OBJECT).context("read what `cargo xtask bench wire` builds beforehand")?;
        let stopwatch = Stopwatch::open(&kernel, &object, &pins)?;
        let pod = pod(&run);
        fs::create_dir_all(&pod).with_context(|| format!("make {}", pod.display()))?;
        let id = fs::metadata(&pod).context("look at the pod's cgroup")?.ino();
        let image = registry::image(entries, id, depth(&pod)?);
        kernel.apply(&diff(&Image::default(), &image))?;
        Ok(Self { kernel, events, stopwatch, image, runtime, run })
    }

    /// What the tables hold.
    pub(crate) fn image(&self) -> &Image {
        &self.image
    }

    fn client(&self) -> &Workload {
        self.image.by_ifindex.get(&IFINDEX).expect("invariant: the workload was placed there")
    }

    pub(crate) fn workload(&self) -> WorkloadId {
        self.client().id
    }

    /// The pattern of a declared name.
    pub(crate) fn pattern(&self, wire: &[u8]) -> SubjectId {
        let mut names = self.image.names.iter();
        names.find(|(name, _)| name.as_bytes() == wire).expect("a declared name").1.exact
    }

    /// Runs a case once, to see that it is what it says.
    pub(crate) fn check(&mut self, case: &Case) -> Result<()> {
        self.begin(case)?;
        let before = self.counted()?;
        let timed = self.batch(case, case.subject, case.runs)?;
        let after = self.counted()?;
        ensure!(timed.action == case.action, "{}: action {}", case.name, timed.action);
        let counted: Vec<_> = after.iter().filter(|it| !before.contains(it)).collect();
        let all = u64::from(case.runs) * case.frame.len() as u64;
        let is_as_it_says = match (&counted[..], case.counts) {
            ([], None) => true,
            ([(what, bytes)], Some(expected)) => {
                let sooner = before.iter().find(|(it, _)| it == what).map_or(0, |it| it.1);
                *what == expected && bytes - sooner == all
            }
            _ => false,
        };
        if !is_as_it_says {
            bail!("{}: {} runs counted {counted:?}", case.name, case.runs);
        }
        Ok(())
    }

    /// Bytes that were counted for the workload.
    fn counted(&mut self) -> Result<Vec<(Counter, u64)>> {
        let workload = self.workload();
        let counters = self.kernel.counters()?.into_iter().filter(|it| it.0.workload == workload);
        let read = |(key, value): (CounterKey, CounterValue)| {
            let layer = Layer::from_u8(key.layer)?;
            let verdict = Verdict::from_u8(key.verdict)?;
            Some(((layer, verdict, Reason::from_u8(key.reason)?), value.bytes))
        };
        Ok(counters.filter_map(read).collect())
    }

    /// Nanoseconds of a case beyond those of the empty program in its place.
    pub(crate) fn measure(&mut self, case: &Case) -> Result<i64> {
        self.begin(case)?;
        let empty = self.batch(case, Subject::Empty, case.runs)?;
        self.begin(case)?;
        let all = self.batch(case, case.subject, case.runs)?;
        Ok(nanoseconds(all.each) - nanoseconds(empty.each))
    }

    /// Nanoseconds of the empty program alone.
    pub(crate) fn empty(&self) -> Result<i64> {
        let timed = self.stopwatch.run(&self.kernel, Subject::Empty, &[0; 64], 1_000)?;
        Ok(nanoseconds(timed.each))
    }

    /// The state that a batch starts from.
    fn begin(&mut self, case: &Case) -> Result<()> {
        let workload = self.workload();
        self.stopwatch.forget(&mut self.kernel, workload)?;
        for (program, frame) in &case.before {
            self.kernel.run_frame(*program, frame)?;
        }
        if case.warm > 0 {
            self.batch(case, case.subject, case.warm)?;
        }
        // A full ring would make events cheaper than they are.
        let events = &mut self.events;
        self.runtime.block_on(async {
            while let Ok(event) = tokio::time::timeout(Duration::ZERO, events.next()).await {
                event?;
            }
            Ok(())
        })
    }

    fn batch(&mut self, case: &Case, subject: Subject, runs: u32) -> Result<Timed> {
        let timed = match &case.replay {
            Some(replay) => self.stopwatch.replay(subject, replay, runs)?,
            None => self.stopwatch.run(&self.kernel, subject, &case.frame, runs)?,
        };
        Ok(timed)
    }

    /// The socket layer, which the kernel does not run on its own: attached, and called.
    pub(crate) fn connects(&mut self) -> Result<Connects> {
        Connects::start(&mut self.kernel, &self.run, &pod(&self.run))
    }
}

/// The pod's cgroup.
fn pod(run: &RunGuard) -> std::path::PathBuf {
    run.cgroup().join("enforced/pod")
}

/// Levels of a cgroup below the root of its tree.
fn depth(group: &Path) -> Result<u8> {
    let below = group.strip_prefix(cgroup::mount_point()?)?;
    Ok(u8::try_from(below.components().count())?)
}
