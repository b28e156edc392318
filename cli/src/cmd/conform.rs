// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp conform`: the conformance suites.

mod queue;

use std::fs;
use std::path::PathBuf;

use anyhow::{Context, Result, bail};
use clap::ValueEnum;
use klp_conformance::report::{CaseResult, Outcome, Report};
use klp_conformance::stage;
use klp_core::stated::Stage;
use klp_host::arch::recorded;
use klp_host::kernel::Known;
use klp_host::{Arch, Failure, Progress};

use super::matrix;
use crate::target::arch;

/// Run the conformance suites: on the host, and on real kernels in QEMU
#[derive(clap::Args, Debug)]
#[command(after_help = "\
Examples:
  cargo klp conform --arch arm64 --kernel debian-6.12 --suite guest --html matrix.html
  cargo klp conform --arch arm64 --kernel debian-6.12 --suite kselftest --case K1.2
  cargo klp conform --arch riscv64 --stage redirect")]
pub(crate) struct Args {
    /// An architecture, or `all`
    #[arg(long, default_value = "all", value_parser = arches)]
    arch: Arches,
    /// A known kernel (`klp kernel list`), or `all`
    #[arg(long, default_value = "all", value_parser = kernels)]
    kernel: Kernels,
    /// Which suite
    #[arg(long, default_value = "all")]
    suite: Suite,
    /// Only these cases: ids or groups, such as G5.1 or G5
    #[arg(long, value_name = "ID")]
    pub(crate) case: Vec<String>,
    /// Only the cases of one stage of a port, and in the end what comes next
    #[arg(long, value_name = "S", value_parser = stage, conflicts_with = "case")]
    stage: Option<Stage>,
    /// Keep the results in conformance/results.txt (results.txt in a port's own repository), and write the support matrix anew
    #[arg(long, conflicts_with_all = ["append", "vmlinux"])]
    record: bool,
    /// Write a JUnit file
    #[arg(long, value_name = "FILE")]
    junit: Option<PathBuf>,
    /// Write the matrix of architectures, kernels and cases as one HTML file
    #[arg(long, value_name = "FILE")]
    html: Option<PathBuf>,
    /// How many kernels at once
    #[arg(short, value_name = "N", default_value_t = 2)]
    jobs: usize,
    /// Seconds that one guest may take
    #[arg(long, value_name = "S", default_value_t = 2400)]
    timeout: u64,
    /// More kernel arguments for the guests; some cases look for theirs, such as klp_cycles=1000
    #[arg(long, value_name = "KERNEL_ARGS", default_value = "", allow_hyphen_values = true)]
    pub(crate) append: String,
    /// The vmlinux with its symbols of the one kernel that is named, for case G13.5
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
}

/// A suite.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(crate) enum Suite {
    /// Facts and encodings, against independent disassemblers
    Host,
    /// Real kernels in QEMU
    Guest,
    /// The kernel's own livepatch selftests and the kpatch command, on real kernels in QEMU
    Kselftest,
    /// All of them
    All,
}

