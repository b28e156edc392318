// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Random requests, against a model that is a list of patches and three states.

use std::collections::BTreeSet;

use proptest::prelude::*;

use klp_core::patch::{PatchId, State};

use crate::sim::fault::{self, Fault};
use crate::sim::{FUNCTIONS, Refusal, Spec, World};

const PATCHES: usize = 4;

/// A request, by the number of the patch where it concerns one.
#[derive(Clone, Debug)]
enum Request {
    Add(usize),
    Enable(usize),
    Disable(usize),
    Drain(usize),
    Remove(usize),
    Load,
    Unload,
    /// The worker gets the time.
    Settle,
    /// A task falls asleep in the patch, or leaves it.
    Sleep(usize),
    Wake(usize),
    /// The nth opportunity fails, in whichever request comes there.
    Fail(Fault, u32),
}

fn request() -> impl Strategy<Value = Request> {
    let patch = 0..PATCHES;
    let fault = proptest::sample::select(vec![
        Fault::Allocation,
        Fault::Arm,
        Fault::PrePatch,
        Fault::Cheaper,
        Fault::Back,
    ]);
    prop_oneof![
        4 => patch.clone().prop_map(Request::Add),
        6 => patch.clone().prop_map(Request::Enable),
        4 => patch.clone().prop_map(Request::Disable),
        2 => patch.clone().prop_map(Request::Drain),
        3 => patch.clone().prop_map(Request::Remove),
        2 => Just(Request::Load),
        1 => Just(Request::Unload),
        6 => Just(Request::Settle),
        1 => patch.clone().prop_map(Request::Sleep),
        1 => patch.prop_map(Request::Wake),
        2 => (fault, 1..8u32).prop_map(|(fault, nth)| Request::Fail(fault, nth)),
    ]
}

prop_compose! {
    /// One of the patches: some functions of vmlinux and of module "m".
    fn spec(index: usize)(
        vmlinux in proptest::sample::subsequence(FUNCTIONS.to_vec(), 0..=3),
        module in proptest::sample::subsequence(vec!["mf", "mg"], 0..=2),
        cumulative in proptest::bool::weighted(0.2),
        calling_originals in any::<bool>(),
        module_first in any::<bool>(),
    ) -> Spec {
        let mut spec = Spec::new(index);
        spec = if module_first {
            spec.module("m", &module).vmlinux(&vmlinux)
        } else {
            spec.vmlinux(&vmlinux).module("m", &module)
        };
        if cumulative {
            spec = spec.cumulative();
        }
        if calling_originals {
            spec = spec.calling_originals();
        }
        spec
    }
}

fn specs() -> impl Strategy<Value = Vec<Spec>> {
    (spec(0), spec(1), spec(2), spec(3)).prop_map(|(a, b, c, d)| vec![a, b, c, d])
}

/// What the engine should think.
#[derive(Clone, Debug, Default)]
struct Model {
    /// In stacking order.
    patches: Vec<(usize, State)>,
    loaded: bool,
    asleep: BTreeSet<usize>,
    /// Patches and functions of which a task may run the wrapper, which calls the original.
    wrappers: BTreeSet<(usize, &'static str)>,
}

impl Model {
    fn state(&self, patch: usize) -> Option<State> {
        self.patches.iter().find(|(index, _)| *index == patch).map(|(_, state)| *state)
    }

    /// What the request should lead to when nothing fails.
    fn expect(&mut self, request: &Request, specs: &[Spec]) -> Result<(), Refusal> {
        match *request {
            Request::Add(patch) => self.patches.push((patch, State::Ready)),
            Request::Enable(patch) => {
                match self.state(patch) {
                    None => return Err(Refusal::NoSuchPatch),
                    Some(State::Enabled) => return Err(Refusal::Busy),
                    Some(State::Ready | State::Draining) => {}
                }
                self.patches.retain(|(index, _)| *index != patch);
                if specs[patch].replace {
                    for (_, state) in self.patches.iter_mut().filter(|(_, state)| *state == State::Enabled) {
                        *state = State::Draining;
                    }
                }
                self.patches.push((patch, State::Enabled));
                self.run_wrappers(patch, specs);
            }
            Request::Disable(patch) | Request::Drain(patch) | Request::Remove(patch) => {
                let state = self.state(patch).ok_or(Refusal::NoSuchPatch)?;
                let index = self.patches.iter().position(|(index, _)| *index == patch).unwrap_or_default();
                match (request, state) {
                    (Request::Disable(_), State::Enabled) => self.patches[index].1 = State::Draining,
                    (Request::Drain(_), State::Draining) => {}
                    (Request::Remove(_), State::Ready | State::Draining) => {
                        self.patches.remove(index);
                        self.wrappers.retain(|(index, _)| *index != patch);
                    }
                    _ => return Err(Refusal::Busy),
                }
            }
            Request::Load => {
                self.loaded = true;
                for (patch, state) in self.patches.clone() {
                    if state == State::Enabled {
                        self.run_wrappers(patch, specs);
                    }
                }
            }
            Request::Unload => {
                self.loaded = false;
                self.wrappers.retain(|(_, name)| FUNCTIONS.contains(name));
            }
            Request::Settle | Request::Sleep(_) | Request::Wake(_) | Request::Fail(..) => {}
        }
        Ok(())
    }

