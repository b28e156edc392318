// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Patches on top of each other: the top-most enabled replacement runs.

use klp_core::patch::State;
use klp_core::platform::Callback;

use crate::sim::{FUNCTIONS, Spec, World, on_both_architectures};

on_both_architectures!(
    every_order_of_enabling_and_of_disabling,
    every_sequence_of_enabling_and_disabling,
    a_cumulative_patch_takes_the_place_of_all_others,
    a_cumulative_patch_uncovers_functions_only_to_their_originals,
    a_patch_on_top_of_a_cumulative_one_covers_it,
    a_replaced_patch_can_come_back_on_top,
);

/// All orders of the numbers below `n`.
fn permutations(n: usize) -> Vec<Vec<usize>> {
    if n == 0 {
        return vec![Vec::new()];
    }
    let shorter = permutations(n - 1);
    let insert = |rest: &Vec<usize>, at: usize| {
        let mut longer = rest.clone();
        longer.insert(at, n - 1);
        longer
    };
    shorter.iter().flat_map(|rest| (0..n).map(move |at| insert(rest, at))).collect()
}

/// Some of [`FUNCTIONS`], one bit each.
fn functions(mask: usize) -> Vec<&'static str> {
    FUNCTIONS.into_iter().enumerate().filter(|(bit, _)| mask >> bit & 1 == 1).map(|(_, name)| name).collect()
}

fn assert_top_most_runs<const STUB: bool>(world: &World<STUB>, enabled: &[&Spec]) {
    for name in FUNCTIONS {
        assert_eq!(world.runs(name), world.top_most(enabled, name), "'{name}' under {enabled:?}");
    }
    let hooked = FUNCTIONS.iter().filter(|name| enabled.iter().any(|spec| spec.patches(name))).count();
    assert_eq!(world.kernel.hooked_sites().len(), hooked, "hooked is what is patched");
}

fn every_order_of_enabling_and_of_disabling<const STUB: bool>() {
    for n in 1..=4 {
        let specs: Vec<Spec> = (0..n).map(|index| Spec::new(index).vmlinux(&FUNCTIONS)).collect();
        for enabling in permutations(n) {
            for disabling in permutations(n) {
                let mut world = World::<STUB>::new();
                let ids: Vec<_> = specs.iter().map(|spec| world.add(spec).expect("a good patch")).collect();
                let mut enabled = Vec::new();
                for &index in &enabling {
                    world.enable(ids[index]).expect("nothing is in the way");
                    enabled.push(&specs[index]);
                    assert_top_most_runs(&world, &enabled);
                }
                for &index in &disabling {
                    world.disable(ids[index]).expect("it is enabled");
                    enabled.retain(|spec| spec.name != specs[index].name);
                    assert_top_most_runs(&world, &enabled);
                    world.finish(ids[index]);
                }
                assert_eq!((world.kernel.hooks(), world.engine.patches().len()), (0, 0), "nothing is left");
            }
        }
    }
}

/// The order of enabling is fixed: another order is the same as other sets.
#[test]
fn every_choice_of_functions_for_every_patch() {
    const SETS: usize = 7;
    for n in 1..=4 {
        let disablings = permutations(n);
        for choice in 0..SETS.pow(u32::try_from(n).expect("small")) {
            let set = |index| choice / SETS.pow(u32::try_from(index).expect("small")) % SETS + 1;
            let specs: Vec<Spec> =
                (0..n).map(|index| Spec::new(index).vmlinux(&functions(set(index)))).collect();
            for disabling in &disablings {
                let mut world = World::<false>::new();
                let ids: Vec<_> = specs.iter().map(|spec| world.apply(spec)).collect();
                let mut enabled: Vec<_> = specs.iter().collect();
                assert_top_most_runs(&world, &enabled);
                for &index in disabling {
                    world.disable(ids[index]).expect("it is enabled");
                    enabled.retain(|spec| spec.name != specs[index].name);
                    assert_top_most_runs(&world, &enabled);
                }
                assert_eq!(world.kernel.hooks(), 0, "no hook is left");
            }
        }
    }
}

