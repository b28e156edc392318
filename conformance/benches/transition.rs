// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What transitions cost, and calls during one. `cargo bench -p klp-conformance --bench transition`
//!
//! Instructions are counted by QEMU (`-icount`), so the figures repeat on any machine. Where the kernel has livepatch of its
//! own, the same patch is measured in the same guest as a module for that. Arguments after `--` are names of architectures or
//! kernels; all without them.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::kbuild::{self, Built, Options};
use klp_host::kernel::Known;
use klp_host::qemu::{self, RunSpec, Silent};
use klp_host::{Arch, Cache, Kernel, Progress, arches};

/// How many tasks sleep beside the guest's own.
const SLEEPERS: [u32; 3] = [100, 1_000, 5_000];

/// What sleeps: kernel threads that wait for work, and processes in `nanosleep`.
const KINDS: [&str; 2] = ["kthreads", "processes"];

/// The two transitions of a patch.
const WAYS: [&str; 2] = ["patching", "unpatching"];

/// Where a call is measured: `unpatched`; while a task holds the transition up, by one that was born in the `new` universe, and
/// by the one that is still in the `old`; and when the patch is `settled`.
const PLACES: [&str; 4] = ["unpatched", "new", "old", "settled"];

/// Who patches: klp.ko, then the kernel.
struct Engine {
    /// The patch's module.
    module: &'static str,
    /// The directory of the patch's files.
    sysfs: &'static str,
}

const ENGINES: [Engine; 2] = [
    Engine { module: "transition_bench_patch", sysfs: "/sys/kernel/klp/transition_bench_patch" },
    Engine { module: "transition_bench_kernel", sysfs: "/sys/kernel/livepatch/transition_bench_kernel" },
];

/// A line that the guest printed: what was measured, and its numbers by name.
type Measured = BTreeMap<String, BTreeMap<String, f64>>;

fn main() -> Result<()> {
    // cargo bench passes --bench.
    let wanted: Vec<String> = std::env::args().skip(1).filter(|arg| !arg.starts_with("--")).collect();
    for name in &wanted {
        let known = Known::all().iter().any(|known| known.id == name);
        ensure!(known || Arch::by_name(name).is_some(), "there is no architecture or kernel '{name}'");
    }
    let progress = Progress::new();
    let cache = Cache::open()?;
    let named = |name: &str| wanted.iter().any(|wanted| wanted == name);
    let any_kernel = !Known::all().iter().any(|known| named(known.id));
    let any_arch = !arches().iter().any(|arch| named(arch.name));
    let mut kernels = Vec::new();
    for known in Known::all().iter().filter(|known| any_kernel || named(known.id)) {
        for arch in
            arches().iter().copied().filter(|arch| known.is_of(arch) && (any_arch || named(arch.name)))
        {
            kernels.push(Figures::measure(known, arch, &cache, &progress)?);
        }
    }
    print_transitions(&kernels)?;
    print_tasks(&kernels)?;
    print_stops(&kernels)?;
    print_hooks(&kernels)?;
    print_calls(&kernels)
}

/// What one guest gave.
struct Figures {
    kernel: String,
    /// How many of [`ENGINES`] there are.
    engines: usize,
    measured: Measured,
}

impl Figures {
    fn measure(known: &Known, arch: &'static Arch, cache: &Cache, progress: &Progress) -> Result<Figures> {
        let kernel = known.fetch(cache, arch, progress)?;
        let engines = if has_livepatch(&kernel)? { 2 } else { 1 };
        let out = kbuild::target_dir().join(format!("bench/transition-{}-{}", arch.name, known.id));
        let bench = Path::new(env!("CARGO_MANIFEST_DIR")).join("guest/bench");
        let mut dirs = vec![bench.join("transition_bench")];
        dirs.extend(ENGINES[..engines].iter().map(|engine| bench.join(engine.module)));
        let built = kbuild::build(&kernel, &out, &dirs, &Options::default(), progress)?;
        let output = run(&kernel, &built, &script(&ENGINES[..engines]), progress)?;
        let measured = output.lines().map(line).collect::<Result<Measured>>()?;
        let figures = Figures { kernel: format!("{} {}", arch.name, known.id), engines, measured };
        figures.check().with_context(|| output.clone())?;
        Ok(figures)
    }

    fn get(&self, what: &str, key: &str) -> Result<f64> {
        let numbers = self.measured.get(what).with_context(|| format!("nothing was measured of '{what}'"))?;
        numbers.get(key).copied().with_context(|| format!("'{what}' has no '{key}'"))
    }

    /// A number of one transition of a patch.
    fn load(&self, engine: &Engine, kind: &str, count: u32, way: &str, key: &str) -> Result<f64> {
        self.get(&load_label(engine, kind, count, way), key)
    }

    /// What the transition itself cost, without the hooks.
    fn cost(&self, engine: &Engine, kind: &str, count: u32, way: &str) -> Result<f64> {
        Ok(self.load(engine, kind, count, way, "busy")? - self.load(engine, kind, count, way, "hooks")?)
    }

