// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Small cases: every history of them, each model's promise on all.

use klp_core::patch::Model;

use super::choices::every_history;
use super::drive::{Request, Scenario, Seen, run};
use super::load::Steps;
use super::program::program;
use crate::sim::Spec;
use crate::sim::tasks::Kind;

/// Three patches: two that overlap, and one that replaces all and lets 'h' alone, which the second replaces.
pub(super) fn specs(model: Model) -> Vec<Spec> {
    vec![
        Spec::new(0).vmlinux(&["f", "g"]).in_model(model),
        Spec::new(1).vmlinux(&["g", "h"]).in_model(model),
        Spec::new(2).vmlinux(&["f", "g"]).in_model(model).cumulative(),
    ]
}

/// What is enabled before, and what is asked for.
pub(super) fn paths() -> Vec<(Vec<usize>, Vec<Request>)> {
    use Request::{Disable, Enable, Force, Reverse};
    vec![
        (vec![], vec![Enable(0)]),
        (vec![0], vec![Disable(0)]),
        (vec![1], vec![Enable(0)]),
        (vec![0, 1], vec![Disable(0)]),
        (vec![1], vec![Enable(2)]),
        (vec![], vec![Enable(0), Reverse]),
        (vec![0], vec![Disable(0), Reverse]),
        (vec![1], vec![Enable(2), Reverse]),
        (vec![2, 1], vec![Disable(2), Reverse]),
        (vec![], vec![Enable(0), Force]),
        (vec![0], vec![Disable(0), Force]),
        (vec![1], vec![Enable(2), Force]),
    ]
}

/// Some tasks, one of which moves.
pub(super) fn tasks() -> Vec<(Kind, &'static str)> {
    vec![(Kind::Kthread, "f( g( ) )"), (Kind::User, "{ h( f( ) ) }"), (Kind::Idle, "!( g( ) )")]
}

/// Every history of one request or two, on every path. While the engine works, the task gets the time once; a kernel thread
/// twice, when there is one request; a user task with two requests in a short program only. Beside it a task sleeps inside
/// until it is woken, so that the transition lasts.
fn every_path(model: Model) -> Seen {
    let mut seen = Seen::default();
    let mut run_all = |scenario: &Scenario| every_history(|choices| seen += run(scenario, choices));
    for (enabled, requests) in paths() {
        let mut scenario = Scenario::new(specs(model), Vec::new(), requests);
        scenario.enabled = enabled;
        if scenario.requests.len() == 1 {
            for (kind, text) in tasks() {
                scenario.tasks = vec![(kind, program(text))];
                scenario.interruptions = if kind == Kind::Kthread { 2 } else { 1 };
                scenario.inside = Vec::new();
                run_all(&scenario);
                scenario.interruptions = 1;
                scenario.inside = vec![(Kind::Kthread, program("g( w )"), 2)];
                run_all(&scenario);
            }
        } else {
            scenario.inside = vec![(Kind::Kthread, program("g( w )"), 2)];
            for (kind, text, interruptions) in [
                (Kind::Kthread, "f( g( ) )", 1),
                (Kind::User, "{ f( ) }", 1),
                (Kind::User, "{ h( f( ) ) }", 0),
            ] {
                scenario.tasks = vec![(kind, program(text))];
                scenario.interruptions = interruptions;
                run_all(&scenario);
            }
        }
    }
    seen
}

/// Every history of one call, a step at a time: the callback decides, and what it decided is done later.
fn every_callback(model: Model) -> Seen {
    let mut seen = Seen::default();
    for (enabled, requests) in paths() {
        let mut scenario = Scenario::new(specs(model), vec![(Kind::Kthread, program("g( )"))], requests);
        scenario.enabled = enabled;
        scenario.steps = Steps::Fine;
        scenario.interruptions = if scenario.requests.len() == 1 { 2 } else { 1 };
        every_history(|choices| seen += run(&scenario, choices));
    }
    seen
}

/// What every model has in common.
fn keeps_its_promise(model: Model) {
    let seen = every_path(model);
    println!("{model:?}: {seen:?}");
    assert!(seen.histories > 80_000, "only {seen:?}");
    assert!(seen.judged > seen.histories / 4, "calls that could break the promise: {seen:?}");
    assert!(seen.blocked > 1_000 && seen.reversed > 1_000 && seen.forced > 1_000, "{seen:?}");
    assert!(seen.drained > 1_000 && seen.held > 1_000, "{seen:?}");
    let seen = every_callback(model);
    println!("{model:?}: {seen:?}");
    assert!(seen.histories > 10_000 && seen.judged > 10_000, "only {seen:?}");
}

#[test]
fn hybrid_a_task_is_in_one_universe_as_long_as_it_is_inside() {
    keeps_its_promise(Model::Hybrid);
}

#[test]
fn in_thread_a_system_call_is_in_one_universe() {
    keeps_its_promise(Model::InThread);
}

#[test]
fn in_time_all_tasks_are_switched_at_once_while_none_is_inside() {
    keeps_its_promise(Model::InTime);
}

#[test]
fn checkpoint_all_tasks_are_switched_at_once_at_the_border() {
    keeps_its_promise(Model::Checkpoint);
}

/// Nobody is waited for, only text that goes.
#[test]
fn immediate_each_call_runs_one_version_that_is_there() {
    let mut seen = every_path(Model::Immediate);
    seen += every_callback(Model::Immediate);
    println!("{seen:?}");
    assert!(seen.histories > 10_000 && seen.drained > 1_000 && seen.held > 1_000, "{seen:?}");
    assert!(seen.judged == 0 && seen.blocked == 0 && seen.reversed == 0 && seen.forced == 0, "{seen:?}");
}
