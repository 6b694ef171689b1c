//! `exeat gateway`: reads the configuration and the registry, then carries until it is stopped.

use std::path::PathBuf;

use anyhow::{Context as _, anyhow};
use clap::Args;
use exeat_agent::{
    config::Config,
    gateway::{self, Ground},
    registry::file::load_first,
    shutdown::Signals,
};
use tokio_util::sync::CancellationToken;

use super::{Exit, Failure, Outcome, run::read_as};

/// Run an egress gateway
///
/// Takes plain HTTP by its host and TLS by its server name (which it does not terminate), checks
/// name and port against the registry as the namespace of the gateway sees it, resolves the name
/// through `dns.resolvers`, and carries the bytes. What is not declared is told so: HTTP by status
/// 502 and one line of text, TLS by a fatal alert. Internal addresses (link-local,
/// `clusterCidrs`) are reached only if an entry declares the address itself, loopback never.
///
/// Every request of an HTTP connection is judged. A connection ends when the entry that allowed it
/// is removed. Needs no privileges and no kernel programs; for what goes round it, run the agent
/// beside it.
///
/// SIGTERM: no new connections, the open ones get `gateway.timeouts.drain` to end. SIGHUP: the
/// access log is begun anew, and the registry is read again where `registry.watch` is off.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat gateway --config /etc/exeat/gateway.yaml\n  \
curl --connect-to ::gateway.example:8443 https://www.example.com/     by server name\n  \
curl --proxy http://gateway.example:8080 http://www.example.com/      by host\n\n\
A configuration that is enough to begin with:\n  \
registry: {files: [/etc/exeat/registry.d]}\n  \
dns: {resolvers: [10.0.0.53]}\n  \
clusterCidrs: [10.244.0.0/16]\n  \
gateway:\n    \
namespace: istio-egress     # whose view of the registry counts\n    \
listeners:\n    \
- {address: \"0.0.0.0:8080\", protocol: http}\n    \
- {address: \"0.0.0.0:8443\", protocol: tls}\n\n\
Further keys below `gateway`, with their defaults:\n  \
name: gateway\n  \
labels: {}\n  \
accessLog: stdout           # or a path, or off\n  \
limits: {connections: 4096, connectionsPerClient: 512, headerBytes: 16384}\n  \
timeouts: {handshake: 10s, connect: 10s, idle: 10m, drain: 30s}\n  \
upstreams: []               # further gateways, for some hosts or for `*`:\n  \
- {hosts: [\"*.example.com\"], addresses: [\"10.0.0.9:8443\"], proxyProtocol: off}   # or v2\n\
A listener takes HTTP and TLS (`protocol: auto`) unless it is told which. `port` is the port of the\n\
destination where the client names none: 80 for HTTP, 443 for TLS.")]
pub(super) struct GatewayArgs {
    /// The configuration file (YAML), with a section `gateway`
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn gateway(args: &GatewayArgs) -> Outcome {
    let (config, gateway) = read_as(&args.config, Config::parse_gateway)?;
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()
        .context("start the runtime")?;
    let result = runtime.block_on(serve(config, gateway));
    runtime.shutdown_background();
    result.map(|()| Exit::Good)
}

async fn serve(
    config: Config,
    gateway: exeat_agent::config::gateway::Gateway,
) -> Result<(), Failure> {
    let signals = Signals::subscribe().context("subscribe to signals")?;
    let stop = CancellationToken::new();
    let registry =
        load_first(&config.registry.files).map_err(|errors| anyhow!("{}", errors.join("; ")))?;
    let ground = Ground { config, gateway, registry, stop: stop.clone() };
    let meaning = "stopping; what is open may end by itself";
    Ok(signals.guard(stop, meaning, gateway::run(ground)).await?)
}
