// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Whatever fails in a transition, and whenever: all is as it was, and the next attempt succeeds as if nothing had happened; or
//! the transition is under way, and goes on by itself. The immediate model, which has none, is in `engine/failures.rs`.

use std::cell::Cell;

use klp_core::patch::{Leave, Model, PatchId, State, Switch};
use klp_core::platform::Errno;

use crate::sim::fault::{self, Fault};
use crate::sim::kernel::Point;
use crate::sim::tasks::{Kind, Mode, Pc};
use crate::sim::{Refusal, Spec, World};

const MODELS: [Model; 4] = [Model::Hybrid, Model::InThread, Model::InTime, Model::Checkpoint];
/// The pid of the task that holds transitions up.
const INSIDE: i32 = 100;

fn spec(index: usize, model: Model) -> Spec {
    Spec::new(index).vmlinux(&["f", "g"]).module("m", &["mf"]).module("n", &["nf"]).in_model(model)
}

/// A kernel with a module and tasks of each kind, none of which holds anything up for good.
fn world() -> World<false> {
    let mut world = World::new();
    world.load("m").expect("nobody patches it");
    for kind in [Kind::User, Kind::Kthread, Kind::Idle] {
        let id = world.kernel.fork(kind);
        let mode = if kind == Kind::Idle { Mode::Running } else { Mode::Asleep };
        world.kernel.change(id, |task| task.mode = mode);
    }
    world
}

/// A thread sleeps in whatever versions of 'f' and 'g' run now.
fn hold(world: &World<false>) {
    world.kernel.spawn(INSIDE, &[world.runs("f") + 8, world.runs("g") + 8]);
}

/// As many tasks are born as a table of those that were counted has no room for, as soon as it is shown.
fn tasks_are_born_behind_the_count(world: &World<false>) {
    let kernel = world.kernel.clone();
    let count = kernel.count_tasks();
    let born = Cell::new(false);
    world.kernel.watch(move |point| {
        if point == Point::Any && kernel.shows_universes() && !born.replace(true) {
            for _ in 0..4 * count + 8 {
                let id = kernel.fork(Kind::Kthread);
                kernel.change(id, |task| task.mode = Mode::Asleep);
            }
        }
    });
}

/// Goes on until the transition is over, and lets user tasks come to the border that are asked to.
fn settle(world: &mut World<false>) {
    world.kernel.stop_watching();
    for _ in 0..20 {
        if world.engine.in_transition().is_none() {
            break;
        }
        while let Some(id) = world.kernel.find_task(|task| task.kind == Kind::User && task.is_asked()) {
            world.kernel.at_border(id);
        }
        world.kernel.pass(100);
        world.advance();
    }
    assert_eq!(world.engine.in_transition(), None, "the transition goes on");
    // Whoever waited at the border sleeps again.
    while let Some(id) = world.kernel.find_task(|task| task.kind == Kind::User && task.mode == Mode::Running)
    {
        world.kernel.change(id, |task| task.mode = Mode::Asleep);
    }
}

/// How failures ended.
#[derive(Debug, Default, PartialEq, Eq)]
struct Ends {
    /// Attempts that were refused.
    refused: usize,
    /// Attempts after which the transition was under way, and went on.
    retried: usize,
}

/// Lets `attempt` fail at every single opportunity.
fn every_failure(
    fault: Fault,
    setup: impl Fn() -> (World<false>, PatchId),
    attempt: impl Fn(&mut World<false>, PatchId) -> Result<(), Refusal>,
) -> Ends {
    let (mut world, id) = setup();
    let before = fault::opportunities(fault);
    attempt(&mut world, id).expect("without a fault it succeeds");
    let opportunities = fault::opportunities(fault) - before;
    settle(&mut world);
    let done = world.snapshot();
    let mut ends = Ends::default();
    for nth in 1..=opportunities {
        let when = format!("after {fault:?} {nth} of {opportunities}");
        let (mut world, id) = setup();
        let before = world.snapshot();
        // Somebody may be watching already.
        let changed = (!world.kernel.is_watched()).then(|| world.notes_changes());
        fault::fail_nth(fault, nth);
        let result = attempt(&mut world, id);
        assert!(!fault::take_pending(), "it ended before {fault:?} {nth}");
        if let Err(error) = result {
            ends.refused += 1;
            match (fault, error) {
                (Fault::Allocation, Refusal::NoMemory)
                | (Fault::Arm, Refusal::Hook { errno: Errno::ENOMEM, .. })
                | (Fault::PrePatch, Refusal::Callback { errno: Errno::ENOENT, .. }) => {}
                _ => panic!("{fault:?} {nth} is reported as {error}"),
            }
            assert!(!changed.is_some_and(|changed| changed.get()), "something ran something else, {when}");
            world.snapshot().assert_is(&before, &when);
            attempt(&mut world, id).expect("the next attempt succeeds");
        } else {
            ends.retried += 1;
        }
        settle(&mut world);
        world.snapshot().assert_is(&done, &format!("{when}, when all is over"));
    }
    ends
}

