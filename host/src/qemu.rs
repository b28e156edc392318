// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Runs a stock kernel in QEMU: boots it, loads modules, runs a command, and says what became of it.
//!
//! The guest has two terminals. The console belongs to the kernel; everything printk says appears there at once, so the
//! log is whole even when the kernel dies. The channel belongs to the guest's init, which sends frames
//! ([`crate::guest`]): the command's output and its status. A guest that ends without its closing frame is lost.

use std::io;
use std::path::PathBuf;
use std::process::ExitStatus;
use std::sync::mpsc::RecvTimeoutError;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail};

use crate::dump::DumpSpec;
use crate::guest::{Added, Decoder, Exit, Frame, Guest, Job};
use crate::klog::{self, Finding};
use crate::machine::{Event, Machine};
use crate::modtree::Tree;
use crate::{Failure, Kernel};

/// What to run.
#[derive(Clone, Debug)]
pub struct RunSpec<'a> {
    /// The kernel to boot.
    pub kernel: &'a Kernel,
    /// The modules to load, in order. They lie in the guest's `/lib/klp`.
    pub modules: Vec<PathBuf>,
    /// What to run once they are in.
    pub job: Job,
    /// Virtual CPUs.
    pub smp: u32,
    /// Memory, in MiB.
    pub mem: u32,
    /// How long the whole run may take, boot included; `None` for as long as it likes.
    pub timeout: Option<Duration>,
    /// More kernel arguments. They come last, so they win.
    pub append: String,
    /// More files for the guest.
    pub added: Vec<Added>,
    /// Whether guest time is the count of executed instructions, a nanosecond each: for measurements that repeat
    /// exactly. Takes one CPU.
    pub count_instructions: bool,
    /// The memory dump to take when the command is done, before what it left in the background is killed.
    pub dump: Option<DumpSpec>,
}

impl<'a> RunSpec<'a> {
    /// A run of `job` with no modules on two CPUs with 1 GiB, within ten minutes.
    pub fn new(kernel: &'a Kernel, job: Job) -> Self {
        RunSpec {
            kernel,
            modules: Vec::new(),
            job,
            smp: 2,
            mem: 1024,
            timeout: Some(Duration::from_secs(600)),
            append: String::new(),
            added: Vec::new(),
            count_instructions: false,
            dump: None,
        }
    }
}

