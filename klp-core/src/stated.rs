// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What an architecture has to state, and in which order a port states it (`docs/src/porting.md`).

/// One stage of a port. Each ends with conformance cases that pass, and none needs a later one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Stage {
    /// Its names are known, a stock kernel of it boots in QEMU, and a module loads there.
    Recognise,
    /// Calls of a function go to its replacement, by way of ftrace.
    Redirect,
    /// Branches, slots and relocations: a patch calls what its own module does not have.
    Branches,
    /// Stacks are walked reliably.
    Unwinding,
    /// Tasks are switched one by one; all consistency models work.
    Transitions,
    /// Functions are entered through patch sites of their own, where compilers leave room for those.
    PatchSites,
}

impl Stage {
    /// All stages, in the order in which a port goes through them.
    pub const ALL: [Stage; 6] = [
        Stage::Recognise,
        Stage::Redirect,
        Stage::Branches,
        Stage::Unwinding,
        Stage::Transitions,
        Stage::PatchSites,
    ];

    /// The name that `--stage` takes.
    pub const fn name(self) -> &'static str {
        match self {
            Stage::Recognise => "recognise",
            Stage::Redirect => "redirect",
            Stage::Branches => "branches",
            Stage::Unwinding => "unwinding",
            Stage::Transitions => "transitions",
            Stage::PatchSites => "patch-sites",
        }
    }

    /// The stage of this name.
    pub fn by_name(name: &str) -> Option<Stage> {
        Stage::ALL.into_iter().find(|stage| stage.name() == name)
    }

    /// The stage that comes next.
    pub fn next(self) -> Option<Stage> {
        Stage::ALL.into_iter().find(|&stage| stage > self)
    }
}

impl core::fmt::Display for Stage {
    fn fmt(&self, f: &mut core::fmt::Formatter<'_>) -> core::fmt::Result {
        f.pad(self.name())
    }
}

#[cfg(test)]
mod tests {
    extern crate std;

    use std::string::ToString as _;

    use super::*;

    #[test]
    fn stages_are_found_by_name_and_follow_each_other() {
        for pair in Stage::ALL.windows(2) {
            assert!(pair[0] < pair[1], "{pair:?}");
            assert_eq!(pair[0].next(), Some(pair[1]));
        }
        assert_eq!(Stage::PatchSites.next(), None);
        for stage in Stage::ALL {
            assert_eq!(Stage::by_name(&stage.to_string()), Some(stage));
        }
        assert_eq!(Stage::by_name("Recognise"), None);
    }
}
