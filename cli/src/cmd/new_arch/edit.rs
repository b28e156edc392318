// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Changes of source text at places that are told by what is written there. Where that is not as expected, nothing is changed.

use anyhow::{Context, Result, ensure};

/// Puts `line` behind the last line that begins with `prefix`.
pub(super) fn behind_last(text: &str, prefix: &str, line: &str) -> Result<String> {
    ensure!(!text.contains(line), "it has '{}' already", line.trim());
    let last = lines(text).filter(|(_, found)| found.starts_with(prefix)).last();
    let (at, found) = last.with_context(|| format!("expected a line that begins with '{prefix}'"))?;
    Ok(inserted(text, at + found.len(), line))
}

/// Puts `line` among the lines that begin with `prefix`, which are in the order of the alphabet.
pub(super) fn in_order(text: &str, prefix: &str, line: &str) -> Result<String> {
    ensure!(!text.contains(line), "it has '{}' already", line.trim());
    let mut those = lines(text).filter(|(_, found)| found.starts_with(prefix)).peekable();
    ensure!(those.peek().is_some(), "expected a line that begins with '{prefix}'");
    match those.find(|(_, found)| *found > line) {
        Some((at, _)) => Ok(inserted(text, at, line)),
        None => behind_last(text, prefix, line),
    }
}

/// Puts `item` into the list in braces behind `start`, which is on one line and in the order of the alphabet.
pub(super) fn in_braces(text: &str, start: &str, item: &str) -> Result<String> {
    let expected = || format!("expected a line '{start}{{…}};'");
    let (at, line) = lines(text).find(|(_, line)| line.starts_with(start)).with_context(expected)?;
    let list = line[start.len()..].trim_end().strip_prefix('{').and_then(|rest| rest.strip_suffix("};"));
    let mut items: Vec<&str> = list.with_context(expected)?.split(',').map(str::trim).collect();
    ensure!(!items.contains(&item), "it has '{item}' already");
    items.push(item);
    items.sort_unstable();
    let new = format!("{start}{{{}}};\n", items.join(", "));
    Ok([&text[..at], &new, &text[at + line.len()..]].concat())
}

/// Puts `more` at the end of what begins with `start`, a whole line, and ends before `end`.
pub(super) fn at_end_of(text: &str, start: &str, end: &str, more: &str) -> Result<String> {
    let from = text.find(start).with_context(|| format!("expected '{}'", start.trim()))? + start.len();
    let len = text[from..].find(end).with_context(|| format!("'{}' has no end", start.trim()))?;
    // `end` begins with the newline of the last line.
    Ok(inserted(text, from + len + 1, more))
}

/// The text of an entry of a table, as an item: less indented, and with a semicolon in place of the comma.
pub(super) fn outdented(entry: &str) -> String {
    let lines: Vec<&str> = entry.lines().map(|line| line.strip_prefix("    ").unwrap_or(line)).collect();
    format!("{};\n", lines.join("\n").trim_end_matches(','))
}

fn inserted(text: &str, at: usize, more: &str) -> String {
    [&text[..at], more, &text[at..]].concat()
}

/// Each line with its newline, and where it begins.
fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.split_inclusive('\n').scan(0, |at, line| {
        let start = *at;
        *at += line.len();
        Some((start, line))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_goes_behind_the_last_or_to_its_place() {
        assert_eq!(
            behind_last("a1\nb\na2\nc\n", "a", "a0\n").expect("there is a place"),
            "a1\nb\na2\na0\nc\n"
        );
        let text = "mod b;\nmod d;\nx\n";
        for (line, expected) in [
            ("mod a;\n", "mod a;\nmod b;\nmod d;\nx\n"),
            ("mod c;\n", "mod b;\nmod c;\nmod d;\nx\n"),
            ("mod e;\n", "mod b;\nmod d;\nmod e;\nx\n"),
        ] {
            assert_eq!(in_order(text, "mod ", line).expect("there is a place"), expected);
        }
        for line in ["mod b;\n", "mod d;\n"] {
            assert!(in_order(text, "mod ", line).is_err() && behind_last(text, "mod ", line).is_err());
        }
        assert!(in_order("x\n", "mod ", "mod a;\n").is_err());
        assert!(behind_last("x\n", "mod ", "mod a;\n").is_err());
    }

    #[test]
    fn an_item_goes_into_its_list() {
        let text = "x\nuse y::{A, C};\nz\n";
        assert_eq!(in_braces(text, "use y::", "B").expect("a list"), "x\nuse y::{A, B, C};\nz\n");
        assert!(in_braces(text, "use y::", "C").is_err());
        assert!(in_braces("use y::A;\n", "use y::", "B").is_err());
        assert!(in_braces("use y::{\n    A,\n};\n", "use y::", "B").is_err());
    }

    #[test]
    fn an_entry_goes_to_the_end_of_its_table() {
        let text = "static A = &[\n    1,\n];\nstatic B = &[\n    2,\n];\n";
        let expected = "static A = &[\n    1,\n    3,\n];\nstatic B = &[\n    2,\n];\n";
        assert_eq!(at_end_of(text, "static A = &[\n", "\n];\n", "    3,\n").expect("a table"), expected);
        assert!(at_end_of(text, "static C = &[\n", "\n];\n", "    3,\n").is_err());
        assert!(at_end_of("static A = &[\n", "static A = &[\n", "\n];\n", "    3,\n").is_err());
    }
}
