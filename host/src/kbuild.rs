// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Builds modules with the kernel's own kbuild: klp.ko, and a module of each patch directory.
//!
//! Sources are staged as links below the output directory, so that objects never lie beside sources and one source tree
//! serves every kernel. What did not change is not built again.

mod relocs;
mod stage;
mod vmlinux;

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::thread::available_parallelism;

use anyhow::{Context, Result, bail};

use crate::arch::{repository, sdk};
use crate::cache::Cache;
use crate::doctor::{self, Task};
use crate::progress::Progress;
use crate::{Failure, Kernel, patchable, process, rustsrc};
use stage::{Patch, Stage};
use vmlinux::Vmlinux;

/// How to build.
#[derive(Clone, Debug)]
pub struct Options {
    /// Whether klp.ko is built. Patches need it; ordinary modules do not.
    pub core: bool,
    /// How many compilers may run at once.
    pub jobs: usize,
    /// The directory that klp.ko's sources are in.
    pub kmod: PathBuf,
    /// Whether anything that a compiler, objtool or modpost has to say is a failure.
    pub deny_warnings: bool,
    /// What is asked of the compiler for room at the patches' functions: the two numbers of `-fpatchable-function-entry`,
    /// or of s390's `-mhotpatch`.
    pub patchable: Option<(u16, u16)>,
    /// Where cargo keeps what it compiled. Shared between kernels: most of it is the same for all of an architecture.
    pub rust_target: PathBuf,
    /// The kernel's vmlinux with its symbols, for variables that the kernel's own symbol table does not list.
    pub vmlinux: Option<PathBuf>,
}

impl Default for Options {
    /// klp.ko from this workspace, on every processor.
    fn default() -> Self {
        Options {
            core: true,
            jobs: available_parallelism().map_or(1, usize::from),
            kmod: sdk().join("kmod"),
            deny_warnings: false,
            patchable: None,
            rust_target: target_dir().join("rust"),
            vmlinux: None,
        }
    }
}

/// Where builds of kernel modules are kept: `klp` in the target directory of cargo, in the repository that is worked on.
pub fn target_dir() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| repository().join("target")).join("klp")
}

/// What was built.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Built {
    /// `OUT/klp.ko`, unless it was not asked for.
    pub klp: Option<PathBuf>,
    /// One `OUT/NAME.ko` for each patch, in the order given.
    pub patches: Vec<PathBuf>,
}

/// Builds klp.ko and the modules of the directories `patches` for `kernel` into `out_dir`.
///
/// # Errors
///
/// A patch is no directory, has no sources, or shares its name with another ([`Failure::Usage`]); something is missing on
/// this machine; or make failed: the error names the module and the kernel, and ends with what the compiler said.
pub fn build(
    kernel: &Kernel,
    out_dir: &Path,
    patches: &[PathBuf],
    options: &Options,
    progress: &Progress,
) -> Result<Built> {
    let patches = patches.iter().map(|dir| Patch::read(dir)).collect::<Result<Vec<_>, _>>()?;
    distinct(&patches)?;
    if let Some(numbers) = options.patchable {
        patchable::allow(kernel.arch, numbers)?;
    }
    doctor::ensure(kernel.arch, Task::Build, progress)?;
    let kmod = canonical(&options.kmod)?;
    let work = out_dir.join("build");
    fs::create_dir_all(&work).with_context(|| format!("cannot create {}", work.display()))?;
    let (out_dir, work) = (canonical(out_dir)?, canonical(&work)?);
    let arch_dir = kernel.arch.repository.map(|_| canonical(&kernel.arch.kmod_dir(&kmod))).transpose()?;
    for path in [&work, &kmod, &kernel.build_dir].into_iter().chain(&arch_dir) {
        // Kbuild's lists are separated by spaces, its rules by colons.
        if path.to_string_lossy().contains([' ', ':']) {
            let message = format!(
                "make cannot build in '{}': its path must not contain spaces or colons",
                path.display()
            );
            return Err(Failure::Usage(message).into());
        }
    }
    let _lock = lock(&out_dir.join("build.lock"))?;
    Stage::for_kernel(&work, kernel)?;

    let mut make = Make {
        kernel,
        options,
        progress,
        symbols: None,
        exported: None,
        vmlinux: None,
        rust: None,
        kmod: &kmod,
        arch_dir: arch_dir.as_deref(),
    };
    make.vmlinux = match &options.vmlinux {
        Some(path) => Some(Vmlinux::read(path, kernel)?),
        None if kernel.lists_variables() => None,
        // What boots is a vmlinux itself on ppc64, and not always stripped.
        None => Vmlinux::read(&kernel.image, kernel).ok(),
    };
    let klp = match options.core {
        true => {
            let stage = Stage::kmod(&work, &kmod, kernel.arch.srcarch, arch_dir.as_deref())?;
            make.build("klp", &stage, true)?;
            make.symbols = Some(stage.dir().join("Module.symvers"));
            Some(deliver(&stage, &out_dir, "klp")?)
        }
        false => None,
    };
    let mut stages = stage_all(&work, &patches, &kmod, options)?;
    let together = patches.len() > 1 && make.build_together(&work, &patches, &stages)?;
    if patches.len() > 1 && !together {
        stages = stage_all(&work, &patches, &kmod, options)?;
    }
    let mut modules = Vec::new();
    for (patch, stage) in patches.iter().zip(&stages) {
        if !together || patch.is_rust() {
            make.build(&patch.name, stage, patch.is_rust())?;
        }
        let module = deliver(stage, &out_dir, &patch.name)?;
        make.convert(&module)
            .and_then(|()| make.tell_room(&module))
            .with_context(|| format!("cannot build {} for {} ({})", patch.name, kernel.id, kernel.arch))?;
        modules.push(module);
    }
    Ok(Built { klp, patches: modules })
}

