// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Running the cases in guests of one kernel.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::progress::Progress;
use klp_host::qemu::{self, RunResult, RunSpec, Sink};
use klp_host::{Arch, Kernel, klog};

use super::{Case, cases, ktap, modules, user};
use crate::arch::Entry;
use crate::host::module_code;
use crate::report::{CaseResult, Outcome};

/// What to run.
pub struct Options<'a> {
    /// Filters: ids or groups; empty for all.
    pub filters: &'a [String],
    /// How a kernel is had that another case's module is built for.
    pub fetch: &'a (dyn Fn(&'static Arch, &str) -> Result<Kernel> + Sync),
    /// How long one guest may take.
    pub timeout: Duration,
    /// Kernel arguments for every guest.
    pub append: &'a str,
    /// The kernel's vmlinux, with its symbols.
    pub vmlinux: Option<&'a Path>,
}

/// Runs the cases on `kernel`.
///
/// # Errors
///
/// Something the cases need cannot be built, this machine lacks something, or no case matches the filters. Whatever
/// goes wrong in a guest is the result of a case.
pub fn run(kernel: &Kernel, options: &Options<'_>, progress: &Progress) -> Result<Vec<CaseResult>> {
    let cases = select(cases::in_dir(&super::dir().join("cases"))?, options.filters)?;
    let (cases, bare): (Vec<_>, Vec<_>) = cases.into_iter().partition(|case| case.core);
    let mut results = run_bare(bare, kernel, options, progress)?;
    if cases.is_empty() {
        return Ok(results);
    }
    let arch_dir = super::arch_dir(kernel.arch);
    for file in super::ARCH_FILES.map(|name| arch_dir.join(name)) {
        ensure!(
            file.is_file(),
            "the guest suite is not told of {}: expected {}, see conformance/guest/arch/README.md",
            kernel.arch,
            file.display()
        );
    }
    let built = modules::build_all(kernel, options.vmlinux, progress)?;
    let klp = built.klp.clone().context("the build made no klp.ko")?;
    let foreign = modules::foreign(kernel, options.fetch, progress)?;
    let mut added = runner(&super::dir().join("cases"));
    added.extend([
        at(arch_dir.join("facts.sh"), "/klp/facts.sh"),
        at(super::dir().join("stacks.sh"), "/klp/stacks.sh"),
        at(super::dir().join("transitions.sh"), "/klp/transitions.sh"),
        at(super::dir().join("entries.sh"), "/klp/entries.sh"),
        at(foreign.other_arch, &format!("{MODULE_DIR}/foreign/other-arch.ko")),
        foreign_kernel(kernel, foreign.other_kernel)?,
    ]);
    for program in user::build(kernel.arch, &modules::out_dir(kernel))? {
        let name = program.file_name().unwrap_or_default().to_string_lossy().into_owned();
        added.push(at(program, &format!("/klp/{name}")));
    }
    for module in &built.patches {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        added.push(at(module.clone(), &format!("{MODULE_DIR}/{name}")));
    }
    results.push(no_float(kernel, &klp, &built.patches)?);
    let job = Job::Exec(String::new());
    let spec = RunSpec {
        modules: vec![klp],
        timeout: Some(options.timeout),
        added,
        append: options.append.to_owned(),
        ..RunSpec::new(kernel, job)
    };
    results.extend(run_cases(cases, &spec, "guest cases", progress)?);
    Ok(results)
}

/// The module of another kernel of the architecture, or a file that says why there is none.
fn foreign_kernel(kernel: &Kernel, module: Option<PathBuf>) -> Result<Added> {
    if let Some(module) = module {
        return Ok(at(module, &format!("{MODULE_DIR}/foreign/other-kernel.ko")));
    }
    let none = modules::out_dir(kernel).join("other-kernel.none");
    fs::write(&none, format!("no other kernel of {} is known\n", kernel.arch))
        .with_context(|| format!("cannot write {}", none.display()))?;
    Ok(at(none, &format!("{MODULE_DIR}/foreign/other-kernel.none")))
}

/// Runs the cases that need no klp.ko, which then is not built: what it needs may not be stated yet.
fn run_bare(
    cases: Vec<Case>,
    kernel: &Kernel,
    options: &Options<'_>,
    progress: &Progress,
) -> Result<Vec<CaseResult>> {
    if cases.is_empty() {
        return Ok(Vec::new());
    }
    let mut added = runner(&super::dir().join("cases"));
    let module = modules::build_bare(kernel, progress)?;
    let name = module.file_name().unwrap_or_default().to_string_lossy().into_owned();
    added.push(at(module, &format!("{MODULE_DIR}/{name}")));
    let spec = RunSpec {
        timeout: Some(options.timeout),
        added,
        append: options.append.to_owned(),
        ..RunSpec::new(kernel, Job::Exec(String::new()))
    };
    run_cases(cases, &spec, "guest cases without klp.ko", progress)
}

/// The cases that `filters` name; all if there are none.
pub(crate) fn select(mut cases: Vec<Case>, filters: &[String]) -> Result<Vec<Case>> {
    if !filters.is_empty() {
        cases.retain(|case| filters.iter().any(|filter| case.matches(filter)));
    }
    ensure!(!cases.is_empty(), "no case matches {}", filters.join(", "));
    Ok(cases)
}

