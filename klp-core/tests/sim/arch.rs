// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! An architecture that exists nowhere, with the simplest forms that still have everything the engine can meet.
//!
//! Every instruction is one big-endian word: an operation in the first byte, a signed distance in words in the other
//! three. A function may start with a landing pad; its patch site follows. With `STUB`, redirected calls return through
//! a stub that puts [`TOC`] back.

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Code, Reach};
use klp_core::ftrace::{PatchSite, Redirected, Registers, RegsLayout, RegsNeeded, ReturnFrame, SiteError};
use klp_core::reloc::{ByWay, RelocError, Relocation};
use klp_core::unwind::{Cursor, Machine, Saved, Step, Unreliable, UnwindInfo};
use klp_core::{Addr, Architecture, Endian, FarBranch, FtraceRedirect, Patchable, Relocate, Unwind};

pub(crate) struct Toy<const STUB: bool>;

pub(crate) const INSN: u64 = 4;
pub(crate) const NOP: [u8; 4] = [0; 4];
pub(crate) const PAD: [u8; 4] = [1, 0, 0, 0];
pub(crate) const RET: [u8; 4] = [5, 0, 0, 0];
const CALL: u8 = 2;
const JUMP: u8 = 3;
/// Continues at the address in the two words behind it.
const FAR: u8 = 4;

/// Relocation types: the doubleword S + A; a branch to S + A + 4; the doubleword G + A; a doubleword to which S + A is added, or from
/// which it is taken.
pub(crate) const DATA: u32 = 1;
pub(crate) const BRANCH: u32 = 2;
pub(crate) const LITERAL: u32 = 3;
pub(crate) const ADD: u32 = 4;
pub(crate) const SUB: u32 = 5;

/// Where the module's return stub lies.
pub(crate) const RETURN_STUB: Addr = 0xffff_ffff_8190_0000;
/// What a caller of a redirected function expects in the context register when the call returns.
pub(crate) const TOC: u64 = 0x70c;

/// The register block of the simulated trampoline.
pub(crate) const LAYOUT: RegsLayout = RegsLayout { size: 24, pc: 0, sp: 8, ra: 16, gprs: RegsLayout::ABSENT };

impl<const STUB: bool> Architecture for Toy<STUB> {
    const NAME: &'static str = "toy";
    const ELF_MACHINE: u16 = 0xffff;
    const ENDIAN: Endian = Endian::Big;
    const INSN_ALIGN: u64 = INSN;
}

impl<const STUB: bool> FtraceRedirect for Toy<STUB> {
    const MAX_SITE_OFFSET: u64 = INSN;
    const ENTRY_LEN: usize = 8;
    const REGS: RegsNeeded = RegsNeeded::Arguments;
    const RETURN_STUB: bool = STUB;

    fn patch_site(function: Addr, location: Addr, code: &[u8]) -> Result<PatchSite, SiteError> {
        let ([first, second], []) = code.as_chunks::<4>() else { return Err(SiteError::ShortCode) };
        let offset = location.wrapping_sub(function).cast_signed();
        let insn = match offset {
            0 => first,
            4 if *first == PAD => second,
            4 => return Err(SiteError::UnknownCode { at: function, found: *first }),
            _ => return Err(SiteError::TooFar { offset, limit: Self::MAX_SITE_OFFSET }),
        };
        let is_call = Self::decode(location, insn).is_some_and(|branch| branch.kind == BranchKind::Call);
        if *insn != NOP && !is_call {
            return Err(SiteError::UnknownCode { at: location, found: *insn });
        }
        Ok(PatchSite { function, site: location, resume: location + INSN })
    }

    fn redirect(regs: &mut impl Registers, layout: &RegsLayout, target: Addr, return_stub: Addr) {
        regs.write(layout.pc, if STUB { return_stub } else { target });
    }

    fn return_frame(
        regs: &impl Registers,
        layout: &RegsLayout,
        target: Addr,
        _return_stub: Addr,
    ) -> Redirected {
        if !STUB {
            return Redirected::Direct;
        }
        let frame = ReturnFrame { ra: regs.read(layout.ra), sp: regs.read(layout.sp), context: target };
        Redirected::ThroughStub(frame)
    }
}

