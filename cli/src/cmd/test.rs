// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp test`: all that CI runs.

use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use klp_conformance::arch::Entry;
use klp_conformance::report::record::Record;
use klp_conformance::report::{CaseResult, Counts, Outcome, Report};
use klp_core::stated::Stage;
use klp_host::arch::{recorded, repository, sdk};
use klp_host::{Arch, Progress};

use super::conform::{self, Suite};
use super::matrix;

/// The groups of guest cases that run on every kernel.
const GROUPS: [&str; 11] = ["G0", "G1", "G2", "G3", "G4", "G6", "G7", "G8", "G9", "G10", "G13"];
/// Those that take long: stress, transitions, shadow variables and states, entries. With the kernel's own selftests they would take
/// longer on every kernel than all else together, so they run on the newest of each architecture. `klp conform` runs them everywhere.
const LONG_GROUPS: [&str; 4] = ["G5", "G11", "G12", "G14"];

/// Cases that do something many times do it less often here, or they would take more than half of the time. These are variables of
/// theirs: the kernel passes what it does not know on to the guest's init.
const LESS_OFTEN: &str = "KLP_STRESS_CYCLES=20 KLP_FLIPS=10000 KLP_CYCLES=5";

/// Run all that CI runs: formatting, lints, docs, unit and host tests, model checking, guest suites
#[derive(clap::Args, Debug)]
#[command(after_help = "Example: cargo klp test")]
pub(crate) struct Args {
    /// Keep the results of the conformance cases in conformance/results.txt (results.txt in a port's repository), and write the
    /// support matrix anew, in place of comparing with what is recorded
    #[arg(long)]
    record: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Something failed, or nothing passed.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let mut all = Tally::default();
    // In a repository of a port's own cargo takes the default members: klp.ko may not compile yet.
    let packages: &[&str] = if repository() == sdk() { &["--workspace"] } else { &[] };
    // First what downloads and builds nothing, so that a slip shows at once.
    all.add(lint(&progress, "formatting", &["fmt", "--all", "--check"], "fmt")?);
    all.add(lint(
        &progress,
        "clippy",
        &[&["clippy"], packages, &["--all-targets", "--quiet", "--", "--deny", "warnings"]].concat(),
        "clippy",
    )?);
    all.add(lint(&progress, "rustdoc", &[&["doc"], packages, &["--no-deps", "--quiet"]].concat(), "")?);
    let recorded = Record::read(&Record::path())?;
    if !args.record {
        all.add(up_to_date(&recorded)?);
    }
    all.add(tests(
        &progress,
        "unit and host tests",
        cargo().arg("test").args(packages).arg("--no-fail-fast"),
    )?);
    if repository() == sdk() {
        all.add(tests(&progress, "model checking", &mut model_checking())?);
    }
    let keep = if args.record { Keep::Record } else { Keep::Compare(&recorded) };
    all.add(host_results(keep, &progress)?);
    let mut runs = on_kernels()?;
    runs.iter_mut().for_each(|args| args.append = LESS_OFTEN.to_owned());
    all.add(tally(conform::on_kernels(&runs, &progress)?, keep)?);
    eprint!("\n{}", progress.summary());
    // Once more, at the end: the report of a long run is often cut at its beginning.
    for failure in &all.failures {
        println!("failed: {failure}");
    }
    println!("{}", all.counts);
    if !all.counts.is_success() {
        bail!("the tests did not pass");
    }
    Ok(())
}

/// What runs on kernels, what takes longest first: whoever runs the last one is alone with it.
fn on_kernels() -> Result<Vec<conform::Args>> {
    let done = || recorded().iter().copied().filter(|arch| arch.reached == Some(Stage::PatchSites));
    let mut runs = Vec::new();
    // A repository of a port's own has none until it is done.
    if done().next().is_some() {
        let mut newest = conform::Args::everything(Suite::Guest).of(done()).newest();
        newest.case = GROUPS.iter().chain(&LONG_GROUPS).map(|group| (*group).to_owned()).collect();
        let mut older = conform::Args::everything(Suite::Guest).of(done()).older();
        older.case = GROUPS.map(str::to_owned).to_vec();
        let selftests = conform::Args::everything(Suite::Kselftest).of(done()).newest();
        runs.extend([newest, older, selftests]);
    }
    for &arch in recorded().iter().filter(|arch| !arch.kernels.is_empty()) {
        if let Some(reached) = arch.reached.filter(|reached| *reached < Stage::PatchSites) {
            runs.push(conform::Args::of_port(arch, reached)?);
        }
    }
    Ok(runs)
}

