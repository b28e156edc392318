// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Debian's kernels, fetched into the cache as Debian's packages.

use std::fs;
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use super::{Kernel, make_vars, read, release};
use crate::apt::{self, Root};
use crate::cache::Cache;
use crate::progress::Progress;
use crate::{Arch, Failure, version};

/// A distribution kernel that can be fetched.
#[derive(Debug, PartialEq, Eq)]
pub struct Known {
    /// What `--kernel` takes.
    pub id: &'static str,
    /// What the versions of its packages begin with.
    pub series: &'static str,
}

/// Of the series 6.1.
pub static DEBIAN_6_1: Known = Known { id: "debian-6.1", series: "6.1." };
/// Of the series 6.12.
pub static DEBIAN_6_12: Known = Known { id: "debian-6.12", series: "6.12." };

/// A release of Debian, as an architecture's packages are taken from it: kernels, and programs for guests.
#[derive(Debug)]
pub struct Release {
    /// What it is, for a list.
    pub about: &'static str,
    /// The suites that its packages are in.
    pub suites: &'static [&'static str],
    /// Where its packages have what once was in `/bin` and `/lib` (`UsrMerge` in Debian's wiki): `usr/`, or nothing.
    pub usr: &'static str,
    /// The release whose kbuild tools take the place of its own, which may need newer libraries than this machine has.
    pub tools: Option<&'static Release>,
    /// What is named otherwise than in the releases before it: the packages of programs and libraries for a guest.
    pub renamed: &'static [(&'static str, &'static str)],
    /// What those programs need that the releases before it did not have, or not as a package of its own.
    pub added: &'static [&'static str],
}

impl Release {
    /// What apt calls the package that Debian 12 calls `name`, for the architecture that Debian calls `debian`.
    pub(crate) fn name_of(&self, name: &str, debian: &str) -> String {
        let name = self.renamed.iter().find(|(old, _)| *old == name).map_or(name, |(_, new)| new);
        // One package for all architectures is renamed to that.
        if name.contains(':') { name.to_owned() } else { format!("{name}:{debian}") }
    }
}

/// Debian 12, with backports.
pub static BOOKWORM: Release = Release {
    about: "Debian 12 (bookworm)",
    suites: &["bookworm", "bookworm-updates", "bookworm-security", "bookworm-backports"],
    usr: "",
    tools: None,
    renamed: &[],
    added: &[],
};

/// Debian 13. Its tools need glibc 2.38.
pub static TRIXIE: Release = Release {
    about: "Debian 13 (trixie)",
    suites: &["trixie", "trixie-updates", "trixie-security"],
    usr: "usr/",
    tools: Some(&BOOKWORM),
    renamed: &[("libssl3", "libssl3t64"), ("linux-libc-dev", "linux-libc-dev:all")],
    added: &["libjansson4", "libsframe1"],
};

// What an entry of the cache is made of: links to what the packages name after their versions.
const BUILD: &str = "build";
const IMAGE: &str = "image";
const MODULES: &str = "modules";
/// The one file of busybox's entry.
const BUSYBOX: &str = "bin/busybox";

