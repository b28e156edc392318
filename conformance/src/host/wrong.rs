// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Cases that cannot fail prove nothing: an architecture that is right but for one thing, and the case that must find it.

use std::cell::Cell;

use klp_arches::Ppc64;
use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, FarBranch, Reach};
use klp_core::ftrace::{
    FtraceRedirect, PatchSite, Redirected, Registers, RegsLayout, RegsNeeded, ReturnFrame, SiteError,
};
use klp_core::reloc::{ByWay, RelocError, Relocate, Relocation};
use klp_core::unwind::{Code as CodeKind, Cursor, Machine, Saved, Step, Unreliable, Unwind};
use klp_core::{Addr, Architecture, Endian, Patchable};

use crate::report::Outcome;

thread_local! {
    static FAULT: Cell<&'static str> = const { Cell::new("") };
}

fn has(fault: &str) -> bool {
    FAULT.get() == fault
}

struct Wrong;

impl Architecture for Wrong {
    const NAME: &'static str = Ppc64::NAME;
    const ELF_MACHINE: u16 = Ppc64::ELF_MACHINE;
    const ENDIAN: Endian = Ppc64::ENDIAN;
    const INSN_ALIGN: u64 = Ppc64::INSN_ALIGN;

    fn strip_return_address(word: u64) -> Addr {
        if has("strips too much") { word & 0xffff_ffff } else { word }
    }
}

impl FarBranch for Wrong {
    const REACH: Reach = Ppc64::REACH;
    const BRANCH_LEN: usize = Ppc64::BRANCH_LEN;
    const SLOT_LEN: usize = Ppc64::SLOT_LEN;
    const SLOT_ALIGN: u64 = Ppc64::SLOT_ALIGN;
    const SLOT_LITERAL: usize = Ppc64::SLOT_LITERAL;

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        let distance = to.wrapping_sub(from).cast_signed();
        if has("refuses the last word in reach") && distance == Self::REACH.max {
            return Err(BranchError::OutOfReach { distance });
        }
        if has("wraps beyond its reach") {
            return Ppc64::encode(kind, from, from.wrapping_add_signed(distance << 38 >> 38));
        }
        if has("rounds addresses") {
            return Ppc64::encode(kind, from & !3, to & !3);
        }
        let swap = has("calls where it should jump") && distance & 0x1000 != 0;
        Ppc64::encode(if swap { BranchKind::Call } else { kind }, from, to)
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        if has("decodes past the end") {
            return Ppc64::decode(at, &[code, &[0x48; 4]].concat());
        }
        let decoded = Ppc64::decode(at, code);
        if has("knows no bctrl") {
            return decoded
                .filter(|branch| branch.target != BranchTarget::Indirect || branch.kind == BranchKind::Jump);
        }
        if has("takes a conditional branch for a branch") && decoded.is_none() && code.get(3) == Some(&0x41) {
            return Some(Branch { kind: BranchKind::Jump, target: BranchTarget::Indirect, len: 4 });
        }
        decoded
    }

    fn follows_call(return_address: Addr, before: &[u8]) -> bool {
        if has("takes everything for a call") {
            return !before.is_empty();
        }
        let aligned =
            if has("looks behind half an instruction") { return_address & !3 } else { return_address };
        Ppc64::follows_call(aligned, before)
    }

    fn slot(kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        let kind = if has("saves no TOC pointer") { BranchKind::Jump } else { kind };
        let code = Ppc64::slot(kind, if has("rounds slots") { at & !7 } else { at }, target)?;
        let mut bytes = code.as_bytes().to_vec();
        if has("clobbers an argument") {
            // r3 in place of r12 all through.
            for word in bytes[4..Self::SLOT_LITERAL].chunks_mut(4) {
                let insn = u32::from_le_bytes([word[0], word[1], word[2], word[3]]);
                let fixed = match insn >> 26 {
                    15 | 31 => insn & !(31 << 21) | 3 << 21,
                    24 | 25 | 30 | 58 => insn & !(31 << 21 | 31 << 16) | 3 << 21 | 3 << 16,
                    _ => insn,
                };
                word.copy_from_slice(&fixed.to_le_bytes());
            }
        }
        if has("keeps part of the target in its code") {
            bytes[0] ^= (target & 1 << 4) as u8;
        }
        if has("reads the literal twice") {
            // In place of the first instruction: ld r11,lo(r12) before ld r12,lo(r12).
            let ld = u32::from_le_bytes([bytes[20], bytes[21], bytes[22], bytes[23]]);
            bytes.copy_within(4..20, 0);
            bytes[16..20].copy_from_slice(&(ld & !(31 << 21) | 11 << 21).to_le_bytes());
        }
        Ok(Code::new(&bytes))
    }

    fn slot_target(at: Addr, code: &[u8]) -> Option<Addr> {
        let target = Ppc64::slot_target(at, code);
        if has("reads slots from low memory only") {
            return target.filter(|target| *target < 1 << 48);
        }
        if has("takes anything for a slot") {
            return target.or(Some(0));
        }
        target
    }
}

