// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The programs that cases run in the guest beside busybox, compiled for one architecture.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use klp_host::{Arch, process};

/// They stand on their own, at a fixed address, without anything that a C library would bring.
const OPTIONS: &[&str] = &[
    "-Wall",
    "-Wextra",
    "-Werror",
    "-O2",
    "-ffreestanding",
    "-fno-pic",
    "-no-pie",
    "-fno-stack-protector",
    "-nostdlib",
    "-static",
];

/// The programs, by the names of their sources in `guest/user`.
const PROGRAMS: [&str; 2] = ["cycles", "tasks"];

/// Compiles the programs into `out_dir`.
pub(super) fn build(arch: &Arch, out_dir: &Path) -> Result<Vec<PathBuf>> {
    let compiler = format!("{}gcc", arch.cross_compile());
    let compile = |name: &str| {
        let (source, program) = (super::dir().join(format!("user/{name}.c")), out_dir.join(name));
        process::stdout(
            Command::new(&compiler)
                .args(OPTIONS)
                .arg("-I")
                .arg(super::arch_dir(arch))
                .arg("-o")
                .arg(&program)
                .arg(source),
        )?;
        Ok(program)
    };
    PROGRAMS.into_iter().map(compile).collect()
}