impl Known {
    /// Looks a kernel up by its id.
    ///
    /// # Errors
    ///
    /// There is none of that name ([`Failure::Usage`]).
    pub fn by_id(id: &str) -> Result<&'static Known> {
        let all = Known::all();
        let known = all.iter().copied().find(|known| known.id == id);
        let ids: Vec<&str> = all.iter().map(|known| known.id).collect();
        let message = || {
            format!(
                "there is no kernel '{id}': expected one of {}, or --kernel-dir and --image",
                ids.join(", ")
            )
        };
        Ok(known.ok_or_else(|| Failure::Usage(message()))?)
    }

    /// Every kernel that can be fetched for some architecture.
    pub fn all() -> Vec<&'static Known> {
        let mut all = vec![&DEBIAN_6_1, &DEBIAN_6_12];
        for known in crate::arches().iter().flat_map(|arch| arch.kernels) {
            if !all.contains(known) {
                all.push(known);
            }
        }
        all
    }

    /// Whether the architecture has this kernel.
    pub fn is_of(&self, arch: &Arch) -> bool {
        arch.kernels.contains(&self)
    }

    /// The kernels that the architecture has, oldest first.
    pub fn of(arch: &Arch) -> impl DoubleEndedIterator<Item = &'static Known> + use<> {
        arch.kernels.iter().copied()
    }

    /// Every kernel of `arches` that is one of `kernels`, by architecture.
    ///
    /// # Errors
    ///
    /// There is none ([`Failure::Usage`], which says what there is).
    pub fn pairs(
        arches: &[&'static Arch],
        kernels: &[&'static Known],
    ) -> Result<Vec<(&'static Arch, &'static Known)>, Failure> {
        let of = |arch: &&'static Arch| {
            let arch = *arch;
            kernels.iter().filter(|known| known.is_of(arch)).map(move |known| (arch, *known))
        };
        let pairs: Vec<_> = arches.iter().flat_map(of).collect();
        if pairs.is_empty() {
            return Err(none_of(arches, kernels));
        }
        Ok(pairs)
    }

    fn entry(&self, arch: &Arch) -> String {
        format!("kernels/{}/{}", arch.name, self.id)
    }

    /// The kernel, if it was fetched before. Takes a few milliseconds.
    ///
    /// # Errors
    ///
    /// The architecture has no such kernel ([`Failure::Usage`]), or the entry in the cache is damaged.
    pub fn load(&self, cache: &Cache, arch: &'static Arch) -> Result<Option<Kernel>> {
        if !self.is_of(arch) {
            return Err(no_such_pair(arch, self).into());
        }
        let (Some(entry), Some(busybox)) = (cache.get(&self.entry(arch)), cached_busybox(cache, arch)) else {
            return Ok(None);
        };
        let place = |link: &str| {
            fs::canonicalize(entry.join(link)).with_context(|| {
                format!(
                    "the cache entry {} is damaged: remove it, and it will be fetched again",
                    entry.display()
                )
            })
        };
        let build_dir = place(BUILD)?;
        Ok(Some(Kernel {
            arch,
            id: self.id.to_owned(),
            release: release(&build_dir)?,
            make_vars: make_vars(&build_dir, arch)?,
            build_dir,
            image: place(IMAGE)?,
            modules: Some(place(MODULES)?),
            busybox,
        }))
    }

    /// The kernel, fetched if it is not in the cache: image, modules, headers and a busybox.
    ///
    /// # Errors
    ///
    /// The architecture has no such kernel ([`Failure::Usage`]), there is no apt or no mirror of Debian, the archive lacks the kernel, the download fails or the disk is full.
    pub fn fetch(&self, cache: &Cache, arch: &'static Arch, progress: &Progress) -> Result<Kernel> {
        if let Some(kernel) = self.load(cache, arch)? {
            return Ok(kernel);
        }
        let host = apt::host_architecture()?;
        let mut root = None;
        cache.publish(&self.entry(arch), progress, |entry| {
            let root = root.insert(open_root(cache, arch, &host, progress)?);
            let plan = Plan::new(root, arch, self.series, &host)
                .with_context(|| format!("cannot find {} for {arch}", self.id))?;
            progress.phase(format!("{} for {arch}: {}", self.id, plan.release), |_| {
                root.unpack(&plan.packages, entry)?;
                tidy(entry, &plan.release, arch)
            })?;
            match arch.release.tools {
                Some(release) => self.replace_tools(cache, release, &plan.tools, &host, entry, progress),
                None => Ok(()),
            }
        })?;
        fetch_busybox(cache, arch, root, progress)?;
        self.load(cache, arch)?
            .with_context(|| format!("{} for {arch} is not in the cache after all", self.id))
    }
}

impl Known {
    /// Puts the kbuild tools of `release` where the kernel's headers look for those of the package `wanted`.
    fn replace_tools(
        &self,
        cache: &Cache,
        release: &Release,
        wanted: &str,
        host: &str,
        entry: &Path,
        progress: &Progress,
    ) -> Result<()> {
        let root = Root::open(cache, host, &[host], release.suites, progress)?;
        let names = root.names("linux-kbuild-")?;
        let newest = newest_tools(&names, self.series)
            .with_context(|| format!("{} has no linux-kbuild-{}*", release.about, self.series))?;
        let tools = entry.join("tools");
        fs::create_dir_all(&tools).with_context(|| format!("cannot create {}", tools.display()))?;
        root.unpack(&[format!("{newest}:{host}")], &tools)?;
        let own = entry.join("usr/lib").join(wanted);
        remove(&own)?;
        let theirs = tools.join("usr/lib").join(newest);
        fs::rename(&theirs, &own)
            .with_context(|| format!("cannot move {} to {}", theirs.display(), own.display()))?;
        remove(&tools)
    }
}

/// The package of the newest kbuild tools of a series.
fn newest_tools<'a>(names: &'a [String], series: &str) -> Option<&'a str> {
    let version = |name: &'a str| name.strip_prefix("linux-kbuild-").filter(|text| text.starts_with(series));
    let named = names.iter().filter_map(|name| Some((version(name)?, name.as_str())));
    named.max_by(|(a, _), (b, _)| version::compare(a, b)).map(|(_, name)| name)
}

