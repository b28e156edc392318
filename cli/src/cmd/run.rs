// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp run`: modules and a command in a guest.

use std::io::{self, Write};
use std::path::PathBuf;
use std::time::Duration;

use anyhow::Result;
use clap::ValueEnum;
use klp_host::doctor::{self, Task};
use klp_host::dump::{DumpSpec, Format};
use klp_host::guest::{Added, Job};
use klp_host::qemu::{self, RunResult, RunSpec, Sink};
use klp_host::terminal::{self, RawMode};
use klp_host::{Progress, run};

use super::build::default_out;
use crate::target::Target;

/// Boot a kernel in QEMU, load klp.ko and modules, run a command
///
/// The command's standard output, and nothing else, is standard output; the kernel log and progress go to standard
/// error. The modules lie in the guest's /lib/klp, the command starts in /root, and the run ends with it: what it leaves
/// in the background is killed. Output that is not read when the kernel dies is lost; what must not be goes to /dev/kmsg.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: the command's own; 2 usage; 3 this machine lacks something; 124 time-out; 125 the guest kernel panicked,
oopsed, warned, locked up or was lost; 126 a module refused to load.

Example: cargo klp run --arch s390 --kernel debian-6.1 examples/livepatch-cmdline --exec 'cat /proc/cmdline'")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// What to load, in order: directories with a patch's sources, or modules (.ko)
    #[arg(value_name = "PATCH|FILE.ko")]
    modules: Vec<PathBuf>,
    /// The command, for `sh -c`; without it, the modules are loaded and that is all
    #[arg(long, value_name = "CMD", conflicts_with = "shell")]
    exec: Option<String>,
    /// An interactive shell on the console; Ctrl-] ends the session whatever state the guest is in
    #[arg(long)]
    shell: bool,
    /// Virtual CPUs
    #[arg(long, value_name = "N", default_value_t = 2, value_parser = clap::value_parser!(u32).range(1..))]
    smp: u32,
    /// Memory, in MiB
    #[arg(long, value_name = "MIB", default_value_t = 1024, value_parser = clap::value_parser!(u32).range(1..))]
    mem: u32,
    /// Seconds that the run may take, boot included [default: 600, and none with --shell]
    #[arg(long, value_name = "S", value_parser = clap::value_parser!(u64).range(1..))]
    timeout: Option<u64>,
    /// More kernel arguments
    #[arg(long, value_name = "KERNEL_ARGS", default_value = "", allow_hyphen_values = true)]
    append: String,
    /// Whether klp.ko is loaded first
    #[arg(long, value_enum, default_value_t = Core::On)]
    core: Core,
    /// A file or directory for the guest, in /root unless its place is given; repeatable
    #[arg(long, value_name = "FILE[:GUEST_PATH]")]
    add: Vec<Added>,
    /// Write a dump of the guest's memory when the command is done, for `klp stacks`
    #[arg(long, value_name = "FILE")]
    dump: Option<PathBuf>,
    /// What the dump is written as
    #[arg(long, value_enum, default_value_t = DumpFormat::Elf, requires = "dump")]
    dump_format: DumpFormat,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum DumpFormat {
    /// An ELF core file, as large as the guest's memory
    Elf,
    /// makedumpfile's format, compressed
    Kdump,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Core {
    On,
    Off,
}

/// Runs the command.
///
/// # Errors
///
/// The kernel cannot be had, a module cannot be built, or whatever became of the run ([`klp_host::Failure`]).
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let format = match args.dump_format {
        DumpFormat::Elf => Format::Elf,
        DumpFormat::Kdump => Format::Kdump,
    };
    let dump = args.dump.map(|file| DumpSpec { file, format });
    if let Some(dump) = &dump {
        dump.check()?;
    }
    let kernel = args.target.resolve(&progress)?;
    doctor::ensure(kernel.arch, Task::Run, &progress)?;
    let core = args.core == Core::On;
    let modules = run::modules(&kernel, &args.modules, core, &default_out(&kernel), &progress)?;
    let (job, limit) = if args.shell {
        let (rows, columns) = terminal::size();
        (Job::Shell { rows, columns }, args.timeout)
    } else {
        (Job::Exec(args.exec.unwrap_or_else(|| "true".to_owned())), Some(args.timeout.unwrap_or(600)))
    };
    let spec = RunSpec {
        modules,
        smp: args.smp,
        mem: args.mem,
        timeout: limit.map(Duration::from_secs),
        append: args.append,
        added: args.add,
        dump,
        ..RunSpec::new(&kernel, job)
    };
    let result = match args.shell {
        true => qemu::run(&spec, &mut Session::default())?,
        false => qemu::run(&spec, &mut Streams)?,
    };
    progress.note(&times(&result));
    if let Some(dump) = &spec.dump {
        progress.note(&match result.dumped {
            true => format!("memory dump: {}", dump.file.display()),
            false => format!(
                "no memory dump was taken: the command did not end, {} is not written",
                dump.file.display()
            ),
        });
    }
    for finding in &result.findings {
        progress.note(&format!("{finding}, line {} of the kernel log", finding.line));
    }
    Ok(result.verdict()?)
}

fn times(result: &RunResult) -> String {
    let total = result.total.as_secs_f64();
    match result.begin {
        Some(begin) => format!("booted in {:.1} s, ended after {total:.1} s", begin.as_secs_f64()),
        None => format!("ended after {total:.1} s, before the command could start"),
    }
}

/// The command's output on ours, the kernel log on standard error.
struct Streams;

impl Sink for Streams {
    fn stdout(&mut self, bytes: &[u8]) -> io::Result<()> {
        write(&mut io::stdout().lock(), bytes)
    }

    fn stderr(&mut self, bytes: &[u8]) -> io::Result<()> {
        write(&mut io::stderr().lock(), bytes)
    }

    fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        // A serial console ends its lines with a carriage return too.
        let text: Vec<u8> = bytes.iter().copied().filter(|&byte| byte != b'\r').collect();
        write(&mut io::stderr().lock(), &text)
    }
}

/// An interactive session: from its start on, the console is on our terminal.
#[derive(Default)]
struct Session {
    begun: bool,
    raw: Option<RawMode>,
}

impl Sink for Session {
    fn console(&mut self, bytes: &[u8]) -> io::Result<()> {
        match self.begun {
            true => write(&mut io::stdout().lock(), bytes),
            false => Streams.console(bytes),
        }
    }

    fn begin(&mut self) -> io::Result<()> {
        self.begun = true;
        self.raw = RawMode::enter()?;
        Ok(())
    }
}

fn write(stream: &mut impl Write, bytes: &[u8]) -> io::Result<()> {
    stream.write_all(bytes)?;
    stream.flush()
}
