// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tasks one by one: who is listed, who is shown to hold a transition up, who is woken and when, who waits at the border.

use klp_core::patch::{Model, PatchId, State};
use klp_core::platform::{Hold, TaskId};
use klp_core::universe::Universe;
use klp_core::unwind::Unreliable;

use crate::sim::kernel::{Point, WAY_OUT};
use crate::sim::tasks::{Kind, Mode, Pc};
use crate::sim::{Entry, Spec, World};

fn spec(model: Model) -> Spec {
    Spec::new(0).vmlinux(&["f"]).in_model(model)
}

/// A task in such a place, with these return addresses on its stack.
fn task(world: &World<false>, kind: Kind, mode: Mode, stack: &[u64]) -> TaskId {
    let id = world.kernel.fork(kind);
    world.kernel.change(id, |task| {
        task.mode = mode;
        task.stack = stack.iter().map(|&addr| Pc { addr, exact: false }).collect();
    });
    id
}

fn inside(world: &World<false>) -> [u64; 2] {
    [world.original("h") + 4, world.original("f") + 8]
}

/// Who holds the transition up, why, and for how long.
fn blocked(world: &World<false>) -> Vec<(TaskId, Hold, u64)> {
    let mut all = Vec::new();
    world.engine.each_blocked(&world.kernel, &mut |task, hold, ms| all.push((task, hold, ms)));
    all
}

fn enable(world: &mut World<false>, model: Model) -> PatchId {
    world.apply(&spec(model))
}

/// The table is made for those that were counted, before the machine is stopped.
#[test]
fn tasks_that_are_born_while_a_table_is_made_are_listed_in_a_larger_one() {
    for model in [Model::Hybrid, Model::InThread, Model::Checkpoint] {
        let mut world = World::<false>::new();
        let holder = task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
        let user = task(&world, Kind::User, Mode::Asleep, &[]);
        let kernel = world.kernel.clone();
        let mut born = false;
        world.kernel.watch(move |point| {
            if point == Point::Any && kernel.shows_universes() && !std::mem::replace(&mut born, true) {
                for _ in 0..100 {
                    kernel.fork(Kind::Kthread);
                }
            }
        });
        enable(&mut world, model);
        world.kernel.stop_watching();
        let listed = world.kernel.universes();
        assert_eq!(listed.len(), 102);
        assert!(listed.iter().all(|(_, _, pins)| *pins == 1), "{model:?}: each is listed once");
        let unpatched = listed.iter().filter(|(_, universe, _)| *universe == Universe::Unpatched).count();
        let expected = match model {
            Model::Hybrid => 1,
            Model::InThread => 2,
            _ => 102,
        };
        assert_eq!(unpatched, expected, "{model:?}");
        assert_eq!(world.kernel.universe_of(holder.0), Universe::Unpatched);
        assert_eq!(world.kernel.look_at(user, |task| task.is_asked()), model != Model::Hybrid);
    }
}

/// Once the table has grown under a transition, what it said of tasks is still said.
#[test]
fn a_table_that_grows_forgets_neither_who_was_asked_nor_who_waits() {
    let mut world = World::<false>::new();
    task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    let [waits, asked] = [(); 2].map(|()| task(&world, Kind::User, Mode::Asleep, &[]));
    enable(&mut world, Model::Checkpoint);
    world.kernel.at_border(waits);
    assert_eq!(world.kernel.look_at(waits, |task| task.mode), Mode::Waiting);
    for _ in 0..50 {
        task(&world, Kind::Kthread, Mode::Asleep, &[]);
    }
    // Nobody is asked twice: the kernel would notice.
    assert!(world.advance());
    let held: Vec<TaskId> = blocked(&world).into_iter().map(|(task, ..)| task).collect();
    assert!(held.contains(&asked) && !held.contains(&waits), "who waits holds nothing up");
}

#[test]
fn any_number_of_running_tasks_is_switched_in_one_attempt() {
    for count in [1, 31, 32, 33, 64, 100] {
        let mut world = World::<false>::new();
        for _ in 0..count {
            task(&world, Kind::Kthread, Mode::Running, &[]);
        }
        let id = world.add(&spec(Model::Hybrid)).expect("a good patch");
        world.enable(id).expect("nothing is in the way");
        assert_eq!(world.engine.in_transition(), None, "{count} tasks run, none of them inside");
        assert_eq!(world.state(id), State::Enabled);
    }
}