impl FtraceRedirect for Wrong {
    const MAX_SITE_OFFSET: u64 = Ppc64::MAX_SITE_OFFSET;
    const ENTRY_LEN: usize = Ppc64::ENTRY_LEN;
    const REGS: RegsNeeded = Ppc64::REGS;
    const RETURN_STUB: bool = Ppc64::RETURN_STUB;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let site = PatchSite { function, site: location, resume: location + 4 };
        match Ppc64::patch_site(function, location, code) {
            Ok(found) if has("resumes at the site") => Ok(PatchSite { resume: found.site, ..found }),
            Err(SiteError::TooFar { .. }) if has("accepts sites far away") => Ok(site),
            Err(SiteError::UnknownCode { .. }) if has("accepts unknown code") => Ok(site),
            Err(SiteError::ShortCode) if has("accepts short code") => Ok(site),
            result => result,
        }
    }

    fn function_of_probe(found: Addr, code_before: &[u8]) -> Addr {
        if has("forgets the global entry") { found } else { Ppc64::function_of_probe(found, code_before) }
    }

    fn call_site(ip: Addr) -> Addr {
        if has("misplaces the call site") { ip - 4 } else { ip }
    }

    fn resume_address(regs: &impl Registers, layout: &RegsLayout) -> Addr {
        regs.read(if has("resumes at the caller") { layout.ra } else { layout.pc })
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, return_stub: Addr) {
        if has("writes another register") {
            regs.write(layout.gprs + 12 * 8, target);
        }
        if has("reads behind the block") {
            regs.read(layout.size);
        }
        let return_stub = if has("always uses a stub") { target ^ 0x100 } else { return_stub };
        if !has("redirects nothing") {
            Ppc64::redirect(regs, layout, target, return_stub);
        }
    }

    fn return_frame(regs: &impl Registers, layout: &RegsLayout, target: Addr, stub: Addr) -> Redirected {
        if has("keeps no frame") {
            return Redirected::Direct;
        }
        match Ppc64::return_frame(regs, layout, target, stub) {
            Redirected::ThroughStub(frame) if has("keeps a wrong frame") => {
                Redirected::ThroughStub(ReturnFrame { sp: frame.ra, ..frame })
            }
            frame => frame,
        }
    }
}

impl Patchable for Wrong {
    const NOP_LEN: usize = Ppc64::NOP_LEN;

    fn nop(code: &[u8]) -> Option<usize> {
        if has("takes everything for a NOP") {
            return code.get(3).map(|_| 4);
        }
        Ppc64::nop(code).filter(|_| !has("knows no NOP"))
    }

    fn landing_pad(code: &[u8]) -> usize {
        Ppc64::landing_pad(code)
    }

    const FLIP: std::ops::Range<usize> = Ppc64::FLIP;

    fn idle(branch: &Code) -> Code {
        Ppc64::idle(branch)
    }
}

