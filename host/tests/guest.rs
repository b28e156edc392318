// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The runner on real kernels: what it shows, what it notices, and that it always ends.
//!
//! A few kernels say little less than all and take a tenth of the time, so `cargo test` takes the x86_64 Debian 12
//! kernel. `KLP_TEST_KERNELS=all`, or a list such as `s390/debian-6.1,arm64/debian-6.12`, names others. A kernel that
//! is not on this machine is fetched.

use std::fs;
use std::path::PathBuf;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use klp_host::dump::{DumpSpec, Format, Frozen, Layout};
use klp_host::guest::{Added, Job, MODULE_DIR};
use klp_host::kbuild::{self, Options};
use klp_host::kernel::Known;
use klp_host::klog::Kind;
use klp_host::qemu::{self, End, RunResult, RunSpec, Silent};
use klp_host::{Arch, Cache, Failure, Kernel, Progress, arches};
use libtest_mimic::{Arguments, Trial};

type Test = fn(&Kernel) -> Result<()>;

const TESTS: &[(&str, Test)] = &[
    ("streams_are_apart", streams_are_apart),
    ("output_is_exact_while_the_log_is_busy", output_is_exact_while_the_log_is_busy),
    ("modules_load_in_order", modules_load_in_order),
    ("what_is_asked_for_takes_effect", what_is_asked_for_takes_effect),
    ("a_run_ends_with_its_command", a_run_ends_with_its_command),
    ("a_warning_is_noticed", a_warning_is_noticed),
    ("an_oops_is_noticed", an_oops_is_noticed),
    ("a_hung_task_is_noticed", a_hung_task_is_noticed),
    ("a_panic_is_noticed_and_whole", a_panic_is_noticed_and_whole),
    ("a_machine_that_goes_off_is_lost", a_machine_that_goes_off_is_lost),
    ("a_kernel_without_init_is_lost", a_kernel_without_init_is_lost),
    ("cut_output_is_no_output", cut_output_is_no_output),
    ("a_dump_has_the_guests_tasks", a_dump_has_the_guests_tasks),
    ("a_dump_that_cannot_be_written_leaves_nothing", a_dump_that_cannot_be_written_leaves_nothing),
    ("a_locked_up_kernel_times_out", a_locked_up_kernel_times_out),
    ("a_refusal_has_its_reason", a_refusal_has_its_reason),
    ("a_qemu_that_does_not_start_says_why", a_qemu_that_does_not_start_says_why),
];

fn main() -> Result<()> {
    let mut trials = Vec::new();
    for (arch, known) in kernels()? {
        for (name, test) in TESTS {
            let name = format!("{arch}/{}/{name}", known.id);
            trials.push(Trial::test(name, move || {
                let kernel = known.fetch(&Cache::open()?, arch, &Progress::silent())?;
                Ok(test(&kernel).map_err(|error| format!("{error:?}"))?)
            }));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn kernels() -> Result<Vec<(&'static Arch, &'static Known)>> {
    let list = std::env::var("KLP_TEST_KERNELS").unwrap_or_else(|_| "x86_64/debian-6.1".to_owned());
    if list == "all" {
        return Ok(arches()
            .iter()
            .flat_map(|&arch| Known::of(arch).map(move |known| (arch, known)))
            .collect());
    }
    list.split(',')
        .map(|name| {
            let (arch, id) = name.split_once('/').with_context(|| format!("'{name}' is not ARCH/KERNEL"))?;
            let arch = Arch::by_name(arch).with_context(|| format!("there is no architecture '{arch}'"))?;
            Ok((arch, Known::by_id(id)?))
        })
        .collect()
}

fn exec<'a>(kernel: &'a Kernel, command: &str) -> RunSpec<'a> {
    RunSpec { timeout: Some(Duration::from_secs(240)), ..RunSpec::new(kernel, Job::Exec(command.to_owned())) }
}

fn run(spec: &RunSpec<'_>) -> Result<RunResult> {
    qemu::run(spec, &mut Silent)
}

/// `tests/provoke`, built for the kernel.
fn provoke(kernel: &Kernel) -> Result<PathBuf> {
    let out = kbuild::target_dir().join("tests").join(kernel.arch.name).join(&kernel.id);
    let source = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/provoke"));
    let options = Options { core: false, ..Options::default() };
    let built = kbuild::build(kernel, &out, &[source], &options, &Progress::silent())?;
    built.patches.into_iter().next().context("nothing was built")
}

/// A run in which the module was told to provoke `what`, and the command went on after it.
fn provoked<'a>(kernel: &'a Kernel, what: &str, then: &str) -> Result<RunSpec<'a>> {
    let added = vec![Added { source: provoke(kernel)?, guest_path: "/root/provoke.ko".to_owned() }];
    Ok(RunSpec { added, ..exec(kernel, &format!("insmod provoke.ko what={what}\n{then}")) })
}