    /// How much each task more costs, from the fewest to the most.
    fn slope(&self, engine: &Engine, kind: &str, way: &str) -> Result<f64> {
        let [few, .., many] = SLEEPERS;
        let cost = self.cost(engine, kind, many, way)? - self.cost(engine, kind, few, way)?;
        let tasks =
            self.load(engine, kind, many, way, "tasks")? - self.load(engine, kind, few, way, "tasks")?;
        Ok(cost / tasks)
    }

    /// Cells `klp.ko | the kernel | ratio` of what each engine gives.
    fn compared(&self, decimals: usize, of: impl Fn(&Engine) -> Result<f64>) -> Result<String> {
        let ours = of(&ENGINES[0])?;
        if self.engines < 2 {
            return Ok(format!("{ours:.decimals$} | – | –"));
        }
        let kernels = of(&ENGINES[1])?;
        Ok(format!("{ours:.decimals$} | {kernels:.decimals$} | {:.2}", ours / kernels))
    }

    /// That all is there, and that calls ran in the universe they were measured in.
    fn check(&self) -> Result<()> {
        for engine in &ENGINES[..self.engines] {
            for (kind, count) in each_load() {
                for way in WAYS {
                    let what = load_label(engine, kind, count, way);
                    let tasks = self.get(&what, "tasks")?;
                    ensure!(tasks > f64::from(count), "'{what}' was measured with {tasks} tasks");
                    ensure!(self.cost(engine, kind, count, way)? > 0.0, "'{what}' took no time");
                }
            }
            for place in PLACES {
                let what = call_label(engine, place);
                let (calls, new) = (self.get(&what, "calls")?, self.get(&what, "new")?);
                let expected = if matches!(place, "new" | "settled") { calls } else { 0.0 };
                ensure!(new == expected, "'{what}': {new} of {calls} calls ran the replacement");
            }
        }
        Ok(())
    }
}

fn each_load() -> impl Iterator<Item = (&'static str, u32)> {
    KINDS.into_iter().flat_map(|kind| SLEEPERS.into_iter().map(move |count| (kind, count)))
}

fn load_label(engine: &Engine, kind: &str, count: u32, way: &str) -> String {
    format!("{}/{kind}/{count}/{way}", engine.module)
}

fn call_label(engine: &Engine, place: &str) -> String {
    format!("{}/calls/{place}", engine.module)
}

fn has_livepatch(kernel: &Kernel) -> Result<bool> {
    let config = kernel.build_dir.join(".config");
    let text = fs::read_to_string(&config).with_context(|| format!("cannot read {}", config.display()))?;
    Ok(text.lines().any(|line| line == "CONFIG_LIVEPATCH=y"))
}

/// What the guest runs. Each figure is a line: a label, and what the test module says.
fn script(engines: &[Engine]) -> String {
    const BENCH: &str = "/sys/module/transition_bench/parameters";
    let mut script = format!(
        "set -e; cd {MODULE_DIR}; B={BENCH}; echo 20000 >/proc/sys/kernel/threads-max; insmod transition_bench.ko\n\
         say() {{ echo $1 $(cat $B/$2); }}\n\
         settle() {{ until [ $(cat $1/transition) = 0 ]; do sleep 0.1; done; }}\n\
         gone() {{ while [ -d $1 ]; do sleep 0.1; done; }}\n\
         remove() {{ gone $1; rmmod $2; }}\n"
    );
    for engine in engines {
        let Engine { module, sysfs, .. } = engine;
        let label = |place| call_label(engine, place);
        script += &format!(
            "echo 1 >$B/hold; sleep 0.1; say {} calls; insmod {module}.ko; sleep 0.1; [ $(cat {sysfs}/transition) = 1 ]\n\
             say {} calls; say {} calls_held; echo 0 >$B/hold; settle {sysfs}; say {} calls\n\
             echo {sysfs}/enabled >$B/disable; remove {sysfs} {module}\n",
            label(PLACES[0]),
            label(PLACES[1]),
            label(PLACES[2]),
            label(PLACES[3]),
        );
    }
    for (kind, count) in each_load() {
        script += &match kind {
            "kthreads" => format!("echo {count} >$B/sleepers; sleep 1\n"),
            _ => format!(
                "echo 0 >$B/sleepers; while [ ${{n:-0}} -lt {count} ]; do sleep 100000 & n=$((n + 1)); done; sleep 1\n"
            ),
        };
        for engine in engines {
            let Engine { module, sysfs, .. } = engine;
            script += &format!(
                "insmod {module}.ko; settle {sysfs}; say {} cost\n\
                 echo {sysfs}/enabled >$B/disable; gone {sysfs}; say {} cost; rmmod {module}\n",
                load_label(engine, kind, count, WAYS[0]),
                load_label(engine, kind, count, WAYS[1]),
            );
        }
    }
    script
}

