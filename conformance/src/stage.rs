// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Which case belongs to which stage of a port.
//!
//! A porter works through the stages in their order (docs/src/porting.md); each ends with its cases green, those of the host
//! suite and those that run on kernels. Every case is of one stage, so the stages together are the conformance suites.

use anyhow::{Context, Result};
use klp_core::stated::{Fact, Stage};
use klp_host::Arch;

use crate::arch::Entry;
use crate::{guest, kselftest};

/// The groups of cases that each stage opens.
const GROUPS: [(Stage, &[&str]); 6] = [
    (Stage::Recognise, &["H1", "G0"]),
    (Stage::Redirect, &["H4", "H5", "H6"]),
    (Stage::Branches, &["H2", "H3", "H7", "H9", "B1"]),
    (Stage::Unwinding, &["H8", "G10"]),
    (
        Stage::Transitions,
        &["G1", "G2", "G3", "G4", "G5", "G6", "G7", "G8", "G9", "G11", "G12", "G13", "K1", "K2"],
    ),
    (Stage::PatchSites, &["H10", "G14"]),
];

/// Cases that are of another stage than their group: what looks at code, and what is in the immediate model, which needs no
/// reliable stack walk.
const OTHERS: [(&str, Stage); 4] = [
    ("H1.3", Stage::Redirect),
    ("H1.4", Stage::Redirect),
    ("G11.3", Stage::Redirect),
    ("G13.8", Stage::Branches),
];

/// The stage that the case with this number is of; `None` for a number that no suite gives.
pub fn of(id: &str) -> Option<Stage> {
    if let Some((_, stage)) = OTHERS.iter().find(|(other, _)| *other == id) {
        return Some(*stage);
    }
    // A case of a fact that is not stated yet is of the stage that asks for it.
    if let Some(fact) = Fact::ALL.iter().map(|fact| fact.statement()).find(|fact| fact.id == id) {
        return Some(fact.stage);
    }
    let group = id.split_once('.').map_or(id, |(group, _)| group);
    GROUPS.iter().find(|(_, groups)| groups.contains(&group)).map(|(stage, _)| *stage)
}

/// The numbers of an architecture's cases: those of the host suite, and those that run on each of its kernels.
///
/// # Errors
///
/// The scripts of the cases cannot be read, or the suites do not know the architecture.
pub fn all(arch: &Arch) -> Result<Ids> {
    let entry =
        Entry::by_name(arch.name).with_context(|| format!("the host suite does not describe {arch}"))?;
    let host = entry.host_cases().iter().map(|case| case.id.to_owned()).collect();
    let mut kernel = vec!["B1".to_owned()];
    for dir in [guest::dir().join("cases"), kselftest::dir().join("cases")] {
        kernel.extend(guest::cases::in_dir(&dir)?.into_iter().map(|case| case.id));
    }
    Ok(Ids { host, kernel })
}

/// Numbers of cases.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ids {
    /// Of the host suite.
    pub host: Vec<String>,
    /// Of the suites that run on kernels.
    pub kernel: Vec<String>,
}

#[cfg(test)]
mod tests {
    use klp_host::arches;

    use super::*;

    #[test]
    fn every_case_is_of_a_stage() {
        let ids = all(arches()[0]).expect("cases");
        for id in ids.host.iter().chain(&ids.kernel) {
            assert!(of(id).is_some(), "{id} is of no stage: give its group to one in {}", file!());
        }
    }

    #[test]
    fn every_stage_has_cases_on_the_host_and_on_kernels() {
        let ids = all(arches()[0]).expect("cases");
        for stage in Stage::ALL {
            assert!(
                ids.kernel.iter().any(|id| of(id) == Some(stage)),
                "{}: no case runs on a kernel",
                stage.name()
            );
        }
    }

    #[test]
    fn a_number_that_nobody_gives_is_of_no_stage() {
        for id in ["", "H", "H0", "H0.0", "H0.999", "G99.1", "X1"] {
            assert_eq!(of(id), None, "{id}");
        }
    }
}
