// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The porting guide and what facts say of themselves are true: cases are there, every case waits for a fact, the guide has each
//! fact in its stage, and the sizes of the ports are as they are now.

use std::fmt::Write as _;
use std::fs;
use std::path::{Path, PathBuf};

use klp_core::stated::{Fact, Stage};
use klp_host::arches;

use crate::arch::architectures;
use crate::guest::cases;
use crate::{is_named, table};

fn workspace() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn guide() -> PathBuf {
    workspace().join("docs/src/porting.md")
}

fn host_cases() -> Vec<&'static str> {
    let cases = architectures()[0].host_cases();
    cases.iter().filter(|case| case.fact.is_none()).map(|case| case.id).collect()
}

#[test]
fn the_cases_that_facts_name_are_there() {
    let mut ids: Vec<String> = host_cases().into_iter().map(str::to_owned).collect();
    let guest = workspace().join("conformance/guest/cases");
    ids.extend(cases::in_dir(&guest).expect("cases").into_iter().map(|case| case.id));
    ids.push("B1".to_owned());
    for said in Fact::ALL.iter().map(|fact| fact.statement()) {
        for case in said.cases {
            assert!(ids.iter().any(|id| is_named(id, case)), "{}: there is no case {case}", said.name);
        }
    }
}

#[test]
fn every_host_case_waits_for_a_fact() {
    for id in host_cases() {
        let waits = Fact::ALL.iter().any(|fact| fact.statement().is_needed_by(id));
        assert!(
            waits,
            "{id} waits for no fact: it would fail, or pass on nothing, before anything is stated"
        );
    }
}

#[test]
fn the_guide_has_every_fact_in_its_stage() {
    let text = fs::read_to_string(guide()).expect("the guide");
    let mut sections = text.split("\n## ").skip(1);
    for (i, stage) in Stage::ALL.into_iter().enumerate() {
        let title = format!("{}. {}", i + 1, stage.name());
        let section = sections.find(|section| section.starts_with(&title));
        let section =
            section.unwrap_or_else(|| panic!("no section '{title}' behind those of earlier stages"));
        for fact in Fact::ALL.iter().filter(|fact| fact.statement().stage == stage) {
            let name = format!("`{}`", fact.name());
            assert!(section.contains(&name), "'{title}' does not mention {name}");
        }
    }
}

/// Lines of a file, or of all files below a directory; none, if it is not there.
fn lines(path: &Path) -> usize {
    if path.is_dir() {
        let entries = fs::read_dir(path).expect("a directory");
        return entries.map(|entry| lines(&entry.expect("an entry").path())).sum();
    }
    fs::read_to_string(path).map_or(0, |text| text.lines().count())
}

/// Lines of the tests of a crate's `unwind.rs`, wherever they are.
fn unwind_tests(dir: &Path) -> usize {
    let Ok(entries) = fs::read_dir(dir) else { return 0 };
    let of =
        |path: PathBuf| match path.file_name().is_some_and(|name| name == "tests.rs" || name == "testing.rs")
        {
            true => lines(&path),
            false => unwind_tests(&path),
        };
    entries.map(|entry| of(entry.expect("an entry").path())).sum()
}

/// How long the files of each architecture are.
fn sizes() -> String {
    let workspace = workspace();
    let mut rows: Vec<(&str, Vec<usize>)> = Vec::new();
    for arch in arches() {
        let own = workspace.join(format!("arch-{}/src", arch.name));
        let tests = unwind_tests(&own.join("unwind"));
        let unwind = lines(&own.join("unwind.rs")) + lines(&own.join("unwind")) - tests;
        let description = workspace.join("conformance/src/host/arch").join(arch.name);
        let kmod = workspace.join("kmod/arch").join(arch.srcarch);
        let (shim, build) = (lines(&kmod.join("shim.h")), lines(&kmod.join("build.mk")));
        for (file, count) in [
            ("`lib.rs`", lines(&own.join("lib.rs"))),
            ("`ftrace.rs`", lines(&own.join("ftrace.rs"))),
            ("`branch.rs`", lines(&own.join("branch.rs"))),
            ("`reloc.rs`", lines(&own.join("reloc.rs"))),
            ("`unwind.rs`, `unwind/`", unwind),
            ("tests in `unwind/`", tests),
            ("the crate", lines(&own)),
            ("its description", lines(&description) + lines(&description.with_extension("rs"))),
            ("`kmod/arch/SRCARCH/shim.h`", shim),
            ("`build.mk` there", build),
            ("others there", lines(&kmod) - shim - build),
        ] {
            match rows.iter_mut().find(|(name, _)| *name == file) {
                Some((_, counts)) => counts.push(count),
                None => rows.push((file, vec![count])),
            }
        }
    }
    let names: Vec<&str> = arches().iter().map(|arch| arch.name).collect();
    let mut table = format!("| lines | {} |\n|---|{}\n", names.join(" | "), "---|".repeat(names.len()));
    for (file, counts) in rows {
        let counts = counts.iter().map(|&count| if count == 0 { "–".to_owned() } else { count.to_string() });
        let counts: Vec<String> = counts.collect();
        writeln!(table, "| {file} | {} |", counts.join(" | ")).expect("a string");
    }
    table
}

/// With `INSTA_UPDATE=always` the table is written, as golden files are.
#[test]
fn the_sizes_in_the_guide_are_those_of_the_files() {
    let table = sizes();
    let (start, end) = ("<!-- sizes -->\n", "<!-- end of sizes -->\n");
    if table::is_in(&guide(), start, end, &table).expect("the guide") {
        return;
    }
    panic!(
        "the table in docs/src/porting.md is out of date; it is now:\n{table}\nto write it: INSTA_UPDATE=always cargo test -p \
         klp-conformance --lib porting"
    );
}
