// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The architectures that the suites know: what the host suite is told about each, one file each, and their table.

pub mod arm64;
pub mod ppc64;
pub mod riscv64;
pub mod s390;
pub mod x86_64;

use std::collections::BTreeSet;
use std::sync::OnceLock;

use klp_arches::{Arm64, Ppc64, Riscv64, S390, X86_64};
use klp_core::platform::Range;
use klp_core::unwind::{Code, Frame, Task, Unreliable};
use klp_core::{Addr, Architecture};
use klp_host::Failure;
use klp_host::dump::View;

use super::stack::{Sample, Stacks, Walked};
use super::{Case, Check, Description, damage};
use crate::image::{self, Image};
use crate::report::CaseResult;

/// The architectures of this workspace, in the order of `klp_host`'s table.
static ARCHITECTURES: &[Entry] = &[
    Entry::new::<X86_64>(&x86_64::DESCRIPTION),
    Entry::new::<Arm64>(&arm64::DESCRIPTION),
    Entry::new::<Ppc64>(&ppc64::DESCRIPTION),
    Entry::new::<S390>(&s390::DESCRIPTION),
    Entry::new::<Riscv64>(&riscv64::DESCRIPTION),
];

/// One architecture.
#[derive(Debug)]
pub struct Entry {
    /// The name that `--arch` takes.
    pub name: &'static str,
    /// What the host suite is told about it.
    pub description: &'static Description,
    /// Its stack walks.
    pub walks: Walks,
    cases: fn(&'static Description) -> Vec<Case>,
}

/// Stack walks of an architecture that is known when the program runs.
#[derive(Debug)]
pub struct Walks {
    /// [`image::record`], in a memory dump.
    pub record: Record,
    /// [`damage::survive`].
    pub survive: fn(&Image) -> Result<Walked, String>,
    /// [`damage::check`].
    pub check: fn(&Stacks, &Image) -> Result<Walked, String>,
    /// [`damage::check_word`].
    pub check_word: fn(&Stacks, &Sample, Addr, u64) -> Check,
    /// [`damage::words_read`].
    pub words_read: fn(&Sample) -> BTreeSet<Addr>,
}

type Record = fn(&Task<'_>, &View<'_>, &[(Range, Code)]) -> (Image, Vec<Frame>, Result<(), Unreliable>);

/// [`ARCHITECTURES`], behind the one that this program registered.
static ALL: OnceLock<Vec<&'static Entry>> = OnceLock::new();

/// Every architecture that the suites know, in the order of [`klp_host::arches`].
pub fn architectures() -> &'static [&'static Entry] {
    ALL.get_or_init(|| ARCHITECTURES.iter().collect())
}

/// Adds the architecture of another repository, here and to [`klp_host::arches`].
///
/// # Errors
///
/// As [`klp_host::arch::register`]; or its description does not say what host tools know of it.
pub fn register(entry: &'static Entry) -> Result<(), Failure> {
    let refuse =
        |why: &str| Failure::Usage(format!("the architecture {} cannot be registered: {why}", entry.name));
    let arch =
        (entry.description.host)().ok_or_else(|| refuse("`host` of its description gives no entry"))?;
    if arch.name != entry.name {
        return Err(refuse(&format!(
            "its crate has this name, and its entry in the table is named {}",
            arch.name
        )));
    }
    klp_host::arch::register(arch)?;
    let all = std::iter::once(entry).chain(ARCHITECTURES).collect();
    ALL.set(all).map_err(|_| refuse("the suites have been asked of architectures before"))
}

impl Entry {
    /// The architecture `A`, as `description` tells of it.
    pub const fn new<A: Architecture>(description: &'static Description) -> Entry {
        let walks = Walks {
            record: |task, view, code| image::record::<A>(task, view, code),
            survive: damage::survive::<A>,
            check: damage::check::<A>,
            check_word: damage::check_word::<A>,
            words_read: damage::words_read::<A>,
        };
        Entry { name: A::NAME, description, walks, cases: super::cases::<A> }
    }

    /// The architecture of this name.
    pub fn by_name(name: &str) -> Option<&'static Entry> {
        architectures().iter().copied().find(|entry| entry.name == name)
    }

    /// The cases of the host suite.
    pub fn host_cases(&self) -> Vec<Case> {
        (self.cases)(self.description)
    }

    /// Runs the cases of the host suite that the filter names, or all of them, and hands on each result as it comes.
    pub fn run_host(&self, filter: Option<&str>, mut each: impl FnMut(CaseResult)) {
        for case in self.host_cases() {
            if filter.is_none_or(|filter| case.matches(filter)) {
                each(case.run(self.description));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_table_is_that_of_the_host_tools() {
        let names: Vec<&str> = architectures().iter().map(|entry| entry.name).collect();
        let host: Vec<&str> = klp_host::arches().iter().map(|arch| arch.name).collect();
        assert_eq!(names, host);
    }
}
