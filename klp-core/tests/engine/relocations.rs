// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patch's own relocations: applied before anything of it can run, taken back when their object goes.

use klp_core::Addr;
use klp_core::patch::State;
use klp_core::patch_relocs::Anchor;
use klp_core::reloc::RelocError;

use crate::sim::fault::{self, Fault};
use crate::sim::{Entry, Refusal, Spec, World, on_both_architectures};

on_both_architectures!(
    calls_of_vmlinux_are_there_before_any_callback,
    calls_of_a_loaded_module_are_there,
    calls_of_a_module_come_and_go_with_it,
    a_module_that_comes_back_elsewhere_is_called_there,
    a_draining_patch_enabled_again_calls_a_module_that_came_meanwhile,
    out_of_reach_a_slot_is_taken_and_is_free_when_the_module_goes,
    without_a_slot_nothing_is_written,
    what_cannot_be_resolved_is_refused_and_nothing_is_written,
    a_module_without_the_symbol_is_refused,
    a_symbol_of_a_module_that_is_not_changed_is_refused,
    a_position_tells_symbols_apart,
    what_could_not_be_cleared_is_right_when_the_module_comes_back,
    what_no_table_lists_is_found_by_its_anchor,
    an_anchor_of_another_vmlinux_is_refused,
    without_memory_nothing_is_written,
    a_distance_between_two_symbols_is_held_whole_and_taken_back,
    places_that_two_modules_add_to_are_refused,
);

/// The nth call of a patch was not written.
fn assert_unwritten<const STUB: bool>(world: &World<STUB>, spec: &Spec, when: &str) {
    for index in 0..spec.calls.len() {
        let call = spec.call(index);
        assert_eq!(world.kernel.leads(call), (call, false), "call {index}, {when}");
    }
}

fn leads<const STUB: bool>(world: &World<STUB>, spec: &Spec, index: usize) -> (Addr, bool) {
    world.kernel.leads(spec.call(index))
}

fn calls_of_vmlinux_are_there_before_any_callback<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).calling(None, "h", 0);
    let id = world.add(&spec).expect("the patch is fine");
    assert_unwritten(&world, &spec, "only added");
    let (kernel, call, to) = (world.kernel.clone(), spec.call(0), world.original("h"));
    let mut first = true;
    world.kernel.watch(move |_| {
        // The first thing the engine asks for is the write itself.
        assert!(std::mem::take(&mut first) || kernel.leads(call) == (to, STUB), "not written yet");
    });
    world.enable(id).expect("nothing is in the way");
    world.kernel.stop_watching();
    world.disable(id).expect("it is enabled");
    assert_eq!(leads(&world, &spec, 0).0, to, "while it drains");
    world.finish(id);
}

fn calls_of_a_loaded_module_are_there<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.load("m").expect("nobody minds");
    let spec = Spec::new(0).module("m", &["mf"]).calling(Some("m"), "mg", 0).calling(None, "g", 0);
    world.apply(&spec);
    let to = [world.original("mg"), world.original("g")];
    assert_eq!(
        [leads(&world, &spec, 0), leads(&world, &spec, 1)],
        to.map(|to| (to, STUB)),
        "between objects always through a slot, if the ABI says so"
    );
}

fn calls_of_a_module_come_and_go_with_it<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).module("m", &["mf"]).calling(Some("m"), "mg", 0).calling(None, "g", 0);
    world.apply(&spec);
    assert_eq!(leads(&world, &spec, 0).0, spec.call(0), "the module is not there");
    assert_eq!(leads(&world, &spec, 1).0, world.original("g"), "vmlinux is");
    world.load("m").expect("it has what the patch needs");
    assert_eq!(leads(&world, &spec, 0).0, world.original("mg"));
    world.unload("m");
    assert_eq!(leads(&world, &spec, 0).0, spec.call(0), "the module is gone");
    assert_eq!(leads(&world, &spec, 1).0, world.original("g"), "vmlinux is not");
}

fn a_module_that_comes_back_elsewhere_is_called_there<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).module("m", &["mf"]).calling(Some("m"), "mg", 0);
    world.apply(&spec);
    let mut places = Vec::new();
    for _ in 0..3 {
        world.load("m").expect("it has what the patch needs");
        places.push(leads(&world, &spec, 0).0);
        assert_eq!(places.last(), Some(&world.original("mg")));
        world.unload("m");
    }
    places.dedup();
    assert_eq!(places.len(), 3, "it was elsewhere each time");
}

fn a_draining_patch_enabled_again_calls_a_module_that_came_meanwhile<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]).calling(Some("m"), "mg", 0);
    let id = world.apply(&spec);
    world.disable(id).expect("it is enabled");
    world.load("m").expect("nobody minds");
    assert_eq!(leads(&world, &spec, 0).0, spec.call(0), "the patch is not enabled");
    world.enable(id).expect("it is draining");
    assert_eq!(leads(&world, &spec, 0).0, world.original("mg"));
    world.disable(id).expect("it is enabled");
    world.unload("m");
    assert_eq!(leads(&world, &spec, 0).0, spec.call(0), "the module is gone");
}