impl<const STUB: bool> FarBranch for Toy<STUB> {
    const REACH: Reach = Reach { min: -(1 << 25), max: (1 << 25) - 4, align: INSN };
    const BRANCH_LEN: usize = 4;
    const SLOT_LEN: usize = 16;
    const SLOT_LITERAL: usize = 8;

    fn encode(kind: BranchKind, from: Addr, to: Addr) -> Result<Code, BranchError> {
        if let Some(addr) = [from, to].into_iter().find(|addr| !addr.is_multiple_of(INSN)) {
            return Err(BranchError::Misaligned { addr });
        }
        let distance = to.wrapping_sub(from).cast_signed();
        let (true, Ok(words)) = (Self::REACH.covers(from, to), i32::try_from(distance / 4)) else {
            return Err(BranchError::OutOfReach { distance });
        };
        let [_, a, b, c] = words.to_be_bytes();
        Ok(Code::new(&[if kind == BranchKind::Call { CALL } else { JUMP }, a, b, c]))
    }

    fn decode(at: Addr, code: &[u8]) -> Option<Branch> {
        let (&[operation, a, b, c], _) = code.split_first_chunk::<4>()?;
        let kind = match operation {
            CALL => BranchKind::Call,
            JUMP => BranchKind::Jump,
            _ => return None,
        };
        let words = i32::from_be_bytes([a, b, c, 0]) >> 8;
        let target = BranchTarget::Direct(at.wrapping_add_signed(i64::from(words) * 4));
        Some(Branch { kind, target, len: 4 })
    }

    fn follows_call(_return_address: Addr, before: &[u8]) -> bool {
        before.last_chunk::<4>().is_some_and(|insn| insn[0] == CALL)
    }

    fn slot(_kind: BranchKind, at: Addr, target: Addr) -> Result<Code, BranchError> {
        match [(at, Self::SLOT_ALIGN), (target, INSN)]
            .iter()
            .find(|(addr, align)| !addr.is_multiple_of(*align))
        {
            Some(&(addr, _)) => Err(BranchError::Misaligned { addr }),
            None => Ok(Code::new(&[FAR, 0, 0, 0, 0, 0, 0, 0]).then(&target.to_be_bytes())),
        }
    }

    fn slot_target(_at: Addr, code: &[u8]) -> Option<Addr> {
        let (&[FAR, 0, 0, 0, 0, 0, 0, 0], target) = code.split_first_chunk::<8>()? else { return None };
        target.first_chunk().map(|bytes| Addr::from_be_bytes(*bytes))
    }
}

impl<const STUB: bool> Patchable for Toy<STUB> {
    const NOP_LEN: usize = 4;

    fn nop(code: &[u8]) -> Option<usize> {
        code.starts_with(&NOP).then_some(4)
    }

    fn landing_pad(code: &[u8]) -> usize {
        if code.starts_with(&PAD) { 4 } else { 0 }
    }

    const FLIP: std::ops::Range<usize> = 0..4;

    fn idle(_branch: &Code) -> Code {
        Code::new(&NOP)
    }
}

impl<const STUB: bool> Relocate for Toy<STUB> {
    const ABSOLUTE: u32 = 0;
    const SLOT_BETWEEN_OBJECTS: bool = STUB;

    fn relocate(relocation: &Relocation, code: &mut [u8]) -> Result<usize, RelocError> {
        let to = relocation.symbol.wrapping_add_signed(relocation.addend);
        match relocation.r_type {
            DATA | LITERAL => {
                let field = code.first_chunk_mut::<8>().ok_or(RelocError::ShortCode)?;
                *field = to.to_be_bytes();
                Ok(field.len())
            }
            ADD | SUB => {
                let field = code.first_chunk_mut::<8>().ok_or(RelocError::ShortCode)?;
                let held = u64::from_be_bytes(*field);
                let sum =
                    if relocation.r_type == ADD { held.wrapping_add(to) } else { held.wrapping_sub(to) };
                *field = sum.to_be_bytes();
                Ok(field.len())
            }
            BRANCH => {
                let insn = code.first_chunk_mut::<4>().ok_or(RelocError::ShortCode)?;
                let kind = match insn[0] {
                    CALL => BranchKind::Call,
                    JUMP => BranchKind::Jump,
                    _ => return Err(RelocError::UnexpectedCode(*insn)),
                };
                let code =
                    Self::encode(kind, relocation.place, to.wrapping_add(4)).map_err(
                        |error| match error {
                            BranchError::OutOfReach { distance } => {
                                RelocError::Overflow { value: distance, bits: 26 }
                            }
                            BranchError::Misaligned { addr } => RelocError::Misaligned(addr.cast_signed()),
                        },
                    )?;
                insn.copy_from_slice(code.as_bytes());
                Ok(insn.len())
            }
            unknown => Err(RelocError::UnknownType(unknown)),
        }
    }

