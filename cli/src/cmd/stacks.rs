// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp stacks`: every task's stack, from a memory dump.

use std::collections::HashSet;
use std::fmt::Write;
use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use klp_conformance::arch::Entry;
use klp_conformance::image::Image;
use klp_conformance::image::fixture::Fixture;
use klp_core::unwind::{self, Found, Frame, ReturnTrampoline, Unreliable};
use klp_host::dump::{Frozen, Layout, Task};
use klp_host::{Kernel, Progress, doctor};
use serde_json::{Value, json};

use super::build::default_out;
use crate::target::Target;

/// Walk every task's stack in a memory dump
///
/// For each task: its number, name and state, the verdict, and each function it may return to with how it was found. The
/// walkers are those that klp.ko has. A task that runs on a CPU is not walked.
#[derive(clap::Args)]
#[command(after_help = "\
Exit status: 0 if the dump could be read, whatever the verdicts; 2 if it is none, is cut short, or is of another kernel.

Example: cargo klp run --arch arm64 --kernel debian-6.12 --exec 'sleep 1' --dump guest.dump &&
         cargo klp stacks --arch arm64 --kernel debian-6.12 --dump guest.dump")]
pub(crate) struct Args {
    #[command(flatten)]
    target: Target,
    /// The dump: an ELF core file, or one in makedumpfile's format (zlib), as QEMU's dump-guest-memory writes them
    #[arg(long, value_name = "FILE")]
    dump: PathBuf,
    /// Take symbols from this vmlinux, not from the dump's own kallsyms
    #[arg(long, value_name = "FILE")]
    vmlinux: Option<PathBuf>,
    /// Also write each stack that differs from all before it to a file of its own in this directory, for tests of walkers
    #[arg(long, value_name = "DIR")]
    record: Option<PathBuf>,
    /// JSON, for tools
    #[arg(long)]
    json: bool,
}

/// Runs the command.
///
/// # Errors
///
/// The kernel cannot be had, or the dump is not one of it.
pub(crate) fn run(args: Args) -> Result<()> {
    let progress = Progress::new();
    let kernel = args.target.resolve(&progress)?;
    doctor::ensure(kernel.arch, doctor::Task::Build, &progress)?;
    let layout = Layout::build(&kernel, &default_out(&kernel).join("layout"), &progress)?;
    let entry = Entry::by_name(kernel.arch.name)
        .with_context(|| format!("nothing is known of {}'s stacks", kernel.arch))?;
    let frozen = progress.phase(format!("reading {}", args.dump.display()), |_| {
        Frozen::open(&args.dump, &kernel, layout, args.vmlinux.as_deref())
    })?;
    let walks: Vec<Walk<'_>> = frozen.tasks().iter().map(|task| Walk::new(entry, &frozen, task)).collect();
    if let Some(dir) = &args.record {
        let count = record(dir, &walks, &frozen, &kernel)?;
        progress.note(&format!("recorded {count} stacks in {}", dir.display()));
    }
    if args.json {
        let tasks: Vec<Value> = walks.iter().map(|walk| walk.json(&frozen)).collect();
        println!("{}", serde_json::to_string_pretty(&json!({ "release": kernel.release, "tasks": tasks }))?);
    } else {
        for walk in &walks {
            print!("{}", walk.text(&frozen));
        }
    }
    Ok(())
}

/// A walk, done.
struct Walk<'a> {
    task: &'a Task,
    frames: Vec<Frame>,
    verdict: Result<(), Unreliable>,
    /// What it looked at, if there was anything.
    image: Option<Image>,
}

