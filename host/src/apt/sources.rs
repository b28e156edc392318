// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The host's own apt sources (sources.list(5)), and the mirror of Debian that they name.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::{fs, io};

use anyhow::{Context, Result};

use crate::process;

/// Debian's own keyring, where sources do not say which key signs an archive.
const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";

/// One archive of binary packages that the host's apt uses.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Source {
    pub(crate) uri: String,
    pub(crate) suites: Vec<String>,
    pub(crate) components: Vec<String>,
    /// The keyring's path, or the keys themselves; lines after the first begin with a space, as in a deb822 file.
    pub(crate) signed_by: Option<String>,
}

/// The host's sources, in the order that apt reads them.
///
/// # Errors
///
/// There is no apt on this machine, or its files cannot be read.
pub(crate) fn host() -> Result<Vec<Source>> {
    let place = |key: &str| -> Result<PathBuf> {
        let shell = process::stdout(Command::new("apt-config").args(["shell", "PLACE", key]))?;
        let value = shell.trim().trim_start_matches("PLACE=").trim_matches('\'');
        Ok(PathBuf::from(value))
    };
    let mut files = vec![place("Dir::Etc::sourcelist/f")?];
    let parts = place("Dir::Etc::sourceparts/d")?;
    if let Ok(entries) = fs::read_dir(&parts) {
        let mut parts: Vec<PathBuf> = entries.filter_map(|entry| Some(entry.ok()?.path())).collect();
        parts.sort();
        files.extend(parts);
    }
    let mut sources = Vec::new();
    for file in files {
        let parse: fn(&str) -> Vec<Source> = match extension(&file) {
            "list" => parse_list,
            "sources" => parse_deb822,
            _ => continue,
        };
        match fs::read_to_string(&file) {
            Ok(text) => sources.extend(parse(&text)),
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => return Err(error).with_context(|| format!("cannot read {}", file.display())),
        }
    }
    Ok(sources)
}

fn extension(path: &Path) -> &str {
    path.extension().and_then(|extension| extension.to_str()).unwrap_or_default()
}

/// Parses a file of one-line sources: `deb [OPTIONS] URI SUITE COMPONENT…`.
fn parse_list(text: &str) -> Vec<Source> {
    text.lines().filter_map(parse_line).collect()
}

fn parse_line(line: &str) -> Option<Source> {
    let line = line.split('#').next()?.trim().strip_prefix("deb")?;
    let line = line.strip_prefix([' ', '\t'])?.trim_start();
    let (options, rest) = match line.strip_prefix('[') {
        Some(rest) => rest.split_once(']')?,
        None => ("", line),
    };
    let signed_by = options.split_whitespace().find_map(|option| option.strip_prefix("signed-by="));
    let mut words = rest.split_whitespace().map(str::to_owned);
    Some(Source {
        uri: words.next()?,
        suites: vec![words.next()?],
        components: words.collect(),
        signed_by: signed_by.map(str::to_owned),
    })
}

/// Parses a file of deb822 stanzas. One with several URIs makes one source of each.
fn parse_deb822(text: &str) -> Vec<Source> {
    // Comments may stand between a field and its continuation.
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    let stanzas = lines.split(|line| line.trim().is_empty());
    stanzas.flat_map(parse_stanza).collect()
}

fn parse_stanza(lines: &[&str]) -> Vec<Source> {
    let mut fields: Vec<(String, String)> = Vec::new();
    for line in lines {
        match (line.starts_with([' ', '\t']), fields.last_mut(), line.split_once(':')) {
            (true, Some((_, value)), _) => {
                let _ = write!(value, "\n {}", line.trim());
            }
            (false, _, Some((name, value))) => {
                fields.push((name.trim().to_ascii_lowercase(), value.trim().to_owned()));
            }
            _ => {}
        }
    }
    let field =
        |name: &str| fields.iter().find(|(key, _)| key == name).map_or("", |(_, value)| value.as_str());
    let words = |name: &str| field(name).split_whitespace().map(str::to_owned).collect::<Vec<_>>();
    let enabled = !["no", "false", "0", "off", "disable", "without"].contains(&field("enabled"));
    if !enabled || !words("types").iter().any(|kind| kind == "deb") {
        return Vec::new();
    }
    let source = |uri| Source {
        uri,
        suites: words("suites"),
        components: words("components"),
        signed_by: Some(field("signed-by").to_owned()).filter(|value| !value.is_empty()),
    };
    words("uris").into_iter().map(source).collect()
}

/// The host's mirror of Debian.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mirror {
    archive: Source,
    /// Security updates are an archive of their own.
    security: Option<Source>,
}

impl Mirror {
    /// Finds the mirror among `sources`. None if the host gets nothing from Debian.
    ///
    /// Other archives have suites of the same names, but not the path: Debian's ends in `debian`, `debian-security` on
    /// every mirror (a list of mirrors is named alike).
    pub(crate) fn find(sources: &[Source]) -> Option<Mirror> {
        let find = |name: &str| {
            let named = |source: &&Source| {
                let path = source.uri.trim_end_matches('/').trim_end_matches(".list");
                path.rsplit('/').next() == Some(name) && source.components.iter().any(|word| word == "main")
            };
            sources.iter().find(named).cloned()
        };
        Some(Mirror { archive: find("debian")?, security: find("debian-security") })
    }

