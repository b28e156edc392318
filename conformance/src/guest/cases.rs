// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The list of cases, read from the headers of their scripts.

use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

use crate::is_named;

/// One case, as its script's header describes it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Case {
    /// Its number, such as `G5.1`.
    pub id: String,
    /// What it proves.
    pub name: String,
    /// The document and section it comes from.
    pub source: String,
    /// The kernel warns once during the case, and these words are in its warning: it is what the case is about.
    pub warns: Option<String>,
    /// How many processors the guest has that it runs in.
    pub cpus: u32,
    /// Whether klp.ko is loaded before.
    pub core: bool,
}

/// Unless a case says otherwise.
const CPUS: u32 = 2;

impl Case {
    /// Whether a filter names the case: its id, or the beginning of it up to a dot (`G5` names `G5.1`).
    pub fn matches(&self, filter: &str) -> bool {
        is_named(&self.id, filter)
    }
}

/// The cases that are in `dir`, in the order in which they run.
///
/// # Errors
///
/// A script cannot be read, has no header, or shares its number with another.
pub fn in_dir(dir: &Path) -> Result<Vec<Case>> {
    let mut paths: Vec<_> = fs::read_dir(dir)
        .with_context(|| format!("cannot list {}", dir.display()))?
        .map(|entry| Ok(entry?.path()))
        .collect::<Result<_>>()?;
    paths.retain(|path| path.extension().is_some_and(|extension| extension == "sh"));
    paths.sort();
    let mut cases: Vec<Case> = Vec::new();
    for path in paths {
        let case = read(&path)?;
        ensure!(
            cases.iter().all(|other| other.id != case.id),
            "{}: the id {} is taken by another case",
            path.display(),
            case.id
        );
        cases.push(case);
    }
    ensure!(!cases.is_empty(), "there are no cases in {}", dir.display());
    Ok(cases)
}

fn read(path: &Path) -> Result<Case> {
    let text = fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))?;
    parse(&text).with_context(|| path.display().to_string())
}

fn parse(text: &str) -> Result<Case> {
    let optional = |key: &str| {
        text.lines()
            .filter_map(|line| line.strip_prefix("# "))
            .find_map(|line| line.strip_prefix(key)?.strip_prefix(": "))
            .map(|value| value.trim().to_owned())
    };
    let field = |key: &str| {
        optional(key).with_context(|| format!("expected a line '# {key}: …' in the script's header"))
    };
    let cpus = match optional("cpus") {
        Some(cpus) => cpus.parse().with_context(|| format!("'{cpus}' is no number of processors"))?,
        None => CPUS,
    };
    let core = match optional("core").as_deref() {
        Some("off") => false,
        None => true,
        Some(other) => bail!("expected '# core: off' or no such line, found '{other}'"),
    };
    let (id, name, source) = (field("id")?, field("name")?, field("source")?);
    Ok(Case { id, name, source, cpus, core, warns: optional("warns") })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_gives_id_name_and_source() {
        let case = parse("# SPDX\n# id: G1.2\n# name: it works\n# source: livepatch.rst, \"x\"\n").unwrap();
        assert_eq!((case.id.as_str(), case.name.as_str()), ("G1.2", "it works"));
        assert_eq!((case.source.as_str(), case.cpus), ("livepatch.rst, \"x\"", CPUS));
        assert_eq!(case.warns, None);
        let case = parse("# id: G1.2\n# name: it works\n# source: x\n# warns: foo\n").unwrap();
        assert_eq!(case.warns.as_deref(), Some("foo"));
        assert!(parse("# id: G1.2\n# name: it works\n").is_err(), "a case without a source");
        let header = |cpus: &str| format!("# id: G1.2\n# name: it works\n# source: x\n# cpus: {cpus}\n");
        assert_eq!(parse(&header("4")).unwrap().cpus, 4);
        assert!(parse(&header("many")).is_err());
        let header = |core: &str| format!("# id: G1.2\n# name: it works\n# source: x\n# core: {core}\n");
        assert!(case.core && !parse(&header("off")).unwrap().core);
        assert!(parse(&header("no")).is_err());
    }

    #[test]
    fn a_filter_names_a_case_or_its_group_and_nothing_else() {
        let (id, name, source) = ("G1.2".into(), String::new(), String::new());
        let case = Case { id, name, source, cpus: CPUS, core: true, warns: None };
        assert!(case.matches("G1.2") && case.matches("G1"));
        assert!(!case.matches("G1.") && !case.matches("G") && !case.matches("G1.20"));
    }
}
