// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The modules that the cases load, built for one kernel.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use klp_host::kbuild::{self, Built};
use klp_host::ksource;
use klp_host::progress::Progress;
use klp_host::{Kernel, arches};

/// Where builds for `kernel` are kept between runs.
pub(crate) fn out_dir(kernel: &Kernel) -> PathBuf {
    kbuild::target_dir().join(format!("conformance/{}-{}", kernel.arch.name, kernel.id.replace('/', "_")))
}

/// Everything has to build without a word from the compilers, objtool or modpost.
pub(crate) fn options(vmlinux: Option<&Path>) -> kbuild::Options {
    let vmlinux = vmlinux.map(Path::to_owned);
    kbuild::Options { deny_warnings: true, vmlinux, ..kbuild::Options::default() }
}

/// Builds klp.ko and every module that a case loads: those of `guest/modules`, the examples, and the kernel's own
/// livepatch samples, unchanged. `vmlinux` is the kernel's, with its symbols, if anybody has it.
///
/// # Errors
///
/// The kernel's sources cannot be had, or something does not build.
pub fn build_all(kernel: &Kernel, vmlinux: Option<&Path>, progress: &Progress) -> Result<Built> {
    let mut dirs = subdirectories(&super::dir().join("modules"))?;
    dirs.extend(subdirectories(&Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples"))?);
    dirs.extend(ksource::livepatch_samples(progress)?);
    kbuild::build(kernel, &out_dir(kernel), &dirs, &options(vmlinux), progress)
}

/// Builds the module of the cases that need no klp.ko, and not that.
///
/// # Errors
///
/// It does not build.
pub(super) fn build_bare(kernel: &Kernel, progress: &Progress) -> Result<PathBuf> {
    let module = super::dir().join("modules/test_empty");
    let options = kbuild::Options { core: false, ..options(None) };
    let built = kbuild::build(kernel, &out_dir(kernel).join("bare"), &[module], &options, progress)?;
    built.patches.into_iter().next().context("the build made no module")
}

fn subdirectories(dir: &Path) -> Result<Vec<PathBuf>> {
    let mut found: Vec<PathBuf> = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    found.retain(|path| path.is_dir());
    found.sort();
    ensure!(!found.is_empty(), "there are no modules in {}", dir.display());
    Ok(found)
}

/// Modules that `kernel` must refuse: one of another architecture, one of another version of its own.
pub(super) struct Foreign {
    pub(super) other_arch: PathBuf,
    /// `None` if no other kernel of the architecture is known.
    pub(super) other_kernel: Option<PathBuf>,
}

/// Builds an example for other kernels.
pub(super) fn foreign(
    kernel: &Kernel,
    fetch: &dyn Fn(&'static klp_host::Arch, &str) -> Result<Kernel>,
    progress: &Progress,
) -> Result<Foreign> {
    let example = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/livepatch-cmdline");
    let build = |other: &Kernel| -> Result<PathBuf> {
        let built =
            kbuild::build(other, &out_dir(other), std::slice::from_ref(&example), &options(None), progress)?;
        built.patches.into_iter().next().context("the build made no module")
    };
    let (other_arch, id) = arches()
        .iter()
        .filter(|arch| arch.facts.elf_machine != kernel.arch.facts.elf_machine)
        .find_map(|arch| Some((*arch, arch.kernels.first()?.id)))
        .context("no other architecture has a kernel")?;
    let other_id = kernel.arch.kernels.iter().map(|known| known.id).find(|id| *id != kernel.id);
    Ok(Foreign {
        other_arch: build(&fetch(other_arch, id)?)?,
        other_kernel: other_id.map(|id| build(&fetch(kernel.arch, id)?)).transpose()?,
    })
}
