// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The `klp` command, as a library: the program of this workspace is [`main`]; that of another repository registers the architecture
//! there first ([`main_with`], `docs/src/porting.md`).

mod cmd;
mod target;

use std::process::ExitCode;

use anyhow::Result;
use clap::{Parser, Subcommand};
use klp_conformance::arch::{self, Entry};
use klp_host::Failure;

use crate::cmd::{build, conform, demo, doctor, kernel, lint, matrix, new_arch, run, stacks, test};

/// Live patching for stock Linux kernels: build patches, run them in QEMU, prove an architecture.
#[derive(Parser)]
#[command(
    name = "klp",
    bin_name = "cargo klp",
    version,
    max_term_width = 110,
    after_help = "\
Exit status: the command's own in `run`; 1 failure; 2 usage; 3 this machine lacks something; 124 time-out;
125 the guest kernel panicked, oopsed, warned, locked up or was lost; 126 a module refused to load.

Example: cargo klp demo"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Demo(demo::Args),
    Test(test::Args),
    Doctor(doctor::Args),
    Kernel(kernel::Args),
    Build(build::Args),
    Run(run::Args),
    Conform(conform::Args),
    Stacks(stacks::Args),
    Lint(lint::Args),
    Matrix(matrix::Args),
    NewArch(new_arch::Args),
}

/// `klp` with the architectures of this workspace.
pub fn main() -> ExitCode {
    exit(run())
}

/// `klp` with the architecture of another repository beside them. What is recorded is of that one, and in that repository.
pub fn main_with(entry: &'static Entry) -> ExitCode {
    exit(arch::register(entry).map_err(anyhow::Error::from).and_then(|()| run()))
}

fn run() -> Result<()> {
    match Cli::parse().command {
        Command::Demo(args) => demo::run(args),
        Command::Test(args) => test::run(args),
        Command::Doctor(args) => doctor::run(args),
        Command::Kernel(args) => kernel::run(args),
        Command::Build(args) => build::run(args),
        Command::Run(args) => run::run(args),
        Command::Conform(args) => conform::run(args),
        Command::Stacks(args) => stacks::run(args),
        Command::Lint(args) => lint::run(args),
        Command::Matrix(args) => matrix::run(args),
        Command::NewArch(args) => new_arch::run(args),
    }
}

fn exit(result: Result<()>) -> ExitCode {
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            // A status that is passed on is the command's own business.
            if !matches!(error.downcast_ref(), Some(Failure::Command(_))) {
                eprintln!("error: {error:#}");
            }
            ExitCode::from(klp_host::exit_status(&error))
        }
    }
}
