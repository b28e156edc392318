// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The GNU cross tools, asked what the ABI's relocations mean.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use klp_host::Arch;
use tempfile::TempDir;

use super::Description;

/// The cross tools of an architecture, and a directory to work in.
pub(crate) struct Toolchain {
    arch: &'static Arch,
    dir: TempDir,
}

impl Toolchain {
    pub(crate) fn new(d: &Description) -> Result<Toolchain, String> {
        let arch = (d.host)();
        Toolchain::of(arch.ok_or_else(|| format!("the host tools know no architecture '{}'", d.name))?)
    }

    pub(crate) fn of(arch: &'static Arch) -> Result<Toolchain, String> {
        let dir =
            tempfile::tempdir().map_err(|error| format!("cannot make a directory to work in: {error}"))?;
        Ok(Toolchain { arch, dir })
    }

    /// A path in the directory.
    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// Runs a tool; its standard error if it fails.
    fn run(&self, tool: &str, args: &[&str]) -> Result<(), ToolError> {
        let program = format!("{}{tool}", self.arch.cross_compile());
        let output = klp_host::process::run(Command::new(&program).args(args).current_dir(self.dir.path()))
            .map_err(|error| {
            ToolError::Missing(format!("{error:#}; `cargo klp doctor --fix` installs it"))
        })?;
        if output.status.success() {
            return Ok(());
        }
        let complaint = String::from_utf8_lossy(&output.stderr).trim().to_owned();
        Err(ToolError::Refused(format!("{program} {}: {complaint}", args.join(" "))))
    }

    /// Assembles `source` into the object `NAME.o`.
    pub(crate) fn assemble(&self, name: &str, source: &str) -> Result<PathBuf, String> {
        let (input, output) = (self.path(&format!("{name}.s")), self.path(&format!("{name}.o")));
        write(&input, source)?;
        self.run("as", &["-o", &format!("{name}.o"), &format!("{name}.s")])?;
        Ok(output)
    }

    /// Links the objects of this directory with the given options; the error says whether it was the linker that refused.
    pub(crate) fn link(&self, name: &str, args: &[&str]) -> Result<PathBuf, ToolError> {
        let output = format!("{name}.elf");
        let args: Vec<&str> = ["-o", &output].into_iter().chain(args.iter().copied()).collect();
        self.run("ld", &args)?;
        Ok(self.path(&output))
    }

    /// Compiles C `source` into an object that is linked with others into one, as modules are.
    pub(crate) fn compile(&self, name: &str, source: &str, options: &[&str]) -> Result<PathBuf, String> {
        write(&self.path(&format!("{name}.c")), source)?;
        let (input, output) = (format!("{name}.c"), format!("{name}.ko"));
        let mut args = vec!["-O2", "-c", "-o", &output, &input];
        args.extend(options);
        self.run("gcc", &args)?;
        Ok(self.path(&output))
    }
}

impl Toolchain {
    /// Writes a file into the directory.
    pub(crate) fn write(&self, name: &str, text: &str) -> Result<(), String> {
        write(&self.path(name), text)
    }

    /// Makes a program of the sources and options, without any library.
    pub(crate) fn program(&self, name: &str, args: &[&str]) -> Result<PathBuf, String> {
        let options = ["-O1", "-static", "-nostdlib", "-no-pie", "-fno-pic", "-ffreestanding", "-o", name];
        let options = options.iter().chain(&["-fno-stack-protector", "-fno-tree-loop-distribute-patterns"]);
        let options: Vec<&str> = options.chain(args).chain(&["-lgcc"]).copied().collect();
        self.run("gcc", &options)?;
        Ok(self.path(name))
    }

    /// Runs a program under QEMU's emulation of user programs. What it wrote; the error says how it ended, too.
    pub(crate) fn emulate(&self, name: &str) -> Result<String, String> {
        let output = klp_host::process::run(Command::new(self.arch.qemu.user).arg(self.path(name)))
            .map_err(|error| format!("{error:#}; `cargo klp doctor --fix` installs it"))?;
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        if output.status.success() {
            return Ok(said);
        }
        let complaint = String::from_utf8_lossy(&output.stderr);
        Err(format!("{} {name} ended with {}: {said}{complaint}", self.arch.qemu.user, output.status))
    }
}

/// What a tool said.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum ToolError {
    /// It is not there.
    Missing(String),
    /// It ended with a failure.
    Refused(String),
}

impl From<ToolError> for String {
    fn from(error: ToolError) -> String {
        match error {
            ToolError::Missing(message) | ToolError::Refused(message) => message,
        }
    }
}

fn write(path: &Path, text: &str) -> Result<(), String> {
    fs::write(path, text).map_err(|error| format!("cannot write {}: {error}", path.display()))
}
