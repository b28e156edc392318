// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What each step is for: without it there is an execution that breaks a promise.

use crate::scenarios::{self, check};

/// `NAME: SCENARIO, what is done wrong, how many preemptions it takes, what comes of it;`
macro_rules! refuted {
    ($($name:ident: $scenario:ident, $wrong:ident, $preemptions:literal, $why:literal;)*) => {
        $(
            #[test]
            #[should_panic(expected = $why)]
            fn $name() {
                check($preemptions, || scenarios::$scenario(crate::machine::Wrong::$wrong));
            }
        )*
    };
}

/// What the checker says of memory that is used and freed, or looked at and changed, with nothing in between.
macro_rules! unordered {
    ($($name:ident: $scenario:ident, $wrong:ident, $preemptions:literal;)*) => {
        refuted! { $($name: $scenario, $wrong, $preemptions, "Causality violation: Concurrent read and write accesses";)* }
    };
}

refuted! {
    tasks_listed_while_all_run: born, ListsWithoutStop, 2, "mixed";
    a_task_switched_while_it_goes_on: hybrid, HoldsNothing, 2, "mixed";
    a_task_switched_inside_the_patched_set: hybrid, IgnoresStacks, 2, "mixed";
    a_walk_through_the_trampoline: hybrid, WalksTrampolines, 2, "mixed";
    functions_settled_before_all_are_switched: hybrid, SwitchesNobody, 2, "mixed";
    a_reversal_that_lists_nobody: reversed, ForgetsTheBorn, 2, "mixed";
    a_table_shown_in_two_steps: nmi_on_growing, ShowsInTwoSteps, 2, "an NMI calls another version";
    a_task_that_leaves_inside_the_kernel: in_thread, LeavesAnywhere, 2, "mixed";
    a_task_that_only_says_it_waits: scattered, WaitsNot, 2, "mixed";
    tasks_let_go_without_synchronising: scattered, ScattersAtOnce, 2, "mixed";
}

unordered! {
    a_machine_that_is_not_stopped: in_time, StopsNothing, 2;
    a_table_freed_without_synchronising: hybrid, SynchronisesNothing, 2;
    text_freed_without_synchronising: nmi, SynchronisesNothing, 2;
    a_callback_with_preemption_on: hybrid, Preemptible, 2;
}
