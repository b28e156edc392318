// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What is checked: transitions while tasks run.

use std::collections::BTreeSet;

use klp_core::Engine;
use klp_core::patch::{Model, Patch, PatchId};
use klp_core::platform::Range;
use klp_core::redirect::FuncRedirect;
use loom::thread::JoinHandle;

use crate::machine::{FUNCTIONS, Machine, Wrong};
use crate::task::{Version, replacement, saw, take_seen, text};

/// Goes through all executions of a model that have at most so many preemptions: changes from one thread to another where
/// the first could have gone on. Returns what happened in them.
pub(crate) fn check(preemptions: usize, model: impl Fn() + Send + Sync + 'static) -> BTreeSet<&'static str> {
    let mut builder = loom::model::Builder::new();
    builder.preemption_bound = Some(preemptions);
    builder.max_branches = 20_000;
    take_seen();
    builder.check(model);
    take_seen()
}

/// Whoever enables and disables patches.
struct User {
    machine: Machine,
    engine: Engine<Machine>,
    patches: Vec<PatchId>,
}

impl User {
    fn new(machine: &Machine) -> User {
        User { machine: machine.clone(), engine: Engine::default(), patches: Vec::new() }
    }

    /// Enables the next patch, or begins to.
    fn enable(&mut self, model: Model, replace: bool) -> PatchId {
        let nth = self.patches.len();
        let mut patch = Patch::new("patch", replace, text(nth));
        patch.model = model;
        let object = patch.add_object(None, nth).expect("memory");
        for (function, (name, _)) in FUNCTIONS.into_iter().enumerate() {
            object.add_func(name, 0, replacement(nth, function), Range::default()).expect("memory");
        }
        let id = self.engine.add(&self.machine, patch).expect("it can be patched");
        self.patches.push(id);
        self.engine.enable(&self.machine, id).expect("it can be enabled");
        id
    }

    fn disable(&mut self, id: PatchId) {
        self.engine.disable(&self.machine, id).expect("it can be disabled");
    }

    /// If it is in transition.
    fn reverse(&mut self, id: PatchId) {
        if self.is_in_transition() {
            self.engine.reverse(&self.machine, id).expect("it can be reversed");
            saw("is reversed");
        }
    }

    fn advance(&mut self) -> bool {
        self.engine.advance(&self.machine)
    }

    fn is_in_transition(&self) -> bool {
        self.engine.in_transition().is_some()
    }

    /// Frees the text of a patch, if it is disabled and no task is in it.
    fn free(&mut self, id: PatchId) {
        if self.is_in_transition() || !matches!(self.engine.drain(&self.machine, id), Ok(None)) {
            return;
        }
        self.engine.remove(&self.machine, id).expect("it can be removed");
        let nth = self.patches.iter().position(|patch| *patch == id).expect("a patch of ours");
        self.machine.modules[nth].freed.free();
        saw("is freed");
    }

    /// Waits for the tasks. When they have exited, nothing holds a transition up.
    fn wait_for<const N: usize>(&mut self, tasks: [JoinHandle<()>; N]) {
        tasks.into_iter().for_each(|task| task.join().expect("the task ends"));
        for _ in 0..4 {
            if !self.advance() {
                return;
            }
        }
        panic!("the transition does not end");
    }
}

/// The hybrid model: no function calls another version of the other one.
pub(crate) fn hybrid(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let task = machine.start(0, |task| {
        task.nested(true);
        task.sleep();
        task.nested(false);
    });
    let mut user = User::new(&machine);
    user.enable(Model::Hybrid, false);
    user.advance();
    user.wait_for([task]);
}

/// The same when the patch is disabled: a second transition of the same functions. What the first one left goes, then the
/// hooks, then the patch's text.
pub(crate) fn disabled(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    let task = machine.start(0, |task| {
        task.nested(true);
        task.nested(false);
    });
    user.disable(patch);
    user.free(patch);
    user.wait_for([task]);
    user.free(patch);
}

/// The same when another patch takes this one's place.
pub(crate) fn replaced(wrong: Wrong) {
    let machine = Machine::new(2, 2, wrong);
    let mut user = User::new(&machine);
    let first = user.enable(Model::Hybrid, false);
    let tasks = [0, 1].map(|nth| machine.start(nth, |task| task.nested(true)));
    user.enable(Model::Hybrid, true);
    user.free(first);
    user.wait_for(tasks);
    user.free(first);
}

/// The same for a task that is born meanwhile.
pub(crate) fn born(wrong: Wrong) {
    let machine = Machine::new(2, 1, wrong);
    let task = machine.start(0, |task| {
        task.call(0);
        let child = task.fork(1, |child| child.nested(false));
        task.return_all();
        child.join().expect("the child ends");
    });
    let mut user = User::new(&machine);
    user.enable(Model::Hybrid, false);
    user.wait_for([task]);
}

/// The same when the transition is reversed: the child must go back.
pub(crate) fn reversed(wrong: Wrong) {
    let machine = Machine::new(2, 1, wrong);
    let task = machine.start(0, |task| {
        task.call(0);
        let child = task.fork(1, |child| child.nested(false));
        child.join().expect("the child ends");
    });
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    user.reverse(patch);
    user.advance();
    user.wait_for([task]);
}

/// A transition that is forced promises no more than that what is called is there.
pub(crate) fn forced(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    let task = machine.start(0, |task| {
        task.call(0);
        task.sleep();
        task.call(1);
        task.return_all();
    });
    user.disable(patch);
    if user.is_in_transition() {
        user.engine.force(&machine, patch).expect("it can be forced");
        saw("is forced");
    }
    user.free(patch);
    user.wait_for([task]);
    user.free(patch);
}

/// The model that is consistent in each thread: a system call runs one version of both functions.
pub(crate) fn in_thread(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let task = machine.start(0, |task| {
        task.sequence(true);
        task.sequence(false);
    });
    let mut user = User::new(&machine);
    let patch = user.enable(Model::InThread, false);
    user.advance();
    user.reverse(patch);
    user.advance();
    user.wait_for([task]);
}

/// The same when the patch is disabled and its text goes, for a task that leaves the kernel and one that never does.
pub(crate) fn left(wrong: Wrong) {
    let machine = Machine::new(2, 1, wrong);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::InThread, false);
    let task = machine.start(0, |task| task.sequence(false));
    let kthread = machine.start_kthread(1, |task| task.nested(false));
    user.disable(patch);
    user.advance();
    user.free(patch);
    user.wait_for([task, kthread]);
    user.free(patch);
}