/// The first finding is one of `kinds`, its report names the module, and the verdict is the kernel's.
fn expect(result: &RunResult, kinds: &[Kind]) -> Result<()> {
    let first = result.findings.first().with_context(|| format!("nothing found in:\n{}", result.console))?;
    ensure!(kinds.contains(&first.kind), "found {first}");
    ensure!(first.context.iter().any(|line| line.contains("provoke")), "incomplete: {:#?}", first.context);
    let verdict = result.verdict();
    ensure!(matches!(verdict, Err(Failure::Kernel(_))), "the verdict is {verdict:?}");
    Ok(())
}

fn streams_are_apart(kernel: &Kernel) -> Result<()> {
    let result = run(&exec(kernel, "echo out; echo err >&2; echo log >/dev/kmsg; printf end; exit 3"))?;
    ensure!(result.stdout == b"out\nend", "stdout: {:?}", String::from_utf8_lossy(&result.stdout));
    ensure!(result.stderr == b"err\n", "stderr: {:?}", String::from_utf8_lossy(&result.stderr));
    ensure!(result.console.contains("] log"), "the kernel log lacks what was written to it");
    ensure!(result.console.contains("Linux version"), "the kernel log lacks its beginning");
    ensure!(result.end == End::Exited(3), "{:?}", result.end);
    ensure!(matches!(result.verdict(), Err(Failure::Command(3))), "{:?}", result.verdict());
    ensure!(result.findings.is_empty(), "a stock boot is not clean: {:#?}", result.findings);
    ensure!(result.taint == Some(0), "a stock boot is tainted: {:?}", result.taint);
    ensure!(result.boot <= result.begin && result.boot.is_some(), "{:?}, {:?}", result.boot, result.begin);
    Ok(())
}

fn output_is_exact_while_the_log_is_busy(kernel: &Kernel) -> Result<()> {
    // Every byte there is, terminals' special ones included, and a count, so that nothing repeats.
    let every: Vec<u8> = (0..=255).collect();
    let file = tempfile::NamedTempFile::new()?;
    let data: Vec<u8> = (0u32..4096).flat_map(|count| [&every[..], &count.to_be_bytes()].concat()).collect();
    fs::write(file.path(), &data)?;
    let added = vec![Added { source: file.path().to_owned(), guest_path: "/root/data".to_owned() }];
    let command = "while :; do echo busy busy busy >/dev/kmsg; done & cat data; cat data >&2";
    let result = run(&RunSpec { added, ..exec(kernel, command) })?;
    result.verdict()?;
    ensure!(result.stdout == data, "stdout differs: {} bytes of {}", result.stdout.len(), data.len());
    ensure!(result.stderr == data, "stderr differs: {} bytes of {}", result.stderr.len(), data.len());
    let busy = result.console.matches("] busy busy busy").count();
    ensure!(busy > 100, "the log was not busy: {busy} lines");
    Ok(())
}

