// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where downloads are kept. An entry is a directory that is either whole or not there.

use std::fs::{self, File, TryLockError};
use std::io::ErrorKind;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};

use crate::progress::Progress;

/// The private cache.
#[derive(Clone, Debug)]
pub struct Cache {
    root: PathBuf,
}

/// Held while one process works on an entry; the others wait. Ends when it is dropped, or when the process ends.
#[derive(Debug)]
pub struct Lock {
    _file: File,
}

impl Cache {
    /// The user's cache: `$KLP_CACHE`, else `$XDG_CACHE_HOME/klp`, else `~/.cache/klp`.
    ///
    /// # Errors
    ///
    /// None of the variables says where it is.
    pub fn open() -> Result<Cache> {
        Ok(Cache::at(root(|name| std::env::var_os(name).filter(|value| !value.is_empty()))?))
    }

    /// A cache in the directory `root`, which need not exist yet.
    pub fn at(root: impl Into<PathBuf>) -> Cache {
        Cache { root: root.into() }
    }

    /// Where it is.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The path of the entry `name` (relative, may have several components), there or not.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// The entry `name`, if it is there.
    pub fn get(&self, name: &str) -> Option<PathBuf> {
        Some(self.path(name)).filter(|path| path.is_dir())
    }

    /// The entry `name`; made by `fill`, in the empty directory it is given, if it is not there. `fill` works beside the
    /// entry and the directory is renamed when it is done: an entry is never seen half made, and of two processes that
    /// want it one makes it and the other waits.
    ///
    /// # Errors
    ///
    /// Those of `fill`, or the cache cannot be written; there is no entry then.
    pub fn publish(
        &self,
        name: &str,
        progress: &Progress,
        fill: impl FnOnce(&Path) -> Result<()>,
    ) -> Result<PathBuf> {
        if let Some(entry) = self.get(name) {
            return Ok(entry);
        }
        let _lock = self.lock(name, progress)?;
        if let Some(entry) = self.get(name) {
            return Ok(entry);
        }
        let entry = self.path(name);
        let part = with_suffix(&entry, ".part");
        let made = remove(&part)
            .and_then(|()| fs::create_dir(&part).with_context(|| format!("cannot create {}", part.display())))
            .and_then(|()| fill(&part))
            .and_then(|()| {
                fs::rename(&part, &entry)
                    .with_context(|| format!("cannot rename {} to {}", part.display(), entry.display()))
            });
        match made {
            Ok(()) => Ok(entry),
            Err(error) => {
                // What went wrong first is what matters; leftovers go with the next attempt.
                let _ = remove(&part);
                Err(self.explain(error))
            }
        }
    }

    /// Waits until no other process works on `name`, and keeps others out.
    ///
    /// # Errors
    ///
    /// The cache cannot be written.
    pub fn lock(&self, name: &str, progress: &Progress) -> Result<Lock> {
        let path = with_suffix(&self.path(name), ".lock");
        let open = || -> Result<File> {
            if let Some(dir) = path.parent() {
                fs::create_dir_all(dir).with_context(|| format!("cannot create {}", dir.display()))?;
            }
            File::create(&path).with_context(|| format!("cannot create {}", path.display()))
        };
        let file = open().map_err(|error| self.explain(error))?;
        let locked = match file.try_lock() {
            Err(TryLockError::WouldBlock) => {
                progress.note(&format!("waiting for another process that works on {name}"));
                file.lock()
            }
            Err(TryLockError::Error(error)) => Err(error),
            Ok(()) => Ok(()),
        };
        locked.with_context(|| format!("cannot lock {}", path.display()))?;
        Ok(Lock { _file: file })
    }

    /// Makes sure that there is room for `bytes` more. Some programs do not fail when the disk is full: apt's downloads
    /// hang.
    ///
    /// # Errors
    ///
    /// There is not; the error is of the kind [`ErrorKind::StorageFull`].
    pub fn require_space(&self, bytes: u64) -> Result<()> {
        let place = self.root.ancestors().find(|dir| dir.exists()).unwrap_or(&self.root);
        let disk = rustix::fs::statvfs(place)
            .with_context(|| format!("cannot tell how much room there is in {}", place.display()))?;
        let free = disk.f_bavail * disk.f_frsize;
        if free < bytes {
            let what =
                format!("{} MB are needed, {} MB are free", bytes.div_ceil(1_000_000), free / 1_000_000);
            return Err(std::io::Error::new(ErrorKind::StorageFull, what).into());
        }
        Ok(())
    }

    /// Adds what to do about it if `error` says that the disk is full or the cache is not ours.
    fn explain(&self, error: anyhow::Error) -> anyhow::Error {
        let kind = error.chain().find_map(|cause| Some(cause.downcast_ref::<std::io::Error>()?.kind()));
        let text = format!("{error:#}");
        let full = FULL.iter().any(|words| text.contains(words));
        let kind = if full { Some(ErrorKind::StorageFull) } else { kind };
        let root = self.root.display();
        match kind {
            Some(ErrorKind::StorageFull | ErrorKind::QuotaExceeded) => error.context(format!(
                "the disk that holds the cache {root} is too full: free some space, or set KLP_CACHE to a directory on \
                 another disk"
            )),
            Some(ErrorKind::PermissionDenied | ErrorKind::ReadOnlyFilesystem) => error.context(format!(
                "the cache {root} cannot be written: set KLP_CACHE to a directory that you can write"
            )),
            _ => error,
        }
    }
}

