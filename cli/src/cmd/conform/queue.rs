// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Suites on real kernels, several kernels at once.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, Result};
use klp_conformance::report::{CaseResult, Outcome};
use klp_conformance::{guest, kselftest};
use klp_host::kernel::Known;
use klp_host::{Arch, Cache, Failure, Kernel, Progress};

use super::{Args, Suite};

/// A suite that runs on kernels.
#[derive(Debug)]
struct OnKernels {
    name: &'static str,
    suite: Suite,
    run: fn(&Kernel, &guest::Options<'_>, &Progress) -> Result<Vec<CaseResult>>,
}

const SUITES: [OnKernels; 2] = [
    OnKernels { name: "guest", suite: Suite::Guest, run: guest::run },
    OnKernels { name: "kselftest", suite: Suite::Kselftest, run: kselftest::run },
];

/// One suite on one kernel.
struct Job<'a> {
    suite: &'static OnKernels,
    args: &'a Args,
    arch: &'static Arch,
    known: &'static Known,
}

/// Runs what each of `runs` asks for on kernels, at most `at_once` of them at a time.
///
/// # Errors
///
/// One asks for no kernel that there is, or this machine lacks something. What fails on a kernel is a result.
pub(super) fn run(runs: &[Args], at_once: usize, progress: &Progress) -> Result<Vec<CaseResult>> {
    let mut jobs = Vec::new();
    let mut all = Vec::new();
    for args in runs {
        for suite in SUITES.iter().filter(|suite| args.wants(suite.suite)) {
            match (args.pairs(), args.without_kernels()) {
                (Ok(pairs), _) => {
                    jobs.extend(pairs.into_iter().map(|(arch, known)| Job { suite, args, arch, known }));
                }
                // With the host suite this is no mistake of the user's.
                (Err(failure), Some(arch)) if args.suite == Suite::All => {
                    all.push(no_kernel(suite.name, arch, &failure));
                }
                (Err(failure), _) => return Err(failure.into()),
            }
        }
    }
    let cache = Cache::open()?;
    let next = AtomicUsize::new(0);
    let done: Mutex<Vec<(usize, Result<Vec<CaseResult>>)>> = Mutex::default();
    std::thread::scope(|scope| {
        for _ in 0..at_once.min(jobs.len()) {
            scope.spawn(|| {
                loop {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    let Some(job) = jobs.get(index) else { break };
                    let results = job.run(&cache, progress);
                    // Who waits for the others learns of it now.
                    let is_failure = |result: &&CaseResult| matches!(result.outcome, Outcome::Failed(_));
                    for result in results.iter().flatten().filter(is_failure) {
                        progress.note(&format!("failed: {} {} {}", result.place(), result.id, result.name));
                    }
                    if let Err(error) = &results {
                        progress.note(&format!("error: {error:#}"));
                        if is_this_machines(error) {
                            next.store(jobs.len(), Ordering::Relaxed);
                        }
                    }
                    done.lock().unwrap_or_else(PoisonError::into_inner).push((index, results));
                }
            });
        }
    });
    let mut done = done.into_inner().unwrap_or_else(PoisonError::into_inner);
    done.sort_by_key(|(index, _)| *index);
    for (index, results) in done {
        match results {
            Ok(results) => all.extend(results),
            Err(error) if is_this_machines(&error) => return Err(error),
            Err(error) => all.push(jobs[index].not_run(&error)),
        }
    }
    Ok(all)
}

/// Whether it is said of something that this machine lacks, which is no fault of the kernel's.
fn is_this_machines(error: &anyhow::Error) -> bool {
    klp_host::exit_status(error) == 3
}

impl Job<'_> {
    fn run(&self, cache: &Cache, progress: &Progress) -> Result<Vec<CaseResult>> {
        let fetch = |arch: &'static Arch, id: &str| Known::by_id(id)?.fetch(cache, arch, progress);
        let options = guest::Options {
            filters: &self.args.case,
            fetch: &fetch,
            timeout: Duration::from_secs(self.args.timeout),
            append: &self.args.append,
            vmlinux: self.args.vmlinux.as_deref(),
        };
        fetch(self.arch, self.known.id)
            .and_then(|kernel| (self.suite.run)(&kernel, &options, progress))
            .with_context(|| format!("the {} suite on {} {}", self.suite.name, self.arch, self.known.id))
    }

    /// The kernel on which the suite could not be run, as a failed case.
    fn not_run(&self, error: &anyhow::Error) -> CaseResult {
        CaseResult {
            id: format!("{}0", letter(self.suite.name)),
            name: "the modules build and the guest runs".to_owned(),
            kernel: Some(self.known.id.to_owned()),
            ..without_kernel(self.arch, Outcome::Failed(format!("{error:#}")))
        }
    }
}

/// What is said of a suite that needs a kernel, and there is none of the architecture.
fn no_kernel(suite: &str, arch: &Arch, why: &Failure) -> CaseResult {
    CaseResult {
        id: letter(suite),
        name: format!("the {suite} suite"),
        ..without_kernel(arch, Outcome::Skipped(why.to_string()))
    }
}

/// What the ids of a suite's cases begin with.
fn letter(suite: &str) -> String {
    suite[..1].to_uppercase()
}

fn without_kernel(arch: &Arch, outcome: Outcome) -> CaseResult {
    CaseResult {
        id: String::new(),
        name: String::new(),
        source: "cargo klp conform".to_owned(),
        arch: arch.name.to_owned(),
        kernel: None,
        outcome,
        duration: Duration::ZERO,
        log: String::new(),
    }
}