fn run(kernel: &Kernel, built: &Built, script: &str, progress: &Progress) -> Result<String> {
    let klp = built.klp.clone().context("the build made no klp.ko")?;
    let added = built.patches.iter().map(|module| {
        let name = module.file_name().unwrap_or_default().to_string_lossy();
        Added { source: module.clone(), guest_path: format!("{MODULE_DIR}/{name}") }
    });
    let spec = RunSpec {
        modules: vec![klp],
        smp: 1,
        mem: 4096,
        count_instructions: true,
        added: added.collect(),
        timeout: Some(Duration::from_secs(3600)),
        ..RunSpec::new(kernel, Job::Exec(script.to_owned()))
    };
    let run = progress
        .phase(format!("counting on {} {}", kernel.arch, kernel.id), |_| qemu::run(&spec, &mut Silent))?;
    run.verdict().with_context(|| {
        String::from_utf8_lossy(&[run.stdout.as_slice(), run.stderr.as_slice()].concat()).into_owned()
    })?;
    Ok(String::from_utf8_lossy(&run.stdout).into_owned())
}

/// A line `LABEL KEY VALUE KEY VALUE …`.
fn line(line: &str) -> Result<(String, BTreeMap<String, f64>)> {
    let mut words = line.split_whitespace();
    let label = words.next().context("an empty line")?.to_owned();
    let mut numbers = BTreeMap::new();
    while let Some(key) = words.next() {
        let value = words.next().and_then(|value| value.parse().ok());
        let Some(value) = value else { bail!("expected 'LABEL KEY NUMBER …', found '{line}'") };
        numbers.insert(key.to_owned(), value);
    }
    Ok((label, numbers))
}

fn heading(text: &str, columns: &[&str]) {
    println!("## {text}\n\n| {} |\n|{}", columns.join(" | "), "---|".repeat(columns.len()));
}

fn print_transitions(kernels: &[Figures]) -> Result<()> {
    heading(
        "A transition, millions of instructions",
        &[
            "kernel",
            "asleep",
            "patching: klp.ko",
            "the kernel",
            "ratio",
            "unpatching: klp.ko",
            "the kernel",
            "ratio",
        ],
    );
    for figures in kernels {
        for (kind, count) in each_load() {
            let [patching, unpatching] = WAYS
                .map(|way| figures.compared(3, |engine| Ok(figures.cost(engine, kind, count, way)? / 1e6)));
            println!("| {} | {count} {kind} | {} | {} |", figures.kernel, patching?, unpatching?);
        }
    }
    println!();
    Ok(())
}

fn print_tasks(kernels: &[Figures]) -> Result<()> {
    heading(
        "Each sleeping task more, instructions",
        &[
            "kernel",
            "asleep",
            "patching: klp.ko",
            "the kernel",
            "ratio",
            "unpatching: klp.ko",
            "the kernel",
            "ratio",
        ],
    );
    for figures in kernels {
        for kind in KINDS {
            let [patching, unpatching] =
                WAYS.map(|way| figures.compared(0, |engine| figures.slope(engine, kind, way)));
            println!("| {} | {kind} | {} | {} |", figures.kernel, patching?, unpatching?);
        }
    }
    println!();
    Ok(())
}

fn print_stops(kernels: &[Figures]) -> Result<()> {
    heading(
        "The machine stopped by klp.ko, thousands of instructions",
        &[
            "kernel",
            "asleep",
            "patching: times",
            "in all",
            "longest",
            "unpatching: times",
            "in all",
            "longest",
        ],
    );
    for figures in kernels {
        for (kind, count) in each_load() {
            let [patching, unpatching] = WAYS.map(|way| -> Result<String> {
                let of = |key| figures.load(&ENGINES[0], kind, count, way, key);
                Ok(format!("{} | {:.1} | {:.1}", of("stops")?, of("stopped")? / 1e3, of("longest")? / 1e3))
            });
            println!("| {} | {count} {kind} | {} | {} |", figures.kernel, patching?, unpatching?);
        }
    }
    println!();
    Ok(())
}

fn print_hooks(kernels: &[Figures]) -> Result<()> {
    heading(
        "Two hooks, millions of instructions",
        &["kernel", "placing: klp.ko", "the kernel", "ratio", "removing: klp.ko", "the kernel", "ratio"],
    );
    for figures in kernels {
        let [placing, removing] = WAYS.map(|way| {
            figures.compared(1, |engine| Ok(figures.load(engine, KINDS[0], SLEEPERS[0], way, "hooks")? / 1e6))
        });
        println!("| {} | {} | {} |", figures.kernel, placing?, removing?);
    }
    println!();
    Ok(())
}

fn print_calls(kernels: &[Figures]) -> Result<()> {
    heading(
        "A call, instructions",
        &[
            "kernel",
            "unpatched",
            "in transition, new universe: klp.ko",
            "the kernel",
            "ratio",
            "old universe: klp.ko",
            "the kernel",
            "ratio",
            "after it: klp.ko",
            "the kernel",
            "ratio",
        ],
    );
    for figures in kernels {
        let cost = |engine: &Engine, place| Ok(figures.get(&call_label(engine, place), "cost")? / 1e3);
        let [new, old, settled] =
            ["new", "old", "settled"].map(|place| figures.compared(1, |engine| cost(engine, place)));
        println!(
            "| {} | {:.1} | {} | {} | {} |",
            figures.kernel,
            cost(&ENGINES[0], "unpatched")?,
            new?,
            old?,
            settled?
        );
    }
    println!();
    Ok(())
}