fn stage_all(work: &Path, patches: &[Patch], kmod: &Path, options: &Options) -> Result<Vec<Stage>> {
    patches.iter().map(|patch| Stage::patch(work, patch, kmod, options.patchable)).collect()
}

/// Two modules of one name could not be loaded together, nor lie in one directory.
fn distinct(patches: &[Patch]) -> Result<(), Failure> {
    let mut seen: HashMap<String, &Path> =
        HashMap::from([("klp".to_owned(), Path::new("the SDK's own module"))]);
    for patch in patches {
        if let Some(other) = seen.insert(patch.kernel_name(), &patch.dir) {
            if other == patch.dir {
                return Err(Failure::Usage(format!("{} is given twice", other.display())));
            }
            return Err(Failure::Usage(format!(
                "two modules would be named {}: {} and {}; rename one directory",
                patch.kernel_name(),
                other.display(),
                patch.dir.display()
            )));
        }
    }
    Ok(())
}

fn canonical(path: &Path) -> Result<PathBuf> {
    fs::canonicalize(path).with_context(|| format!("there is no {}", path.display()))
}

fn lock(path: &Path) -> Result<File> {
    if let Some(dir) = path.parent() {
        fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    }
    let file = File::create(path).with_context(|| format!("cannot create {}", path.display()))?;
    file.lock().with_context(|| format!("cannot lock {}", path.display()))?;
    Ok(file)
}

/// Copies the module out of its build directory.
fn deliver(stage: &Stage, out_dir: &Path, name: &str) -> Result<PathBuf> {
    let file = format!("{name}.ko");
    let (built, out) = (stage.dir().join(&file), out_dir.join(&file));
    if !built.is_file() {
        let found = stage.modules()?;
        bail!(
            "the directory's own Kbuild or Makefile built {} and not {file}: its obj-m must name {name}.o, after the \
             directory",
            if found.is_empty() { "no module".to_owned() } else { found.join(", ") }
        );
    }
    // Another command may be reading the one that is there.
    let part = out_dir.join(format!("{file}.part"));
    fs::copy(&built, &part)
        .and_then(|_| fs::rename(&part, &out))
        .with_context(|| format!("cannot copy {} to {}", built.display(), out.display()))?;
    Ok(out)
}

/// Runs make for one kernel.
struct Make<'a> {
    kernel: &'a Kernel,
    options: &'a Options,
    progress: &'a Progress,
    kmod: &'a Path,
    /// What C, make and cargo are told of an architecture of another repository.
    arch_dir: Option<&'a Path>,
    /// What klp.ko exports.
    symbols: Option<PathBuf>,
    /// What the kernel, its modules and klp.ko export, once it was needed.
    exported: Option<HashSet<String>>,
    vmlinux: Option<Vmlinux>,
    /// The environment that cargo finds core's sources by, once it was needed.
    rust: Option<Vec<(String, String)>>,
}

