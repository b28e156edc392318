// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Debian's own user space of an architecture: programs for a guest, with the libraries they need, and what a C program
//! that runs among them is compiled against.
//!
//! The kernel's selftests and tools like `kpatch` are written for these programs: busybox's say other words.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, bail};
use object::Endianness;
use object::read::elf::{Dyn, ElfFile64};

use crate::Arch;
use crate::apt::{self, Root};
use crate::cache::Cache;
use crate::guest::Added;
use crate::kernel::debian;
use crate::process;
use crate::progress::Progress;

/// The packages that programs are taken from, and those of their libraries. What is missing here is named when a
/// program that needs it is asked for.
const PACKAGES: &[&str] = &[
    "bash",
    "coreutils",
    "diffutils",
    "grep",
    "kmod",
    "libc-bin",
    "mawk",
    "procps",
    "sed",
    "util-linux",
    // What they are linked against.
    "libacl1",
    "libattr1",
    "libbinutils",
    "libc6",
    "libcap2",
    "libctf-nobfd0",
    "libctf0",
    "libgcrypt20",
    "libgmp10",
    "libgpg-error0",
    "liblz4-1",
    "liblzma5",
    "libpcre2-8-0",
    "libproc2-0",
    "libselinux1",
    "libssl3",
    "libsystemd0",
    "libtinfo6",
    "libzstd1",
    "zlib1g",
    // What C programs are compiled against.
    "libc6-dev",
    "linux-libc-dev",
];

/// Where programs go in the guest, ahead of busybox's `/bin`.
pub const PROGRAM_DIR: &str = "/usr/bin";

/// The user space of one architecture.
#[derive(Clone, Debug)]
pub struct Userland {
    arch: &'static Arch,
    /// The unpacked packages.
    root: PathBuf,
}

impl Userland {
    /// The user space of `arch`, fetched if it is not in the cache.
    ///
    /// # Errors
    ///
    /// There is no apt or no mirror of Debian, the download fails or the disk is full.
    pub fn fetch(arch: &'static Arch, progress: &Progress) -> Result<Userland> {
        let cache = Cache::open()?;
        let root = cache.publish(&format!("userland/{}", arch.name), progress, |entry| {
            // The last one is readelf, under the architecture's own name.
            let packages: Vec<String> = PACKAGES
                .iter()
                .chain(arch.release.added)
                .copied()
                .chain([&*format!("binutils-{}", arch.triple.replace('_', "-"))])
                .map(|name| arch.release.name_of(name, arch.debian))
                .collect();
            let root = debian::open_root(&cache, arch, &apt::host_architecture()?, progress)?;
            progress.phase(format!("user space for {arch}"), |_| root.unpack(&packages, entry))?;
            debian::remove(&entry.join("usr/share"))
        })?;
        Ok(Userland { arch, root })
    }

    /// `programs`, each as the name it gets in [`PROGRAM_DIR`] and the name of its file, with all shared libraries that
    /// they need.
    ///
    /// # Errors
    ///
    /// The packages lack a program or a library.
    pub fn programs(&self, programs: &[(&str, &str)]) -> Result<Vec<Added>> {
        let mut added: BTreeMap<String, PathBuf> = BTreeMap::new();
        for (name, file) in programs {
            let path = self.program(file)?;
            self.add_libraries(&path, &mut added)?;
            added.insert(format!("{PROGRAM_DIR}/{name}"), path);
        }
        Ok(added.into_iter().map(|(guest_path, source)| Added { source, guest_path }).collect())
    }

    /// Compiles the C file `source` into the program `out`, which needs no library in the guest.
    ///
    /// # Errors
    ///
    /// The compiler is missing, or has something to say.
    pub fn compile(&self, source: &Path, out: &Path) -> Result<()> {
        let mut command = Command::new(format!("{}gcc", self.arch.cross_compile()));
        command
            .arg(format!("--sysroot={}", self.root.display()))
            .args(["-O2", "-static", "-o"])
            .arg(out)
            .arg(source);
        process::stdout(&mut command)?;
        Ok(())
    }

