// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Whether every task gets what the consistency model of a patch promises. It knows the patches that were asked for, and
//! sees which version of a function each call runs; it asks the engine nothing.

use klp_core::Addr;
use klp_core::patch::{Leave, Model, Switch};
use klp_core::universe::Universe;

use crate::sim::tasks::{Kind, Mode};
use crate::sim::{Sim, Spec};

use super::load::{Call, Runner};

/// A patch that takes effect, or is taken back.
struct Transition {
    /// How many had begun with it.
    number: usize,
    /// The patches without it, in stacking order.
    unpatched: Vec<Spec>,
    /// The patches with it.
    patched: Vec<Spec>,
    model: Model,
    origin: Universe,
    goal: Universe,
    over: bool,
    forced: bool,
    /// Somebody was where it leads to.
    arrived: bool,
}

impl Transition {
    fn patches(&self, universe: Universe) -> &[Spec] {
        match universe {
            Universe::Unpatched => &self.unpatched,
            Universe::Patched => &self.patched,
        }
    }

    /// What a function's call runs in a universe.
    fn version(&self, universe: Universe, call: &Call) -> Addr {
        let top = self.patches(universe).iter().rev().find(|spec| spec.patches(call.name));
        top.map_or(call.function.addr, |spec| spec.replacement(call.name))
    }

    fn changes(&self, call: &Call) -> bool {
        self.version(Universe::Unpatched, call) != self.version(Universe::Patched, call)
    }

    /// The universe that a call belongs to; none if it belongs to both, or was made before and ran neither version.
    fn universe(&self, call: &Call) -> Option<Universe> {
        if !self.changes(call) {
            return None;
        }
        let runs = |universe| call.runs == self.version(universe, call);
        if call.since < self.number {
            return runs(self.origin).then_some(self.origin);
        }
        [Universe::Unpatched, Universe::Patched].into_iter().find(|universe| runs(*universe))
    }

    fn nobody_inside(&self, runner: &Runner, when: &str) {
        if self.goal == self.origin && self.model.switch() == Switch::Kernel {
            return;
        }
        for call in runner.inside() {
            let behind = self.universe(call) == Some(self.goal.other());
            assert!(!behind, "a task is still inside the '{}' that is to go, {when}", call.name);
        }
    }
}

/// Watches the tasks.
pub(crate) struct Judge {
    kernel: Sim<false>,
    transition: Option<Transition>,
    /// How many have begun.
    number: usize,
    /// How often a promise could have been broken: calls of functions that change, on their own or under others.
    pub(crate) judged: usize,
}

impl Judge {
    pub(crate) fn new(kernel: &Sim<false>) -> Judge {
        Judge { kernel: kernel.clone(), transition: None, number: 0, judged: 0 }
    }

    /// How many transitions have begun.
    pub(crate) fn transitions(&self) -> usize {
        self.number
    }

    /// From now on a patch takes effect, or is taken back, in this model: `patched` are the patches with it.
    pub(crate) fn begin(&mut self, unpatched: &[&Spec], patched: &[&Spec], model: Model, goal: Universe) {
        let own = |specs: &[&Spec]| specs.iter().map(|spec| (*spec).clone()).collect();
        self.number += 1;
        self.transition = Some(Transition {
            number: self.number,
            unpatched: own(unpatched),
            patched: own(patched),
            model,
            origin: goal.other(),
            goal,
            over: false,
            forced: false,
            arrived: false,
        });
    }

    /// From now on it leads to the other side.
    pub(crate) fn reversed(&mut self) {
        let transition = self.transition.as_mut().expect("a transition");
        transition.goal = transition.goal.other();
    }

    /// From now on nothing is promised to tasks that are in the kernel.
    pub(crate) fn forced(&mut self) {
        self.transition.as_mut().expect("a transition").forced = true;
    }

    /// Whether a transition has begun and is not over.
    pub(crate) fn is_in_transition(&self) -> bool {
        self.transition.as_ref().is_some_and(|transition| !transition.over)
    }

