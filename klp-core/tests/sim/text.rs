// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Symbols and text of the simulated kernel, and the modules that bring and take some.

use klp_core::Addr;
use klp_core::platform::Range;

use super::arch::{INSN, NOP, PAD, RET};
use super::kernel::Sim;

const VMLINUX: Addr = 0xffff_ffff_8100_0000;
/// Where the compiler put the unlikely parts of vmlinux's functions.
const COLD: Addr = 0xffff_ffff_8140_0000;
const MODULES: Addr = 0xffff_ffff_8180_0000;
/// Bytes before each function of a module that has room, if they are really there.
pub(crate) const ROOM: usize = 16;
/// Bytes from one function to the next.
pub(crate) const SPACING: u64 = 0x40;

/// A function symbol, and the text it names.
#[derive(Clone, Debug)]
pub(crate) struct Function {
    /// `None`: vmlinux.
    pub(crate) object: Option<&'static str>,
    pub(crate) name: &'static str,
    pub(crate) addr: Addr,
    /// What ftrace says its site is.
    pub(crate) location: Option<Addr>,
    /// Its first bytes; empty if they cannot be read.
    pub(crate) code: Vec<u8>,
    /// The bytes before it that its compiler left room for a slot in.
    pub(crate) room: Vec<u8>,
    /// The part of it that lies elsewhere; only functions of vmlinux have one.
    pub(crate) cold: Option<Range>,
}

impl Function {
    /// The instruction that is written to redirect it.
    pub(crate) fn site(&self) -> Option<Addr> {
        self.location.or_else(|| (!self.room.is_empty()).then_some(self.addr))
    }

    /// All its text.
    pub(crate) fn parts(&self) -> impl Iterator<Item = Range> {
        [Range { start: self.addr, size: SPACING }].into_iter().chain(self.cold)
    }
}

/// What a function that is to be defined looks like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Entry {
    /// A patch site at its start.
    Site,
    /// A patch site behind a landing pad.
    PadThenSite,
    /// No patch site: `notrace`.
    NoSite,
    /// No patch site, and so many bytes of room before it in a module that says that it has [`ROOM`].
    Room(usize),
    /// ftrace knows a site that is another function's, so many bytes further on.
    FarSite(u64),
    /// A patch site, and there is neither NOP nor call.
    Garbage,
    /// A patch site in text that cannot be read.
    Unreadable,
}

impl<const STUB: bool> Sim<STUB> {
    /// Defines a function behind the last one of vmlinux, or of a module, and returns its address.
    pub(crate) fn define(&self, object: Option<&'static str>, name: &'static str, entry: Entry) -> Addr {
        let mut functions = self.0.functions.borrow_mut();
        let before = SPACING * functions.iter().filter(|f| f.object == object).count() as u64;
        let base = if object.is_none() { VMLINUX } else { MODULES + self.0.next_module.get() };
        let addr = base + before;
        let cold = object.is_none().then_some(Range { start: COLD + before, size: SPACING / 2 });
        let location = match entry {
            Entry::NoSite | Entry::Room(_) => None,
            Entry::Site | Entry::Garbage | Entry::Unreadable => Some(addr),
            Entry::PadThenSite => Some(addr + INSN),
            Entry::FarSite(distance) => Some(addr + distance),
        };
        let code = match entry {
            Entry::Unreadable => Vec::new(),
            Entry::Garbage => [RET, RET].concat(),
            Entry::PadThenSite => [PAD, NOP].concat(),
            _ => [NOP, RET].concat(),
        };
        let room = if let Entry::Room(bytes) = entry { vec![0; bytes] } else { Vec::new() };
        functions.push(Function { object, name, addr, location, code, room, cold });
        addr
    }

    /// Defines another symbol for a function.
    pub(crate) fn alias(&self, name: &'static str, addr: Addr) {
        let mut function = self.function_at(addr);
        function.name = name;
        self.0.functions.borrow_mut().push(function);
    }

