// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Files of the kernel's own source tree, from Debian's linux-source packages. They are used where they are, in the
//! cache; none of them is part of this project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{self, Root};
use crate::cache::Cache;
use crate::kernel::debian::SUITES;
use crate::process;
use crate::progress::Progress;

/// The directories that are kept of a source tree.
const KEPT: &[&str] = &["samples/livepatch", "lib/livepatch", "tools/testing/selftests/livepatch"];

/// The parts of Linux `series` (such as `6.1`) that this project's tests use: a tree with `KEPT` in it.
///
/// # Errors
///
/// The package cannot be had, or the disk is full.
pub fn tree(series: &str, progress: &Progress) -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache.publish(&format!("sources/linux-{series}"), progress, |entry| {
        let host = apt::host_architecture()?;
        let root = Root::open(&cache, &host, &[&host], SUITES, progress)?;
        progress.phase(format!("Linux {series} sources"), |_| {
            root.unpack(&[format!("linux-source-{series}")], entry)?;
            let archive = format!("usr/src/linux-source-{series}.tar.xz");
            let mut tar = Command::new("tar");
            tar.current_dir(entry).args(["--extract", "--xz", "--strip-components=1", "--file", &archive]);
            // Of the kept directories, those that this series has.
            tar.arg("--wildcards").args(KEPT.iter().map(|dir| format!("*/{dir}/*")));
            // tar exits with 2 if a pattern matches nothing, which is no failure here.
            process::run(&mut tar)?;
            fs::remove_dir_all(entry.join("usr")).context("cannot remove the source archive")
        })
    })
}

/// A directory with the kernel's own `livepatch-sample.c`, as Linux 6.1 has it, and nothing else.
///
/// # Errors
///
/// As [`tree`].
pub fn livepatch_sample(progress: &Progress) -> Result<PathBuf> {
    let tree = tree("6.1", progress)?;
    let cache = Cache::open()?;
    cache.publish("sources/livepatch-sample", progress, |entry| {
        let file = "livepatch-sample.c";
        let from: &Path = &tree.join("samples/livepatch").join(file);
        fs::copy(from, entry.join(file)).with_context(|| format!("cannot copy {}", from.display()))?;
        Ok(())
    })
}