impl Relocate for Wrong {
    const ABSOLUTE: u32 = Ppc64::ABSOLUTE;
    const SLOT_BETWEEN_OBJECTS: bool = Ppc64::SLOT_BETWEEN_OBJECTS;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        if has("forgets the addend") {
            return Ppc64::relocate(&Relocation { addend: 0, ..*relocation }, code);
        }
        match Ppc64::relocate(relocation, code) {
            Err(RelocError::Overflow { .. }) if has("cuts values off") => Ok(4),
            Err(RelocError::ShortCode) if has("relocates short code") => Ok(0),
            Err(RelocError::UnknownType(_)) if has("ignores unknown types") => Ok(0),
            result => result,
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        Ppc64::type_name(r_type)
            .filter(|name| !(has("ignores the entry point's marker") && name.ends_with("ENTRY")))
    }

    fn by_way(r_type: u32) -> ByWay {
        if has("gives everything a slot") && r_type < 0x1000 {
            return ByWay::Slot { own: 0 };
        }
        Ppc64::by_way(r_type)
    }

    fn relocate_to_slot(relocation: &Relocation, slot: Addr, code: &mut [u8]) -> Result<usize, RelocError> {
        if has("restores no TOC pointer") {
            return Self::relocate(&Relocation { symbol: slot, addend: 0, ..*relocation }, code);
        }
        Ppc64::relocate_to_slot(relocation, slot, code)
    }
}

impl Unwind for Wrong {
    const FRAME_ALIGN: u64 = Ppc64::FRAME_ALIGN;

    fn switched_out(saved: &Saved, machine: &impl Machine) -> Result<Cursor, Unreliable> {
        if has("trusts the first frame") {
            let pc = machine.word(saved.sp + 16).unwrap_or_default();
            return Ok(Cursor { pc, sp: saved.sp, fp: 0, exact: false });
        }
        Ppc64::switched_out(saved, machine)
    }

    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let end = |fault: &str, error| if has(fault) { Ok(Step::Bottom) } else { Err(error) };
        let bottom = if has("misplaces the bottom") { bottom | 0x1f00 } else { bottom };
        // ELFv2 §2.2.2: the back chain, and LR above it in the caller's frame.
        let by_chain = |sp: Addr| {
            let caller = machine.word(sp)?;
            let pc = machine.word(caller.wrapping_add(16))?;
            Some(Step::Caller(Cursor { pc, sp: caller, fp: 0, exact: false }))
        };
        match Ppc64::step(cursor, bottom, machine) {
            Ok(Step::Caller(next)) if has("ends where it does not advance") && next.sp <= cursor.sp => {
                Ok(Step::Bottom)
            }
            Ok(Step::Caller(next)) if has("skips frames") => Ppc64::step(&next, bottom, machine),
            Ok(Step::Caller(next))
                if has("skips generated code") && machine.code(next.pc) == CodeKind::Generated =>
            {
                Ppc64::step(&next, bottom, machine)
            }
            Ok(Step::Caller(next))
                if has("skips trampolines")
                    && matches!(machine.code(next.pc), CodeKind::ReturnTrampoline(_)) =>
            {
                Ppc64::step(&next, bottom, machine)
            }
            Ok(Step::Bottom) if has("looks beyond the bottom") => {
                let _ = machine.word(bottom | 0xff8);
                Err(Unreliable::NotTheBottom(cursor.sp))
            }
            Err(error @ Unreliable::CouldNotReadStack(_)) => end("ends where it cannot read", error),
            Err(error @ Unreliable::Misaligned(_)) => end("ends at misaligned frames", error),
            Err(error @ Unreliable::Exception(_)) if has("walks through exceptions") => {
                by_chain(cursor.sp).ok_or(error)
            }
            Err(error @ Unreliable::Exception(_)) => end("ends at exceptions", error),
            Err(_) if has("ends at anything odd") => Ok(Step::Bottom),
            Err(_) if has("has a reason of its own") => Err(Unreliable::NoUnwindInfo(cursor.pc)),
            result => result,
        }
    }
}

