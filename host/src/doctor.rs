// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What this machine needs, whether it is there, and how to get it.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::{env, fs};

use anyhow::Result;
use klp_core::stated::Fact;

use crate::apt::install;
use crate::process::{self, which};
use crate::progress::Progress;
use crate::{Arch, Failure, rustsrc, version};

/// What something is needed for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Task {
    /// Getting kernels.
    Fetch,
    /// Compiling modules.
    Build,
    /// Running kernels.
    Run,
    /// Running the project's own tests.
    Test,
}

/// One thing that was looked for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What, as a user knows it.
    pub what: String,
    /// What it is needed for.
    pub task: Task,
    /// How to get it; `None` if it is there.
    pub fix: Option<Fix>,
}

/// How to get what is missing.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Fix {
    /// The Debian package that has it.
    Package(String),
    /// The Debian package that has it, of this upstream version at least.
    Recent {
        /// The package.
        package: String,
        /// The oldest version that will do.
        oldest: &'static str,
    },
    /// A command that is the user's to run.
    Command(String),
}

/// How something is found.
#[derive(Clone, Copy, Debug)]
enum Probe {
    /// A program on the PATH.
    Program(&'static str),
    /// A shared library by its soname.
    Library(&'static str),
}

/// What every architecture needs: how it is found, for what, and which Debian package has it.
const NEEDS: &[(Probe, Task, &str)] = &[
    (Probe::Program("apt-get"), Task::Fetch, "apt"),
    (Probe::Program("dpkg-deb"), Task::Fetch, "dpkg"),
    (Probe::Program("make"), Task::Build, "make"),
    (Probe::Program("gcc"), Task::Build, "gcc"),
    (Probe::Program("ld"), Task::Build, "binutils"),
    (Probe::Program("bc"), Task::Build, "bc"),
    (Probe::Program("bison"), Task::Build, "bison"),
    (Probe::Program("flex"), Task::Build, "flex"),
    (Probe::Program("cpio"), Task::Build, "cpio"),
    (Probe::Program("kmod"), Task::Build, "kmod"),
    (Probe::Program("pahole"), Task::Build, "dwarves"),
    (Probe::Library("libelf.so.1"), Task::Build, "libelf1"),
    (Probe::Program("xz"), Task::Run, "xz-utils"),
];

/// Looks for all that the SDK needs for `arches`, in the order that a user would need it.
pub fn check(arches: &[&Arch]) -> Vec<Finding> {
    look(arches, |_| true)
}

/// Looks for what the tasks need that are `wanted`, or for more: what takes a program's word is not asked for others.
fn look(arches: &[&Arch], wanted: impl Fn(Task) -> bool) -> Vec<Finding> {
    let package = |found: bool, package: &str| (!found).then(|| Fix::Package(package.to_owned()));
    let mut findings: Vec<Finding> = NEEDS
        .iter()
        .map(|(probe, task, name)| Finding {
            what: probe.to_string(),
            task: *task,
            fix: package(probe.is_found(), name),
        })
        .collect();
    findings.push(rust(rustsrc::rustc_version().ok()));
    for arch in arches.iter().filter(|arch| arch.states(Fact::Names)) {
        if let Some(name) = arch.gcc_package {
            let what = format!("{}gcc", arch.cross_compile());
            let fix = package(which(&what).is_some(), name);
            findings.push(Finding { what, task: Task::Build, fix });
        }
    }
    for arch in arches.iter().filter(|arch| arch.states(Fact::Qemu)) {
        if wanted(Task::Run) {
            let found = qemu_version(arch.qemu.binary);
            findings.push(qemu(arch.qemu.binary, arch.qemu.package, found.as_deref()));
        }
        if let Some((file, name)) = arch.qemu.firmware {
            let fix = package(Path::new(file).is_file(), name);
            findings.push(Finding { what: file.to_owned(), task: Task::Run, fix });
        }
        let fix = package(which(arch.qemu.user).is_some(), "qemu-user");
        findings.push(Finding { what: arch.qemu.user.to_owned(), task: Task::Test, fix });
    }
    findings.sort_by_key(|finding| finding.task as u8);
    findings
}

/// The oldest QEMU that guests run well in. Where it counts instructions, a CPU's turn ends at the next of the guest's timers. Before this
/// one the first CPU may use up the time until then, each time (`rr_cpu_thread_fn` in `accel/tcg/tcg-accel-ops-rr.c`; since then it is divided,
/// `icount_percpu_budget`). If it waits in a loop for a lock that the second one holds, the guest hangs: half of s390's did, while they booted.
const QEMU: &str = "8.1";

fn qemu(binary: &str, package: &str, found: Option<&str>) -> Finding {
    let recent = found.is_some_and(|found| version::compare(found, QEMU).is_ge());
    let fix = (!recent).then(|| Fix::Recent { package: package.to_owned(), oldest: QEMU });
    Finding { what: binary.to_owned(), task: Task::Run, fix }
}

/// `10.0.2` of `QEMU emulator version 10.0.2 (Debian …)`.
fn qemu_version(binary: &str) -> Option<String> {
    let text = process::stdout(Command::new(which(binary)?).arg("--version")).ok()?;
    Some(text.split("version ").nth(1)?.split_whitespace().next()?.to_owned())
}

/// The oldest Rust that the workspace builds with.
const RUST: &str = env!("CARGO_PKG_RUST_VERSION");

fn rust(found: Option<rustsrc::Minor>) -> Finding {
    let needed = rustsrc::minor(&format!("{RUST}.0"));
    let fix = (found < needed).then(|| Fix::Command("rustup update stable".to_owned()));
    Finding { what: format!("rustc {RUST}"), task: Task::Build, fix }
}

/// Gets all that is missing in `findings` and that apt has.
///
/// # Errors
///
/// apt cannot install it; this user may not ([`Failure::Missing`] with the command for one who may); or something is
/// missing that apt does not have.
pub fn fix(findings: &[Finding], progress: &Progress) -> Result<()> {
    let mut packages: Vec<&str> = Vec::new();
    let mut recent: Vec<(&str, &str)> = Vec::new();
    for finding in findings {
        match &finding.fix {
            Some(Fix::Package(name)) if !packages.contains(&name.as_str()) => packages.push(name),
            Some(Fix::Recent { package, oldest }) if !recent.contains(&(package.as_str(), oldest)) => {
                recent.push((package, oldest));
            }
            _ => {}
        }
    }
    if !packages.is_empty() {
        install::install(&packages, progress)?;
    }
    if !recent.is_empty() {
        install::install_recent(&recent, progress)?;
    }
    let command = findings.iter().find_map(|finding| match &finding.fix {
        Some(Fix::Command(command)) => {
            Some(Failure::Missing { what: finding.what.clone(), fix: command.clone() })
        }
        _ => None,
    });
    command.map_or(Ok(()), |failure| Err(failure.into()))
}

/// Makes sure that `task` can be done for `arch`; gets what is missing. Takes a few milliseconds when nothing is.
///
/// # Errors
///
/// Those of [`fix`].
pub fn ensure(arch: &Arch, task: Task, progress: &Progress) -> Result<()> {
    let mut findings = look(&[arch], |wanted| wanted == task);
    findings.retain(|finding| finding.task == task && finding.fix.is_some());
    fix(&findings, progress)
}

/// Says that `program` is missing, and how to get it.
pub(crate) fn missing(program: &str) -> Failure {
    let is = |probe: &Probe| matches!(probe, Probe::Program(name) if *name == program);
    let package = NEEDS.iter().find(|(probe, _, _)| is(probe)).map(|(_, _, package)| *package);
    let fix = match (program, package) {
        ("apt-get" | "apt-cache" | "apt-config" | "dpkg" | "dpkg-deb", _) => {
            "run this on Debian or a distribution made from it, or name a kernel of your own with --kernel-dir and \
             --image"
                .to_owned()
        }
        ("rustc" | "cargo", _) => format!("install Rust {RUST} or newer (rustup)"),
        (_, Some(package)) => format!("apt-get install {package}"),
        (_, None) => format!("install {program}"),
    };
    Failure::Missing { what: program.to_owned(), fix }
}

impl Probe {
    fn is_found(self) -> bool {
        match self {
            Probe::Program(name) => which(name).is_some(),
            Probe::Library(soname) => library_dirs().iter().any(|dir| dir.join(soname).exists()),
        }
    }
}

impl std::fmt::Display for Probe {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Probe::Program(name) | Probe::Library(name) => f.write_str(name),
        }
    }
}

