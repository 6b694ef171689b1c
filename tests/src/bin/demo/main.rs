//! `exeat-demo`: shows on this machine, in network namespaces of its own, what exeat lets
//! through and what it does not.

mod script;
mod stage;
mod table;

use std::process::ExitCode;
use std::time::Instant;

use anyhow::{Context, Result};
use clap::Parser;
use exeat_tests::agent::AgentFiles;
use exeat_tests::flows::FlowLog;
use exeat_tests::world::World;

use crate::stage::Stage;
use crate::table::{Table, progress};

/// Makes a node, two pods and an internet in network namespaces, starts exeat there, tries
/// what should and what should not get through, and removes everything again.
#[derive(Parser)]
#[command(version)]
struct Args {
    /// Keeps everything running after the table, for a look inside, until Ctrl-C.
    #[arg(long)]
    hold: bool,
    /// Makes the namespaces and servers without exeat, and waits for Ctrl-C.
    #[arg(long)]
    bare: bool,
}

fn main() -> Result<ExitCode> {
    let args = Args::parse();
    let start = Instant::now();
    let world = progress("Making a node, two pods and an internet", || {
        let world = World::new("demo")?;
        script::fill_dns(&world)?;
        Ok(world)
    })
    .context("make network namespaces and cgroups (this needs root)")?;
    if args.bare {
        wait_for_ctrl_c(&world);
    }
    let files = AgentFiles::new(&world.node)?;
    for (file, manifest) in script::REGISTRY {
        files.put(file, manifest)?;
    }
    let agent = progress("Starting exeat with 7 ServiceEntry files", || files.start(&world.node))?;
    let flows = Some(FlowLog::follow(&files, &world.node)?);
    let mut stage = Stage { world, table: Table::new(), flows };
    stage.table.head();
    let agent = script::play(&mut stage, &files, agent)?;
    let all_as_expected = stage.table.end(start.elapsed());
    where_next(&files, args.hold);
    if args.hold {
        wait_for_ctrl_c(&stage.world);
    }
    stage.flows = None;
    agent.stop()?;
    files.clean_up(&stage.world.node)?;
    drop(stage);
    Ok(if all_as_expected { ExitCode::SUCCESS } else { ExitCode::FAILURE })
}

fn where_next(files: &AgentFiles, held: bool) {
    let (socket, registry) = (files.socket(), files.registry());
    println!("\nWhere to look next");
    println!("  README.md                  the same on a real host, in 12 lines");
    println!("  tests/demo/registry/       the ServiceEntry files used here");
    if held {
        println!("  {}   …as the agent reads them: change one", registry.display());
        let exeat = files.binary().display();
        println!("  {exeat} status --socket {}", socket.display());
        println!("  {exeat} flows --follow --denied --socket {}", socket.display());
    } else {
        println!("  --hold                     keeps all of this running for a look inside:");
        println!("                             exeat status, exeat flows --follow, ip netns");
    }
}

/// The signal's own thread cleans up and ends the program.
fn wait_for_ctrl_c(world: &World) -> ! {
    let run = world.node.run().name();
    println!("\nEverything is up; `ip netns` shows {run}-*. Ctrl-C removes it.");
    loop {
        std::thread::park();
    }
}
