// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Installs packages on the host, by the host's own apt.
//!
//! What the host's sources cannot satisfy may be in its release's backports. These are then read from a list of our own,
//! for this one command: the host's configuration and lists stay as they are.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, anyhow};

use super::mirror;
use crate::Failure;
use crate::cache::Cache;
use crate::progress::Progress;
use crate::{process, version};

/// Installs `packages`, with the host's own sources if these can, else with the backports of the host's release.
///
/// # Errors
///
/// This user may not install packages ([`Failure::Missing`] with the command for one who may), or apt cannot.
pub fn install(packages: &[&str], progress: &Progress) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    let update = update();
    let lists = had_lists(root, progress)?;
    let mut command = install_command(&[], packages);
    let mut host = true;
    // Without lists nothing can be tried, and they are root's to get.
    if (lists || root)
        && let Err(refusal) = simulate(&command)
    {
        host = false;
        command = from_backports(packages, progress).map_err(|also| {
            let packages = packages.join(", ");
            anyhow!(
                "apt cannot install {packages}: {refusal:#}\nand not from the release's backports: {also:#}"
            )
        })?;
    }
    if !root {
        let update = (!lists).then_some(update);
        return Err(for_root(packages, update.into_iter().chain([command])).into());
    }
    progress.phase(format!("installing {}", packages.join(", ")), |_| match run(&command) {
        // The archive drops what it replaces: lists that are not recent name files that are gone.
        Err(_) if host && run(&update).is_ok() => run(&command),
        result => result,
    })
}

/// Installs packages of at least these upstream versions: from the host's own sources if theirs are as new, else from the backports
/// of the host's release.
///
/// # Errors
///
/// As [`install`]; or the backports have none that is new enough either.
pub fn install_recent(packages: &[(&str, &str)], progress: &Progress) -> Result<()> {
    let root = rustix::process::geteuid().is_root();
    had_lists(root, progress)?;
    let names: Vec<&str> = packages.iter().map(|(name, _)| *name).collect();
    let lacking = |options: &[String]| -> Result<Option<String>> {
        for (name, oldest) in packages {
            let found = candidate(options, name)?;
            if !found.as_deref().is_some_and(|found| version::compare(found, oldest).is_ge()) {
                let found = found.unwrap_or_else(|| "none".to_owned());
                return Ok(Some(format!("{name}: expected version {oldest} or newer, found {found}")));
            }
        }
        Ok(None)
    };
    if lacking(&[])?.is_none() {
        return install(&names, progress);
    }
    let options = backports(progress)?;
    if let Some(lack) = lacking(&options)? {
        return Err(anyhow!("the release's backports do not have it either: {lack}"));
    }
    let command = install_command(&options, &names);
    simulate(&command)?;
    if !root {
        return Err(for_root(&names, [command]).into());
    }
    progress.phase(format!("installing {}", names.join(", ")), |_| run(&command))
}

/// The upstream version of a package that apt would install.
fn candidate(options: &[String], package: &str) -> Result<Option<String>> {
    let text = process::stdout(Command::new("apt-cache").args(options).args(["policy", package]))?;
    Ok(upstream(&text))
}

/// What `apt-cache policy` says of the candidate, without the epoch.
fn upstream(policy: &str) -> Option<String> {
    let version = policy.lines().find_map(|line| line.trim().strip_prefix("Candidate: "))?;
    (version != "(none)").then(|| version.split_once(':').map_or(version, |(_, rest)| rest).to_owned())
}

/// The command that installs `packages` from the backports.
fn from_backports(packages: &[&str], progress: &Progress) -> Result<Vec<String>> {
    let command = install_command(&backports(progress)?, packages);
    simulate(&command)?;
    Ok(command)
}

fn install_command(options: &[String], packages: &[&str]) -> Vec<String> {
    let mut command: Vec<String> = ["apt-get", "-y", "--no-install-recommends"].map(str::to_owned).to_vec();
    command.extend_from_slice(options);
    command.push("install".to_owned());
    command.extend(packages.iter().map(|package| (*package).to_owned()));
    command
}

/// Whether apt could run `command`.
fn simulate(command: &[String]) -> Result<()> {
    let mut simulation = command.to_vec();
    simulation.insert(1, "-s".to_owned());
    run(&simulation)
}

fn run(words: &[String]) -> Result<()> {
    let (program, arguments) = words.split_first().context("no command")?;
    let mut command = Command::new(program);
    process::stdout(command.args(arguments).env("DEBIAN_FRONTEND", "noninteractive"))?;
    Ok(())
}

/// The command that gets the host's package lists.
fn update() -> Vec<String> {
    ["apt-get", "update"].map(str::to_owned).to_vec()
}

/// Whether the host's apt had package lists. If not, root gets them.
fn had_lists(root: bool, progress: &Progress) -> Result<bool> {
    let lists = has_lists()?;
    if !lists && root {
        progress.phase("package lists", |_| run(&update()))?;
    }
    Ok(lists)
}

/// What a user is told who may not run these commands.
fn for_root(packages: &[&str], commands: impl IntoIterator<Item = Vec<String>>) -> Failure {
    let commands: Vec<String> = commands.into_iter().map(|command| quote(&command)).collect();
    let fix = format!("sudo {}", commands.join(" && sudo "));
    Failure::Missing { what: packages.join(", "), fix }
}

