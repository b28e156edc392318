// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The kernel log scanner: what in a console log means that the kernel is not healthy.
//!
//! The console is shared with whatever user space prints, so only what follows a printk time stamp (`[    1.234567] `)
//! is taken as the kernel speaking. Guests boot with `printk.time=1`.

use std::fmt;

/// What kind of trouble a finding is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Kind {
    /// The kernel gave up.
    Panic,
    /// An exception in kernel mode that killed the current task.
    Oops,
    /// The kernel found its own state inconsistent (`BUG:`, a sanitizer report).
    Bug,
    /// `WARN_ON` and its like.
    Warning,
    /// A lock or RCU was used against its rules.
    Lockdep,
    /// A CPU made no progress.
    Lockup,
    /// A task slept uninterruptibly for too long.
    HungTask,
    /// A grace period did not end.
    RcuStall,
    /// Memory or objects were left behind.
    Leak,
    /// A module was built without the kernel's own hardening.
    Hardening,
}

impl fmt::Display for Kind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Kind::Panic => "kernel panic",
            Kind::Oops => "oops",
            Kind::Bug => "kernel bug",
            Kind::Warning => "kernel warning",
            Kind::Lockdep => "locking rule broken",
            Kind::Lockup => "CPU lockup",
            Kind::HungTask => "hung task",
            Kind::RcuStall => "RCU stall",
            Kind::Leak => "leak",
            Kind::Hardening => "module without the kernel's hardening",
        })
    }
}

/// One piece of trouble in a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it is.
    pub kind: Kind,
    /// The number of the line that says so, from 1.
    pub line: usize,
    /// That line, without its time stamp.
    pub text: String,
    /// The report the line belongs to, as logged: from its opening rule to its end-of-trace mark.
    pub context: Vec<String>,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.kind, self.text)
    }
}

/// Phrases that mean trouble, all of which must be in the line. The first match names the kind.
const PHRASES: &[(&[&str], Kind)] = &[
    (&["Kernel panic - not syncing"], Kind::Panic),
    (&["soft lockup - CPU"], Kind::Lockup),
    (&["hard LOCKUP"], Kind::Lockup),
    (&["INFO: task ", " blocked for more than "], Kind::HungTask),
    (&["rcu", "detected stall"], Kind::RcuStall),
    (&["rcu", "detected expedited stall"], Kind::RcuStall),
    (&["rcu", "kthread starved for"], Kind::RcuStall),
    (&["WARNING: possible "], Kind::Lockdep),
    (&["WARNING: suspicious RCU usage"], Kind::Lockdep),
    (&["WARNING: inconsistent lock state"], Kind::Lockdep),
    (&["WARNING: bad unlock balance detected"], Kind::Lockdep),
    (&["WARNING: held lock freed"], Kind::Lockdep),
    (&["INFO: trying to register non-static key"], Kind::Lockdep),
    (&["DEBUG_LOCKS_WARN_ON"], Kind::Lockdep),
    // x86: mm/fault.c. ppc64: mm/fault.c, with a capital.
    (&["BUG: kernel NULL pointer dereference"], Kind::Oops),
    (&["BUG: Kernel NULL pointer dereference"], Kind::Oops),
    (&["BUG: unable to handle"], Kind::Oops),
    (&["BUG: Unable to handle"], Kind::Oops),
    (&["BUG: stack guard page was hit"], Kind::Oops),
    // arm64: mm/fault.c. s390: mm/fault.c.
    (&["Unable to handle kernel"], Kind::Oops),
    (&["Internal error: "], Kind::Oops),
    (&["Oops: "], Kind::Oops),
    (&["traps: PANIC: "], Kind::Oops),
    (&["kernel BUG at "], Kind::Bug),
    (&["BUG: "], Kind::Bug),
    (&["UBSAN: "], Kind::Bug),
    (&["list_add corruption"], Kind::Bug),
    (&["list_del corruption"], Kind::Bug),
    (&["unchecked MSR access error"], Kind::Warning),
    (&["WARNING: "], Kind::Warning),
    (&["------------[ ftrace bug ]------------"], Kind::Warning),
    (&["kmemleak: ", "new suspected memory leaks"], Kind::Leak),
    (&["Slab cache still has objects"], Kind::Leak),
    (&["Objects remaining in "], Kind::Leak),
    (&["loading module not compiled with retpoline"], Kind::Hardening),
];

