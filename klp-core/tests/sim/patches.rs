// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Patch modules for the simulated kernel.

use klp_core::Addr;
use klp_core::patch::{Model, Patch};
use klp_core::patch_relocs::Anchor;
use klp_core::platform::{NoMemory, Range};

use super::arch::{ADD, BRANCH, SUB};
use super::kernel::Sim;

const NAMES: [&str; 8] = ["p0", "p1", "p2", "p3", "p4", "p5", "p6", "p7"];
/// Bytes from one patch module to the next.
/// Where the modules of patches are, and behind it nothing else.
pub(crate) const PATCHES: Addr = 0xffff_ffff_8200_0000;
const MODULE_SIZE: u64 = 0x1_0000;
const CALLS: u64 = 0xc000;
const DISTANCES: u64 = 0xd000;
const SLOTS: u64 = 0xe000;
/// From the module's start to the functions that call originals.
const WRAPPERS: u64 = 0x8000;
const WRAPPER_SIZE: u64 = 0x40;

/// A function of a patch, as its author writes it down.
#[derive(Clone, Debug)]
pub(crate) struct FuncSpec {
    pub(crate) object: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) position: u64,
    pub(crate) replacement: Addr,
}

/// A patch module, as its author writes it down.
#[derive(Clone)]
pub(crate) struct Spec {
    pub(crate) name: &'static str,
    pub(crate) text: Range,
    pub(crate) replace: bool,
    pub(crate) model: Model,
    pub(crate) objects: Vec<Option<&'static str>>,
    pub(crate) funcs: Vec<FuncSpec>,
    calls_originals: bool,
    /// The symbols that it refers to: object, name, position. Each is called once.
    pub(crate) calls: Vec<(Option<&'static str>, &'static str, u64)>,
    /// Distances that it holds: from the second symbol, which is called too, to the first.
    distances: Vec<[u32; 2]>,
    pub(crate) slots: usize,
    /// Where all of these symbols are that no table lists.
    pub(crate) anchor: Option<Anchor<&'static str>>,
}

impl std::fmt::Debug for Spec {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let cumulative = if self.replace { ", cumulative" } else { "" };
        write!(f, "{}, {:?}{cumulative}:", self.name, self.model)?;
        for FuncSpec { object, name, position, .. } in &self.funcs {
            write!(f, " {}.{name}", object.unwrap_or("vmlinux"))?;
            if *position > 0 {
                write!(f, ",{position}")?;
            }
        }
        f.write_str(if self.calls_originals { ", calling originals" } else { "" })
    }
}

impl Spec {
    /// A patch without objects; `index` tells patches apart.
    pub(crate) fn new(index: usize) -> Spec {
        let start = PATCHES + MODULE_SIZE * index as u64;
        Spec {
            name: NAMES[index],
            text: Range { start, size: MODULE_SIZE },
            replace: false,
            model: Model::Immediate,
            objects: Vec::new(),
            funcs: Vec::new(),
            calls_originals: false,
            calls: Vec::new(),
            distances: Vec::new(),
            slots: 0,
            anchor: None,
        }
    }

    /// Calls a function that is not exported.
    pub(crate) fn calling(mut self, object: Option<&'static str>, name: &'static str, position: u64) -> Spec {
        self.calls.push((object, name, position));
        self.slots += 1;
        self
    }

    /// Holds the distance to one symbol that it calls from another, by their numbers.
    pub(crate) fn holding_distance(mut self, to: u32, from: u32) -> Spec {
        self.distances.push([to, from]);
        self
    }

    /// Where the nth distance is, from 0.
    pub(crate) fn distance(&self, index: usize) -> Addr {
        self.text.start + DISTANCES + 8 * index as u64
    }

    /// Where the nth of these calls is, from 0.
    pub(crate) fn call(&self, index: usize) -> Addr {
        self.text.start + CALLS + 4 * index as u64
    }

