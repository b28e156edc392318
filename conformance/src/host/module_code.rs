// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Looks through a module's code for floating-point and vector registers, which kernel code must not use: they hold what
//! user space left there.

use std::fmt;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result, ensure};
use object::{Object, ObjectSection, ObjectSymbol, SectionFlags, SymbolKind};

use super::Description;
use super::oracle::hex;

/// What was found in a module's code.
#[derive(Clone, Debug, Default)]
pub struct Scan {
    /// How many instructions were read.
    pub insns: usize,
    /// Instructions that use floating-point or vector registers.
    pub fpu: Vec<Found>,
    /// Bytes that the disassembler knows no instruction for, save zeros at the end of a function. They may hide anything.
    pub unknown: Vec<Found>,
}

/// One instruction, and where it is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Found {
    /// The section.
    pub section: String,
    /// The function; empty before the first one of a section.
    pub symbol: String,
    /// From the function's start, or the section's.
    pub offset: u64,
    /// The instruction, or its bytes.
    pub text: String,
    /// The registers.
    pub registers: Vec<String>,
}

impl fmt::Display for Found {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}+{:#x} ({}): {}", self.symbol, self.offset, self.section, self.text)?;
        if !self.registers.is_empty() {
            write!(f, " uses {}", self.registers.join(", "))?;
        }
        Ok(())
    }
}

/// Disassembles all code of the object or module at `path`.
///
/// # Errors
///
/// The file cannot be read, is of another architecture, or has no code.
pub fn scan(path: &Path, description: &Description) -> Result<Scan> {
    let bytes = fs::read(path).with_context(|| format!("cannot read {}", path.display()))?;
    scan_bytes(&bytes, description).with_context(|| path.display().to_string())
}

fn scan_bytes(bytes: &[u8], description: &Description) -> Result<Scan> {
    let file = object::File::parse(bytes).context("expected an ELF object")?;
    let arch = (description.host)().context("no such architecture")?;
    let machine = machine(bytes, file.is_little_endian());
    ensure!(
        machine == arch.facts.elf_machine,
        "expected code of {} (ELF machine {}), found ELF machine {machine}",
        arch.name,
        arch.facts.elf_machine
    );
    let oracle = (description.oracle)();
    let mut scan = Scan::default();
    for section in file.sections() {
        let SectionFlags::Elf { sh_flags } = section.flags() else { continue };
        if sh_flags & u64::from(object::elf::SHF_EXECINSTR) == 0 {
            continue;
        }
        let name = section.name().context("a section's name")?;
        let data = section.data().with_context(|| format!("the bytes of {name}"))?;
        for (symbol, start, end) in functions(&file, &section, data.len()) {
            let mut offset = start;
            while offset < end {
                let insn = oracle.insn(section.address() + offset as u64, &data[offset..end]);
                let found = |text: String, registers| Found {
                    section: name.to_owned(),
                    symbol: symbol.clone(),
                    offset: (offset - start) as u64,
                    text,
                    registers,
                };
                match insn {
                    Some(insn) => {
                        scan.insns += 1;
                        if !insn.fpu.is_empty() {
                            scan.fpu.push(found(insn.text, insn.fpu));
                        }
                        offset += insn.len;
                    }
                    // What aligns the next function.
                    None if data[offset..end].iter().all(|&byte| byte == 0) => break,
                    None => {
                        let len = description.insn_align.min(end - offset);
                        scan.unknown.push(found(hex(&data[offset..offset + len]), Vec::new()));
                        offset += len;
                    }
                }
            }
        }
    }
    ensure!(scan.insns > 0, "no code in it");
    Ok(scan)
}

fn machine(bytes: &[u8], little: bool) -> u16 {
    let halfword = [bytes[18], bytes[19]];
    if little { u16::from_le_bytes(halfword) } else { u16::from_be_bytes(halfword) }
}

/// The functions of a section: name, start, end. The code before the first has no name.
fn functions(
    file: &object::File<'_>,
    section: &object::Section<'_, '_>,
    len: usize,
) -> Vec<(String, usize, usize)> {
    let mut starts: Vec<(usize, String)> = file
        .symbols()
        .filter(|symbol| symbol.section_index() == Some(section.index()) && symbol.kind() == SymbolKind::Text)
        .filter_map(|symbol| {
            let start = usize::try_from(symbol.address().checked_sub(section.address())?).ok()?;
            Some((start, symbol.name().ok()?.to_owned()))
        })
        .filter(|(start, _)| *start < len)
        .collect();
    starts.sort();
    starts.dedup_by_key(|(start, _)| *start);
    if starts.first().is_none_or(|(start, _)| *start > 0) {
        starts.insert(0, (0, String::new()));
    }
    let ends = starts.iter().skip(1).map(|(start, _)| *start).chain([len]).collect::<Vec<_>>();
    starts.into_iter().zip(ends).map(|((start, name), end)| (name, start, end)).collect()
}