/// What a transition is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Way {
    Enable,
    /// Takes the place of the patch below.
    Replace,
    /// It was disabled, and drains if its model does not see tasks outside its text.
    EnableAgain,
    Disable,
}

const WAYS: [Way; 4] = [Way::Enable, Way::Replace, Way::EnableAgain, Way::Disable];

/// All is ready for the request.
fn ready(model: Model, way: Way) -> (World<false>, PatchId) {
    let mut world = world();
    world.apply(&Spec::new(1).vmlinux(&["g", "h"]).module("n", &["nf"]));
    let spec = spec(0, model);
    let spec = if way == Way::Replace { spec.cumulative() } else { spec };
    let id = world.add(&spec).expect("a good patch");
    if matches!(way, Way::EnableAgain | Way::Disable) {
        world.enable(id).expect("nothing is in the way");
        settle(&mut world);
    }
    if way == Way::EnableAgain {
        world.disable(id).expect("it is enabled");
        settle(&mut world);
    }
    (world, id)
}

fn request(way: Way) -> impl Fn(&mut World<false>, PatchId) -> Result<(), Refusal> {
    move |world, id| if way == Way::Disable { world.disable(id) } else { world.enable(id) }
}

/// The transition is under way, somebody holds it up, and nobody has come to the border.
fn blocked(model: Model, way: Way) -> (World<false>, PatchId) {
    let (mut world, id) = ready(model, way);
    hold(&world);
    request(way)(&mut world, id).expect("nothing is in the way");
    assert!(world.engine.in_transition().is_some(), "it is held up");
    (world, id)
}

fn each_case(mut check: impl FnMut(Model, Way)) {
    for model in MODELS {
        WAYS.into_iter().for_each(|way| check(model, way));
    }
}

#[test]
fn a_transition_that_cannot_begin() {
    each_case(|model, way| {
        let setup = move || ready(model, way);
        let ends = every_failure(Fault::Allocation, setup, request(way));
        let case = format!("{model:?}, {way:?}: {ends:?}");
        // The ranges that tasks must leave, the table, and before that what becomes of each function: hooks and stacks of
        // three, one of which is hooked already.
        let at_least = match way {
            Way::Enable | Way::Replace => 7 + 2,
            Way::EnableAgain => 3 + 2,
            Way::Disable => 2,
        };
        assert!(ends.refused >= at_least, "{case}");
        // Only who waits to be asked can be asked again.
        assert_eq!(ends.retried > 0, model.leave() == Leave::Kernel, "{case}");
        let (hooks, callbacks) = match way {
            Way::Disable => (0, 0),
            // The callbacks that took it back have not run.
            Way::EnableAgain if model.leave() == Leave::Kernel => (2, 0),
            _ => (2, 2),
        };
        assert_eq!(
            every_failure(Fault::Arm, setup, request(way)),
            Ends { refused: hooks, retried: 0 },
            "{case}"
        );
        assert_eq!(
            every_failure(Fault::PrePatch, setup, request(way)),
            Ends { refused: callbacks, retried: 0 },
            "{case}"
        );
    });
}

#[test]
fn a_transition_without_the_memory_for_a_larger_table() {
    each_case(|model, way| {
        let without = every_failure(Fault::Allocation, || ready(model, way), request(way));
        let setup = || {
            let (world, id) = ready(model, way);
            tasks_are_born_behind_the_count(&world);
            (world, id)
        };
        // The first attempt is followed by a second at once: that one lists them.
        let ends = every_failure(Fault::Allocation, setup, request(way));
        let grows = usize::from(model != Model::InTime);
        assert_eq!(ends.retried, without.retried + grows, "{model:?}, {way:?}: {ends:?}, {without:?}");
    });
}

fn tasks_are_born(world: &World<false>, stack: &[Pc]) {
    for _ in 0..40 {
        let id = world.kernel.fork(Kind::Kthread);
        world.kernel.change(id, |task| {
            task.mode = Mode::Asleep;
            task.stack = stack.to_vec();
        });
    }
}

/// A checkpoint lists tasks that were born each time it gathers them.
#[test]
fn a_checkpoint_that_cannot_list_who_was_born_lists_them_later() {
    for way in WAYS {
        let setup = || {
            let (world, id) = blocked(Model::Checkpoint, way);
            tasks_are_born(&world, &[]);
            (world, id)
        };
        let advance = |world: &mut World<false>, _| {
            assert!(world.advance());
            world.kernel.kill(INSIDE);
            Ok(())
        };
        let ends = every_failure(Fault::Allocation, setup, advance);
        assert_eq!(ends, Ends { refused: 0, retried: 1 }, "{way:?}");
    }
}

