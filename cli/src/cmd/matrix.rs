// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp matrix`: the support matrix, from the recorded results of the conformance cases.

use std::fs;

use anyhow::{Context, Result, bail};
use klp_conformance::report::CaseResult;
use klp_conformance::report::matrix::{self, Matrix};
use klp_conformance::report::record::Record;
use klp_host::arch::{repository, sdk};

/// The documents that show it, and which parts of it each shows: in this workspace, and in another repository.
const DOCUMENTS: Documents = &[("README.md", &["table"]), ("docs/src/matrix.md", &["table", "misses"])];
const DOCUMENTS_ELSEWHERE: Documents = &[("README.md", &["table", "misses"])];

type Documents = &'static [(&'static str, &'static [&'static str])];

fn documents() -> Documents {
    if repository() == sdk() { DOCUMENTS } else { DOCUMENTS_ELSEWHERE }
}

/// Write the support matrix into README.md and docs/, from the recorded results of the conformance cases
#[derive(clap::Args, Debug)]
#[command(after_help = "\
The results are in conformance/results.txt, in a port's repository in results.txt; `klp conform --record` and `klp test --record` write them.

Example: cargo klp matrix --check")]
pub(crate) struct Args {
    /// Write nothing; fail if a document shows another matrix, or a result is recorded of a case that there is not
    #[arg(long)]
    check: bool,
}

/// Runs the command.
///
/// # Errors
///
/// A document cannot be read or written; with `--check`, something is out of date.
pub(crate) fn run(args: Args) -> Result<()> {
    let record = Record::read(&Record::path())?;
    if !args.check {
        return write(&record);
    }
    let stale = stale(&record)?;
    for line in &stale {
        println!("{line}");
    }
    if !stale.is_empty() {
        bail!("the support matrix is out of date");
    }
    Ok(())
}

/// Takes results into the record, and writes the matrix anew.
///
/// # Errors
///
/// A file cannot be read or written.
pub(crate) fn record(results: &[CaseResult]) -> Result<()> {
    let path = Record::path();
    let mut record = Record::read(&path)?;
    record.take(results);
    let taken = record.clone();
    let matrix = Matrix::new(&taken)?;
    record.retain(|place, id| matrix.knows(place, id));
    fs::write(&path, record.text()).with_context(|| format!("cannot write {}", path.display()))?;
    write(&record)
}

/// What is out of date, a sentence each with what to do.
///
/// # Errors
///
/// A document cannot be read.
pub(crate) fn stale(record: &Record) -> Result<Vec<String>> {
    let matrix = Matrix::new(record)?;
    let mut stale = Vec::new();
    for (place, id) in record.recorded().filter(|(place, id)| !matrix.knows(place, id)) {
        stale.push(format!("{place} {id} is recorded, and there is no such case; cargo klp matrix"));
    }
    for &(document, parts) in documents() {
        let path = repository().join(document);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {document}"))?;
        if rendered(&matrix, document, parts, &text)? != text {
            stale
                .push(format!("{document} shows another matrix than the recorded results; cargo klp matrix"));
        }
    }
    Ok(stale)
}

fn write(record: &Record) -> Result<()> {
    let matrix = Matrix::new(record)?;
    for &(document, parts) in documents() {
        let path = repository().join(document);
        let text = fs::read_to_string(&path).with_context(|| format!("cannot read {document}"))?;
        let new = rendered(&matrix, document, parts, &text)?;
        if new != text {
            fs::write(&path, new).with_context(|| format!("cannot write {document}"))?;
            println!("{document}");
        }
    }
    Ok(())
}

/// The document with its parts of the matrix as they should be.
fn rendered(matrix: &Matrix<'_>, document: &str, parts: &[&str], text: &str) -> Result<String> {
    parts.iter().try_fold(text.to_owned(), |text, part| {
        let block = match *part {
            "table" => matrix.table(),
            _ => matrix.misses(),
        };
        matrix::insert(&text, part, &block).with_context(|| document.to_owned())
    })
}
