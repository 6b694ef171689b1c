//! `exeat gateway`: a small egress gateway for clusters and hosts that have no other.
//!
//! It takes plain HTTP by host and TLS by server name, checks name and port against the registry
//! by the compiler and the decision that the agent has too, resolves the name through the trusted
//! resolvers, and carries bytes. It terminates no TLS and begins none. It does not need the kernel
//! side, and does not know of it: whoever wants nothing to go round the gateway runs the agent too.

pub mod connect;
pub mod host;
mod http;
pub mod limits;
pub mod listen;
pub mod log;
pub mod meter;
pub mod pages;
pub mod policy;
pub mod refusal;
pub mod route;
pub mod sniff;
mod tls;
pub mod traffic;

use std::{io, net::SocketAddr, sync::Arc};

use anyhow::Context as _;
use nix::sys::resource::{Resource, getrlimit, setrlimit};
use tokio::{
    net::TcpListener,
    signal::unix::{Signal, SignalKind, signal},
    sync::watch,
};
use tokio_util::sync::CancellationToken;

use self::{
    limits::Admission, listen::Shared, log::AccessLog, meter::Meter, pages::Pages, policy::Policy,
    route::Router,
};
use crate::{
    admin,
    config::{Config, RegistryConfig, gateway::Gateway},
    endpoints::{self, Known, Reader, book::Book, keeper::Keeper},
    preseed::Hickory,
    registry::file::{LoadPanicked, Snapshot, reload_files, tell_reports, watch_files},
    shutdown,
    tasks::Tasks,
};

/// Answers of resolvers that are remembered.
const ANSWERS: u64 = 4_096;
/// Open files beside two for each connection.
const OTHER_FILES: u64 = 256;

/// What the gateway runs on.
#[derive(Debug)]
pub struct Ground {
    pub config: Config,
    pub gateway: Gateway,
    pub registry: Snapshot,
    pub stop: CancellationToken,
}

/// Runs the gateway until `stop`, and then until what is open has ended, or for the time given.
pub async fn run(ground: Ground) -> anyhow::Result<()> {
    let Ground { config, gateway, registry, stop } = ground;
    let stopper = stop.clone().drop_guard();
    let hangups = signal(SignalKind::hangup()).context("subscribe to SIGHUP")?;
    raise_file_limit(&gateway);
    tell_reports(registry.loaded.reports.iter());
    let resolver =
        Hickory::cached(&config.dns.resolvers, ANSWERS).context("set the resolver library up")?;
    let resolver = Arc::new(resolver);
    let meter = Meter::default();
    let mut tasks = Tasks::default();
    let mut endpoints = spawn_keeper(&mut tasks, &resolver, &config, &meter, stop.clone());
    let objects = &registry.loaded.registry;
    endpoints.settle(endpoints::wanted(objects, &config)).await;
    let known = endpoints.read(endpoints::wanted(objects, &config));
    let policy = Policy::new(objects, &config, &gateway, &known);
    tell_reports(policy.reports().iter());
    let (policies, policy) = watch::channel(Arc::new(policy));
    let (publish, registry) = watch::channel(Arc::new(registry));
    let (access_log, writer) = log::open(&gateway.access_log).context("open the access log")?;

    let listeners = bind(&gateway)?;
    let http = admin::bind(config.metrics_listen).await?;
    let shared = Arc::new(Shared {
        router: Router::new(policy.clone(), gateway.upstreams.clone(), resolver),
        policy,
        admission: Admission::new(gateway.limits),
        meter: meter.clone(),
        log: access_log.clone(),
        own_ports: gateway.listeners.iter().map(|it| it.address.port()).collect(),
        stop: stop.clone(),
        gateway: gateway.clone(),
    });
    let pages = Pages {
        meter,
        admission: shared.admission.clone(),
        registry: registry.clone(),
        stop: stop.clone(),
    };

    for (tcp, listener) in listeners {
        tasks.spawn("listener", listen::serve(tcp, listener, Arc::clone(&shared)));
    }
    drop(shared);
    tasks.spawn("admin pages", pages::serve(http, pages));
    let of = Arc::new((config.clone(), gateway.clone()));
    let compiling = Compiling { of, policies, endpoints };
    tasks.spawn("compiler", compiling.run(registry, stop.clone()));
    spawn_registry(&mut tasks, &config.registry, publish, hangups, access_log, stop.clone());
    if let Some(writer) = writer {
        tasks.spawn_blocking("access log", move || writer.run());
    }
    tracing::info!(gateway = %gateway.key, listeners = gateway.listeners.len(), "ready");

    let result = tasks.supervise(&stop).await;
    drop(stopper);
    tasks.wind_down(gateway.timeouts.drain + shutdown::DEADLINE).await;
    result
}