fn every_sequence_of_enabling_and_disabling<const STUB: bool>() {
    const STEPS: u32 = 7;
    let specs: Vec<Spec> = [0b001, 0b011, 0b110, 0b111]
        .into_iter()
        .enumerate()
        .map(|(index, set)| Spec::new(index).vmlinux(&functions(set)))
        .collect();
    for sequence in 0..specs.len().pow(STEPS) {
        let mut world = World::<STUB>::new();
        let ids: Vec<_> = specs.iter().map(|spec| world.add(spec).expect("a good patch")).collect();
        let mut enabled: Vec<&Spec> = Vec::new();
        for step in 0..STEPS {
            let index = sequence / specs.len().pow(step) % specs.len();
            let position = enabled.iter().position(|spec| spec.name == specs[index].name);
            if let Some(position) = position {
                world.disable(ids[index]).expect("it is enabled");
                enabled.remove(position);
            } else {
                world.enable(ids[index]).expect("it is not enabled");
                enabled.push(&specs[index]);
            }
            assert_top_most_runs(&world, &enabled);
        }
        let order: Vec<_> = world
            .engine
            .patches()
            .iter()
            .filter(|patch| patch.state() == State::Enabled)
            .map(|patch| patch.name)
            .collect();
        assert_eq!(order, enabled.iter().map(|spec| spec.name).collect::<Vec<_>>(), "the list is the stack");
    }
}

fn a_cumulative_patch_takes_the_place_of_all_others<const STUB: bool>() {
    for below in 0..=3 {
        let mut world = World::<STUB>::new();
        let ids: Vec<_> =
            (0..below).map(|index| world.apply(&Spec::new(index).vmlinux(&FUNCTIONS))).collect();
        let ready = world.add(&Spec::new(6).vmlinux(&["f"])).expect("a good patch");
        let cumulative = Spec::new(7).vmlinux(&FUNCTIONS).cumulative();
        let id = world.apply(&cumulative);
        assert_top_most_runs(&world, &[&cumulative]);
        assert_eq!((world.state(id), world.state(ready)), (State::Enabled, State::Ready));
        for id in ids {
            assert_eq!(world.state(id), State::Draining);
            world.finish(id);
        }
        assert_top_most_runs(&world, &[&cumulative]);
        world.disable(id).expect("it is enabled");
        assert_top_most_runs(&world, &[]);
    }
}

fn a_cumulative_patch_uncovers_functions_only_to_their_originals<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    for index in 0..3 {
        world.apply(&Spec::new(index).vmlinux(&FUNCTIONS));
    }
    let cumulative = Spec::new(3).vmlinux(&["g"]).cumulative();
    let id = world.add(&cumulative).expect("a good patch");
    let kernel = world.kernel.clone();
    let (f, top) = (world.original("f"), world.runs("f"));
    world.kernel.watch(move |_| {
        let runs = crate::sim::Thread::new(&kernel).call(crate::sim::ANYBODY, f);
        assert!(
            [f, top].contains(&runs),
            "on its way down 'f' runs a replacement that was covered: {runs:#x}"
        );
    });
    world.enable(id).expect("nothing is in the way");
    world.kernel.stop_watching();
    assert_top_most_runs(&world, &[&cumulative]);
}

fn a_patch_on_top_of_a_cumulative_one_covers_it<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let cumulative = Spec::new(0).vmlinux(&FUNCTIONS).cumulative();
    let plain = Spec::new(1).vmlinux(&["f", "h"]);
    let bottom = world.apply(&cumulative);
    let top = world.apply(&plain);
    assert_top_most_runs(&world, &[&cumulative, &plain]);
    assert_eq!(world.state(bottom), State::Enabled);
    world.disable(bottom).expect("it is enabled");
    assert_top_most_runs(&world, &[&plain]);
    world.enable(bottom).expect("it is draining");
    assert_top_most_runs(&world, &[&cumulative]);
    assert_eq!(world.state(top), State::Draining, "enabled again, it replaces again");
}

fn a_replaced_patch_can_come_back_on_top<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let (old, new) = (Spec::new(0).vmlinux(&["f", "g"]), Spec::new(1).vmlinux(&["g", "h"]).cumulative());
    let id = world.apply(&old);
    world.apply(&new);
    world.kernel.take_callbacks();
    world.enable(id).expect("it is draining");
    assert_top_most_runs(&world, &[&new, &old]);
    assert_eq!(world.order(), ["p1", "p0"]);
    let expected = [Callback::PrePatch, Callback::PostPatch].map(|which| (("p0", None), which));
    assert_eq!(world.kernel.take_callbacks(), expected);
}
