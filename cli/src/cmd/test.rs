// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp test`: all that CI runs.

use std::path::Path;
use std::process::{Command, Stdio};

use anyhow::{Context, Result, bail};
use klp_conformance::report::{Counts, Outcome};
use klp_host::Progress;

use super::conform::{self, Suite};

/// The groups of guest cases that take part. Not yet G11, transitions, nor the kselftest suite: neither has been seen to pass
/// on every kernel, and together they take longer than all else. `klp conform` runs them.
const GROUPS: [&str; 11] = ["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G10", "G12"];

/// Run all that CI runs: formatting, lints, docs, unit and host tests, model checking, guest suite on every kernel
#[derive(clap::Args, Debug)]
#[command(after_help = "Example: cargo klp test")]
pub(crate) struct Args {}

/// Runs the command.
///
/// # Errors
///
/// Something failed, or nothing passed.
pub(crate) fn run(_args: Args) -> Result<()> {
    let progress = Progress::new();
    let mut counts = Counts::default();
    // First what downloads and builds nothing, so that a slip shows at once.
    counts.add(lint(&progress, "formatting", &["fmt", "--all", "--check"], "fmt")?);
    counts.add(lint(
        &progress,
        "clippy",
        &["clippy", "--workspace", "--all-targets", "--quiet", "--", "--deny", "warnings"],
        "clippy",
    )?);
    counts.add(lint(&progress, "rustdoc", &["doc", "--workspace", "--no-deps", "--quiet"], "")?);
    counts.add(tests(
        &progress,
        "unit and host tests",
        cargo().args(["test", "--workspace", "--no-fail-fast"]),
    )?);
    counts.add(tests(&progress, "model checking", &mut model_checking())?);
    counts.add(guest_suite(&progress)?);
    eprint!("\n{}", progress.summary());
    println!("{counts}");
    if !counts.is_success() {
        bail!("the tests did not pass");
    }
    Ok(())
}

fn cargo() -> Command {
    let mut command = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    command.current_dir(Path::new(env!("CARGO_MANIFEST_DIR")).join("..")).stdin(Stdio::null());
    command
}

/// Runs a check that says nothing when all is well. `component`: the rustup component it needs, if any.
fn lint(progress: &Progress, name: &str, args: &[&str], component: &str) -> Result<Counts> {
    if !component.is_empty() {
        let probe =
            cargo().args([component, "--version"]).stdout(Stdio::null()).stderr(Stdio::null()).status();
        if !probe.is_ok_and(|status| status.success()) {
            println!("skipped: {name}: cargo {component} is not installed; rustup component add {component}");
            return Ok(Counts { skipped: 1, ..Counts::default() });
        }
    }
    let output = progress
        .phase(name, |_| cargo().args(args).env("RUSTDOCFLAGS", "--deny warnings").output())
        .context("cannot run cargo")?;
    if output.status.success() {
        return Ok(Counts { passed: 1, ..Counts::default() });
    }
    println!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    println!("failed: {name}");
    Ok(Counts { failed: 1, ..Counts::default() })
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
fn tests(progress: &Progress, name: &str, command: &mut Command) -> Result<Counts> {
    let output = progress
        .phase(name, |_| command.stderr(Stdio::inherit()).output())
        .context("cannot run cargo test")?;
    let text = String::from_utf8_lossy(&output.stdout);
    let mut counts = libtest_counts(&text);
    if !output.status.success() {
        println!("{text}");
        // A test that does not compile or a process that died counts nothing by itself.
        counts.failed = counts.failed.max(1);
    }
    Ok(counts)
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

fn guest_suite(progress: &Progress) -> Result<Counts> {
    let mut args = conform::Args::everything(Suite::Guest);
    args.case = GROUPS.iter().map(|group| (*group).to_owned()).collect();
    let report = conform::report(&args, progress)?;
    for result in &report.results {
        match &result.outcome {
            Outcome::Passed => {}
            Outcome::Failed(reason) => {
                println!(
                    "failed: {} {} {}: {reason}\n{}",
                    result.place(),
                    result.id,
                    result.name,
                    result.log
                );
            }
            Outcome::Skipped(reason) => {
                println!("skipped: {} {} {}: {reason}", result.place(), result.id, result.name);
            }
        }
    }
    Ok(report.counts())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_of_all_test_binaries_are_added_up() {
        let text = "running 2 tests\ntest result: ok. 2 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.1s\n\
            test result: FAILED. 3 passed; 4 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.1s\n";
        assert_eq!(libtest_counts(text), Counts { passed: 5, failed: 4, skipped: 1 });
    }
}
