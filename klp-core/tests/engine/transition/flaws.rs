// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Faults that are planted: whoever watches the histories notices each.

use klp_core::patch::{Model, Switch};

use super::drive::{Request, Scenario};
use super::load::Steps;
use super::program::{Program, forking, program};
use super::promises::first_failure;
use crate::sim::Spec;
use crate::sim::flaw::Flaw;
use crate::sim::tasks::Kind;

/// A patch of 'f' and 'g' is enabled while a task runs.
fn enabling(model: Model, kind: Kind, program: Program) -> Scenario {
    let spec = Spec::new(0).vmlinux(&["f", "g"]).in_model(model);
    let mut scenario = Scenario::new(vec![spec], vec![(kind, program)], vec![Request::Enable(0)]);
    scenario.steps = Steps::Fine;
    // Programs of user tasks are longer, and what they show is seen between attempts.
    scenario.interruptions = usize::from(kind != Kind::User);
    if model.switch() == Switch::Thread {
        // Somebody holds it up, so that the task does something while others are switched.
        scenario.inside = vec![(Kind::Kthread, super::program::program("g( w )"), 4)];
    }
    scenario
}

/// What is noticed with a flaw, and is not without it.
#[track_caller]
fn noticed_in(mut scenario: Scenario, flaw: Flaw, expected: &str) {
    assert_eq!(first_failure(&scenario), None, "without a flaw");
    scenario.flaw = Some(flaw);
    let failure = first_failure(&scenario);
    assert!(failure.as_ref().is_some_and(|text| text.contains(expected)), "{flaw:?}: {failure:?}");
}

#[track_caller]
fn noticed(flaw: Flaw, model: Model, kind: Kind, program: Program, expected: &str) {
    noticed_in(enabling(model, kind, program), flaw, expected);
}

#[test]
fn a_check_that_finds_nothing_on_any_stack() {
    noticed(Flaw::EveryTaskIsClear, Model::Hybrid, Kind::Kthread, program("f( g( ) )"), "is still inside");
    noticed(Flaw::EveryTaskIsClear, Model::InTime, Kind::Kthread, program("f( g( ) )"), "at the switch");
}

#[test]
fn a_check_of_a_task_that_runs() {
    noticed(Flaw::RunningTasksAreClear, Model::Hybrid, Kind::Kthread, program("f( g( ) )"), "mixes with the");
}

#[test]
fn a_walk_that_ends_too_early() {
    noticed(
        Flaw::EveryWalkIsReliable,
        Model::Hybrid,
        Kind::Kthread,
        program("f( p g( ) )"),
        "mixes with the",
    );
}

#[test]
fn a_task_in_the_kernel_that_is_taken_for_one_at_the_border() {
    let calls = program("{ f( ) g( ) }");
    noticed(
        Flaw::UserTasksAreAtTheBorder,
        Model::InThread,
        Kind::User,
        calls.clone(),
        "of the same system call",
    );
    noticed(Flaw::UserTasksAreAtTheBorder, Model::Checkpoint, Kind::User, calls, "at the switch");
}

#[test]
fn a_callback_that_does_not_look_at_the_tasks_place() {
    noticed(Flaw::SlotsAreIgnored, Model::Hybrid, Kind::Kthread, program("f( g( ) )"), "mixes with the");
    noticed(
        Flaw::SlotsAreIgnored,
        Model::InThread,
        Kind::User,
        program("{ f( ) g( ) }"),
        "of the same system call",
    );
}

#[test]
fn tasks_that_are_born_unpatched() {
    // It is not listed, so nobody waits until it has left.
    let forks = forking("", Kind::Kthread, "f( w )", "");
    let mut scenario = enabling(Model::Hybrid, Kind::Kthread, forks);
    scenario.interruptions = 0;
    noticed_in(scenario, Flaw::BornIsUnpatched, "is still inside");
}

#[test]
fn callbacks_that_are_under_way_while_the_machine_is_stopped() {
    noticed(Flaw::CallbacksGoOn, Model::Hybrid, Kind::Kthread, program("f( g( ) )"), "mixes with the");
    noticed(Flaw::CallbacksGoOn, Model::InTime, Kind::Kthread, program("f( )"), "after somebody");
}

#[test]
fn an_idle_task_that_is_not_shown() {
    noticed(Flaw::IdleTasksAreMissed, Model::Hybrid, Kind::Idle, program("f( g( ) )"), "mixes with the");
    noticed(Flaw::IdleTasksAreMissed, Model::InTime, Kind::Idle, program("f( g( ) )"), "at the switch");
}

#[test]
fn a_task_that_is_freed_though_it_is_pinned() {
    noticed(Flaw::PinsAreIgnored, Model::Hybrid, Kind::Kthread, program("f( z exit"), "was freed");
}

#[test]
fn a_task_that_does_not_wait_at_the_border() {
    noticed(Flaw::NobodyWaits, Model::Checkpoint, Kind::User, program("{ f( ) g( ) }"), "at the switch");
}
