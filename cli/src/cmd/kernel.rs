// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp kernel`: the known kernels, and getting them.

use anyhow::Result;
use klp_host::doctor::{self, Task};
use klp_host::kernel::Known;
use klp_host::{Arch, Cache, Progress, arches};

use crate::target;

/// List known kernels, or fetch them
#[derive(clap::Args)]
#[command(after_help = "Example: cargo klp kernel fetch --arch arm64 --kernel debian-6.12")]
pub(crate) struct Args {
    #[command(subcommand)]
    action: Action,
}

#[derive(clap::Subcommand)]
enum Action {
    /// List the kernels there are, and which of them are on this machine
    #[command(after_help = "Example: cargo klp kernel list --arch s390")]
    List(Which),
    /// Download, verify and keep kernels: image, modules, headers
    #[command(after_help = "Example: cargo klp kernel fetch --arch arm64 --kernel debian-6.12")]
    Fetch(Which),
}

#[derive(clap::Args)]
struct Which {
    /// Only this architecture
    #[arg(long, value_parser = target::arch)]
    arch: Option<&'static Arch>,
    /// Only this kernel
    #[arg(long)]
    kernel: Option<String>,
}

impl Which {
    /// All that was meant, and at least one.
    fn pairs(&self) -> Result<Vec<(&'static Arch, &'static Known)>> {
        let known: Vec<&Known> = match &self.kernel {
            Some(id) => vec![Known::by_id(id)?],
            None => Known::all(),
        };
        let arches: Vec<&Arch> = match self.arch {
            Some(arch) => vec![arch],
            None => arches().to_vec(),
        };
        Ok(Known::pairs(&arches, &known)?)
    }
}

/// Runs the command.
///
/// # Errors
///
/// There is no such kernel, or it cannot be fetched.
pub(crate) fn run(args: Args) -> Result<()> {
    let cache = Cache::open()?;
    match args.action {
        Action::List(which) => list(&cache, &which),
        Action::Fetch(which) => fetch(&cache, &which),
    }
}

fn list(cache: &Cache, which: &Which) -> Result<()> {
    let pairs = which.pairs()?;
    println!("{:<7} {:<12} {:<32} ON THIS MACHINE", "ARCH", "KERNEL", "WHAT");
    for (arch, known) in pairs {
        let here = match known.load(cache, arch) {
            Ok(Some(kernel)) => kernel.release,
            Ok(None) => "-".to_owned(),
            Err(error) => format!("{error:#}"),
        };
        println!("{:<7} {:<12} {:<32} {here}", arch.name, known.id, arch.release.about);
    }
    Ok(())
}

fn fetch(cache: &Cache, which: &Which) -> Result<()> {
    let progress = Progress::new();
    for (arch, known) in which.pairs()? {
        doctor::ensure(arch, Task::Fetch, &progress)?;
        let kernel = known.fetch(cache, arch, &progress)?;
        println!("{:<7} {:<12} {:<32} {}", arch.name, known.id, kernel.release, kernel.build_dir.display());
    }
    Ok(())
}
