// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The kernels that modules are built for and that QEMU boots.

pub mod debian;
pub mod symbols;

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result};

pub use debian::Known;

use crate::cache::Cache;
use crate::progress::Progress;
use crate::{Arch, Failure, apt, arches, process};

/// A kernel that is on this machine: what `make` builds against and what QEMU boots.
#[derive(Clone, Debug)]
pub struct Kernel {
    /// Its architecture.
    pub arch: &'static Arch,
    /// The id a user names it by (`debian-6.1`), or the build directory of a user's own kernel.
    pub id: String,
    /// The release string (`uname -r`), as modules are built for it: `UTS_RELEASE` of the build directory.
    pub release: String,
    /// The kernel build directory (`make -C`).
    pub build_dir: PathBuf,
    /// The bootable image.
    pub image: PathBuf,
    /// The installed modules (`…/lib/modules/RELEASE`), where there are any.
    pub modules: Option<PathBuf>,
    /// A static busybox of the kernel's architecture.
    pub busybox: PathBuf,
    /// Variables the make line needs beyond ARCH and CROSS_COMPILE (Debian's 6.1 wants DEB_HOST_ARCH and others).
    pub make_vars: Vec<(String, String)>,
}

impl Kernel {
    /// A user's own kernel: `kernel_dir` is the directory it was built in, or a distribution's headers
    /// (`/lib/modules/RELEASE/build`); `image` is what boots. The busybox for the guest is fetched if it is not in the
    /// cache.
    ///
    /// # Errors
    ///
    /// The directory or the image is not what modules can be built for and booted with ([`Failure::Usage`], which says
    /// what was expected), or busybox cannot be fetched.
    pub fn from_dirs(
        cache: &Cache,
        arch: &'static Arch,
        kernel_dir: &Path,
        image: &Path,
        progress: &Progress,
    ) -> Result<Kernel> {
        let own = Own::validate(arch, kernel_dir, image)?;
        let busybox = debian::fetch_busybox(cache, arch, None, progress)?;
        Ok(Kernel {
            arch,
            id: kernel_dir.display().to_string(),
            release: own.release,
            make_vars: make_vars(&own.build_dir, arch)?,
            build_dir: own.build_dir,
            image: own.image,
            modules: own.modules,
            busybox,
        })
    }
}

impl Kernel {
    /// Whether the running kernel's symbol table lists variables.
    pub(crate) fn lists_variables(&self) -> bool {
        fs::read_to_string(self.build_dir.join(CONFIG))
            .is_ok_and(|config| config.lines().any(|line| line == "CONFIG_KALLSYMS_ALL=y"))
    }
}

/// What a user's own kernel consists of.
#[derive(Debug, PartialEq, Eq)]
struct Own {
    release: String,
    build_dir: PathBuf,
    image: PathBuf,
    modules: Option<PathBuf>,
}

impl Own {
    fn validate(arch: &Arch, kernel_dir: &Path, image: &Path) -> Result<Own, Failure> {
        let dir = kernel_dir.display();
        let build_dir = fs::canonicalize(kernel_dir).map_err(|error| {
            Failure::Usage(format!("--kernel-dir {dir}: {error}; expected a kernel build directory"))
        })?;
        let lacks = |file: &str, what_then: &str| {
            Failure::Usage(format!("--kernel-dir {dir} has no {file}: {what_then}"))
        };
        let no_build_dir = "expected the directory that the kernel was built in (O=…), or a distribution's \
                            headers for it (/lib/modules/RELEASE/build)";
        let release =
            release(&build_dir).map_err(|_| lacks(&format!("{RELEASE} with a UTS_RELEASE"), no_build_dir))?;
        if !build_dir.join("Makefile").is_file() {
            return Err(lacks("Makefile", no_build_dir));
        }
        let config = fs::read_to_string(build_dir.join(CONFIG)).map_err(|_| lacks(CONFIG, no_build_dir))?;
        if !is_for(arch, &config) {
            let found = match arches().iter().find(|other| is_for(other, &config)) {
                Some(other) => format!("is for {other}"),
                None => "is for an architecture that the SDK does not know".to_owned(),
            };
            return Err(Failure::Usage(format!(
                "--kernel-dir {dir} {found}, and --arch says {arch}: expected {} in its {CONFIG}",
                arch.config.join(" and ")
            )));
        }
        if !build_dir.join("Module.symvers").is_file() {
            return Err(lacks(
                "Module.symvers",
                "modules cannot be linked without it; build the kernel's own modules first",
            ));
        }
        let image = fs::canonicalize(image).ok().filter(|image| image.is_file()).ok_or_else(|| {
            Failure::Usage(format!(
                "--image {}: expected a kernel image, and there is no such file",
                image.display()
            ))
        })?;
        // /lib/modules/RELEASE/build, before links are followed.
        let modules = kernel_dir
            .parent()
            .filter(|parent| kernel_dir.ends_with("build") && parent.join("kernel").is_dir())
            .and_then(|parent| fs::canonicalize(parent).ok());
        Ok(Own { release, build_dir, image, modules })
    }
}

