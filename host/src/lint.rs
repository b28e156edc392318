// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What would keep a built patch from loading, or make it unreliable, said before anybody loads it.
//!
//! The file is read as the module loader and `klp.ko` would read it, and compared with what the kernel says of itself: its
//! exported symbols and their versions, its configuration, kallsyms, and the functions that ftrace knows.

mod exports;
mod file;
pub mod hardening;
mod objects;
mod patch;
mod references;

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use klp_core::Endian;
use serde_json::{Value, json};

use crate::kernel::symbols::Symbols;
use crate::modtree::{Module, Tree};
use crate::progress::Progress;
use crate::{Arch, Failure, Kernel};
use file::File;

/// How bad a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Severity {
    /// Nothing is wrong as far as can be seen; something could not be looked at.
    Note,
    /// It loads, and may not do what its author expects.
    Warning,
    /// It will not load.
    Error,
}

impl Severity {
    /// The word for it.
    pub const fn name(self) -> &'static str {
        match self {
            Severity::Note => "note",
            Severity::Warning => "warning",
            Severity::Error => "error",
        }
    }
}

/// One thing about a module.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// How bad it is.
    pub severity: Severity,
    /// What was checked, a name that does not change.
    pub check: &'static str,
    /// The object that it is about: `vmlinux` or a module's name. Empty: the module as a whole.
    pub object: String,
    /// The symbol that it is about. Empty: none.
    pub symbol: String,
    /// What was expected and what was found.
    pub message: String,
    /// What to do.
    pub help: String,
}

impl Finding {
    /// A finding about the file as a whole.
    pub fn new(
        severity: Severity,
        check: &'static str,
        message: impl Into<String>,
        help: impl Into<String>,
    ) -> Finding {
        Finding {
            severity,
            check,
            object: String::new(),
            symbol: String::new(),
            message: message.into(),
            help: help.into(),
        }
    }

    fn about(self, object: &str, symbol: &str) -> Finding {
        Finding { object: object.to_owned(), symbol: symbol.to_owned(), ..self }
    }

    fn json(&self) -> Value {
        json!({
            "severity": self.severity.name(),
            "check": self.check,
            "object": self.object,
            "symbol": self.symbol,
            "message": self.message,
            "help": self.help,
        })
    }
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.severity.name(), self.check)?;
        for part in [&self.object, &self.symbol].into_iter().filter(|part| !part.is_empty()) {
            write!(f, "{part}: ")?;
        }
        write!(f, "{}\n  {}", self.message, self.help)
    }
}

/// What was found in a module.
#[derive(Clone, Debug)]
pub struct Report {
    /// The module's file name.
    pub file: String,
    /// The kernel, as a user names it.
    pub kernel: String,
    /// Its architecture.
    pub arch: &'static str,
    /// Its release.
    pub release: String,
    /// How many functions the module replaces.
    pub functions: usize,
    /// The worst first.
    pub findings: Vec<Finding>,
}

impl Report {
    /// How many findings are of that severity.
    pub fn count(&self, severity: Severity) -> usize {
        self.findings.iter().filter(|finding| finding.severity == severity).count()
    }

    /// For tools.
    pub fn json(&self) -> Value {
        json!({
            "file": self.file,
            "arch": self.arch,
            "kernel": self.kernel,
            "release": self.release,
            "functions": self.functions,
            "loads": self.count(Severity::Error) == 0,
            "findings": self.findings.iter().map(Finding::json).collect::<Vec<_>>(),
        })
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        write!(
            f,
            "{} for {} ({}, {}): {} functions replaced, {} errors, {} warnings",
            self.file,
            self.kernel,
            self.arch,
            self.release,
            self.functions,
            self.count(Severity::Error),
            self.count(Severity::Warning)
        )
    }
}

/// What a module is compared with.
#[derive(Clone, Debug)]
pub struct Against<'a> {
    /// The kernel.
    pub kernel: &'a Kernel,
    /// `klp.ko` as it is built for that kernel.
    pub klp: &'a Path,
    /// Modules that are not the kernel's own and that the patch changes or needs.
    pub others: &'a [PathBuf],
}

