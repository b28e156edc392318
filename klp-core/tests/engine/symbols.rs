// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! From a name to a patch site: which symbol is meant, and what is no place to patch.

use klp_core::ftrace::SiteError;
use klp_core::patch::PatchId;

use crate::sim::arch::RET;
use crate::sim::{Entry, FUNCTIONS, Refusal, Spec, Thread, World};

fn add(world: &mut World<false>, name: &'static str, position: u64) -> Result<PatchId, Refusal> {
    world.add(&Spec::new(0).vmlinux(&[]).func(None, name, position))
}

/// A kernel with so many symbols "twin" in vmlinux; returns their addresses too.
fn with_twins(count: u64) -> (World<false>, Vec<u64>) {
    let world = World::new();
    let twins = (0..count).map(|_| world.kernel.define(None, "twin", Entry::Site)).collect();
    (world, twins)
}

/// What was patched when the patch is enabled.
fn patched(world: &mut World<false>, id: PatchId) -> Vec<u64> {
    world.enable(id).expect("nothing is in the way");
    world.kernel.hooked_sites()
}

#[test]
fn without_a_position_the_only_symbol_is_meant() {
    let (mut world, twins) = with_twins(1);
    let id = add(&mut world, "twin", 0).expect("there is one");
    assert_eq!(patched(&mut world, id), twins);
}

#[test]
fn without_a_position_several_symbols_are_ambiguous() {
    for count in 2..5 {
        let (mut world, _) = with_twins(count);
        let ambiguous = Refusal::SymbolAmbiguous { object: None, func: "twin", count };
        assert_eq!(add(&mut world, "twin", 0), Err(ambiguous));
    }
}

#[test]
fn a_position_means_the_symbol_in_the_order_of_the_table() {
    for count in 1..5 {
        for position in 1..=count {
            let (mut world, twins) = with_twins(count);
            let id = add(&mut world, "twin", position).expect("there are as many");
            let twin = twins[usize::try_from(position - 1).expect("small")];
            assert_eq!(patched(&mut world, id), [twin], "{position} of {count}");
        }
    }
}

#[test]
fn a_position_behind_the_last_symbol_is_not_found() {
    for count in 1..5 {
        let (mut world, _) = with_twins(count);
        let position = count + 1;
        let not_found = Refusal::PositionNotFound { object: None, func: "twin", position, count };
        assert_eq!(add(&mut world, "twin", position), Err(not_found));
        assert!(matches!(add(&mut world, "twin", u64::MAX), Err(Refusal::PositionNotFound { .. })));
    }
}

#[test]
fn a_name_that_no_symbol_has_is_not_found_at_any_position() {
    let mut world = World::new();
    for position in [0, 1] {
        let not_found = Refusal::SymbolNotFound { object: None, func: "missing" };
        assert_eq!(add(&mut world, "missing", position), Err(not_found));
    }
    let not_found = Refusal::PositionNotFound { object: None, func: "missing", position: 2, count: 0 };
    assert_eq!(add(&mut world, "missing", 2), Err(not_found));
}

#[test]
fn symbols_of_other_objects_do_not_count() {
    let mut world = World::<false>::new();
    world.kernel.define(None, "mf", Entry::Site);
    world.load("m").expect("nobody patches it");
    let spec = Spec::new(0).module("m", &["mf"]).vmlinux(&["mf"]);
    let id = world.add(&spec).expect("one in each");
    assert_eq!(patched(&mut world, id).len(), 2);
    for function in world.kernel.functions().iter().filter(|f| f.name == "mf") {
        let func = spec.funcs.iter().find(|func| func.object == function.object).expect("both are patched");
        let runs = Thread::new(&world.kernel).call(crate::sim::ANYBODY, function.addr);
        assert_eq!(runs, func.replacement, "the object's own replacement");
    }
}

#[test]
fn a_function_named_twice_is_refused() {
    for (first, second) in [(0, 0), (0, 1), (1, 0), (1, 1), (2, 2)] {
        let (mut world, _) = with_twins(2);
        let spec = Spec::new(0).vmlinux(&["f"]).func(None, "twin", first).func(None, "twin", second);
        assert_eq!(world.add(&spec), Err(Refusal::Duplicate { func: "twin" }), "{first} and {second}");
    }
}

