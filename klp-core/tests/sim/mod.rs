// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A kernel to run the engine on: nothing of it is real but the engine and its call path.

pub(crate) mod arch;
pub(crate) mod fault;
pub(crate) mod flaw;
pub(crate) mod hook;
pub(crate) mod kernel;
pub(crate) mod list;
pub(crate) mod patch_memory;
pub(crate) mod patches;
pub(crate) mod tasks;
pub(crate) mod text;
pub(crate) mod thread;

use std::cell::Cell;
use std::collections::BTreeMap;
use std::rc::Rc;

use klp_core::patch::{PatchId, State};
use klp_core::platform::Holder;
use klp_core::universe::Universe;
use klp_core::{Addr, Engine, Error};

pub(crate) use kernel::{CallbacksOf, Sim, Turn};
pub(crate) use patches::Spec;
pub(crate) use text::{Entry, Function};
pub(crate) use thread::Thread;

/// What the engine's refusals are here.
pub(crate) type Refusal = Error<&'static str>;

/// Where somebody calls from who has nothing to do with patches.
pub(crate) const ANYBODY: Addr = 0xffff_ffff_8080_0010;

/// The functions of vmlinux that tests patch.
pub(crate) const FUNCTIONS: [&str; 3] = ["f", "g", "h"];
/// The modules that can be loaded, and their functions.
const MODULES: [(&str, &[&str]); 2] = [("m", &["mf", "mg"]), ("n", &["nf"])];

/// A kernel with an engine.
pub(crate) struct World<const STUB: bool> {
    pub(crate) kernel: Sim<STUB>,
    pub(crate) engine: Engine<Sim<STUB>>,
    /// The patches that were ever added, by name.
    specs: BTreeMap<&'static str, Spec>,
    /// After each request there is time to have all functions that are settled entered by the cheapest way.
    settles: bool,
}

/// For each function: what runs when it is called, by whom.
type Runs = Vec<(Hex, Vec<(Hex, Hex)>)>;

/// An address that can be read when it differs.
#[derive(Clone, PartialEq, Eq)]
struct Hex(Addr);

impl std::fmt::Debug for Hex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}", self.0)
    }
}

fn runs<const STUB: bool>(kernel: &Sim<STUB>, callers: &[Addr], functions: &[Function]) -> Runs {
    let by_caller = |addr| {
        let call = move |&caller| (Hex(caller), Hex(Thread::new(kernel).call(caller, addr)));
        callers.iter().map(call).collect()
    };
    functions.iter().map(|function| (Hex(function.addr), by_caller(function.addr))).collect()
}

/// All that users of the kernel can notice of live patching.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Snapshot {
    runs: Runs,
    text: Vec<Vec<u8>>,
    hooked: Vec<Addr>,
    hooks: u32,
    patches: Vec<(&'static str, State, Vec<bool>)>,
    transition: Option<(PatchId, Universe)>,
    /// For each task: where it is, and how often it is pinned.
    tasks: Vec<(i32, Universe, u32)>,
    callbacks: BTreeMap<CallbacksOf, Turn>,
    missed: u32,
}

impl Snapshot {
    /// Ends the test if the two differ, and says where they do first.
    #[track_caller]
    pub(crate) fn assert_is(&self, expected: &Snapshot, when: &str) {
        for (now, then) in self.runs.iter().zip(&expected.runs) {
            let ((function, now), (_, then)) = (now, then);
            for ((caller, now), (_, then)) in now.iter().zip(then) {
                assert_eq!(now, then, "what runs when {caller:?} calls {function:?}, {when}");
            }
        }
        assert_eq!(self.patches, expected.patches, "patches, {when}");
        assert_eq!(self.transition, expected.transition, "the transition, {when}");
        assert_eq!(self.tasks, expected.tasks, "where tasks are, {when}");
        assert_eq!(self.callbacks, expected.callbacks, "callbacks, {when}");
        assert_eq!((&self.hooked, self.hooks), (&expected.hooked, expected.hooks), "hooks, {when}");
        assert!(self == expected, "text, functions or missed calls differ {when}");
    }
}

