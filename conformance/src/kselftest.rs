// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The kselftest suite: the kernel's own livepatch selftests, and the `kpatch` command, against our engine.
//!
//! Both are taken as they are: the selftests' modules and scripts from Debian's linux-source package of the kernel's
//! series, `kpatch` from Debian's package, the programs that they call from Debian for the guest's architecture. What is
//! ours is the cases that run them (`kselftest/cases`), which run like those of the guest suite.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, ensure};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::ksource::{self, Selftests};
use klp_host::progress::Progress;
use klp_host::qemu::RunSpec;
use klp_host::userland::{self, Userland};
use klp_host::{Kernel, kbuild};

use crate::guest::run::{at, run_cases, runner, select};
use crate::guest::{self, Options, cases, modules};
use crate::report::CaseResult;

/// The programs that the scripts and `kpatch` call beside the shell's own: the name that they call, and the file's.
const PROGRAMS: &[(&str, &str)] = &[
    ("awk", "mawk"),
    ("basename", "basename"),
    ("bash", "bash"),
    ("cat", "cat"),
    ("comm", "comm"),
    ("cp", "cp"),
    ("cut", "cut"),
    ("date", "date"),
    ("depmod", "kmod"),
    ("diff", "diff"),
    ("dirname", "dirname"),
    ("dmesg", "dmesg"),
    ("fmt", "fmt"),
    ("getconf", "getconf"),
    ("getopt", "getopt"),
    ("grep", "grep"),
    ("id", "id"),
    ("insmod", "kmod"),
    ("mkdir", "mkdir"),
    ("mktemp", "mktemp"),
    ("modinfo", "kmod"),
    ("modprobe", "kmod"),
    ("readlink", "readlink"),
    ("rm", "rm"),
    ("rmdir", "rmdir"),
    ("rmmod", "kmod"),
    ("sed", "sed"),
    ("seq", "seq"),
    ("sleep", "sleep"),
    ("stat", "stat"),
    ("sysctl", "sysctl"),
    ("tr", "tr"),
    ("uname", "uname"),
];

/// Where the selftests are in the guest; their modules below, in `test_modules`.
const SELFTESTS: &str = "/klp/livepatch";

/// Modules of the guest suite that cases of this one load too.
const OWN_MODULES: [&str; 2] = ["test_target", "test_nested"];

/// The directory with our side of the suite.
pub(crate) fn dir() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("kselftest")
}

/// Runs the suite on `kernel`.
///
/// # Errors
///
/// Something cannot be fetched or built, this machine lacks something, or no case matches the filters. Whatever goes wrong
/// in a guest is the result of a case.
pub fn run(kernel: &Kernel, options: &Options<'_>, progress: &Progress) -> Result<Vec<CaseResult>> {
    let all = cases::in_dir(&dir().join("cases"))?;
    let selftests = ksource::livepatch_selftests(&series(&kernel.release)?, progress)?;
    complete(&selftests.scripts, &dir().join("cases"))?;
    let cases = select(all, options.filters)?;

    // Where the guest suite has its klp.ko.
    let out = modules::out_dir(kernel);
    let own = OWN_MODULES.map(|name| guest::dir().join("modules").join(name));
    let dirs = [selftests.modules.as_slice(), &own].concat();
    let built = kbuild::build(kernel, &out, &dirs, &modules::options(None), progress)?;
    let userland = Userland::fetch(kernel.arch, progress)?;
    let mut added = runner(&dir().join("cases"));
    added.extend([
        at(dir().join("lib.sh"), "/klp/kselftest.sh"),
        at(dir().join("modinfo"), "/klp/bin/modinfo"),
        at(userland::kpatch(progress)?, "/usr/sbin/kpatch"),
    ]);
    added.extend(scripts(&selftests, &userland, &out)?);
    let klp = built.klp.context("the build made no klp.ko")?;
    let (theirs, ours) = built.patches.split_at(selftests.modules.len());
    let test_modules = format!("{SELFTESTS}/test_modules");
    let placed = theirs.iter().chain([&klp]).map(|module| (module, test_modules.as_str()));
    for (module, dir) in placed.chain(ours.iter().map(|module| (module, MODULE_DIR))) {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        added.push(at(module.clone(), &format!("{dir}/{name}")));
    }
    // For `kpatch`, which reads the module's name from the file.
    added.extend(userland.programs(PROGRAMS)?);
    added.extend(userland.programs(&[("readelf", &format!("{}-readelf", kernel.arch.triple))])?);
    // A library of both lists.
    added.sort_by(|a, b| a.guest_path.cmp(&b.guest_path));
    added.dedup();

    let spec = RunSpec {
        modules: vec![klp],
        timeout: Some(options.timeout),
        added,
        append: options.append.to_owned(),
        ..RunSpec::new(kernel, Job::Exec(String::new()))
    };
    run_cases(cases, &spec, "kselftest cases", progress)
}

/// The series of a kernel release: `6.12` of `6.12.95+deb12-arm64`.
fn series(release: &str) -> Result<String> {
    let mut parts = release.split(['.', '-', '+']);
    match (parts.next(), parts.next()) {
        (Some(major), Some(minor)) if minor.parse::<u32>().is_ok() => Ok(format!("{major}.{minor}")),
        _ => anyhow::bail!("'{release}' is no kernel release"),
    }
}

/// Every script of the kernel's has a case that runs it.
fn complete(scripts: &Path, cases: &Path) -> Result<()> {
    let text = names(cases)?
        .iter()
        .map(|name| fs::read_to_string(cases.join(name)).with_context(|| format!("cannot read {name}")))
        .collect::<Result<String>>()?;
    for name in names(scripts)?.iter().filter(|name| name.starts_with("test-")) {
        ensure!(text.contains(name.as_str()), "no case runs {name} of the kernel's livepatch selftests");
    }
    Ok(())
}

/// The scripts, and the programs that they run, built for the guest.
fn scripts(selftests: &Selftests, userland: &Userland, out: &Path) -> Result<Vec<Added>> {
    let mut added = Vec::new();
    for name in names(&selftests.scripts)? {
        let source = selftests.scripts.join(&name);
        if name.ends_with(".sh") {
            added.push(at(source, &format!("{SELFTESTS}/{name}")));
        } else if let Some(program) = name.strip_suffix(".c") {
            let path = out.join(program);
            userland.compile(&source, &path)?;
            added.push(at(path, &format!("{SELFTESTS}/{program}")));
        }
    }
    Ok(added)
}

fn names(dir: &Path) -> Result<Vec<String>> {
    let context = || format!("cannot list {}", dir.display());
    let mut names = Vec::new();
    for entry in fs::read_dir(dir).with_context(context)? {
        names.extend(entry.with_context(context)?.file_name().into_string());
    }
    names.sort();
    Ok(names)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_release_names_its_series() {
        for (release, expected) in
            [("6.1.0-50-amd64", "6.1"), ("6.12.95+deb12-arm64", "6.12"), ("6.6-mine", "6.6")]
        {
            assert_eq!(series(release).expect(release), expected);
        }
        assert!(series("next").is_err());
    }

    #[test]
    fn a_script_without_a_case_is_noticed() {
        let scripts = tempfile::tempdir().expect("dir");
        let write = |name: &str| fs::write(scripts.path().join(name), "").expect("write");
        write("test-livepatch.sh");
        write("functions.sh");
        complete(scripts.path(), &dir().join("cases")).expect("a case for each");
        write("test-unheard-of.sh");
        let error = complete(scripts.path(), &dir().join("cases")).expect_err("no case");
        assert!(error.to_string().contains("test-unheard-of.sh"), "{error}");
    }
}