/// The line that opens a report, above the one that says what it is.
const CUT_HERE: &str = "[ cut here ]";
/// The lines that close one.
const END_MARKS: &[&str] = &["---[ end trace", PANIC_END];
/// The most lines a report is given to reach its end mark. A register dump with a full stack is about 80.
const REPORT_LINES: usize = 160;
/// The lines shown of a report that has no end mark.
const OPEN_REPORT_LINES: usize = 30;

/// The start of the last line of a panic: nothing more is to come.
pub(crate) const PANIC_END: &str = "---[ end Kernel panic";

/// Finds all trouble in a console log, in the order it was logged.
///
/// What follows a finding within the same report is part of it and not a finding again, save a panic.
pub fn scan(log: &str) -> Vec<Finding> {
    let lines: Vec<&str> = log.lines().map(str::trim_end).collect();
    let mut findings = Vec::new();
    let mut covered = 0;
    for (index, line) in lines.iter().enumerate() {
        let Some(text) = kernel_text(line) else { continue };
        let Some(kind) = classify(text) else { continue };
        if index < covered && kind != Kind::Panic {
            continue;
        }
        let start = if index > covered && lines[index - 1].contains(CUT_HERE) { index - 1 } else { index };
        let end = report_end(&lines, index);
        covered = covered.max(end);
        findings.push(Finding {
            kind,
            line: index + 1,
            text: text.to_owned(),
            context: lines[start..end].iter().map(|&line| line.to_owned()).collect(),
        });
    }
    findings
}

/// The kernel's words in a console line: what follows its time stamp, and the caller id where the kernel prints one.
pub fn kernel_text(line: &str) -> Option<&str> {
    line.match_indices('[').find_map(|(open, _)| {
        let (stamp, text) = line[open + 1..].split_once(']')?;
        let (seconds, fraction) = stamp.split_once('.')?;
        let number = |digits: &str| !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
        if !number(seconds.trim_start_matches(' ')) || fraction.len() != 6 || !number(fraction) {
            return None;
        }
        let caller = text.strip_prefix('[').and_then(|rest| rest.split_once(']')).filter(|(id, _)| {
            let id = id.trim_start();
            id.starts_with(['T', 'C']) && number(&id[1..])
        });
        let text = caller.map_or(text, |(_, text)| text);
        Some(text.strip_prefix(' ').unwrap_or(text))
    })
}

fn classify(text: &str) -> Option<Kind> {
    let phrase = PHRASES.iter().find(|(phrases, _)| phrases.iter().all(|phrase| text.contains(phrase)));
    match phrase {
        Some((_, kind)) => Some(*kind),
        None if has_die_counter(text) => Some(Kind::Oops),
        None => None,
    }
}

/// Every architecture's `die()` numbers what it prints: `general protection fault: 0000 [#1]`. A user process that dies
/// by the same exception has no number.
fn has_die_counter(text: &str) -> bool {
    text.match_indices("[#").any(|(at, _)| {
        let digits = text[at + 2..].trim_start_matches(|c: char| c.is_ascii_digit());
        digits.len() < text.len() - at - 2 && digits.starts_with(']')
    })
}