#[test]
fn who_holds_a_transition_up_is_shown_with_the_reason_and_the_time() {
    let mut world = World::<false>::new();
    let f = world.original("f");
    let asleep = task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    let runs = task(&world, Kind::Kthread, Mode::Running, &inside(&world));
    let user = task(&world, Kind::User, Mode::Asleep, &[]);
    let lost = task(&world, Kind::User, Mode::Asleep, &[]);
    world.kernel.change(lost, |task| task.walkable = false);
    task(&world, Kind::Kthread, Mode::Asleep, &[world.original("h") + 4]);
    let in_f = Hold::Code(f + 7);
    let unreliable = Hold::Unreliable(Unreliable::NotTheBottom(lost.0));
    for (model, expected) in [
        (Model::Hybrid, vec![(asleep, in_f), (runs, in_f), (lost, unreliable)]),
        (Model::InThread, vec![(asleep, in_f), (runs, in_f), (user, Hold::InKernel), (lost, Hold::InKernel)]),
        (Model::InTime, vec![(asleep, in_f), (runs, in_f), (lost, unreliable)]),
        (
            Model::Checkpoint,
            vec![(asleep, in_f), (runs, in_f), (user, Hold::InKernel), (lost, Hold::InKernel)],
        ),
    ] {
        let id = enable(&mut world, model);
        world.kernel.pass(1_234);
        let mut shown = blocked(&world);
        shown.sort_by_key(|(task, ..)| task.0);
        let expected: Vec<_> = expected.into_iter().map(|(task, hold)| (task, hold, 1_234)).collect();
        assert_eq!(shown, expected, "{model:?}");
        world.reverse(id).expect("it is in transition");
        // Whoever was asked is not any more, or comes to the border.
        while world.advance() {
            world.kernel.at_border(user);
            world.kernel.at_border(lost);
        }
        for task in [user, lost] {
            world.kernel.change(task, |task| task.mode = Mode::Asleep);
        }
        world.remove(id).expect("nobody has run it");
    }
}

/// It is in no function stack any more, and is a version of a function that changes.
#[test]
fn a_task_in_a_version_that_drains_holds_a_transition_up() {
    for model in [Model::Hybrid, Model::InThread, Model::InTime, Model::Checkpoint] {
        let mut world = World::<false>::new();
        let old = world.apply(&Spec::new(1).vmlinux(&["f"]));
        let inside = world.runs("f") + 8;
        let sleeper = task(&world, Kind::Kthread, Mode::Asleep, &[inside]);
        world.disable(old).expect("it is enabled");
        assert_eq!(world.state(old), State::Draining);
        enable(&mut world, model);
        assert_eq!(blocked(&world), [(sleeper, Hold::Code(inside - 1), 0)], "{model:?}");
        world.kernel.exit(sleeper);
        assert!(!world.advance(), "{model:?}");
    }
}

/// Without a table of tasks only some are shown.
#[test]
fn of_many_tasks_some_are_shown() {
    let mut world = World::<false>::new();
    for _ in 0..40 {
        task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    }
    let id = enable(&mut world, Model::InTime);
    assert_eq!(blocked(&world).len(), 16);
    world.reverse(id).expect("it is in transition");
    world.remove(id).expect("nobody has run it");
    let id = enable(&mut world, Model::Hybrid);
    assert_eq!(blocked(&world).len(), 40);
    world.force(id).expect("it is in transition");
}

#[test]
fn the_idle_task_of_a_cpu_that_is_offline_holds_nothing_up() {
    for model in [Model::Hybrid, Model::InThread, Model::InTime, Model::Checkpoint] {
        let mut world = World::<false>::new();
        task(&world, Kind::Idle, Mode::Offline, &inside(&world));
        enable(&mut world, model);
        assert_eq!(world.engine.in_transition(), None, "{model:?}");
    }
}

#[test]
fn a_task_that_exits_holds_nothing_up_and_its_place_is_free_when_all_is_over() {
    let mut world = World::<false>::new();
    let exits = task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    let stays = task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    enable(&mut world, Model::Hybrid);
    world.kernel.exit(exits);
    let next = world.kernel.fork(Kind::Kthread);
    assert_ne!(next, exits, "the place of a task that is listed is not used again");
    assert_eq!(world.kernel.universe_of(next.0), Universe::Patched, "it was born in the goal's universe");
    world.advance();
    let held: Vec<TaskId> = blocked(&world).into_iter().map(|(task, ..)| task).collect();
    assert_eq!(held, [stays]);
    world.kernel.exit(stays);
    assert!(!world.advance());
    assert!([exits, stays].contains(&world.kernel.fork(Kind::Kthread)), "they are not pinned any more");
}

/// When tasks were woken, in milliseconds since the transition began.
fn wakes(model: Model, task: impl Fn(&World<false>) -> TaskId) -> Vec<u64> {
    let mut world = World::<false>::new();
    let task = task(&world);
    enable(&mut world, model);
    let mut wakes = Vec::new();
    for now in (0..18_000).step_by(500) {
        if world.kernel.woken(task) {
            wakes.push(now);
        }
        world.kernel.pass(500);
        world.advance();
    }
    wakes
}

