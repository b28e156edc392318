// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host suite: facts and encodings of an architecture crate, against independent disassemblers, the GNU binutils and
//! code of real kernels.
//!
//! One list of cases, [`cases`], generic over [`Architecture`]. What differs between architectures is data, one
//! [`Description`] each, in [`arch`].
//!
//! Numbers are given once and not reused, like those of the guest suite. `H0` what is stated at all, `H1` facts, `H2` branches, `H3` slots, `H4`
//! patch sites, `H5` redirects, `H6` return stack, `H7` relocations, `H8` stack walking, `H9` code of modules,
//! `H10` room at functions.

pub mod arch;
mod cases;
pub mod damage;
pub mod description;
pub mod evaluate;
mod golden;
pub mod module_code;
pub mod oracle;
mod random;
pub mod stack;
mod toolchain;
#[cfg(test)]
mod wrong;

use std::borrow::Cow;
use std::panic::{self, AssertUnwindSafe};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use klp_core::Architecture;
use klp_core::stated::Fact;

use crate::is_named;
use crate::report::{CaseResult, Outcome};
pub use description::Description;

/// What a case's check returns: nothing, or what it expected and found.
pub type Check = Result<(), String>;

/// One case.
#[derive(Clone, Debug)]
pub struct Case {
    /// Its number.
    pub id: &'static str,
    /// What it proves.
    pub name: &'static str,
    /// The document and section it comes from.
    pub source: &'static str,
    /// Why this architecture cannot be asked, if it cannot.
    pub skip: Option<Cow<'static, str>>,
    /// The fact that it is about, if it is about whether that is stated.
    pub fact: Option<Fact>,
    check: Checked,
}

/// How a case is checked.
#[derive(Clone, Copy, Debug)]
enum Checked {
    By(fn(&'static Description) -> Check),
    ByFact(fn(Fact, &'static Description) -> Check, Fact),
}

impl Case {
    fn new(
        id: &'static str,
        name: &'static str,
        source: &'static str,
        check: fn(&'static Description) -> Check,
    ) -> Case {
        Case { id, name, source, skip: None, fact: None, check: Checked::By(check) }
    }

    /// The case about whether a fact is stated.
    fn stated(fact: Fact, check: fn(Fact, &'static Description) -> Check) -> Case {
        let said = fact.statement();
        let check = Checked::ByFact(check, fact);
        Case {
            id: said.id,
            name: said.case,
            source: "docs/src/porting.md",
            skip: None,
            fact: Some(fact),
            check,
        }
    }

    /// Skips the case, for this reason, unless the architecture has what the case is about.
    fn only_if(mut self, has_it: bool, otherwise: &'static str) -> Case {
        self.skip = (!has_it).then_some(Cow::Borrowed(otherwise));
        self
    }

    /// Skips the case if something that it depends on is not stated.
    fn unless_unstated(mut self, unstated: &[Fact]) -> Case {
        let needs = |fact: &&Fact| self.fact.is_none() && fact.statement().is_needed_by(self.id);
        let missing: Vec<&str> = unstated.iter().filter(needs).map(|fact| fact.name()).collect();
        if !missing.is_empty() {
            self.skip = Some(Cow::Owned(format!("unstated: {}", missing.join(", "))));
        }
        self
    }

    /// Whether a filter names the case: its number, the beginning of that up to a dot, or its name.
    pub fn matches(&self, filter: &str) -> bool {
        self.name == filter || is_named(self.id, filter)
    }

    /// Runs the case. A panic is a failure.
    pub fn run(&self, description: &'static Description) -> CaseResult {
        let started = Instant::now();
        let check = || match self.check {
            Checked::By(check) => check(description),
            Checked::ByFact(check, fact) => check(fact, description),
        };
        let outcome = match &self.skip {
            Some(reason) => Outcome::Skipped(reason.clone().into_owned()),
            None => match panic::catch_unwind(AssertUnwindSafe(check)) {
                Ok(Ok(())) => Outcome::Passed,
                Ok(Err(reason)) => Outcome::Failed(reason),
                Err(payload) => Outcome::Failed(panic_message(payload.as_ref())),
            },
        };
        self.result(description, outcome, started.elapsed())
    }

    /// What the case comes to if it does not fail: whether it is skipped is known before.
    pub fn unless_it_fails(&self, description: &'static Description) -> CaseResult {
        let skipped = self.skip.clone().map(|reason| Outcome::Skipped(reason.into_owned()));
        self.result(description, skipped.unwrap_or(Outcome::Passed), Duration::ZERO)
    }

    fn result(&self, description: &Description, outcome: Outcome, duration: Duration) -> CaseResult {
        CaseResult {
            id: self.id.to_owned(),
            name: self.name.to_owned(),
            source: self.source.to_owned(),
            arch: description.name.to_owned(),
            kernel: None,
            outcome,
            duration,
            log: String::new(),
        }
    }
}

fn panic_message(payload: &(dyn std::any::Any + Send)) -> String {
    let text = payload.downcast_ref::<String>().map(String::as_str);
    let message = text.or_else(|| payload.downcast_ref::<&str>().copied()).unwrap_or("no message");
    format!("panicked: {message}")
}

/// All cases for an architecture.
pub fn cases<A: Architecture>(description: &'static Description) -> Vec<Case> {
    cases::all::<A>(description)
}

/// The `main` of an architecture crate's test `conformance`: runs its cases as libtest would, so that `cargo test` and
/// nextest know how to list, filter and run them. While something is not stated they run one by one, so that they are listed in the
/// order in which it is to be stated.
pub fn main<A: Architecture>(description: &'static Description) -> ExitCode {
    let mut arguments = libtest_mimic::Arguments::from_args();
    if !A::UNSTATED.is_empty() {
        arguments.test_threads = Some(1);
    }
    let trials = cases::<A>(description).into_iter().map(|case| {
        let name = format!("{} {}", case.id, case.name);
        let skipped = case.skip.is_some();
        let run = move || match case.run(description).outcome {
            Outcome::Failed(reason) => Err(format!("{reason}\nsource: {}", case.source).into()),
            // Only `--ignored` asks for a case that is skipped.
            Outcome::Skipped(reason) => Err(format!("skipped: {reason}").into()),
            Outcome::Passed => Ok(()),
        };
        libtest_mimic::Trial::test(name, run).with_ignored_flag(skipped)
    });
    libtest_mimic::run(&arguments, trials.collect()).exit_code()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_names_are_unique() {
        let cases = crate::arch::architectures()[0].host_cases();
        for (i, case) in cases.iter().enumerate() {
            let other = cases[..i].iter().find(|other| other.id == case.id || other.name == case.name);
            assert!(other.is_none(), "{} {}", case.id, case.name);
        }
    }

    #[test]
    fn every_architecture_has_the_same_cases() {
        let list = |i: usize| -> Vec<_> {
            crate::arch::architectures()[i].host_cases().iter().map(|case| (case.id, case.name)).collect()
        };
        for i in 1..crate::arch::architectures().len() {
            assert_eq!(list(0), list(i), "{}", crate::arch::architectures()[i].name);
        }
    }

    #[test]
    fn a_panic_is_a_failure_and_a_skip_is_no_pass() {
        let description = crate::arch::architectures()[0].description;
        let panics = Case::new("H0.1", "panics", "none", |_| panic!("out of {}", "cheese"));
        assert_eq!(panics.run(description).outcome, Outcome::Failed("panicked: out of cheese".to_owned()));
        let skipped = panics.only_if(false, "no cheese shop");
        assert_eq!(skipped.run(description).outcome, Outcome::Skipped("no cheese shop".to_owned()));
    }
}