#[test]
fn two_functions_of_one_name_are_two_functions() {
    let (mut world, twins) = with_twins(2);
    let spec = Spec::new(0).vmlinux(&[]).func(None, "twin", 1).func(None, "twin", 2);
    let id = world.add(&spec).expect("the positions differ");
    assert_eq!(patched(&mut world, id), twins);
    for (func, twin) in spec.funcs.iter().zip(twins) {
        assert_eq!(Thread::new(&world.kernel).call(crate::sim::ANYBODY, twin), func.replacement);
    }
}

#[test]
fn two_symbols_of_one_function_are_taken_back_together() {
    let mut world = World::<true>::new();
    world.kernel.alias("f_alias", world.original("f"));
    let before = world.kernel.hooked_sites();
    let spec = Spec::new(0).vmlinux(&["f", "f_alias"]);
    let id = world.apply(&spec);
    assert_eq!(world.runs("f"), spec.replacement("f_alias"), "the later one runs");
    world.disable(id).expect("it is enabled");
    assert_eq!(world.runs("f"), world.original("f"));
    assert_eq!(world.kernel.hooked_sites(), before);
}

#[test]
fn a_patch_without_objects_is_refused() {
    let mut world = World::<false>::new();
    assert_eq!(world.add(&Spec::new(0)), Err(Refusal::Empty));
}

#[test]
fn an_object_may_have_callbacks_only() {
    let mut world = World::<false>::new();
    let id = world.apply(&Spec::new(0).vmlinux(&[]));
    assert_eq!(world.kernel.turns().len(), 1);
    world.disable(id).expect("it is enabled");
    world.finish(id);
    assert_eq!(world.kernel.turns().len(), 0);
}

#[test]
fn a_function_without_a_replacement_is_refused() {
    let mut world = World::<false>::new();
    let mut spec = Spec::new(0).vmlinux(&["f", "g"]);
    spec.funcs[1].replacement = 0;
    assert_eq!(world.add(&spec), Err(Refusal::NoReplacement { func: "g" }));
}

#[test]
fn a_function_without_a_site_is_not_traceable() {
    let mut world = World::<false>::new();
    let addr = world.kernel.define(None, "notrace", Entry::NoSite);
    assert_eq!(add(&mut world, "notrace", 0), Err(Refusal::NotTraceable { func: "notrace", addr }));
}

#[test]
fn a_site_that_does_not_fit_the_function_is_refused() {
    let mut world = World::<false>::new();
    let garbage = world.kernel.define(None, "garbage", Entry::Garbage);
    world.kernel.define(None, "far", Entry::FarSite(0x40));
    world.kernel.define(None, "near", Entry::FarSite(4));
    world.kernel.define(None, "unreadable", Entry::Unreadable);
    let near = world.original("near");
    for (func, error) in [
        ("garbage", SiteError::UnknownCode { at: garbage, found: RET }),
        ("far", SiteError::TooFar { offset: 0x40, limit: 4 }),
        ("near", SiteError::UnknownCode { at: near, found: [0; 4] }),
        ("unreadable", SiteError::ShortCode),
    ] {
        assert_eq!(add(&mut world, func, 0), Err(Refusal::Site { func, error }));
    }
    assert_eq!(world.engine.patches().len(), 0);
}

#[test]
fn a_site_is_recognised_while_it_is_hooked() {
    let mut world = World::<false>::new();
    let below = Spec::new(0).vmlinux(&FUNCTIONS);
    world.apply(&below);
    let above = Spec::new(1).vmlinux(&FUNCTIONS);
    world.apply(&above);
    for (name, offset) in [("f", 0), ("g", 4), ("h", 0)] {
        assert_eq!(world.runs(name), above.replacement(name));
        let patch = world.engine.patches().last().expect("two patches");
        let func = patch.objects[0].funcs.iter().find(|func| func.name == name).expect("it patches all");
        let site = func.site().expect("it was found");
        let function = world.original(name);
        assert_eq!(
            (site.function, site.site, site.resume),
            (function, function + offset, function + offset + 4)
        );
    }
}

#[test]
fn a_refused_patch_leaves_the_kernel_as_it_was() {
    let mut world = World::<false>::new();
    world.kernel.define(None, "notrace", Entry::NoSite);
    world.apply(&Spec::new(0).vmlinux(&["f"]));
    let bad = Spec::new(1).vmlinux(&["f", "g", "notrace"]);
    world.add(&bad).expect_err("notrace has no site");
    let before = world.snapshot();
    world.add(&bad).expect_err("notrace has no site");
    world.snapshot().assert_is(&before, "after a refusal");
    assert_eq!(world.order(), ["p0"]);
}
