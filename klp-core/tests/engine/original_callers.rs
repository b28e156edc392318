// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Replacements that call the original function (`KLP_ORIGINAL`).

use klp_core::patch::PatchId;
use klp_core::redirect::MAX_ORIGINAL_CALLERS;

use crate::sim::fault::{self, Fault};
use crate::sim::{Refusal, Spec, World, on_both_architectures};

on_both_architectures!(
    every_patch_of_a_stack_reaches_the_original,
    there_is_room_for_as_many_patches_as_promised,
    a_patch_that_finds_no_room_leaves_no_hook,
    a_draining_patch_keeps_its_place,
    a_draining_patch_takes_no_second_place,
    a_draining_patch_reaches_the_original_below_others,
    a_draining_patch_reaches_the_original_below_a_later_patch,
    a_draining_patch_reaches_the_original_after_it_could_not_be_enabled_again,
    what_was_removed_reaches_nothing_special,
    a_patch_that_was_never_enabled_takes_no_place,
);

fn spec(index: usize) -> Spec {
    Spec::new(index).vmlinux(&["f"]).calling_originals()
}

fn assert_reaches_original<const STUB: bool>(world: &World<STUB>, index: usize) {
    let reached = world.called_from(spec(index).original_call("f"), "f");
    assert_eq!(reached, world.original("f"), "p{index} calls the original");
}

/// As many patches of 'f' as can call the original.
fn full<const STUB: bool>() -> (World<STUB>, Vec<PatchId>) {
    let mut world = World::new();
    let ids = (0..MAX_ORIGINAL_CALLERS).map(|index| world.apply(&spec(index))).collect();
    (world, ids)
}

const TOO_MANY: Refusal = Refusal::TooManyOriginalCallers { func: "f" };

fn every_patch_of_a_stack_reaches_the_original<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.apply(&spec(0));
    world.apply(&Spec::new(1).vmlinux(&["f"]));
    world.apply(&spec(2));
    for index in [0, 2] {
        assert_reaches_original(&world, index);
        let from_elsewhere = world.called_from(spec(index).inside(), "f");
        assert_eq!(from_elsewhere, spec(2).replacement("f"), "only the one function calls the original");
    }
    assert_eq!(world.runs("f"), spec(2).replacement("f"));
}

fn there_is_room_for_as_many_patches_as_promised<const STUB: bool>() {
    let (mut world, _) = full::<STUB>();
    for index in 0..MAX_ORIGINAL_CALLERS {
        assert_reaches_original(&world, index);
    }
    let id = world.add(&spec(MAX_ORIGINAL_CALLERS)).expect("room is asked for when it is enabled");
    let before = world.snapshot();
    assert_eq!(world.enable(id), Err(TOO_MANY));
    world.snapshot().assert_is(&before, "after a refusal");
    world.apply(&Spec::new(7).vmlinux(&["f"]));
    assert_eq!(world.runs("f"), Spec::new(7).vmlinux(&["f"]).replacement("f"), "others need no room");
}

fn a_patch_that_finds_no_room_leaves_no_hook<const STUB: bool>() {
    let (mut world, ids) = full::<STUB>();
    for &id in &ids {
        world.disable(id).expect("it is enabled");
    }
    assert_eq!(world.kernel.hooked_sites(), [], "nothing is redirected");
    let id = world.add(&Spec::new(5).vmlinux(&["g", "f"]).calling_originals()).expect("a good patch");
    let before = world.snapshot();
    assert_eq!(world.enable(id), Err(TOO_MANY));
    world.snapshot().assert_is(&before, "after a refusal");
    for id in ids {
        world.finish(id);
    }
    assert_eq!(world.kernel.hooks(), 0, "the last one takes the hook with it");
    world.enable(id).expect("there is room");
}

fn a_draining_patch_keeps_its_place<const STUB: bool>() {
    let (mut world, ids) = full::<STUB>();
    let next = world.add(&spec(MAX_ORIGINAL_CALLERS)).expect("a good patch");
    world.disable(ids[1]).expect("it is enabled");
    assert_eq!(world.enable(next), Err(TOO_MANY), "a task may still be on its way to the original");
    assert_reaches_original(&world, 1);
    world.finish(ids[1]);
    world.enable(next).expect("there is room");
    for index in [0, 2, 3, MAX_ORIGINAL_CALLERS] {
        assert_reaches_original(&world, index);
    }
}

fn a_draining_patch_takes_no_second_place<const STUB: bool>() {
    let (mut world, ids) = full::<STUB>();
    for _ in 0..3 {
        for (index, &id) in ids.iter().enumerate() {
            world.disable(id).expect("it is enabled");
            world.enable(id).expect("its place is still its own");
            assert_reaches_original(&world, index);
        }
    }
}

fn a_draining_patch_reaches_the_original_below_others<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let id = world.apply(&spec(0));
    world.apply(&spec(1));
    world.disable(id).expect("it is enabled");
    assert_reaches_original(&world, 0);
}

/// Its hook was not needed any more when it was disabled, and is again.
fn a_draining_patch_reaches_the_original_below_a_later_patch<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let id = world.apply(&spec(0));
    world.disable(id).expect("it is enabled");
    assert_eq!(world.kernel.hooked_sites(), []);
    assert_reaches_original(&world, 0);
    let later = world.apply(&spec(1));
    assert_eq!(world.runs("f"), spec(1).replacement("f"));
    assert_reaches_original(&world, 0);
    assert_reaches_original(&world, 1);
    world.finish(id);
    assert_reaches_original(&world, 1);
    world.disable(later).expect("it is enabled");
    world.finish(later);
    assert_eq!(world.kernel.hooks(), 0);
}

fn a_draining_patch_reaches_the_original_after_it_could_not_be_enabled_again<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let two = Spec::new(0).vmlinux(&["f", "g"]).calling_originals();
    let id = world.apply(&two);
    world.apply(&spec(1));
    world.disable(id).expect("it is enabled");
    fault::fail_nth(Fault::Arm, 1);
    assert!(matches!(world.enable(id), Err(Refusal::Hook { func: "g", .. })));
    assert_reaches_original(&world, 0);
}

fn what_was_removed_reaches_nothing_special<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let id = world.apply(&spec(0));
    world.apply(&spec(1));
    world.disable(id).expect("it is enabled");
    world.finish(id);
    let reached = world.called_from(spec(0).original_call("f"), "f");
    assert_eq!(reached, spec(1).replacement("f"), "its text may be another module's now");
}

fn a_patch_that_was_never_enabled_takes_no_place<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let waiting: Vec<_> = (4..8).map(|index| world.add(&spec(index)).expect("a good patch")).collect();
    for index in 0..MAX_ORIGINAL_CALLERS {
        world.apply(&spec(index));
    }
    for id in waiting {
        assert_eq!(world.enable(id), Err(TOO_MANY));
        world.remove(id).expect("it is not enabled");
    }
    for index in 0..MAX_ORIGINAL_CALLERS {
        assert_reaches_original(&world, index);
    }
}
