// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! From what a user names (patch directories, modules) to what a guest loads.

use std::path::{Path, PathBuf};

use anyhow::Result;

use crate::kbuild::{self, Options};
use crate::progress::Progress;
use crate::{Failure, Kernel};

/// The modules that `inputs` stand for, in load order: klp.ko first if `core`, then each input in the order given.
///
/// An input that is a directory is built into `out`; one that ends in `.ko` is taken as it is.
///
/// # Errors
///
/// An input is neither ([`Failure::Usage`]), or the build fails.
pub fn modules(
    kernel: &Kernel,
    inputs: &[PathBuf],
    core: bool,
    out: &Path,
    progress: &Progress,
) -> Result<Vec<PathBuf>> {
    for input in inputs {
        check(input)?;
    }
    let patches: Vec<PathBuf> = inputs.iter().filter(|input| input.is_dir()).cloned().collect();
    if !core && patches.is_empty() {
        return Ok(inputs.to_vec());
    }
    let built = kbuild::build(kernel, out, &patches, &Options { core, ..Options::default() }, progress)?;
    let mut built_patches = built.patches.into_iter();
    let given = inputs.iter().filter_map(|input| match input.is_dir() {
        true => built_patches.next(),
        false => Some(input.clone()),
    });
    Ok(built.klp.into_iter().chain(given).collect())
}

fn check(input: &Path) -> Result<(), Failure> {
    let expected = "expected a directory with a patch's sources, or a module (.ko)";
    if !input.exists() {
        return Err(Failure::Usage(format!("there is no '{}': {expected}", input.display())));
    }
    if !input.is_dir() && input.extension().is_none_or(|extension| extension != "ko") {
        return Err(Failure::Usage(format!("'{}' is neither: {expected}", input.display())));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_input_is_a_directory_or_a_module() {
        let dir = tempfile::tempdir().expect("dir");
        let (module, other) = (dir.path().join("a.ko"), dir.path().join("a.c"));
        std::fs::write(&module, "").expect("write");
        std::fs::write(&other, "").expect("write");
        assert!(check(dir.path()).is_ok());
        assert!(check(&module).is_ok());
        assert!(check(&other).expect_err("source").to_string().contains("is neither"));
        assert!(check(&dir.path().join("b.ko")).expect_err("gone").to_string().contains("there is no"));
    }
}