/// What was run, and the names of what failed.
#[derive(Debug, Default)]
struct Tally {
    counts: Counts,
    failures: Vec<String>,
}

impl Tally {
    fn add(&mut self, other: Tally) {
        self.counts.add(other.counts);
        self.failures.extend(other.failures);
    }

    fn of(counts: Counts) -> Tally {
        Tally { counts, failures: Vec::new() }
    }

    fn failed(name: &str) -> Tally {
        Tally { counts: Counts { failed: 1, ..Counts::default() }, failures: vec![name.to_owned()] }
    }
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(repository()).stdin(Stdio::null());
    command
}

/// Runs a check that says nothing when all is well. `component`: the rustup component it needs, if any.
fn lint(progress: &Progress, name: &str, args: &[&str], component: &str) -> Result<Tally> {
    if !component.is_empty() {
        let probe =
            cargo().args([component, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            println!("skipped: {name}: cargo {component} is not installed; rustup component add {component}");
            return Ok(Tally::of(Counts { skipped: 1, ..Counts::default() }));
        }
    }
    let output = progress
        .phase(name, |_| cargo().args(args).env("RUSTDOCFLAGS", "--deny warnings").output())
        .context("cannot run cargo")?;
    if output.status.success() {
        return Ok(Tally::of(Counts { passed: 1, ..Counts::default() }));
    }
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("failed: {name}");
    Ok(Tally::failed(name))
}

/// The engine with the model checker's atomics. In a directory of its own: a flag for all crates would have them all built
/// anew, here and by whoever builds next.
fn model_checking() -> Command {
    let mut command = cargo();
    let flags = std::env::var("RUSTFLAGS").unwrap_or_default();
    command
        .args(["test", "--package", "klp-core", "--test", "loom", "--release", "--target-dir", "target/loom"])
        .env("RUSTFLAGS", format!("{flags} --cfg loom"));
    command
}

/// Runs `cargo test`.
fn tests(progress: &Progress, name: &str, command: &mut Command) -> Result<Tally> {
    let output = progress
        .phase(name, |_| command.stderr(Stdio::inherit()).output())
        .context("cannot run cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut tally = Tally { counts: libtest_counts(&text), failures: libtest_failures(&text) };
    if !output.status.success() {
        println!("{text}");
        // A test that does not compile or a process that died counts nothing by itself.
        if tally.counts.failed == 0 {
            tally.add(Tally::failed(name));
        }
    }
    Ok(tally)
}

/// The names of the tests that failed (`test engine::fails ... FAILED`).
fn libtest_failures(text: &str) -> Vec<String> {
    let lines = text.lines().filter_map(|line| line.strip_prefix("test ")?.strip_suffix(" ... FAILED"));
    lines.map(str::to_owned).collect()
}

/// Adds up the closing lines of all test binaries (`test result: ok. 3 passed; 0 failed; 1 ignored; …`).
fn libtest_counts(text: &str) -> Counts {
    let mut counts = Counts::default();
    for line in text.lines().filter_map(|line| line.strip_prefix("test result: ")) {
        for part in line.split([';', '.']) {
            let Some((number, what)) = part.trim().split_once(' ') else { continue };
            let Ok(number) = number.parse::<usize>() else { continue };
            match what {
                "passed" => counts.passed += number,
                "failed" => counts.failed += number,
                "ignored" => counts.skipped += number,
                _ => {}
            }
        }
    }
    counts
}

/// Whether the documents show the matrix that is recorded.
fn up_to_date(recorded: &Record) -> Result<Tally> {
    let stale = matrix::stale(recorded)?;
    if stale.is_empty() {
        return Ok(Tally::of(Counts { passed: 1, ..Counts::default() }));
    }
    let failures: Vec<String> = stale.iter().map(|line| format!("support matrix: {line}")).collect();
    for failure in &failures {
        println!("failed: {failure}");
    }
    Ok(Tally { counts: Counts { failed: failures.len(), ..Counts::default() }, failures })
}

/// What is done with the results of conformance cases.
#[derive(Clone, Copy)]
enum Keep<'a> {
    /// They are recorded.
    Record,
    /// Each has to be what is recorded.
    Compare(&'a Record),
}

impl Keep<'_> {
    /// The differences from what is recorded.
    fn apply(self, results: &[CaseResult]) -> Result<Vec<String>> {
        match self {
            Keep::Record => matrix::record(results).map(|()| Vec::new()),
            Keep::Compare(recorded) => {
                // A failure is told as such.
                let ran: Vec<CaseResult> = results
                    .iter()
                    .filter(|result| !matches!(result.outcome, Outcome::Failed(_)))
                    .cloned()
                    .collect();
                let what_next = "if it should be so: cargo klp conform … --record";
                let differences = recorded.differences(&ran).into_iter();
                Ok(differences.map(|difference| format!("{difference}; {what_next}")).collect())
            }
        }
    }
}

/// Compares what the host suites came to with what is recorded. They have run by now, as tests of the architectures' crates: each case
/// passed which is not skipped, or has been counted.
fn host_results(keep: Keep<'_>, progress: &Progress) -> Result<Tally> {
    let Keep::Compare(_) = keep else {
        return tally(conform::report(&conform::Args::everything(Suite::Host), progress)?.results, keep);
    };
    let of = |entry: &'static Entry| {
        entry.host_cases().into_iter().map(|case| case.unless_it_fails(entry.description))
    };
    let entry = |arch: &&Arch| {
        Entry::by_name(arch.name).with_context(|| format!("the host suite does not describe {arch}"))
    };
    let entries = recorded().iter().map(entry).collect::<Result<Vec<_>>>()?;
    let results: Vec<CaseResult> = entries.into_iter().flat_map(of).collect();
    let failures = keep.apply(&results)?;
    for failure in &failures {
        println!("failed: {failure}");
    }
    Ok(Tally { counts: Counts { failed: failures.len(), ..Counts::default() }, failures })
}

