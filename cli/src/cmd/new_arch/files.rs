// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Files that are made and changed together: all of them, or none.

use std::fs;
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use klp_host::Failure;

/// What is to be written.
#[derive(Debug, Default)]
pub(super) struct Files {
    /// The directory that is made for new files.
    dir: Option<PathBuf>,
    files: Vec<File>,
}

#[derive(Debug)]
struct File {
    path: PathBuf,
    text: String,
    /// What was in it.
    old: Option<String>,
}

impl Files {
    /// `dir` is made; it must not be there, or be empty.
    pub(super) fn create_dir(&mut self, dir: &Path) -> Result<()> {
        let empty = match fs::read_dir(dir) {
            Ok(mut entries) => entries.next().is_none(),
            Err(error) if error.kind() == ErrorKind::NotFound => true,
            Err(error) => return Err(error).with_context(|| format!("cannot look into {}", dir.display())),
        };
        if !empty {
            let message = format!("{} is there already: remove it, or choose another name", dir.display());
            return Err(Failure::Usage(message).into());
        }
        self.dir = Some(dir.to_owned());
        Ok(())
    }

    /// A new file.
    pub(super) fn create(&mut self, path: PathBuf, text: String) {
        self.files.push(File { path, text, old: None });
    }

    /// A file that is changed.
    pub(super) fn change(&mut self, path: PathBuf, change: impl Fn(&str) -> Result<String>) -> Result<()> {
        let old = fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))?;
        let text = change(&old)
            .with_context(|| format!("{} is not as expected, nothing was changed", path.display()))?;
        self.files.push(File { path, text, old: Some(old) });
        Ok(())
    }

    /// The files, in the order in which they were added.
    pub(super) fn paths(&self) -> impl Iterator<Item = &Path> {
        self.files.iter().map(|file| file.path.as_path())
    }

    /// Writes them beside their places, and puts them there when all are written. If that fails, all is put back.
    pub(super) fn write(&mut self) -> Result<()> {
        for file in &self.files {
            if file.old.is_none() && file.path.exists() {
                let message = format!("{} is there already, nothing was changed", file.path.display());
                return Err(Failure::Usage(message).into());
            }
        }
        let had_dir = self.dir.as_ref().is_some_and(|dir| dir.exists());
        let result = self.try_write();
        if result.is_err() {
            for file in &self.files {
                // What cannot be taken back either is in the error's way, not in ours.
                let _ = fs::remove_file(beside(&file.path));
                let _ = match &file.old {
                    Some(old) if fs::read_to_string(&file.path).is_ok_and(|found| found != *old) => {
                        fs::write(&file.path, old)
                    }
                    Some(_) => Ok(()),
                    None => fs::remove_file(&file.path),
                };
            }
            if let Some(dir) = &self.dir {
                let _ = fs::remove_dir_all(dir);
                if had_dir {
                    let _ = fs::create_dir(dir);
                }
            }
        }
        result
    }

    fn try_write(&self) -> Result<()> {
        for file in &self.files {
            if let Some(dir) = file.path.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            }
            let beside = beside(&file.path);
            fs::write(&beside, &file.text).with_context(|| format!("cannot write {}", beside.display()))?;
        }
        for file in &self.files {
            fs::rename(beside(&file.path), &file.path)
                .with_context(|| format!("cannot replace {}", file.path.display()))?;
        }
        Ok(())
    }
}

/// Where a file is written before it is put into its place.
fn beside(path: &Path) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(".new");
    path.with_file_name(name)
}

#[cfg(test)]
mod tests {
    use anyhow::bail;

    use super::*;

    #[test]
    fn all_is_as_it_was_if_one_cannot_be_put_into_its_place() {
        let root = tempfile::tempdir().expect("directory");
        let (changed, dir, taken) = (root.path().join("a"), root.path().join("d"), root.path().join("taken"));
        fs::write(&changed, "old").expect("written");
        let mut files = Files::default();
        files.create_dir(&dir).expect("is not there");
        files.create(dir.join("new"), "new".to_owned());
        files.change(changed.clone(), |text| Ok(text.to_owned() + "er")).expect("is there");
        // A file cannot take a directory's place.
        fs::write(&taken, "x").expect("written");
        files.change(taken.clone(), |_| Ok("y".to_owned())).expect("is there");
        fs::remove_file(&taken).expect("removed");
        fs::create_dir(&taken).expect("created");
        let error = files.write().expect_err("a directory is in the way");
        assert!(error.to_string().contains("cannot replace"), "{error:#}");
        assert_eq!(fs::read_to_string(&changed).expect("is there"), "old");
        let mut left: Vec<_> =
            fs::read_dir(root.path()).expect("list").map(|entry| entry.expect("entry").file_name()).collect();
        left.sort();
        assert_eq!(left, ["a", "taken"]);

        fs::remove_dir(&taken).expect("removed");
        fs::write(&taken, "x").expect("written");
        files.write().expect("nothing is in the way");
        assert_eq!(fs::read_to_string(&changed).expect("is there"), "older");
        assert_eq!(fs::read_to_string(dir.join("new")).expect("is there"), "new");
        assert!(files.write().expect_err("twice").to_string().contains("is there already"));
    }

    #[test]
    fn a_file_that_is_not_as_expected_is_named() {
        let root = tempfile::tempdir().expect("directory");
        let path = root.path().join("a");
        fs::write(&path, "old").expect("written");
        let mut files = Files::default();
        let error = files.change(path.clone(), |_| bail!("expected more")).expect_err("refused");
        let error = format!("{error:#}");
        assert!(error.contains(&path.display().to_string()) && error.ends_with("expected more"), "{error}");
    }
}