/// What is said of a kernel that an architecture does not have.
fn no_such_pair(arch: &Arch, known: &Known) -> Failure {
    Failure::Usage(format!("{} has no {arch} kernel; {}", known.id, what_there_is(arch)))
}

/// What is said if none of `arches` has one of `kernels`.
fn none_of(arches: &[&Arch], kernels: &[&Known]) -> Failure {
    match (arches, kernels) {
        ([arch], [known]) => no_such_pair(arch, known),
        _ => {
            let there: Vec<String> =
                arches.iter().map(|arch| format!("{arch}: {}", what_there_is(arch))).collect();
            Failure::Usage(format!("no such kernel; {}", there.join("; ")))
        }
    }
}

fn what_there_is(arch: &Arch) -> String {
    if arch.kernels.is_empty() {
        return format!("no kernel of {arch} is known: --kernel-dir and --image take one of your own");
    }
    let ids: Vec<&str> = arch.kernels.iter().map(|known| known.id).collect();
    format!("there are: {}", ids.join(", "))
}

pub(crate) fn open_root(cache: &Cache, arch: &Arch, host: &str, progress: &Progress) -> Result<Root> {
    let mut architectures = vec![host];
    if arch.debian != host {
        architectures.push(arch.debian);
    }
    Root::open(cache, arch.debian, &architectures, arch.release.suites, progress)
}

fn busybox_entry(arch: &Arch) -> String {
    format!("busybox/{}", arch.name)
}

fn cached_busybox(cache: &Cache, arch: &Arch) -> Option<PathBuf> {
    cache.get(&busybox_entry(arch)).map(|entry| entry.join(BUSYBOX))
}

pub(super) fn fetch_busybox(
    cache: &Cache,
    arch: &Arch,
    root: Option<Root>,
    progress: &Progress,
) -> Result<PathBuf> {
    cache.publish(&busybox_entry(arch), progress, |entry| {
        let root = match root {
            Some(root) => root,
            None => open_root(cache, arch, &apt::host_architecture()?, progress)?,
        };
        progress.phase(format!("busybox for {arch}"), |_| {
            root.unpack(&[format!("busybox-static:{}", arch.debian)], entry)
        })?;
        if !arch.release.usr.is_empty() {
            let (from, to) = (entry.join(arch.release.usr).join("bin"), entry.join("bin"));
            fs::rename(&from, &to)
                .with_context(|| format!("cannot move {} to {}", from.display(), to.display()))?;
        }
        remove(&entry.join("usr"))
    })?;
    cached_busybox(cache, arch).with_context(|| format!("busybox for {arch} is not in the cache after all"))
}

/// The packages that make a kernel.
#[derive(Debug)]
struct Plan {
    release: String,
    packages: Vec<String>,
    /// The one of them that has the kbuild tools.
    tools: String,
}

impl Plan {
    /// The newest kernel of `series` whose packages are all there.
    fn new(root: &Root, arch: &Arch, series: &str, host: &str) -> Result<Plan> {
        let names = root.names("linux-headers-")?;
        let mut lacking = Vec::new();
        for version in versions(&names, series, arch.flavour) {
            match Plan::complete(root, arch, version, host)? {
                Ok(plan) => return Ok(plan),
                Err(reason) => lacking.push(reason),
            }
        }
        if lacking.is_empty() {
            lacking.push(format!("there is no package linux-headers-{series}*-{}", arch.flavour));
        }
        if !root.complaint().is_empty() {
            lacking.push(format!("apt could not get all package lists:\n{}", root.complaint()));
        }
        bail!("{}", lacking.join("\n"))
    }

    fn complete(root: &Root, arch: &Arch, version: &str, host: &str) -> Result<Result<Plan, String>> {
        let release = format!("{version}-{}", arch.flavour);
        let headers = format!("linux-headers-{release}:{}", arch.debian);
        let Some(record) = root.records(&headers)?.into_iter().next() else {
            return Ok(Err(format!("the archive names {headers}, and does not have it")));
        };
        let mut packages = vec![headers];
        let mut tools = String::new();
        for (prefix, host_tool) in [("linux-headers-", false), ("linux-kbuild-", true)] {
            let Some(name) = record.depends.iter().find(|name| name.starts_with(prefix)) else {
                return Ok(Err(format!("{} does not depend on a {prefix}* package", packages[0])));
            };
            packages.push(if host_tool { format!("{name}:{host}") } else { name.clone() });
            tools.clone_from(name);
        }
        // An archive without signed kernels calls it unsigned.
        let images = ["", "-unsigned"].map(|suffix| format!("linux-image-{release}{suffix}:{}", arch.debian));
        for image in images {
            if !root.records(&image)?.is_empty() {
                packages.push(image);
                break;
            }
        }
        if packages.len() < 4 {
            return Ok(Err(format!("the archive has no linux-image-{release}")));
        }
        for package in &packages {
            if root.records(package)?.is_empty() {
                return Ok(Err(format!(
                    "the archive does not have {package}, which linux-headers-{release} needs"
                )));
            }
        }
        Ok(Ok(Plan { release, packages, tools }))
    }
}