/// What runs the cases that are in the directory `cases`, as files for a guest.
pub(crate) fn runner(cases: &Path) -> Vec<Added> {
    vec![
        at(super::dir().join("run.sh"), "/klp/run.sh"),
        at(super::dir().join("lib.sh"), "/klp/lib.sh"),
        at(cases.to_owned(), "/klp/cases"),
    ]
}

/// Runs the cases in guests as `spec` describes them, except for job and processors: as many guests as it takes.
pub(crate) fn run_cases(
    mut left: Vec<Case>,
    spec: &RunSpec<'_>,
    what: &str,
    progress: &Progress,
) -> Result<Vec<CaseResult>> {
    let kernel = spec.kernel;
    let mut results = Vec::new();
    progress.phase(format!("{what} on {} {}", kernel.arch, kernel.id), |phase| -> Result<()> {
        let all = left.len();
        while let Some(smp) = left.first().map(|case| case.cpus) {
            let (here, elsewhere): (Vec<_>, Vec<_>) = left.drain(..).partition(|case| case.cpus == smp);
            let ids: Vec<&str> = here.iter().map(|case| case.id.as_str()).collect();
            let core = if spec.modules.is_empty() { "KLP_CORE=off " } else { "" };
            let job = Job::Exec(format!("{core}sh /klp/run.sh {}", ids.join(" ")));
            let spec = RunSpec { job, smp, ..spec.clone() };
            let mut count = |done: usize| phase.detail(format!("{} of {all}", done + results.len()));
            let run = qemu::run(&spec, &mut Counter { text: String::new(), count: &mut count })?;
            let reported = results_of(kernel, &here, &run);
            ensure!(!reported.is_empty(), "a guest ran none of the cases");
            let again = here.into_iter().filter(|case| reported.iter().all(|result| result.id != case.id));
            left.extend(again.chain(elsewhere));
            results.extend(reported);
        }
        Ok(())
    })?;
    Ok(results)
}

/// The case about the modules themselves: built for this kernel, they leave floating point and vectors alone, which the
/// kernel does not save for them.
fn no_float(kernel: &Kernel, klp: &Path, patches: &[PathBuf]) -> Result<CaseResult> {
    let entry = Entry::by_name(kernel.arch.name)
        .with_context(|| format!("the host suite does not describe {}", kernel.arch))?;
    let rust = patches.iter().filter(|path| path.to_string_lossy().contains("rust"));
    let mut uses = Vec::new();
    let mut instructions = 0;
    for module in std::iter::once(klp).chain(rust.map(PathBuf::as_path)) {
        let scan = module_code::scan(module, entry.description)?;
        instructions += scan.insns;
        uses.extend(scan.fpu.iter().map(|found| format!("{}: {found}", module.display())));
    }
    let outcome = match uses.is_empty() {
        true => Outcome::Passed,
        false => Outcome::Failed(uses.join("\n")),
    };
    Ok(CaseResult {
        id: "B1".to_owned(),
        name: "klp.ko and patches in Rust use no floating-point or vector register".to_owned(),
        source: "Documentation/core-api/floating-point.rst; the target's .config".to_owned(),
        arch: kernel.arch.name.to_owned(),
        kernel: Some(kernel.id.clone()),
        outcome,
        duration: Duration::ZERO,
        log: format!("{instructions} instructions disassembled\n"),
    })
}

/// A file or directory of this machine, for a guest.
pub(crate) fn at(source: PathBuf, guest_path: &str) -> Added {
    Added { source, guest_path: guest_path.to_owned() }
}

/// Tells the progress how many cases are done.
struct Counter<'a> {
    text: String,
    count: &'a mut dyn FnMut(usize),
}

impl Sink for Counter<'_> {
    fn stdout(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.text += &String::from_utf8_lossy(bytes);
        (self.count)(ktap::parse(&self.text).len());
        Ok(())
    }
}

/// The results of one guest: of every case that reported, and of the first that did not, during which the guest ended.
fn results_of(kernel: &Kernel, cases: &[Case], run: &RunResult) -> Vec<CaseResult> {
    let reported = ktap::parse(&String::from_utf8_lossy(&run.stdout));
    let logs = split_log(&run.console);
    let mut results = Vec::new();
    for case in cases {
        let mut log = logs.get(&case.id).cloned().unwrap_or_default();
        let outcome = match reported.get(&case.id) {
            None => Outcome::Failed(format!("the guest ended during this case: {}", ending(run))),
            Some(line) => judge(line, &log, case.warns.as_deref()),
        };
        let ended = !reported.contains_key(&case.id);
        // A failure shows its diagnostics itself.
        if let (Outcome::Passed, Some(line)) = (&outcome, reported.get(&case.id)) {
            log.insert_str(0, &line.diagnostics);
        }
        results.push(CaseResult {
            id: case.id.clone(),
            name: case.name.clone(),
            source: case.source.clone(),
            arch: kernel.arch.name.to_owned(),
            kernel: Some(kernel.id.clone()),
            outcome,
            duration: Duration::ZERO,
            log,
        });
        if ended {
            return results;
        }
    }
    // Everything reported; what is wrong outside of any case is the last one's.
    if let (Err(failure), Some(last)) = (run.verdict(), results.last_mut())
        && !results_explain(&reported, run)
        && !matches!(last.outcome, Outcome::Failed(_))
    {
        last.outcome = Outcome::Failed(format!("after the last case: {failure}"));
    }
    results
}

