// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Debian packages of any architecture and suite, by apt, without the host's apt noticing.
//!
//! A [`Root`] is an apt of our own inside the cache: its own sources, lists, dpkg status and architectures. Mirror, keys
//! and proxies are the host's. apt checks the archive's signature and each package's hash, as it always does.

pub mod install;
pub(crate) mod sources;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, SystemTime};

use anyhow::{Context, Result, ensure};

use crate::cache::Cache;
use crate::process;
use crate::progress::Progress;
use sources::Mirror;

/// How long a suite's lists are taken for current.
const FRESH: Duration = Duration::from_secs(3600);

/// What the lists of two architectures take, in bytes, with some to spare.
const LISTS: u64 = 200_000_000;

/// A private apt.
#[derive(Debug)]
pub struct Root {
    cache: Cache,
    dir: PathBuf,
    /// What apt had to say about the lists that it could not get.
    complaint: String,
}

/// What the archive says about a package.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// The package's version.
    pub version: String,
    /// The names of the packages it depends on; of alternatives, the first.
    pub depends: Vec<String>,
}

impl Root {
    /// Sets up the private apt `name` with the packages of `architectures` (the host's own first) in `suites`, and
    /// fetches the lists unless they are recent.
    ///
    /// # Errors
    ///
    /// There is no apt here, the host's sources name no mirror of Debian, or the cache cannot be written. Lists that
    /// cannot be fetched are no error: what is asked for may be in others.
    pub fn open(
        cache: &Cache,
        name: &str,
        architectures: &[&str],
        suites: &[&str],
        progress: &Progress,
    ) -> Result<Root> {
        let _lock = cache.lock(&format!("apt/{name}"), progress)?;
        let sources = mirror()?.deb822(suites);
        let mut root =
            Root { dir: cache.path(&format!("apt/{name}")), cache: cache.clone(), complaint: String::new() };
        root.write(&sources, architectures)?;
        if !root.is_fresh(&sources) {
            cache.require_space(LISTS)?;
            root.complaint = progress
                .phase(format!("package lists for {}", architectures.join(", ")), |_| root.update())?;
            if root.complaint.is_empty() {
                root.write_file("fresh", &sources)?;
            }
        }
        Ok(root)
    }

    fn write(&self, sources: &str, architectures: &[&str]) -> Result<()> {
        for dir in ["lists/partial", "cache/archives/partial"] {
            let dir = self.dir.join(dir);
            fs::create_dir_all(&dir).with_context(|| format!("cannot create {}", dir.display()))?;
        }
        self.write_file("klp.sources", sources)?;
        self.write_file("status", "")?;
        self.write_file("apt.conf", &configuration(&self.dir, architectures)?)
    }

    fn write_file(&self, name: &str, text: &str) -> Result<()> {
        let path = self.dir.join(name);
        fs::write(&path, text).with_context(|| format!("cannot write {}", path.display()))
    }

    fn is_fresh(&self, sources: &str) -> bool {
        let stamp = self.dir.join("fresh");
        let age = fs::metadata(&stamp)
            .and_then(|stamp| stamp.modified())
            .map(|at| SystemTime::now().duration_since(at));
        let recent = matches!(age, Ok(Ok(age)) if age < FRESH);
        recent && fs::read_to_string(&stamp).is_ok_and(|text| text == sources)
    }

    fn update(&self) -> Result<String> {
        let output = process::run(self.apt("apt-get").args(["-q", "update"]))?;
        let text = String::from_utf8_lossy(&output.stderr);
        let complaints = text.lines().filter(|line| line.starts_with("W:") || line.starts_with("E:"));
        let complaints = complaints.collect::<Vec<_>>().join("\n");
        match complaints.is_empty() && !output.status.success() {
            true => Ok(format!("apt-get update failed ({})", output.status)),
            false => Ok(complaints),
        }
    }

    fn apt(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.arg("-c").arg(self.dir.join("apt.conf"));
        command
    }

