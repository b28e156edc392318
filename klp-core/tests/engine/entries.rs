// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! How calls reach replacements: by the cheapest entry once a function is settled, by the callback whenever something has to
//! be decided for each call. That no call notices is asserted by the simulated kernel, at every call.

use klp_core::patch::{Model, PatchId, State};
use klp_core::patchable::{Lack, NoRoom};
use klp_core::platform::{Entry, Errno};

use crate::sim::fault::{self, Fault};
use crate::sim::{Refusal, Spec, World};

fn spec(index: usize) -> Spec {
    Spec::new(index).vmlinux(&["f", "g"])
}

/// How the functions of a patch are entered.
fn entries<const STUB: bool>(world: &World<STUB>, id: PatchId) -> Vec<Option<Entry>> {
    let patch = world.engine.patch(id).expect("a known patch");
    let funcs = patch.objects.iter().flat_map(|object| object.funcs.iter());
    funcs.map(|func| world.engine.entry(func)).collect()
}

const DIRECT: Option<Entry> = Some(Entry::Direct);
const CALLBACK: Option<Entry> = Some(Entry::Callback);

#[test]
fn a_settled_function_is_entered_directly_and_a_reverted_one_not_at_all() {
    let mut world = World::<false>::new();
    let id = world.add(&spec(0)).expect("a good patch");
    assert_eq!(entries(&world, id), [None, None], "nothing is replaced yet");
    world.enable(id).expect("nothing is in the way");
    assert_eq!(entries(&world, id), [DIRECT, DIRECT]);
    assert_eq!(world.runs("f"), spec(0).replacement("f"));
    world.disable(id).expect("it is enabled");
    assert_eq!(entries(&world, id), [None, None]);
    assert_eq!((world.runs("f"), world.kernel.direct_sites()), (world.original("f"), vec![]));
}

#[test]
fn where_there_is_no_direct_call_the_callback_stays() {
    let mut world = World::<true>::new();
    let id = world.apply(&spec(0));
    assert_eq!(entries(&world, id), [CALLBACK, CALLBACK]);
    assert!(!world.engine.may_enter_cheaply(), "each function is asked once");
}

#[test]
fn functions_move_one_at_a_time_when_there_is_time() {
    let mut world = World::<false>::without_time();
    let id = world.apply(&spec(0));
    assert_eq!(entries(&world, id), [CALLBACK, CALLBACK]);
    assert!(world.engine.may_enter_cheaply() && world.engine.enter_one_cheaply());
    assert_eq!(entries(&world, id), [DIRECT, CALLBACK]);
    assert!(world.engine.may_enter_cheaply() && world.engine.enter_one_cheaply());
    assert_eq!(entries(&world, id), [DIRECT, DIRECT]);
    assert!(!world.engine.may_enter_cheaply() && !world.engine.enter_one_cheaply());
}

#[test]
fn the_callback_decides_throughout_a_transition_and_only_about_what_changes() {
    let mut world = World::<false>::new();
    let other = world.apply(&Spec::new(1).vmlinux(&["h"]));
    world.kernel.spawn(7, &[world.original("f") + 0x10]);
    let id = world.apply(&spec(0).in_model(Model::Hybrid));
    for _ in 0..2 {
        assert!(world.advance(), "a task sleeps in it");
        assert_eq!(entries(&world, id), [CALLBACK, CALLBACK], "in transition");
        assert_eq!(entries(&world, other), [DIRECT], "nothing is decided there");
        assert!(!world.engine.may_enter_cheaply() && !world.engine.enter_one_cheaply());
    }
    world.kernel.kill(7);
    assert!(!world.advance(), "nobody is inside");
    assert_eq!(entries(&world, id), [DIRECT, DIRECT]);
    world.kernel.spawn(7, &[spec(0).replacement("g") + 0x10]);
    world.disable(id).expect("it is enabled");
    assert_eq!(entries(&world, id), [CALLBACK, CALLBACK], "on its way back");
    world.reverse(id).expect("it is in transition");
    world.kernel.kill(7);
    assert!(!world.advance(), "nobody is inside");
    assert_eq!(entries(&world, id), [DIRECT, DIRECT], "after all");
}

#[test]
fn each_patch_on_top_and_each_that_goes_has_its_say() {
    let mut world = World::<false>::new();
    let ids = [0, 1, 2].map(|index| world.apply(&spec(index)));
    assert_eq!((world.runs("f"), entries(&world, ids[0])), (spec(2).replacement("f"), vec![DIRECT, DIRECT]));
    world.disable(ids[1]).expect("it is enabled");
    assert_eq!((world.runs("f"), entries(&world, ids[0])), (spec(2).replacement("f"), vec![DIRECT, DIRECT]));
    world.disable(ids[2]).expect("it is enabled");
    assert_eq!((world.runs("f"), entries(&world, ids[0])), (spec(0).replacement("f"), vec![DIRECT, DIRECT]));
    let all = world.apply(&Spec::new(3).vmlinux(&["g", "h"]).cumulative());
    assert_eq!((world.runs("f"), world.runs("g")), (world.original("f"), world.runs("g")));
    assert_eq!((entries(&world, all), entries(&world, ids[0])), (vec![DIRECT, DIRECT], vec![None, DIRECT]));
}

#[test]
fn a_function_whose_original_is_called_stays_with_the_callback() {
    let mut world = World::<false>::new();
    world.apply(&spec(0));
    let calling = Spec::new(1).vmlinux(&["f"]).calling_originals();
    let id = world.apply(&calling);
    assert_eq!(entries(&world, id), [CALLBACK], "who calls has to be looked at");
    assert_eq!(world.called_from(calling.original_call("f"), "f"), world.original("f"));
    world.disable(id).expect("it is enabled");
    assert_eq!(world.state(id), State::Draining);
    assert_eq!(world.kernel.direct_sites().len(), 1, "its wrapper may still be running");
    world.finish(id);
    assert_eq!(world.kernel.direct_sites().len(), 2);
}

