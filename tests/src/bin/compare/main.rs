//! `exeat-compare`: exeat beside other ways to the same end, as figures. `cargo xtask bench` runs it.

mod connect;
mod gateway;
mod half;
mod machine;
mod plot;
mod study;
mod table;

use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::{Args, Parser, Subcommand};

use crate::study::Study;

/// Measures in network namespaces of this machine, everything in turn and again and again. A missed
/// goal is told and fails nothing; a flow that got past what should hold it does. Needs root.
#[derive(Parser)]
#[command(version)]
struct Arguments {
    #[command(subcommand)]
    what: What,
}

#[derive(Subcommand)]
enum What {
    /// Connections and round trips: nothing, exeat, an nftables set, and two ways into an Envoy
    Connect(Options),
    /// TLS by server name through `exeat gateway`, Envoy and `HAProxy`
    Gateway(Options),
    /// The half of `connect` in a pod.
    #[command(hide = true)]
    ConnectClient,
    /// The half of `connect` on the internet.
    #[command(hide = true)]
    ConnectServer(connect::server::Addresses),
    /// The half of `gateway` in a pod.
    #[command(hide = true)]
    GatewayClient,
    /// The half of `gateway` on the internet.
    #[command(hide = true)]
    GatewayServer(gateway::server::Addresses),
}

#[derive(Args)]
struct Options {
    /// For how long to measure
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Where the figures go as JSON, and their plot
    #[arg(long, default_value = "target/bench")]
    output_folder: PathBuf,
}

impl Options {
    fn time(&self) -> Duration {
        Duration::from_secs(self.seconds)
    }

    /// Prints the table and writes the files.
    fn report(&self, study: &Study) -> Result<()> {
        let summary = study.summary();
        println!("{}", table::text(&summary));
        std::fs::create_dir_all(&self.output_folder)?;
        let json = self.output_folder.join(format!("{}.json", summary.name));
        std::fs::write(&json, serde_json::to_string_pretty(&summary)?)?;
        let svg = json.with_extension("svg");
        plot::write(&summary, &svg)?;
        println!("{}\n{}", json.display(), svg.display());
        Ok(())
    }
}

fn main() -> Result<()> {
    match Arguments::parse().what {
        What::Connect(options) => options.report(&connect::measure(options.time())?),
        What::Gateway(options) => options.report(&gateway::measure(options.time())?),
        What::ConnectClient => half::serve(connect::client::answer),
        What::ConnectServer(addresses) => connect::server::serve(&addresses),
        What::GatewayClient => half::serve(gateway::client::answer),
        What::GatewayServer(addresses) => gateway::server::serve(&addresses),
    }
}
