// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The program that cases run in the guest beside busybox, compiled for one architecture.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::Result;
use klp_host::{Arch, process};

/// It stands on its own, at a fixed address, without anything that a C library would bring.
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

/// Compiles `guest/user/tasks.c` into `out_dir`.
pub(super) fn build(arch: &Arch, out_dir: &Path) -> Result<PathBuf> {
    let (source, program) = (super::dir().join("user/tasks.c"), out_dir.join("tasks"));
    let compiler = format!("{}gcc", arch.cross_compile());
    process::stdout(Command::new(compiler).args(OPTIONS).arg("-o").arg(&program).arg(source))?;
    Ok(program)
}
