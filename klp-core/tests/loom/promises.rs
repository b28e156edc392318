// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The promises hold in all executions, and some executions put them to the test.

use crate::machine::Wrong;
use crate::scenarios::{self, check};

/// `NAME: SCENARIO, how many preemptions, [what happens in some execution];`
macro_rules! hold {
    ($($name:ident: $scenario:ident, $preemptions:literal, [$($event:literal),*];)*) => {
        $(
            #[test]
            fn $name() {
                let seen = check($preemptions, || scenarios::$scenario(Wrong::Nothing));
                let expected: &[&str] = &[$($event),*];
                let missing: Vec<_> = expected.iter().filter(|event| !seen.contains(*event)).collect();
                assert!(missing.is_empty(), "in no execution anybody {missing:?}, but {seen:?}");
            }
        )*
    };
}

hold! {
    in_the_hybrid_model_no_function_calls_another_version: hybrid, 3,
        ["runs the original", "runs the patch", "is switched while it is held", "is switched with the machine stopped"];
    a_disabled_patch_goes_when_nobody_runs_it: disabled, 3,
        ["runs the original", "runs the patch", "is freed"];
    a_replaced_patch_goes_when_nobody_runs_it: replaced, 2,
        ["runs the patch", "runs the second patch", "is freed"];
    a_task_that_is_born_meanwhile_runs_one_version: born, 2,
        ["is born to run the original", "is born to run the patch"];
    when_a_transition_is_reversed_those_born_meanwhile_go_back: reversed, 2,
        ["is born to run the original", "is born to run the patch", "is reversed"];
    after_force_nobody_runs_what_is_gone: forced, 3,
        ["is forced", "is freed"];
    consistent_in_thread_means_one_version_in_one_system_call: in_thread, 2,
        ["runs the original", "runs the patch", "does its work", "is reversed"];
    what_tasks_left_with_the_kernel_goes: left, 2,
        ["runs the original", "runs the patch", "does its work", "is freed"];
    text_stays_under_a_task_that_does_its_work_inside: works_inside, 4, ["does its work", "is freed"];
    consistent_in_time_means_one_version_at_a_time: in_time, 2,
        ["runs the original", "runs the patch", "is born to run the patch"];
    a_checkpoint_is_consistent_in_threads_and_in_time: checkpoint, 2,
        ["runs the original", "runs the patch", "waits at the border", "is reversed"];
    tasks_are_let_go_and_gathered_again: scattered, 2,
        ["runs the original", "runs the patch", "waits at the border", "is reversed"];
    without_consistency_what_runs_is_there: immediate, 3, ["is freed"];
    an_nmi_finds_what_is_there: nmi, 4, ["is freed"];
    an_nmi_on_top_of_a_task_that_switches_itself_finds_some_version: nmi_on_leaving, 2, ["does its work"];
    an_nmi_while_tasks_are_listed_is_where_its_task_is: nmi_on_listing, 4, [];
    an_nmi_while_the_table_is_replaced_is_where_its_task_is: nmi_on_growing, 4, ["is reversed"];
    ranges_that_call_originals_are_not_mixed: original_callers, 4, [];
}
