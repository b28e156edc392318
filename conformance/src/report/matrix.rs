// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The support matrix: architecture × kernel × stage, and what each cell still misses, as tables for the documentation.

use std::fmt::Write as _;

use anyhow::{Error, Result};
use klp_core::stated::Stage;
use klp_host::Arch;
use klp_host::arch::recorded;
use klp_host::kernel::Known;

use super::Outcome;
use super::record::Record;
use crate::stage::{self, Ids};
use crate::table;

/// What a stage proves, for the heads of the tables.
fn capability(stage: Stage) -> &'static str {
    match stage {
        Stage::Recognise => "names, QEMU, modules load",
        Stage::Redirect => "`FtraceRedirect`",
        Stage::Branches => "`FarBranch`, `Relocate`",
        Stage::Unwinding => "`Unwind`",
        Stage::Transitions => "all models, the kernel's selftests",
        Stage::PatchSites => "`Patchable`, direct calls",
    }
}

/// One kernel of an architecture.
struct Row {
    arch: &'static Arch,
    known: &'static Known,
    ids: Ids,
}

/// The matrix.
pub struct Matrix<'a> {
    record: &'a Record,
    rows: Vec<Row>,
    /// The host suites' places and cases: also of architectures that have no kernel, and no row.
    hosts: Vec<(String, Vec<String>)>,
}

/// What became of the cases of one cell.
#[derive(Debug, Default, PartialEq, Eq)]
struct Cell {
    passed: usize,
    failed: Vec<String>,
    skipped: usize,
    unknown: usize,
}

impl<'a> Matrix<'a> {
    /// Of every architecture and each of its kernels.
    ///
    /// # Errors
    ///
    /// The cases cannot be listed.
    pub fn new(record: &'a Record) -> Result<Matrix<'a>> {
        let (mut rows, mut hosts) = (Vec::new(), Vec::new());
        for &arch in recorded() {
            let ids = stage::all(arch)?;
            hosts.push((format!("{arch} host"), ids.host.clone()));
            rows.extend(Known::of(arch).map(|known| Row { arch, known, ids: ids.clone() }));
        }
        Ok(Matrix { record, rows, hosts })
    }

    /// The table, in Markdown. A cell says how many of its cases passed; a mark, whether the others have a reason.
    pub fn table(&self) -> String {
        let mut text = String::from("| | kernel |");
        for stage in Stage::ALL {
            let _ = write!(text, " {stage}<br>{} |", capability(stage));
        }
        text.push_str("\n|---|---|");
        text.push_str(&"---|".repeat(Stage::ALL.len()));
        for row in &self.rows {
            let _ = write!(text, "\n| {} | {} |", row.arch, row.known.id);
            for stage in Stage::ALL {
                let _ = write!(text, " {} |", self.cell(row, stage).mark());
            }
        }
        text.push('\n');
        text
    }

    /// What each cell misses, in Markdown: for each architecture the cases that did not pass there, and why.
    pub fn misses(&self) -> String {
        let mut text = String::new();
        for &arch in recorded() {
            let mut lines = Vec::new();
            for stage in Stage::ALL {
                lines.extend(self.missed(arch, stage));
            }
            let _ = writeln!(text, "### {arch}\n");
            if self.rows.iter().all(|row| row.arch != arch) {
                text.push_str("No kernel of it is known.\n");
            } else if lines.is_empty() {
                text.push_str("Nothing: all cases pass.\n");
            }
            for line in lines {
                let _ = writeln!(text, "- {line}");
            }
            text.push('\n');
        }
        text.truncate(text.trim_end().len());
        text.push('\n');
        text
    }

    /// The cases of a stage that did not pass, the same reason on several kernels once.
    fn missed(&self, arch: &Arch, stage: Stage) -> Vec<String> {
        let mut found: Vec<(String, Vec<&str>, Vec<String>)> = Vec::new();
        for row in self.rows.iter().filter(|row| row.arch == arch) {
            for (place, id) in row.cases(stage) {
                let why = match self.record.outcome(&place, id) {
                    Some(Outcome::Passed) => continue,
                    Some(Outcome::Skipped(reason)) => reason.clone(),
                    Some(Outcome::Failed(reason)) => format!("**fails**: {reason}"),
                    None => "not run".to_owned(),
                };
                let at = found.iter().position(|(other, ..)| *other == why).unwrap_or_else(|| {
                    found.push((why, Vec::new(), Vec::new()));
                    found.len() - 1
                });
                let (_, ids, kernels) = &mut found[at];
                if !ids.contains(&id) {
                    ids.push(id);
                }
                let kernel = place.rsplit(' ').next().unwrap_or_default().to_owned();
                if !kernels.contains(&kernel) {
                    kernels.push(kernel);
                }
            }
        }
        let line = |(why, ids, kernels): (String, Vec<&str>, Vec<String>)| {
            format!("{stage}, {}: {}: {}", kernels.join(" and "), ids.join(", "), why.replace('|', "\\|"))
        };
        found.into_iter().map(line).collect()
    }

    /// Whether there is such a case at such a place.
    pub fn knows(&self, place: &str, id: &str) -> bool {
        let is = |ids: &[String]| ids.iter().any(|known| known == id);
        self.hosts.iter().any(|(host, ids)| host == place && is(ids))
            || self.rows.iter().any(|row| row.kernel() == place && is(&row.ids.kernel))
    }

    fn cell(&self, row: &Row, stage: Stage) -> Cell {
        let mut cell = Cell::default();
        for (place, id) in row.cases(stage) {
            match self.record.outcome(&place, id) {
                Some(Outcome::Passed) => cell.passed += 1,
                Some(Outcome::Failed(_)) => cell.failed.push(id.to_owned()),
                Some(Outcome::Skipped(_)) => cell.skipped += 1,
                None => cell.unknown += 1,
            }
        }
        cell
    }
}

impl Row {
    fn host(&self) -> String {
        format!("{} host", self.arch)
    }

