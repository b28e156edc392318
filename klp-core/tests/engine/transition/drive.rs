// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A history: requests to the engine, the worker that goes on with a transition, and tasks, one after the other as the
//! choices say, and tasks in between while the engine works.

use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;

use klp_core::Platform;
use klp_core::patch::{Model, PatchId, State};
use klp_core::universe::Universe;

use crate::sim::fault::{self, Fault};
use crate::sim::flaw::Flaw;
use crate::sim::tasks::Kind;
use crate::sim::{Refusal, Spec, World};

use super::choices::Choices;
use super::load::{Load, Steps};
use super::program::{Program, text};

/// What somebody asks for, by the number of the patch where it concerns one.
#[derive(Clone, Debug)]
pub(crate) enum Request {
    Enable(usize),
    Disable(usize),
    Reverse,
    Force,
    Load(&'static str),
    Unload(&'static str),
    /// The CPU of the idle task goes or comes back.
    Offline,
    Online,
    /// The nth opportunity from now on fails.
    Fail(Fault, u32),
}

/// What histories begin with.
#[derive(Clone)]
pub(crate) struct Scenario {
    pub(crate) specs: Vec<Spec>,
    /// The patches that are enabled before there are tasks.
    pub(crate) enabled: Vec<usize>,
    pub(crate) loaded: Vec<&'static str>,
    pub(crate) tasks: Vec<(Kind, Program)>,
    /// Tasks that are somewhere already: what they have done, and what they will do.
    pub(crate) inside: Vec<(Kind, Program, usize)>,
    pub(crate) requests: Vec<Request>,
    pub(crate) steps: Steps,
    /// How often tasks get the time while the engine works, at most.
    pub(crate) interruptions: usize,
    /// After how many milliseconds tasks are woken, if not as late as by default.
    pub(crate) wake_after: Option<u64>,
    pub(crate) flaw: Option<Flaw>,
    /// Another model than that of the patches, whose promise is to be kept.
    pub(crate) promised: Option<Model>,
}

impl Scenario {
    pub(crate) fn new(specs: Vec<Spec>, tasks: Vec<(Kind, Program)>, requests: Vec<Request>) -> Scenario {
        Scenario {
            specs,
            enabled: Vec::new(),
            loaded: Vec::new(),
            tasks,
            inside: Vec::new(),
            requests,
            steps: Steps::Coarse,
            interruptions: usize::MAX,
            wake_after: None,
            flaw: None,
            promised: None,
        }
    }
}

impl fmt::Debug for Scenario {
    /// A line for each part.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.specs.iter().try_for_each(|spec| writeln!(f, "\n  {spec:?}"))?;
        let Scenario { enabled, loaded, requests, steps, interruptions, wake_after, .. } = self;
        writeln!(
            f,
            "  enabled {enabled:?}, loaded {loaded:?}, {steps:?} steps, {interruptions} interruptions, woken after {wake_after:?}"
        )?;
        for (kind, program) in &self.tasks {
            writeln!(f, "  {kind:?} <{}>", text(program))?;
        }
        for (kind, program, steps) in &self.inside {
            writeln!(f, "  {kind:?} <{}>, behind step {steps}", text(program))?;
        }
        write!(f, "  {requests:?}")
    }
}

/// What happened in a history, or in several.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Seen {
    pub(crate) histories: usize,
    pub(crate) steps: usize,
    pub(crate) judged: usize,
    /// Attempts after which a transition was still under way.
    pub(crate) blocked: usize,
    pub(crate) reversed: usize,
    pub(crate) forced: usize,
    pub(crate) drained: usize,
    /// Patches that had to wait for tasks to leave them.
    pub(crate) held: usize,
}

impl std::ops::AddAssign for Seen {
    fn add_assign(&mut self, other: Seen) {
        self.histories += other.histories;
        self.steps += other.steps;
        self.judged += other.judged;
        self.blocked += other.blocked;
        self.reversed += other.reversed;
        self.forced += other.forced;
        self.drained += other.drained;
        self.held += other.held;
    }
}

/// How often the worker tries before everybody just goes on: a task that is asked to leave the kernel again and again may keep
/// others from getting the time.
const ATTEMPTS: usize = 50;
/// More rounds than any transition takes whose tasks go on.
const ROUNDS: usize = 200;

struct Drive<'a> {
    scenario: &'a Scenario,
    world: World<false>,
    load: Rc<RefCell<Load>>,
    ids: Vec<Option<PatchId>>,
    seen: Seen,
}

