// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `klp doctor`: what is missing on this machine.

use anyhow::Result;
use klp_host::doctor::{self, Finding, Fix};
use klp_host::{Failure, Progress, arches};

/// Say what this machine lacks, and install it
#[derive(clap::Args)]
#[command(after_help = "Example: cargo klp doctor --fix")]
pub(crate) struct Args {
    /// Install what is missing
    #[arg(long)]
    fix: bool,
}

/// Runs the command.
///
/// # Errors
///
/// Something is missing: exit status 3. With `--fix`: it cannot be installed.
pub(crate) fn run(args: Args) -> Result<()> {
    let findings = doctor::check(arches());
    for finding in &findings {
        println!("{}", line(finding));
    }
    if findings.iter().all(|finding| finding.fix.is_none()) {
        println!("Nothing is missing.");
        return Ok(());
    }
    if !args.fix {
        let missing: Vec<&str> =
            findings.iter().filter(|it| it.fix.is_some()).map(|it| it.what.as_str()).collect();
        return Err(
            Failure::Missing { what: missing.join(", "), fix: "cargo klp doctor --fix".to_owned() }.into()
        );
    }
    doctor::fix(&findings, &Progress::new())?;
    // What apt says it did is not what counts.
    let still: Vec<Finding> =
        doctor::check(arches()).into_iter().filter(|finding| finding.fix.is_some()).collect();
    for finding in &still {
        println!("{}", line(finding));
    }
    match still.first() {
        None => {
            println!("Nothing is missing any more.");
            Ok(())
        }
        Some(finding) => Err(Failure::Missing { what: finding.what.clone(), fix: how(finding) }.into()),
    }
}

fn line(finding: &Finding) -> String {
    let task = format!("{:?}", finding.task).to_lowercase();
    let state = match finding.fix {
        None => "ok".to_owned(),
        Some(_) => format!("missing: {}", how(finding)),
    };
    format!("{task:<6} {:<28} {state}", finding.what)
}

fn how(finding: &Finding) -> String {
    match &finding.fix {
        Some(Fix::Package(package)) => format!("apt-get install {package}"),
        Some(Fix::Recent { package, oldest }) => {
            format!("apt-get install {package}, {oldest} or newer (from the release's backports)")
        }
        Some(Fix::Command(command)) => command.clone(),
        None => String::new(),
    }
}

#[cfg(test)]
mod tests {
    use klp_host::doctor::Task;

    use super::*;

    #[test]
    fn a_line_says_how_to_get_what_is_missing() {
        let mut finding = Finding { what: "pahole".to_owned(), task: Task::Build, fix: None };
        assert_eq!(line(&finding), "build  pahole                       ok");
        finding.fix = Some(Fix::Package("dwarves".to_owned()));
        assert_eq!(line(&finding), "build  pahole                       missing: apt-get install dwarves");
    }
}
