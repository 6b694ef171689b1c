//! `exeat explain`: the verdict about one flow, offline, and how it came about.

mod text;

use std::{
    collections::BTreeMap,
    fs,
    net::{IpAddr, SocketAddr},
    path::PathBuf,
};

use anyhow::{Context as _, anyhow};
use clap::{Args, ValueEnum};
use exeat_agent::{
    config::{Config, DnsDenied, Mode},
    endpoints,
    policy::{answers::Answers, virtual_addresses::VirtualAddresses},
    registry::{
        host::HostPattern,
        load::{Loaded, load},
        report::ObjectRef,
    },
    trial::{
        self, Attempt, Lookup, Protocol, Trial, TrialClient, Verdict,
        missing::{Missing, World},
        path::{Step, path},
    },
};
use hickory_proto::rr::Name;
use serde::Serialize;

use super::{Exit, Failure, Outcome, OutputArgs, OutputFormat, output::print};

/// Say what happens to one flow, and why
///
/// Judges the flow offline, over the registry in the given files: the verdict, the way through the
/// numbered steps of the decision, the entry that decided, and for a denial the nearest entry and
/// what is missing. With --host the workload is taken to have asked a trusted resolver for the
/// name, and to have been told the address.
///
/// Ends with status 0 if the flow is allowed or redirected, 1 if it is denied, 2 if something
/// cannot be read.
#[derive(Debug, Args)]
#[command(after_help = "Examples:\n  \
exeat explain --registry registry.d/ --namespace shop --label app=cart --host api.example.com --port 443\n  \
exeat explain --registry a.yaml b.yaml --namespace shop --ip 203.0.113.7 --port 5432 --proto tcp\n  \
exeat explain --registry registry.d/ --namespace shop --host api.example.com --port 443 -o json | jq .missing")]
pub(super) struct ExplainArgs {
    /// Files, or folders with *.yaml, *.yml and *.json
    #[arg(long, required = true, num_args = 1.., value_name = "PATH")]
    registry: Vec<PathBuf>,
    /// Namespace of the workload
    #[arg(long, value_name = "NAMESPACE")]
    namespace: String,
    /// A label of the workload; may be given several times
    #[arg(long = "label", value_parser = label, value_name = "KEY=VALUE")]
    labels: Vec<(String, String)>,
    /// The workload has a sidecar
    #[arg(long)]
    sidecar: bool,
    /// The workload is enrolled in an ambient mesh
    #[arg(long)]
    ambient: bool,
    /// The name it asks for
    #[arg(long, value_parser = name, required_unless_present = "ip", value_name = "NAME")]
    host: Option<Name>,
    /// The address it dials; without it a documentation address stands for that of the host
    #[arg(long, value_name = "ADDRESS")]
    ip: Option<IpAddr>,
    /// The port it dials
    #[arg(long, value_name = "PORT", value_parser = clap::value_parser!(u16).range(1..))]
    port: u16,
    /// How it dials
    #[arg(long, value_enum, default_value_t, value_name = "PROTOCOL")]
    proto: ProtocolArg,
    /// What the agent would find for a name that stands for endpoints; may be given several times
    #[arg(long = "resolve", value_parser = resolved, value_name = "NAME=ADDRESS")]
    resolve: Vec<(HostPattern, IpAddr)>,
    /// Configuration of the agent, for its settings; without it the defaults
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Mesh-wide mode, instead of the configured one
    #[arg(long, value_enum, value_name = "MODE")]
    mode: Option<ModeArg>,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Copy, Debug, Default, ValueEnum)]
enum ProtocolArg {
    #[default]
    Tcp,
    Udp,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum ModeArg {
    /// What is not declared is denied
    #[value(name = "REGISTRY_ONLY")]
    RegistryOnly,
    /// What is not declared is allowed, and counted
    #[value(name = "ALLOW_ANY")]
    AllowAny,
}

fn label(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((key, value)) if !key.is_empty() => Ok((key.to_owned(), value.to_owned())),
        _ => Err("write it as key=value".to_owned()),
    }
}

