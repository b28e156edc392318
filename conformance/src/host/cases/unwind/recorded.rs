// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Stacks of real kernels, as `cargo klp stacks --record` took them.

use std::fs;
use std::path::{Path, PathBuf};

use klp_core::Architecture;
use klp_core::unwind::Memory;

use super::{Check, Description, ensure, ensure_eq};
use crate::host::damage::survive;
use crate::host::stack::walk;
use crate::image::fixture::{Fixture, Outcome};

/// Those of an architecture, in the order of their names: `ARCH-KERNEL/NAME.txt`.
fn files(d: &Description) -> Result<Vec<PathBuf>, String> {
    let list = |dir: &Path| -> Result<Vec<PathBuf>, String> {
        let entries = fs::read_dir(dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        let mut paths: Vec<PathBuf> = entries.flatten().map(|entry| entry.path()).collect();
        paths.sort();
        Ok(paths)
    };
    let all = list(Path::new(d.files.stacks))?;
    let prefix = format!("{}-", d.name);
    let of_arch = |dir: &&PathBuf| {
        dir.file_name().is_some_and(|name| name.to_string_lossy().starts_with(&prefix)) && dir.is_dir()
    };
    let mut files = Vec::new();
    for dir in all.iter().filter(of_arch) {
        files.extend(list(dir)?.into_iter().filter(|path| path.extension().is_some_and(|ext| ext == "txt")));
    }
    Ok(files)
}

fn read(path: &Path) -> Result<Fixture, String> {
    let text = fs::read_to_string(path).map_err(|error| format!("{}: {error}", path.display()))?;
    text.parse().map_err(|error| format!("{}: {error:#}", path.display()))
}

/// The walk of each finds what it found when it was recorded, whatever the byte order; and whatever one of its words is.
pub(super) fn all<A: Architecture>(d: &'static Description) -> Check {
    let files = files(d)?;
    ensure!(!files.is_empty(), "there are none of {} in {}", d.name, d.files.stacks);
    let mut reliable = 0;
    for path in files {
        let name = path.display();
        let mut fixture = read(&path)?;
        ensure_eq!(fixture.arch, d.name, "{name}: architecture");
        let expected: Vec<_> = fixture.frames.iter().map(|(frame, _)| *frame).collect();
        for _ in 0..2 {
            let walked = survive::<A>(&fixture.image).map_err(|what| format!("{name}: {what}"))?;
            ensure_eq!(walked.frames, expected, "{name}: frames");
            ensure_eq!(Outcome::from(walked.end), fixture.verdict, "{name}: verdict");
            fixture.image.swap_byte_order();
        }
        reliable += usize::from(fixture.verdict == Outcome::Reliable);
        any_word::<A>(&fixture).map_err(|what| format!("{name}: {what}"))?;
    }
    ensure!(reliable > 0, "none is reliable");
    Ok(())
}

/// Each word that the walk reads is replaced by others from nearby, and by what is no address.
fn any_word<A: Architecture>(fixture: &Fixture) -> Check {
    for at in walk::<A>(&fixture.image).reads {
        let Some(old) = fixture.image.word(at) else { continue };
        let near = (1..=8)
            .flat_map(|i| [at.wrapping_sub(8 * i), at + 8 * i])
            .filter_map(|addr| fixture.image.word(addr));
        for word in near.chain([
            0,
            1,
            u64::MAX,
            old ^ 4,
            old.wrapping_sub(8),
            old.wrapping_add(16),
            at,
            fixture.image.bottom,
        ]) {
            let mut image = fixture.image.clone();
            image.set(at, word);
            survive::<A>(&image).map_err(|what| format!("{word:#x} at {at:#x}: {what}"))?;
        }
    }
    Ok(())
}
