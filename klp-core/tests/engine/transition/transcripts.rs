// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the log says and which callbacks run, on every path, in order. Not what was seen, but what `__klp_enable_patch`,
//! `__klp_disable_patch`, `klp_module_coming`, `klp_cleanup_module_patches_limited` in `kernel/livepatch/core.c` and
//! `klp_complete_transition`, `klp_reverse_transition`, `klp_force_transition` in `transition.c` do; where ours differs, the
//! test says so.

use klp_core::patch::{Model, PatchId};
use klp_core::platform::{Callback, Level};

use crate::sim::fault::{self, Fault};
use crate::sim::kernel::Event;
use crate::sim::{Spec, World};

mod modules;

/// A kernel with the module 'm', and a patch of vmlinux, 'm' and 'n'.
fn world() -> World<false> {
    let mut world = World::new();
    world.load("m").expect("nobody patches it");
    world
}

fn spec(index: usize) -> Spec {
    let spec = Spec::new(index).vmlinux(&["f"]).module("m", &["mf"]).module("n", &["nf"]);
    spec.in_model(Model::Hybrid)
}

/// Puts a task where it holds transitions of [`spec`] up, until it is [released](release).
fn hold(world: &World<false>) {
    let inside = [world.original("f") + 8, world.runs("f") + 8];
    world.kernel.spawn(1, &inside);
}

fn release(world: &mut World<false>) {
    world.kernel.kill(1);
    assert!(!world.advance(), "nobody holds it up");
}

/// The patch is enabled, and nobody has looked yet.
fn enabled() -> (World<false>, PatchId) {
    let mut world = world();
    let id = world.apply(&spec(0));
    world.kernel.take_events();
    (world, id)
}

/// The patch is being enabled, and a task holds that up.
fn enabling() -> (World<false>, PatchId) {
    let mut world = world();
    hold(&world);
    let id = world.apply(&spec(0));
    world.kernel.take_events();
    (world, id)
}

/// The patch is being disabled, and a task holds that up.
fn disabling() -> (World<false>, PatchId) {
    let (mut world, id) = enabled();
    hold(&world);
    world.disable(id).expect("it is enabled");
    world.kernel.take_events();
    (world, id)
}

/// The patch takes the place of an enabled one, and a task holds that up.
fn replacing() -> (World<false>, PatchId) {
    let (mut world, _) = enabled();
    hold(&world);
    let id = world.apply(&spec(1).cumulative());
    world.kernel.take_events();
    (world, id)
}

/// A transition that was turned around, which a task that was born meanwhile holds up, until it is [released](release).
fn reversed((mut world, id): (World<false>, PatchId)) -> (World<false>, PatchId) {
    let inside = [world.runs("f") + 8];
    world.kernel.kill(1);
    world.kernel.spawn(1, &inside);
    world.reverse(id).expect("it is in transition");
    assert!(world.advance(), "it is held up");
    world.kernel.take_events();
    (world, id)
}

fn transcript(world: &World<false>) -> String {
    let line = |event| match event {
        Event::Log(level, text) => {
            let first = text.lines().next().unwrap_or_default();
            let level = match level {
                Level::Error => "err",
                Level::Warning => "warn",
                Level::Notice => "notice",
                Level::Debug => "debug",
                Level::Hint => "hint",
            };
            format!("{level}: {first}\n")
        }
        Event::Callback((patch, object), which) => {
            let which = match which {
                Callback::PrePatch => "pre_patch",
                Callback::PostPatch => "post_patch",
                Callback::PreUnpatch => "pre_unpatch",
                Callback::PostUnpatch => "post_unpatch",
            };
            format!("  {which} {patch} {}\n", object.unwrap_or("vmlinux"))
        }
    };
    world.kernel.take_events().into_iter().map(line).collect()
}

#[test]
fn enable() {
    let mut world = world();
    world.apply(&spec(0));
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p0'
    debug: 'p0': initializing patching transition
      pre_patch p0 vmlinux
      pre_patch p0 m
    notice: 'p0': starting patching transition
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
}