/// Checks the module in `path`.
///
/// # Errors
///
/// The file is no module ([`Failure::Usage`]), or the kernel cannot be asked.
pub fn lint(path: &Path, against: &Against<'_>, progress: &Progress) -> Result<Report> {
    let kernel = against.kernel;
    let unusable = |error: anyhow::Error| {
        Failure::Usage(format!(
            "{}: {error:#}; expected a patch module (.ko) as `klp build` makes them",
            path.display()
        ))
    };
    let module = Module::read(path).map_err(unusable)?;
    let file = File::parse(&module.data).map_err(unusable)?;
    let mut report = Report {
        file: module.file_name.clone(),
        kernel: kernel.id.clone(),
        arch: kernel.arch.name,
        release: kernel.release.clone(),
        functions: 0,
        findings: Vec::new(),
    };
    // Code for another processor says nothing about this kernel.
    if let Some(finding) = machine(&file, kernel) {
        report.findings.push(finding);
        return Ok(report);
    }
    report.findings.extend(version(&file, kernel));
    report.findings.extend(exports::check(&file, against)?);
    let patches = patch::declared(&file);
    let config = config(kernel)?;
    report.findings.extend(hardening::check(&file, &patches, kernel.arch, &config));
    match patches.as_slice() {
        [] => report.findings.push(no_patch(&file)),
        [_] => {}
        several => report.findings.push(Finding::new(
            Severity::Warning,
            "several-patches",
            format!("{} patches are declared: expected one, a module carries no more", several.len()),
            "only the one that klp_enable_patch() is called with takes effect; make a module of each",
        )),
    }
    if !patches.is_empty() {
        let symbols = Symbols::of(kernel, against.klp, progress)?;
        let tree = Tree::new(kernel.modules.as_deref())?;
        let lists_data = config.lines().any(|line| line == "CONFIG_KALLSYMS_ALL=y");
        let object = |name: &str| objects::module(name, &tree, against.others);
        report.findings.extend(references::check(&file, &patches, &symbols, lists_data, &object)?);
        for declared in &patches {
            report.functions += declared.objects.iter().map(|object| object.funcs.len()).sum::<usize>();
            report.findings.extend(objects::check(&file, declared, &symbols, &tree, against.others)?);
        }
    }
    report.findings.sort_by_key(|finding| std::cmp::Reverse(finding.severity));
    Ok(report)
}

/// A module for another machine.
fn machine(file: &File<'_>, kernel: &Kernel) -> Option<Finding> {
    let found = file.machine();
    let expected = &kernel.arch.facts;
    if found == expected.elf_machine && file.is_little_endian() == (expected.endian == Endian::Little) {
        return None;
    }
    let known = Arch::by_machine(found);
    let found = known.map_or_else(|| format!("ELF machine {found}"), |arch| arch.name.to_owned());
    Some(Finding::new(
        Severity::Error,
        "architecture",
        format!("the module is for {found}: expected {}", kernel.arch.name),
        format!("build it with `klp build --arch {}`", kernel.arch.name),
    ))
}

/// A module for another kernel (`check_modinfo` in `kernel/module/main.c`).
fn version(file: &File<'_>, kernel: &Kernel) -> Option<Finding> {
    let magic = file.modinfo("vermagic").unwrap_or_default();
    let built_for = magic.split(' ').next().unwrap_or_default();
    (built_for != kernel.release).then(|| {
        Finding::new(
            Severity::Error,
            "version",
            format!("the module is built for kernel {built_for:?}: expected {:?}", kernel.release),
            format!("build it with `klp build --arch {} --kernel {}`", kernel.arch.name, kernel.id),
        )
    })
}

fn no_patch(file: &File<'_>) -> Finding {
    if file.undefined().any(|name| name == "klp_enable_patch") {
        return Finding::new(
            Severity::Error,
            "kernel-livepatch",
            "the module calls the kernel's own klp_enable_patch(): it is no patch for klp.ko",
            "build it with `klp build`, which puts the SDK's <linux/livepatch.h> before the kernel's",
        );
    }
    Finding::new(
        Severity::Note,
        "no-patch",
        "the module declares no patch as data: which functions it replaces cannot be seen",
        "nothing to do if it is no patch, or puts its struct klp_patch together while it runs",
    )
}

/// The kernel's configuration (`include/config/auto.conf`), a line each.
fn config(kernel: &Kernel) -> Result<String> {
    let path = kernel.build_dir.join("include/config/auto.conf");
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}
