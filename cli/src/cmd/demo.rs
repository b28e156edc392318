// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp demo`: a stock kernel, patched and unpatched before one's eyes.

use std::fmt::Write as _;
use std::io;
use std::path::Path;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};
use klp_host::doctor::{self, Task};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::kernel::Known;
use klp_host::qemu::{self, RunResult, RunSpec, Sink};
use klp_host::{Arch, Cache, Progress, run};

use super::build::default_out;
use crate::target::arch;

/// Build, boot, patch a running kernel, show before and after
#[derive(clap::Args)]
#[command(after_help = "Example: cargo klp demo --arch s390 --kernel debian-6.12")]
pub(crate) struct Args {
    /// The architecture
    #[arg(long, default_value = "x86_64", value_parser = arch)]
    arch: &'static Arch,
    /// A known kernel (`klp kernel list`), the architecture's oldest if none is named; fetched on first use
    #[arg(long)]
    kernel: Option<String>,
}

/// What the patch makes /proc/cmdline say.
const PATCHED: &str = "this has been live patched";
/// Loading the patch, or anything else the guest does, takes seconds even on a slow machine.
const TIMEOUT: Duration = Duration::from_secs(300);

/// What the guest does. Each step prints its name and what /proc/cmdline says then.
///
/// A transition is over when the patch's `transition` says 0, or when the patch, disabled, is gone.
const SCRIPT: &str = "\
state=/sys/kernel/klp/livepatch_cmdline
settle() {
    while [ -e $state/transition ] && [ \"$(cat $state/transition)\" != 0 ]; do sleep 0.1; done
}
step() { echo \"$1: $(cat /proc/cmdline)\"; }
step before
insmod MODULES/livepatch-cmdline.ko || exit
settle
step patched
echo 0 >$state/enabled || exit
settle
step reverted
";

/// Runs the command.
///
/// # Errors
///
/// Something could not be had or built, or the guest did not show what it should.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let all: Vec<&Known> = match &args.kernel {
        Some(id) => vec![Known::by_id(id)?],
        None => Known::all(),
    };
    let (arch, known) = Known::pairs(&[args.arch], &all)?[0];
    let kernel = known.fetch(&Cache::open()?, arch, &progress)?;
    doctor::ensure(kernel.arch, Task::Run, &progress)?;
    let patch = Path::new(env!("CARGO_MANIFEST_DIR")).join("../examples/livepatch-cmdline");
    let built = run::modules(&kernel, &[patch], true, &default_out(&kernel), &progress)?;
    let [klp, patch] = built.as_slice() else { bail!("expected klp.ko and the patch, found {built:?}") };

    let spec = RunSpec {
        modules: vec![klp.clone()],
        added: vec![Added {
            source: patch.clone(),
            guest_path: format!("{MODULE_DIR}/livepatch-cmdline.ko"),
        }],
        timeout: Some(TIMEOUT),
        ..RunSpec::new(&kernel, Job::Exec(SCRIPT.replace("MODULES", MODULE_DIR)))
    };
    let mut steps = Steps::new();
    let result = progress.phase(format!("boot Linux {} on {}", kernel.release, kernel.arch), |_| {
        qemu::run(&spec, &mut steps)
    })?;

    for step in &steps.seen {
        println!("{:>8}  $ cat /proc/cmdline\n          {}", step.name, step.cmdline);
    }
    eprint!("\n{}", steps.times(&result));
    let verdict = result.verdict().map_err(anyhow::Error::from).and_then(|()| steps.check());
    if let Err(error) = verdict {
        eprintln!("\nthe kernel log ends with:\n{}", tail(&result.console));
        return Err(error.context(format!("FAILED: {} was not live patched as it should be", kernel.release)));
    }
    println!("\nOK: a stock Linux {} on {} was live patched and reverted.", kernel.release, kernel.arch);
    Ok(())
}

/// The last lines of the kernel log.
fn tail(log: &str) -> String {
    let lines: Vec<&str> = log.lines().collect();
    lines[lines.len().saturating_sub(25)..].join("\n")
}

/// What the guest showed, and when.
struct Steps {
    start: Instant,
    pending: Vec<u8>,
    seen: Vec<Step>,
}

struct Step {
    name: String,
    cmdline: String,
    /// Since the start of QEMU.
    at: Duration,
}

impl Sink for Steps {
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.pending.extend_from_slice(bytes);
        while let Some(end) = self.pending.iter().position(|&byte| byte == b'\n') {
            let line: Vec<u8> = self.pending.drain(..=end).collect();
            let line = String::from_utf8_lossy(&line).trim_end().to_owned();
            if let Some((name, cmdline)) = line.split_once(": ") {
                let at = self.start.elapsed();
                self.seen.push(Step { name: name.to_owned(), cmdline: cmdline.to_owned(), at });
            }
        }
        Ok(())
    }
}

impl Steps {
    fn new() -> Self {
        Steps { start: Instant::now(), pending: Vec::new(), seen: Vec::new() }
    }

    /// The time from each step to the next, and of the whole run, a line each.
    fn times(&self, result: &RunResult) -> String {
        let mut text = String::new();
        let mut last = Duration::ZERO;
        let steps = self.seen.iter().map(|step| (step.name.as_str(), step.at));
        let phase = |name| match name {
            "before" => "boot, load klp.ko",
            "patched" => "load the patch, transition",
            "reverted" => "disable the patch, transition",
            other => other,
        };
        for (name, at) in steps.chain([("power off", result.total)]) {
            let took = at.saturating_sub(last).as_secs_f64();
            let _ = writeln!(text, "{} … {took:.2} s", phase(name));
            last = at;
        }
        text
    }

    /// Whether /proc/cmdline was the kernel's own, then the patch's, then the kernel's own again.
    fn check(&self) -> Result<()> {
        let said = |name: &str| {
            let step = self.seen.iter().find(|step| step.name == name);
            step.map(|step| step.cmdline.as_str())
                .with_context(|| format!("the guest did not get to '{name}'"))
        };
        let (before, patched, reverted) = (said("before")?, said("patched")?, said("reverted")?);
        if !before.contains("console=") {
            bail!("/proc/cmdline was not the kernel's own before the patch: it said '{before}'");
        }
        if patched != PATCHED {
            bail!("/proc/cmdline should say '{PATCHED}' after the patch: it said '{patched}'");
        }
        if reverted != before {
            bail!("/proc/cmdline should say what it did before, once reverted: it said '{reverted}'");
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn steps(output: &str) -> Steps {
        let mut steps = Steps::new();
        // In pieces, as it may come.
        for piece in output.as_bytes().chunks(7) {
            steps.stdout(piece).expect("taken");
        }
        steps
    }

    #[test]
    fn all_three_states_must_be_right() {
        let good = "before: console=x a: b\npatched: this has been live patched\nreverted: console=x a: b\n";
        assert_eq!(steps(good).check().map_err(|error| error.to_string()), Ok(()));
        for (from, to) in [
            ("before: console=x", "before: "),
            ("patched: this has been live patched", "patched: console=x a: b"),
            ("reverted: console=x a: b", "reverted: this has been live patched"),
            ("reverted: console=x a: b\n", ""),
        ] {
            assert!(steps(&good.replace(from, to)).check().is_err(), "{from}");
        }
    }
}
