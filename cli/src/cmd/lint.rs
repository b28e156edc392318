// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp lint`: what would keep a built patch from loading.

use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use klp_host::Progress;
use klp_host::kbuild::{self, Options};
use klp_host::lint::{self, Against, Severity};

use super::build::default_out;
use crate::target::Target;

/// Say what would keep a built patch from loading on a kernel, or make it unreliable there
///
/// The kernel is asked for its symbols once, in QEMU. The module is not loaded.
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Exit status: 0 if it will load, warnings or not; 1 if not; 2 if the file is no module; 3 this machine lacks something.

Example: cargo klp build --arch arm64 --kernel debian-6.12 examples/livepatch-cmdline --out out &&
         cargo klp lint out/livepatch-cmdline.ko --arch arm64 --kernel debian-6.12")]
pub(crate) struct Args {
    /// The module
    #[arg(value_name = "FILE.ko")]
    file: PathBuf,
    #[command(flatten)]
    target: Target,
    /// A module that is not the kernel's own and that the patch changes or needs; repeatable
    #[arg(long, value_name = "FILE.ko")]
    object: Vec<PathBuf>,
    /// JSON, for tools
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The file is no module, the kernel cannot be had or asked, or the module would not load.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let kernel = args.target.resolve(&progress)?;
    let built = kbuild::build(&kernel, &default_out(&kernel), &[], &Options::default(), &progress)?;
    let klp = built.klp.context("the build made no klp.ko")?;
    let against = Against { kernel: &kernel, klp: &klp, others: &args.object };
    let report = lint::lint(&args.file, &against, &progress)?;
    if args.json {
        println!("{}", serde_json::to_string_pretty(&report.json())?);
    } else {
        println!("{report}");
    }
    if report.count(Severity::Error) > 0 {
        bail!("{} would not load", report.file);
    }
    Ok(())
}
