// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The sources of Rust's core library, which is compiled with the target kernel's own flags.
//!
//! rustup's component rust-src, where the toolchain has it; else Debian's package of the same sources, unpacked in the
//! cache.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};

use crate::apt::{self, Root};
use crate::cache::Cache;
use crate::progress::Progress;
use crate::{process, version};

/// Tells cargo where the sources of the standard library are; cargo's own tests use it, and nothing else does it.
const SOURCE_ROOT: &str = "__CARGO_TESTS_ONLY_SRC_ROOT";

/// Debian's packages of the sources, several versions side by side.
const PACKAGES: &[&str] = &["rust-src", "rust-web-src"];
/// Where they are.
const SUITES: &[&str] = &["trixie-backports", "bookworm-security"];

/// What to set in the environment of cargo, or of a make that runs cargo, so that it finds the sources. They are fetched
/// if they are nowhere on this machine.
///
/// # Errors
///
/// There is no rustc, or there are no sources and they cannot be fetched.
pub fn env(cache: &Cache, progress: &Progress) -> Result<Vec<(String, String)>> {
    let sysroot = process::stdout(Command::new("rustc").args(["--print", "sysroot"]))?;
    if is_library(&Path::new(sysroot.trim()).join("lib/rustlib/src/rust/library")) {
        return Ok(Vec::new());
    }
    let rustc = rustc_version()?;
    let library = match cached(cache, rustc) {
        Some(library) => library,
        None => fetch(cache, rustc, progress).context(
            "there are no sources of Rust's core library; where rustup manages the toolchain, \
             `rustup component add rust-src` gets them",
        )?,
    };
    let library = library.to_str().with_context(|| format!("{} is not UTF-8", library.display()))?;
    Ok(vec![(SOURCE_ROOT.to_owned(), library.to_owned())])
}

/// A release of Rust, `1.MINOR`.
pub(crate) type Minor = u32;

/// The release of the rustc in use.
///
/// # Errors
///
/// There is no rustc, or it does not say its version.
pub(crate) fn rustc_version() -> Result<Minor> {
    let text = process::stdout(Command::new("rustc").arg("--version"))?;
    let version = text.split_whitespace().nth(1).unwrap_or_default();
    minor(version).with_context(|| format!("`rustc --version` says '{}', expected 'rustc 1.…'", text.trim()))
}

/// The release in a version: `1.95.0`, or Debian's `1.95.0+dfsg1-2`.
pub(crate) fn minor(version: &str) -> Option<Minor> {
    let mut parts = version.split('.');
    if parts.next()? != "1" {
        return None;
    }
    parts.next()?.parse().ok()
}

fn is_library(dir: &Path) -> bool {
    dir.join("core/src/lib.rs").is_file() && dir.join("Cargo.lock").is_file()
}

fn entry(rustc: Minor) -> String {
    format!("rust-src/1.{rustc}")
}

fn cached(cache: &Cache, rustc: Minor) -> Option<PathBuf> {
    Some(cache.get(&entry(rustc))?.join("library"))
}

fn fetch(cache: &Cache, rustc: Minor, progress: &Progress) -> Result<PathBuf> {
    let entry = cache.publish(&entry(rustc), progress, |entry| {
        let host = apt::host_architecture()?;
        let root = Root::open(cache, "rust", &[&host], SUITES, progress)?;
        let mut all = Vec::new();
        for package in PACKAGES {
            all.extend(root.records(package)?.into_iter().map(|record| (*package, record.version)));
        }
        let Some((package, version)) = nearest(&all, rustc) else {
            bail!("the archive has none of the packages {}\n{}", PACKAGES.join(", "), root.complaint());
        };
        if minor(version) != Some(rustc) {
            progress.note(&format!(
                "note: rustc is 1.{rustc}, and the nearest sources that Debian has are {package} {version}; if they do \
                 not compile, get the right ones with `rustup component add rust-src`"
            ));
        }
        progress.phase(format!("sources of Rust's core library: {package} {version}"), |_| {
            root.unpack(&[format!("{package}={version}")], entry)?;
            keep_library(entry)
        })
    })?;
    Ok(entry.join("library"))
}

/// The version nearest to `rustc`: the same release if there is one, the newer package of two as near.
fn nearest<'a>(versions: &'a [(&'a str, String)], rustc: Minor) -> Option<(&'a str, &'a str)> {
    versions
        .iter()
        .filter_map(|(package, version)| Some((minor(version)?, *package, version.as_str())))
        .min_by(|a, b| a.0.abs_diff(rustc).cmp(&b.0.abs_diff(rustc)).then_with(|| version::compare(b.2, a.2)))
        .map(|(_, package, version)| (package, version))
}

/// The package holds the compiler too. Of `usr/src/RUSTC/library` only the last part stays.
fn keep_library(entry: &Path) -> Result<()> {
    let sources = entry.join("usr/src");
    let found = fs::read_dir(&sources)
        .with_context(|| format!("cannot list {}", sources.display()))?
        .filter_map(|dir| Some(dir.ok()?.path().join("library")))
        .find(|dir| is_library(dir))
        .with_context(|| format!("the package has no library/core below {}", sources.display()))?;
    let library = entry.join("library");
    fs::rename(&found, &library)
        .with_context(|| format!("cannot rename {} to {}", found.display(), library.display()))?;
    let rest = entry.join("usr");
    fs::remove_dir_all(&rest).with_context(|| format!("cannot remove {}", rest.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases() {
        assert_eq!(minor("1.95.0"), Some(95));
        assert_eq!(minor("1.96.1+dfsg1-2~bpo13+1"), Some(96));
        assert_eq!(minor("1.97-nightly"), None);
        assert_eq!(minor("2.0.0"), None);
    }

    #[test]
    fn the_same_release_is_nearest() {
        let all = [
            ("rust-src", "1.96.1+dfsg1-2~bpo13+1"),
            ("rust-src", "1.95.0+dfsg1-2~bpo13+1"),
            ("rust-src", "1.93.1+dfsg1-2~bpo13+1"),
            ("rust-web-src", "1.96.0+dfsg1-1~deb12u2"),
        ]
        .map(|(package, version)| (package, version.to_owned()));
        let nearest = |rustc| nearest(&all, rustc).expect("some").1;
        assert_eq!(nearest(95), "1.95.0+dfsg1-2~bpo13+1");
        assert_eq!(nearest(96), "1.96.1+dfsg1-2~bpo13+1");
        assert_eq!(nearest(99), "1.96.1+dfsg1-2~bpo13+1");
        assert_eq!(nearest(90), "1.93.1+dfsg1-2~bpo13+1");
        assert_eq!(super::nearest(&[], 95), None);
    }

    #[test]
    fn only_the_library_stays() {
        let dir = tempfile::tempdir().expect("dir");
        let rustc = dir.path().join("usr/src/rustc-1.95.0");
        for file in ["library/core/src/lib.rs", "compiler/x.rs"] {
            let path = rustc.join(file);
            fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            fs::write(path, "").expect("write");
        }
        assert!(keep_library(dir.path()).is_err());
        fs::write(rustc.join("library/Cargo.lock"), "").expect("write");
        keep_library(dir.path()).expect("kept");
        assert!(is_library(&dir.path().join("library")));
        assert!(!dir.path().join("usr").exists());
    }
}