/// What would change how make or cargo work: the flags are the kernel's, and jobs are counted here.
const NOT_INHERITED: &[&str] = &[
    "MAKEFLAGS",
    "MFLAGS",
    "MAKELEVEL",
    "MAKEFILES",
    "KBUILD_OUTPUT",
    "KBUILD_EXTMOD",
    "CARGO_ENCODED_RUSTFLAGS",
    "CARGO_BUILD_RUSTFLAGS",
    "CARGO_BUILD_TARGET",
    "KLP_ARCH_DIR",
];

impl Make<'_> {
    fn build(&mut self, name: &str, stage: &Stage, rust: bool) -> Result<()> {
        let Make { kernel, progress, .. } = *self;
        let mut command = self.command(stage.dir());
        let _lock = match rust {
            true => {
                let target = self.options.rust_target.join(kernel.arch.name);
                fs::create_dir_all(&target).with_context(|| format!("cannot create {}", target.display()))?;
                let target = canonical(&target)?;
                command.envs(self.rust_env()?).env("KLP_RUST_TARGET_DIR", &target);
                // Two kernels' builds of one crate would overwrite each other's library.
                Some(lock(&target.join("klp.lock"))?)
            }
            false => None,
        };
        let output = progress.phase(format!("{name}.ko for {} ({})", kernel.id, kernel.arch), |_| {
            let output = run(&mut command)?;
            let text = stage.with_source_names(output.text.trim_end());
            match output.success {
                true => Ok(text),
                false => Err(anyhow::anyhow!(
                    "cannot build {name} for {} ({}, {}):\n{}",
                    kernel.id,
                    kernel.arch,
                    kernel.release,
                    text
                )),
            }
        })?;
        if output.is_empty() {
            return Ok(());
        }
        if self.options.deny_warnings {
            // The objects go, so that the next build says it again.
            stage.remove()?;
            bail!("{name} for {} ({}) builds, but not without warnings:\n{output}", kernel.id, kernel.arch);
        }
        progress.note(&output);
        Ok(())
    }

    /// Builds the patches in C by one make, which reads the kernel's makefiles and its list of symbols once.
    ///
    /// Returns whether they are built. If not, or with warnings that are denied, all that was made is gone: built one after the other,
    /// each says it under its name.
    fn build_together(&self, work: &Path, patches: &[Patch], stages: &[Stage]) -> Result<bool> {
        let in_c = || patches.iter().zip(stages).filter(|(patch, _)| !patch.is_rust());
        let names: Vec<&str> = in_c().map(|(patch, _)| patch.name.as_str()).collect();
        if names.is_empty() {
            return Ok(true);
        }
        Stage::together(work, &names)?;
        let mut command = self.command(work);
        let Kernel { id, arch, .. } = self.kernel;
        let output = self
            .progress
            .phase(format!("{} modules for {id} ({arch})", names.len()), |_| run(&mut command))?;
        if output.success && (output.text.is_empty() || !self.options.deny_warnings) {
            if !output.text.is_empty() {
                self.progress
                    .note(&in_c().fold(output.text, |text, (_, stage)| stage.with_source_names(&text)));
            }
            return Ok(true);
        }
        in_c().try_for_each(|(_, stage)| stage.remove())?;
        Ok(false)
    }

    fn command(&self, dir: &Path) -> Command {
        let Kernel { arch, build_dir, make_vars, .. } = self.kernel;
        let mut command = Command::new("make");
        // Only what a compiler has to say: no list of what is done.
        command.args(["-s", "--no-print-directory", "-C"]).arg(build_dir);
        command.arg(format!("M={}", dir.display()));
        command.arg(format!("ARCH={}", arch.kernel_arch));
        command.arg(format!("CROSS_COMPILE={}", arch.cross_compile()));
        command.args(make_vars.iter().map(|(name, value)| format!("{name}={value}")));
        if let Some(compiler) = other_compiler(self.kernel, |name| process::which(name).is_some()) {
            command.arg(format!("CC={compiler}"));
        }
        command.arg(format!("-j{}", self.options.jobs.max(1)));
        if let Some(symbols) = &self.symbols {
            command.arg(format!("KBUILD_EXTRA_SYMBOLS={}", symbols.display()));
            // Symbols that nobody exports: see `convert`.
            command.arg("KBUILD_MODPOST_WARN=1");
        }
        command.arg("modules").env("KLP_KMOD", self.kmod);
        for name in NOT_INHERITED {
            command.env_remove(name);
        }
        if let Some(dir) = self.arch_dir {
            command.env("KLP_ARCH_DIR", dir);
        }
        command
    }

    /// Makes relocations of our own of a module's references to symbols that are not exported.
    fn convert(&mut self, module: &Path) -> Result<()> {
        let Some(symbols) = &self.symbols else { return Ok(()) };
        let exported = match &mut self.exported {
            Some(exported) => exported,
            none => {
                let mut found = HashSet::new();
                for file in [&self.kernel.build_dir.join("Module.symvers"), symbols] {
                    let text = fs::read_to_string(file)
                        .with_context(|| format!("cannot read {}", file.display()))?;
                    // The checksum, the symbol, who exports it, how.
                    found.extend(text.lines().filter_map(|line| Some(line.split('\t').nth(1)?.to_owned())));
                }
                none.insert(found)
            }
        };
        let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
        let Some(converted) = relocs::convert(&bytes, exported, self.vmlinux.as_ref())? else {
            return Ok(());
        };
        fs::write(module, converted.module).with_context(|| format!("cannot write {}", module.display()))?;
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        self.progress.note(&format!(
            "{name} refers to what is not exported, and is looked up when it is loaded: {}",
            converted.symbols.join(", ")
        ));
        if !converted.unlisted.is_empty() && !self.kernel.lists_variables() {
            self.progress.note(&format!(
                "{name}: the symbol table of {} ({}) lists functions only; if these are variables the patch will be refused, unless a \
                 vmlinux with symbols is named by --vmlinux: {}",
                self.kernel.id,
                self.kernel.arch,
                converted.unlisted.join(", ")
            ));
        }
        Ok(())
    }

    /// Says which functions of a module that was compiled with room for slots have none.
    fn tell_room(&self, module: &Path) -> Result<()> {
        let bytes = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
        let Some(entries) = patchable::entries(&bytes)? else { return Ok(()) };
        let lacks: Vec<&str> = entries.iter().filter_map(|entry| entry.lack.as_deref()).collect();
        if let Some(first) = lacks.first()
            && lacks.len() == entries.len()
        {
            bail!("no function can have a slot of its own: {first}; ask for more by --patchable");
        }
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        self.progress.note(&format!(
            "{name}: {} of {} functions have room for a slot of their own",
            entries.len() - lacks.len(),
            entries.len()
        ));
        lacks.iter().for_each(|lack| self.progress.note(&format!("{name}: {lack}")));
        Ok(())
    }

    fn rust_env(&mut self) -> Result<Vec<(String, String)>> {
        if self.rust.is_none() {
            self.rust = Some(rustsrc::env(&Cache::open()?, self.progress)?);
        }
        Ok(self.rust.clone().unwrap_or_default())
    }
}

