// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Calls through the shipped call path, nested as tasks nest them.

use klp_core::return_stack::{FRAME_WORDS, FRAMES, MAX_WORDS, RED_ZONE};

use crate::sim::{ANYBODY, FUNCTIONS, Spec, Thread, World};

/// Calls 'f' until a call is not redirected; returns how many were, with the task still in all of them.
fn fill(world: &World<true>, thread: &mut Thread<'_, true>) -> usize {
    let (f, replacement) = (world.original("f"), world.runs("f"));
    let mut redirected = 0;
    while thread.enter(ANYBODY, f) == replacement {
        redirected += 1;
        assert_eq!(thread.frames(), redirected);
    }
    assert_eq!(thread.frames(), redirected, "a call that is not redirected has no frame");
    redirected
}

fn patched() -> World<true> {
    let mut world = World::new();
    world.apply(&Spec::new(0).vmlinux(&["f", "g"]));
    world
}

#[test]
fn a_call_that_finds_the_return_stack_full_runs_the_original_and_is_counted() {
    let world = patched();
    let mut thread = Thread::new(&world.kernel);
    thread.frame_size = 16;
    assert_eq!(world.engine.missed_calls(), 0);
    let redirected = fill(&world, &mut thread);
    assert_eq!(redirected, (MAX_WORDS - FRAMES) / FRAME_WORDS, "until the words are used up");
    assert_eq!(world.engine.missed_calls(), 1);
    let g = world.original("g");
    assert_eq!(thread.call(ANYBODY, g), g, "whatever the function");
    assert_eq!(world.engine.missed_calls(), 2, "over all functions");
    thread.leave();
    thread.leave();
    assert_eq!(thread.call(ANYBODY, g), world.runs("g"), "there is room again");
    assert_eq!(world.engine.missed_calls(), 2);
    for _ in 1..redirected {
        thread.leave();
    }
    assert_eq!(thread.frames(), 0, "every call found its way back");
}

#[test]
fn a_call_that_comes_near_the_machine_stack_runs_the_original_and_is_counted() {
    let world = patched();
    let mut thread = Thread::new(&world.kernel);
    thread.frame_size = 0x200;
    let redirected = fill(&world, &mut thread);
    let next_end = 8 * (FRAMES + (redirected + 1) * FRAME_WORDS) as u64;
    assert!(thread.stack_left() < next_end + RED_ZONE, "it would have come too near");
    assert!(thread.stack_left() + thread.frame_size >= next_end - 8 * FRAME_WORDS as u64 + RED_ZONE);
    assert_eq!(world.engine.missed_calls(), 1);
}

#[test]
fn where_nothing_returns_through_a_stub_no_depth_is_too_deep() {
    let mut world = World::<false>::new();
    let spec = Spec::new(0).vmlinux(&["f"]);
    world.apply(&spec);
    let mut thread = Thread::new(&world.kernel);
    thread.frame_size = 16;
    let f = world.original("f");
    for _ in 0..900 {
        assert_eq!(thread.enter(ANYBODY, f), spec.replacement("f"));
    }
    assert_eq!(world.engine.missed_calls(), 0);
}

#[test]
fn a_replacement_that_calls_the_original_needs_one_frame() {
    let mut world = World::<true>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).calling_originals();
    world.apply(&spec);
    let f = world.original("f");
    let mut thread = Thread::new(&world.kernel);
    assert_eq!(thread.enter(ANYBODY, f), spec.replacement("f"));
    assert_eq!(thread.enter(spec.original_call("f"), f), f);
    assert_eq!(thread.frames(), 1);
    thread.leave();
    thread.leave();
    assert_eq!(thread.frames(), 0);
}

#[test]
fn calls_return_where_they_came_from_while_patches_change() {
    let mut world = World::<true>::new();
    let specs = [0, 1, 2].map(|index| Spec::new(index).vmlinux(&FUNCTIONS));
    let kernel = world.kernel.clone();
    let mut thread = Thread::new(&kernel);
    let mut enabled = Vec::new();
    let mut ids = Vec::new();
    for (depth, spec) in specs.iter().enumerate() {
        ids.push(world.apply(spec));
        enabled.push(spec);
        for (index, name) in FUNCTIONS.into_iter().enumerate() {
            let caller = ANYBODY + 0x10 * (depth * FUNCTIONS.len() + index) as u64;
            assert_eq!(thread.enter(caller, world.original(name)), world.top_most(&enabled, name));
        }
    }
    for id in ids {
        world.disable(id).expect("it is enabled");
    }
    assert_eq!(world.kernel.hooked_sites(), []);
    for _ in 0..specs.len() * FUNCTIONS.len() {
        thread.leave();
    }
    assert_eq!(thread.frames(), 0, "all calls returned through the stub to their own callers");
}
