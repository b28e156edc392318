// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What patching costs: instructions per call, module size, build time. `cargo bench -p klp-conformance --bench guest`
//!
//! Instructions are counted by QEMU (`-icount`), so the figures are exact and repeat on any machine. Arguments after `--`
//! are architecture names; all without them.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::kbuild::{self, Options};
use klp_host::kernel::Known;
use klp_host::qemu::{self, RunSpec, Silent};
use klp_host::{Arch, Cache, Kernel, Progress, arches};

fn main() -> Result<()> {
    // cargo bench passes --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for name in &wanted {
        ensure!(Arch::by_name(name).is_some(), "there is no architecture '{name}'");
    }
    let progress = Progress::new();
    let cache = Cache::open()?;
    println!(
        "| kernel | unpatched | callback | direct | slot | kernel's own livepatch | klp.ko text | klp.ko | build cold | build warm |"
    );
    println!("|---|---|---|---|---|---|---|---|---|---|");
    for known in Known::all() {
        let is_wanted = |arch: &Arch| wanted.is_empty() || wanted.iter().any(|name| name == arch.name);
        for arch in arches().iter().copied().filter(|arch| known.is_of(arch) && is_wanted(arch)) {
            let kernel = known.fetch(&cache, arch, &progress)?;
            println!("{}", row(known, &kernel, &progress)?);
        }
    }
    Ok(())
}

fn row(known: &Known, kernel: &Kernel, progress: &Progress) -> Result<String> {
    let out = kbuild::target_dir().join(format!("bench/{}-{}", kernel.arch.name, known.id));
    let (cold, warm) = build_times(kernel, &out, progress)?;
    let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/bench");
    let mut dirs = vec![bench.join("call_bench"), bench.join("call_bench_patch")];
    let own = has_livepatch(kernel)?;
    if own {
        dirs.push(bench.join("call_bench_kernel"));
    }
    let built = kbuild::build(kernel, &out, &dirs, &Options::default(), progress)?;
    let klp = built.klp.context("the build made no klp.ko")?;
    let costs = costs(kernel, &klp, &built.patches, own, progress)?;
    let by_slot = slot_cost(kernel, &out.join("slot"), &dirs[..2], progress)?;
    let shown =
        |cost: Option<u64>| cost.map_or("–".to_owned(), |cost| format!("{:.1}", cost as f64 / 1000.0));
    let cost = |index: usize| shown(costs.get(index).copied().flatten());
    Ok(format!(
        "| {} {} | {} | {} | {} | {} | {} | {} B | {} KiB | {:.1} s | {:.1} s |",
        kernel.arch.name,
        known.id,
        cost(0),
        cost(1),
        cost(2),
        shown(by_slot),
        cost(3),
        text_size(&klp)?,
        fs::metadata(&klp)?.len() / 1024,
        cold.as_secs_f64(),
        warm.as_secs_f64()
    ))
}

fn has_livepatch(kernel: &Kernel) -> Result<bool> {
    let config = kernel.build_dir.join(".config");
    let text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    Ok(text.lines().any(|line| line == "CONFIG_LIVEPATCH=y"))
}

/// How long klp.ko takes to build with nothing compiled before, and with nothing changed.
fn build_times(kernel: &Kernel, out: &Path, progress: &Progress) -> Result<(Duration, Duration)> {
    if out.exists() {
        fs::remove_dir_all(out).with_context(|| format!("cannot remove {}", out.display()))?;
    }
    let options = Options { rust_target: out.join("rust"), ..Options::default() };
    let time = || -> Result<Duration> {
        let start = Instant::now();
        kbuild::build(kernel, out, &[], &options, progress)?;
        Ok(start.elapsed())
    };
    Ok((time()?, time()?))
}

const COST: &str = "cat /sys/module/call_bench/parameters/cost";

/// Loads the patch, and counts when its function is entered in this way.
fn patched(entry: &str) -> String {
    const ENTRY: &str = "/sys/kernel/klp/call_bench_patch/call_bench/call_bench_target,1/entry";
    format!("insmod call_bench_patch.ko; until [ $(cat {ENTRY}) = {entry} ]; do sleep 0.1; done; {COST}")
}