/// Debian's headers name the very release of gcc that the kernel was built with (`$(CROSS_COMPILE)gcc-12`). Where this
/// machine does not have that one, the one it has serves; `has` says which there are.
fn other_compiler(kernel: &Kernel, has: impl Fn(&str) -> bool) -> Option<String> {
    let variables = fs::read_to_string(kernel.build_dir.join(".kernelvariables")).ok()?;
    let named =
        variables.lines().find_map(|line| line.strip_prefix("CC = ")?.split("$(CROSS_COMPILE)").nth(1))?;
    let own = format!("{}{}", kernel.arch.cross_compile(), named.trim());
    let plain = format!("{}gcc", kernel.arch.cross_compile());
    (!has(&own) && has(&plain)).then_some(plain)
}

struct Output {
    success: bool,
    text: String,
}

/// Runs `command`; its output and its errors are one text, in the order they were written.
fn run(command: &mut Command) -> Result<Output> {
    let line = process::line(command);
    let (mut reader, writer) = std::io::pipe().context("cannot make a pipe")?;
    let errors = writer.try_clone().context("cannot make a pipe")?;
    command.stdin(Stdio::null()).stdout(writer).stderr(errors).env("LC_ALL", "C.UTF-8");
    let mut child = match command.spawn() {
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            return Err(doctor::missing("make").into());
        }
        child => child.with_context(|| format!("cannot run `{line}`"))?,
    };
    // The command holds the pipe's writing ends; the reader would wait for them for ever.
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut bytes = Vec::new();
    reader.read_to_end(&mut bytes).with_context(|| format!("cannot read from `{line}`"))?;
    let status = child.wait().with_context(|| format!("cannot wait for `{line}`"))?;
    let text = String::from_utf8_lossy(&bytes);
    let lines = text.lines().filter(|line| !is_noise(line));
    let mut text = lines.fold(String::new(), |text, line| text + line + "\n");
    if !status.success() && text.is_empty() {
        text = format!("`{line}` failed ({status}) and said nothing");
    }
    Ok(Output { success: status.success(), text })
}

