// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tables that code makes, between two marks of a page that is else written by hand.

use std::path::Path;
use std::{env, fs};

/// The page with `table` in place of what is between the marks.
///
/// # Errors
///
/// A mark is not there.
pub(crate) fn replaced(page: &str, start: &str, end: &str, table: &str) -> Result<String, String> {
    let lacks = |mark: &str| format!("expected the mark '{}' on a line of its own", mark.trim_end());
    let (before, rest) = page.split_once(start).ok_or_else(|| lacks(start))?;
    let (_, after) = rest.split_once(end).ok_or_else(|| lacks(end))?;
    Ok([before, start, table, end, after].concat())
}

/// Whether the page in the file `path` has the table. With `INSTA_UPDATE=always` it is written, as golden files are.
///
/// # Errors
///
/// The file cannot be read or written, or has no place for the table.
pub(crate) fn is_in(path: &Path, start: &str, end: &str, table: &str) -> Result<bool, String> {
    let context = |error: String| format!("{}: {error}", path.display());
    let page = fs::read_to_string(path).map_err(|error| context(error.to_string()))?;
    let new = replaced(&page, start, end, table).map_err(context)?;
    if new != page && env::var("INSTA_UPDATE").is_ok_and(|update| update == "always") {
        fs::write(path, new).map_err(|error| context(error.to_string()))?;
        return Ok(true);
    }
    Ok(new == page)
}