    /// Loads a module's text, at an address where none was before. Its state is still `COMING`.
    pub(crate) fn map_module(&self, module: &'static str, functions: &[&'static str]) {
        self.0.next_module.set(self.0.next_module.get() + 0x1000);
        for name in functions {
            self.define(Some(module), name, Entry::Site);
        }
    }

    /// Makes a mapped module live, or takes that back.
    pub(crate) fn set_live(&self, module: &'static str, live: bool) {
        self.0.live.borrow_mut().retain(|name| *name != module);
        if live {
            self.0.live.borrow_mut().push(module);
        }
    }

    /// Lets the init function of a module run that is not live yet, or says that it has run.
    pub(crate) fn set_initialising(&self, module: &'static str, initialising: bool) {
        self.0.initialising.set(initialising.then_some(module));
    }

    /// Whether functions of a module may be called.
    pub(crate) fn is_callable(&self, module: &str) -> bool {
        self.0.initialising.get() == Some(module) || self.0.live.borrow().contains(&module)
    }

    /// Unmaps a module that was refused; the next one may get its place.
    pub(crate) fn refuse_module(&self, module: &'static str) {
        self.unmap_module(module);
        self.0.next_module.set(self.0.next_module.get() - 0x1000);
    }

    /// Frees a module's text, which nothing may be hooked in any more.
    pub(crate) fn unmap_module(&self, module: &'static str) {
        self.set_live(module, false);
        for function in self.0.functions.borrow().iter().filter(|f| f.object == Some(module)) {
            let hooked = self.0.armed.borrow().iter().any(|hook| Some(hook.site) == function.site());
            assert!(!hooked, "the text of {module} is freed while '{}' is hooked", function.name);
        }
        self.0.functions.borrow_mut().retain(|f| f.object != Some(module));
    }

    pub(crate) fn functions(&self) -> Vec<Function> {
        self.0.functions.borrow().clone()
    }

    /// The first function that is one of these.
    pub(crate) fn find_function(&self, which: impl Fn(&Function) -> bool) -> Option<Function> {
        self.0.functions.borrow().iter().find(|function| which(function)).cloned()
    }

    /// The function that starts at `addr`.
    pub(crate) fn function_at(&self, addr: Addr) -> Function {
        self.find_function(|f| f.addr == addr).unwrap_or_else(|| panic!("no function at {addr:#x}"))
    }

    /// Copies text that starts at a function, or in the room before it.
    pub(super) fn read(&self, addr: Addr, to: &mut [u8]) -> bool {
        if let Some(function) = self.find_function(|f| f.addr == addr) {
            let count = function.code.len().min(to.len());
            to[..count].copy_from_slice(&function.code[..count]);
            // Behind a function that ftrace does not know something else is read, too.
            return count == to.len() || function.location.is_none();
        }
        let ends_here = |f: &Function| f.addr.wrapping_sub(addr) == to.len() as u64;
        let function = self.find_function(ends_here).unwrap_or_else(|| panic!("no function at {addr:#x}"));
        to.chunks_exact_mut(RET.len()).for_each(|insn| insn.copy_from_slice(&RET));
        for (byte, room) in to.iter_mut().rev().zip(function.room.iter().rev()) {
            *byte = *room;
        }
        true
    }

    /// Writes what is in the room before the function with this site.
    pub(super) fn write_room(&self, site: Addr, bytes: &[u8]) {
        for function in self.0.functions.borrow_mut().iter_mut().filter(|f| f.site() == Some(site)) {
            let start = function.room.len() - bytes.len();
            function.room[start..].copy_from_slice(bytes);
        }
    }

    /// Writes an instruction at a patch site.
    pub(super) fn write_site(&self, site: Addr, insn: &[u8]) {
        for function in self.0.functions.borrow_mut().iter_mut().filter(|f| f.site() == Some(site)) {
            let offset = usize::try_from(site - function.addr).expect("a site inside the function");
            function.code[offset..offset + insn.len()].copy_from_slice(insn);
        }
    }
}
