// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Room for slots at the functions of a module, as its file says: whether klp.ko could redirect each without ftrace.

use anyhow::{Context, Result, bail};
use klp_core::patchable::{Patchable, site, slot_align};
use object::read::elf::ElfFile64;
use object::{Endianness, Object, ObjectSection, ObjectSymbol, SymbolKind};

use crate::{Arch, Failure};

/// The symbol of what `kmod/patchable.S` puts into a module that is compiled with room.
const DECLARED: &str = "klp_patchable";

/// What is known of the room for slots that an architecture's compilers leave (docs/src/slots.md).
#[derive(Clone, Copy, Debug)]
pub struct Room {
    /// Numbers for `--patchable` that leave room for one slot.
    pub enough: (u16, u16),
    /// What there is to say against two numbers.
    pub against: fn(u16, u16) -> Option<&'static str>,
}

/// What stands for the [`Room`] of an architecture of which nothing is known yet.
pub const UNSTATED: Result<Room, &str> = Err("its room for slots is not stated yet");

/// A function, and what keeps a slot from fitting if something does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub func: String,
    /// What is missing.
    pub lack: Option<String>,
}

/// Whether there is any use in asking the compilers for `numbers`; how much room they leave is seen when they have.
///
/// # Errors
///
/// There is none, for the reason that the error says.
pub fn allow(arch: &Arch, (first, second): (u16, u16)) -> Result<(), Failure> {
    let against = match &arch.room {
        Ok(room) => (room.against)(first, second),
        Err(why) => Some(*why),
    };
    against.map_or(Ok(()), |against| {
        Err(Failure::Usage(format!("--patchable {first},{second}, on {arch}: {against}")))
    })
}

/// Every function of a module that says that it was compiled with room; `None` of one that does not. Those that are freed when
/// the module is initialised, and those that no compiler made, are not among them.
///
/// # Errors
///
/// It is no ELF file of an architecture that the SDK knows.
pub fn entries(module: &[u8]) -> Result<Option<Vec<Entry>>> {
    let elf = ElfFile64::<Endianness>::parse(module).context("not a 64-bit ELF file")?;
    let machine = elf.elf_header().e_machine.get(elf.endian());
    match Arch::by_machine(machine) {
        Some(arch) => (arch.facts.entries)(&elf),
        None => bail!("it is for a machine that the SDK does not know (ELF machine {machine})"),
    }
}

pub(crate) fn of<A: Patchable>(elf: &ElfFile64<'_, Endianness>) -> Result<Option<Vec<Entry>>> {
    let Some(declared) = elf.symbols().find(|symbol| symbol.name() == Ok(DECLARED)) else { return Ok(None) };
    let section = declared.section_index().context("klp_patchable is not in the module")?;
    let data = elf.section_by_index(section)?.data()?;
    let at = usize::try_from(declared.address())?;
    let bytes = data.get(at..at + 2).context("klp_patchable is cut off")?;
    let bytes = [bytes[0], bytes[1]];
    let before = usize::from(if elf.is_little_endian() {
        u16::from_le_bytes(bytes)
    } else {
        u16::from_be_bytes(bytes)
    });

    let mut entries = Vec::new();
    for symbol in elf.symbols().filter(|symbol| symbol.kind() == SymbolKind::Text && symbol.size() != 0) {
        let Some(section) = symbol.section_index() else { continue };
        let section = elf.section_by_index(section)?;
        let (func, name) = (symbol.name()?, section.name()?);
        // What the compiler splits off is reached through the function, and objtool gives the NOPs before one a name.
        let no_function = func.contains(".cold") || func.starts_with("__pfx_");
        if name.starts_with(".init") || name.starts_with(".exit") || no_function {
            continue;
        }
        let (text, at) = (section.data()?, usize::try_from(symbol.address())?);
        let Some(code) = text.get(at..) else { continue };
        // Offsets are as good as addresses where sections are aligned as slots are.
        let aligned = section.align() >= slot_align::<A>();
        let found = site::<A, _>(func, symbol.address(), &text[at.saturating_sub(before)..at], code);
        let lack = match found {
            Err(error) => Some(error.to_string()),
            Ok(_) if !aligned => Some(format!(
                "function '{func}' has no room for a slot: section {name} is aligned to {}, {} is needed",
                section.align(),
                slot_align::<A>()
            )),
            Ok(_) => None,
        };
        entries.push(Entry { func: func.to_owned(), lack });
    }
    Ok(Some(entries))
}
