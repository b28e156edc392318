// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Files of the kernel's own source tree, from Debian's linux-source packages. They are used where they are, in the
//! cache; none of them is part of this project.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

use crate::apt::{self, Root};
use crate::cache::Cache;
use crate::kernel::debian::BOOKWORM;
use crate::process;
use crate::progress::Progress;

/// The directories that are kept of a source tree.
const KEPT: &[&str] = &["samples/livepatch", "lib/livepatch", "tools/testing/selftests/livepatch"];

/// The parts of Linux `series` (such as `6.1`) that this project's tests use: a tree with `KEPT` in it.
///
/// # Errors
///
/// The package cannot be had, or the disk is full.
pub fn tree(series: &str, progress: &Progress) -> Result<PathBuf> {
    let cache = Cache::open()?;
    cache.publish(&format!("sources/linux-{series}"), progress, |entry| {
        let host = apt::host_architecture()?;
        let root = Root::open(&cache, &host, &[&host], BOOKWORM.suites, progress)?;
        progress.phase(format!("Linux {series} sources"), |_| {
            root.unpack(&[format!("linux-source-{series}")], entry)?;
            let archive = format!("usr/src/linux-source-{series}.tar.xz");
            let mut tar = Command::new("tar");
            tar.current_dir(entry).args(["--extract", "--xz", "--strip-components=1", "--file", &archive]);
            // Of the kept directories, those that this series has.
            tar.arg("--wildcards").args(KEPT.iter().map(|dir| format!("*/{dir}/*")));
            // tar exits with 2 if a pattern matches nothing, which is no failure here.
            process::run(&mut tar)?;
            fs::remove_dir_all(entry.join("usr")).context("cannot remove the source archive")
        })
    })
}

/// The kernel's own livepatch selftests, as one series has them.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Selftests {
    /// The directory of the scripts, and of what they run.
    pub scripts: PathBuf,
    /// A directory for each of the modules that they load, to be built like a patch's.
    pub modules: Vec<PathBuf>,
}

/// The livepatch selftests of Linux `series`.
///
/// # Errors
///
/// As [`tree`]; or the series has none.
pub fn livepatch_selftests(series: &str, progress: &Progress) -> Result<Selftests> {
    let tree = tree(series, progress)?;
    let scripts = tree.join("tools/testing/selftests/livepatch");
    // They moved to the scripts that load them.
    let places = [scripts.join("test_modules"), tree.join("lib/livepatch")];
    let sources = places.iter().find(|dir| dir.is_dir());
    let sources =
        sources.with_context(|| format!("Linux {series} has no modules for livepatch selftests"))?;
    let modules = modules_of(sources, &format!("livepatch-selftests-{series}"), progress)?;
    Ok(Selftests { scripts, modules })
}

/// A directory for each of the kernel's own livepatch samples, as Linux 6.1 has them, to be built like a patch's.
///
/// # Errors
///
/// As [`tree`].
pub fn livepatch_samples(progress: &Progress) -> Result<Vec<PathBuf>> {
    let samples = tree("6.1", progress)?.join("samples/livepatch");
    modules_of(&samples, "livepatch-samples", progress)
}

/// A directory for each module whose source is in `sources`. They are kept in the cache under `name`.
fn modules_of(sources: &Path, name: &str, progress: &Progress) -> Result<Vec<PathBuf>> {
    let entry = Cache::open()?.publish(&format!("sources/{name}"), progress, |entry| {
        for source in list(sources)? {
            if source.extension().is_some_and(|extension| extension == "c") {
                module_dir(&source, entry)?;
            }
        }
        Ok(())
    })?;
    list(&entry)
}

/// Makes a directory below `parent` for the module that is built from `source`: a copy of it, and of what it includes from
/// beside it.
fn module_dir(source: &Path, parent: &Path) -> Result<()> {
    let name = source.file_stem().and_then(|name| name.to_str()).context("a module without a name")?;
    let dir = parent.join(name);
    fs::create_dir(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let text = fs::read_to_string(source).with_context(|| format!("cannot read {}", source.display()))?;
    let included = text.lines().filter_map(|line| line.strip_prefix("#include \"")?.strip_suffix('"'));
    for file in included.map(|file| source.with_file_name(file)).chain([source.to_owned()]) {
        let to = dir.join(file.file_name().context("a source without a name")?);
        fs::copy(&file, to).with_context(|| format!("cannot copy {}", file.display()))?;
    }
    fs::write(dir.join("Kbuild"), format!("obj-m := {name}.o\n")).context("cannot write a Kbuild file")
}

/// What is in `dir`, by name.
fn list(dir: &Path) -> Result<Vec<PathBuf>> {
    let context = || format!("cannot list {}", dir.display());
    let entries = fs::read_dir(dir).with_context(context)?;
    let mut paths =
        entries.map(|entry| Ok(entry?.path())).collect::<Result<Vec<_>>>().with_context(context)?;
    paths.sort();
    Ok(paths)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_module_comes_with_what_it_includes() {
        let dir = tempfile::tempdir().expect("dir");
        let write = |name: &str, text: &str| fs::write(dir.path().join(name), text).expect("write");
        write("a.c", "int a;\n");
        write("b.c", "#include <linux/module.h>\n#include \"a.c\"\n");
        let parent = dir.path().join("modules");
        fs::create_dir(&parent).expect("dir");
        module_dir(&dir.path().join("b.c"), &parent).expect("made");
        let files = list(&parent.join("b")).expect("list");
        let names: Vec<_> = files.iter().filter_map(|file| file.file_name()?.to_str()).collect();
        assert_eq!(names, ["Kbuild", "a.c", "b.c"]);
        assert_eq!(fs::read_to_string(&files[0]).expect("read"), "obj-m := b.o\n");
    }
}