    /// What apt had to say about the lists that it could not get; empty if it got all.
    pub fn complaint(&self) -> &str {
        &self.complaint
    }

    /// The names of the packages that begin with `prefix`.
    ///
    /// # Errors
    ///
    /// apt cannot be run or cannot read the lists.
    pub fn names(&self, prefix: &str) -> Result<Vec<String>> {
        let text = process::stdout(self.apt("apt-cache").args(["pkgnames", prefix]))?;
        Ok(text.lines().map(str::to_owned).collect())
    }

    /// Every version that the archive has of `package` (`NAME[:ARCHITECTURE]`), apt's own choice first; none if it has
    /// no such package.
    ///
    /// # Errors
    ///
    /// apt cannot be run.
    pub fn records(&self, package: &str) -> Result<Vec<Record>> {
        // An unknown package is a failure to apt-cache.
        let mut command = self.apt("apt-cache");
        let output = process::run(command.args(["show", "--", package]))?;
        Ok(parse_records(&String::from_utf8_lossy(&output.stdout)))
    }

    /// What `packages` take while they are unpacked, in bytes: the packages themselves and what is in them.
    fn size(&self, packages: &[impl AsRef<str>]) -> Result<u64> {
        let mut command = self.apt("apt-cache");
        command.args(["--no-all-versions", "show", "--"]).args(packages.iter().map(AsRef::as_ref));
        Ok(parse_size(&process::stdout(&mut command)?))
    }

    /// Downloads `packages` (`NAME[:ARCHITECTURE][=VERSION]`) and unpacks them into `into`.
    ///
    /// # Errors
    ///
    /// A package cannot be had or is not what the archive signed, or the disk is full.
    pub fn unpack(&self, packages: &[impl AsRef<str>], into: &Path) -> Result<()> {
        self.cache.require_space(self.size(packages)?)?;
        let debs = tempfile::tempdir_in(into)
            .with_context(|| format!("cannot create a directory in {}", into.display()))?;
        let mut command = self.apt("apt-get");
        command.args(["-q", "download", "--"]).args(packages.iter().map(AsRef::as_ref));
        process::stdout(command.current_dir(debs.path()))?;
        let files =
            fs::read_dir(debs.path()).with_context(|| format!("cannot list {}", debs.path().display()))?;
        let mut unpacked = 0;
        for file in files {
            let deb = file.with_context(|| format!("cannot list {}", debs.path().display()))?.path();
            process::stdout(Command::new("dpkg-deb").arg("-x").arg(&deb).arg(into))?;
            unpacked += 1;
        }
        ensure!(
            unpacked == packages.len(),
            "apt was to download {} packages and downloaded {unpacked}: {}",
            packages.len(),
            process::line(&command)
        );
        Ok(())
    }
}

/// The host's mirror of Debian.
pub(crate) fn mirror() -> Result<Mirror> {
    Mirror::find(&sources::host()?).context(
        "this machine's apt sources name no mirror of Debian: add one (sources.list(5)), or use a kernel of your own \
         with --kernel-dir and --image",
    )
}

/// The host's own Debian architecture.
///
/// # Errors
///
/// There is no dpkg on this machine.
pub fn host_architecture() -> Result<String> {
    Ok(process::stdout(Command::new("dpkg").arg("--print-architecture"))?.trim().to_owned())
}