/// A task that is woken is asked to leave the kernel.
#[test]
fn a_task_that_cannot_be_asked_when_it_is_woken_is_asked_later() {
    for way in WAYS {
        let setup = || {
            let (mut world, id) = ready(Model::Hybrid, way);
            let user = world.kernel.find_task(|task| task.kind == Kind::User).expect("world() makes one");
            let addr = world.runs("f") + 8;
            world.kernel.change(user, |task| task.stack = vec![Pc { addr, exact: false }]);
            request(way)(&mut world, id).expect("nothing is in the way");
            (world, id)
        };
        let wake = |world: &mut World<false>, _| {
            world.kernel.pass(15_000);
            assert!(world.advance());
            let user = world.kernel.find_task(|task| task.kind == Kind::User).expect("world() makes one");
            world.kernel.change(user, |task| task.stack.clear());
            Ok(())
        };
        let ends = every_failure(Fault::Allocation, setup, wake);
        assert_eq!(ends, Ends { refused: 0, retried: 1 }, "{way:?}");
    }
}

/// Whoever holds a transition up is gone once it is turned around.
fn reverse(world: &mut World<false>, id: PatchId) -> Result<(), Refusal> {
    world.reverse(id)?;
    while let Some(id) = world.kernel.find_task(|task| task.mode == Mode::Asleep && !task.stack.is_empty()) {
        world.kernel.exit(id);
    }
    Ok(())
}

#[test]
fn a_transition_that_cannot_be_reversed() {
    each_case(|model, way| {
        let few = every_failure(Fault::Allocation, || blocked(model, way), reverse);
        assert!(few.refused > 0 && few.retried == 0, "{model:?}, {way:?}: {few:?}");
        // Tasks were born since all were listed, too many for the table.
        let setup = || {
            let (world, id) = blocked(model, way);
            let addr = spec(0, model).replacement("f") + 8;
            tasks_are_born(&world, &[Pc { addr, exact: false }]);
            (world, id)
        };
        let many = every_failure(Fault::Allocation, setup, reverse);
        let lists = usize::from(model.switch() == Switch::Thread);
        assert_eq!(many.refused, few.refused + lists, "{model:?}, {way:?}");
    });
}

#[test]
fn a_module_that_cannot_be_patched_in_a_transition() {
    each_case(|model, way| {
        // Where all are switched at once there is no way back: nobody was switched.
        let reversible = model.switch() == Switch::Thread;
        for reversed in [false, true].into_iter().filter(|reversed| reversible || !reversed) {
            let setup = move || {
                let (mut world, id) = blocked(model, way);
                if reversed {
                    // Somebody holds it up on the way back, too.
                    world.kernel.spawn(INSIDE + 1, &[spec(0, model).inside(), world.original("f") + 8]);
                    world.reverse(id).expect("it is in transition");
                    assert!(world.engine.in_transition().is_some(), "it is held up");
                }
                (world, id)
            };
            let load = |world: &mut World<false>, _| {
                world.load("n")?;
                world.kernel.kill(INSIDE);
                if reversed {
                    world.kernel.kill(INSIDE + 1);
                }
                Ok(())
            };
            let whole = |fault| {
                let ends = every_failure(fault, setup, load);
                assert_eq!(ends.retried, 0, "{model:?}, {way:?}, {reversed}, {fault:?}");
                ends.refused
            };
            // The hook, the list of hooks, one entry for each patch; going in, ranges of what changes.
            let at_least = if (way == Way::Disable) == reversed { 5 } else { 4 };
            let allocations = whole(Fault::Allocation);
            assert!(allocations >= at_least, "{model:?}, {way:?}, {reversed}: {allocations}");
            assert_eq!((whole(Fault::Arm), whole(Fault::PrePatch)), (1, 2), "{model:?}, {way:?}, {reversed}");
        }
    });
}

/// What cannot be patched any more is said, and the module stays as it is.
#[test]
fn a_module_that_cannot_be_patched_when_it_is_live() {
    let mut world = world();
    world.come("n").expect("nobody patches it");
    let id = world.apply(&spec(0, Model::Hybrid));
    assert_eq!(world.state(id), State::Enabled);
    fault::fail_nth(Fault::Arm, 1);
    world.engine.object_live(&world.kernel, "n");
    assert!(!fault::take_pending());
    let log = world.take_log();
    let failures = log.iter().filter(|line| line.starts_with("failed to apply patch 'p0' to module 'n'"));
    assert_eq!(failures.count(), 1, "{log:?}");
    assert_eq!(world.runs("nf"), world.original("nf"));
}