/// Whether the run's failure is one that a case already answers for: its exit status says that a case failed, or the
/// kernel complained within a case.
fn results_explain(reported: &BTreeMap<String, ktap::Line>, run: &RunResult) -> bool {
    let failed = reported.values().any(|line| !line.ok);
    let within = split_log(&run.console).values().any(|log| !klog::scan(log).is_empty());
    failed && matches!(run.end, qemu::End::Exited(_)) && run.findings.is_empty() || within
}

/// `warns`: what the one warning says that the case is about.
fn judge(line: &ktap::Line, log: &str, warns: Option<&str>) -> Outcome {
    let findings = klog::scan(log);
    let (expected, others): (Vec<_>, Vec<_>) = findings.iter().partition(|finding| {
        finding.kind == klog::Kind::Warning
            && warns.is_some_and(|words| finding.context.iter().any(|line| line.contains(words)))
    });
    if let Some(finding) = others.first() {
        return Outcome::Failed(format!("the kernel complained: {finding}"));
    }
    if let Some(words) = warns
        && expected.len() != 1
        && line.skip.is_none()
    {
        let count = expected.len();
        return Outcome::Failed(format!(
            "expected one warning of the kernel's with '{words}', found {count}"
        ));
    }
    match (&line.skip, line.ok) {
        (Some(reason), _) if reason.is_empty() => Outcome::Failed("skipped without a reason".to_owned()),
        (Some(reason), _) => Outcome::Skipped(reason.clone()),
        (None, true) => Outcome::Passed,
        (None, false) => Outcome::Failed(line.diagnostics.trim_end().to_owned()),
    }
}

fn ending(run: &RunResult) -> String {
    match run.verdict() {
        Err(failure) => failure.to_string(),
        Ok(()) => "run.sh ended before it".to_owned(),
    }
}

/// Cuts the kernel log into cases, at the markers that `run.sh` writes.
fn split_log(console: &str) -> BTreeMap<String, String> {
    const MARK: &str = "klp-conformance: ";
    let mut logs: BTreeMap<String, String> = BTreeMap::new();
    let mut current: Option<String> = None;
    for line in console.lines() {
        if let Some((_, mark)) = line.split_once(MARK) {
            current = mark.trim().strip_prefix("begin ").map(|id| id.trim().to_owned());
            continue;
        }
        if let Some(id) = &current {
            let log = logs.entry(id.clone()).or_default();
            log.push_str(line);
            log.push('\n');
        }
    }
    logs
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_log_is_cut_at_the_markers() {
        let logs = split_log(
            "boot\n[1] klp-conformance: begin G1.1\na\nb\n[2] klp-conformance: end G1.1\nc\n[3] klp-conformance: begin G1.2\nd\n",
        );
        assert_eq!(logs["G1.1"], "a\nb\n");
        assert_eq!(logs["G1.2"], "d\n");
        assert_eq!(logs.len(), 2);
    }

    #[test]
    fn a_case_that_says_ok_has_failed_if_the_kernel_warned() {
        let line = ktap::parse("ok 1 G1.1 x\n").remove("G1.1").unwrap();
        assert!(matches!(judge(&line, "all is well\n", None), Outcome::Passed));
        let log = "[    1.000000] WARNING: CPU: 0 PID: 1 at kernel/foo.c:1 foo+0x1/0x2\n";
        assert!(matches!(judge(&line, log, None), Outcome::Failed(_)));
    }

    #[test]
    fn a_warning_that_a_case_is_about_has_to_be_there_once_and_alone() {
        let line = ktap::parse("ok 1 G1.1 x\n").remove("G1.1").unwrap();
        let warning = |name: &str| {
            format!(
                "[    1.000000] ------------[ cut here ]------------\n\
                 [    1.000000] WARNING: CPU: 0 PID: 1 at kernel/a.c:1 {name}+0x1/0x2\n\
                 [    1.000000] ---[ end trace 0000000000000000 ]---\n"
            )
        };
        let passes = |log: &str| matches!(judge(&line, log, Some("foo")), Outcome::Passed);
        assert!(passes(&warning("foo")));
        assert!(!passes("all is well\n"));
        assert!(!passes(&warning("bar")));
        assert!(!passes(&(warning("foo") + &warning("foo"))));
        assert!(!passes(&(warning("foo") + &warning("bar"))));
        assert!(!passes(&(warning("foo") + "[    1.000000] BUG: foo\n")));
    }

    #[test]
    fn a_skip_needs_a_reason() {
        let line = ktap::parse("ok 1 G1.1 x # SKIP\n").remove("G1.1").unwrap();
        assert!(matches!(judge(&line, "", None), Outcome::Failed(_)));
    }
}