/// What is wrong, and the case that finds it. Not here: cases that compare a constant (H1.1 to H1.3, H2.1, H7.12) or a golden file
/// (H3.6, H4.2), that ask klp-core, its walker or the compiler
/// (H6, H8.4.2.3, H8.4.3.2, H8.4.4.3, H9, H10.5), that ppc64 is not asked (H3.5, H8.3.1, H8.4.5.1, H10.6), and that
/// finds by chance what H3.1 finds always (H3.9).
const FAULTS: &[(&str, &str)] = &[
    ("strips too much", "H1.4"),
    ("refuses the last word in reach", "H2.2"),
    ("wraps beyond its reach", "H2.3"),
    ("rounds addresses", "H2.4"),
    ("calls where it should jump", "H2.5"),
    ("knows no bctrl", "H2.6"),
    ("takes a conditional branch for a branch", "H2.7"),
    ("takes a conditional branch for a branch", "H2.8"),
    ("decodes past the end", "H2.9"),
    ("takes everything for a call", "H2.10"),
    ("looks behind half an instruction", "H2.11"),
    ("clobbers an argument", "H3.1"),
    ("saves no TOC pointer", "H3.1"),
    ("reads the literal twice", "H3.1"),
    ("reads slots from low memory only", "H3.2"),
    ("takes anything for a slot", "H3.3"),
    ("rounds slots", "H3.4"),
    ("keeps part of the target in its code", "H3.7"),
    ("clobbers an argument", "H3.8"),
    ("saves no TOC pointer", "H3.8"),
    ("resumes at the site", "H4.1"),
    ("accepts unknown code", "H4.3"),
    ("accepts sites far away", "H4.4"),
    ("accepts unknown code", "H4.5"),
    ("accepts unknown code", "H4.6"),
    ("accepts short code", "H4.7"),
    ("forgets the global entry", "H4.8"),
    ("writes another register", "H5.1"),
    ("reads behind the block", "H5.2"),
    ("resumes at the caller", "H5.3"),
    ("keeps a wrong frame", "H5.4"),
    ("always uses a stub", "H5.5"),
    ("redirects nothing", "H5.6"),
    ("keeps no frame", "H5.7"),
    ("misplaces the call site", "H5.8"),
    ("forgets the addend", "H7.1"),
    ("cuts values off", "H7.2"),
    ("relocates short code", "H7.3"),
    ("ignores unknown types", "H7.4"),
    ("gives everything a slot", "H7.5"),
    ("cuts values off", "H7.6"),
    ("forgets the addend", "H7.7"),
    ("restores no TOC pointer", "H7.8"),
    ("ignores the entry point's marker", "H7.9"),
    ("forgets the addend", "H7.10"),
    ("cuts values off", "H7.11"),
    ("skips frames", "H8.2.1"),
    ("ends where it cannot read", "H8.2.2"),
    ("ends where it does not advance", "H8.2.3"),
    ("ends at misaligned frames", "H8.2.4"),
    ("ends at anything odd", "H8.2.5"),
    ("ends at anything odd", "H8.2.6"),
    ("skips frames", "H8.2.7"),
    ("has a reason of its own", "H8.2.8"),
    ("looks beyond the bottom", "H8.4.1.1"),
    ("misplaces the bottom", "H8.4.1.2"),
    ("skips generated code", "H8.4.2.1"),
    ("takes everything for a call", "H8.4.2.2"),
    ("ends at exceptions", "H8.4.3.1"),
    ("walks through exceptions", "H8.4.3.1"),
    ("skips trampolines", "H8.4.4.1"),
    ("skips trampolines", "H8.4.4.2"),
    ("skips trampolines", "H8.4.4.4"),
    ("trusts the first frame", "H8.4.6.1"),
    ("skips frames", "H8.5.1"),
    ("knows no NOP", "H10.1"),
    ("knows no NOP", "H10.2"),
    ("knows no NOP", "H10.3"),
    ("takes everything for a NOP", "H10.4"),
];

fn outcome(id: &str, fault: &'static str) -> Outcome {
    let description = &super::arch::ppc64::DESCRIPTION;
    let cases = super::cases::<Wrong>(description);
    let case = cases.iter().find(|case| case.id == id).expect("a case");
    FAULT.set(fault);
    let outcome = case.run(description).outcome;
    FAULT.set("");
    outcome
}

#[test]
fn each_fault_is_found() {
    for (fault, id) in FAULTS {
        assert_eq!(outcome(id, ""), Outcome::Passed, "{id}, nothing being wrong");
        let found = outcome(id, fault);
        assert!(matches!(found, Outcome::Failed(_)), "{id} does not find that it {fault}: {found:?}");
    }
}
