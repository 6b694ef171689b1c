//! The developer's verbs: parses `cargo xtask VERB` and calls the verb's file. CI calls the same verbs.
#![forbid(unsafe_code)]

use std::{iter, process::ExitCode};

use clap::{Parser, Subcommand};

mod bench;
mod build;
mod build_ebpf;
mod ci;
mod demo;
mod fuzz;
mod image;
mod leaks;
mod licences;
mod manifests;
mod metadata;
mod rounds;
mod run;
mod setup;
mod stages;
mod test;
mod tidy;
mod toolchain;
mod vm_test;

#[derive(Parser)]
#[command(name = "cargo xtask", about = "Set up, build, try and check exeat", max_term_width = 100)]
struct Args {
    #[command(subcommand)]
    verb: Verb,
}

#[derive(Subcommand)]
enum Verb {
    /// Install what building and testing need, and only what is missing
    Setup,
    /// Compile the kernel programs to target/bpf/exeat.bpf.o
    BuildEbpf(build_ebpf::Options),
    /// Set up, compile the kernel programs, then the agent with them inside
    Build(build::Options),
    /// Build, then show exeat at work in network namespaces of this machine (needs root)
    Demo(demo::Options),
    /// Build, then run every test: unit, property and kernel (the kernel tests need root)
    Test(test::Options),
    /// Throw hostile files and DNS messages at what reads them, for a while
    Fuzz(fuzz::Options),
    /// Try the agent on older kernels, each in a virtual machine (on Debian)
    VmTest(vm_test::Options),
    /// Measure what the compiler of the registry takes, and what the kernel programs take
    Bench(bench::Options),
    /// Build the agent's container image, and try the binary in it (with buildah, as root)
    Image,
    /// Render what `deploy/` installs, and hold it against schemas and linters
    Manifests,
    /// Everything CI checks, in its order, ending with `test`
    Ci,
    /// Check the house rules that no compiler knows
    Tidy,
}

fn main() -> ExitCode {
    // Help texts then show what a person types.
    let arguments = std::env::args_os().skip(1);
    let Args { verb } = Args::parse_from(iter::once("cargo xtask".into()).chain(arguments));
    match run(verb) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // Not by returning it from `main`: where RUST_BACKTRACE is set, that buries the text
            // in a stack trace.
            eprintln!("\nerror: {error}");
            error.chain().skip(1).for_each(|cause| eprintln!("because: {cause}"));
            ExitCode::FAILURE
        }
    }
}

fn run(verb: Verb) -> anyhow::Result<()> {
    match verb {
        Verb::Setup => setup::ensure(setup::Scope::Machines),
        Verb::BuildEbpf(options) => build_ebpf::build(&options),
        Verb::Build(options) => build::build(&options),
        Verb::Demo(options) => demo::demo(&options),
        Verb::Test(options) => test::test(&options),
        Verb::Fuzz(options) => fuzz::fuzz(&options),
        Verb::VmTest(options) => vm_test::vm_test(&options),
        Verb::Bench(options) => bench::bench(&options),
        Verb::Image => image::image(),
        Verb::Manifests => manifests::manifests(),
        Verb::Ci => ci::ci(),
        Verb::Tidy => tidy::tidy(),
    }
}