/// The versions of `series` that there are headers of for the plain flavour, newest first.
fn versions<'a>(names: &'a [String], series: &str, flavour: &str) -> Vec<&'a str> {
    // A longer flavour ends alike: 6.1.0-50-cloud-amd64 is not for amd64.
    let is_version = |text: &&str| {
        text.starts_with(series) && text.split('-').all(|part| part.starts_with(|c: char| c.is_ascii_digit()))
    };
    let suffix = format!("-{flavour}");
    let mut versions: Vec<&str> = names
        .iter()
        .filter_map(|name| name.strip_prefix("linux-headers-")?.strip_suffix(&suffix))
        .filter(is_version)
        .collect();
    versions.sort_by(|a, b| version::compare(b, a));
    versions.dedup();
    versions
}

/// Turns the unpacked packages in `entry` into an entry of the cache.
fn tidy(entry: &Path, release: &str, arch: &Arch) -> Result<()> {
    let headers = format!("usr/src/linux-headers-{release}");
    // The path of the other package is absolute; an entry has none of its own, so that a cache can be moved.
    let makefile = entry.join(&headers).join("Makefile");
    let text = read(&makefile)?;
    let text = text.replace("/usr/src/", "$(dir $(lastword $(MAKEFILE_LIST)))../");
    fs::write(&makefile, text).with_context(|| format!("cannot write {}", makefile.display()))?;

    let image = match arch.qemu.image {
        crate::arch::Image::Vmlinuz => format!("boot/vmlinuz-{release}"),
        crate::arch::Image::Vmlinux => format!("boot/vmlinux-{release}"),
    };
    let modules = format!("{}lib/modules/{release}", arch.release.usr);
    for (link, target) in [(BUILD, &headers), (IMAGE, &image), (MODULES, &modules)] {
        if !entry.join(target).exists() {
            bail!("the packages of {release} have no {target}");
        }
        symlink(target, entry.join(link)).with_context(|| format!("cannot create the link {link}"))?;
    }
    // Documents, and device trees that no machine of QEMU's needs.
    for bulk in ["usr/share", "etc", &format!("usr/lib/linux-image-{release}")] {
        remove(&entry.join(bulk))?;
    }
    // They lead to the host's /usr/src.
    for link in ["build", "source"] {
        let link = entry.join(&modules).join(link);
        if link.is_symlink() {
            fs::remove_file(&link).with_context(|| format!("cannot remove {}", link.display()))?;
        }
    }
    Ok(())
}

