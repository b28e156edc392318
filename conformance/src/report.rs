// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Results of both suites, and the reports made of them.

mod html;
mod junit;
pub mod matrix;
pub mod record;

use std::fmt;
use std::time::Duration;

/// What became of one case on one architecture, and on one kernel in the guest suite.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CaseResult {
    /// The case's number.
    pub id: String,
    /// What it proves.
    pub name: String,
    /// The document and section it comes from.
    pub source: String,
    /// The architecture's name.
    pub arch: String,
    /// The kernel's id; `None` for a case that runs on the host.
    pub kernel: Option<String>,
    /// The result.
    pub outcome: Outcome,
    /// How long it took, where that is known.
    pub duration: Duration,
    /// The kernel log or other output of the case.
    pub log: String,
}

/// A case's result. A skip is never a pass, and has a reason.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It holds.
    Passed,
    /// It does not, and why.
    Failed(String),
    /// It could not be tried, and why.
    Skipped(String),
}

/// All results of a run.
#[derive(Clone, Debug, Default)]
pub struct Report {
    /// In the order in which they came.
    pub results: Vec<CaseResult>,
}

/// How many cases had each outcome.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Counts {
    /// Cases that passed.
    pub passed: usize,
    /// Cases that failed.
    pub failed: usize,
    /// Cases that were skipped.
    pub skipped: usize,
}

impl Counts {
    /// Whether this is a success: something passed and nothing failed. An empty result is none.
    pub fn is_success(&self) -> bool {
        self.passed > 0 && self.failed == 0
    }

    /// Adds others.
    pub fn add(&mut self, other: Counts) {
        self.passed += other.passed;
        self.failed += other.failed;
        self.skipped += other.skipped;
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} passed, {} failed", self.passed, self.failed)?;
        if self.skipped > 0 {
            write!(f, ", {} skipped", self.skipped)?;
        }
        Ok(())
    }
}

impl CaseResult {
    /// Where it ran: `arm64 debian-6.1`, or `arm64 host`.
    pub fn place(&self) -> String {
        format!("{} {}", self.arch, self.kernel.as_deref().unwrap_or("host"))
    }
}

impl Report {
    /// How many had each outcome.
    pub fn counts(&self) -> Counts {
        let mut counts = Counts::default();
        for result in &self.results {
            match result.outcome {
                Outcome::Passed => counts.passed += 1,
                Outcome::Failed(_) => counts.failed += 1,
                Outcome::Skipped(_) => counts.skipped += 1,
            }
        }
        counts
    }

    /// A JUnit file: a suite for each architecture and kernel.
    ///
    /// # Errors
    ///
    /// A name cannot be written in XML.
    pub fn junit(&self) -> anyhow::Result<String> {
        junit::render(self)
    }

    /// One HTML file without other assets: a matrix of cases by architecture and kernel, with the reason of every failure
    /// and skip.
    pub fn html(&self) -> String {
        html::render(self)
    }

    /// The places that results come from, in the order in which they first came.
    fn places(&self) -> Vec<String> {
        let mut places: Vec<String> = Vec::new();
        for result in &self.results {
            let place = result.place();
            if !places.contains(&place) {
                places.push(place);
            }
        }
        places
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(id: &str, outcome: Outcome) -> CaseResult {
        CaseResult {
            id: id.to_owned(),
            name: "a <name> & more".to_owned(),
            source: "a document".to_owned(),
            arch: "arm64".to_owned(),
            kernel: Some("debian-6.1".to_owned()),
            outcome,
            duration: Duration::from_millis(1500),
            log: "line\n".to_owned(),
        }
    }

    #[test]
    fn an_empty_result_is_no_success() {
        assert!(!Report::default().counts().is_success());
        let skipped = Report { results: vec![result("G1.1", Outcome::Skipped("no NMI".into()))] };
        assert!(!skipped.counts().is_success());
        assert_eq!(skipped.counts().to_string(), "0 passed, 0 failed, 1 skipped");
    }

    #[test]
    fn reports_name_every_failure_and_skip_with_its_reason() {
        let report = Report {
            results: vec![
                result("G1.1", Outcome::Passed),
                result("G1.2", Outcome::Failed("it <broke>".into())),
                result("G1.3", Outcome::Skipped("no NMI here".into())),
            ],
        };
        let junit = report.junit().unwrap();
        assert!(junit.contains("it &lt;broke&gt;") && junit.contains("no NMI here"), "{junit}");
        assert!(junit.contains("tests=\"3\"") && junit.contains("failures=\"1\""), "{junit}");
        let html = report.html();
        assert!(html.contains("it &lt;broke&gt;") && html.contains("no NMI here"), "{html}");
        assert!(!html.contains("it <broke>"), "text is escaped");
        assert!(html.contains("arm64 debian-6.1"));
    }
}
