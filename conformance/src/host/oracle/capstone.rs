// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capstone, for ppc64 and s390.

use capstone::arch::{ArchOperand, DetailsArchInsn, ppc, sysz};
use capstone::prelude::*;
use klp_core::Addr;
use klp_core::branch::BranchTarget;

use super::{Flow, Insn, Oracle};

/// What Capstone says of one instruction.
struct Decoded {
    len: usize,
    mnemonic: String,
    operands: String,
    /// The immediate operands.
    immediates: Vec<i64>,
    /// The register operands and the base registers of memory operands.
    registers: Vec<String>,
}

impl Decoded {
    fn text(&self) -> String {
        format!("{} {}", self.mnemonic, self.operands).trim_end().to_owned()
    }
}

fn decode(capstone: &Capstone, at: Addr, code: &[u8]) -> Option<Decoded> {
    let insns = capstone.disasm_count(code, at, 1).ok()?;
    let insn = insns.first()?;
    let detail = capstone.insn_detail(insn).ok()?;
    let (mut immediates, mut registers) = (Vec::new(), Vec::new());
    let mut register = |id: RegId| registers.extend(capstone.reg_name(id));
    for operand in detail.arch_detail().operands() {
        match operand {
            ArchOperand::PpcOperand(ppc::PpcOperand::Imm(value)) => immediates.push(value),
            ArchOperand::SysZOperand(sysz::SysZOperand::Imm(value)) => immediates.push(value),
            ArchOperand::PpcOperand(ppc::PpcOperand::Reg(id)) => register(id),
            ArchOperand::SysZOperand(sysz::SysZOperand::Reg(id)) => register(id),
            _ => {}
        }
    }
    Some(Decoded {
        len: insn.len(),
        mnemonic: insn.mnemonic()?.to_owned(),
        operands: insn.op_str().unwrap_or_default().to_owned(),
        immediates,
        registers,
    })
}

/// Capstone for 64-bit little-endian Power.
#[derive(Debug)]
pub struct PowerPc(Capstone);

impl Default for PowerPc {
    fn default() -> PowerPc {
        let builder = Capstone::new().ppc().mode(ppc::ArchMode::Mode64).endian(capstone::Endian::Little);
        PowerPc(builder.detail(true).build().expect("Capstone is built with Power"))
    }
}

impl Oracle for PowerPc {
    fn name(&self) -> &'static str {
        "Capstone (Power)"
    }

    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn> {
        let decoded = decode(&self.0, at, code.get(..4)?)?;
        let target = match decoded.immediates.last() {
            Some(target) => BranchTarget::Direct(target.cast_unsigned()),
            None => BranchTarget::Indirect,
        };
        let flow = match decoded.mnemonic.as_str() {
            "b" | "ba" => Flow::jump(target),
            "bl" | "bla" => Flow::call(target),
            "bctr" => Flow::jump(BranchTarget::Indirect),
            "bctrl" | "blrl" => Flow::call(BranchTarget::Indirect),
            "blr" => Flow::Return,
            _ if sets_lr(code) => Flow::Unjudged("a conditional branch that sets LR: no compiler calls with it"),
            _ => Flow::Other,
        };
        // f0…f31, v0…v31, vs0…vs63: registers with other names begin otherwise, save `vrsave`.
        let is_fpu = |name: &&String| {
            let number = name.strip_prefix("vs").or(name.strip_prefix(['f', 'v']));
            number.is_some_and(|number| number.parse::<u8>().is_ok())
        };
        let fpu = decoded.registers.iter().filter(is_fpu).cloned().collect();
        Some(Insn { len: decoded.len, text: decoded.text(), flow, fpu })
    }
}

/// Whether this is a branch that sets LR: primary opcode 16, or 19 with the extended opcodes of `bclr`, `bcctr` and
/// `bctar`, with LK set (Power ISA Book I, 2.4).
fn sets_lr(code: &[u8]) -> bool {
    let Some(bytes) = code.first_chunk() else { return false };
    let word = u32::from_le_bytes(*bytes);
    let extended = word >> 1 & 0x3ff;
    word & 1 != 0 && (word >> 26 == 16 || word >> 26 == 19 && matches!(extended, 16 | 528 | 560))
}

/// Capstone for z/Architecture.
#[derive(Debug)]
pub struct SystemZ(Capstone);

impl Default for SystemZ {
    fn default() -> SystemZ {
        let builder = Capstone::new().sysz().mode(sysz::ArchMode::Default).detail(true);
        SystemZ(builder.build().expect("Capstone is built with SystemZ"))
    }
}

impl Oracle for SystemZ {
    fn name(&self) -> &'static str {
        "Capstone (SystemZ)"
    }

    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn> {
        let decoded = decode(&self.0, at, code)?;
        let direct = decoded.immediates.last().map(|target| BranchTarget::Direct(target.cast_unsigned()));
        let last = decoded.registers.last().map(String::as_str);
        let flow = match (decoded.mnemonic.as_str(), direct) {
            ("j" | "jg" | "jlu", Some(target)) => Flow::jump(target),
            ("bras" | "brasl", Some(target)) => Flow::call(target),
            // A zero register field stands for "no branch" (PoP ch. 7, "Branch on Condition", "Branch and Save").
            ("br" | "basr", _) if last == Some("r0") => Flow::Other,
            ("br", _) if last == Some("r14") => Flow::Return,
            ("br" | "b" | "bi", _) => Flow::jump(BranchTarget::Indirect),
            ("basr" | "bas", _) => Flow::call(BranchTarget::Indirect),
            ("bal" | "balr" | "bassm" | "bsm", _) => {
                Flow::Unjudged("saves or sets the addressing mode: not for 64-bit code")
            }
            _ => Flow::Other,
        };
        let is_fpu = |name: &&String| {
            name.strip_prefix(['f', 'v']).is_some_and(|number| number.parse::<u8>().is_ok())
        };
        let fpu = decoded.registers.iter().filter(is_fpu).cloned().collect();
        Some(Insn { len: decoded.len, text: decoded.text(), flow, fpu })
    }
}
