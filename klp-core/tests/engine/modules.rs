// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Modules that come and go under enabled patches.

use klp_core::patch::State;

use crate::sim::fault::{self, Fault};
use crate::sim::{Refusal, Spec, World, on_both_architectures};

on_both_architectures!(
    a_module_is_patched_when_it_comes_and_let_go_when_it_goes,
    a_module_runs_the_top_most_of_several_patches,
    a_patch_enabled_after_the_module_came_patches_it,
    a_draining_patch_enabled_again_patches_a_module_that_came_meanwhile,
    a_disabled_patch_leaves_a_coming_module_alone,
    a_module_goes_under_a_draining_patch,
    a_refused_module_leaves_nothing_behind,
    a_module_without_the_function_is_refused,
    a_patch_of_a_module_that_lacks_the_function_is_refused,
    a_module_that_comes_back_elsewhere_is_found_there,
    an_object_named_twice_is_refused,
);

fn a_module_is_patched_when_it_comes_and_let_go_when_it_goes<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]);
    let id = world.apply(&spec);
    let before = world.snapshot();
    world.take_log();
    world.load("m").expect("it has what the patch needs");
    assert_eq!(world.runs("mf"), spec.replacement("mf"));
    assert_eq!(world.runs("mg"), world.original("mg"));
    world.unload("m");
    world.snapshot().assert_is(&before, "after the module came and went");
    let log = ["applying patch 'p0' to loading module 'm'", "reverting patch 'p0' on unloading module 'm'"];
    assert_eq!(world.take_log(), log);
    world.disable(id).expect("it is enabled");
    world.finish(id);
    assert_eq!(world.kernel.hooks(), 0);
}

fn a_module_runs_the_top_most_of_several_patches<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let bottom = Spec::new(0).module("m", &["mf", "mg"]);
    let middle = Spec::new(1).vmlinux(&["f"]).module("m", &["mf"]);
    let top = Spec::new(2).module("n", &["nf"]);
    let [bottom_id, middle_id, _] = [&bottom, &middle, &top].map(|spec| world.apply(spec));
    world.load("m").expect("it has what the patches need");
    assert_eq!(world.runs("mf"), middle.replacement("mf"));
    assert_eq!(world.runs("mg"), bottom.replacement("mg"));
    world.disable(middle_id).expect("it is enabled");
    assert_eq!(world.runs("mf"), bottom.replacement("mf"));
    world.unload("m");
    world.enable(middle_id).expect("it is draining");
    world.disable(bottom_id).expect("it is enabled");
    world.enable(bottom_id).expect("it is draining");
    world.load("m").expect("it has what the patches need");
    assert_eq!(world.runs("mf"), bottom.replacement("mf"), "the order is that of enabling, not of adding");
}

fn a_patch_enabled_after_the_module_came_patches_it<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).module("m", &["mf"]);
    let id = world.add(&spec).expect("a module that is not loaded is no error");
    world.load("m").expect("the patch is not enabled");
    assert_eq!(world.runs("mf"), world.original("mf"));
    world.enable(id).expect("the module has what the patch needs");
    assert_eq!(world.runs("mf"), spec.replacement("mf"));
}

fn a_draining_patch_enabled_again_patches_a_module_that_came_meanwhile<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]).calling_originals();
    let id = world.apply(&spec);
    world.disable(id).expect("it is enabled");
    world.load("m").expect("the patch is not enabled");
    let before = world.snapshot();
    fault::fail_nth(Fault::Arm, 1);
    assert!(world.enable(id).is_err());
    world.snapshot().assert_is(&before, "after a refusal");
    world.enable(id).expect("the module has what the patch needs");
    assert_eq!(world.runs("mf"), spec.replacement("mf"));
    assert_eq!(world.called_from(spec.original_call("mf"), "mf"), world.original("mf"));
}

