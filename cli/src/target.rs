// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which kernel a command is about, as its arguments say it.

use std::path::PathBuf;

use anyhow::{Context, Result};
use klp_host::kernel::Known;
use klp_host::{Arch, Cache, Kernel, Progress, arches};

/// A kernel: one that can be fetched, or one of the user's own.
#[derive(clap::Args, Debug)]
pub(crate) struct Target {
    /// The architecture
    #[arg(long, value_parser = arch)]
    pub(crate) arch: &'static Arch,
    /// A known kernel (`klp kernel list`); fetched on first use
    #[arg(long, required_unless_present = "kernel_dir", conflicts_with_all = ["kernel_dir", "image"])]
    kernel: Option<String>,
    /// A kernel of your own: the directory it was built in, or its headers (/lib/modules/RELEASE/build)
    #[arg(long, value_name = "DIR", requires = "image")]
    kernel_dir: Option<PathBuf>,
    /// The image that boots it: vmlinuz for x86_64, arm64 and s390, vmlinux for ppc64, Image for riscv64
    #[arg(long, value_name = "FILE", requires = "kernel_dir")]
    image: Option<PathBuf>,
}

impl Target {
    /// The kernel; what it takes is fetched if it is not on this machine.
    ///
    /// # Errors
    ///
    /// There is no such kernel, it is not for the architecture, or it cannot be fetched.
    pub(crate) fn resolve(&self, progress: &Progress) -> Result<Kernel> {
        let cache = Cache::open()?;
        match (&self.kernel, &self.kernel_dir, &self.image) {
            (Some(id), _, _) => Known::by_id(id)?.fetch(&cache, self.arch, progress),
            (None, Some(dir), Some(image)) => Kernel::from_dirs(&cache, self.arch, dir, image, progress),
            _ => None.context("the command line names no kernel"),
        }
    }
}

/// Parses `--arch`.
pub(crate) fn arch(name: &str) -> Result<&'static Arch, String> {
    let names: Vec<&str> = arches().iter().map(|arch| arch.name).collect();
    Arch::by_name(name).ok_or_else(|| format!("expected one of {}", names.join(", ")))
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Parser, Debug)]
    struct Cli {
        #[command(flatten)]
        target: Target,
    }

    fn parse(line: &str) -> Result<Target, String> {
        let parsed = Cli::try_parse_from(std::iter::once("klp").chain(line.split_whitespace()));
        parsed.map(|cli| cli.target).map_err(|error| error.to_string())
    }

    #[test]
    fn a_kernel_is_named_one_way_or_the_other() {
        assert_eq!(parse("--arch s390 --kernel debian-6.1").expect("valid").arch.name, "s390");
        assert!(parse("--arch arm64 --kernel-dir d --image i").is_ok());
        for wrong in [
            "--arch arm64",
            "--kernel debian-6.1",
            "--arch arm64 --kernel-dir d",
            "--arch arm64 --image i",
            "--arch arm64 --kernel debian-6.1 --kernel-dir d --image i",
            "--arch arm64 --kernel debian-6.1 --image i",
        ] {
            assert!(parse(wrong).is_err(), "{wrong}");
        }
        assert!(
            parse("--arch sparc --kernel x").expect_err("unknown").contains("x86_64, arm64, ppc64, s390")
        );
    }
}