impl<const STUB: bool> World<STUB> {
    /// A kernel that has booted: no modules, no patches.
    pub(crate) fn new() -> World<STUB> {
        fault::take_pending();
        let kernel = Sim::default();
        for (index, name) in FUNCTIONS.into_iter().enumerate() {
            kernel.define(None, name, if index == 1 { Entry::PadThenSite } else { Entry::Site });
        }
        World { kernel, engine: Engine::default(), specs: BTreeMap::new(), settles: true }
    }

    /// As [`new`](Self::new), and functions are entered as they were until [`enter_cheaply`](Self::enter_cheaply).
    pub(crate) fn without_time() -> World<STUB> {
        let mut world = World::new();
        world.settles = false;
        world
    }

    pub(crate) fn add(&mut self, spec: &Spec) -> Result<PatchId, Refusal> {
        let id = self.engine.add(&self.kernel, spec.build()?)?;
        self.specs.insert(spec.name, spec.clone());
        self.settle();
        Ok(id)
    }

    pub(crate) fn enable(&mut self, id: PatchId) -> Result<(), Refusal> {
        self.request(|engine, kernel| engine.enable(kernel, id))
    }

    pub(crate) fn disable(&mut self, id: PatchId) -> Result<(), Refusal> {
        self.request(|engine, kernel| engine.disable(kernel, id))
    }

    /// Goes on with the transition; whether it is still under way.
    pub(crate) fn advance(&mut self) -> bool {
        self.request(|engine, kernel| engine.advance(kernel))
    }

    pub(crate) fn reverse(&mut self, id: PatchId) -> Result<(), Refusal> {
        self.request(|engine, kernel| engine.reverse(kernel, id))
    }

    pub(crate) fn force(&mut self, id: PatchId) -> Result<(), Refusal> {
        self.request(|engine, kernel| engine.force(kernel, id))
    }

    fn request<R>(&mut self, request: impl FnOnce(&mut Engine<Sim<STUB>>, &Sim<STUB>) -> R) -> R {
        let before = self.enabled();
        let result = request(&mut self.engine, &self.kernel);
        let after = self.enabled();
        for gone in before.into_iter().filter(|name| !after.contains(name)) {
            // The callbacks of one that was disabled have come further, if it has any.
            if self.kernel.turns().iter().any(|(of, turn)| of.0 == gone && *turn == Turn::Patched) {
                self.kernel.forget_replaced(gone);
            }
        }
        self.settle();
        result
    }