fn out_of_reach_a_slot_is_taken_and_is_free_when_the_module_goes<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.kernel.set_out_of_reach(true);
    let spec = Spec::new(0).module("m", &["mf"]).calling(None, "g", 0).calling(Some("m"), "mg", 0);
    world.apply(&spec);
    assert_eq!(leads(&world, &spec, 0), (world.original("g"), true));
    // There are two slots, and one of them is vmlinux's.
    for _ in 0..3 {
        world.load("m").expect("it has what the patch needs");
        assert_eq!(leads(&world, &spec, 1), (world.original("mg"), true));
        assert_eq!(leads(&world, &spec, 0), (world.original("g"), true));
        world.unload("m");
        assert_eq!(leads(&world, &spec, 1), (spec.call(1), false));
    }
}

fn without_a_slot_nothing_is_written<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    world.kernel.set_out_of_reach(true);
    let mut spec = Spec::new(0).vmlinux(&["f"]).calling(None, "g", 0).calling(None, "h", 0);
    spec.slots = 1;
    let id = world.add(&spec).expect("it is not known yet what is out of reach");
    let before = world.snapshot();
    let Err(Refusal::Relocation(refused)) = world.enable(id) else { panic!("there is one slot") };
    assert_eq!(refused.error, RelocError::NoSlot { needed: 2, planned: 1 });
    assert_eq!((refused.name, refused.relocation.place), ("h", spec.call(1)));
    assert_unwritten(&world, &spec, "after the refusal");
    assert_eq!(world.state(id), State::Ready);
    world.snapshot().assert_is(&before, "after the refusal");
}

fn what_cannot_be_resolved_is_refused_and_nothing_is_written<const STUB: bool>() {
    for (name, position) in [("missing", 0), ("missing", 1), ("g", 2), ("twin", 0), ("twin", 3)] {
        let mut world = World::<STUB>::new();
        for _ in 0..2 {
            world.kernel.define(None, "twin", Entry::Site);
        }
        let spec = Spec::new(0).vmlinux(&["f"]).calling(None, "h", 0).calling(None, name, position);
        let id = world.add(&spec).expect("symbols are looked up when it is enabled");
        let before = world.snapshot();
        let count = u64::from(name == "g") + 2 * u64::from(name == "twin");
        let expected = if (name, position) == ("twin", 0) {
            Refusal::ReferenceAmbiguous { object: None, symbol: name, count }
        } else {
            Refusal::ReferenceNotFound { object: None, symbol: name, position, count, lists_data: true }
        };
        assert_eq!(world.enable(id), Err(expected), "{name},{position}");
        assert_unwritten(&world, &spec, "after the refusal");
        assert!(world.take_log().contains(&expected.to_string()), "{name},{position} is logged");
        world.snapshot().assert_is(&before, "after the refusal");
    }
}

fn a_module_without_the_symbol_is_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]).calling(Some("m"), "missing", 0);
    world.apply(&spec);
    let before = world.snapshot();
    let refused = world.load("m");
    assert!(matches!(refused, Err(Refusal::ReferenceNotFound { symbol: "missing", .. })), "{refused:?}");
    world.snapshot().assert_is(&before, "after the refusal");
    assert_unwritten(&world, &spec, "after the refusal");
}

fn a_symbol_of_a_module_that_is_not_changed_is_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).vmlinux(&["f"]).calling(Some("m"), "mg", 0);
    assert_eq!(world.add(&spec), Err(Refusal::SymbolOfOtherObject { object: "m", symbol: "mg" }));
    // An object without functions will do.
    let spec = Spec::new(0).vmlinux(&["f"]).module("m", &[]).calling(Some("m"), "mg", 0);
    world.apply(&spec);
    world.load("m").expect("it has what the patch needs");
    assert_eq!(leads(&world, &spec, 0).0, world.original("mg"));
}

fn a_position_tells_symbols_apart<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let twins = [(); 2].map(|()| world.kernel.define(None, "twin", Entry::Site));
    let spec = Spec::new(0).vmlinux(&["f"]).calling(None, "twin", 2).calling(None, "twin", 1);
    world.apply(&spec);
    assert_eq!([leads(&world, &spec, 0).0, leads(&world, &spec, 1).0], [twins[1], twins[0]]);
}

fn without_memory_nothing_is_written<const STUB: bool>() {
    let spec =
        Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]).calling(None, "g", 0).calling(Some("m"), "mg", 0);
    let mut refused = 0;
    for nth in 1.. {
        let mut world = World::<STUB>::new();
        world.load("m").expect("nobody minds");
        let id = world.add(&spec).expect("the patch is fine");
        fault::fail_nth(Fault::Allocation, nth);
        let enabled = world.enable(id);
        if fault::take_pending() {
            assert_eq!(enabled, Ok(()));
            break;
        }
        assert_eq!(enabled, Err(Refusal::NoMemory), "allocation {nth}");
        assert_unwritten(&world, &spec, "without memory");
        world.enable(id).expect("there is memory again");
        assert_eq!(leads(&world, &spec, 0).0, world.original("g"), "after allocation {nth} had failed");
        assert_eq!(leads(&world, &spec, 1).0, world.original("mg"), "after allocation {nth} had failed");
        refused += 1;
    }
    assert!(refused > 5, "only {refused} allocations could fail");
}