    fn kernel(&self) -> String {
        format!("{} {}", self.arch, self.known.id)
    }

    /// The cases of a stage, each with its place.
    fn cases(&self, stage: Stage) -> impl Iterator<Item = (String, &str)> {
        let host = self.ids.host.iter().map(|id| (self.host(), id.as_str()));
        let kernel = self.ids.kernel.iter().map(|id| (self.kernel(), id.as_str()));
        host.chain(kernel).filter(move |(_, id)| stage::of(id) == Some(stage))
    }
}

impl Cell {
    /// The cell's text.
    fn mark(&self) -> String {
        let all = self.passed + self.failed.len() + self.skipped + self.unknown;
        if !self.failed.is_empty() {
            format!("✗ {}/{all}, fails: {}", self.passed, self.failed.join(" "))
        } else if self.unknown > 0 {
            format!("… {}/{all}", self.passed)
        } else if self.passed == 0 {
            format!("– 0/{all}")
        } else {
            format!("✓ {}/{all}", self.passed)
        }
    }
}

/// Puts `block` between the marks `<!-- matrix: NAME -->` and `<!-- end of matrix: NAME -->` of a document.
///
/// # Errors
///
/// The marks are not there.
pub fn insert(document: &str, name: &str, block: &str) -> Result<String> {
    let (begin, end) = (format!("<!-- matrix: {name} -->\n"), format!("<!-- end of matrix: {name} -->"));
    table::replaced(document, &begin, &end, &format!("\n{block}\n")).map_err(Error::msg)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::report::CaseResult;

    /// A record in which all cases passed but those that `other` has something to say of.
    fn record(other: impl Fn(&str, &str) -> Option<Outcome>) -> Record {
        let empty = Record::default();
        let matrix = Matrix::new(&empty).expect("cases");
        let mut record = Record::default();
        for row in &matrix.rows {
            for (kernel, ids) in [(None, &row.ids.host), (Some(row.known.id), &row.ids.kernel)] {
                for id in ids {
                    let place = format!("{} {}", row.arch, kernel.unwrap_or("host"));
                    record.take(&[CaseResult {
                        id: id.clone(),
                        name: String::new(),
                        source: String::new(),
                        arch: row.arch.name.to_owned(),
                        kernel: kernel.map(str::to_owned),
                        outcome: other(&place, id).unwrap_or(Outcome::Passed),
                        duration: std::time::Duration::ZERO,
                        log: String::new(),
                    }]);
                }
            }
        }
        record
    }

    #[test]
    fn a_record_of_everything_misses_nothing() {
        let record = record(|_, _| None);
        let matrix = Matrix::new(&record).expect("cases");
        assert!(!matrix.table().contains(['✗', '…', '–']), "{}", matrix.table());
        assert!(!matrix.misses().contains("- "), "{}", matrix.misses());
        for (place, id) in record.recorded() {
            assert!(matrix.knows(place, id), "{place} {id}");
        }
        assert!(!matrix.knows("arm64 host", "G1.1"));
    }

    #[test]
    fn a_case_without_a_result_is_in_no_green_cell() {
        let empty = Record::default();
        let matrix = Matrix::new(&empty).expect("cases");
        assert!(!matrix.table().contains('✓'), "{}", matrix.table());
        assert!(matrix.misses().contains(": not run"), "{}", matrix.misses());
    }

    #[test]
    fn failures_and_skips_are_told_where_they_are() {
        let record = record(|place, id| match (place, id) {
            ("arm64 debian-6.12", "G5.1") => Some(Outcome::Failed("it broke".to_owned())),
            ("arm64 debian-6.1" | "arm64 debian-6.12", "G8.2") => Some(Outcome::Skipped("no NMI".to_owned())),
            _ => None,
        });
        let matrix = Matrix::new(&record).expect("cases");
        let table = matrix.table();
        let row = table.lines().find(|line| line.starts_with("| arm64 | debian-6.12")).expect("a row");
        assert!(row.contains("fails: G5.1"), "{row}");
        let misses = matrix.misses();
        assert!(misses.contains("- transitions, debian-6.1 and debian-6.12: G8.2: no NMI\n"), "{misses}");
        assert!(misses.contains("- transitions, debian-6.12: G5.1: **fails**: it broke\n"), "{misses}");
    }

    #[test]
    fn a_block_is_put_between_its_marks() {
        let document = "a\n<!-- matrix: t -->\nold\n<!-- end of matrix: t -->\nb\n";
        let new = insert(document, "t", "| x |\n").expect("marks");
        assert_eq!(new, "a\n<!-- matrix: t -->\n\n| x |\n\n<!-- end of matrix: t -->\nb\n");
        assert_eq!(insert(&new, "t", "| x |\n").expect("marks"), new);
        assert!(insert("a\n", "t", "").is_err());
    }
}
