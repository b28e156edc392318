// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H1: what the architecture says about itself.

use std::fs;

use klp_core::{Architecture, Endian};
use object::{Object, ObjectSection};

use super::{ensure, ensure_eq};
use crate::host::toolchain::Toolchain;
use crate::host::{Case, Check, Description};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    vec![
        Case::new("H1.1", "facts.names_are_those_of_the_host_tools", "docs/architecture.md", names::<A>),
        Case::new(
            "H1.2",
            "facts.elf_header_is_the_assemblers",
            "ELF gABI, \"ELF Header\": e_machine, EI_DATA",
            elf_header::<A>,
        ),
        Case::new(
            "H1.3",
            "facts.instructions_are_aligned_as_the_manual_says",
            d.manuals.branches,
            insn_align::<A>,
        ),
        Case::new(
            "H1.4",
            "facts.return_addresses_lose_their_signature_and_nothing_else",
            d.manuals.frames,
            strip_return_address::<A>,
        ),
    ]
}

fn names<A: Architecture>(d: &'static Description) -> Check {
    ensure_eq!(A::NAME, d.name, "Architecture::NAME");
    let arch = (d.host)().ok_or_else(|| format!("the host tools know no architecture '{}'", A::NAME))?;
    ensure_eq!(A::NAME, arch.name, "Architecture::NAME");
    ensure_eq!(A::ELF_MACHINE, arch.facts.elf_machine, "Architecture::ELF_MACHINE");
    ensure_eq!(A::ENDIAN, arch.facts.endian, "Architecture::ENDIAN");
    Ok(())
}

fn elf_header<A: Architecture>(d: &'static Description) -> Check {
    let tools = Toolchain::new(d)?;
    let object = tools.assemble("empty", ".data\n.quad 0x0102030405060708\n")?;
    let bytes = fs::read(&object).map_err(|error| error.to_string())?;
    let file = object::File::parse(&*bytes).map_err(|error| error.to_string())?;
    ensure_eq!(file.is_little_endian(), A::ENDIAN == Endian::Little, "little endian");
    // e_machine is the halfword at 18.
    let machine = [bytes[18], bytes[19]];
    let machine =
        if file.is_little_endian() { u16::from_le_bytes(machine) } else { u16::from_be_bytes(machine) };
    ensure_eq!(A::ELF_MACHINE, machine, "Architecture::ELF_MACHINE");
    let data = file.section_by_name(".data").and_then(|section| section.data().ok()).unwrap_or_default();
    let first = if A::ENDIAN == Endian::Little { 8 } else { 1 };
    ensure_eq!(data.first(), Some(&first), "first byte of a doubleword in memory");
    Ok(())
}

/// Lengths of real code: multiples of the alignment, and no larger alignment would do.
fn insn_align<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let mut common = 0;
    for site in d.sites {
        let code = super::super::description::bytes(site.off);
        let mut rest = &code[..];
        while let Some(insn) = oracle.insn(site.at, rest) {
            common = gcd(common, insn.len as u64);
            rest = &rest[insn.len..];
        }
        ensure!(site.at % A::INSN_ALIGN == 0, "{} is at {:#x}", site.function, site.at);
    }
    ensure_eq!(A::INSN_ALIGN, common, "Architecture::INSN_ALIGN");
    Ok(())
}

fn gcd(a: u64, b: u64) -> u64 {
    if b == 0 { a } else { gcd(b, a % b) }
}

fn strip_return_address<A: Architecture>(d: &'static Description) -> Check {
    for &text in d.text {
        ensure_eq!(A::strip_return_address(text), text, "an address that is not signed");
    }
    for &(word, addr) in d.saved_return_addresses {
        ensure_eq!(A::strip_return_address(word), addr, "saved as {word:#x}");
        ensure_eq!(A::strip_return_address(addr), addr, "stripped twice");
    }
    Ok(())
}