/// What kbuild says of stock kernels without meaning a fault: headers without a vmlinux give modules without BTF.
/// And of symbols that nobody exports, which are looked at later.
fn is_noise(line: &str) -> bool {
    line.starts_with("Skipping BTF generation")
        || line.strip_prefix("WARNING: modpost: ").is_some_and(|warning| {
            warning.ends_with(" undefined!") || warning.contains("unresolved symbol warnings")
        })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Arch;

    fn patch(name: &str) -> Patch {
        Patch::of(name, &[&format!("{name}.c")])
    }

    fn kernel(build_dir: &Path) -> Kernel {
        Kernel {
            arch: Arch::by_name("ppc64").expect("arch"),
            id: "test".to_owned(),
            release: "6".to_owned(),
            build_dir: build_dir.to_owned(),
            image: "/k/image".into(),
            modules: None,
            busybox: "/b".into(),
            make_vars: vec![("DEB_HOST_ARCH".to_owned(), "ppc64el".to_owned())],
        }
    }

    #[test]
    fn names_are_distinct_to_the_kernel() {
        assert!(distinct(&[patch("a-b"), patch("a-c")]).is_ok());
        let error = distinct(&[patch("a-b"), patch("x"), patch("a_b")]).expect_err("same");
        assert!(distinct(&[patch("x"), patch("x")]).expect_err("same").to_string().contains("given twice"));
        assert!(error.to_string().contains("two modules would be named a_b"), "{error}");
        assert!(distinct(&[patch("klp")]).is_err());
    }

    #[test]
    fn a_compiler_that_is_not_here_is_replaced() {
        let dir = tempfile::tempdir().expect("dir");
        let kernel = kernel(dir.path());
        assert_eq!(other_compiler(&kernel, |_| true), None);
        let line = "CC = $(if $(DEBIAN_KERNEL_USE_CCACHE),$(CCACHE)) $(CROSS_COMPILE)gcc-12\n";
        fs::write(dir.path().join(".kernelvariables"), line).expect("write");
        assert_eq!(other_compiler(&kernel, |_| true), None);
        assert_eq!(other_compiler(&kernel, |_| false), None);
        let plain = "powerpc64le-linux-gnu-gcc";
        assert_eq!(other_compiler(&kernel, |name| name == plain), Some(plain.to_owned()));
        assert_eq!(other_compiler(&kernel, |name| name == format!("{plain}-12")), None);
    }

    #[test]
    fn the_make_line_names_the_architecture_its_way() {
        let kernel = kernel(Path::new("/k/build"));
        let options = Options { jobs: 3, ..Options::default() };
        let mut make = Make {
            kernel: &kernel,
            options: &options,
            progress: &Progress::silent(),
            kmod: Path::new("/kmod"),
            arch_dir: None,
            symbols: None,
            exported: None,
            vmlinux: None,
            rust: None,
        };
        let line = "make -s --no-print-directory -C /k/build M=/o/build/x ARCH=powerpc \
                    CROSS_COMPILE=powerpc64le-linux-gnu- DEB_HOST_ARCH=ppc64el -j3 modules";
        assert_eq!(process::line(&make.command(Path::new("/o/build/x"))), line);
        make.symbols = Some("/o/build/klp/Module.symvers".into());
        let symbols = "KBUILD_EXTRA_SYMBOLS=/o/build/klp/Module.symvers KBUILD_MODPOST_WARN=1 modules";
        assert!(process::line(&make.command(Path::new("/o/build/x"))).ends_with(symbols));
    }

    #[test]
    fn output_is_in_order_and_without_noise() {
        let script = "echo 1; echo 2 >&2; echo 'Skipping BTF generation for x.ko'; echo 3; exit 2";
        let output = run(Command::new("sh").args(["-c", script])).expect("runs");
        assert!(!output.success);
        assert_eq!(output.text, "1\n2\n3\n");
        assert!(run(&mut Command::new("false")).expect("runs").text.contains("said nothing"));
    }
}
