// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! System states: what a patch changes that outlives its functions (`Documentation/livepatch/system-state.rst`).

/// A system state, as a patch declares it (`struct klp_state`).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SystemState {
    /// Names the state; unique among the states of a patch.
    pub id: u64,
    /// Version of the change; a later patch that knows the state must have the same version or a newer one.
    pub version: u32,
}

/// Of the states that enabled patches have changed, the first that a patch with `states` cannot deal with
/// (`system-state.rst`, "Livepatch compatibility").
///
/// A state that is known must have the same version or a newer one. One that is not known may stay as it is, unless the patch
/// is cumulative: it replaces the patches that would have restored the state, so it has to know all of theirs.
pub fn incompatible(
    states: &[SystemState],
    cumulative: bool,
    installed: impl IntoIterator<Item = SystemState>,
) -> Option<SystemState> {
    installed.into_iter().find(|old| match states.iter().find(|state| state.id == old.id) {
        Some(state) => state.version < old.version,
        None => cumulative,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn state(id: u64, version: u32) -> SystemState {
        SystemState { id, version }
    }

    /// What a patch on its own and a cumulative one answer.
    fn both(states: &[SystemState], installed: &[SystemState]) -> (Option<SystemState>, Option<SystemState>) {
        let one = |cumulative| incompatible(states, cumulative, installed.iter().copied());
        (one(false), one(true))
    }

    #[test]
    fn nothing_installed_agrees_with_everything() {
        assert_eq!(both(&[], &[]), (None, None));
        assert_eq!(both(&[state(1, 0)], &[]), (None, None));
    }

    #[test]
    fn a_state_needs_the_same_version_or_a_newer_one() {
        let installed = [state(1, 2)];
        assert_eq!(both(&[state(1, 2)], &installed), (None, None));
        assert_eq!(both(&[state(1, 3)], &installed), (None, None));
        assert_eq!(both(&[state(1, u32::MAX)], &installed), (None, None));
        assert_eq!(both(&[state(1, 1)], &installed), (Some(installed[0]), Some(installed[0])));
        assert_eq!(both(&[state(1, 0)], &[state(1, u32::MAX)]).0, Some(state(1, u32::MAX)));
    }

    #[test]
    fn only_a_cumulative_patch_has_to_know_every_state() {
        let installed = [state(1, 2), state(7, 1)];
        assert_eq!(both(&[], &installed), (None, Some(installed[0])));
        assert_eq!(both(&[state(1, 2)], &installed), (None, Some(installed[1])));
        assert_eq!(both(&[state(7, 1), state(1, 2)], &installed), (None, None));
        assert_eq!(both(&[state(2, 9)], &installed), (None, Some(installed[0])));
    }

    /// Patches that are not cumulative may have changed one state one after the other.
    #[test]
    fn a_state_that_several_patches_changed_needs_the_newest_version() {
        let installed = [state(1, 1), state(1, 3)];
        assert_eq!(both(&[state(1, 3)], &installed), (None, None));
        assert_eq!(both(&[state(1, 2)], &installed), (Some(installed[1]), Some(installed[1])));
    }

    /// As `klp_get_state()`, which the patch's own callbacks use: the first entry counts.
    #[test]
    fn of_two_entries_for_one_state_the_first_counts() {
        assert_eq!(both(&[state(1, 3), state(1, 1)], &[state(1, 2)]), (None, None));
        assert_eq!(both(&[state(1, 1), state(1, 3)], &[state(1, 2)]).0, Some(state(1, 2)));
    }
}