fn modules_load_in_order(kernel: &Kernel) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let first = provoke(kernel)?;
    // The same module under another name is refused after the first, and a refusal ends the run.
    let second = dir.path().join("second.ko");
    fs::copy(&first, &second)?;
    let spec = exec(kernel, &format!("lsmod; ls {MODULE_DIR}"));
    let result = run(&RunSpec { modules: vec![first.clone()], ..spec.clone() })?;
    result.verdict()?;
    let listing = String::from_utf8_lossy(&result.stdout);
    ensure!(listing.contains("provoke ") && listing.contains("provoke.ko"), "{listing}");

    let result = run(&RunSpec { modules: vec![first, second], ..spec })?;
    match &result.end {
        End::Refused { module, reason } if module == "second.ko" && reason.contains("File exists") => {}
        other => bail!("{other:?}"),
    }
    ensure!(result.begin.is_none() && result.stdout.is_empty(), "the command ran");
    Ok(())
}

fn what_is_asked_for_takes_effect(kernel: &Kernel) -> Result<()> {
    let dir = tempfile::tempdir()?;
    fs::create_dir(dir.path().join("sub"))?;
    fs::write(dir.path().join("sub/file"), "content")?;
    let spec = RunSpec {
        smp: 1,
        mem: 768,
        append: "klp.test=1 printk.time=1".to_owned(),
        added: vec![Added { source: dir.path().to_owned(), guest_path: "/data/dir".to_owned() }],
        ..exec(
            kernel,
            "nproc; cat /data/dir/sub/file; echo; cat /proc/cmdline; grep MemTotal /proc/meminfo; pwd",
        )
    };
    let result = run(&spec)?;
    result.verdict()?;
    let text = String::from_utf8_lossy(&result.stdout);
    let lines: Vec<&str> = text.lines().collect();
    let [processors, content, cmdline, memory, home] = lines.as_slice() else { bail!("{text}") };
    ensure!(*processors == "1" && *content == "content" && *home == "/root", "{text}");
    ensure!(cmdline.contains("klp.test=1"), "{cmdline}");
    let kib: u64 = memory.split_whitespace().nth(1).context("no number")?.parse()?;
    ensure!((512..=768).contains(&(kib / 1024)), "{memory}");
    Ok(())
}

fn a_run_ends_with_its_command(kernel: &Kernel) -> Result<()> {
    // Both would keep the command's standard output open for longer than the run may take.
    let result = run(&exec(kernel, "sleep 1000 & setsid sleep 1000 & echo done"))?;
    result.verdict()?;
    ensure!(result.stdout == b"done\n", "{:?}", String::from_utf8_lossy(&result.stdout));
    Ok(())
}

fn a_warning_is_noticed(kernel: &Kernel) -> Result<()> {
    let result = run(&provoked(kernel, "warning", "true")?)?;
    expect(&result, &[Kind::Warning])?;
    ensure!(result.findings.len() == 1, "{:#?}", result.findings);
    ensure!(result.end == End::Exited(0), "{:?}", result.end);
    Ok(())
}

fn an_oops_is_noticed(kernel: &Kernel) -> Result<()> {
    for what in ["null", "bug"] {
        let result = run(&provoked(kernel, what, "echo after")?)?;
        expect(&result, &[Kind::Oops, Kind::Bug])?;
        ensure!(result.stdout.ends_with(b"after\n"), "the command did not go on");
    }
    Ok(())
}

fn a_hung_task_is_noticed(kernel: &Kernel) -> Result<()> {
    let impatient = "cd /proc/sys/kernel; echo 2 >hung_task_timeout_secs; sleep 6";
    expect(&run(&provoked(kernel, "hang", impatient)?)?, &[Kind::HungTask])
}

fn a_panic_is_noticed_and_whole(kernel: &Kernel) -> Result<()> {
    let result = run(&provoked(kernel, "panic", "true")?)?;
    expect(&result, &[Kind::Panic])?;
    ensure!(result.findings[0].text.ends_with("not syncing: provoked"), "{}", result.findings[0]);
    ensure!(result.console.contains("provoke_init"), "the stack is not in the log");
    ensure!(matches!(result.end, End::Lost(_)), "{:?}", result.end);
    Ok(())
}

