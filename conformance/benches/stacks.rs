// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What stack walks cost and how they compare with the kernel's own. `cargo bench -p klp-conformance --bench stacks`
//!
//! Instructions are counted by QEMU (`-icount`), so the figures repeat on any machine. The comparison is of all tasks of a
//! guest with two CPUs under load. Arguments after `--` are names of architectures or kernels; all without them.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::kbuild::{self, Built, Options};
use klp_host::kernel::Known;
use klp_host::qemu::{self, RunSpec, Silent};
use klp_host::{Arch, Cache, Kernel, Progress, arches};

/// How many walks of each kernel are compared.
const WALKS: u32 = 120_000;

/// Depths of the two threads whose difference gives the cost of a frame.
const DEPTHS: [u32; 2] = [8, 40];

/// How many threads sleep beside the guest's own tasks.
const THREADS: [u32; 3] = [0, 1_000, 10_000];

fn main() -> Result<()> {
    // cargo bench passes --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for name in &wanted {
        let known = Known::all().iter().any(|known| known.id == name);
        ensure!(known || Arch::by_name(name).is_some(), "there is no architecture or kernel '{name}'");
    }
    let progress = Progress::new();
    let cache = Cache::open()?;
    let any_kernel = !wanted.iter().any(|name| Known::all().iter().any(|known| known.id == name));
    let any_arch = !wanted.iter().any(|name| Arch::by_name(name).is_some());
    let named = |name: &str| wanted.iter().any(|wanted| wanted == name);
    for known in Known::all().iter().filter(|known| any_kernel || named(known.id)) {
        for arch in
            arches().iter().copied().filter(|arch| known.is_of(arch) && (any_arch || named(arch.name)))
        {
            let kernel = known.fetch(&cache, arch, &progress)?;
            let out = kbuild::target_dir().join(format!("bench/stacks-{}-{}", arch.name, known.id));
            let module = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/modules/test_stacks");
            let built = kbuild::build(&kernel, &out, &[module], &Options::default(), &progress)?;
            println!("## {} {}\n", arch.name, known.id);
            print_costs(&kernel, &built, &progress)?;
            print_comparison(&kernel, &built, &progress)?;
        }
    }
    Ok(())
}

/// What `command` prints in a guest in which the test module is loaded.
fn guest(spec: RunSpec<'_>, built: &Built, what: &str, progress: &Progress) -> Result<String> {
    let klp: PathBuf = built.klp.clone().context("the build made no klp.ko")?;
    let module = built.patches.first().context("the build made no test module")?;
    let added = Added { source: module.clone(), guest_path: format!("{MODULE_DIR}/test_stacks.ko") };
    let (arch, id) = (spec.kernel.arch, spec.kernel.id.clone());
    let spec = RunSpec { modules: vec![klp], added: vec![added], ..spec };
    let run = progress.phase(format!("{what} on {arch} {id}"), |_| qemu::run(&spec, &mut Silent))?;
    run.verdict().with_context(|| String::from_utf8_lossy(&run.stderr).into_owned())?;
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// The values of a line `KEY VALUE KEY VALUE …`.
fn values(line: &str) -> Result<BTreeMap<&str, f64>> {
    let words: Vec<&str> = line.split_whitespace().collect();
    words
        .chunks(2)
        .map(|pair| match pair {
            [key, value] => Ok((*key, value.parse()?)),
            _ => anyhow::bail!("a key without a value"),
        })
        .collect::<Result<_>>()
        .with_context(|| format!("expected 'KEY NUMBER …', found '{line}'"))
}

/// Instructions: of a frame, of a walk, of walking all tasks.
fn print_costs(kernel: &Kernel, built: &Built, progress: &Progress) -> Result<()> {
    let mut command = format!(
        "set -e; insmod {MODULE_DIR}/test_stacks.ko; cd /proc/test_stacks; echo 20000 >/proc/sys/kernel/threads-max; "
    );
    for depth in DEPTHS {
        command += &format!("echo deep {depth} >park; ");
    }
    command += "cat cost; echo 1 >release; ";
    for threads in THREADS {
        command += &format!("echo nested 1 {threads} >park; cat cost-all; echo 1 >release; ");
    }
    let spec = RunSpec {
        smp: 1,
        mem: 2048,
        count_instructions: true,
        timeout: Some(Duration::from_secs(1800)),
        ..RunSpec::new(kernel, Job::Exec(command))
    };
    let output = guest(spec, built, "counting instructions", progress)?;
    let lines = output.lines().map(values).collect::<Result<Vec<_>>>()?;
    ensure!(
        lines.len() == DEPTHS.len() + THREADS.len(),
        "expected a line for each measurement, found:\n{output}"
    );
    let (walks, all) = lines.split_at(DEPTHS.len());

    println!("| instructions | klp.ko | the kernel | ratio |\n|---|---|---|---|");
    let row = |what: String, ours: f64, kernels: f64| {
        println!("| {what} | {ours:.0} | {kernels:.0} | {:.2} |", ours / kernels);
    };
    let slope = |key| (walks[1][key] - walks[0][key]) / (walks[1]["frames"] - walks[0]["frames"]);
    row("a frame".to_owned(), slope("ours"), slope("kernel"));
    for walk in walks {
        row(format!("a walk of {} frames", walk["frames"]), walk["ours"], walk["kernel"]);
    }
    println!(
        "\n| all tasks | frames | reliable | for the kernel | klp.ko, M instructions | the kernel | ratio |"
    );
    println!("|---|---|---|---|---|---|---|");
    for all in all {
        // Holding a task still costs the same for both.
        let [ours, kernels] = ["ours", "kernel"].map(|key| (all[key] - all["hold"]) / 1e6);
        println!(
            "| {} | {} | {} | {} | {ours:.2} + {:.2} for holding | {kernels:.2} | {:.2} |",
            all["tasks"],
            all["frames"],
            all["reliable"],
            all["kernel-reliable"],
            all["hold"] / 1e6,
            ours / kernels
        );
    }
    println!();
    Ok(())
}

/// Walks of all tasks under load, by klp.ko and by the kernel.
fn print_comparison(kernel: &Kernel, built: &Built, progress: &Progress) -> Result<()> {
    let command = format!(
        "insmod {MODULE_DIR}/test_stacks.ko; \
         (while :; do ls -lR /sys/module | grep -c x; done) >/dev/null 2>&1 & \
         (while :; do dd if=/dev/zero bs=4k count=50 2>/dev/null | cat | md5sum; usleep 1000; done) >/dev/null 2>&1 & \
         (while :; do dd if=/dev/zero of=/tmp/file bs=64k count=20; cat /tmp/file; rm /tmp/file; done) >/dev/null 2>&1 & \
         echo {WALKS} >/proc/test_stacks/compare; cat /proc/test_stacks/compare"
    );
    let spec =
        RunSpec { timeout: Some(Duration::from_secs(1800)), ..RunSpec::new(kernel, Job::Exec(command)) };
    let output = guest(spec, built, "comparing walks", progress)?;
    println!("```\n{}\n```\n", output.trim_end());
    let number = |key: &str| {
        output
            .lines()
            .find_map(|line| line.strip_prefix(key)?.trim().parse::<u64>().ok())
            .with_context(|| format!("there is no '{key}' in the comparison"))
    };
    ensure!(number("walks ")? >= u64::from(WALKS), "fewer walks than asked for");
    for key in ["different ", "fewer ", "not-refused "] {
        ensure!(number(key)? == 0, "{key}is not zero: see above");
    }
    Ok(())
}