/// Not `include/config/kernel.release`: Debian's 6.1 headers have the package's version there.
const RELEASE: &str = "include/generated/utsrelease.h";
const CONFIG: &str = "include/config/auto.conf";

/// Whether a kernel with this configuration is for `arch`.
fn is_for(arch: &Arch, config: &str) -> bool {
    !arch.config.is_empty() && arch.config.iter().all(|wanted| config.lines().any(|line| line == *wanted))
}

/// What `uname -r` says of a kernel that was built in `build_dir`.
fn release(build_dir: &Path) -> Result<String> {
    let path = build_dir.join(RELEASE);
    let text = read(&path)?;
    let line = text.lines().find_map(|line| line.strip_prefix("#define UTS_RELEASE"));
    let release =
        line.map(|value| value.trim().trim_matches('"').to_owned()).filter(|value| !value.is_empty());
    release.with_context(|| format!("expected '#define UTS_RELEASE \"…\"' in {}", path.display()))
}

fn make_vars(build_dir: &Path, arch: &Arch) -> Result<Vec<(String, String)>> {
    let mut vars = Vec::new();
    let mut push = |key: &str, value: &str| vars.push((key.to_owned(), value.to_owned()));
    // Debian's headers choose their compiler themselves, some by variables that Debian's package tools set.
    let variables = build_dir.join(".kernelvariables");
    if variables.exists() && read(&variables)?.contains("DEB_HOST_GNU_TYPE") {
        push("DEB_BUILD_ARCH", &apt::host_architecture()?);
        push("DEB_HOST_ARCH", arch.debian);
        push("DEB_HOST_GNU_TYPE", arch.triple);
    }
    let config = fs::read_to_string(build_dir.join(CONFIG)).unwrap_or_default();
    if needs_newer_pahole(&config, pahole_version) {
        push("CONFIG_DEBUG_INFO_BTF_MODULES", "");
    }
    Ok(vars)
}

/// Whether the kernel's modules have BTF by a pahole that is newer than this machine's: kbuild passes it options that an older
/// one does not know (`scripts/Makefile.btf`). A module without BTF is loaded all the same.
fn needs_newer_pahole(config: &str, version: impl Fn() -> Option<u32>) -> bool {
    let value = |key: &str| config.lines().find_map(|line| line.strip_prefix(key)?.strip_prefix('='));
    let kernels = value("CONFIG_PAHOLE_VERSION").and_then(|version| version.parse().ok());
    value("CONFIG_DEBUG_INFO_BTF_MODULES") == Some("y") && version() < kernels
}

/// The version of this machine's pahole, as the kernel's configuration has it: 124 is 1.24.
fn pahole_version() -> Option<u32> {
    let text = process::stdout(Command::new("pahole").arg("--version")).ok()?;
    let (major, minor) = text.trim().strip_prefix('v')?.split_once('.')?;
    Some(major.parse::<u32>().ok()? * 100 + minor.parse::<u32>().ok()?)
}