fn a_machine_that_goes_off_is_lost(kernel: &Kernel) -> Result<()> {
    for command in ["poweroff -f", "reboot -f"] {
        let result = run(&exec(kernel, command))?;
        ensure!(result.findings.is_empty(), "{:#?}", result.findings);
        ensure!(matches!(result.end, End::Lost(_)), "{command}: {:?}", result.end);
        ensure!(matches!(result.verdict(), Err(Failure::Kernel(_))), "{command}: {:?}", result.verdict());
    }
    Ok(())
}

fn a_kernel_without_init_is_lost(kernel: &Kernel) -> Result<()> {
    let result = run(&RunSpec { append: "rdinit=/nothing".to_owned(), ..exec(kernel, "true") })?;
    ensure!(result.findings.iter().any(|finding| finding.kind == Kind::Panic), "{:#?}", result.findings);
    ensure!(result.boot.is_none(), "{:?}", result.boot);
    Ok(())
}

fn cut_output_is_no_output(kernel: &Kernel) -> Result<()> {
    let result = run(&exec(kernel, "echo something; kill -9 -1"))?;
    match &result.end {
        End::Lost(how) if how.contains("output is cut") => Ok(()),
        other => bail!("{other:?}"),
    }
}

fn a_locked_up_kernel_times_out(kernel: &Kernel) -> Result<()> {
    // Nothing can end the module's loop, and with the detectors off it is a time-out and nothing else.
    let added = provoked(kernel, "spin", "")?.added;
    let command = "\
        for off in 0:/proc/sys/kernel/watchdog 0:/sys/module/workqueue/parameters/watchdog_thresh \
            1:/sys/module/rcupdate/parameters/rcu_cpu_stall_suppress; do
            [ ! -e ${off#*:} ] || echo ${off%%:*} >${off#*:}
        done
        insmod provoke.ko what=spin";
    // A busy machine may not even boot in the shorter time.
    for seconds in [30, 120] {
        let limit = Duration::from_secs(seconds);
        let added = added.clone();
        let result = run(&RunSpec { timeout: Some(limit), added, ..exec(kernel, command) })?;
        ensure!(result.end == End::TimedOut(limit), "{:?}", result.end);
        let verdict = result.verdict();
        ensure!(matches!(verdict, Err(Failure::TimedOut(after)) if after == seconds), "{verdict:?}");
        ensure!(result.total < limit + Duration::from_secs(5), "it took {:?}", result.total);
        if result.begin.is_some() {
            return Ok(());
        }
    }
    bail!("the kernel did not boot in 120 s")
}

fn a_refusal_has_its_reason(kernel: &Kernel) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let foreign = dir.path().join("foreign.ko");
    let mut elf = fs::read(provoke(kernel)?)?;
    // e_machine, in the module's own byte order: any other architecture's number.
    let machine = arches()
        .iter()
        .map(|arch| arch.facts.elf_machine)
        .find(|&machine| machine != kernel.arch.facts.elf_machine);
    let machine = machine.context("there is one architecture only")?;
    let bytes = if elf[5] == 1 { machine.to_le_bytes() } else { machine.to_be_bytes() };
    elf[18..20].copy_from_slice(&bytes);
    fs::write(&foreign, elf)?;
    let result = run(&RunSpec { modules: vec![foreign], ..exec(kernel, "echo ran") })?;
    match &result.end {
        End::Refused { module, reason } => {
            ensure!(module == "foreign.ko", "{module}");
            ensure!(reason.contains("invalid module format"), "the loader's words are missing: {reason}");
            ensure!(reason.to_lowercase().contains("elf"), "the kernel's words are missing: {reason}");
        }
        other => bail!("{other:?}"),
    }
    ensure!(matches!(result.verdict(), Err(Failure::Refused { .. })), "{:?}", result.verdict());
    ensure!(result.stdout.is_empty(), "the command ran");
    Ok(())
}

fn a_qemu_that_does_not_start_says_why(kernel: &Kernel) -> Result<()> {
    match run(&RunSpec { smp: 100_000, ..exec(kernel, "true") }) {
        Err(error) if error.to_string().contains("did not start") && error.to_string().contains("CPU") => {
            Ok(())
        }
        other => bail!("{other:?}"),
    }
}

/// Both formats hold the same: the command's processes, those of other CPUs, their functions and modules.
fn a_dump_has_the_guests_tasks(kernel: &Kernel) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let out = kbuild::target_dir().join("tests").join(kernel.arch.name).join(&kernel.id).join("layout");
    let layout = Layout::build(kernel, &out, &Progress::silent())?;
    for (name, format) in [("elf", Format::Elf), ("kdump", Format::Kdump)] {
        let file = dir.path().join(name);
        let dump = Some(DumpSpec { file: file.clone(), format });
        let result =
            run(&RunSpec { dump, mem: 512, ..exec(kernel, "sleep 1000 & sleep 1; echo $!; exit 3") })?;
        ensure!(result.dumped && result.end == End::Exited(3), "{:?}", result.end);
        let sleeper: i32 = String::from_utf8(result.stdout)?.trim().parse()?;

        let frozen = Frozen::open(&file, kernel, layout.clone(), None)?;
        let tasks = frozen.tasks();
        let idle: Vec<&str> =
            tasks.iter().filter(|task| task.pid == 0).map(|task| task.comm.as_str()).collect();
        ensure!(idle == ["swapper/0", "swapper/1"], "{name}: {idle:?}");
        let task =
            tasks.iter().find(|task| task.pid == sleeper).context("the sleeping process is not there")?;
        ensure!((task.comm.as_str(), task.state, task.running) == ("sleep", 'S', false), "{name}: {task:?}");
        let comm = |pid| tasks.iter().find(|task| task.pid == pid).map(|task| task.comm.as_str());
        ensure!(
            (comm(1), comm(2)) == (Some("init"), Some("kthreadd")),
            "{name}: {:?} {:?}",
            comm(1),
            comm(2)
        );
        let (_, stacks) = frozen.view(task).start().map_err(|reason| anyhow::anyhow!("{name}: {reason}"))?;
        ensure!(stacks.iter().any(|stack| stack.contains(task.saved.sp)), "{name}: {task:?}");

        // A kernel other than the one that ran, and a file that is cut short.
        let other = Kernel { release: "6.0-other".to_owned(), ..kernel.clone() };
        let refusal = |file: &std::path::Path, kernel: &Kernel| {
            let error = Frozen::open(file, kernel, layout.clone(), None).err().context("not refused")?;
            ensure!(klp_host::exit_status(&error) == 2, "{name}: {error:#}");
            Ok(format!("{error:#}"))
        };
        ensure!(refusal(&file, &other)?.contains("is 6.0-other"), "{name}: {}", refusal(&file, &other)?);
        let cut = dir.path().join("cut");
        fs::write(&cut, &fs::read(&file)?[..20 << 20])?;
        ensure!(refusal(&cut, kernel)?.contains("cut short"), "{name}: {}", refusal(&cut, kernel)?);
        fs::remove_file(&file)?;
    }
    Ok(())
}

fn a_dump_that_cannot_be_written_leaves_nothing(kernel: &Kernel) -> Result<()> {
    let dir = tempfile::tempdir()?;
    let file = dir.path().join("gone/dump");
    let dump = Some(DumpSpec { file: file.clone(), format: Format::Elf });
    let error = run(&RunSpec { dump, ..exec(kernel, "true") }).err().context("the dump was written")?;
    ensure!(format!("{error:#}").contains("dump-guest-memory failed"), "{error:#}");
    ensure!(fs::read_dir(dir.path())?.count() == 0, "something was left");
    Ok(())
}
