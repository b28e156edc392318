// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a kernel says of its own functions: their names, as kallsyms has them, and which ftrace can trace.
//!
//! It is asked of the kernel itself, in a guest, once. Distributions ship neither a `vmlinux` nor a `System.map` that
//! says something with their kernels, and neither would tell what ftrace knows.

use std::collections::HashMap;
use std::fs;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::guest::Job;
use crate::progress::Progress;
use crate::qemu::{self, RunSpec, Silent};
use crate::{Kernel, doctor};

/// The symbols of vmlinux.
#[derive(Clone, Debug, Default)]
pub struct Symbols {
    /// The addresses of each name, in the order of kallsyms.
    named: HashMap<String, Vec<u64>>,
    /// How many functions of each name ftrace can trace.
    traceable: HashMap<String, usize>,
    /// The lowest address of a module's symbol.
    modules: Option<u64>,
}

/// Between the two lists in what the guest says.
const SEPARATOR: &str = "--";
const COMMAND: &str = "cat /proc/kallsyms && echo -- && cat /sys/kernel/tracing/available_filter_functions";

impl Symbols {
    /// The kernel's symbols; it is booted for them on first use, with `module`, so that it has a place for modules.
    ///
    /// # Errors
    ///
    /// QEMU is missing, the kernel does not boot, or the cache cannot be written.
    pub fn of(kernel: &Kernel, module: &Path, progress: &Progress) -> Result<Symbols> {
        let entry = format!("kallsyms/{}/{}-{:016x}", kernel.arch.name, kernel.release, digest(kernel)?);
        let dir = Cache::open()?.publish(&entry, progress, |dir| {
            let text = ask(kernel, module, progress)?;
            Symbols::parse(&text)?;
            fs::write(dir.join("symbols"), text).context("cannot write the kernel's symbols")
        })?;
        let file = dir.join("symbols");
        let text = fs::read_to_string(&file).with_context(|| format!("cannot read {}", file.display()))?;
        Symbols::parse(&text)
    }

    /// Reads `/proc/kallsyms`, a line of its own, and `available_filter_functions`.
    fn parse(text: &str) -> Result<Symbols> {
        let mut lines = text.lines();
        let mut symbols = Symbols::default();
        for line in lines.by_ref().take_while(|line| *line != SEPARATOR) {
            let mut fields = line.split_ascii_whitespace();
            let (Some(addr), Some(_kind), Some(name), module) =
                (fields.next(), fields.next(), fields.next(), fields.next())
            else {
                continue;
            };
            let addr = u64::from_str_radix(addr, 16).with_context(|| format!("no address: {line:?}"))?;
            match module {
                None => symbols.named.entry(name.to_owned()).or_default().push(addr),
                // What the kernel puts into memory for modules on its own account.
                Some(module) if module.starts_with("[__builtin") || module == "[bpf]" => {}
                Some(_) => symbols.modules = Some(symbols.modules.map_or(addr, |lowest| lowest.min(addr))),
            }
        }
        for line in lines {
            let mut fields = line.split_ascii_whitespace();
            if let (Some(name), None) = (fields.next(), fields.next()) {
                *symbols.traceable.entry(name.to_owned()).or_default() += 1;
            }
        }
        ensure!(
            !symbols.named.is_empty() && !symbols.traceable.is_empty(),
            "the kernel lists {} symbols and {} functions that can be traced: expected some of each; it needs \
             CONFIG_KALLSYMS and CONFIG_DYNAMIC_FTRACE",
            symbols.named.len(),
            symbols.traceable.len()
        );
        Ok(symbols)
    }

    /// The addresses of the symbols of that name, in the order of kallsyms. They differ from boot to boot where the
    /// kernel moves itself.
    pub fn named(&self, name: &str) -> &[u64] {
        self.named.get(name).map_or(&[], Vec::as_slice)
    }

    /// Where a module was, in the boot that the other addresses are of.
    pub fn modules(&self) -> Option<u64> {
        self.modules
    }

    /// How many functions of that name ftrace can trace.
    pub fn traceable(&self, name: &str) -> usize {
        self.traceable.get(name).copied().unwrap_or(0)
    }

    /// The symbols that the compiler made of the function `name`, in the order of their names: parts and clones
    /// (`name.part.0`, `name.constprop.0`, `name.isra.0`, `name.cold`).
    pub fn clones(&self, name: &str) -> Vec<&str> {
        let is_clone = |other: &str| other.strip_prefix(name).is_some_and(|rest| rest.starts_with('.'));
        let mut clones: Vec<&str> =
            self.named.keys().map(String::as_str).filter(|other| is_clone(other)).collect();
        clones.sort_unstable();
        clones
    }
}

/// A kernel that is built anew has the same release and other symbols.
fn digest(kernel: &Kernel) -> Result<u64> {
    let image = fs::read(&kernel.image).with_context(|| format!("cannot read {}", kernel.image.display()))?;
    let mut hasher = DefaultHasher::new();
    image.hash(&mut hasher);
    Ok(hasher.finish())
}

fn ask(kernel: &Kernel, module: &Path, progress: &Progress) -> Result<String> {
    doctor::ensure(kernel.arch, doctor::Task::Run, progress)?;
    let job = Job::Exec(COMMAND.to_owned());
    let spec = RunSpec { modules: vec![module.to_owned()], ..RunSpec::new(kernel, job) };
    progress.phase(format!("symbols of {} ({}), from the kernel", kernel.id, kernel.arch), |_| {
        let result = qemu::run(&spec, &mut Silent)?;
        result.verdict()?;
        String::from_utf8(result.stdout).context("the kernel's symbols are no text")
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const TEXT: &str = "ffff800000010000 T _text\nffff800000010040 t show\nffff800000010080 t show\n\
        ffff8000000100c0 t show.part.0\nffff800000010100 t showing\nffff8000a0000000 t show\t[virtio]\n--\n\
        show\nshow\nshow [virtio]\n";

    #[test]
    fn vmlinux_is_told_from_modules() {
        let symbols = Symbols::parse(TEXT).expect("parses");
        assert_eq!(symbols.named("show"), [0xffff_8000_0001_0040, 0xffff_8000_0001_0080]);
        assert_eq!((symbols.traceable("show"), symbols.traceable("_text")), (2, 0));
        assert_eq!(symbols.clones("show"), ["show.part.0"]);
        assert!(symbols.named("absent").is_empty());
        assert_eq!(symbols.modules(), Some(0xffff_8000_a000_0000));
    }

    #[test]
    fn a_kernel_without_the_lists_is_refused() {
        let error = Symbols::parse("ffff800000010000 T _text\n--\n").expect_err("nothing can be traced");
        assert!(error.to_string().contains("CONFIG_DYNAMIC_FTRACE"), "{error}");
    }
}
