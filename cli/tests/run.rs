// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The contract of `klp run`, from outside: streams, exit statuses, and that no QEMU outlives the command.

use std::fs;
use std::io::{Read, Write};
use std::path::Path;
use std::process::{Child, Command, Output, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

/// `klp run` on the kernel of the quick tests, without klp.ko, with more arguments.
fn klp(args: &[&str]) -> Command {
    // Who runs the tests in the background may ignore the signal of Ctrl-C.
    let mut command = Command::new("env");
    command.args(["--default-signal=INT", env!("CARGO_BIN_EXE_klp")]);
    command.args(["run", "--arch", "x86_64", "--kernel", "debian-6.1", "--core", "off"]).args(args);
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    command
}

fn output(args: &[&str]) -> Output {
    klp(args).output().expect("klp starts")
}

/// The exit status, or a panic with all that was said.
fn expect_status(output: &Output, status: i32) {
    let log = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(status), "standard error:\n{log}");
}

#[test]
fn standard_output_is_the_commands_and_nothing_else() {
    let output = output(&["--exec", "printf 'a\\0b'; echo oops >&2; exit 42"]);
    expect_status(&output, 42);
    assert_eq!(output.stdout, b"a\0b");
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("Linux version") && log.contains("oops\n"), "{log}");
    assert!(!log.contains('\r'), "{log:?}");
}

#[test]
fn a_wrong_command_line_is_2() {
    let directory = env!("CARGO_MANIFEST_DIR");
    let source = format!("{directory}/src/main.rs");
    for args in [
        &["--exec", "true", "--shell"][..],
        &["--core", "maybe"],
        &["--smp", "0"],
        &["--timeout", "0"],
        &["no-such-directory"],
        &[source.as_str()],
    ] {
        expect_status(&output(args), 2);
    }
}

#[test]
fn a_time_out_is_124() {
    let start = Instant::now();
    expect_status(&output(&["--timeout", "3", "--exec", "sleep 1000"]), 124);
    assert!(start.elapsed() < Duration::from_secs(60), "{:?}", start.elapsed());
}

#[test]
fn a_panic_is_125() {
    let output = output(&["--exec", "echo c >/proc/sysrq-trigger"]);
    expect_status(&output, 125);
    let log = String::from_utf8_lossy(&output.stderr);
    assert!(log.contains("Kernel panic - not syncing: sysrq triggered crash"), "{log}");
}

#[test]
fn a_refused_module_is_126() {
    let directory = tempfile::tempdir().expect("directory");
    let module = directory.path().join("junk.ko");
    fs::write(&module, "junk").expect("write");
    let output = output(&[module.to_str().expect("UTF-8"), "--exec", "echo ran"]);
    expect_status(&output, 126);
    assert_eq!(output.stdout, b"");
    let log = String::from_utf8_lossy(&output.stderr);
    let error = &log[log.rfind("error: ").expect("an error")..];
    assert!(error.contains("junk.ko refused to load") && error.contains("Invalid ELF header"), "{error}");
}

#[test]
fn a_reader_that_leaves_ends_the_run() {
    let mut child = klp(&["--exec", "while :; do echo y; done"]).spawn().expect("klp starts");
    let mut stdout = child.stdout.take().expect("piped");
    stdout.read_exact(&mut [0; 2]).expect("output");
    drop(stdout);
    // Nobody reads standard error either: the pipe fills up unless it is drained.
    let output = child.wait_with_output().expect("klp ends");
    assert!(!output.status.success());
}

#[test]
fn a_shell_takes_keys_and_passes_its_status_on() {
    let mut child = klp(&["--shell"]).stdin(Stdio::piped()).spawn().expect("klp starts");
    child.stdin.take().expect("piped").write_all(b"echo $((6 * 7))\nexit 9\n").expect("keys");
    let output = child.wait_with_output().expect("klp ends");
    expect_status(&output, 9);
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(text.contains("42\r\n"), "{text}");
}

#[test]
fn no_qemu_outlives_the_command() {
    for signal in ["INT", "KILL"] {
        let mut child =
            klp(&["--exec", "echo up; sleep 1000"]).stderr(Stdio::null()).spawn().expect("klp starts");
        let mut line = [0; 3];
        child.stdout.take().expect("piped").read_exact(&mut line).expect("the guest comes up");
        assert_eq!(&line, b"up\n");
        let qemu = qemu_of(&child).expect("a QEMU runs");
        let sent = Command::new("kill").args([&format!("-{signal}"), &child.id().to_string()]).status();
        assert!(sent.expect("kill runs").success());
        child.wait().expect("klp ends");
        let deadline = Instant::now() + Duration::from_secs(10);
        while Path::new(&format!("/proc/{qemu}/exe")).exists() {
            assert!(Instant::now() < deadline, "QEMU {qemu} outlives SIG{signal}");
            sleep(Duration::from_millis(50));
        }
    }
}

/// The process id of the emulator that `klp` started.
fn qemu_of(klp: &Child) -> Option<u32> {
    let processes =
        fs::read_dir("/proc").ok()?.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    processes.into_iter().find(|pid: &u32| {
        let stat = fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        // The name, in parentheses, may hold anything; the parent is the second field after it.
        let parent = stat.rsplit(')').next().and_then(|rest| rest.split_whitespace().nth(1));
        stat.contains("(qemu-system") && parent == Some(&klp.id().to_string())
    })
}
