// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Taking a memory dump of a guest: QEMU writes it.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result};
use serde_json::{Value, json};

use crate::Failure;
use crate::qmp::Connection;

/// A dump that is to be taken.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct DumpSpec {
    /// The file.
    pub file: PathBuf,
    /// What it is written as.
    pub format: Format,
}

/// The formats that QEMU writes and [`Frozen`](super::Frozen) reads.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Format {
    /// An ELF core file: all of memory, as it is.
    #[default]
    Elf,
    /// makedumpfile's format: pages compressed with zlib.
    Kdump,
}

impl DumpSpec {
    /// Whether the dump can be written where it is to go, so far as can be told before the guest runs.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`]
    pub fn check(&self) -> Result<(), Failure> {
        let file = self.file.display();
        let usage = |what: String| Failure::Usage(format!("--dump {file}: {what}"));
        if self.file.is_dir() {
            return Err(usage("it is a directory; expected the name of a file to write".to_owned()));
        }
        let part = Part::of(&self.file);
        fs::File::create(&part.0)
            .map(drop)
            .map_err(|error| usage(format!("{error}; expected the name of a file that can be written")))
    }
}

/// The file while it is written: it has the name it was given only once it is whole. Removed when dropped.
struct Part(PathBuf);

impl Part {
    fn of(file: &Path) -> Part {
        let mut name = file.as_os_str().to_owned();
        name.push(".part");
        Part(name.into())
    }
}

impl Drop for Part {
    fn drop(&mut self) {
        // It may have its own name by now, or never have been made.
        let _ = fs::remove_file(&self.0);
    }
}

/// Takes a dump of QEMU's guest, which stands still meanwhile and goes on afterwards, within `limit`.
///
/// # Errors
///
/// QEMU's own words, such as that the disk is full. No part of the file is left.
pub(crate) fn take(qemu: &mut Connection, dump: &DumpSpec, limit: Option<Duration>) -> Result<()> {
    let file = dump.file.display();
    let part = Part::of(&std::path::absolute(&dump.file).with_context(|| format!("cannot find {file}"))?);
    // QEMU takes the rest of the text as the file's name, whatever is in it.
    let name = part.0.to_str().with_context(|| format!("{file}: QEMU takes only names that are UTF-8"))?;
    let mut arguments = json!({ "paging": false, "protocol": format!("file:{name}") });
    if dump.format == Format::Kdump {
        arguments["format"] = Value::from("kdump-zlib");
    }
    qemu.execute("stop", &json!({}), limit)?;
    qemu.execute("dump-guest-memory", &arguments, limit)
        .with_context(|| format!("cannot write the memory dump {file}: nothing was kept of it"))?;
    qemu.execute("cont", &json!({}), limit)?;
    fs::rename(&part.0, &dump.file).with_context(|| format!("cannot rename {name} to {file}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_place_that_cannot_be_written_is_told_before_the_run() {
        let dir = tempfile::tempdir().expect("dir");
        let check = |file: &str| DumpSpec { file: dir.path().join(file), format: Format::Elf }.check();
        assert!(check("guest.dump").is_ok());
        assert_eq!(fs::read_dir(dir.path()).expect("list").count(), 0, "nothing is left");
        assert!(check("").expect_err("a directory").to_string().contains("is a directory"));
        assert!(check("no/dir").expect_err("no directory").to_string().contains("No such file"));
    }
}