fn a_disabled_patch_leaves_a_coming_module_alone<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let id = world.apply(&Spec::new(0).module("m", &["mf"]));
    world.disable(id).expect("it is enabled");
    world.load("m").expect("the patch is not enabled");
    assert_eq!(world.runs("mf"), world.original("mf"));
    world.unload("m");
    world.finish(id);
    assert_eq!(world.kernel.hooks(), 0);
}

fn a_module_goes_under_a_draining_patch<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.load("m").expect("nobody patches it");
    let draining = Spec::new(0).module("m", &["mf"]).calling_originals();
    let other = Spec::new(1).module("m", &["mf"]).calling_originals();
    let (id, _) = (world.apply(&draining), world.apply(&other));
    world.disable(id).expect("it is enabled");
    world.unload("m");
    assert_eq!(world.kernel.hooks(), 0, "nothing refers to text that is gone");
    world.load("m").expect("it has what the patch needs");
    assert_eq!(world.runs("mf"), other.replacement("mf"));
    assert_eq!(world.state(id), State::Draining);
    world.finish(id);
    assert_eq!(world.called_from(other.original_call("mf"), "mf"), world.original("mf"));
}

fn a_refused_module_leaves_nothing_behind<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.apply(&Spec::new(0).module("m", &["mf", "mg"]));
    world.apply(&Spec::new(1).module("m", &["mf", "missing"]));
    world.apply(&Spec::new(2).module("m", &["mf"]));
    let before = world.snapshot();
    world.take_log();
    let refused = Refusal::SymbolNotFound { object: Some("m"), func: "missing" };
    for _ in 0..2 {
        assert_eq!(world.load("m"), Err(refused));
        world.snapshot().assert_is(&before, "after a refusal");
        let log = [
            "applying patch 'p0' to loading module 'm'".to_string(),
            refused.to_string(),
            "failed to initialize patch 'p1' for module 'm' (-22)".to_string(),
            "patch 'p1' failed for module 'm', refusing to load module 'm'".to_string(),
            "reverting patch 'p0' on unloading module 'm'".to_string(),
        ];
        assert_eq!(world.take_log(), log);
    }
}

fn a_module_without_the_function_is_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let id = world.apply(&Spec::new(0).module("m", &["missing"]));
    let refused = Refusal::SymbolNotFound { object: Some("m"), func: "missing" };
    assert_eq!(world.load("m"), Err(refused));
    world.disable(id).expect("it is enabled");
    world.load("m").expect("nobody patches it any more");
    let before = world.snapshot();
    assert_eq!(world.enable(id), Err(refused));
    world.snapshot().assert_is(&before, "after a refusal");
}

fn a_patch_of_a_module_that_lacks_the_function_is_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.load("m").expect("nobody patches it");
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf", "missing"]);
    let refused = Refusal::SymbolNotFound { object: Some("m"), func: "missing" };
    assert_eq!(world.add(&spec), Err(refused));
    assert_eq!(world.engine.patches().len(), 0);
    assert_eq!(world.kernel.hooks(), 0);
}

fn a_module_that_comes_back_elsewhere_is_found_there<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.load("m").expect("nobody patches it");
    let spec = Spec::new(0).module("m", &["mf"]);
    let id = world.add(&spec).expect("a good patch");
    let first = world.original("mf");
    world.unload("m");
    world.load("m").expect("the patch is not enabled");
    assert_ne!(world.original("mf"), first, "the test needs another address");
    world.enable(id).expect("the module has what the patch needs");
    assert_eq!(world.runs("mf"), spec.replacement("mf"));
}

/// Only one of the two could be found again when the module comes or goes.
fn an_object_named_twice_is_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    for object in [None, Some("m")] {
        let spec = Spec::new(0).object(object, &[]).object(Some("n"), &[]).object(object, &[]);
        assert_eq!(world.add(&spec), Err(Refusal::DuplicateObject { object }));
    }
    assert_eq!(world.engine.patches().len(), 0);
}