    /// The names of the patches that are enabled, in stacking order.
    pub(crate) fn enabled(&self) -> Vec<&'static str> {
        let patches = self.engine.patches().iter().filter(|patch| patch.state() == State::Enabled);
        patches.map(|patch| patch.name).collect()
    }

    pub(crate) fn drain(&mut self, id: PatchId) -> Result<Option<Holder>, Refusal> {
        self.engine.drain(&self.kernel, id)
    }

    pub(crate) fn remove(&mut self, id: PatchId) -> Result<(), Refusal> {
        let result = self.engine.remove(&self.kernel, id);
        self.settle();
        result
    }

    /// A patch that is added and enabled, which must succeed.
    pub(crate) fn apply(&mut self, spec: &Spec) -> PatchId {
        let id = self.add(spec).expect("the patch is fine");
        self.enable(id).expect("nothing is in the way");
        id
    }

    /// A patch goes that is draining, which must succeed.
    pub(crate) fn finish(&mut self, id: PatchId) {
        assert_eq!(self.drain(id), Ok(None));
        self.remove(id).expect("it is draining");
    }

    /// Loads a module: text, then the engine's say, then it is live.
    pub(crate) fn load(&mut self, module: &'static str) -> Result<(), Refusal> {
        self.come(module)?;
        self.kernel.set_initialising(module, false);
        self.kernel.set_live(module, true);
        self.settle();
        Ok(())
    }

    /// Loads a module as far as its init function, which may run from now on.
    pub(crate) fn come(&mut self, module: &'static str) -> Result<(), Refusal> {
        let (_, functions) = MODULES.iter().find(|(name, _)| *name == module).expect("one of MODULES");
        self.kernel.map_module(module, functions);
        let came = self.engine.object_coming(&self.kernel, module);
        match came {
            Ok(()) => self.kernel.set_initialising(module, true),
            Err(_) => {
                self.kernel.refuse_module(module);
                self.settle();
            }
        }
        came
    }

    /// The init function of a module that [came](Self::come) has run.
    pub(crate) fn go_live(&mut self, module: &'static str) {
        self.kernel.set_live(module, true);
        self.engine.object_live(&self.kernel, module);
        self.kernel.set_initialising(module, false);
        self.settle();
    }

    pub(crate) fn unload(&mut self, module: &'static str) {
        self.kernel.set_live(module, false);
        self.engine.object_going(&self.kernel, module);
        self.kernel.unmap_module(module);
        self.settle();
    }

    /// The address of a function that has only one symbol.
    pub(crate) fn original(&self, name: &str) -> Addr {
        let functions = self.kernel.functions();
        functions.iter().find(|f| f.name == name).unwrap_or_else(|| panic!("no function '{name}'")).addr
    }

    /// What runs when `caller` calls the function.
    pub(crate) fn called_from(&self, caller: Addr, name: &str) -> Addr {
        Thread::new(&self.kernel).call(caller, self.original(name))
    }

    /// What runs when anybody calls the function.
    pub(crate) fn runs(&self, name: &str) -> Addr {
        self.called_from(ANYBODY, name)
    }

    /// The names of all patches, in stacking order.
    pub(crate) fn order(&self) -> Vec<&'static str> {
        self.engine.patches().iter().map(|patch| patch.name).collect()
    }

    pub(crate) fn state(&self, id: PatchId) -> State {
        self.engine.patch(id).expect("a known patch").state()
    }

    pub(crate) fn name(&self, id: PatchId) -> &'static str {
        self.engine.patch(id).expect("a known patch").name
    }

    /// Takes all lines of the kernel log.
    pub(crate) fn take_log(&self) -> Vec<String> {
        self.kernel.take_log().into_iter().map(|(_, line)| line).collect()
    }

    /// What the function that `enabled` patches, the last one on top, must run.
    pub(crate) fn top_most(&self, enabled: &[&Spec], name: &str) -> Addr {
        let top = enabled.iter().rev().find(|spec| spec.patches(name));
        top.map_or_else(|| self.original(name), |spec| spec.replacement(name))
    }

    /// From now on, whenever the engine calls ftrace or a callback, all functions that exist now must run what they
    /// run now, whoever calls them who may be running.
    pub(crate) fn nothing_may_change(&self) {
        let running = |spec: &Spec| {
            let mut patches = self.engine.patches().iter();
            patches.any(|patch| patch.name == spec.name && patch.state() != State::Ready)
        };
        let (kernel, callers, functions) =
            (self.kernel.clone(), self.callers(running), self.kernel.functions());
        let before = runs(&kernel, &callers, &functions);
        self.kernel.watch(move |_| {
            assert_eq!(
                runs(&kernel, &callers, &functions),
                before,
                "a function runs something else too early"
            );
        });
    }

    /// From now on notes whether some function runs something else than now, for a task that exists or a new one.
    pub(crate) fn notes_changes(&self) -> Rc<Cell<bool>> {
        let (kernel, functions) = (self.kernel.clone(), self.kernel.functions());
        let state = move || (runs(&kernel, &[ANYBODY], &functions), kernel.universes());
        let (before, changed) = (state(), Rc::new(Cell::new(false)));
        let note = Rc::clone(&changed);
        self.kernel.watch(move |_| {
            let (runs, tasks) = state();
            let moved = tasks.iter().zip(&before.1).any(|(now, then)| (now.0, now.1) != (then.0, then.1));
            note.set(note.get() || moved || runs != before.0);
        });
        changed
    }

    /// Everybody whose calls might be treated differently, of these patches.
    fn callers(&self, patches: impl Fn(&Spec) -> bool) -> Vec<Addr> {
        let patches = self.specs.values().filter(|spec| patches(spec)).flat_map(|spec| {
            spec.funcs.iter().map(|func| spec.original_call(func.name)).chain([spec.inside()])
        });
        std::iter::once(ANYBODY).chain(patches).collect()
    }

    pub(crate) fn snapshot(&self) -> Snapshot {
        let functions = self.kernel.functions();
        Snapshot {
            runs: runs(&self.kernel, &self.callers(|_| true), &functions),
            text: functions.iter().map(|f| f.code.clone()).collect(),
            hooked: self.kernel.hooked_sites(),
            hooks: self.kernel.hooks(),
            patches: self
                .engine
                .patches()
                .iter()
                .map(|patch| {
                    let patched = patch.objects.iter().map(|object| object.is_patched());
                    (patch.name, patch.state(), patched.collect())
                })
                .collect(),
            transition: self.engine.in_transition(),
            tasks: self.kernel.universes(),
            callbacks: self.kernel.turns(),
            missed: self.engine.missed_calls(),
        }
    }

    /// What the worker does when nothing else is to be done.
    pub(crate) fn enter_cheaply(&mut self) {
        while self.engine.enter_one_cheaply() {}
        assert!(!self.engine.may_enter_cheaply());
        self.check();
    }

    fn settle(&mut self) {
        if self.settles {
            self.enter_cheaply();
        }
        self.check();
    }

    /// What holds between any two requests to the engine.
    fn check(&self) {
        let transition = self.engine.in_transition();
        let turns = self.kernel.turns();
        let mut due = BTreeMap::new();
        for patch in self.engine.patches() {
            let changes = transition.is_some_and(|(id, _)| id == patch.id());
            for object in patch.objects.iter() {
                let of = (patch.name, object.name);
                let loaded = object.name.is_none_or(|name| klp_core::Platform::is_loaded(&self.kernel, name));
                let expected = patch.state() == State::Enabled && loaded;
                assert_eq!(
                    object.is_patched(),
                    expected,
                    "whether {of:?} is patched, which is {:?}",
                    patch.state()
                );
                let turn = turns.get(&of).copied();
                let in_turn: &[_] = match (patch.state(), changes) {
                    (State::Enabled, false) => &[Some(Turn::Patched)],
                    (State::Enabled, true) => &[Some(Turn::Prepared), Some(Turn::Leaving)],
                    // The post-unpatch callbacks run when it has drained.
                    (State::Draining, _) => &[None, Some(Turn::Prepared), Some(Turn::Leaving)],
                    (State::Ready, _) => &[None],
                };
                assert!(!loaded || in_turn.contains(&turn), "{of:?} is {turn:?}, not one of {in_turn:?}");
                if loaded && let Some(turn) = turn {
                    due.insert(of, turn);
                }
            }
        }
        assert_eq!(turns, due, "callbacks ran for what is loaded and known");
        if transition.is_none() {
            let left = (
                self.kernel.pins(),
                self.kernel.asked(),
                self.kernel.is_gathering(),
                self.kernel.is_deciding(),
            );
            assert_eq!(
                left,
                (0, 0, false, false),
                "a transition leaves nothing: pins, requests, gathering, decisions"
            );
        }
    }
}

impl<const STUB: bool> Drop for World<STUB> {
    fn drop(&mut self) {
        self.kernel.power_off();
    }
}

/// Makes a test of each function generic over `STUB`, on the architecture that returns directly and on the one with a
/// return stub.
macro_rules! on_both_architectures {
    ($($test:ident),* $(,)?) => {
        mod direct {
            $(#[test] fn $test() { super::$test::<false>(); })*
        }
        mod through_stub {
            $(#[test] fn $test() { super::$test::<true>(); })*
        }
    };
}
pub(crate) use on_both_architectures;