/// The configuration of the apt in `dir`. It is read after the host's, of which it leaves the proxies and takes away
/// what would act on the host (hooks) or fetch what we do not read.
fn configuration(dir: &Path, architectures: &[&str]) -> Result<String> {
    let dir = dir.to_str().filter(|dir| !dir.contains(['"', '\n'])).with_context(|| {
        format!("apt cannot work in {}: set KLP_CACHE to a path without quotes", dir.display())
    })?;
    let native = architectures.first().context("an apt root needs an architecture")?;
    let list: String = architectures.iter().map(|name| format!(" \"{name}\";")).collect();
    Ok(format!(
        "\
#clear APT::Update;
#clear APT::Architectures;
#clear Acquire::Languages;
#clear Acquire::IndexTargets::deb::DEP-11;
#clear Acquire::IndexTargets::deb::DEP-11-icons;
#clear Acquire::IndexTargets::deb::DEP-11-icons-small;
#clear Acquire::IndexTargets::deb::DEP-11-icons-hidpi;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large;
#clear Acquire::IndexTargets::deb::DEP-11-icons-large-hidpi;
Acquire::Languages \"none\";
Acquire::Retries \"3\";
APT::Architecture \"{native}\";
APT::Architectures {{{list} }};
APT::Sandbox::User \"root\";
Dir::State \"{dir}\";
Dir::State::lists \"{dir}/lists\";
Dir::State::status \"{dir}/status\";
Dir::Cache \"{dir}/cache\";
Dir::Etc::sourcelist \"{dir}/klp.sources\";
Dir::Etc::sourceparts \"/dev/null\";
Dir::Etc::preferences \"/dev/null\";
Dir::Etc::preferencesparts \"/dev/null\";
"
    ))
}

/// The sum of `Size` (bytes) and `Installed-Size` (KiB; deb-control(5)).
fn parse_size(text: &str) -> u64 {
    let unit = |field: &str| match field {
        "Size" => Some(1),
        "Installed-Size" => Some(1024),
        _ => None,
    };
    let fields = text.lines().filter_map(|line| line.split_once(": "));
    fields.filter_map(|(field, value)| Some(unit(field)? * value.parse::<u64>().ok()?)).sum()
}

fn parse_records(text: &str) -> Vec<Record> {
    let field = |stanza: &str, name: &str| {
        stanza.lines().find_map(|line| Some(line.strip_prefix(name)?.strip_prefix(": ")?.to_owned()))
    };
    let name = |dependency: &str| {
        let word = dependency.trim().split([' ', '(', '|', ':']).next().unwrap_or_default();
        Some(word.to_owned()).filter(|word| !word.is_empty())
    };
    text.split("\n\n")
        .filter_map(|stanza| {
            let depends = field(stanza, "Depends").unwrap_or_default();
            Some(Record {
                version: field(stanza, "Version")?,
                depends: depends.split(',').filter_map(name).collect(),
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_read() {
        let text = "\
Package: linux-headers-6.1.0-1-arm64
Version: 6.1.4-1
Installed-Size: 3
Size: 500
Depends: linux-headers-6.1.0-1-common (= 6.1.4-1), linux-kbuild-6.1 (>= 6.1.4-1), gcc-12 | gcc:any
Description: Version: of no use

Package: linux-headers-6.1.0-1-arm64
Version: 6.1.3-1
Size: 7
";
        assert_eq!(parse_size(text), 3 * 1024 + 507);
        let records = parse_records(text);
        assert_eq!(records.len(), 2);
        assert_eq!(records[0].version, "6.1.4-1");
        assert_eq!(records[0].depends, ["linux-headers-6.1.0-1-common", "linux-kbuild-6.1", "gcc-12"]);
        assert_eq!(records[1], Record { version: "6.1.3-1".to_owned(), depends: Vec::new() });
        assert_eq!(parse_records(""), []);
    }

    #[test]
    fn the_private_apt_stays_in_its_directory() {
        let text = configuration(Path::new("/c/apt/arm64"), &["amd64", "arm64"]).expect("text");
        assert!(text.contains("APT::Architectures { \"amd64\"; \"arm64\"; };\n"), "{text}");
        // The whole `Dir::State` and `Dir::Cache` trees, and each of `Dir::Etc` that says what to install.
        let places: Vec<&str> = text.lines().filter(|line| line.starts_with("Dir::")).collect();
        assert!(
            places.iter().all(|line| line.contains("\"/c/apt/arm64") || line.ends_with("\"/dev/null\";"))
        );
        assert_eq!(places.len(), 8);
        assert!(configuration(Path::new("/a\"b"), &["amd64"]).is_err());
    }
}