/// A task does inside the patch what it was asked to do on leaving the kernel. Even if it is taken for one that has left, the
/// patch's text stays.
pub(crate) fn works_inside(_: Wrong) {
    let machine = Machine::new(1, 1, Wrong::LeavesAnywhere);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::InThread, false);
    let task = machine.start(0, |task| {
        let version = task.call(0);
        task.work_inside();
        task.execute(version);
        task.return_all();
    });
    user.disable(patch);
    user.free(patch);
    user.wait_for([task]);
    user.free(patch);
}

/// The model that is consistent in time: once a call went to a version, none of any task goes to an older one.
pub(crate) fn in_time(wrong: Wrong) {
    let machine = Machine::new(3, 1, wrong);
    machine.newest.set(Some(None));
    let forks = machine.start(0, |task| {
        let child = task.fork(2, |child| child.nested(false));
        child.join().expect("the child ends");
    });
    let calls = machine.start(1, |task| task.nested(false));
    let mut user = User::new(&machine);
    user.enable(Model::InTime, false);
    user.wait_for([forks, calls]);
}

/// A checkpoint: both.
pub(crate) fn checkpoint(wrong: Wrong) {
    let machine = Machine::new(2, 1, wrong);
    machine.newest.set(Some(None));
    let task = machine.start(0, |task| task.sequence(false));
    let kthread = machine.start_kthread(1, |task| task.nested(false));
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Checkpoint, false);
    user.advance();
    user.reverse(patch);
    user.wait_for([task, kthread]);
}