    /// The engine says that everybody is where the transition leads to.
    pub(crate) fn over(&mut self, runners: &mut [Runner]) {
        let transition = self.transition.as_mut().expect("a transition");
        transition.over = true;
        let transition = &*transition;
        for runner in runners {
            if transition.forced {
                runner.exempt |= runner.in_kernel && (runner.kind == Kind::User || !runner.stack.is_empty());
            }
            if transition.model != Model::Immediate && !runner.exempt {
                transition.nobody_inside(runner, "when the transition is over");
            }
        }
    }

    /// The patches that are in effect: of an engine that is at rest.
    pub(crate) fn in_effect(&self) -> &[Spec] {
        self.transition.as_ref().map_or(&[], |transition| transition.patches(transition.goal))
    }

    /// The callback has decided which version of a function a call runs.
    pub(crate) fn decided(&self, call: &Call) {
        let Some(transition) = &self.transition else {
            assert_eq!(call.runs, call.function.addr, "'{}' is not patched", call.name);
            return;
        };
        let versions = [Universe::Unpatched, Universe::Patched].map(|side| transition.version(side, call));
        assert!(
            versions.contains(&call.runs),
            "'{}' runs {:#x}, none of {versions:x?}",
            call.name,
            call.runs
        );
        if transition.over {
            let goal = transition.version(transition.goal, call);
            assert_eq!(call.runs, goal, "'{}' runs something else when all is over", call.name);
        }
    }

    /// A task begins to run a version of a function.
    pub(crate) fn called(&mut self, runners: &[Runner], runner: usize, call: &Call) {
        let caller = &runners[runner];
        let Some(transition) = &mut self.transition else { return };
        let Some(universe) = transition.universe(call) else { return };
        if transition.model == Model::Immediate || transition.forced || caller.exempt {
            return;
        }
        self.judged += 1;
        if transition.model.switch() == Switch::Kernel {
            transition.arrived |= universe == transition.goal;
            let early =
                universe == transition.origin && transition.arrived && transition.goal != transition.origin;
            assert!(!early, "'{}' runs as before after somebody ran it as changed", call.name);
        }
        let transition = &*transition;
        for other in caller.inside().filter_map(|outer| Some((outer, transition.universe(outer)?))) {
            let (outer, side) = other;
            assert_eq!(
                side, universe,
                "'{}' mixes with the '{}' that it is called in",
                call.name, outer.name
            );
        }
        if transition.model.leave() == Leave::Kernel && caller.kind == Kind::User {
            for earlier in &caller.calls {
                let side = transition.universe(earlier);
                let same = side.is_none_or(|side| side == universe);
                assert!(same, "'{}' mixes with a '{}' of the same system call", call.name, earlier.name);
            }
        }
        if transition.model.switch() == Switch::Kernel && universe == transition.goal {
            let others = runners.iter().filter(|other| !other.exempt);
            others.for_each(|other| transition.nobody_inside(other, "when another runs it as changed"));
        }
    }

    /// The machine is stopped, and what was to be done is done.
    pub(crate) fn stopped(&mut self, runners: &[Runner]) {
        let Some(transition) = &mut self.transition else { return };
        let Transition { model, goal, origin, over, forced, arrived, .. } = *transition;
        if model.switch() != Switch::Kernel || over || forced || arrived || goal == origin {
            return;
        }
        if self.kernel.universe_of_unlisted() != goal {
            return;
        }
        transition.arrived = true;
        for runner in runners.iter().filter(|runner| !runner.exempt) {
            let inside = runner.inside().find(|call| transition.universe(call) == Some(origin));
            assert!(
                inside.is_none(),
                "a task is inside '{}' at the switch",
                inside.map_or("", |call| call.name)
            );
            let waits = self.kernel.look_at(runner.id, |task| task.mode) == Mode::Waiting;
            let away = model.leave() == Leave::Kernel && runner.kind == Kind::User && !waits;
            assert!(!away, "a user task is not at the border at the switch");
        }
    }

    /// The text of a patch is freed.
    pub(crate) fn removed(&self, spec: &Spec, runners: &[Runner]) {
        for runner in runners {
            let inside = runner.inside().map(|call| call.runs).chain(runner.about_to_run());
            let there = inside.into_iter().any(|runs| spec.text.contains(runs));
            assert!(!there, "the text of {} is freed, and a task will return to it", spec.name);
        }
    }
}