    fn type_name(r_type: u32) -> Option<&'static str> {
        Some(match r_type {
            DATA => "R_TOY_DATA",
            BRANCH => "R_TOY_BRANCH",
            LITERAL => "R_TOY_LITERAL",
            ADD => "R_TOY_ADD",
            SUB => "R_TOY_SUB",
            _ => return None,
        })
    }

    fn by_way(r_type: u32) -> ByWay {
        match r_type {
            BRANCH => ByWay::Slot { own: -4 },
            LITERAL => ByWay::Literal,
            _ => ByWay::None,
        }
    }
}

impl<const STUB: bool> Unwind for Toy<STUB> {
    const FRAME_ALIGN: u64 = 16;

    fn switched_out(saved: &Saved, _: &impl Machine) -> Result<Cursor, Unreliable> {
        Ok(Cursor { pc: saved.pc, sp: saved.sp, fp: saved.fp, exact: true })
    }

    /// Where the chain ends, at a landing pad: boot code that made up a return address.
    fn starts_stack(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> bool {
        let mut insn = NOP;
        cursor.fp == bottom && machine.text(cursor.pc, &mut insn) && insn == PAD
    }

    fn caller(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Option<Cursor> {
        match Self::step(cursor, bottom, machine) {
            Ok(Step::Caller(caller)) => Some(caller),
            _ => None,
        }
    }

    /// With [`UnwindInfo::Frames`], a frame record is two words at the frame pointer: the caller's frame pointer, the
    /// return address. The frame pointer's lowest bit marks a register block instead: frame pointer, program counter, stack
    /// pointer. The bottom has the frame pointer `bottom`; zero ends a chain that is broken.
    ///
    /// With tables, an entry's first byte is the frame's size in units of 16 bytes, and the return address its last word.
    ///
    /// Code that was interrupted at a landing pad has its caller in a register, and has lost it at a return.
    fn step(cursor: &Cursor, bottom: Addr, machine: &impl Machine) -> Result<Step, Unreliable> {
        let word = |addr| machine.word(addr).ok_or(Unreliable::CouldNotReadStack(addr));
        if let UnwindInfo::Tables(_) = machine.unwind_info() {
            if cursor.sp == bottom {
                return Ok(Step::Bottom);
            }
            let pc = cursor.in_function();
            let entry = machine.unwind_entry(pc);
            let size = entry.map(|entry| 16 * u64::from(entry[0])).ok_or(Unreliable::NoUnwindInfo(pc))?;
            let sp = cursor.sp.wrapping_add(size);
            return Ok(Step::Caller(Cursor { pc: word(sp.wrapping_sub(8))?, sp, fp: 0, exact: false }));
        }
        let mut insn = NOP;
        if cursor.exact && machine.text(cursor.pc, &mut insn) {
            match insn {
                PAD => return Err(Unreliable::CallerInRegister(cursor.pc)),
                RET => return Err(Unreliable::Exception(cursor.pc)),
                _ => {}
            }
        }
        if cursor.fp == bottom {
            return Ok(Step::Bottom);
        }
        if cursor.fp == 0 {
            return Err(Unreliable::NotTheBottom(cursor.sp));
        }
        let at = cursor.fp & !1;
        let (fp, pc) = (word(at)?, word(at.wrapping_add(8))?);
        if cursor.fp & 1 == 1 {
            return Ok(Step::Interrupted(Cursor { pc, sp: word(at.wrapping_add(16))?, fp, exact: true }));
        }
        Ok(Step::Caller(Cursor { pc, sp: at.wrapping_add(16), fp, exact: false }))
    }
}