/// A checkpoint for which a task waits, is let go, and waits again.
pub(crate) fn scattered(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    // A look at the clock is later than any time that the engine waits for.
    machine.tick.set(400);
    let task = machine.start(0, |task| {
        task.sequence(false);
        task.sequence(false);
    });
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Checkpoint, false);
    user.advance();
    user.reverse(patch);
    user.wait_for([task]);
}

/// Without consistency: what runs is initialised, and is there.
pub(crate) fn immediate(wrong: Wrong) {
    let machine = Machine::new(1, 2, wrong);
    let mut user = User::new(&machine);
    user.enable(Model::Immediate, false);
    let task = machine.start(0, |task| {
        task.call(0);
        task.call(1);
        task.return_all();
    });
    let patch = user.enable(Model::Immediate, false);
    user.disable(patch);
    user.free(patch);
    user.wait_for([task]);
}

fn start_nmi(machine: &Machine, nth: usize, function: usize, expected: &'static [Version]) -> JoinHandle<()> {
    let machine = machine.clone();
    loom::thread::spawn(move || {
        let version = machine.nmi(nth, function);
        assert!(expected.contains(&version), "an NMI calls another version than its task");
    })
}

/// An NMI finds what is there, while a patch comes and goes and its text with it.
pub(crate) fn nmi(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let nmi = start_nmi(&machine, 0, 0, &[None, Some(0)]);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    user.disable(patch);
    user.free(patch);
    user.wait_for([nmi]);
}

/// An NMI on top of a task that switches itself.
pub(crate) fn nmi_on_leaving(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let task = machine.start(0, |task| task.sequence(false));
    let nmi = start_nmi(&machine, 0, 0, &[None, Some(0)]);
    let mut user = User::new(&machine);
    user.enable(Model::InThread, false);
    user.wait_for([task, nmi]);
}

/// An NMI on top of a task, while all are listed: it is where they are, not where those are that are born later.
pub(crate) fn nmi_on_listing(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    machine.add_sleeper(0, Some(0));
    let nmi = start_nmi(&machine, 0, 1, &[Some(0)]);
    user.disable(patch);
    nmi.join().expect("the NMI returns");
}

/// An NMI on top of a task that is not switched, while a bigger table takes the place of the one it is in.
pub(crate) fn nmi_on_growing(wrong: Wrong) {
    let machine = Machine::new(1, 1, wrong);
    let mut user = User::new(&machine);
    let patch = user.enable(Model::Hybrid, false);
    machine.add_sleeper(0, Some(0));
    user.disable(patch);
    assert!(user.is_in_transition(), "the task is in the patch");
    machine.add_sleeper(1, Some(0));
    let nmi = start_nmi(&machine, 0, 1, &[Some(0)]);
    user.reverse(patch);
    nmi.join().expect("the NMI returns");
}

/// A call from a range that once reached the original function does not, when another range takes its place.
pub(crate) fn original_callers(_: Wrong) {
    const BEFORE: Range = Range { start: 0x5000, size: 0x40 };
    const AFTER: Range = Range { start: 0x6000, size: 0x40 };
    let redirect = std::rc::Rc::new(FuncRedirect::default());
    redirect.settle(Some(0x9000));
    assert!(redirect.add_original_caller(BEFORE));
    redirect.remove_original_caller(BEFORE);
    let caller = {
        let redirect = std::rc::Rc::clone(&redirect);
        loom::thread::spawn(move || {
            let target = redirect.target(BEFORE.start + 4, || unreachable!("no transition"));
            assert_eq!(target, Some(0x9000), "mixed: a range's start with another one's size");
        })
    };
    assert!(redirect.add_original_caller(AFTER));
    caller.join().expect("the call returns");
}