    /// Adds an object that is patched in these functions.
    pub(crate) fn object(mut self, object: Option<&'static str>, funcs: &[&'static str]) -> Spec {
        self.objects.push(object);
        for name in funcs {
            self = self.func(object, name, 0);
        }
        self
    }

    /// Adds functions of vmlinux.
    pub(crate) fn vmlinux(self, funcs: &[&'static str]) -> Spec {
        self.object(None, funcs)
    }

    /// Adds functions of a module.
    pub(crate) fn module(self, module: &'static str, funcs: &[&'static str]) -> Spec {
        self.object(Some(module), funcs)
    }

    /// Adds a function to an object that was added before.
    pub(crate) fn func(mut self, object: Option<&'static str>, name: &'static str, position: u64) -> Spec {
        let replacement = self.text.start + 0x100 * (self.funcs.len() as u64 + 1);
        self.funcs.push(FuncSpec { object, name, position, replacement });
        self
    }

    /// Lets it take effect in another model than the immediate one.
    pub(crate) fn in_model(mut self, model: Model) -> Spec {
        self.model = model;
        self
    }

    /// Makes it cumulative.
    pub(crate) fn cumulative(mut self) -> Spec {
        self.replace = true;
        self
    }

    /// Gives each replacement a function that calls the original (`KLP_ORIGINAL`).
    pub(crate) fn calling_originals(mut self) -> Spec {
        self.calls_originals = true;
        self
    }

    /// The replacement of a function.
    pub(crate) fn replacement(&self, name: &str) -> Addr {
        self.funcs[self.position(name)].replacement
    }

    /// Where the call of the original of a function returns to.
    pub(crate) fn original_call(&self, name: &str) -> Addr {
        self.wrapper(self.position(name)).start + WRAPPER_SIZE / 2
    }

    /// A return address in the patch's text, as a task has it that runs there.
    pub(crate) fn inside(&self) -> Addr {
        self.text.start + 0x104
    }

    pub(crate) fn patches(&self, name: &str) -> bool {
        self.funcs.iter().any(|func| func.name == name)
    }

    pub(crate) fn calls_originals(&self) -> bool {
        self.calls_originals
    }

    /// What the patch module hands to the engine.
    pub(crate) fn build<const STUB: bool>(&self) -> Result<Patch<Sim<STUB>>, NoMemory> {
        let mut patch = Patch::new(self.name, self.replace, self.text);
        patch.model = self.model;
        for &name in &self.objects {
            let object = patch.add_object(name, (self.name, name))?;
            for (index, func) in self.funcs.iter().enumerate().filter(|(_, func)| func.object == name) {
                let original_caller =
                    if self.calls_originals { self.wrapper(index) } else { Range::default() };
                object.add_func(func.name, func.position, func.replacement, original_caller)?;
            }
        }
        for (symbol, &(object, name, position)) in (0..).zip(&self.calls) {
            patch.relocations.add_symbol(object, name, position)?;
            if let Some(anchor) = self.anchor {
                patch.relocations.set_anchor(anchor);
            }
            patch.relocations.add(self.call(symbol as usize), BRANCH, symbol, -4, 4)?;
        }
        for (index, [to, from]) in self.distances.iter().enumerate() {
            patch.relocations.add(self.distance(index), ADD, *to, 0, 8)?;
            patch.relocations.add(self.distance(index), SUB, *from, 0, 8)?;
        }
        patch.relocations.set_slots(self.text.start + SLOTS, self.slots)?;
        Ok(patch)
    }

    fn position(&self, name: &str) -> usize {
        let position = self.funcs.iter().position(|func| func.name == name);
        position.unwrap_or_else(|| panic!("{} does not patch '{name}'", self.name))
    }

    fn wrapper(&self, func: usize) -> Range {
        Range { start: self.text.start + WRAPPERS + WRAPPER_SIZE * func as u64, size: WRAPPER_SIZE }
    }
}
