// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Runs other programs, and says what went wrong in their own words.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};

use anyhow::{Context, Result};

/// A program that ended with a failure.
#[derive(Debug, thiserror::Error)]
#[error("`{command}` failed ({status}):\n{complaint}")]
pub struct Failed {
    /// The command line.
    pub command: String,
    /// How it ended.
    pub status: std::process::ExitStatus,
    /// The end of what it wrote to its standard error.
    pub complaint: String,
}

/// The last lines of a program's output are the ones that say why.
const COMPLAINT_LINES: usize = 12;

/// Runs `command` with no input and in the C locale; returns all it wrote, whatever its status.
///
/// # Errors
///
/// The program is not on this machine ([`crate::Failure::Missing`]) or cannot be started.
pub fn run(command: &mut Command) -> Result<Output> {
    let program = command.get_program().to_string_lossy().into_owned();
    command.env("LC_ALL", "C").stdin(Stdio::null()).output().map_err(|error| match error.kind() {
        ErrorKind::NotFound => crate::doctor::missing(&program).into(),
        _ => anyhow::Error::from(error).context(format!("cannot run {program}")),
    })
}

/// Runs `command` as [`run`] does and returns its standard output.
///
/// # Errors
///
/// As [`run`]; and [`Failed`] if it ends with a failure.
pub fn stdout(command: &mut Command) -> Result<String> {
    let output = run(command)?;
    check(command, &output)?;
    String::from_utf8(output.stdout).with_context(|| format!("the output of `{}` is no text", line(command)))
}

/// Whether the program that wrote `output` succeeded.
///
/// # Errors
///
/// [`Failed`] with the end of its standard error.
pub fn check(command: &Command, output: &Output) -> Result<(), Failed> {
    if output.status.success() {
        return Ok(());
    }
    let complaint = String::from_utf8_lossy(&output.stderr);
    let lines: Vec<&str> = complaint.lines().filter(|line| !line.trim().is_empty()).collect();
    let complaint = lines[lines.len().saturating_sub(COMPLAINT_LINES)..].join("\n");
    Err(Failed { command: line(command), status: output.status, complaint })
}

/// The command line of `command`, for a message.
pub fn line(command: &Command) -> String {
    let words = std::iter::once(command.get_program()).chain(command.get_args());
    words.map(|word| word.to_string_lossy().into_owned()).collect::<Vec<_>>().join(" ")
}

/// Where `program` is, as a shell would find it.
pub fn which(program: &str) -> Option<PathBuf> {
    use std::os::unix::fs::PermissionsExt;
    let executable = |path: &Path| {
        path.metadata().is_ok_and(|file| file.is_file() && file.permissions().mode() & 0o111 != 0)
    };
    // Administrators' programs are not on every user's PATH, but a user can run them.
    let path = std::env::var_os("PATH").unwrap_or_default();
    std::env::split_paths(&path)
        .chain(["/usr/sbin", "/sbin"].map(PathBuf::from))
        .map(|dir| dir.join(program))
        .find(|path| executable(path))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_tells_the_command_and_its_last_words() {
        let error = stdout(Command::new("sh").args(["-c", "seq 1 50 >&2; exit 3"])).expect_err("fails");
        let failed = error.downcast::<Failed>().expect("a Failed");
        assert_eq!(failed.status.code(), Some(3));
        assert!(failed.complaint.starts_with("39\n") && failed.complaint.ends_with("\n50"));
        assert_eq!(stdout(Command::new("sh").args(["-c", "echo yes; echo no >&2"])).expect("runs"), "yes\n");
    }

    #[test]
    fn a_program_that_is_not_there_is_missing() {
        let error = run(&mut Command::new("klp-no-such-program")).expect_err("not there");
        assert_eq!(crate::exit_status(&error), 3);
        assert!(which("klp-no-such-program").is_none());
        assert!(which("sh").is_some());
    }
}