/// Says what failed and what was skipped, and keeps or compares what cases came to.
fn tally(results: Vec<CaseResult>, keep: Keep<'_>) -> Result<Tally> {
    let report = Report { results };
    let mut failures = keep.apply(&report.results)?;
    let mut counts = report.counts();
    counts.failed += failures.len();
    for failure in &failures {
        println!("failed: {failure}");
    }
    for result in &report.results {
        match &result.outcome {
            Outcome::Passed => {}
            Outcome::Failed(reason) => {
                let failure = format!("{} {} {}: {reason}", result.place(), result.id, result.name);
                println!("failed: {failure}\n{}", result.log);
                failures.push(failure);
            }
            Outcome::Skipped(reason) => {
                println!("skipped: {} {} {}: {reason}", result.place(), result.id, result.name);
            }
        }
    }
    Ok(Tally { counts, failures })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_guest_case_is_in_a_group_that_runs() {
        let dir = concat!(env!("CARGO_MANIFEST_DIR"), "/../conformance/guest/cases");
        for entry in std::fs::read_dir(dir).expect("cases") {
            let text = std::fs::read_to_string(entry.expect("a case").path()).expect("text");
            let id = text.lines().find_map(|line| line.strip_prefix("# id: ")).expect("an id");
            let group = id.split('.').next().expect("a group");
            assert!(GROUPS.contains(&group) || LONG_GROUPS.contains(&group), "{id} runs on no kernel");
        }
    }

    #[test]
    fn counts_of_all_test_binaries_are_added_up() {
        let text = "running 2 tests\ntest a::passes ... ok\ntest a::fails ... FAILED\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(libtest_counts(text), Counts { passed: 5, failed: 4, skipped: 1 });
        assert_eq!(libtest_failures(text), ["a::fails"]);
    }
}