/// How the programs that fill an entry say that the disk is full.
const FULL: &[&str] = &["No space left on device", "enough free space", "Disk quota exceeded"];

fn root(var: impl Fn(&str) -> Option<std::ffi::OsString>) -> Result<PathBuf> {
    let root = if let Some(dir) = var("KLP_CACHE") {
        PathBuf::from(dir)
    } else if let Some(dir) = var("XDG_CACHE_HOME") {
        PathBuf::from(dir).join("klp")
    } else if let Some(home) = var("HOME") {
        PathBuf::from(home).join(".cache/klp")
    } else {
        bail!(
            "there is no place for a cache: none of KLP_CACHE, XDG_CACHE_HOME and HOME is set; set KLP_CACHE"
        )
    };
    std::path::absolute(&root).with_context(|| format!("'{}' cannot hold the cache", root.display()))
}

fn with_suffix(path: &Path, suffix: &str) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(suffix);
    path.into()
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != ErrorKind::NotFound => {
            Err(error).with_context(|| format!("cannot remove {}", dir.display()))
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::atomic::{AtomicU32, Ordering};

    use super::*;

    fn names(dir: &Path) -> Vec<String> {
        let mut names: Vec<String> = fs::read_dir(dir)
            .expect("list")
            .map(|entry| entry.expect("entry").file_name().into_string().expect("text"))
            .collect();
        names.sort();
        names
    }

    #[test]
    fn the_environment_says_where() {
        let root = |vars: &[(&str, &str)]| {
            root(|name| vars.iter().find(|(key, _)| *key == name).map(|(_, value)| value.into()))
        };
        let all = [("KLP_CACHE", "/k"), ("XDG_CACHE_HOME", "/x"), ("HOME", "/h")];
        assert_eq!(root(&all).expect("root"), Path::new("/k"));
        assert_eq!(root(&all[1..]).expect("root"), Path::new("/x/klp"));
        assert_eq!(root(&all[2..]).expect("root"), Path::new("/h/.cache/klp"));
        assert!(root(&[]).is_err());
    }

    #[test]
    fn an_entry_is_made_once() {
        let dir = tempfile::tempdir().expect("dir");
        let (cache, progress, made) = (Cache::at(dir.path()), Progress::silent(), AtomicU32::new(0));
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    let entry = cache
                        .publish("kernels/a", &progress, |part| {
                            made.fetch_add(1, Ordering::Relaxed);
                            std::thread::sleep(std::time::Duration::from_millis(50));
                            Ok(fs::write(part.join("file"), "whole")?)
                        })
                        .expect("publish");
                    assert_eq!(fs::read_to_string(entry.join("file")).expect("read"), "whole");
                });
            }
        });
        assert_eq!(made.into_inner(), 1);
        assert_eq!(names(&dir.path().join("kernels")), ["a", "a.lock"]);
    }

    #[test]
    fn a_failure_leaves_no_entry() {
        let dir = tempfile::tempdir().expect("dir");
        let (cache, progress) = (Cache::at(dir.path()), Progress::silent());
        // What a process that was killed left behind does not get into the entry.
        fs::create_dir(dir.path().join("a.part")).expect("dir");
        fs::write(dir.path().join("a.part/stale"), "").expect("write");
        let full = || io::Error::from(ErrorKind::StorageFull);
        let error = cache
            .publish("a", &progress, |part| {
                assert_eq!(names(part), Vec::<String>::new());
                fs::write(part.join("half"), "")?;
                Err(full()).context("cannot write x")
            })
            .expect_err("full");
        assert!(format!("{error:#}").starts_with("the disk that holds the cache"), "{error:#}");
        assert!(format!("{error:#}").contains("cannot write x"));
        assert_eq!(names(dir.path()), ["a.lock"]);
        assert!(cache.publish("a", &progress, |_| Ok(())).is_ok());
    }

    #[test]
    fn room_is_asked_for_before_it_is_used() {
        let dir = tempfile::tempdir().expect("dir");
        let cache = Cache::at(dir.path().join("not/yet"));
        cache.require_space(0).expect("room for nothing");
        let error =
            cache.publish("a", &Progress::silent(), |_| cache.require_space(u64::MAX)).expect_err("full");
        assert!(format!("{error:#}").contains("too full"), "{error:#}");
        assert!(format!("{error:#}").contains("MB are needed"), "{error:#}");
    }

    #[test]
    fn a_program_that_fills_the_disk_is_understood() {
        let dir = tempfile::tempdir().expect("dir");
        let error = Cache::at(dir.path())
            .publish("a", &Progress::silent(), |_| {
                let mut sh = std::process::Command::new("sh");
                crate::process::stdout(
                    sh.args(["-c", "echo 'tar: x: No space left on device' >&2; exit 2"]),
                )?;
                Ok(())
            })
            .expect_err("full");
        assert!(format!("{error:#}").contains("KLP_CACHE"), "{error:#}");
    }
}