/// As [`costs`], entered by a slot of the function's own, where the compiler leaves room for one (docs/src/slots.md).
fn slot_cost(kernel: &Kernel, out: &Path, dirs: &[PathBuf], progress: &Progress) -> Result<Option<u64>> {
    let Ok(room) = &kernel.arch.room else { return Ok(None) };
    let options = Options { patchable: Some(room.enough), ..Options::default() };
    let built = kbuild::build(kernel, out, dirs, &options, progress)?;
    let klp = built.klp.context("the build made no klp.ko")?;
    let command = format!("set -e; cd {MODULE_DIR}; insmod call_bench.ko; {}", patched("slot"));
    Ok(count(kernel, &klp, &built.patches, command, progress)?.pop().flatten())
}

/// Picoseconds of guest time per call: unpatched, patched and entered by the callback, by a direct call where there is one, and
/// by the kernel's own livepatch where it has one. At one instruction a nanosecond, thousandths of an instruction.
fn costs(
    kernel: &Kernel,
    klp: &Path,
    modules: &[PathBuf],
    own: bool,
    progress: &Progress,
) -> Result<Vec<Option<u64>>> {
    const DIRECT: &str = "/sys/module/klp/parameters/direct_calls";
    let disable = |root: &str, name: &str| {
        format!(
            "echo 0 > /sys/kernel/{root}/{name}/enabled; while [ -d /sys/kernel/{root}/{name} ]; do sleep 0.1; done; \
             until rmmod {name} 2>/dev/null; do sleep 0.1; done"
        )
    };
    let patched = |entry: &str| format!("{}; {}", patched(entry), disable("klp", "call_bench_patch"));
    let mut command = format!(
        "set -e; cd {MODULE_DIR}; insmod call_bench.ko; {COST}; \
         if [ -f {DIRECT} ]; then echo 0 > {DIRECT}; {by_callback}; echo 1 > {DIRECT}; {directly}; \
         else {by_callback}; echo none; fi",
        by_callback = patched("callback"),
        directly = patched("direct"),
    );
    if own {
        // Its transition is over when the file says so.
        command += "; insmod call_bench_kernel.ko; until [ $(cat /sys/kernel/livepatch/call_bench_kernel/transition) = 0 ]; \
                    do sleep 0.1; done; ";
        command += COST;
    }
    count(kernel, klp, modules, command, progress)
}

/// What a command in the guest counts, line by line.
fn count(
    kernel: &Kernel,
    klp: &Path,
    modules: &[PathBuf],
    command: String,
    progress: &Progress,
) -> Result<Vec<Option<u64>>> {
    let added = modules.iter().map(|module| {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        Added { source: module.clone(), guest_path: format!("{MODULE_DIR}/{name}") }
    });
    let spec = RunSpec {
        modules: vec![klp.to_owned()],
        smp: 1,
        count_instructions: true,
        added: added.collect(),
        ..RunSpec::new(kernel, Job::Exec(command))
    };
    let run = progress
        .phase(format!("counting on {} {}", kernel.arch, kernel.id), |_| qemu::run(&spec, &mut Silent))?;
    run.verdict().with_context(|| String::from_utf8_lossy(&run.stderr).into_owned())?;
    let output = String::from_utf8_lossy(&run.stdout);
    output
        .lines()
        .map(|line| match line {
            "none" => Ok(None),
            line => line.parse().map(Some).with_context(|| format!("expected a number, found '{line}'")),
        })
        .collect()
}

/// Bytes of code in a module.
fn text_size(module: &Path) -> Result<u64> {
    use object::{Object, ObjectSection, SectionKind};
    let data = fs::read(module).with_context(|| format!("cannot read {}", module.display()))?;
    let file = object::File::parse(data.as_slice())
        .with_context(|| format!("{} is no ELF file", module.display()))?;
    Ok(file
        .sections()
        .filter(|section| section.kind() == SectionKind::Text)
        .map(|section| section.size())
        .sum())
}
