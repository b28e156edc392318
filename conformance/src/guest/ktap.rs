// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Reading KTAP (`Documentation/dev-tools/ktap.rst`), flat, as the guest's `run.sh` writes it.

use std::collections::BTreeMap;

/// One result line.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Line {
    /// Whether it says `ok`.
    pub ok: bool,
    /// The first word of its description: the case's id.
    pub id: String,
    /// The reason of a `# SKIP`.
    pub skip: Option<String>,
    /// The diagnostic lines before it.
    pub diagnostics: String,
}

/// Reads the result lines, by id. A case that reports twice keeps its worse result.
pub fn parse(text: &str) -> BTreeMap<String, Line> {
    let mut lines: BTreeMap<String, Line> = BTreeMap::new();
    let mut diagnostics = String::new();
    for line in text.lines() {
        if let Some(diagnostic) = line.strip_prefix("# ") {
            diagnostics += diagnostic;
            diagnostics.push('\n');
            continue;
        }
        let Some(mut parsed) = result(line) else { continue };
        parsed.diagnostics = std::mem::take(&mut diagnostics);
        let worse = lines.get(&parsed.id).is_none_or(|known| known.ok && !parsed.ok);
        if worse {
            lines.insert(parsed.id.clone(), parsed);
        }
    }
    lines
}

/// `ok N ID …` or `not ok N ID …`, with `# SKIP reason` at its end if it was skipped.
fn result(line: &str) -> Option<Line> {
    let (ok, rest) = match line.strip_prefix("not ok ") {
        Some(rest) => (false, rest),
        None => (true, line.strip_prefix("ok ")?),
    };
    let (number, description) = rest.split_once(' ')?;
    number.parse::<u32>().ok()?;
    let (description, skip) = match description.split_once("# SKIP") {
        Some((description, reason)) => (description, Some(reason.trim().to_owned())),
        None => (description, None),
    };
    let id = description.trim_start_matches("- ").split_whitespace().next()?.to_owned();
    Some(Line { ok, id, skip, diagnostics: String::new() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn results_skips_and_diagnostics_are_read() {
        let text = "KTAP version 1\n1..3\nok 1 G1.1 one\n# it broke\n# badly\nnot ok 2 G1.2 two\nok 3 G1.3 three # SKIP no NMI\n";
        let lines = parse(text);
        assert_eq!(lines.len(), 3);
        assert!(lines["G1.1"].ok && lines["G1.1"].skip.is_none());
        assert!(!lines["G1.2"].ok);
        assert_eq!(lines["G1.2"].diagnostics, "it broke\nbadly\n");
        assert_eq!(lines["G1.3"].skip.as_deref(), Some("no NMI"));
    }

    #[test]
    fn a_second_ok_does_not_cover_a_failure() {
        let lines = parse("not ok 1 G1.1 x\nok 1 G1.1 x\n");
        assert!(!lines["G1.1"].ok);
    }

    #[test]
    fn other_lines_are_no_results() {
        assert!(parse("okay\nok\nok x y\nnot okay 1 a\n").is_empty());
    }
}