/// The task that resolves endpoints. The gateway ends it like the others.
fn spawn_keeper(
    tasks: &mut Tasks,
    resolver: &Arc<Hickory>,
    config: &Config,
    meter: &Meter,
    stop: CancellationToken,
) -> Reader {
    let (reader, desk) = endpoints::pair();
    let keeper = Keeper {
        desk,
        resolver: Arc::clone(resolver),
        book: Book::new(Known::new(), config.dns.minimum_ttl),
        memory: None,
        counts: meter.endpoints.clone(),
    };
    tasks.spawn_infallible("endpoints", keeper.run(stop));
    reader
}

/// The task that compiles every registry that is published, and again when endpoints move.
struct Compiling {
    of: Arc<(Config, Gateway)>,
    policies: watch::Sender<Arc<Policy>>,
    endpoints: Reader,
}

impl Compiling {
    async fn run(
        mut self,
        mut registry: watch::Receiver<Arc<Snapshot>>,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => break,
                changed = registry.changed() => if changed.is_err() { break },
                () = self.endpoints.changed() => {}
            }
            let loaded = Arc::clone(&registry.borrow_and_update().loaded);
            let of = Arc::clone(&self.of);
            let known = self.endpoints.read(endpoints::wanted(&loaded.registry, &of.0));
            // A large registry takes longer than other tasks of this thread should wait.
            let compiled = tokio::task::spawn_blocking(move || {
                let (config, gateway) = &*of;
                Policy::new(&loaded.registry, config, gateway, &known)
            });
            let policy = compiled.await.context("compile the registry")?;
            let before = Arc::clone(&self.policies.borrow());
            let is_new = |report: &&_| !before.reports().contains(report);
            tell_reports(policy.reports().iter().filter(is_new));
            self.policies.send_replace(Arc::new(policy));
        }
        // Connections that are open at the end are not judged again, and not cut off either.
        stop.cancelled().await;
        self.policies.closed().await;
        Ok(())
    }
}

/// Follows the files, or reads them again at SIGHUP. A log that was moved away is begun anew then.
fn spawn_registry(
    tasks: &mut Tasks,
    config: &RegistryConfig,
    publish: watch::Sender<Arc<Snapshot>>,
    mut hangups: Signal,
    log: AccessLog,
    stop: CancellationToken,
) {
    let files = config.files.clone();
    if config.watch {
        tasks.spawn("registry", watch_files(files.clone(), publish.clone(), stop.clone()));
    }
    let is_watched = config.watch;
    tasks.spawn("hangups", async move {
        while let Some(Some(())) = stop.run_until_cancelled(hangups.recv()).await {
            if !log.reopen() {
                tracing::warn!("the access log is too far behind to be begun anew");
            }
            // What is watched is noticed anyway, and two readers would overtake each other.
            if !is_watched {
                reload_files(&files, &publish).await?;
            }
            tracing::info!("SIGHUP: registry and access log are looked at anew");
        }
        Ok::<_, LoadPanicked>(())
    });
}

fn bind(gateway: &Gateway) -> anyhow::Result<Vec<(TcpListener, crate::config::gateway::Listener)>> {
    let bound = gateway.listeners.iter().map(|listener| {
        let address: SocketAddr = listener.address;
        let tcp = listen::bind(address).with_context(|| {
            format!("listen at {address} (does something else listen there? is the address one of this machine?)")
        })?;
        Ok((tcp, *listener))
    });
    bound.collect()
}

/// A process may have far fewer files open by default than connections are allowed here.
fn raise_file_limit(gateway: &Gateway) {
    let connections = u64::try_from(gateway.limits.connections).unwrap_or(u64::MAX);
    let wanted = connections.saturating_mul(2).saturating_add(OTHER_FILES);
    let raise = || -> io::Result<u64> {
        let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE)?;
        if soft < wanted {
            setrlimit(Resource::RLIMIT_NOFILE, wanted.min(hard), hard)?;
        }
        Ok(soft.max(wanted.min(hard)))
    };
    match raise() {
        Ok(files) if files >= wanted => {}
        Ok(files) => tracing::warn!(
            files,
            wanted,
            "fewer files may be open than limits.connections needs (raise the hard limit of the service)"
        ),
        Err(error) => tracing::warn!(%error, "raise the limit of open files"),
    }
}