/// One past the last line of the report whose headline is at `headline`.
fn report_end(lines: &[&str], headline: usize) -> usize {
    let reach = lines.len().min(headline + REPORT_LINES);
    for (index, line) in lines.iter().enumerate().take(reach).skip(headline) {
        if END_MARKS.iter().any(|mark| line.contains(mark)) {
            return index + 1;
        }
        if index > headline && line.contains(CUT_HERE) {
            return index;
        }
    }
    lines.len().min(headline + OPEN_REPORT_LINES)
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use klp_core::stated::Fact;

    use super::*;

    /// What was provoked (`tests/provoke`), by the last word of a log's name, and what must be found. The logs are
    /// `ARCH-VERSION-WHAT.log`, cut to begin with init; what follows the first report may differ by architecture.
    const PROVOKED: &[(&str, &[Kind])] = &[
        ("warning", &[Kind::Warning]),
        ("bug", &[Kind::Bug]),
        ("null", &[Kind::Oops]),
        ("wild", &[Kind::Oops]),
        ("atomic", &[Kind::Bug]),
        ("hang", &[Kind::HungTask]),
        ("spin", &[Kind::Lockup, Kind::RcuStall]),
        ("panic", &[Kind::Panic]),
    ];

    fn logs() -> Vec<(String, String)> {
        let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/klog");
        let read = |path: &Path| std::fs::read_to_string(path).expect("a log");
        let entries = std::fs::read_dir(&dir).expect("the logs").map(|entry| entry.expect("a log").path());
        entries
            .map(|path| (path.file_stem().expect("name").to_string_lossy().into_owned(), read(&path)))
            .collect()
    }

    #[test]
    fn real_reports_of_every_architecture_are_found() {
        let logs = logs();
        for arch in crate::Arch::stating(&[Fact::Kernels]) {
            for (what, kinds) in
                PROVOKED.iter().filter(|(what, _)| *what != "atomic" || arch.name == "x86_64")
            {
                let of = |(name, _): &&(String, String)| {
                    name.starts_with(&format!("{}-", arch.name)) && name.ends_with(&format!("-{what}"))
                };
                let mut found = 0;
                for (name, log) in logs.iter().filter(of) {
                    let findings = scan(log);
                    let first = findings.first().unwrap_or_else(|| panic!("nothing found in {name}"));
                    assert!(kinds.contains(&first.kind), "{name}: {first}");
                    assert!(
                        first.context.iter().any(|line| line.contains("provoke")),
                        "{name}: {:#?}",
                        first.context
                    );
                    found += 1;
                }
                assert!(found > 0, "no log of '{what}' on {arch}");
            }
        }
    }

    #[test]
    fn a_report_is_one_finding_and_ends_where_it_ends() {
        for (name, log) in logs() {
            if ["null", "wild", "warning"].iter().any(|what| name.ends_with(what)) {
                let findings = scan(&log);
                assert_eq!(findings.len(), 1, "{name}: {findings:#?}");
                assert!(findings[0].context.last().expect("lines").contains("---[ end trace"), "{name}");
            }
        }
    }

    #[test]
    fn an_unsigned_module_from_elsewhere_is_no_finding() {
        for (name, log) in logs() {
            let report = scan(&log)[0].line - 1;
            let before: String = log.lines().take(report).map(|line| format!("{line}\n")).collect();
            let tainted = before.contains("loading out-of-tree module taints kernel");
            assert!(tainted, "{name} does not show the load");
            assert_eq!(scan(&before), [], "{name}");
        }
    }

    #[test]
    fn only_the_kernel_speaks() {
        assert_eq!(scan("WARNING: CPU: 0 PID: 1 at my.c:1\n"), []);
        let log = "$ cat [    2.000001] Kernel panic - not syncing: x\n";
        assert_eq!(scan(log)[0].kind, Kind::Panic);
        assert_eq!(scan(log)[0].text, "Kernel panic - not syncing: x");
    }

    #[test]
    fn time_stamps_and_callers_are_cut_off() {
        assert_eq!(kernel_text("[    1.234567] text"), Some("text"));
        assert_eq!(kernel_text("[12345.234567][  T112] text"), Some("text"));
        assert_eq!(kernel_text("[    1.234567]  [<00000000>] indented"), Some(" [<00000000>] indented"));
        for none in ["", "[1.5] x", "[ a.234567] x", "[    1.234567", "[.234567] x"] {
            assert_eq!(kernel_text(none), None, "{none}");
        }
    }

    #[test]
    fn a_user_process_that_dies_is_no_finding() {
        let log = "[    2.000000] traps: sh[77] general protection fault ip:401000 sp:7ffc error:0 in sh[400000+1000]\n\
                   [    2.000001] User process fault: interruption code 0010 ilc:3 in sh\n\
                   [    2.000002] issue [#] and [#x] and [#12\n";
        assert_eq!(scan(log), []);
        assert_eq!(
            scan("[    2.000000] specification exception: 0006 ilc:2 [#12] SMP\n")[0].kind,
            Kind::Oops
        );
    }

    #[test]
    fn a_report_without_an_end_stops_at_the_next() {
        let log = "[    1.000000] UBSAN: shift-out-of-bounds in a.c:1:2\n\
                   [    1.000001] shift exponent 99 is too large\n\
                   [    1.000002] ------------[ cut here ]------------\n\
                   [    1.000003] WARNING: CPU: 0 PID: 1 at b.c:1 f+0x1/0x2\n\
                   [    1.000004] ---[ end trace 0000000000000000 ]---\n";
        let findings = scan(log);
        assert_eq!(
            findings.iter().map(|f| (f.kind, f.context.len())).collect::<Vec<_>>(),
            [(Kind::Bug, 2), (Kind::Warning, 3)]
        );
    }
}
