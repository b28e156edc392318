// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! An initramfs in memory: a cpio archive in the "newc" format, uncompressed.
//!
//! The format is what the kernel's `Documentation/driver-api/early-userspace/buffer-format.rst` calls a `cpio_file`:
//! a header of ASCII hex fields, the name, the data, each padded to four bytes. Everything belongs to root and carries
//! no time stamp, so the same files give the same bytes.

use std::collections::BTreeMap;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};

const S_IFDIR: u32 = 0o040_000;
const S_IFREG: u32 = 0o100_000;
const S_IFCHR: u32 = 0o020_000;

/// The archive under construction.
#[derive(Debug, Default)]
pub struct Initramfs {
    /// By guest path, without the leading slash. The order of a map puts every directory before what is in it.
    entries: BTreeMap<String, Entry>,
}

#[derive(Debug)]
struct Entry {
    mode: u32,
    device: (u32, u32),
    data: Vec<u8>,
}

impl Initramfs {
    /// An empty archive.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a directory and its parents. Adding it again changes nothing.
    ///
    /// # Errors
    ///
    /// The path is not a proper guest path, or something that is no directory is there already.
    pub fn dir(&mut self, path: &str) -> Result<()> {
        let path = normalise(path)?;
        self.ancestors(&path)?;
        self.directory(&path)
    }

    /// Adds a regular file with the permission bits `mode`.
    ///
    /// # Errors
    ///
    /// The path is not a proper guest path, or it is taken.
    pub fn file(&mut self, path: &str, mode: u32, data: impl Into<Vec<u8>>) -> Result<()> {
        let entry = Entry { mode: S_IFREG | (mode & 0o7777), device: (0, 0), data: data.into() };
        self.insert(path, entry)
    }

    /// Adds a character device node.
    ///
    /// # Errors
    ///
    /// The path is not a proper guest path, or it is taken.
    pub fn char_device(&mut self, path: &str, major: u32, minor: u32) -> Result<()> {
        self.insert(path, Entry { mode: S_IFCHR | 0o600, device: (major, minor), data: Vec::new() })
    }

    /// Adds a file of this machine, or a directory with all that is in it; symbolic links are followed.
    ///
    /// # Errors
    ///
    /// `source` cannot be read, is neither file nor directory, or its place in the guest is taken.
    pub fn copy(&mut self, source: &Path, path: &str) -> Result<()> {
        let meta = fs::metadata(source).with_context(|| format!("cannot read {}", source.display()))?;
        if meta.is_dir() {
            self.dir(path)?;
            let listing =
                fs::read_dir(source).with_context(|| format!("cannot list {}", source.display()))?;
            for child in listing {
                let child = child.with_context(|| format!("cannot list {}", source.display()))?;
                let name = child.file_name();
                let Some(name) = name.to_str() else {
                    bail!("{}: the file name is not UTF-8", child.path().display());
                };
                self.copy(&child.path(), &format!("{path}/{name}"))?;
            }
            return Ok(());
        }
        ensure!(meta.is_file(), "{} is neither a file nor a directory", source.display());
        let data = fs::read(source).with_context(|| format!("cannot read {}", source.display()))?;
        self.file(path, meta.permissions().mode(), data)
    }

    /// The archive's bytes.
    ///
    /// # Errors
    ///
    /// A file is too large for the format (4 GiB).
    pub fn finish(self) -> Result<Vec<u8>> {
        let mut out = Vec::new();
        let trailer = Entry { mode: 0, device: (0, 0), data: Vec::new() };
        let last = ("TRAILER!!!".to_owned(), trailer);
        for (inode, (name, entry)) in (1u32..).zip(self.entries.into_iter().chain([last])) {
            entry.write(&name, inode, &mut out)?;
        }
        Ok(out)
    }

    fn insert(&mut self, path: &str, entry: Entry) -> Result<()> {
        let path = normalise(path)?;
        self.ancestors(&path)?;
        ensure!(
            !self.entries.contains_key(&path),
            "two files want the guest path /{path}: rename one of them"
        );
        self.entries.insert(path, entry);
        Ok(())
    }

    fn ancestors(&mut self, path: &str) -> Result<()> {
        for (slash, _) in path.match_indices('/') {
            self.directory(&path[..slash])?;
        }
        Ok(())
    }