/// Runs one history to its end.
pub(crate) fn run(scenario: &Scenario, choices: &mut Choices) -> Seen {
    let world = World::without_time();
    let load = Load::new(&world.kernel, std::mem::take(choices), scenario.steps, 0);
    let mut drive = Drive {
        scenario,
        world,
        load: Rc::new(RefCell::new(load)),
        ids: vec![None; scenario.specs.len()],
        seen: Seen { histories: 1, ..Seen::default() },
    };
    drive.begin();
    drive.go();
    drive.finish();
    let load = drive.load.borrow();
    *choices = load.choices.clone();
    Seen { steps: load.count, judged: load.judge.judged, ..drive.seen }
}

impl Drive<'_> {
    fn begin(&mut self) {
        for module in &self.scenario.loaded {
            self.world.load(module).expect("nobody patches it");
        }
        for &patch in &self.scenario.enabled {
            self.enable(patch);
            assert!(!self.world.advance(), "without tasks nobody holds a transition up");
        }
        self.world.enter_cheaply();
        let (kernel, load) = (&self.world.kernel, Rc::clone(&self.load));
        if let Some(ms) = self.scenario.wake_after {
            kernel.wake_after(ms);
        }
        if let Some(flaw) = self.scenario.flaw {
            kernel.break_promise(flaw);
        }
        for (kind, program, steps) in &self.scenario.inside {
            let mut load = self.load.borrow_mut();
            load.start(*kind, program.clone());
            let runner = load.runners.len() - 1;
            (0..*steps).for_each(|_| load.step(runner));
        }
        for (kind, program) in &self.scenario.tasks {
            self.load.borrow_mut().start(*kind, program.clone());
        }
        self.load.borrow_mut().interruptions = self.scenario.interruptions;
        kernel.watch(move |point| load.borrow_mut().at(point));
    }

    fn go(&mut self) {
        let mut requests = self.scenario.requests.iter();
        let mut counted = None;
        let mut attempts = 0;
        while attempts < ATTEMPTS {
            let count = self.load.borrow().count;
            // Another attempt leads nowhere if nobody has moved.
            let advances = self.is_busy() && counted != Some(count);
            let able = self.load.borrow().able();
            let asks = requests.len() > 0;
            let alternatives = usize::from(advances) + usize::from(asks) + able.len();
            if alternatives == 0 {
                return;
            }
            let mut choice = self.load.borrow_mut().choices.choose(alternatives);
            if advances {
                if choice == 0 {
                    counted = Some(count);
                    attempts += 1;
                    self.work(100);
                    continue;
                }
                choice -= 1;
            }
            if asks {
                if choice == 0 {
                    counted = None;
                    self.request(requests.next().expect("there are some left"));
                    continue;
                }
                choice -= 1;
            }
            self.load.borrow_mut().step(able[choice]);
        }
    }

    /// Lets everybody do what is left to do, and looks at what remains.
    fn finish(&mut self) {
        self.load.borrow_mut().interruptions = 0;
        let mut rounds = 0;
        while self.is_busy() || !self.load.borrow().is_done() {
            rounds += 1;
            assert!(rounds < ROUNDS, "it never ends: {:?}", self.world.engine.in_transition());
            self.work(1_000);
            let mut load = self.load.borrow_mut();
            if !load.judge.is_in_transition() {
                load.wake_all();
            }
            let able = load.able();
            // From the last on: one that exits goes from the list.
            able.into_iter().rev().for_each(|runner| load.step(runner));
        }
        let load = self.load.borrow();
        let in_effect: Vec<&Spec> = load.judge.in_effect().iter().collect();
        for name in super::load::callable(&self.world.kernel) {
            assert_eq!(
                self.world.runs(name),
                self.world.top_most(&in_effect, name),
                "'{name}', when all is over"
            );
        }
        drop(load);
        self.world.kernel.stop_watching();
    }

    fn is_busy(&self) -> bool {
        let draining = |state| state == State::Draining;
        let mut patches = self.world.engine.patches().iter();
        self.world.engine.in_transition().is_some() || patches.any(|patch| draining(patch.state()))
    }

    /// As the worker does.
    fn work(&mut self, ms: u64) {
        self.world.kernel.pass(ms);
        if self.world.engine.in_transition().is_some() {
            self.seen.blocked += usize::from(self.world.advance());
            self.settle();
        }
        for patch in 0..self.ids.len() {
            let Some(id) = self.ids[patch].filter(|id| self.world.state(*id) == State::Draining) else {
                continue;
            };
            if self.world.drain(id).expect("it is draining").is_some() {
                self.seen.held += 1;
                continue;
            }
            self.world.remove(id).expect("it has drained");
            self.load.borrow().judge.removed(&self.scenario.specs[patch], &self.load.borrow().runners);
            self.seen.drained += 1;
            self.ids[patch] = None;
        }
        self.world.enter_cheaply();
    }

    /// Tells the judge when a transition is over.
    fn settle(&mut self) {
        let load = &mut *self.load.borrow_mut();
        if load.judge.is_in_transition() && self.world.engine.in_transition().is_none() {
            load.judge.over(&mut load.runners);
        }
    }

    fn request(&mut self, request: &Request) {
        match *request {
            Request::Enable(patch) => self.enable(patch),
            Request::Disable(patch) => self.disable(patch),
            Request::Reverse => self.reverse(),
            Request::Force => self.force(),
            Request::Load(module) if !self.is_mapped(module) => {
                let _ = unless_at_fault(|| self.world.load(module));
            }
            Request::Unload(module) if self.world.kernel.is_loaded(module) => {
                let used = self.load.borrow().runners.iter().any(|runner| runner.uses(module));
                if !used {
                    self.world.unload(module);
                }
            }
            Request::Load(_) | Request::Unload(_) => {}
            Request::Offline => self.load.borrow_mut().set_online(false),
            Request::Online => self.load.borrow_mut().set_online(true),
            Request::Fail(fault, nth) => fault::fail_nth(fault, nth),
        }
    }

    fn is_mapped(&self, module: &str) -> bool {
        self.world.kernel.functions().iter().any(|function| function.object == Some(module))
    }

    /// The patches that are enabled, in stacking order.
    fn stack(&self) -> Vec<&Spec> {
        let spec =
            |name| self.scenario.specs.iter().find(|spec| spec.name == name).expect("one of the specs");
        self.world.enabled().into_iter().map(spec).collect()
    }

    fn enable(&mut self, patch: usize) {
        let spec = &self.scenario.specs[patch];
        let id = match self.ids[patch] {
            Some(id) => id,
            None => match unless_at_fault(|| self.world.add(spec)) {
                Ok(id) => id,
                Err(_) => return,
            },
        };
        self.ids[patch] = Some(id);
        if let Some((changing, _)) = self.world.engine.in_transition() {
            let busy = Refusal::InTransition { patch: self.world.name(changing) };
            assert_eq!(self.world.enable(id), Err(busy));
            return;
        }
        if self.world.state(id) == State::Enabled {
            assert_eq!(self.world.enable(id), Err(Refusal::Busy));
            return;
        }
        let unpatched = self.stack();
        let mut patched = if spec.replace { Vec::new() } else { unpatched.clone() };
        patched.push(spec);
        let model = self.scenario.promised.unwrap_or(spec.model);
        self.load.borrow_mut().judge.begin(&unpatched, &patched, model, Universe::Patched);
        if unless_at_fault(|| self.world.enable(id)).is_err() {
            self.load.borrow_mut().judge.reversed();
        }
        self.settle();
    }

    fn disable(&mut self, patch: usize) {
        let spec = &self.scenario.specs[patch];
        let Some(id) = self.ids[patch] else { return };
        if let Some((changing, _)) = self.world.engine.in_transition() {
            let busy = Refusal::InTransition { patch: self.world.name(changing) };
            assert_eq!(self.world.disable(id), Err(busy));
            return;
        }
        if self.world.state(id) != State::Enabled {
            assert_eq!(self.world.disable(id), Err(Refusal::Busy));
            return;
        }
        let patched = self.stack();
        let unpatched: Vec<&Spec> = patched.iter().copied().filter(|other| other.name != spec.name).collect();
        let model = self.scenario.promised.unwrap_or(spec.model);
        self.load.borrow_mut().judge.begin(&unpatched, &patched, model, Universe::Unpatched);
        if unless_at_fault(|| self.world.disable(id)).is_err() {
            self.load.borrow_mut().judge.reversed();
        }
        self.settle();
    }

    fn reverse(&mut self) {
        let Some((id, _)) = self.world.engine.in_transition() else { return };
        self.seen.reversed += 1;
        self.load.borrow_mut().judge.reversed();
        if unless_at_fault(|| self.world.reverse(id)).is_err() {
            self.load.borrow_mut().judge.reversed();
        }
        self.settle();
    }

    fn force(&mut self) {
        let Some((id, _)) = self.world.engine.in_transition() else { return };
        self.seen.forced += 1;
        self.load.borrow_mut().judge.forced();
        self.world.force(id).expect("it is in transition");
        self.settle();
    }
}

/// The result of a request that succeeds if nothing fails which it needs.
fn unless_at_fault<R>(request: impl FnOnce() -> Result<R, Refusal>) -> Result<R, Refusal> {
    let pending = fault::is_pending();
    let result = request();
    if let Err(refusal) = &result {
        assert!(pending && !fault::is_pending(), "nothing failed, and it is refused: {refusal}");
    }
    result
}