#[test]
fn disable() {
    let (mut world, id) = enabled();
    world.disable(id).expect("it is enabled");
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': initializing unpatching transition
      pre_unpatch p0 vmlinux
      pre_unpatch p0 m
    notice: 'p0': starting unpatching transition
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 m
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn enable_reversed() {
    let (mut world, id) = enabling();
    world.reverse(id).expect("it is in transition");
    world.advance();
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': reversing transition from patching to unpatching
    notice: 'p0': starting unpatching transition
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 m
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn disable_reversed() {
    let (mut world, id) = disabling();
    world.reverse(id).expect("it is in transition");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': reversing transition from unpatching to patching
    notice: 'p0': starting patching transition
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
}

#[test]
fn enable_forced() {
    let (mut world, id) = enabling();
    world.force(id).expect("it is in transition");
    insta::assert_snapshot!(transcript(&world), @r"
    warn: forcing remaining tasks to the patched state
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
}

/// The kernel completes at once, and never lets the module go; ours completes when the module can go.
#[test]
fn disable_forced() {
    let (mut world, id) = disabling();
    world.force(id).expect("it is in transition");
    insta::assert_snapshot!(transcript(&world), @"warn: forcing remaining tasks to the patched state");
    world.kernel.kill(1);
    world.finish(id);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 m
    notice: 'p0': unpatching complete
    ");
}

/// "Any callbacks from the replaced patches are ignored" (Documentation/livepatch/cumulative-patches.rst).
#[test]
fn replace() {
    let (mut world, _) = enabled();
    world.apply(&spec(1).cumulative());
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p1'
    debug: 'p1': initializing patching transition
      pre_patch p1 vmlinux
      pre_patch p1 m
    notice: 'p1': starting patching transition
    debug: 'p1': completing patching transition
      post_patch p1 vmlinux
      post_patch p1 m
    notice: 'p1': patching complete
    ");
}

#[test]
fn replace_reversed() {
    let (mut world, id) = replacing();
    world.reverse(id).expect("it is in transition");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p1': reversing transition from patching to unpatching
    notice: 'p1': starting unpatching transition
    debug: 'p1': completing unpatching transition
      post_unpatch p1 vmlinux
      post_unpatch p1 m
    notice: 'p1': unpatching complete
    ");
}

#[test]
fn a_pre_patch_callback_refuses() {
    let mut world = world();
    let id = world.add(&spec(0)).expect("a good patch");
    fault::fail_nth(Fault::PrePatch, 2);
    world.enable(id).expect_err("it refuses");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p0'
    debug: 'p0': initializing patching transition
      pre_patch p0 vmlinux
      pre_patch p0 m
    warn: pre-patch callback failed for object 'm'
    warn: failed to enable patch 'p0'
    debug: 'p0': canceling patching transition, going to unpatch
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn ftrace_refuses() {
    let mut world = world();
    let id = world.add(&spec(0)).expect("a good patch");
    world.kernel.occupy(world.original("mf"));
    world.enable(id).expect_err("it refuses");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p0'
    debug: 'p0': initializing patching transition
      pre_patch p0 vmlinux
      pre_patch p0 m
    err: failed to register ftrace handler for function 'mf' (-16)
    warn: failed to patch object 'm'
    warn: failed to enable patch 'p0'
    debug: 'p0': canceling patching transition, going to unpatch
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 m
    notice: 'p0': unpatching complete
    ");
}

/// As `klp_send_signals`: the kernel counts attempts, about one a second, ours takes the time.
#[test]
fn tasks_are_woken() {
    let (mut world, _) = enabling();
    for _ in 0..14 {
        world.kernel.pass(1_000);
        world.advance();
    }
    insta::assert_snapshot!(transcript(&world), @"");
    for _ in 0..30 {
        world.kernel.pass(1_000);
        world.advance();
    }
    insta::assert_snapshot!(transcript(&world), @"notice: signaling remaining tasks");
}

/// In the immediate model nothing is waited for; the module drains before it goes.
#[test]
fn immediate() {
    let mut world = world();
    let id = world.apply(&spec(0).in_model(Model::Immediate));
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p0'
    debug: 'p0': initializing patching transition
      pre_patch p0 vmlinux
      pre_patch p0 m
    notice: 'p0': starting patching transition
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
    world.disable(id).expect("it is enabled");
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': initializing unpatching transition
      pre_unpatch p0 vmlinux
      pre_unpatch p0 m
    notice: 'p0': starting unpatching transition
    ");
    world.unload("m");
    world.finish(id);
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn enable_reversed_twice() {
    let (mut world, id) = reversed(enabling());
    world.reverse(id).expect("it is in transition");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': reversing transition from unpatching to patching
    notice: 'p0': starting patching transition
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
}

#[test]
fn replace_forced() {
    let (mut world, id) = replacing();
    world.force(id).expect("it is in transition");
    insta::assert_snapshot!(transcript(&world), @r"
    warn: forcing remaining tasks to the patched state
    debug: 'p1': completing patching transition
      post_patch p1 vmlinux
      post_patch p1 m
    notice: 'p1': patching complete
    ");
    let replaced = world.engine.patches().iter().find(|patch| patch.name == "p0").expect("it drains").id();
    world.kernel.kill(1);
    world.finish(replaced);
    insta::assert_snapshot!(transcript(&world), @"");
}

/// Ours only, since the kernel has no patch that drains: what the pre-patch callbacks set up is still there.
#[test]
fn enable_before_it_has_drained() {
    let (mut world, id) = disabling();
    world.force(id).expect("it is in transition");
    world.kernel.kill(1);
    world.kernel.take_events();
    world.enable(id).expect("it drains");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: enabling patch 'p0'
    debug: 'p0': initializing patching transition
    notice: 'p0': starting patching transition
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
    notice: 'p0': patching complete
    ");
}
