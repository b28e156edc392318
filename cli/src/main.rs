// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The `klp` command, `cargo klp` in this workspace.

mod cmd;
mod target;

use std::process::ExitCode;

use clap::{Parser, Subcommand};
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

fn main() -> ExitCode {
    let result = match Cli::parse().command {
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
    };
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
