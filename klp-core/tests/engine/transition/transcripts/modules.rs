// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Modules that come and go, in every state of a patch.

use klp_core::patch::{Model, State};

use super::{disabling, enabled, enabling, hold, release, replacing, reversed, spec, transcript, world};
use crate::sim::Spec;
use crate::sim::fault::{self, Fault};

#[test]
fn a_module_comes_to_an_enabled_patch() {
    let (mut world, _) = enabled();
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    ");
}

#[test]
fn a_module_goes_from_enabled_patches() {
    let (mut world, _) = enabled();
    world.apply(&spec(1));
    world.kernel.take_events();
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
      pre_unpatch p0 m
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
      pre_unpatch p1 m
    notice: reverting patch 'p1' on unloading module 'm'
      post_unpatch p1 m
    ");
}

#[test]
fn modules_come_and_go_while_a_patch_is_being_enabled() {
    let (mut world, _) = enabling();
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 n
    notice: 'p0': patching complete
    ");
}

#[test]
fn modules_come_and_go_while_a_patch_is_being_disabled() {
    let (mut world, _) = disabling();
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 n
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn a_module_comes_to_an_enabled_patch_below_the_one_in_transition() {
    let (mut world, _) = enabled();
    hold(&world);
    world.apply(&spec(1));
    world.kernel.take_events();
    world.load("n").expect("it has what the patches need");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
    ");
}

#[test]
fn a_module_is_refused_by_the_second_patchs_pre_patch_callback() {
    let (mut world, _) = enabled();
    world.apply(&spec(1));
    world.apply(&spec(2));
    world.kernel.take_events();
    fault::fail_nth(Fault::PrePatch, 2);
    world.load("n").expect_err("it is refused");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
    warn: pre-patch callback failed for object 'n'
    warn: patch 'p1' failed for module 'n', refusing to load module 'n'
      pre_unpatch p0 n
    notice: reverting patch 'p0' on unloading module 'n'
      post_unpatch p0 n
    ");
}

#[test]
fn a_module_is_refused_because_ftrace_refuses() {
    let (mut world, _) = enabled();
    fault::fail_nth(Fault::Arm, 1);
    world.load("n").expect_err("it is refused");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    err: failed to register ftrace handler for function 'nf' (-12)
    warn: failed to apply patch 'p0' to module 'n' (-12)
      post_unpatch p0 n
    warn: patch 'p0' failed for module 'n', refusing to load module 'n'
    ");
}

#[test]
fn a_module_is_refused_since_it_lacks_the_function() {
    let mut world = world();
    world.apply(&Spec::new(0).module("n", &["missing"]).in_model(Model::Hybrid));
    world.kernel.take_events();
    world.load("n").expect_err("it is refused");
    insta::assert_snapshot!(transcript(&world), @r"
    err: symbol 'missing' not found in symbol table
    warn: failed to initialize patch 'p0' for module 'n' (-22)
    warn: patch 'p0' failed for module 'n', refusing to load module 'n'
    ");
}

#[test]
fn modules_come_and_go_before_a_patch_is_enabled() {
    let mut world = world();
    world.add(&spec(0)).expect("a good patch");
    world.load("n").expect("nobody patches it");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @"");
}

#[test]
fn modules_come_and_go_while_a_patch_is_no_longer_being_enabled() {
    let (mut world, _) = reversed(enabling());
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
      post_unpatch p0 n
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn modules_come_and_go_while_a_patch_is_no_longer_being_disabled() {
    let (mut world, _) = reversed(disabling());
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 n
    notice: 'p0': patching complete
    ");
}

#[test]
fn modules_come_and_go_while_a_patch_is_being_replaced() {
    let (mut world, _) = replacing();
    world.load("n").expect("it has what the patches need");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
      pre_unpatch p0 m
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    notice: reverting patch 'p1' on unloading module 'm'
      post_unpatch p1 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p1': completing patching transition
      post_patch p1 vmlinux
      post_patch p1 n
    notice: 'p1': patching complete
    ");
}

#[test]
fn modules_come_and_go_while_a_patch_is_no_longer_being_replaced() {
    let (mut world, _) = reversed(replacing());
    world.load("n").expect("it has what the patches need");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
      pre_unpatch p0 m
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    notice: reverting patch 'p1' on unloading module 'm'
      post_unpatch p1 m
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p1': completing unpatching transition
      post_unpatch p1 vmlinux
      post_unpatch p1 n
    notice: 'p1': unpatching complete
    ");
}

/// The kernel knows of the patch no more: its callbacks have run. Ours runs them when nobody needs what they free.
#[test]
fn modules_come_and_go_while_a_patch_drains() {
    let (mut world, id) = disabling();
    world.force(id).expect("it is in transition");
    world.kernel.take_events();
    world.load("n").expect("nobody patches it any more");
    insta::assert_snapshot!(transcript(&world), @"");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: reverting patch 'p0' on unloading module 'm'
      post_unpatch p0 m
    ");
    world.kernel.kill(1);
    world.finish(id);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing unpatching transition
      post_unpatch p0 vmlinux
    notice: 'p0': unpatching complete
    ");
}

#[test]
fn modules_come_and_go_while_a_replaced_patch_drains() {
    let (mut world, id) = replacing();
    world.force(id).expect("it is in transition");
    assert!(world.engine.patches().iter().any(|patch| patch.state() == State::Draining));
    world.kernel.take_events();
    world.load("n").expect("it has what the patch needs");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
      post_patch p1 n
    ");
    world.unload("m");
    insta::assert_snapshot!(transcript(&world), @r"
      pre_unpatch p1 m
    notice: reverting patch 'p1' on unloading module 'm'
      post_unpatch p1 m
    ");
}

/// The kernel has no such moment: a module is one to be patched from before its init function runs.
#[test]
fn a_module_is_live_that_came_before_a_patch_was_enabled() {
    let mut world = world();
    world.come("n").expect("nobody patches it");
    hold(&world);
    let id = world.apply(&spec(0));
    world.kernel.take_events();
    world.go_live("n");
    assert_eq!(world.runs("nf"), spec(0).replacement("nf"), "a task that is born has it");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
    ");
    release(&mut world);
    insta::assert_snapshot!(transcript(&world), @r"
    debug: 'p0': completing patching transition
      post_patch p0 vmlinux
      post_patch p0 m
      post_patch p0 n
    notice: 'p0': patching complete
    ");
    world.unload("n");
    world.disable(id).expect("it is enabled");
    world.come("n").expect("nobody patches it");
    world.enable(id).expect("nothing is in the way");
    world.kernel.take_events();
    world.go_live("n");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    ");
}

#[test]
fn a_module_is_refused_by_the_pre_patch_callback_of_the_patch_in_transition() {
    let (mut world, _) = replacing();
    fault::fail_nth(Fault::PrePatch, 2);
    world.load("n").expect_err("it is refused");
    insta::assert_snapshot!(transcript(&world), @r"
    notice: applying patch 'p0' to loading module 'n'
      pre_patch p0 n
      post_patch p0 n
    notice: applying patch 'p1' to loading module 'n'
      pre_patch p1 n
    warn: pre-patch callback failed for object 'n'
    warn: patch 'p1' failed for module 'n', refusing to load module 'n'
      pre_unpatch p0 n
    notice: reverting patch 'p0' on unloading module 'n'
      post_unpatch p0 n
    ");
}