#[test]
fn a_module_that_comes_is_entered_directly_and_goes_without_a_trace() {
    let mut world = World::<false>::new();
    let ids = [0, 1].map(|index| world.apply(&Spec::new(index).module("m", &["mf", "mg"])));
    for _ in 0..2 {
        world.load("m").expect("it can be patched");
        assert_eq!((entries(&world, ids[0]), entries(&world, ids[1])), (vec![DIRECT; 2], vec![DIRECT; 2]));
        world.unload("m");
        assert_eq!((world.kernel.direct_sites(), world.kernel.hooks()), (vec![], 0));
    }
}

#[test]
fn what_cannot_be_entered_directly_is_asked_again_when_something_changes() {
    let mut world = World::<false>::new();
    fault::fail_nth(Fault::Cheaper, 2);
    let id = world.apply(&spec(0));
    assert_eq!(entries(&world, id), [DIRECT, CALLBACK]);
    assert_eq!(world.runs("g"), spec(0).replacement("g"));
    let site = world.original("f");
    world.apply(&Spec::new(1).vmlinux(&["g"]));
    assert_eq!(entries(&world, id), [DIRECT, DIRECT]);
    world.kernel.call_directly(site);
    world.apply(&Spec::new(2).vmlinux(&["f"]));
    assert_eq!(entries(&world, id), [CALLBACK, DIRECT], "somebody else is called directly there");
}

#[test]
fn a_function_that_cannot_go_back_has_the_request_refused() {
    let refused = |func| Err(Refusal::Hook { func, errno: Errno::ENOMEM });
    for nth in 1..=2 {
        let setup = || {
            let mut world = World::<false>::new();
            let first = world.apply(&spec(0));
            let second = world.add(&spec(1)).expect("a good patch");
            let cumulative = world.add(&Spec::new(2).vmlinux(&["h"]).cumulative()).expect("a good patch");
            (world, [first, second, cumulative])
        };
        for request in 0..3 {
            let (mut world, ids) = setup();
            let before = world.snapshot();
            world.nothing_may_change();
            let attempt = |world: &mut World<false>| match request {
                0 => world.disable(ids[0]),
                _ => world.enable(ids[request]),
            };
            fault::fail_nth(Fault::Back, nth);
            let func = ["f", "g"][usize::try_from(nth).expect("small") - 1];
            assert_eq!(attempt(&mut world), refused(func), "request {request}");
            assert!(!fault::take_pending());
            world.kernel.stop_watching();
            world.snapshot().assert_is(&before, "after the refusal");
            assert_eq!(entries(&world, ids[0]), [DIRECT, DIRECT], "all are as they were, a moment later");
            attempt(&mut world).expect("ftrace has memory again");
        }
    }
}

/// A module whose functions have room for slots, and no sites of ftrace's.
fn with_room(rooms: &[(&'static str, usize)]) -> World<false> {
    let mut world = World::<false>::new();
    world.load("m").expect("nobody patches it");
    for &(name, room) in rooms {
        world.kernel.define(Some("m"), name, crate::sim::Entry::Room(room));
    }
    world
}

const SLOT: Option<Entry> = Some(Entry::Slot);

#[test]
fn a_function_that_ftrace_does_not_know_is_entered_through_its_own_slot() {
    let mut world = with_room(&[("own", 16)]);
    let code =
        |world: &World<false>| world.kernel.functions().into_iter().map(|f| f.code).collect::<Vec<_>>();
    let before = code(&world);
    let specs = [0, 1].map(|index| Spec::new(index).module("m", &["own", "mf"]));
    let ids = [0, 1].map(|index| {
        let id = world.apply(&specs[index]);
        assert_eq!(entries(&world, id), [SLOT, DIRECT]);
        assert_eq!(world.runs("own"), specs[index].replacement("own"));
        id
    });
    world.disable(ids[1]).expect("it is enabled");
    assert_eq!(
        (world.runs("own"), entries(&world, ids[0])),
        (specs[0].replacement("own"), vec![SLOT, DIRECT])
    );
    world.disable(ids[0]).expect("it is enabled");
    ids.into_iter().for_each(|id| world.finish(id));
    assert_eq!((code(&world), world.runs("own")), (before, world.original("own")), "the entry is as it was");
    world.apply(&specs[0]);
    world.unload("m");
    assert_eq!(world.kernel.hooks(), 0);
}

#[test]
fn in_a_transition_the_slot_leads_to_the_callback() {
    let mut world = with_room(&[("own", 16)]);
    let spec = Spec::new(0).module("m", &["own"]).in_model(Model::Hybrid);
    world.kernel.spawn(7, &[world.original("own") + 0x10]);
    let id = world.apply(&spec);
    assert!(world.advance(), "a task sleeps in it");
    assert_eq!(entries(&world, id), [CALLBACK]);
    world.kernel.kill(7);
    assert!(!world.advance(), "nobody is inside");
    assert_eq!(entries(&world, id), [SLOT]);
}

#[test]
fn a_function_with_too_little_room_is_refused_by_name() {
    let mut world = with_room(&[("own", 16), ("short", 8)]);
    world.kernel.define(Some("m"), "none", crate::sim::Entry::NoSite);
    for (func, found) in [("short", 8), ("none", 0)] {
        let refused = world.add(&Spec::new(0).module("m", &["own", func]));
        let lack = Lack::Before { found, needed: 16 };
        assert_eq!(refused, Err(Refusal::NoRoom(NoRoom { func, at: lack })));
    }
}
