// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patch's life: ready, enabled, draining, gone.

use klp_core::patch::{PatchId, State};
use klp_core::platform::{Callback, Holder, Level};

use crate::sim::{Refusal, Spec, World, on_both_architectures};

on_both_architectures!(
    each_state_allows_what_belongs_to_it,
    an_unknown_patch_is_refused,
    a_patch_drains_as_long_as_a_task_may_return_into_it,
    every_return_address_into_the_text_holds_it,
    a_patch_can_be_enabled_again_while_it_is_held,
    a_life_in_the_log,
    a_life_in_callbacks,
    an_id_is_never_used_again,
);

fn spec() -> Spec {
    Spec::new(0).vmlinux(&["f", "g"])
}

fn in_state<const STUB: bool>(state: State) -> (World<STUB>, PatchId) {
    let mut world = World::new();
    let id = world.add(&spec()).expect("a good patch");
    if state != State::Ready {
        world.enable(id).expect("nothing is in the way");
    }
    if state == State::Draining {
        world.disable(id).expect("it is enabled");
    }
    assert_eq!(world.state(id), state);
    (world, id)
}

fn each_state_allows_what_belongs_to_it<const STUB: bool>() {
    let busy = Err(Refusal::Busy);
    for (state, enable, disable, drain, remove) in [
        (State::Ready, Ok(()), busy, busy, Ok(())),
        (State::Enabled, busy, Ok(()), busy, busy),
        (State::Draining, Ok(()), busy, Ok(()), Ok(())),
    ] {
        let attempt = |request: &dyn Fn(&mut World<STUB>, PatchId) -> Result<(), Refusal>, expected, name| {
            let (mut world, id) = in_state::<STUB>(state);
            let before = world.snapshot();
            assert_eq!(request(&mut world, id), expected, "{name} a patch that is {state:?}");
            if expected == busy {
                world.snapshot().assert_is(&before, &format!("after {name} of a patch that is {state:?}"));
            }
        };
        attempt(&|world, id| world.enable(id), enable, "enable");
        attempt(&|world, id| world.disable(id), disable, "disable");
        attempt(&|world, id| world.drain(id).map(|holder| assert_eq!(holder, None)), drain, "drain");
        attempt(&|world, id| world.remove(id), remove, "remove");
    }
}

fn an_unknown_patch_is_refused<const STUB: bool>() {
    let (mut world, id) = in_state::<STUB>(State::Ready);
    world.remove(id).expect("it is not enabled");
    for id in [id, PatchId(0), PatchId(u32::MAX)] {
        assert_eq!(world.enable(id), Err(Refusal::NoSuchPatch));
        assert_eq!(world.disable(id), Err(Refusal::NoSuchPatch));
        assert_eq!(world.drain(id), Err(Refusal::NoSuchPatch));
        assert_eq!(world.remove(id), Err(Refusal::NoSuchPatch));
        assert!(matches!(world.engine.patch(id), Err(Refusal::NoSuchPatch)));
    }
}

fn a_patch_drains_as_long_as_a_task_may_return_into_it<const STUB: bool>() {
    let (mut world, id) = in_state::<STUB>(State::Draining);
    let other = world.apply(&Spec::new(1).vmlinux(&["h"]));
    world.disable(other).expect("it is enabled");
    let addr = spec().inside();
    world.kernel.spawn(7, &[0, 1, world.original("f")]);
    world.kernel.spawn(42, &[world.original("g"), addr, 0]);
    let holder = world.drain(id).expect("it is draining").expect("a task sleeps in it");
    assert_eq!((holder.pid, holder.addr), (42, addr));
    assert_eq!(world.drain(other), Ok(None), "nobody sleeps in that one");
    world.kernel.kill(42);
    assert_eq!(world.drain(id), Ok(None));
    world.remove(id).expect("nobody runs it");
    assert_eq!(world.order(), ["p1"]);
}

fn every_return_address_into_the_text_holds_it<const STUB: bool>() {
    let (mut world, id) = in_state::<STUB>(State::Draining);
    let (first, last) = (spec().text.start, spec().text.start + spec().text.size);
    for (addr, holds) in
        [(first - 1, false), (first, true), (first + 1, true), (last, true), (last + 1, false)]
    {
        world.kernel.spawn(1, &[addr]);
        let held = world.drain(id).expect("it is draining").is_some_and(|Holder { addr: at, .. }| at == addr);
        assert_eq!(held, holds, "{addr:#x} in {first:#x} to {last:#x}");
        world.kernel.kill(1);
    }
}

fn a_patch_can_be_enabled_again_while_it_is_held<const STUB: bool>() {
    let (mut world, id) = in_state::<STUB>(State::Draining);
    world.kernel.spawn(1, &[spec().inside()]);
    world.enable(id).expect("it is draining");
    assert_eq!(world.runs("f"), spec().replacement("f"));
    assert_eq!(world.drain(id), Err(Refusal::Busy));
    world.disable(id).expect("it is enabled");
    assert!(world.drain(id).expect("it is draining").is_some());
}

fn a_life_in_the_log<const STUB: bool>() {
    let (mut world, id) = in_state::<STUB>(State::Draining);
    world.finish(id);
    let lines = [
        (Level::Notice, "enabling patch 'p0'"),
        (Level::Debug, "'p0': initializing patching transition"),
        (Level::Notice, "'p0': starting patching transition"),
        (Level::Debug, "'p0': completing patching transition"),
        (Level::Notice, "'p0': patching complete"),
        (Level::Debug, "'p0': initializing unpatching transition"),
        (Level::Notice, "'p0': starting unpatching transition"),
        (Level::Debug, "'p0': completing unpatching transition"),
        (Level::Notice, "'p0': unpatching complete"),
    ];
    assert_eq!(world.kernel.take_log(), lines.map(|(level, line)| (level, line.to_string())));
}

fn a_life_in_callbacks<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.load("m").expect("nobody patches it");
    let id = world.apply(&Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]).module("n", &["nf"]));
    world.disable(id).expect("it is enabled");
    let disabled = world.kernel.take_callbacks();
    world.finish(id);
    let (vmlinux, module) = (("p0", None), ("p0", Some("m")));
    let of_both = |which| [(vmlinux, which), (module, which)];
    let expected = [Callback::PrePatch, Callback::PostPatch, Callback::PreUnpatch].map(of_both);
    assert_eq!(disabled, expected.concat(), "none for a module that is not loaded");
    assert_eq!(world.kernel.take_callbacks(), of_both(Callback::PostUnpatch), "once it has drained");
}

fn an_id_is_never_used_again<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let mut seen = Vec::new();
    for _ in 0..5 {
        let id = world.add(&spec()).expect("a good patch");
        assert!(!seen.contains(&id));
        seen.push(id);
        world.remove(id).expect("it is not enabled");
    }
}
