// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The results that are kept: what became of each case the last time that it was recorded, in one text file.
//!
//! The support matrix is made of them, and `klp test` compares what it sees with them. A section for each architecture's
//! host suite and for each of its kernels; in it a line for each group's passed cases, and a line for every other case:
//!
//! ```text
//! [arm64 debian-6.1]
//! passed G8.1 G8.3
//! skipped G8.2: arm64 has NMIs only as …
//! ```

use std::cmp::Ordering;
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::{fs, io};

use anyhow::{Context, Result, bail, ensure};
use klp_host::arch::{repository, sdk};

use super::{CaseResult, Outcome};

const HEADER: &str = "\
# SPDX-License-Identifier: GPL-2.0-only OR MIT
# Results of the conformance cases. Written by `klp conform --record` and `klp test --record`, not by hand.
";

/// What is known of each place's cases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Record {
    places: BTreeMap<String, BTreeMap<Id, Outcome>>,
}

/// A case's number, in the order of groups and numbers: `G2.1` is before `G10.1`.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Id(String);

impl Id {
    fn key(&self) -> (&str, Vec<u32>) {
        let digits = self.0.find(|c: char| c.is_ascii_digit()).unwrap_or(self.0.len());
        let (letters, numbers) = self.0.split_at(digits);
        (letters, numbers.split('.').filter_map(|number| number.parse().ok()).collect())
    }

    fn group(&self) -> &str {
        self.0.split_once('.').map_or(self.0.as_str(), |(group, _)| group)
    }
}

impl PartialOrd for Id {
    fn partial_cmp(&self, other: &Id) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Id {
    fn cmp(&self, other: &Id) -> Ordering {
        self.key().cmp(&other.key()).then_with(|| self.0.cmp(&other.0))
    }
}

impl Record {
    /// The file of the repository that is worked on.
    pub fn path() -> PathBuf {
        let here = Path::new(env!("CARGO_MANIFEST_DIR"));
        let root = repository();
        if root == sdk() { here.join("results.txt") } else { root.join("results.txt") }
    }

    /// Reads a file. One that is not there is an empty record.
    ///
    /// # Errors
    ///
    /// It cannot be read, or is not what [`Record::text`] writes.
    pub fn read(path: &Path) -> Result<Record> {
        let text = match fs::read_to_string(path) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Record::default()),
            text => text.with_context(|| format!("cannot read {}", path.display()))?,
        };
        Record::parse(&text).with_context(|| path.display().to_string())
    }

    fn parse(text: &str) -> Result<Record> {
        let mut record = Record::default();
        let mut place = None;
        for (at, line) in text.lines().enumerate() {
            let context = || format!("line {}: '{line}'", at + 1);
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            if let Some(name) = line.strip_prefix('[').and_then(|line| line.strip_suffix(']')) {
                place = Some(name.to_owned());
                continue;
            }
            let place = place.as_ref().context("expected a section first, such as [arm64 debian-6.1]");
            let cases = record.places.entry(place.with_context(context)?.clone()).or_default();
            for (id, outcome) in outcomes(line).with_context(context)? {
                ensure!(
                    cases.insert(Id(id.clone()), outcome).is_none(),
                    "{}: {id} is there twice",
                    context()
                );
            }
        }
        Ok(record)
    }

    /// The file's text.
    pub fn text(&self) -> String {
        let mut text = HEADER.to_owned();
        for (place, cases) in &self.places {
            // Writing to a string cannot fail.
            let _ = write!(text, "\n[{place}]");
            let mut group = None;
            for (id, outcome) in cases {
                match outcome {
                    Outcome::Passed if group == Some(id.group()) => {
                        let _ = write!(text, " {}", id.0);
                    }
                    Outcome::Passed => {
                        let _ = write!(text, "\npassed {}", id.0);
                        group = Some(id.group());
                    }
                    Outcome::Failed(_) | Outcome::Skipped(_) => {}
                }
            }
            for (id, outcome) in cases {
                let (word, reason) = match outcome {
                    Outcome::Passed => continue,
                    Outcome::Failed(reason) => ("failed", reason),
                    Outcome::Skipped(reason) => ("skipped", reason),
                };
                let _ = write!(text, "\n{word} {}: {}", id.0, reason.lines().next().unwrap_or_default());
            }
            text.push('\n');
        }
        text
    }

    /// Takes results over, in place of what was known of the same cases.
    pub fn take(&mut self, results: &[CaseResult]) {
        for result in results {
            let cases = self.places.entry(result.place()).or_default();
            cases.insert(Id(result.id.clone()), result.outcome.clone());
        }
    }

    /// Forgets places and cases that there are no more: those of which `known` says so, given a place and a number.
    pub fn retain(&mut self, known: impl Fn(&str, &str) -> bool) {
        for (place, cases) in &mut self.places {
            cases.retain(|id, _| known(place, &id.0));
        }
        self.places.retain(|_, cases| !cases.is_empty());
    }

    /// What became of a case at a place; `None` if it has not been recorded.
    pub fn outcome(&self, place: &str, id: &str) -> Option<&Outcome> {
        self.places.get(place)?.get(&Id(id.to_owned()))
    }

    /// Places and numbers that are recorded.
    pub fn recorded(&self) -> impl Iterator<Item = (&str, &str)> {
        self.places.iter().flat_map(|(place, cases)| cases.keys().map(|id| (place.as_str(), id.0.as_str())))
    }

    /// Where the results are not what is recorded, a sentence each. Reasons may differ; what became of a case may not. A case that
    /// is not recorded is a difference: the matrix does not have it.
    pub fn differences(&self, results: &[CaseResult]) -> Vec<String> {
        let sentence = |result: &CaseResult| {
            let place = result.place();
            let (recorded, found) = (self.outcome(&place, &result.id).map(word), word(&result.outcome));
            let recorded = match recorded {
                Some(same) if same == found => return None,
                Some(other) => format!("is recorded as {other}"),
                None => "is not recorded".to_owned(),
            };
            Some(format!("{place} {} {found}, and {recorded}", result.id))
        };
        results.iter().filter_map(sentence).collect()
    }
}