fn what_could_not_be_cleared_is_right_when_the_module_comes_back<const STUB: bool>() {
    for out_of_reach in [false, true] {
        let mut world = World::<STUB>::new();
        world.kernel.set_out_of_reach(out_of_reach);
        let spec = Spec::new(0).module("m", &["mf"]).calling(Some("m"), "mg", 0);
        world.apply(&spec);
        for nth in 1..4 {
            world.load("m").expect("it has what the patch needs");
            assert_eq!(leads(&world, &spec, 0), (world.original("mg"), STUB || out_of_reach));
            world.take_log();
            fault::fail_nth(Fault::Allocation, nth);
            world.unload("m");
            let failed = !fault::take_pending();
            let log = world.take_log();
            assert_eq!(log.iter().any(|line| line.starts_with("no memory to clear")), failed, "{log:?}");
        }
        world.load("m").expect("it has what the patch needs");
        assert_eq!(leads(&world, &spec, 0), (world.original("mg"), STUB || out_of_reach));
    }
}

/// A vmlinux in which "unlisted" is 0x1000 bytes behind "f".
fn anchor<const STUB: bool>(world: &World<STUB>) -> Anchor<&'static str> {
    let distance = world.original("h").wrapping_sub(world.original("f")).cast_signed();
    Anchor { anchor: "f", offset: 0x1000, witness: "h", distance }
}

fn what_no_table_lists_is_found_by_its_anchor<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let mut spec = Spec::new(0).vmlinux(&["f"]).calling(None, "unlisted", 0).calling(None, "g", 0);
    spec.anchor = Some(anchor(&world));
    world.apply(&spec);
    assert_eq!(leads(&world, &spec, 0).0, world.original("f") + 0x1000);
    assert_eq!(leads(&world, &spec, 1).0, world.original("g"), "what is listed is where it is listed");
}

fn an_anchor_of_another_vmlinux_is_refused<const STUB: bool>() {
    let world = World::<STUB>::new();
    let right = anchor(&world);
    let wrong = [
        Anchor { distance: right.distance + 4, ..right },
        Anchor { anchor: "missing", ..right },
        Anchor { witness: "missing", ..right },
        Anchor { witness: "twin", ..right },
    ];
    for wrong in wrong {
        let mut world = World::<STUB>::new();
        for _ in 0..2 {
            world.kernel.define(None, "twin", Entry::Site);
        }
        let mut spec = Spec::new(0).vmlinux(&["f"]).calling(None, "g", 0).calling(None, "unlisted", 0);
        spec.anchor = Some(wrong);
        let id = world.add(&spec).expect("symbols are looked up when it is enabled");
        let Anchor { anchor, witness, .. } = wrong;
        let expected = Refusal::OtherVmlinux { symbol: "unlisted", anchor, witness };
        assert_eq!(world.enable(id), Err(expected));
        assert_unwritten(&world, &spec, "after the refusal");
    }
}

fn a_distance_between_two_symbols_is_held_whole_and_taken_back<const STUB: bool>() {
    for objects in [[None, None], [Some("m"), Some("m")], [None, Some("m")], [Some("m"), None]] {
        let mut world = World::<STUB>::new();
        let names = objects.map(|object| if object.is_some() { "mg" } else { "g" });
        let spec = Spec::new(0).vmlinux(&["f"]).module("m", &["mf"]);
        let spec = spec.calling(objects[0], names[0], 0).calling(objects[1], names[1], 0);
        // The other way round, too: nobody says in which order the two are.
        let spec = spec.holding_distance(0, 1).holding_distance(1, 0);
        let places = [spec.distance(0), spec.distance(1)];
        let before = places.map(|place| world.kernel.doubleword(place));
        world.apply(&spec);
        for is_loaded in [false, true, false, true, false] {
            // The module is elsewhere each time.
            match is_loaded {
                true => world.load("m").expect("it has what the patch needs"),
                false => world.unload("m"),
            }
            let there = [0, 1].map(|n| match objects[n] {
                Some(_) if !is_loaded => 0,
                _ => world.original(names[n]),
            });
            let distance = there[0].wrapping_sub(there[1]);
            let expected = [before[0].wrapping_add(distance), before[1].wrapping_sub(distance)];
            assert_eq!(
                places.map(|place| world.kernel.doubleword(place)),
                expected,
                "{objects:?}, {is_loaded}"
            );
        }
    }
}

fn places_that_two_modules_add_to_are_refused<const STUB: bool>() {
    let mut world = World::<STUB>::new();
    let spec = Spec::new(0).module("m", &["mf"]).module("n", &["nf"]);
    let spec = spec.calling(Some("m"), "mg", 0).calling(Some("n"), "nf", 0).holding_distance(0, 1);
    let before = world.snapshot();
    assert_eq!(world.add(&spec), Err(Refusal::PlaceOfTwoModules { symbol: "mg", other: "nf" }));
    assert_eq!(world.snapshot(), before);
}