fn name(text: &str) -> Result<Name, String> {
    match Name::from_ascii(text) {
        Ok(name) if !name.is_root() && !text.contains('*') => Ok(name),
        Ok(_) => Err("a name that a workload asks for is meant, not a pattern".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

fn resolved(text: &str) -> Result<(HostPattern, IpAddr), String> {
    let (name, address) = text.split_once('=').ok_or("write it as name=address")?;
    let name = HostPattern::parse(name).map_err(|error| error.to_string())?;
    Ok((name, address.parse().map_err(|_| format!("`{address}` is not an address"))?))
}

/// All that there is to say about one flow.
#[derive(Debug, Serialize)]
struct Explanation {
    #[serde(flatten)]
    outcome: trial::Outcome,
    destination: Destination,
    path: Vec<Step>,
    /// Of a denied flow with a name.
    nearest: Option<NearestEntry>,
    missing: Option<Missing>,
    notes: Vec<String>,
}

#[derive(Debug, Serialize)]
struct Destination {
    host: Option<String>,
    ip: IpAddr,
    port: u16,
    protocol: Protocol,
}

#[derive(Debug, Serialize)]
struct NearestEntry {
    pattern: String,
    entry: ObjectRef,
}

/// Names in one note.
const NAMES_SHOWN: usize = 5;

/// Stands for the resolver where no configuration names one (RFC 5737).
const RESOLVER: SocketAddr =
    SocketAddr::new(IpAddr::V4(std::net::Ipv4Addr::new(192, 0, 2, 53)), 53);

pub(super) fn explain(args: &ExplainArgs) -> Outcome {
    let explanation = judge(args)?;
    match args.output.output {
        OutputFormat::Json => print(&serde_json::to_string(&explanation)?)?,
        OutputFormat::Text => print(&text::text(&explanation))?,
    }
    let is_denied = explanation.outcome.verdict == Verdict::Deny;
    Ok(if is_denied { Exit::Found } else { Exit::Good })
}

fn judge(args: &ExplainArgs) -> Result<Explanation, Failure> {
    let config = config(args)?;
    let loaded = load(&args.registry, None);
    if !loaded.errors.is_empty() {
        let errors: Vec<String> = loaded.errors.iter().map(ToString::to_string).collect();
        return Err(Failure::usage(anyhow!(errors.join("; "))));
    }
    let registry = &loaded.registry;
    let mut answers = Answers {
        virtual_addresses: VirtualAddresses::default().update(registry),
        ..Answers::default()
    };
    for (name, address) in &args.resolve {
        answers.resolved.entry(name.clone()).or_default().push(*address);
    }
    let client = client(args);
    let trial =
        Trial::new(&loaded.registry, &config, &answers, &client).with_reports(&loaded.reports);
    let attempt = attempt(args, &config, &trial);
    let outcome = trial.judge(&attempt);
    let world = World { registry: &loaded.registry, config: &config, answers: &answers };
    let missing = trial.missing(world, &attempt, &outcome);
    let nearest = trial.nearest(&attempt).filter(|_| outcome.verdict == Verdict::Deny);
    let host = args.host.as_ref().map(Name::to_ascii);
    Ok(Explanation {
        path: path(&attempt, &outcome),
        notes: address_note(args, &trial, attempt.ip)
            .into_iter()
            .chain(notes(args, &config, &loaded, &outcome))
            .collect(),
        nearest: nearest
            .map(|it| NearestEntry { pattern: it.pattern, entry: ObjectRef::clone(&it.entry) }),
        destination: Destination {
            host,
            ip: attempt.ip,
            port: attempt.port,
            protocol: attempt.protocol,
        },
        missing,
        outcome,
    })
}

fn config(args: &ExplainArgs) -> Result<Config, Failure> {
    let mut config = if let Some(path) = &args.config {
        let text = fs::read_to_string(path)
            .with_context(|| format!("read {}", path.display()))
            .map_err(Failure::usage)?;
        Config::parse(&text)
            .with_context(|| format!("in {}", path.display()))
            .map_err(Failure::usage)?
    } else {
        let mut config = Config::offline();
        config.dns.resolvers = vec![RESOLVER];
        config
    };
    match args.mode {
        Some(ModeArg::RegistryOnly) => config.mode = Mode::RegistryOnly,
        Some(ModeArg::AllowAny) => config.mode = Mode::AllowAny,
        None => {}
    }
    Ok(config)
}

fn client(args: &ExplainArgs) -> TrialClient {
    TrialClient {
        namespace: args.namespace.clone(),
        labels: args.labels.iter().cloned().collect::<BTreeMap<_, _>>(),
        has_sidecar: args.sidecar,
        is_ambient: args.ambient,
        is_host_network: false,
    }
}

fn attempt(args: &ExplainArgs, config: &Config, trial: &Trial) -> Attempt {
    let told = args.host.as_ref().and_then(|name| trial.told(name).first().copied());
    let ip = args.ip.or(told).unwrap_or_else(|| trial.unclaimed_address());
    // Without a trusted resolver nothing is learned, whoever answers.
    let resolver = config.dns.resolvers.first().copied().unwrap_or(RESOLVER);
    let lookup = args.host.clone().map(|name| Lookup {
        name,
        answers: vec![ip],
        cname: Vec::new(),
        resolver,
        ttl: 60,
        age: 0,
    });
    let protocol = match args.proto {
        ProtocolArg::Tcp => Protocol::Tcp,
        ProtocolArg::Udp => Protocol::Udp,
    };
    Attempt { lookups: lookup.into_iter().collect(), ip, port: args.port, protocol }
}

/// How the workload comes by the address of the name.
fn address_note(args: &ExplainArgs, trial: &Trial, ip: IpAddr) -> Option<String> {
    let host = args.host.as_ref()?;
    let told: Vec<String> = trial.told(host).iter().map(ToString::to_string).collect();
    if !told.is_empty() {
        let told = told.join(", ");
        return Some(format!(
            "the question for the name is answered on the node, with {told}; no resolver is asked"
        ));
    }
    args.ip.is_none().then(|| {
        format!("no --ip was given, so {ip}, a documentation address, stands for that of {host}")
    })
}

fn notes(
    args: &ExplainArgs,
    config: &Config,
    loaded: &Loaded,
    outcome: &trial::Outcome,
) -> Vec<String> {
    let mut notes = Vec::new();
    if outcome.is_name_refused() {
        let word = match config.dns.denied {
            DnsDenied::NoSuchName => "NXDOMAIN",
            DnsDenied::Refused => "REFUSED",
        };
        notes.push(format!("the question for the name is itself answered {word}"));
    }
    if args.host.is_some() && config.dns.resolvers.is_empty() {
        notes.push(
            "the configuration names no trusted resolver (dns.resolvers), so no name is ever learned"
                .to_owned(),
        );
    }
    let invalid = loaded.reports.iter().filter(|it| it.code.refuses());
    let invalid: std::collections::BTreeSet<&ObjectRef> = invalid.map(|it| &it.object).collect();
    if !invalid.is_empty() {
        let names: Vec<String> = invalid.iter().map(ToString::to_string).collect();
        notes.push(format!("invalid, so ignored: {} (exeat check says why)", names.join(", ")));
    }
    notes.extend(endpoint_note(args, config, loaded, outcome));
    notes
}

/// Names of endpoints are nobody's to ask here.
fn endpoint_note(
    args: &ExplainArgs,
    config: &Config,
    loaded: &Loaded,
    outcome: &trial::Outcome,
) -> Option<String> {
    let mut wanted = endpoints::wanted(&loaded.registry, config);
    wanted.retain(|name| args.resolve.iter().all(|(given, _)| given != name));
    let first = wanted.first().filter(|_| outcome.reason == "no-upstream")?;
    let names: Vec<String> = wanted.iter().take(NAMES_SHOWN).map(ToString::to_string).collect();
    let more = if wanted.len() > NAMES_SHOWN { ", …" } else { "" };
    Some(format!(
        "endpoints of the registry are names that the running agent resolves, and nothing is asked here: {}{more} (--resolve {first}=ADDRESS says what it would find)",
        names.join(", ")
    ))
}

#[cfg(test)]
mod tests;