pub(crate) fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_newest_of_the_plain_flavour_is_first() {
        let names: Vec<String> = [
            "linux-headers-6.1.0-9-amd64",
            "linux-headers-6.1.0-50-amd64",
            "linux-headers-6.1.0-50-cloud-amd64",
            "linux-headers-6.1.0-51-rt-amd64",
            "linux-headers-6.1.0-52-arm64",
            "linux-headers-6.12.95+deb12-amd64",
            "linux-headers-6.12.107+deb12-amd64",
            "linux-headers-6.12.107+deb12-common",
            "linux-headers-amd64",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(versions(&names, "6.1.", "amd64"), ["6.1.0-50", "6.1.0-9"]);
        assert_eq!(versions(&names, "6.12.", "amd64"), ["6.12.107+deb12", "6.12.95+deb12"]);
        assert!(versions(&names, "6.12.", "s390x").is_empty());
    }

    #[test]
    fn an_entry_has_no_path_of_the_packages_own() {
        let dir = tempfile::tempdir().expect("dir");
        let arch = Arch::by_name("ppc64").expect("arch");
        let write = |name: &str, text: &str| {
            let path = dir.path().join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            fs::write(path, text).expect("write");
        };
        write("usr/src/linux-headers-1-x/Makefile", "include /usr/src/linux-headers-1-common/Makefile\n");
        write("usr/share/doc/bulk", "");
        write("usr/lib/linux-image-1-x/board.dtb", "");
        write("lib/modules/1-x/kernel/a.ko", "");
        symlink("/usr/src/linux-headers-1-x", dir.path().join("lib/modules/1-x/build")).expect("link");
        let error = tidy(dir.path(), "1-x", arch).expect_err("no image");
        assert!(error.to_string().contains("boot/vmlinux-1-x"), "{error}");
        fs::remove_file(dir.path().join(BUILD)).expect("remove");

        write("boot/vmlinux-1-x", "");
        write("usr/src/linux-headers-1-x/Makefile", "include /usr/src/linux-headers-1-common/Makefile\n");
        tidy(dir.path(), "1-x", arch).expect("tidy");
        assert_eq!(
            read(&dir.path().join("build/Makefile")).expect("Makefile"),
            "include $(dir $(lastword $(MAKEFILE_LIST)))../linux-headers-1-common/Makefile\n"
        );
        assert!(dir.path().join("modules/kernel/a.ko").is_file());
        assert!(!dir.path().join("modules/build").is_symlink());
        assert!(!dir.path().join("usr/share").exists());
        assert!(!dir.path().join("usr/lib/linux-image-1-x").exists());
    }

    #[test]
    fn an_unknown_kernel_is_a_usage_error() {
        let error = Known::by_id("debian-2.4").expect_err("unknown");
        assert_eq!(crate::exit_status(&error), 2);
        assert!(error.to_string().contains("debian-6.1, debian-6.12"), "{error}");
    }

    /// An architecture with these kernels, and else as arm64.
    fn with(kernels: &[&'static Known]) -> &'static Arch {
        let arm64 = Arch::by_name("arm64").expect("arch").clone();
        Box::leak(Box::new(Arch { kernels: kernels.to_vec().leak(), ..arm64 }))
    }

    #[test]
    fn only_pairs_that_there_are_are_made() {
        let (one, both, none) = (with(&[&DEBIAN_6_12]), with(&[&DEBIAN_6_1, &DEBIAN_6_12]), with(&[]));
        let (old, new) = (&DEBIAN_6_1, &DEBIAN_6_12);
        let pairs = Known::pairs(&[one, both, none], &[old, new]).expect("some");
        let ids: Vec<&str> = pairs.iter().map(|(_, known)| known.id).collect();
        assert_eq!(ids, ["debian-6.12", "debian-6.1", "debian-6.12"]);
        assert_eq!(Known::of(one).map(|known| known.id).collect::<Vec<_>>(), ["debian-6.12"]);
        assert_eq!(Known::of(none).count(), 0);
    }

    #[test]
    fn a_kernel_that_an_architecture_does_not_have_is_a_usage_error() {
        let cache = tempfile::tempdir().expect("dir");
        let cache = Cache::at(cache.path());
        let (one, none) = (with(&[&DEBIAN_6_12]), with(&[]));
        let old = &DEBIAN_6_1;
        let errors = [
            Known::pairs(&[one], &[old]).expect_err("pair").to_string(),
            old.load(&cache, one).expect_err("load").to_string(),
            old.fetch(&cache, one, &Progress::silent()).expect_err("fetch").to_string(),
        ];
        for error in errors {
            assert_eq!(error, "debian-6.1 has no arm64 kernel; there are: debian-6.12");
        }
        let error = Known::pairs(&[none], &Known::all()).expect_err("none");
        assert!(matches!(error, Failure::Usage(_)));
        assert!(error.to_string().contains("no kernel of arm64 is known"), "{error}");
    }

    #[test]
    fn every_kernel_of_an_architecture_is_found_by_its_id_and_the_newest_is_the_last() {
        for arch in crate::arches() {
            for known in Known::of(arch) {
                assert_eq!(Known::by_id(known.id).expect("known"), known);
            }
            let series: Vec<&str> = Known::of(arch).map(|known| known.series).collect();
            assert!(series.is_sorted_by(|one, next| version::compare(one, next).is_lt()), "{arch}");
        }
    }

    #[test]
    fn the_newest_tools_of_a_series_are_taken() {
        let names = [
            "linux-kbuild-6.1",
            "linux-kbuild-6.12.95+deb12",
            "linux-kbuild-6.12.117+deb12",
            "linux-kbuild-6.120",
        ];
        let names = names.map(str::to_owned);
        assert_eq!(newest_tools(&names, "6.12."), Some("linux-kbuild-6.12.117+deb12"));
        assert_eq!(newest_tools(&names, "7.2."), None);
    }
}
