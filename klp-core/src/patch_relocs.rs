// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patch's own relocations: references to symbols that the kernel does not export, and so does not resolve.
//!
//! The kernel's livepatch has the same in sections `.klp.rela.OBJECT.SECTION`, against symbols `.klp.sym.OBJECT.NAME,POS`
//! (Documentation/livepatch/module-elf-format.rst).

use crate::Addr;
use crate::platform::{List, NoMemory, Platform};

/// How many bytes of a place a relocation looks at, at most: a call and the instruction behind it.
pub const MAX_PLACE: usize = 16;

/// A symbol that a patch refers to.
pub struct Symbol<P: Platform> {
    /// The module that has it; `None` is vmlinux.
    pub object: Option<P::Name>,
    /// Its name.
    pub name: P::Name,
    /// Its position among the object's symbols of that name, from 1, in the order of the symbol table; 0: there is only
    /// one.
    pub position: u64,
    /// Where it is if the symbol table does not list it.
    pub anchor: Option<Anchor<P::Name>>,
    /// Where it is, while the relocations against it are applied.
    pub(crate) addr: Option<Addr>,
}

/// Where a symbol of vmlinux is, told by functions: what is linked together stays together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Anchor<N> {
    /// A function.
    pub anchor: N,
    /// From there to the symbol.
    pub offset: i64,
    /// Another function, by whose distance a different build is known.
    pub witness: N,
    /// From the first to the other.
    pub distance: i64,
}

/// A relocation against such a symbol.
pub struct Reference {
    /// The address of what is to be written.
    pub place: Addr,
    /// The type, as the ABI numbers it.
    pub r_type: u32,
    /// The explicit addend.
    pub addend: i64,
    /// The symbol's index among the patch's.
    pub symbol: u32,
    /// How many bytes there are from the place to the end of its section.
    pub room: u32,
    pub(crate) was: Option<Was>,
}

/// What a place held before its relocation was applied, and the slot that it goes through.
#[derive(Clone, Copy)]
pub(crate) struct Was {
    pub(crate) bytes: [u8; MAX_PLACE],
    pub(crate) len: usize,
    pub(crate) slot: Option<usize>,
}

/// All relocations of a patch, and its area of slots.
pub struct Relocations<P: Platform> {
    /// The symbols.
    pub symbols: P::List<Symbol<P>>,
    /// The relocations.
    pub references: P::List<Reference>,
    /// Where the slots are.
    pub slots_at: Addr,
    /// What each slot leads to.
    pub(crate) targets: P::List<Option<Addr>>,
}

impl<P: Platform> Default for Relocations<P> {
    fn default() -> Relocations<P> {
        Relocations {
            symbols: P::List::default(),
            references: P::List::default(),
            slots_at: 0,
            targets: P::List::default(),
        }
    }
}

impl<P: Platform> Relocations<P> {
    /// Adds a symbol; they are numbered in the order in which they are added.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn add_symbol(
        &mut self,
        object: Option<P::Name>,
        name: P::Name,
        position: u64,
    ) -> Result<(), NoMemory> {
        self.symbols.try_push(Symbol { object, name, position, anchor: None, addr: None })
    }

    /// Says where the symbol that was added last is if the symbol table does not list it.
    pub fn set_anchor(&mut self, anchor: Anchor<P::Name>) {
        if let Some(symbol) = self.symbols.last_mut() {
            symbol.anchor = Some(anchor);
        }
    }

    /// Adds a relocation at `place`, `room` bytes before the end of its section.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn add(
        &mut self,
        place: Addr,
        r_type: u32,
        symbol: u32,
        addend: i64,
        room: u32,
    ) -> Result<(), NoMemory> {
        self.references.try_push(Reference { place, r_type, addend, symbol, room, was: None })
    }

    /// There is room for `count` slots at `at`.
    ///
    /// # Errors
    ///
    /// [`NoMemory`].
    pub fn set_slots(&mut self, at: Addr, count: usize) -> Result<(), NoMemory> {
        self.slots_at = at;
        self.targets.try_reserve(count)?;
        for _ in 0..count {
            self.targets.try_push(None)?;
        }
        Ok(())
    }
}
