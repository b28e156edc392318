// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Large cases, at random: several patches in different models, tasks of all kinds that fork and exit, modules that come and
//! go, memory that runs out, requests at any time.

use std::rc::Rc;

use proptest::collection::vec;
use proptest::prelude::*;

use klp_core::patch::Model;

use super::choices::Choices;
use super::drive::{Request, Scenario, run};
use super::load::Steps;
use super::program::{Op, Program};
use crate::sim::fault::{self, Fault};
use crate::sim::tasks::Kind;
use crate::sim::{FUNCTIONS, Spec};

const PATCHES: usize = 4;

/// What a task does between two points where nothing of it is on its stack.
fn calls(may_sleep: bool) -> impl Strategy<Value = Vec<Op>> {
    let sleep = if may_sleep { Op::Sleep } else { Op::Call("h") };
    let rest = prop_oneof![6 => Just(Op::Sleep), 2 => Just(Op::Preempted), 1 => Just(Op::Wait)];
    let leaf = rest.prop_map(move |op| if may_sleep { vec![op] } else { vec![sleep.clone(), Op::Return] });
    leaf.prop_recursive(3, 8, 3, |inner| {
        let call = prop_oneof![
            4 => proptest::sample::select(FUNCTIONS.to_vec()).prop_map(Op::Call),
            2 => proptest::sample::select(vec!["mf", "mg"]).prop_map(Op::Call),
            1 => Just(Op::Interrupt),
        ];
        (call, vec(inner, 0..3)).prop_map(|(call, inner)| {
            let mut ops = vec![call];
            ops.extend(inner.concat());
            ops.push(Op::Return);
            ops
        })
    })
}

/// A task's kind and all that it does.
fn task(forks: u32) -> BoxedStrategy<(Kind, Program)> {
    let kind = prop_oneof![4 => Just(Kind::User), 2 => Just(Kind::Kthread), 1 => Just(Kind::Idle)];
    (kind, 0..10u32)
        .prop_flat_map(move |(kind, exits)| {
            let child = if forks > 0 { task(forks - 1).prop_map(Some).boxed() } else { Just(None).boxed() };
            let part = (calls(kind != Kind::Idle), proptest::option::weighted(0.2, child));
            (Just(kind), vec(part, 1..4), Just(exits))
        })
        .prop_map(|(kind, parts, exits)| {
            let mut ops = Vec::new();
            for (calls, child) in parts {
                let enters = kind == Kind::User;
                ops.extend(enters.then_some(Op::Enter));
                ops.extend(calls);
                if let Some(Some((child, program))) = child
                    && kind != Kind::Idle
                    && child != Kind::Idle
                {
                    // A child of a user task begins on its way out of the kernel.
                    let out = (child == Kind::User).then_some(Op::Leave);
                    ops.push(Op::Fork(child, out.into_iter().chain(program.iter().cloned()).collect()));
                }
                ops.extend(enters.then_some(Op::Leave));
            }
            if kind != Kind::Idle && exits < 3 {
                // Somewhere, in a function or not.
                ops.truncate(ops.len().saturating_sub(usize::try_from(exits).expect("small")));
                ops.push(Op::Exit);
            }
            (kind, Rc::from(ops))
        })
        .boxed()
}

fn model() -> impl Strategy<Value = Model> {
    proptest::sample::select(vec![
        Model::Hybrid,
        Model::Hybrid,
        Model::InThread,
        Model::InTime,
        Model::Checkpoint,
        Model::Immediate,
    ])
}

prop_compose! {
    fn spec(index: usize)(
        vmlinux in proptest::sample::subsequence(FUNCTIONS.to_vec(), 0..=3),
        module in proptest::sample::subsequence(vec!["mf", "mg"], 0..=2),
        cumulative in proptest::bool::weighted(0.3),
        model in model(),
    ) -> Spec {
        let spec = Spec::new(index).vmlinux(&vmlinux).module("m", &module).in_model(model);
        if cumulative { spec.cumulative() } else { spec }
    }
}

fn request() -> impl Strategy<Value = Request> {
    let fault = prop_oneof![
        4 => Just(Fault::Allocation),
        1 => Just(Fault::Arm),
        1 => Just(Fault::PrePatch),
        1 => Just(Fault::Cheaper),
        1 => Just(Fault::Back),
    ];
    prop_oneof![
        6 => (0..PATCHES).prop_map(Request::Enable),
        4 => (0..PATCHES).prop_map(Request::Disable),
        4 => Just(Request::Reverse),
        1 => Just(Request::Force),
        2 => Just(Request::Load("m")),
        1 => Just(Request::Unload("m")),
        1 => Just(Request::Offline),
        1 => Just(Request::Online),
        1 => (fault, 1..8u32).prop_map(|(fault, nth)| Request::Fail(fault, nth)),
    ]
}

prop_compose! {
    fn scenario()(
        specs in (spec(0), spec(1), spec(2), spec(3)),
        enabled in proptest::sample::subsequence(vec![0, 1], 0..=2),
        loaded in any::<bool>(),
        tasks in vec(task(2), 1..5),
        requests in vec(request(), 1..10),
        fine in any::<bool>(),
        interruptions in 0..12usize,
        wake_after in proptest::option::of(0..1_000u64),
    ) -> Scenario {
        let (a, b, c, d) = specs;
        let mut scenario = Scenario::new(vec![a, b, c, d], tasks, requests);
        scenario.enabled = enabled;
        scenario.loaded = if loaded { vec!["m"] } else { Vec::new() };
        scenario.steps = if fine { Steps::Fine } else { Steps::Coarse };
        scenario.interruptions = interruptions;
        scenario.wake_after = wake_after;
        scenario
    }
}

fn choices() -> impl Strategy<Value = Choices> {
    vec(any::<u8>(), 0..200).prop_map(|numbers| Choices::from_numbers(&numbers))
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 16_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn every_promise_is_kept_whatever_happens(scenario in scenario(), choices in choices()) {
        fault::take_pending();
        run(&scenario, &mut choices.clone());
        fault::take_pending();
    }
}
