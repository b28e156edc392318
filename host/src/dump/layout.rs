// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Where fields lie in a kernel's structures: compiled from that kernel's headers (`layout/layout.c`).
//!
//! Not from BTF: some of the kernels have none.

use std::collections::HashMap;
use std::path::Path;

use anyhow::{Context, Result, bail};
use object::{Endianness, Object, ObjectSection};

use crate::kbuild::{self, Options};
use crate::{Kernel, Progress};

/// Numbers of one kernel, by the names that `layout.c` gives them.
#[derive(Clone, Debug)]
pub struct Layout(HashMap<String, u64>);

impl Layout {
    /// Compiles the numbers for `kernel`, in the directory `out`, where they are kept.
    ///
    /// # Errors
    ///
    /// The build fails, or something that it takes is missing on this machine.
    pub fn build(kernel: &Kernel, out: &Path, progress: &Progress) -> Result<Layout> {
        let sources = concat!(env!("CARGO_MANIFEST_DIR"), "/src/dump/layout").into();
        let options = Options { core: false, ..Options::default() };
        let built = kbuild::build(kernel, out, &[sources], &options, progress)?;
        let [file] = built.patches.as_slice() else { bail!("expected one file of the kernel's layout") };
        let data = std::fs::read(file).with_context(|| format!("cannot read {}", file.display()))?;
        Layout::parse(&data).with_context(|| format!("cannot read the kernel's layout in {}", file.display()))
    }

    fn parse(elf: &[u8]) -> Result<Layout> {
        let elf = object::File::parse(elf)?;
        let section = elf.section_by_name(".klp_layout").context("there is no section .klp_layout")?;
        let big = elf.endianness() == Endianness::Big;
        let mut rest = section.data()?;
        let mut numbers = HashMap::new();
        while !rest.is_empty() {
            let end = rest.iter().position(|byte| *byte == 0).context("a name does not end")?;
            let name = String::from_utf8(rest[..end].to_vec()).context("a name is no text")?;
            let (number, more) = rest[end + 1..].split_first_chunk().context("a number is cut off")?;
            numbers.insert(name, if big { u64::from_be_bytes(*number) } else { u64::from_le_bytes(*number) });
            rest = more;
        }
        Ok(Layout(numbers))
    }

    /// A number that some kernels do not have.
    pub(crate) fn get(&self, name: &str) -> Option<u64> {
        self.0.get(name).copied()
    }

    /// A number that every kernel has.
    ///
    /// # Errors
    ///
    /// It is not there: this file and `layout.c` do not agree.
    pub(crate) fn need(&self, name: &str) -> Result<u64> {
        self.get(name).with_context(|| format!("layout.c says nothing of {name}"))
    }
}