    fn program(&self, file: &str) -> Result<PathBuf> {
        let places = ["bin", "sbin", "usr/bin", "usr/sbin"];
        find(&self.root, &places, file)
            .with_context(|| format!("the user space for {} has no program {file}", self.arch))
    }

    /// Adds what the ELF file `path` needs: its libraries, theirs, and the program that loads them.
    fn add_libraries(&self, path: &Path, added: &mut BTreeMap<String, PathBuf>) -> Result<()> {
        let triple = self.arch.triple;
        let dirs = [format!("lib/{triple}"), format!("usr/lib/{triple}")];
        let dirs = dirs.each_ref().map(String::as_str);
        let data = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
        let linked = Linked::parse(&data).with_context(|| path.display().to_string())?;
        let loader = linked.loader.iter().map(|path| (path.clone(), path.rsplit('/').next().unwrap_or(path)));
        let libraries = linked.libraries.iter().map(|name| (format!("/lib/{triple}/{name}"), name.as_str()));
        for (guest_path, name) in loader.chain(libraries) {
            let file = find(&self.root, &dirs, name).with_context(|| {
                format!("{} needs {name}, which no package of the user space has", path.display())
            })?;
            if added.insert(guest_path, file.clone()).is_none() {
                self.add_libraries(&file, added)?;
            }
        }
        Ok(())
    }
}

fn find(root: &Path, dirs: &[&str], file: &str) -> Option<PathBuf> {
    dirs.iter().map(|dir| root.join(dir).join(file)).find(|path| path.is_file())
}

/// What an ELF file is linked against.
#[derive(Debug, Default, PartialEq, Eq)]
struct Linked {
    /// The path of the program that loads its libraries; a library has none.
    loader: Option<String>,
    libraries: Vec<String>,
}

impl Linked {
    fn parse(data: &[u8]) -> Result<Linked> {
        use object::{Object, ObjectSection};
        let elf = ElfFile64::<Endianness>::parse(data)?;
        let endian = elf.endian();
        let loader = match elf.section_by_name(".interp") {
            Some(section) => {
                let path = std::str::from_utf8(section.data()?)?;
                Some(path.trim_end_matches('\0').to_owned())
            }
            None => None,
        };
        let Some((entries, strings)) = elf.elf_section_table().dynamic(endian, data)? else {
            bail!("it is not linked dynamically");
        };
        let strings = elf.elf_section_table().strings(endian, data, strings)?;
        let needed = entries.iter().filter(|entry| entry.tag32(endian) == Some(object::elf::DT_NEEDED));
        let name = |entry: &object::elf::Dyn64<Endianness>| -> Result<String> {
            Ok(std::str::from_utf8(entry.string(endian, strings)?)?.to_owned())
        };
        Ok(Linked { loader, libraries: needed.map(name).collect::<Result<_>>()? })
    }
}

/// The `kpatch` command (github.com/dynup/kpatch), as Debian packages it from version 13 (trixie) on: a bash script.
///
/// # Errors
///
/// As [`Userland::fetch`].
pub fn kpatch(progress: &Progress) -> Result<PathBuf> {
    let cache = Cache::open()?;
    let entry = cache.publish("kpatch", progress, |entry| {
        let host = apt::host_architecture()?;
        let root = Root::open(&cache, "kpatch", &[&host], &["trixie"], progress)?;
        progress.phase("kpatch", |_| root.unpack(&["kpatch"], entry))
    })?;
    Ok(entry.join("usr/sbin/kpatch"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_program_names_its_loader_and_libraries() {
        let own = fs::read(std::env::current_exe().expect("path")).expect("this test");
        let linked = Linked::parse(&own).expect("a program");
        assert!(linked.loader.expect("loader").contains("/ld"));
        assert!(linked.libraries.iter().any(|name| name == "libc.so.6"), "{:?}", linked.libraries);
        assert!(Linked::parse(b"#!/bin/sh\n").is_err());
    }
}