/// Whether the host's apt has package lists. A freshly made container has none.
fn has_lists() -> Result<bool> {
    let text = process::stdout(Command::new("apt-config").args(["shell", "LISTS", "Dir::State::lists/d"]))?;
    let dir = text.trim().trim_start_matches("LISTS=").trim_matches('\'');
    let entries = fs::read_dir(dir).into_iter().flatten().filter_map(Result::ok);
    Ok(entries.into_iter().any(|entry| entry.file_name().to_string_lossy().contains("_Packages")))
}

/// Fetches the lists of the host's release and its backports into the cache; returns the options that make apt use them.
fn backports(progress: &Progress) -> Result<Vec<String>> {
    let release = codename(&fs::read_to_string("/etc/os-release").context("cannot read /etc/os-release")?)?;
    let suites = ["", "-updates", "-security", "-backports"].map(|suffix| format!("{release}{suffix}"));
    let suites: Vec<&str> = suites.iter().map(String::as_str).collect();
    let cache = Cache::open()?;
    let _lock = cache.lock("apt/host", progress)?;
    let dir = cache.path("apt/host");
    let lists = dir.join("lists/partial");
    fs::create_dir_all(&lists).with_context(|| format!("cannot create {}", lists.display()))?;
    let sources = dir.join("klp.sources");
    fs::write(&sources, mirror()?.deb822(&suites))
        .with_context(|| format!("cannot write {}", sources.display()))?;
    let mut options = options(&dir, &sources);
    let mut update = vec!["apt-get".to_owned()];
    update.extend_from_slice(&options);
    update.push("update".to_owned());
    progress.phase(format!("package lists of {release}-backports"), |_| run(&update))?;
    options.extend(["-t".to_owned(), format!("{release}-backports")]);
    Ok(options)
}

/// apt's own files stay out of it: sources, lists, and the caches that are made from lists.
fn options(dir: &Path, sources: &Path) -> Vec<String> {
    let lists: PathBuf = dir.join("lists");
    [
        format!("Dir::Etc::sourcelist={}", sources.display()),
        "Dir::Etc::sourceparts=/dev/null".to_owned(),
        format!("Dir::State::lists={}", lists.display()),
        "Dir::Cache::pkgcache=".to_owned(),
        "Dir::Cache::srcpkgcache=".to_owned(),
        "APT::Sandbox::User=root".to_owned(),
    ]
    .into_iter()
    .flat_map(|option| ["-o".to_owned(), option])
    .collect()
}

/// The release's name in os-release(5).
fn codename(os_release: &str) -> Result<String> {
    let line = os_release.lines().find_map(|line| line.strip_prefix("VERSION_CODENAME="));
    let name = line.map(|value| value.trim_matches('"').to_owned()).filter(|name| !name.is_empty());
    name.context("/etc/os-release has no VERSION_CODENAME: this release of Debian has no backports")
}

/// The command as a user can paste it into a shell.
fn quote(command: &[String]) -> String {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-_=+./:,@".contains(&byte);
    let word = |word: &String| match word.bytes().all(plain) {
        true => word.clone(),
        false => format!("'{}'", word.replace('\'', r"'\''")),
    };
    command.iter().map(word).collect::<Vec<_>>().join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_have_names() {
        assert_eq!(codename("ID=debian\nVERSION_CODENAME=bookworm\n").expect("name"), "bookworm");
        assert_eq!(codename("VERSION_CODENAME=\"trixie\"\n").expect("name"), "trixie");
        assert!(codename("ID=debian\n").is_err());
    }

    #[test]
    fn the_version_that_apt_would_install_is_read() {
        let policy =
            |candidate: &str| format!("qemu-system-misc:\n  Installed: (none)\n  Candidate: {candidate}\n");
        assert_eq!(upstream(&policy("1:10.0.2+ds-2")).as_deref(), Some("10.0.2+ds-2"));
        assert_eq!(upstream(&policy("7.2")).as_deref(), Some("7.2"));
        assert_eq!(upstream(&policy("(none)")), None);
        assert_eq!(upstream(""), None);
    }

    #[test]
    fn a_command_can_be_pasted() {
        let options = options(Path::new("/home/a b/klp"), Path::new("/home/a b/klp/klp.sources"));
        let command = quote(&install_command(&options, &["flex", "bison"]));
        assert!(
            command.starts_with("apt-get -y --no-install-recommends -o 'Dir::Etc::sourcelist=/home/a b/klp/")
        );
        assert!(command.contains("-o Dir::Etc::sourceparts=/dev/null -o "), "{command}");
        assert!(command.ends_with(" install flex bison"), "{command}");
        let echoed = process::stdout(Command::new("sh").arg("-c").arg(format!("printf '%s\\n' {command}")));
        assert!(echoed.expect("sh").contains("\nDir::State::lists=/home/a b/klp/lists\n"));
        assert_eq!(quote(&["it's".to_owned()]), r"'it'\''s'");
    }

    #[test]
    fn what_apt_cannot_install_is_an_error() {
        let error = simulate(&install_command(&[], &["klp-no-such-package"])).expect_err("no such package");
        assert!(format!("{error:#}").contains("klp-no-such-package"), "{error:#}");
    }
}
