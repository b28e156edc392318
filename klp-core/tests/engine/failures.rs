// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Whatever fails, and whenever: everything is as it was, and the next attempt succeeds as if nothing had happened.

use klp_core::patch::PatchId;
use klp_core::platform::{Callback, Errno};

use crate::sim::fault::{self, Fault};
use crate::sim::{FUNCTIONS, Refusal, Spec, World, on_both_architectures};

on_both_architectures!(
    a_patch_that_cannot_be_added,
    a_patch_that_cannot_be_enabled,
    a_patch_that_cannot_be_enabled_on_top_of_others,
    a_draining_patch_that_cannot_be_enabled_again,
    a_lone_draining_patch_that_cannot_be_enabled_again,
    a_cumulative_patch_that_cannot_be_enabled,
    a_module_that_cannot_be_patched_when_it_comes,
    two_symbols_of_one_function_that_cannot_be_patched,
    a_function_that_somebody_else_redirects,
    a_pre_patch_callback_that_refuses_is_not_taken_back,
);

/// Lets `attempt` fail at every single opportunity for each kind of fault. `at_least` guards against a scenario that
/// has fewer opportunities than its author thought.
fn fails_whole<const STUB: bool>(
    at_least: &[(Fault, u32)],
    setup: impl Fn() -> (World<STUB>, Option<PatchId>),
    attempt: impl Fn(&mut World<STUB>, Option<PatchId>) -> Result<(), Refusal>,
) {
    for &(fault, at_least) in at_least {
        let (mut world, id) = setup();
        let before = fault::opportunities(fault);
        attempt(&mut world, id).expect("without a fault it succeeds");
        let opportunities = fault::opportunities(fault) - before;
        assert!(opportunities >= at_least, "{opportunities} opportunities for {fault:?}, not {at_least}");
        let done = world.snapshot();
        for nth in 1..=opportunities {
            let (mut world, id) = setup();
            let before = world.snapshot();
            world.take_log();
            world.nothing_may_change();
            fault::fail_nth(fault, nth);
            let error = attempt(&mut world, id).expect_err("one step failed");
            assert!(!fault::take_pending(), "it failed with {error} before {fault:?} {nth}");
            world.kernel.stop_watching();
            match (fault, error) {
                (Fault::Allocation, Refusal::NoMemory)
                | (Fault::Arm, Refusal::Hook { errno: Errno::ENOMEM, .. })
                | (Fault::PrePatch, Refusal::Callback { errno: Errno::ENOENT, .. }) => {}
                _ => panic!("{fault:?} {nth} is reported as {error}"),
            }
            world.snapshot().assert_is(&before, &format!("after {fault:?} {nth}"));
            let log = world.take_log();
            assert!(
                !log.iter().any(|line| line.contains(": patching complete")),
                "nothing was patched: {log:?}"
            );
            attempt(&mut world, id).expect("the next attempt succeeds");
            world
                .snapshot()
                .assert_is(&done, &format!("after another attempt, when {fault:?} {nth} is over"));
        }
    }
}

fn enable<const STUB: bool>(world: &mut World<STUB>, id: Option<PatchId>) -> Result<(), Refusal> {
    world.enable(id.expect("the setup added it"))
}

/// A patch of vmlinux and two modules, which are loaded.
fn large(index: usize) -> Spec {
    Spec::new(index).vmlinux(&["f", "g"]).module("m", &["mf", "mg"]).module("n", &["nf"]).calling_originals()
}

fn with_modules<const STUB: bool>() -> World<STUB> {
    let mut world = World::new();
    world.load("m").expect("nobody patches it");
    world.load("n").expect("nobody patches it");
    world
}

fn a_patch_that_cannot_be_added<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        world.apply(&large(0));
        (world, None)
    };
    // A list of objects and three of functions that grow with each element, and the engine's list of patches.
    fails_whole(&[(Fault::Allocation, 3 + 5 + 1)], setup, |world, _| world.add(&large(1)).map(drop));
}

fn a_patch_that_cannot_be_enabled<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        let id = world.add(&large(0)).expect("a good patch");
        (world, Some(id))
    };
    // For each function: the list of function stacks, the hook, the stack.
    fails_whole(&[(Fault::Allocation, 3 * 5), (Fault::Arm, 5), (Fault::PrePatch, 3)], setup, enable);
}