    fn run_wrappers(&mut self, patch: usize, specs: &[Spec]) {
        if specs[patch].calls_originals() {
            let loaded = self.loaded;
            let patched = specs[patch].funcs.iter().filter(|func| func.object.is_none() || loaded);
            self.wrappers.extend(patched.map(|func| (patch, func.name)));
        }
    }
}

struct Run<const STUB: bool> {
    world: World<STUB>,
    model: Model,
    specs: Vec<Spec>,
    ids: Vec<PatchId>,
}

impl<const STUB: bool> Run<STUB> {
    fn new(specs: Vec<Spec>) -> Run<STUB> {
        let world = World::without_time();
        Run { world, model: Model::default(), specs, ids: vec![PatchId(0); PATCHES] }
    }

    fn pid(patch: usize) -> i32 {
        100 + i32::try_from(patch).expect("small")
    }

    /// Whether a user could make this request now.
    fn makes_sense(&self, request: &Request) -> bool {
        match *request {
            Request::Add(patch) => self.model.state(patch).is_none(),
            Request::Load => !self.model.loaded,
            Request::Unload => self.model.loaded,
            // Nobody removes what is held.
            Request::Remove(patch) => !self.model.asleep.contains(&patch),
            Request::Sleep(patch) => {
                !self.model.asleep.contains(&patch) && self.model.state(patch) == Some(State::Enabled)
            }
            Request::Wake(patch) => self.model.asleep.contains(&patch),
            _ => true,
        }
    }

    fn request(&mut self, request: &Request) -> Result<(), Refusal> {
        match *request {
            Request::Add(patch) => self.world.add(&self.specs[patch]).map(|id| self.ids[patch] = id),
            Request::Enable(patch) => self.world.enable(self.ids[patch]),
            Request::Disable(patch) => self.world.disable(self.ids[patch]),
            Request::Drain(patch) => self.world.drain(self.ids[patch]).map(|holder| {
                let asleep = self.model.asleep.contains(&patch).then_some(Run::<STUB>::pid(patch));
                assert_eq!(holder.map(|holder| holder.pid), asleep);
            }),
            Request::Remove(patch) => self.world.remove(self.ids[patch]),
            Request::Load => self.world.load("m"),
            Request::Unload => {
                self.world.unload("m");
                Ok(())
            }
            Request::Settle => {
                self.world.enter_cheaply();
                Ok(())
            }
            Request::Sleep(patch) => {
                self.world.kernel.spawn(Run::<STUB>::pid(patch), &[self.specs[patch].inside()]);
                self.model.asleep.insert(patch);
                Ok(())
            }
            Request::Wake(patch) => {
                self.world.kernel.kill(Run::<STUB>::pid(patch));
                self.model.asleep.remove(&patch);
                Ok(())
            }
            Request::Fail(fault, nth) => {
                fault::fail_nth(fault, nth);
                Ok(())
            }
        }
    }

    fn step(&mut self, request: &Request) {
        if !self.makes_sense(request) {
            return;
        }
        let before = self.world.snapshot();
        let was_pending = fault::is_pending();
        let result = self.request(request);
        // A function that cannot be had cheaper stays with the callback.
        let failed = was_pending && !fault::is_pending() && !matches!(request, Request::Settle);
        let mut next = self.model.clone();
        let expected = next.expect(request, &self.specs);
        if failed {
            assert!(
                matches!(result, Err(Refusal::NoMemory | Refusal::Hook { .. } | Refusal::Callback { .. })),
                "something failed, and the result is {result:?}"
            );
        } else {
            assert_eq!(result, expected);
        }
        if result.is_err() {
            self.world.snapshot().assert_is(&before, "after a refusal");
        } else {
            self.model = next;
        }
        self.check();
    }

    fn check(&self) {
        let Run { world, model, specs, .. } = self;
        let patches: Vec<_> =
            world.engine.patches().iter().map(|patch| (patch.name, patch.state())).collect();
        let expected: Vec<_> =
            model.patches.iter().map(|(index, state)| (specs[*index].name, *state)).collect();
        assert_eq!(patches, expected, "the list of patches");
        let enabled: Vec<&Spec> = model
            .patches
            .iter()
            .filter(|(_, state)| *state == State::Enabled)
            .map(|(index, _)| &specs[*index])
            .collect();
        let module: &[&str] = if model.loaded { &["mf", "mg"] } else { &[] };
        let mut hooked = 0;
        for name in FUNCTIONS.iter().chain(module) {
            assert_eq!(world.runs(name), world.top_most(&enabled, name), "'{name}'");
            hooked += usize::from(enabled.iter().any(|spec| spec.patches(name)));
        }
        assert_eq!(world.kernel.hooked_sites().len(), hooked, "hooked is what is patched");
        for (patch, name) in &model.wrappers {
            let reached = world.called_from(specs[*patch].original_call(name), name);
            assert_eq!(reached, world.original(name), "p{patch} calls the original of '{name}'");
        }
        if model.patches.is_empty() {
            assert_eq!(world.kernel.hooks(), 0, "without patches there are no hooks");
        }
        assert_eq!(world.engine.missed_calls(), 0);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn after_any_requests_every_function_runs_what_the_model_says(
        specs in specs(),
        requests in proptest::collection::vec(request(), 1..60),
    ) {
        run::<true>(specs.clone(), &requests);
        run::<false>(specs, &requests);
    }
}

fn run<const STUB: bool>(specs: Vec<Spec>, requests: &[Request]) {
    let mut run = Run::<STUB>::new(specs);
    for request in requests {
        run.step(request);
    }
    fault::take_pending();
}