    /// A deb822 file with the `main` component of `suites`. Suites that end in `-security` are left out where the host
    /// has no such archive.
    pub(crate) fn deb822(&self, suites: &[&str]) -> String {
        let (security, plain): (Vec<&str>, Vec<&str>) =
            suites.iter().partition(|suite| suite.ends_with("-security"));
        let mut text = stanza(&self.archive, &plain);
        if let Some(source) = &self.security {
            text += &stanza(source, &security);
        }
        text
    }
}

fn stanza(source: &Source, suites: &[&str]) -> String {
    if suites.is_empty() {
        return String::new();
    }
    let keyring = Path::new(KEYRING).exists().then_some(KEYRING);
    let signed_by = match source.signed_by.as_deref().or(keyring) {
        Some(signed_by) => format!("Signed-By: {signed_by}\n"),
        None => String::new(),
    };
    let (uri, suites) = (&source.uri, suites.join(" "));
    format!("Types: deb\nURIs: {uri}\nSuites: {suites}\nComponents: main\n{signed_by}\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn source(uri: &str, suites: &str, components: &str, signed_by: Option<&str>) -> Source {
        let words = |text: &str| text.split_whitespace().map(str::to_owned).collect();
        Source {
            uri: uri.to_owned(),
            suites: words(suites),
            components: words(components),
            signed_by: signed_by.map(str::to_owned),
        }
    }

    #[test]
    fn one_line_sources() {
        let text = "\
# deb http://old.example/debian bookworm main
deb http://a.example/debian bookworm main contrib # the mirror
deb [ arch=amd64,arm64 signed-by=/k.gpg ]\thttp://b.example/debian-security  bookworm-security main
deb-src http://a.example/debian bookworm main
deb [broken
debris http://c.example/debian x main
";
        assert_eq!(
            parse_list(text),
            [
                source("http://a.example/debian", "bookworm", "main contrib", None),
                source("http://b.example/debian-security", "bookworm-security", "main", Some("/k.gpg")),
            ]
        );
    }

    #[test]
    fn deb822_sources() {
        let text = "\
Types: deb deb-src
# a comment
URIs: http://a.example/debian
 http://b.example/debian
suites: bookworm
# inside a field
 bookworm-updates
Components: main
Signed-By: /k.gpg

Enabled: no
Types: deb
URIs: http://off.example/debian
Suites: bookworm
Components: main

Types: deb-src
URIs: http://src.example/debian
Suites: bookworm
Components: main


Types: deb
URIs: http://c.example/debian-security/
Suites: bookworm-security
Components: main
Signed-By:
 -----BEGIN PGP PUBLIC KEY BLOCK-----
 .
 mQINBFhAn
";
        let key = "\n -----BEGIN PGP PUBLIC KEY BLOCK-----\n .\n mQINBFhAn";
        assert_eq!(
            parse_deb822(text),
            [
                source("http://a.example/debian", "bookworm bookworm-updates", "main", Some("/k.gpg")),
                source("http://b.example/debian", "bookworm bookworm-updates", "main", Some("/k.gpg")),
                source("http://c.example/debian-security/", "bookworm-security", "main", Some(key)),
            ]
        );
    }

    #[test]
    fn the_mirror_is_debians_own() {
        let vendor = source("http://v.example/debian/12/prod", "bookworm", "main", None);
        let docker = source("http://d.example/linux/debian", "bookworm", "stable", None);
        let archive = source("http://a.example/x/debian/", "trixie", "main", Some("/k.gpg"));
        let security = source("http://a.example/debian-security", "trixie-security", "main", Some("/k.gpg"));
        assert_eq!(Mirror::find(&[vendor.clone(), docker.clone(), security.clone()]), None);

        let mirror = Mirror::find(&[vendor, docker, security, archive]).expect("mirror");
        assert_eq!(
            mirror.deb822(&["bookworm", "bookworm-security", "bookworm-backports"]),
            "Types: deb\nURIs: http://a.example/x/debian/\nSuites: bookworm bookworm-backports\nComponents: main\n\
             Signed-By: /k.gpg\n\nTypes: deb\nURIs: http://a.example/debian-security\nSuites: bookworm-security\n\
             Components: main\nSigned-By: /k.gpg\n\n"
        );

        let list = source("mirror+file:///etc/apt/mirrors/debian.list", "bookworm", "main", Some("\n k"));
        let mirror = Mirror::find(&[list]).expect("mirror");
        let text = mirror.deb822(&["bookworm", "bookworm-security"]);
        assert!(text.ends_with("Suites: bookworm\nComponents: main\nSigned-By: \n k\n\n"), "{text}");
        assert_eq!(parse_deb822(&text)[0].signed_by.as_deref(), Some("\n k"));
    }
}
