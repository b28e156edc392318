// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Kernels that do not keep what the platform promises, to see that the tests notice.

/// A promise that the simulated kernel breaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Flaw {
    /// A check finds nothing on any stack.
    EveryTaskIsClear,
    /// A check takes a stack as it is while its task runs.
    RunningTasksAreClear,
    /// A check believes a walk that is not reliable, and ends too early.
    EveryWalkIsReliable,
    /// A check takes a task that is in the kernel for one at the border.
    UserTasksAreAtTheBorder,
    /// A callback asks for the universe of the unlisted, whoever calls.
    SlotsAreIgnored,
    /// A callback takes tasks that are not listed for unpatched.
    BornIsUnpatched,
    /// The machine stops while callbacks are under way.
    CallbacksGoOn,
    /// Idle tasks are not shown.
    IdleTasksAreMissed,
    /// The structure of a task is freed when it exits, pinned or not.
    PinsAreIgnored,
    /// Tasks that are gathered note that they wait, and go on.
    NobodyWaits,
}