#[test]
fn tasks_are_woken_after_a_while_and_then_once_a_second() {
    let kthread = |world: &World<false>| task(world, Kind::Kthread, Mode::Asleep, &inside(world));
    assert_eq!(wakes(Model::Hybrid, kthread), [15_000, 16_000, 17_000]);
    assert_eq!(wakes(Model::InTime, kthread), [15_000, 16_000, 17_000]);
    // Whoever is to leave the kernel sleeps in a system call, most often.
    let user = |world: &World<false>| task(world, Kind::User, Mode::Asleep, &[]);
    assert_eq!(wakes(Model::InThread, user)[..3], [1_000, 2_000, 3_000]);
}

/// It would be switched where it is asked to, with such a function on its stack.
#[test]
fn who_is_woken_is_asked_to_leave_the_kernel_unless_the_way_out_changes() {
    for (funcs, asked) in [(&["f"][..], true), (&["f", WAY_OUT], false)] {
        let mut world = World::<false>::new();
        world.kernel.define(None, WAY_OUT, Entry::Site);
        let user = task(&world, Kind::User, Mode::Asleep, &inside(&world));
        world.apply(&Spec::new(0).vmlinux(funcs).in_model(Model::Hybrid));
        assert!(!world.kernel.look_at(user, |task| task.is_asked()), "not yet");
        world.kernel.pass(15_000);
        assert!(world.advance());
        assert!(world.kernel.woken(user));
        assert_eq!(world.kernel.look_at(user, |task| task.is_asked()), asked, "{funcs:?}");
        if asked {
            world.kernel.at_border(user);
            assert!(!world.advance(), "it has left, and sleeps in the same function again");
        }
    }
}

#[test]
fn a_transition_that_was_reversed_wakes_nobody_for_a_while() {
    let mut world = World::<false>::new();
    let id = task(&world, Kind::Kthread, Mode::Asleep, &inside(&world));
    // It is patched when the transition is reversed, and sleeps inside then.
    let other = task(&world, Kind::Kthread, Mode::Asleep, &[]);
    let patch = enable(&mut world, Model::Hybrid);
    let replacement = spec(Model::Hybrid).replacement("f");
    world.kernel.change(other, |task| task.stack = vec![Pc { addr: replacement + 8, exact: false }]);
    world.kernel.pass(15_000);
    world.advance();
    assert!(world.kernel.woken(id) && !world.kernel.woken(other));
    world.reverse(patch).expect("it is in transition");
    world.advance();
    world.kernel.pass(14_999);
    world.advance();
    assert!(!world.kernel.woken(other), "not yet");
    world.kernel.pass(1);
    world.advance();
    assert!(world.kernel.woken(other) && !world.kernel.woken(id), "who is there is left alone");
}

/// The times at which tasks wait at the border, while one never comes there.
#[test]
fn tasks_wait_at_the_border_for_a_while_and_then_go_on() {
    let mut world = World::<false>::new();
    task(&world, Kind::User, Mode::Asleep, &[]);
    let comes = task(&world, Kind::User, Mode::Asleep, &[]);
    enable(&mut world, Model::Checkpoint);
    let mut waited = Vec::new();
    for now in (0..6_000).step_by(100) {
        world.kernel.at_border(comes);
        if world.kernel.look_at(comes, |task| task.mode) == Mode::Waiting {
            waited.push(now);
        }
        world.kernel.pass(100);
        world.advance();
    }
    let rounds = [(0, 200), (500, 400), (1_500, 800), (3_500, 1_000)];
    let rounds = rounds.into_iter().flat_map(|(from, ms)| (from..from + ms).step_by(100));
    assert_eq!(
        waited,
        rounds.collect::<Vec<_>>(),
        "200 ms, then 300 ms not; twice that; at most 1 s, then 1.5 s not"
    );
}

#[test]
fn nobody_waits_at_the_border_when_the_transition_is_reversed_or_forced() {
    for force in [false, true] {
        let mut world = World::<false>::new();
        task(&world, Kind::User, Mode::Asleep, &[]);
        let comes = task(&world, Kind::User, Mode::Asleep, &[]);
        let id = enable(&mut world, Model::Checkpoint);
        world.kernel.at_border(comes);
        assert!(world.kernel.is_gathering());
        if force { world.force(id) } else { world.reverse(id) }.expect("it is in transition");
        assert_eq!(world.engine.in_transition(), None);
        assert_eq!(world.kernel.look_at(comes, |task| task.mode), Mode::Running);
        assert!(!world.kernel.is_gathering() && world.kernel.pins() == 0 && world.kernel.asked() == 0);
    }
}
