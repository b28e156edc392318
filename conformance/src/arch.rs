// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The architectures that the suites know.

use klp_arch_arm64::Arm64;
use klp_arch_ppc64::Ppc64;
use klp_arch_s390::S390;
use klp_arch_x86_64::X86_64;
use klp_core::Architecture;

use crate::host::{self, Case, Description};
use crate::report::CaseResult;

/// One architecture.
#[derive(Debug)]
pub struct Entry {
    /// The name that `--arch` takes.
    pub name: &'static str,
    /// What the host suite is told about it.
    pub description: &'static Description,
    cases: fn(&'static Description) -> Vec<Case>,
}

/// Every architecture, in the order of [`klp_host::ARCHES`].
pub static ARCHITECTURES: [Entry; 4] = [
    entry::<X86_64>(&host::arch::x86_64::DESCRIPTION),
    entry::<Arm64>(&host::arch::arm64::DESCRIPTION),
    entry::<Ppc64>(&host::arch::ppc64::DESCRIPTION),
    entry::<S390>(&host::arch::s390::DESCRIPTION),
];

const fn entry<A: Architecture>(description: &'static Description) -> Entry {
    Entry { name: A::NAME, description, cases: host::cases::<A> }
}

impl Entry {
    /// The architecture of this name.
    pub fn by_name(name: &str) -> Option<&'static Entry> {
        ARCHITECTURES.iter().find(|entry| entry.name == name)
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
        let names: Vec<&str> = ARCHITECTURES.iter().map(|entry| entry.name).collect();
        let host: Vec<&str> = klp_host::ARCHES.iter().map(|arch| arch.name).collect();
        assert_eq!(names, host);
    }
}