fn word(outcome: &Outcome) -> &'static str {
    match outcome {
        Outcome::Passed => "passed",
        Outcome::Failed(_) => "failed",
        Outcome::Skipped(_) => "skipped",
    }
}

/// The cases of one line.
fn outcomes(line: &str) -> Result<Vec<(String, Outcome)>> {
    let (word, rest) = line.split_once(' ').unwrap_or((line, ""));
    if word == "passed" {
        return Ok(rest.split(' ').map(|id| (id.to_owned(), Outcome::Passed)).collect());
    }
    let (id, reason) = rest.split_once(": ").context("expected a number, a colon and a reason")?;
    let outcome = match word {
        "failed" => Outcome::Failed(reason.to_owned()),
        "skipped" => Outcome::Skipped(reason.to_owned()),
        _ => bail!("expected 'passed', 'failed' or 'skipped'"),
    };
    Ok(vec![(id.to_owned(), outcome)])
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn result(id: &str, outcome: Outcome) -> CaseResult {
        CaseResult {
            id: id.to_owned(),
            name: String::new(),
            source: String::new(),
            arch: "arm64".to_owned(),
            kernel: Some("debian-6.1".to_owned()),
            outcome,
            duration: Duration::ZERO,
            log: String::new(),
        }
    }

    fn some() -> Record {
        let mut record = Record::default();
        record.take(&[
            result("G10.1", Outcome::Passed),
            result("G2.10", Outcome::Passed),
            result("G2.9", Outcome::Passed),
            result("B1", Outcome::Failed("vectors\nand more".to_owned())),
            result("G8.2", Outcome::Skipped("no NMI: none".to_owned())),
        ]);
        record
    }

    #[test]
    fn the_file_is_read_as_it_was_written() {
        let text = some().text();
        let expected = "\n[arm64 debian-6.1]\npassed G2.9 G2.10\npassed G10.1\nfailed B1: vectors\nskipped G8.2: no NMI: none\n";
        assert_eq!(text, format!("{HEADER}{expected}"));
        assert_eq!(Record::parse(&text).expect("a record").text(), text);
    }

    #[test]
    fn what_is_no_record_is_refused_with_its_line() {
        for (text, expected) in [
            ("passed G1.1", "expected a section"),
            ("[a b]\nfine G1.1: x", "expected 'passed'"),
            ("[a b]\nskipped G1.1", "a reason"),
            ("[a b]\npassed G1.1 G1.1", "twice"),
        ] {
            let error = format!("{:#}", Record::parse(text).expect_err(text));
            assert!(error.contains(expected) && error.contains("line "), "{error}");
        }
    }

    #[test]
    fn newer_results_replace_older_ones_of_the_same_case() {
        let mut record = some();
        record.take(&[result("G8.2", Outcome::Passed)]);
        assert_eq!(record.outcome("arm64 debian-6.1", "G8.2"), Some(&Outcome::Passed));
        assert_eq!(record.outcome("arm64 debian-6.1", "G2.9"), Some(&Outcome::Passed));
        assert_eq!(record.outcome("arm64 host", "G2.9"), None);
    }

    #[test]
    fn a_difference_is_told_whichever_way_it_goes() {
        let record = some();
        let same = [result("G2.9", Outcome::Passed), result("G8.2", Outcome::Skipped("another".to_owned()))];
        assert_eq!(record.differences(&same), Vec::<String>::new());
        let other = [
            result("G2.9", Outcome::Skipped("why".to_owned())),
            result("G8.2", Outcome::Passed),
            result("G99.1", Outcome::Passed),
        ];
        assert_eq!(
            record.differences(&other),
            [
                "arm64 debian-6.1 G2.9 skipped, and is recorded as passed",
                "arm64 debian-6.1 G8.2 passed, and is recorded as skipped",
                "arm64 debian-6.1 G99.1 passed, and is not recorded",
            ]
        );
    }

    #[test]
    fn what_there_is_no_more_is_forgotten() {
        let mut record = some();
        record.retain(|_, id| id == "G2.9");
        assert_eq!(record.recorded().collect::<Vec<_>>(), [("arm64 debian-6.1", "G2.9")]);
        record.retain(|place, _| place != "arm64 debian-6.1");
        assert_eq!(record, Record::default());
    }
}