#[derive(Clone, Debug)]
struct Arches(Vec<&'static Arch>);

/// Which of an architecture's kernels.
#[derive(Clone, Debug)]
enum Kernels {
    All,
    Newest,
    Older,
    One(&'static Known),
}

fn arches(name: &str) -> Result<Arches, String> {
    if name == "all" {
        return Ok(Arches(recorded().to_vec()));
    }
    Ok(Arches(vec![arch(name)?]))
}

fn kernels(id: &str) -> Result<Kernels, String> {
    if id == "all" {
        return Ok(Kernels::All);
    }
    Ok(Kernels::One(Known::by_id(id).map_err(|error| error.to_string())?))
}

fn stage(name: &str) -> Result<Stage, String> {
    let names = || Stage::ALL.map(Stage::name).join(", ");
    Stage::by_name(name).ok_or_else(|| format!("there is no stage '{name}'; the stages are {}", names()))
}

impl Args {
    /// With a stage, its cases by their numbers.
    fn with_cases_of_the_stage(mut self) -> Result<Args> {
        let Some(stage) = self.stage else { return Ok(self) };
        for arch in &self.arch.0 {
            let ids = stage::all(arch)?;
            for id in ids.host.into_iter().chain(ids.kernel) {
                if stage::of(&id) == Some(stage) && !self.case.contains(&id) {
                    self.case.push(id);
                }
            }
        }
        Ok(self)
    }

    /// Whether a suite is asked for: by its name, or among all by the letter that its cases begin with.
    fn wants(&self, suite: Suite) -> bool {
        let letters = match suite {
            Suite::Host => ['H', 'H'],
            // B1: what the modules' code uses.
            Suite::Guest => ['G', 'B'],
            Suite::Kselftest => ['K', 'K'],
            Suite::All => return false,
        };
        let named = || self.case.is_empty() || self.case.iter().any(|case| case.starts_with(letters));
        self.suite == suite || self.suite == Suite::All && named()
    }

    /// Everything there is.
    pub(crate) fn everything(suite: Suite) -> Args {
        Args {
            arch: Arches(recorded().to_vec()),
            kernel: Kernels::All,
            suite,
            case: Vec::new(),
            stage: None,
            record: false,
            junit: None,
            html: None,
            jobs: 2,
            timeout: 2400,
            append: String::new(),
            vmlinux: None,
        }
    }

    /// On the kernels of an architecture whose port is not done, the cases of the stages that it has reached.
    ///
    /// # Errors
    ///
    /// The cases cannot be listed.
    pub(crate) fn of_port(arch: &'static Arch, reached: Stage) -> Result<Args> {
        let mut args = Args::everything(Suite::Guest);
        args.arch = Arches(vec![arch]);
        args.case = stage::all(arch)?.kernel;
        args.case.retain(|id| stage::of(id).is_some_and(|stage| stage <= reached));
        Ok(args)
    }

    /// Of these architectures.
    pub(crate) fn of(mut self, arches: impl Iterator<Item = &'static Arch>) -> Args {
        self.arch = Arches(arches.collect());
        self
    }

    /// On the newest kernel of each architecture only.
    pub(crate) fn newest(mut self) -> Args {
        self.kernel = Kernels::Newest;
        self
    }

    /// On the other kernels of each architecture.
    pub(crate) fn older(mut self) -> Args {
        self.kernel = Kernels::Older;
        self
    }

    /// The kernels to run on; at least one.
    fn pairs(&self) -> Result<Vec<(&'static Arch, &'static Known)>, Failure> {
        let all = Known::all();
        let kernels = match self.kernel {
            Kernels::All | Kernels::Newest | Kernels::Older => all.as_slice(),
            Kernels::One(known) => &[known],
        };
        let mut pairs = Known::pairs(&self.arch.0, kernels)?;
        let is_newest = |arch: &Arch, known: &&Known| Known::of(arch).next_back() == Some(*known);
        match self.kernel {
            Kernels::Newest => pairs.retain(|(arch, known)| is_newest(arch, known)),
            Kernels::Older => pairs.retain(|(arch, known)| !is_newest(arch, known)),
            Kernels::All | Kernels::One(_) => {}
        }
        Ok(pairs)
    }

    /// An architecture that no kernel is known of, if nothing else is asked for.
    fn without_kernels(&self) -> Option<&'static Arch> {
        let [arch] = self.arch.0.as_slice() else { return None };
        arch.kernels.is_empty().then_some(*arch)
    }
}

/// Runs the command.
///
/// # Errors
///
/// A case failed, nothing passed, or the suites could not be run.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let args = args.with_cases_of_the_stage()?;
    if let Some(arch) = args.arch.0.iter().find(|arch| args.record && !recorded().contains(arch)) {
        let message = format!(
            "results of {arch} are recorded in the SDK's repository, not in this one; expected no --record"
        );
        return Err(Failure::Usage(message).into());
    }
    let report = report(&args, &progress)?;
    for result in &report.results {
        let (word, reason) = match &result.outcome {
            Outcome::Passed => continue,
            Outcome::Failed(reason) => ("failed", reason),
            Outcome::Skipped(reason) => ("skipped", reason),
        };
        println!("{word}: {} {} {}: {reason}", result.place(), result.id, result.name);
    }
    if let Some(file) = &args.junit {
        fs::write(file, report.junit()?).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if let Some(file) = &args.html {
        fs::write(file, report.html()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    if args.record {
        matrix::record(&report.results)?;
    }
    let counts = report.counts();
    // A stage ends on a kernel.
    let green = counts.is_success()
        && (args.stage.is_none() || args.arch.0.iter().all(|arch| !arch.kernels.is_empty()));
    if let Some(stage) = args.stage {
        println!("{}", next(stage, green, &args.arch.0));
    }
    println!("{counts}");
    if !green {
        bail!("{}", if counts.failed > 0 || counts.passed > 0 { "not conforming" } else { "no case passed" });
    }
    Ok(())
}

/// What a porter does after a stage (`docs/src/porting.md`).
fn next(stage: Stage, green: bool, arches: &[&'static Arch]) -> String {
    let name = if let [arch] = arches { arch.name } else { "all" };
    match (green, stage.next()) {
        (false, _) => {
            format!(
                "stage {stage}: not yet. Its cases have to pass, on the host and on a kernel: docs/src/porting.md, {stage}"
            )
        }
        (true, Some(next)) => {
            format!(
                "stage {stage}: done. Next: {next} (docs/src/porting.md), cargo klp conform --arch {name} --stage {next}"
            )
        }
        (true, None) => {
            format!("stage {stage}: done, and it is the last. Next: cargo klp conform --arch {name} --record")
        }
    }
}

/// Runs the suites.
///
/// # Errors
///
/// They could not be run. What fails in a guest is in the report.
pub(crate) fn report(args: &Args, progress: &Progress) -> Result<Report> {
    if args.vmlinux.is_some() {
        let kernels = args.pairs()?.len();
        if kernels != 1 {
            let what = format!(
                "--vmlinux FILE is of one kernel, and {kernels} are to run: name it with --arch and --kernel"
            );
            return Err(Failure::Usage(what).into());
        }
    }
    let mut report = Report::default();
    if args.wants(Suite::Host) {
        for arch in &args.arch.0 {
            report.results.extend(host_suite(arch, &args.case)?);
        }
    }
    report.results.extend(on_kernels(std::slice::from_ref(args), progress)?);
    Ok(report)
}

/// Runs the suites that each of `runs` asks for on kernels, as many at once as the first one says.
///
/// # Errors
///
/// As [`report`].
pub(crate) fn on_kernels(runs: &[Args], progress: &Progress) -> Result<Vec<CaseResult>> {
    queue::run(runs, runs.first().map_or(1, |args| args.jobs.max(1)), progress)
}

/// Runs the host suite of one architecture.
fn host_suite(arch: &Arch, filters: &[String]) -> Result<Vec<CaseResult>> {
    let entry = klp_conformance::arch::Entry::by_name(arch.name)
        .with_context(|| format!("the host suite does not describe {arch}"))?;
    let mut results = Vec::new();
    if filters.is_empty() {
        entry.run_host(None, |result| results.push(result));
    }
    for filter in filters {
        entry.run_host(Some(filter), |result| results.push(result));
    }
    Ok(results)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stage_ends_with_what_comes_next() {
        let arm64 = [arch("arm64").expect("arch")];
        let says = |stage, green| next(stage, green, &arm64);
        let next_one = says(Stage::Redirect, true);
        assert!(next_one.ends_with("cargo klp conform --arch arm64 --stage branches"), "{next_one}");
        assert!(says(Stage::PatchSites, true).ends_with("--arch arm64 --record"));
        assert!(says(Stage::Redirect, false).contains("not yet"));
    }

    #[test]
    fn every_case_of_a_stage_is_run_and_no_other() {
        let mut args = Args::everything(Suite::All);
        args.stage = Some(Stage::Redirect);
        let args = args.with_cases_of_the_stage().expect("cases");
        assert!(args.case.iter().all(|id| stage::of(id) == Some(Stage::Redirect)));
        assert!(args.case.iter().any(|id| id == "G11.3"), "{:?}", args.case);
        assert!(args.wants(Suite::Host) && args.wants(Suite::Guest) && !args.wants(Suite::Kselftest));
    }
}
