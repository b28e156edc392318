// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Variables of a vmlinux that the user names, for kernels whose own symbol table lists functions only.
//!
//! The running kernel may lie elsewhere than it was linked to, but as a whole: a variable is as far from a function as it was. So it
//! is recorded as a distance from one, the *anchor*. A second one at the other end of the text, the *witness*, is recorded
//! with it: in another build the two are not as far apart.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, bail, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionKind, SymbolKind};

use crate::Kernel;

/// A function, and where it was linked to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: String,
    pub(super) addr: u64,
}

/// What is known of a vmlinux.
#[derive(Debug)]
pub(super) struct Vmlinux {
    pub(super) anchor: Function,
    pub(super) witness: Function,
    /// The addresses of the variables of each name, ascending.
    variables: HashMap<String, Vec<u64>>,
}

impl Vmlinux {
    /// Reads the file that the user named for `kernel`.
    ///
    /// # Errors
    ///
    /// It is not the kernel's vmlinux, or has no symbols.
    pub(super) fn read(path: &Path, kernel: &Kernel) -> Result<Vmlinux> {
        let bytes = fs::read(path).with_context(|| format!("--vmlinux: cannot read {}", path.display()))?;
        let context = || format!("--vmlinux {}", path.display());
        let banner = format!("Linux version {} ", kernel.release);
        ensure!(
            memchr::memmem::find(&bytes, banner.as_bytes()).is_some(),
            "{}: expected the uncompressed kernel that calls itself '{}', and it does not say so",
            context(),
            banner.trim_end()
        );
        Vmlinux::parse(&bytes).with_context(context)
    }

    pub(super) fn parse(bytes: &[u8]) -> Result<Vmlinux> {
        let file = object::File::parse(bytes).context("expected an ELF file")?;
        let (mut functions, mut names) = (Vec::new(), HashMap::<&str, usize>::new());
        let mut variables = HashMap::<String, Vec<u64>>::new();
        for symbol in file.symbols().filter(|symbol| !symbol.is_undefined()) {
            let (Ok(name), Some(section)) = (symbol.name(), symbol.section_index()) else { continue };
            *names.entry(name).or_default() += 1;
            let Ok(section) = file.section_by_index(section) else { continue };
            match (section.kind(), symbol.kind()) {
                // What is discarded after boot is in no symbol table then.
                (SectionKind::Text, SymbolKind::Text) if section.name() == Ok(".text") => {
                    functions.push(Function { name: name.to_owned(), addr: symbol.address() });
                }
                (SectionKind::Text, _) => {}
                (_, SymbolKind::Section | SymbolKind::File) => {}
                _ => variables.entry(name.to_owned()).or_default().push(symbol.address()),
            }
        }
        functions.retain(|function| names.get(function.name.as_str()) == Some(&1));
        functions.sort_by_key(|function| function.addr);
        variables.values_mut().for_each(|addrs| addrs.sort_unstable());
        match &*functions {
            [anchor, .., witness] if anchor.addr != witness.addr => {
                Ok(Vmlinux { anchor: anchor.clone(), witness: witness.clone(), variables })
            }
            _ => bail!(
                "it has no symbols of functions: expected a vmlinux that is not stripped, as debug packages have"
            ),
        }
    }

    /// Whether it has a variable of this name.
    pub(super) fn has(&self, name: &str) -> bool {
        self.variables.contains_key(name)
    }

    /// The variable at `position` among those of a name, from 1; 0 if there is only one. `None` if it has none such.
    pub(super) fn variable(&self, name: &str, position: u64) -> Option<u64> {
        let addrs = self.variables.get(name)?;
        match position {
            0 => <[u64; 1]>::try_from(addrs.as_slice()).ok().map(|[addr]| addr),
            position => addrs.get(usize::try_from(position - 1).ok()?).copied(),
        }
    }
}