    fn directory(&mut self, path: &str) -> Result<()> {
        let mode = S_IFDIR | 0o755;
        let entry =
            self.entries.entry(path.to_owned()).or_insert(Entry { mode, device: (0, 0), data: Vec::new() });
        ensure!(entry.mode & S_IFDIR == S_IFDIR, "guest path /{path} is a file and a directory at once");
        Ok(())
    }
}

impl Entry {
    fn write(&self, name: &str, inode: u32, out: &mut Vec<u8>) -> Result<()> {
        let size = u32::try_from(self.data.len())
            .with_context(|| format!("/{name} is too large for an initramfs (4 GiB)"))?;
        let name_size = u32::try_from(name.len() + 1).context("guest path too long")?;
        let links = if self.mode & S_IFDIR == S_IFDIR { 2 } else { 1 };
        let (major, minor) = self.device;
        out.extend_from_slice(b"070701");
        // inode, mode, uid, gid, links, mtime, size, device of the file system, device of the node, name size, check.
        for field in [inode, self.mode, 0, 0, links, 0, size, 0, 0, major, minor, name_size, 0] {
            out.extend_from_slice(format!("{field:08X}").as_bytes());
        }
        out.extend_from_slice(name.as_bytes());
        out.push(0);
        pad(out);
        out.extend_from_slice(&self.data);
        pad(out);
        Ok(())
    }
}

fn pad(out: &mut Vec<u8>) {
    out.resize(out.len().next_multiple_of(4), 0);
}

/// A guest path without leading, trailing and doubled slashes.
fn normalise(path: &str) -> Result<String> {
    let parts: Vec<&str> = path.split('/').filter(|part| !part.is_empty() && *part != ".").collect();
    ensure!(!parts.is_empty(), "'{path}' names no file in the guest: give a path like /root/file");
    ensure!(!parts.contains(&".."), "guest path '{path}' must not contain '..'");
    ensure!(!path.contains('\0'), "guest path '{path}' must not contain a NUL");
    Ok(parts.join("/"))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What a cpio reader sees: name, mode, data.
    fn list(mut archive: &[u8]) -> Vec<(String, u32, Vec<u8>)> {
        let mut found = Vec::new();
        loop {
            assert_eq!(&archive[..6], b"070701");
            let field = |index: usize| {
                let hex = std::str::from_utf8(&archive[6 + index * 8..14 + index * 8]).expect("ASCII");
                usize::from_str_radix(hex, 16).expect("hex")
            };
            let (mode, size, name_size) = (field(1), field(6), field(11));
            let name = String::from_utf8(archive[110..110 + name_size - 1].to_vec()).expect("UTF-8");
            let start = (110 + name_size).next_multiple_of(4);
            if name == "TRAILER!!!" {
                assert_eq!(archive.len(), start);
                return found;
            }
            found.push((name, u32::try_from(mode).expect("mode"), archive[start..start + size].to_vec()));
            archive = &archive[(start + size).next_multiple_of(4)..];
        }
    }

    #[test]
    fn parents_come_before_their_children() {
        let mut fs = Initramfs::new();
        fs.file("/lib/klp/a.ko", 0o644, "odd").expect("file");
        fs.char_device("dev/console", 5, 1).expect("node");
        fs.dir("/lib").expect("again");
        let names = list(&fs.finish().expect("archive"));
        let expected = [
            ("dev".to_owned(), 0o040_755, vec![]),
            ("dev/console".to_owned(), 0o020_600, vec![]),
            ("lib".to_owned(), 0o040_755, vec![]),
            ("lib/klp".to_owned(), 0o040_755, vec![]),
            ("lib/klp/a.ko".to_owned(), 0o100_644, b"odd".to_vec()),
        ];
        assert_eq!(names, expected);
    }

    #[test]
    fn a_path_is_taken_once() {
        let mut fs = Initramfs::new();
        fs.file("/init", 0o755, "1").expect("first");
        assert!(fs.file("init", 0o755, "2").is_err());
        assert!(fs.file("/init/below", 0o755, "3").is_err());
        assert!(fs.dir("/init").is_err());
    }

    #[test]
    fn improper_paths_are_refused() {
        for path in ["", "/", "/a/../b", "a\0b"] {
            assert!(Initramfs::new().file(path, 0o644, "").is_err(), "{path:?}");
        }
    }
}