impl Walk<'_> {
    fn new<'a>(entry: &Entry, frozen: &'a Frozen, task: &'a Task) -> Walk<'a> {
        let view = frozen.view(task);
        let (start, stacks) = match view.start() {
            Ok(start) => start,
            Err(reason) => return Walk { task, frames: Vec::new(), verdict: Err(reason), image: None },
        };
        let walked = unwind::Task { start, stacks: &stacks, bottom: task.bottom };
        let (image, frames, verdict) = (entry.walks.record)(&walked, &view, frozen.code_ranges());
        Walk { task, frames, verdict, image: Some(image) }
    }

    /// A line for the task, and one for each frame.
    fn text(&self, frozen: &Frozen) -> String {
        let Task { pid, comm, state, .. } = self.task;
        let verdict = match self.verdict {
            Ok(()) => "reliable".to_owned(),
            Err(Unreliable::Running) => "running".to_owned(),
            Err(reason) => format!("unreliable {}: {reason}", reason.name()),
        };
        let mut text = format!("{pid} ({comm}) {state} {verdict}\n");
        for frame in &self.frames {
            // Writing to a string does not fail.
            let _ = writeln!(text, "  {} {}", place(frozen, frame), found(frame.found));
        }
        text
    }

    fn json(&self, frozen: &Frozen) -> Value {
        let Task { addr, pid, comm, state, .. } = self.task;
        let (verdict, reason) = match self.verdict {
            Ok(()) => ("reliable", Value::Null),
            Err(Unreliable::Running) => ("running", Value::Null),
            Err(reason) => {
                let at = reason.addr().map(|addr| format!("{addr:#x}"));
                ("unreliable", json!({ "name": reason.name(), "addr": at, "text": reason.to_string() }))
            }
        };
        let frames: Vec<Value> = self.frames.iter().map(|frame| frame_json(frozen, frame)).collect();
        json!({
            "pid": pid,
            "comm": comm,
            "state": state,
            "task": format!("{addr:#x}"),
            "verdict": verdict,
            "reason": reason,
            "frames": frames,
        })
    }
}

/// Writes the stacks that differ, each to a file named after its task; returns how many.
fn record(dir: &Path, walks: &[Walk<'_>], frozen: &Frozen, kernel: &Kernel) -> Result<usize> {
    fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
    let mut seen = HashSet::new();
    for walk in walks {
        let Some(image) = &walk.image else { continue };
        let functions: Vec<_> =
            walk.frames.iter().map(|frame| (place(frozen, frame), found(frame.found))).collect();
        let reason = walk.verdict.err().map(|reason| reason.name());
        if !seen.insert((functions.clone(), reason)) {
            continue;
        }
        let Task { pid, comm, .. } = walk.task;
        let names = functions
            .into_iter()
            .map(|(place, _)| place.split_once(' ').map_or(String::new(), |(_, name)| name.to_owned()));
        let fixture = Fixture {
            arch: kernel.arch.name.to_owned(),
            kernel: kernel.release.clone(),
            task: format!("{pid} {comm}"),
            image: image.clone(),
            frames: walk.frames.iter().copied().zip(names).collect(),
            verdict: walk.verdict.into(),
        };
        let plain = |c: char| if c.is_ascii_alphanumeric() { c } else { '-' };
        let file = dir.join(format!("{}-{pid}.txt", comm.chars().map(plain).collect::<String>()));
        fs::write(&file, fixture.to_string()).with_context(|| format!("cannot write {}", file.display()))?;
    }
    Ok(seen.len())
}

/// `0xADDRESS function+0xOFFSET [module]`
fn place(frozen: &Frozen, frame: &Frame) -> String {
    let cursor = &frame.cursor;
    if cursor.pc == 0 {
        return "(context switch)".to_owned();
    }
    match frozen.place(cursor.in_function()) {
        Some(place) => {
            // The offset is that of the address shown, which may be one behind the function's last byte.
            let offset = place.offset + cursor.pc.wrapping_sub(cursor.in_function());
            let module = place.module.map(|module| format!(" [{module}]")).unwrap_or_default();
            format!("{:#018x} {}+{offset:#x}{module}", cursor.pc, place.function)
        }
        None => format!("{:#018x}", cursor.pc),
    }
}

/// How a frame was found, in the words of `/sys/kernel/debug/klp/stacks`.
fn found(found: Found) -> &'static str {
    match found {
        Found::Start => "start",
        Found::Chain => "chain",
        Found::Table => "table",
        Found::Registers => "registers",
        Found::Kept(ReturnTrampoline::Graph) => "graph",
        Found::Kept(ReturnTrampoline::Probe) => "probe",
        Found::Kept(ReturnTrampoline::Patch) => "patch",
    }
}

fn frame_json(frozen: &Frozen, frame: &Frame) -> Value {
    let cursor = &frame.cursor;
    let place = frozen.place(cursor.in_function()).filter(|_| cursor.pc != 0);
    let offset = place.as_ref().map(|place| place.offset + cursor.pc.wrapping_sub(cursor.in_function()));
    json!({
        "pc": format!("{:#x}", cursor.pc),
        "sp": format!("{:#x}", cursor.sp),
        "function": place.as_ref().map(|place| &place.function),
        "offset": offset,
        "module": place.as_ref().and_then(|place| place.module.as_deref()),
        "exact": cursor.exact,
        "found": found(frame.found),
    })
}
