// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp build`: klp.ko and patch modules for a kernel.

use std::path::{Path, PathBuf};

use anyhow::Result;
use klp_host::{Kernel, Progress, kbuild};

use crate::target::Target;

/// Build klp.ko and patches for a kernel
#[derive(clap::Args)]
#[command(
    after_help = "Example: cargo klp build --arch arm64 --kernel debian-6.12 examples/livepatch-cmdline"
)]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// Where the modules go [default: target/klp/ARCH/KERNEL]
    #[arg(long, value_name = "DIR")]
    out: Option<PathBuf>,
    /// The kernel's vmlinux with symbols: for variables that its own symbol table does not list
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Give the patches' functions room for slots of their own, in place of ftrace's sites: numbers as
    /// -fpatchable-function-entry takes them, on s390 -mhotpatch
    #[arg(long, value_name = "N,M", value_parser = numbers)]
    patchable: Option<(u16, u16)>,
    /// Directories with C (*.c) or Rust (lib.rs) sources; each module is named after its directory
    #[arg(value_name = "PATCH")]
    patches: Vec<PathBuf>,
}

/// Runs the command.
///
/// # Errors
///
/// The kernel cannot be had, or a module cannot be built.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let kernel = args.target.resolve(&progress)?;
    let out = args.out.unwrap_or_else(|| default_out(&kernel));
    let options =
        kbuild::Options { vmlinux: args.vmlinux, patchable: args.patchable, ..kbuild::Options::default() };
    let built = kbuild::build(&kernel, &out, &args.patches, &options, &progress)?;
    for module in built.klp.iter().chain(&built.patches) {
        println!("{}", module.display());
    }
    Ok(())
}

/// Where modules for `kernel` go that nobody named a place for.
pub(crate) fn default_out(kernel: &Kernel) -> PathBuf {
    let id = kernel.id.trim_matches('/').replace(['/', ' ', ':'], "_");
    kbuild::target_dir().join(kernel.arch.name).join(Path::new(&id))
}

/// `N,M`
fn numbers(text: &str) -> Result<(u16, u16), String> {
    let parsed =
        text.split_once(',').and_then(|(first, second)| Some((first.parse().ok()?, second.parse().ok()?)));
    parsed.ok_or_else(|| "expected two numbers, as in 7,6".to_owned())
}