fn read(path: &Path) -> Result<String> {
    fs::read_to_string(path).with_context(|| format!("cannot read {}", path.display()))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn arch(name: &str) -> &'static Arch {
        Arch::by_name(name).expect("arch")
    }

    fn write(dir: &Path, files: &[(&str, &str)]) {
        for (name, text) in files {
            let path = dir.join(name);
            fs::create_dir_all(path.parent().expect("parent")).expect("dir");
            fs::write(path, text).expect("write");
        }
    }

    const WHOLE: &[(&str, &str)] = &[
        ("build/Makefile", ""),
        ("build/include/generated/utsrelease.h", "#define UTS_RELEASE \"6.6.1-mine\"\n"),
        ("build/include/config/auto.conf", "CONFIG_PPC=y\nCONFIG_PPC64=y\nCONFIG_CPU_LITTLE_ENDIAN=y\n"),
        ("build/Module.symvers", ""),
        ("kernel/fs/x.ko", ""),
        ("vmlinux", ""),
    ];

    #[test]
    fn a_kernel_of_ones_own() {
        let dir = tempfile::tempdir().expect("dir");
        let root = fs::canonicalize(dir.path()).expect("path");
        write(&root, WHOLE);
        let own = Own::validate(arch("ppc64"), &root.join("build"), &root.join("vmlinux")).expect("valid");
        assert_eq!(own.release, "6.6.1-mine");
        assert_eq!(own.modules, Some(root.clone()));
        fs::remove_dir_all(root.join("kernel")).expect("remove");
        let own = Own::validate(arch("ppc64"), &root.join("build"), &root.join("vmlinux")).expect("valid");
        assert_eq!(own.modules, None);
    }

    #[test]
    fn what_is_wrong_with_a_kernel_is_told() {
        let dir = tempfile::tempdir().expect("dir");
        let refusal = |arch_name: &str| {
            let (build, image) = (dir.path().join("build"), dir.path().join("vmlinux"));
            Own::validate(arch(arch_name), &build, &image).expect_err("refused").to_string()
        };
        assert!(refusal("ppc64").contains("No such file or directory"));
        let missing = [
            ("Makefile", "has no Makefile"),
            ("include/generated/utsrelease.h", "has no include/generated/utsrelease.h"),
            ("include/config/auto.conf", "has no include/config/auto.conf"),
            ("Module.symvers", "has no Module.symvers"),
        ];
        for (file, message) in missing {
            write(dir.path(), WHOLE);
            fs::remove_file(dir.path().join("build").join(file)).expect("remove");
            assert!(refusal("ppc64").contains(message), "{}", refusal("ppc64"));
        }
        write(dir.path(), WHOLE);
        assert!(refusal("arm64").contains("is for ppc64, and --arch says arm64: expected CONFIG_ARM64=y"));
        fs::remove_file(dir.path().join("vmlinux")).expect("remove");
        assert!(refusal("ppc64").contains("there is no such file"));
        // Big endian: not what the SDK's modules are.
        write(dir.path(), &[("build/include/config/auto.conf", "CONFIG_PPC64=y\n")]);
        assert!(refusal("ppc64").contains("does not know"));
    }

    #[test]
    fn only_headers_that_ask_for_debians_variables_get_them() {
        let dir = tempfile::tempdir().expect("dir");
        assert_eq!(make_vars(dir.path(), arch("s390")).expect("vars"), []);
        write(dir.path(), &[(".kernelvariables", "override CROSS_COMPILE = s390x-linux-gnu-\n")]);
        assert_eq!(make_vars(dir.path(), arch("s390")).expect("vars"), []);
        write(dir.path(), &[(".kernelvariables", "override CROSS_COMPILE = $(DEB_HOST_GNU_TYPE)-\n")]);
        let vars = make_vars(dir.path(), arch("s390")).expect("vars");
        assert!(vars.contains(&("DEB_HOST_GNU_TYPE".to_owned(), "s390x-linux-gnu".to_owned())), "{vars:?}");
    }

    #[test]
    fn modules_have_no_btf_where_pahole_is_older_than_the_kernels() {
        let config = "CONFIG_PAHOLE_VERSION=130\nCONFIG_DEBUG_INFO_BTF_MODULES=y\n";
        assert!(needs_newer_pahole(config, || Some(124)) && needs_newer_pahole(config, || None));
        assert!(!needs_newer_pahole(config, || Some(130)) && !needs_newer_pahole(config, || Some(131)));
        assert!(!needs_newer_pahole("CONFIG_PAHOLE_VERSION=130\n", || None), "no BTF, no pahole");
    }
}