/// Where distributions keep shared libraries: the two usual places, and one directory per architecture in them.
fn library_dirs() -> Vec<PathBuf> {
    let mut dirs = Vec::new();
    for top in ["/usr/lib", "/usr/lib64", "/lib", "/lib64"] {
        let top = Path::new(top);
        dirs.push(top.to_owned());
        let entries = fs::read_dir(top).into_iter().flatten().filter_map(Result::ok);
        dirs.extend(entries.map(|entry| entry.path()).filter(|path| path.ends_with(multiarch())));
    }
    dirs
}

fn multiarch() -> String {
    format!("{}-linux-gnu", env::consts::ARCH)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_architecture_needs_its_emulator_and_compiler() {
        let arches: Vec<&Arch> = Arch::stating(&[Fact::Names, Fact::Qemu]).collect();
        let findings = check(&arches);
        for arch in arches {
            assert!(findings.iter().any(|it| it.what == arch.qemu.binary && it.task == Task::Run), "{arch}");
            assert!(findings.iter().any(|it| it.what == arch.qemu.user && it.task == Task::Test), "{arch}");
            let compiler = format!("{}gcc", arch.cross_compile());
            assert_eq!(findings.iter().any(|it| it.what == compiler), arch.gcc_package.is_some(), "{arch}");
        }
    }

    #[test]
    fn what_is_not_there_is_found_missing() {
        assert!(!Probe::Program("klp-no-such-program").is_found());
        assert!(!Probe::Library("libklp-none.so.1").is_found());
        // This test is a program that is linked against it.
        assert!(Probe::Library("libc.so.6").is_found());
    }

    #[test]
    fn an_old_qemu_is_not_enough() {
        let fix = |found| qemu("qemu-system-s390x", "qemu-system-misc", found).fix;
        for found in ["8.1.0", "8.1", "10.0.2"] {
            assert_eq!(fix(Some(found)), None, "{found}");
        }
        for found in [Some("7.2.22"), Some("8.0.4"), None] {
            let recent = Fix::Recent { package: "qemu-system-misc".to_owned(), oldest: QEMU };
            assert_eq!(fix(found), Some(recent), "{found:?}");
        }
    }

    #[test]
    fn an_old_rustc_is_not_enough() {
        let needed = rustsrc::minor(&format!("{RUST}.0")).expect("the workspace names its Rust");
        assert_eq!(rust(Some(needed)).fix, None);
        assert_eq!(rust(Some(needed + 1)).fix, None);
        assert!(matches!(rust(Some(needed - 1)).fix, Some(Fix::Command(_))));
        assert!(rust(None).fix.is_some());
    }

    #[test]
    fn a_missing_program_is_told_by_its_package() {
        assert!(missing("pahole").to_string().contains("apt-get install dwarves"));
        assert!(missing("dpkg").to_string().contains("--kernel-dir"));
        let finding = rust(None);
        let error = fix(&[finding], &Progress::silent()).expect_err("no package has it");
        assert_eq!(crate::exit_status(&error), 3);
    }
}