/// Who hears of a run while it lasts. An error ends the run.
pub trait Sink {
    /// The command wrote to its standard output.
    ///
    /// # Errors
    ///
    /// The bytes cannot be delivered.
    fn stdout(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// The command wrote to its standard error.
    ///
    /// # Errors
    ///
    /// The bytes cannot be delivered.
    fn stderr(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// Something appeared on the console.
    ///
    /// # Errors
    ///
    /// The bytes cannot be delivered.
    fn console(&mut self, _bytes: &[u8]) -> io::Result<()> {
        Ok(())
    }
    /// The modules are in and the command (or the shell) starts.
    ///
    /// # Errors
    ///
    /// What depends on it cannot be done.
    fn begin(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Hears nothing: for a run whose result is all that matters.
#[derive(Clone, Copy, Debug)]
pub struct Silent;

impl Sink for Silent {}

/// What became of a run.
#[derive(Clone, Debug)]
pub struct RunResult {
    /// How it ended.
    pub end: End,
    /// The command's standard output.
    pub stdout: Vec<u8>,
    /// The command's standard error.
    pub stderr: Vec<u8>,
    /// All that appeared on the console: the kernel log.
    pub console: String,
    /// What is wrong with the kernel log.
    pub findings: Vec<Finding>,
    /// The kernel's taint mask when the command was done.
    pub taint: Option<u64>,
    /// Whether the dump that was asked for was taken.
    pub dumped: bool,
    /// From the start of QEMU until the guest was up, before any module.
    pub boot: Option<Duration>,
    /// From the start of QEMU until the command started.
    pub begin: Option<Duration>,
    /// From the start of QEMU to its end.
    pub total: Duration,
}

/// How a run ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum End {
    /// The command exited with this status, and the guest powered off.
    Exited(u8),
    /// A module would not load.
    Refused {
        /// Its file name.
        module: String,
        /// The loader's words and the kernel's lines about it.
        reason: String,
    },
    /// The time was up.
    TimedOut(Duration),
    /// The guest went without saying how the command ended, or QEMU failed.
    Lost(String),
}

impl RunResult {
    /// Whether all was well: the command exited with 0 and the kernel has nothing to complain about.
    ///
    /// # Errors
    ///
    /// The [`Failure`] that the run's exit status comes from. An unhealthy kernel outweighs every other reason.
    pub fn verdict(&self) -> Result<(), Failure> {
        if let Some(finding) = self.findings.first() {
            let more = match self.findings.len() - 1 {
                0 => String::new(),
                more => format!(" (and {more} more)"),
            };
            return Err(Failure::Kernel(format!("{finding}, line {} of its log{more}", finding.line)));
        }
        let complaints = complaints(self.taint.unwrap_or(0));
        if !complaints.is_empty() {
            let complaints = complaints.join(", ");
            return Err(Failure::Kernel(format!(
                "its taint mask says: {complaints}; the report itself is not in the log, so messages were lost"
            )));
        }
        match &self.end {
            End::Exited(0) => Ok(()),
            End::Exited(status) => Err(Failure::Command(*status)),
            End::Refused { module, reason } => {
                Err(Failure::Refused { module: module.clone(), reason: reason.clone() })
            }
            End::TimedOut(after) => Err(Failure::TimedOut(after.as_secs())),
            End::Lost(how) => Err(Failure::Kernel(how.clone())),
        }
    }
}

/// What the taint mask says went wrong (`Documentation/admin-guide/tainted-kernels.rst`). The other bits say what kind
/// of module was loaded.
fn complaints(taint: u64) -> Vec<&'static str> {
    const BITS: &[(u32, &str)] =
        &[(4, "machine check"), (5, "bad page"), (7, "oops or BUG"), (9, "warning"), (14, "soft lockup")];
    BITS.iter().filter(|(bit, _)| taint >> bit & 1 == 1).map(|(_, name)| *name).collect()
}

/// How long a kernel gets to power off after the command, or to reset after a panic. Both take well under a second.
const END_GRACE: Duration = Duration::from_secs(20);

/// Boots the kernel and runs the job. While it lasts, `sink` hears of all output.
///
/// QEMU is always gone when this returns, and it dies with this process, however that ends.
///
/// # Errors
///
/// This machine lacks something ([`Failure::Missing`]), a file cannot be read, QEMU will not start, a dump cannot be
/// written, or `sink` failed.
/// Whatever goes wrong inside the guest is no error but the [`RunResult`]'s.
pub fn run(spec: &RunSpec<'_>, sink: &mut dyn Sink) -> Result<RunResult> {
    let qemu = &spec.kernel.arch.qemu;
    let tree = Tree::new(spec.kernel.modules.as_deref())?;
    let initramfs = Guest {
        arch: spec.kernel.arch,
        busybox: &spec.kernel.busybox,
        channel_modules: &match qemu.channel_module {
            Some(name) => tree.with_dependencies(name)?,
            None => Vec::new(),
        },
        modules: &tree.load_order(&spec.modules)?,
        added: &spec.added,
        job: &spec.job,
        hold: spec.dump.is_some(),
    }
    .initramfs()?;
    let mut machine = Machine::start(spec, &initramfs)?;
    drop(initramfs);
    let mut run = Run::new(spec);
    run.follow(&mut machine, sink)?;
    let (status, complaint) = machine.wait()?;
    run.finish(status, &complaint)
}

/// A run in progress: what is known so far.
struct Run {
    start: Instant,
    timeout: Option<Duration>,
    shell: bool,
    dump: Option<DumpSpec>,
    dumped: bool,
    decoder: Decoder,
    console: Vec<u8>,
    stdout: Vec<u8>,
    stderr: Vec<u8>,
    boot: Option<Duration>,
    begin: Option<Duration>,
    refused: Option<(String, String)>,
    exit: Option<Exit>,
    panicked: Option<Instant>,
    exited: Option<Instant>,
    /// Why we ended the machine, if we did.
    killed: Option<End>,
}

impl Run {
    fn new(spec: &RunSpec<'_>) -> Self {
        Run {
            start: Instant::now(),
            timeout: spec.timeout,
            shell: matches!(spec.job, Job::Shell { .. }),
            dump: spec.dump.clone(),
            dumped: false,
            decoder: Decoder::default(),
            console: Vec::new(),
            stdout: Vec::new(),
            stderr: Vec::new(),
            boot: None,
            begin: None,
            refused: None,
            exit: None,
            panicked: None,
            exited: None,
            killed: None,
        }
    }

    /// Follows the machine until it has ended, or ends it when its time is up.
    fn follow(&mut self, machine: &mut Machine, sink: &mut dyn Sink) -> Result<()> {
        // The console and the channel.
        let mut open = 2;
        while open > 0 {
            let event = match self.deadline() {
                Some((at, _)) => machine.events.recv_timeout(at.saturating_duration_since(Instant::now())),
                None => machine.events.recv().map_err(|_| RecvTimeoutError::Disconnected),
            };
            match event {
                Ok(Event::Console(bytes)) => {
                    self.hear_console(&bytes);
                    sink.console(&bytes).context("cannot pass the kernel log on")?;
                }
                Ok(Event::Channel(bytes)) => {
                    self.decoder.push(&bytes);
                    if let Err(error) = self.hear_frames(machine, sink)? {
                        self.end(machine, End::Lost(format!("{error:#}")));
                    }
                }
                Ok(Event::Escape) => {
                    self.end(machine, End::Lost("the session was ended by Ctrl-]".to_owned()))
                }
                Err(RecvTimeoutError::Timeout) => {
                    let end = self.deadline().map_or(End::Lost(String::new()), |(_, end)| end);
                    self.end(machine, end);
                }
                Ok(Event::Closed) => open -= 1,
                Err(RecvTimeoutError::Disconnected) => break,
            }
        }
        Ok(())
    }

    /// When the machine's time is up, and what that means. None once we have ended it.
    fn deadline(&self) -> Option<(Instant, End)> {
        if self.killed.is_some() {
            return None;
        }
        let timeout = self.timeout.map(|limit| (self.start + limit, End::TimedOut(limit)));
        let grace = |since: Instant, what: &str| {
            let text = format!("{what}, and did not end within {} s", END_GRACE.as_secs());
            (since + END_GRACE, End::Lost(text))
        };
        let panicked = self.panicked.map(|since| grace(since, "the kernel panicked"));
        let exited = self.exited.map(|since| grace(since, "the guest was to power off"));
        [timeout, panicked, exited].into_iter().flatten().min_by_key(|(at, _)| *at)
    }

    fn end(&mut self, machine: &mut Machine, why: End) {
        if self.killed.is_none() {
            self.killed = Some(why);
            machine.kill();
        }
    }

    fn hear_console(&mut self, bytes: &[u8]) {
        let seen = self.console.len().saturating_sub(klog::PANIC_END.len());
        self.console.extend_from_slice(bytes);
        let mark = klog::PANIC_END.as_bytes();
        if self.panicked.is_none() && self.console[seen..].windows(mark.len()).any(|window| window == mark) {
            self.panicked = Some(Instant::now());
        }
    }

    /// Takes the dump, if there is one to take, and lets the guest go on.
    fn take_dump(&mut self, machine: &mut Machine) -> Result<()> {
        let Some(dump) = self.dump.take() else { return Ok(()) };
        let limit = self.deadline().map(|(at, _)| at.saturating_duration_since(Instant::now()));
        match machine.dump(&dump, limit.map(|limit| limit.max(Duration::from_millis(1)))) {
            Ok(()) => {
                self.dumped = true;
                machine.release()
            }
            // The loop will notice that the time is up.
            Err(_) if self.deadline().is_some_and(|(at, _)| at <= Instant::now()) => Ok(()),
            Err(error) => Err(error),
        }
    }

    /// Takes in all whole frames. The inner error is the guest's, the outer one the sink's or the dump's.
    fn hear_frames(&mut self, machine: &mut Machine, sink: &mut dyn Sink) -> Result<Result<()>> {
        loop {
            match self.decoder.next() {
                Ok(None) => return Ok(Ok(())),
                Err(error) => return Ok(Err(error)),
                Ok(Some(Frame::Ready)) => self.boot = Some(self.start.elapsed()),
                Ok(Some(Frame::Refused { module, reason })) => self.refused = Some((module, reason)),
                Ok(Some(Frame::Begin)) => {
                    self.begin = Some(self.start.elapsed());
                    sink.begin().context("cannot start the session")?;
                    if self.shell {
                        machine.connect_input();
                    }
                }
                Ok(Some(Frame::Out(bytes))) => {
                    sink.stdout(&bytes).context("cannot pass the command's output on")?;
                    self.stdout.extend(bytes);
                }
                Ok(Some(Frame::Err(bytes))) => {
                    sink.stderr(&bytes).context("cannot pass the command's output on")?;
                    self.stderr.extend(bytes);
                }
                Ok(Some(Frame::Held)) => self.take_dump(machine)?,
                Ok(Some(Frame::Exit(exit))) => {
                    self.exit = Some(exit);
                    self.exited = Some(Instant::now());
                }
            }
        }
    }

    /// Says what became of the run, now that QEMU has ended.
    fn finish(self, status: ExitStatus, complaint: &str) -> Result<RunResult> {
        if self.killed.is_none() && !status.success() && self.console.is_empty() {
            bail!("QEMU did not start ({status}): {complaint}");
        }
        let end = match (self.killed, self.refused, self.exit) {
            (Some(end), _, _) => end,
            _ if !status.success() => End::Lost(format!("QEMU failed ({status}): {complaint}")),
            (None, Some((module, reason)), _) => End::Refused { module, reason },
            (None, None, Some(exit)) if exit.whole => End::Exited(exit.status),
            (None, None, Some(_)) => End::Lost(
                "its command killed the processes that carry its output: the output is cut".to_owned(),
            ),
            (None, None, None) => {
                let before = match (self.boot, self.begin) {
                    (None, _) => "the guest was up: the end of its log should say why",
                    (_, None) => "the modules were loaded",
                    _ => "the command was done",
                };
                End::Lost(format!("the machine went off before {before}"))
            }
        };
        let console = String::from_utf8_lossy(&self.console).into_owned();
        Ok(RunResult {
            end,
            stdout: self.stdout,
            stderr: self.stderr,
            findings: klog::scan(&console),
            console,
            taint: self.exit.map(|exit| exit.taint),
            dumped: self.dumped,
            boot: self.boot,
            begin: self.begin,
            total: self.start.elapsed(),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn result(end: End, log: &str, taint: u64) -> RunResult {
        RunResult {
            end,
            stdout: Vec::new(),
            stderr: Vec::new(),
            console: log.to_owned(),
            findings: klog::scan(log),
            taint: Some(taint),
            dumped: false,
            boot: None,
            begin: None,
            total: Duration::ZERO,
        }
    }

    const WARNING: &str = "[    1.000000] WARNING: CPU: 0 PID: 1 at a.c:1 f+0x1/0x2\n";
    /// An unsigned module from outside the tree, live patched.
    const HARMLESS: u64 = 1 << 12 | 1 << 13 | 1 << 15;

    #[test]
    fn each_end_has_its_verdict() {
        let verdict = |end| result(end, "", HARMLESS).verdict();
        assert!(verdict(End::Exited(0)).is_ok());
        assert!(matches!(verdict(End::Exited(7)), Err(Failure::Command(7))));
        assert!(matches!(verdict(End::TimedOut(Duration::from_secs(9))), Err(Failure::TimedOut(9))));
        assert!(matches!(verdict(End::Lost("x".to_owned())), Err(Failure::Kernel(_))));
        let refused = End::Refused { module: "a.ko".to_owned(), reason: "b".to_owned() };
        assert!(matches!(verdict(refused), Err(Failure::Refused { .. })));
    }

    #[test]
    fn an_unhealthy_kernel_outweighs_the_rest() {
        for end in [End::Exited(0), End::Exited(7), End::TimedOut(Duration::ZERO)] {
            let verdict = result(end, WARNING, HARMLESS).verdict();
            assert!(matches!(verdict, Err(Failure::Kernel(_))), "{verdict:?}");
        }
    }

    #[test]
    fn a_report_that_the_log_lost_is_in_the_taint_mask() {
        for bit in [4, 5, 7, 9, 14] {
            let verdict = result(End::Exited(0), "", HARMLESS | 1 << bit).verdict();
            assert!(matches!(verdict, Err(Failure::Kernel(_))), "bit {bit}: {verdict:?}");
        }
    }
}