fn a_patch_that_cannot_be_enabled_on_top_of_others<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        world.apply(&Spec::new(0).vmlinux(&["g", "h"]).module("n", &["nf"]).calling_originals());
        world.apply(&Spec::new(1).vmlinux(&["g"]).module("m", &["mg"]));
        let id = world.add(&large(2)).expect("a good patch");
        (world, Some(id))
    };
    fails_whole(&[(Fault::Allocation, 3 + 2 * 3), (Fault::Arm, 2), (Fault::PrePatch, 3)], setup, enable);
}

fn a_draining_patch_that_cannot_be_enabled_again<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        let id = world.apply(&large(0));
        world.apply(&Spec::new(1).vmlinux(&FUNCTIONS).module("m", &["mf"]).calling_originals());
        world.disable(id).expect("it is enabled");
        // Its wrappers may still be running, and call the originals.
        assert_eq!(world.called_from(large(0).original_call("f"), "f"), world.original("f"));
        (world, Some(id))
    };
    // Its pre-patch callbacks have run.
    fails_whole(&[(Fault::Arm, 2)], setup, enable);
}

fn a_lone_draining_patch_that_cannot_be_enabled_again<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        let id = world.apply(&large(0));
        world.disable(id).expect("it is enabled");
        (world, Some(id))
    };
    fails_whole(&[(Fault::Arm, 5)], setup, enable);
}

fn a_cumulative_patch_that_cannot_be_enabled<const STUB: bool>() {
    let setup = || {
        let mut world = with_modules::<STUB>();
        world.apply(&large(0));
        world.apply(&Spec::new(1).vmlinux(&["h"]).calling_originals());
        let id = world.add(&large(2).func(None, "h", 0).cumulative()).expect("a good patch");
        (world, Some(id))
    };
    fails_whole(&[(Fault::Allocation, 6), (Fault::PrePatch, 3)], setup, enable);
}

fn a_module_that_cannot_be_patched_when_it_comes<const STUB: bool>() {
    let setup = || {
        let mut world = World::<STUB>::new();
        world.apply(&large(0));
        world.apply(&Spec::new(1).module("m", &["mg"]));
        world.apply(&Spec::new(2).vmlinux(&["h"]));
        world.apply(&large(3));
        (world, None)
    };
    let load = |world: &mut World<STUB>, _| world.load("m");
    fails_whole(&[(Fault::Allocation, 2 * 3 + 3), (Fault::Arm, 2), (Fault::PrePatch, 3)], setup, load);
}

/// The function between the two makes the engine call ftrace while one of them is taken back and the other is not.
fn two_symbols_of_one_function_that_cannot_be_patched<const STUB: bool>() {
    let setup = || {
        let mut world = World::<STUB>::new();
        world.kernel.alias("f_alias", world.original("f"));
        let spec = Spec::new(0).vmlinux(&["f", "g", "f_alias", "h"]);
        let id = world.add(&spec).expect("a good patch");
        (world, Some(id))
    };
    fails_whole(&[(Fault::Allocation, 9 + 1), (Fault::Arm, 3), (Fault::PrePatch, 1)], setup, enable);
}

fn a_function_that_somebody_else_redirects<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f", "h"]);
    let id = world.add(&spec).expect("a good patch");
    let before = world.snapshot();
    let site = world.original("h");
    world.kernel.occupy(site);
    assert_eq!(world.enable(id), Err(Refusal::Hook { func: "h", errno: Errno::EBUSY }));
    world.snapshot().assert_is(&before, "after a refusal");
    world.kernel.release(site);
    world.enable(id).expect("nobody is in the way any more");
    assert_eq!(world.runs("h"), spec.replacement("h"));
}

fn a_pre_patch_callback_that_refuses_is_not_taken_back<const STUB: bool>() {
    let mut world = with_modules::<STUB>();
    let id = world.add(&large(0)).expect("a good patch");
    fault::fail_nth(Fault::PrePatch, 2);
    let refused = Refusal::Callback { object: Some("m"), errno: Errno::ENOENT };
    assert_eq!(world.enable(id), Err(refused));
    let of_vmlinux = |which| (("p0", None), which);
    let expected = [
        of_vmlinux(Callback::PrePatch),
        (("p0", Some("m")), Callback::PrePatch),
        of_vmlinux(Callback::PostUnpatch),
    ];
    assert_eq!(world.kernel.take_callbacks(), expected);
}
