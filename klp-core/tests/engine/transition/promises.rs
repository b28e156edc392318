// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What each model promises, and what it does not: every promise that a model does not make is seen broken in some history,
//! so whoever watches can see it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use klp_core::patch::Model;

use super::choices::every_history;
use super::drive::{Request, Scenario, run};
use super::program::program;
use crate::sim::Spec;
use crate::sim::tasks::Kind;

/// The message of the first history that ends a test, if there is one.
pub(super) fn first_failure(scenario: &Scenario) -> Option<String> {
    let all = || {
        every_history(|choices| {
            run(scenario, choices);
        })
    };
    let payload = catch_unwind(AssertUnwindSafe(all)).err()?;
    let text = payload.downcast_ref::<String>().cloned();
    Some(text.or_else(|| payload.downcast_ref::<&str>().map(ToString::to_string)).unwrap_or_default())
}

/// What is seen in each of three cases when a patch of 'f' and 'g' in one model should keep the promise of another: one
/// is called in the other, one is called after the other in a system call, and two tasks call one each.
fn seen(model: Model, promised: Model) -> [Option<String>; 3] {
    let task = |kind, text| (kind, program(text));
    let cases = [
        (1, vec![task(Kind::Kthread, "f( g( ) )")]),
        (1, vec![task(Kind::User, "{ f( ) g( ) }")]),
        (0, vec![task(Kind::User, "{ f( ) }"), task(Kind::User, "{ g( ) }")]),
    ];
    cases.map(|(interruptions, tasks)| {
        let spec = Spec::new(0).vmlinux(&["f", "g"]).in_model(model);
        let mut scenario = Scenario::new(vec![spec], tasks, vec![Request::Enable(0)]);
        scenario.interruptions = interruptions;
        scenario.promised = Some(promised);
        first_failure(&scenario)
    })
}

// The promises, by what is said when one is broken.
const ON_ONE_STACK: Option<&str> = Some("that it is called in");
const IN_ONE_CALL: Option<&str> = Some("of the same system call");
const OUTSIDE: Option<&str> = Some("is still inside the");
const ONE_AFTER_THE_OTHER: Option<&str> = Some("runs as before after somebody ran it as changed");
const OUTSIDE_AT_ONCE: Option<&str> = Some("at the switch");
const AT_THE_BORDER: Option<&str> = Some("is not at the border at the switch");
const KEPT: [Option<&str>; 3] = [None; 3];

#[track_caller]
fn check(model: Model, promises: &[(Model, [Option<&str>; 3])]) {
    for &(promised, broken) in promises {
        let seen = seen(model, promised);
        let as_expected = seen.iter().zip(broken).all(|pair| match pair {
            (None, None) => true,
            (Some(seen), Some(broken)) => seen.contains(broken),
            _ => false,
        });
        assert!(as_expected, "{model:?} taken for {promised:?}: {seen:#?}, not {broken:#?}");
    }
}

#[test]
fn immediate_promises_nothing() {
    check(
        Model::Immediate,
        &[
            (Model::Hybrid, [ON_ONE_STACK, OUTSIDE, OUTSIDE]),
            (Model::InThread, [ON_ONE_STACK, IN_ONE_CALL, OUTSIDE]),
            (Model::InTime, [ONE_AFTER_THE_OTHER, ONE_AFTER_THE_OTHER, OUTSIDE]),
            (Model::Checkpoint, [ONE_AFTER_THE_OTHER, ONE_AFTER_THE_OTHER, OUTSIDE]),
        ],
    );
}

#[test]
fn hybrid_promises_nothing_for_a_system_call_or_for_all_tasks() {
    check(
        Model::Hybrid,
        &[
            (Model::Hybrid, KEPT),
            (Model::InThread, [None, IN_ONE_CALL, None]),
            (Model::InTime, [ONE_AFTER_THE_OTHER, ONE_AFTER_THE_OTHER, OUTSIDE_AT_ONCE]),
            (Model::Checkpoint, [ONE_AFTER_THE_OTHER, AT_THE_BORDER, AT_THE_BORDER]),
        ],
    );
}

#[test]
fn in_thread_promises_nothing_for_all_tasks() {
    check(
        Model::InThread,
        &[
            (Model::Hybrid, KEPT),
            (Model::InThread, KEPT),
            (Model::InTime, [ONE_AFTER_THE_OTHER; 3]),
            (Model::Checkpoint, [ONE_AFTER_THE_OTHER, AT_THE_BORDER, AT_THE_BORDER]),
        ],
    );
}

#[test]
fn in_time_promises_nothing_for_a_system_call() {
    check(
        Model::InTime,
        &[
            (Model::Hybrid, KEPT),
            (Model::InThread, [None, IN_ONE_CALL, None]),
            (Model::InTime, KEPT),
            (Model::Checkpoint, [None, AT_THE_BORDER, AT_THE_BORDER]),
        ],
    );
}

/// Whoever keeps the promise of a checkpoint keeps all others.
#[test]
fn a_checkpoint_promises_all() {
    check(Model::Checkpoint, &[(Model::Checkpoint, KEPT)]);
}
