// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Capstone, for ppc64, riscv64 and s390.

use capstone::arch::{ArchOperand, ppc, riscv, sysz};
use capstone::prelude::*;
use klp_core::Addr;
use klp_core::branch::BranchTarget;

use super::{Flow, Insn, Oracle};

/// What Capstone says of one instruction.
struct Decoded {
    len: usize,
    mnemonic: String,
    operands: String,
    /// The last immediate operand: of a branch, the target.
    immediate: Option<i64>,
}

impl Decoded {
    /// The target of a direct branch, else that of an indirect one.
    fn target(&self) -> BranchTarget {
        self.immediate.map_or(BranchTarget::Indirect, |target| BranchTarget::Direct(target.cast_unsigned()))
    }

    /// The operands that name a register with one of these prefixes and a number.
    fn registers(&self, prefixes: &[&str]) -> Vec<String> {
        let words = self.operands.split(|c: char| !c.is_ascii_alphanumeric() && c != '%');
        let named = |word: &&str| {
            let number = prefixes.iter().find_map(|prefix| word.strip_prefix(prefix));
            number.is_some_and(|number| number.parse::<u8>().is_ok())
        };
        words.filter(named).map(str::to_owned).collect()
    }

    fn insn(&self, flow: Flow, fpu: Vec<String>) -> Insn {
        let text = format!("{} {}", self.mnemonic, self.operands).trim_end().to_owned();
        Insn { len: self.len, text, flow, fpu }
    }
}

fn decode(capstone: &Capstone, at: Addr, code: &[u8]) -> Option<Decoded> {
    let insns = capstone.disasm_count(code, at, 1).ok()?;
    let insn = insns.first()?;
    let detail = capstone.insn_detail(insn).ok()?;
    let immediate = detail.arch_detail().operands().iter().rev().find_map(|operand| match operand {
        ArchOperand::PpcOperand(ppc::PpcOperand::Imm(value)) => Some(*value),
        ArchOperand::SysZOperand(sysz::SysZOperand::Imm(value)) => Some(*value),
        ArchOperand::RiscVOperand(riscv::RiscVOperand::Imm(value)) => Some(*value),
        _ => None,
    });
    Some(Decoded {
        len: insn.len(),
        mnemonic: insn.mnemonic()?.to_owned(),
        operands: insn.op_str().unwrap_or_default().to_owned(),
        immediate,
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
        let code = code.first_chunk::<4>()?;
        let Some(decoded) = decode(&self.0, at, code) else {
            let flow = unjudged(u32::from_le_bytes(*code))?;
            return Some(Insn { len: 4, text: "a branch".to_owned(), flow, fpu: Vec::new() });
        };
        let flow = match decoded.mnemonic.as_str() {
            "b" | "ba" => Flow::jump(decoded.target()),
            "bl" | "bla" => Flow::call(decoded.target()),
            "bctr" => Flow::jump(BranchTarget::Indirect),
            "bctrl" | "blrl" => Flow::call(BranchTarget::Indirect),
            "blr" => Flow::Return,
            _ => unjudged(u32::from_le_bytes(*code)).unwrap_or(Flow::Other),
        };
        Some(decoded.insn(flow, decoded.registers(&["f", "v", "vs"])))
    }
}

/// Forms of `bc`, `bclr`, `bcctr` and `bctar` (primary opcode 16, or 19 with these extended opcodes; Power ISA Book I,
/// 2.4) of which Capstone cannot be asked.
fn unjudged(insn: u32) -> Option<Flow> {
    let is_branch = match insn >> 26 {
        16 => true,
        19 => matches!(insn >> 1 & 0x3ff, 16 | 528 | 560),
        _ => false,
    };
    let always = insn >> 21 & 0b10100 == 0b10100;
    if is_branch && always {
        Some(Flow::Unjudged("Capstone misreads conditional branches whose BO field says \"always\""))
    } else if is_branch && insn & 1 != 0 {
        Some(Flow::Unjudged("a conditional branch that sets LR: no compiler calls with it"))
    } else {
        None
    }
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
        let target = decoded.target();
        let decoded = decoded.insn(Flow::Other, decoded.registers(&["%f", "%v"]));
        let (mnemonic, operands) = decoded.words();
        // A zero register field stands for "no branch" (PoP ch. 7, "Branch on Condition", "Branch and Save"). Register 14
        // holds the return address (ELF ABI, "Registers"): a branch that links elsewhere leaves it alone.
        let flow = match (mnemonic, &operands[..]) {
            ("j" | "jg" | "jlu", _) => Flow::jump(target),
            ("bras" | "brasl", ["%r14", _]) => Flow::call(target),
            ("bras" | "brasl", _) => Flow::jump(target),
            ("br", ["%r0"]) | ("basr", [_, "%r0"]) => Flow::Other,
            ("br", ["%r14"]) | ("b", ["0(%r14)"]) => Flow::Return,
            ("b", [target]) if target.contains("%r14") => {
                Flow::Unjudged("a branch to somewhere near the return address: a return of sorts")
            }
            ("br" | "b" | "bi", _) => Flow::jump(BranchTarget::Indirect),
            ("basr" | "bas", ["%r14", _]) => Flow::call(BranchTarget::Indirect),
            ("basr" | "bas", _) => Flow::jump(BranchTarget::Indirect),
            ("bal" | "balr" | "bassm" | "bsm", _) => {
                Flow::Unjudged("saves or sets the addressing mode: not for 64-bit code")
            }
            _ => Flow::Other,
        };
        Some(Insn { flow, ..decoded })
    }
}

/// Capstone for 64-bit RISC-V with compressed instructions.
#[derive(Debug)]
pub struct RiscV(Capstone);

impl Default for RiscV {
    fn default() -> RiscV {
        let modes = [riscv::ArchExtraMode::RiscVC];
        let builder = Capstone::new().riscv().mode(riscv::ArchMode::RiscV64).extra_mode(modes.into_iter());
        RiscV(builder.detail(true).build().expect("Capstone is built with RISC-V"))
    }
}

impl Oracle for RiscV {
    fn name(&self) -> &'static str {
        "Capstone (RISC-V)"
    }

    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn> {
        let decoded = decode(&self.0, at, code)?;
        // Capstone leaves the distance as it is encoded.
        let target = match decoded.immediate {
            Some(distance) => BranchTarget::Direct(at.wrapping_add_signed(distance)),
            None => BranchTarget::Indirect,
        };
        let decoded = decoded.insn(Flow::Other, decoded.registers(&["fa", "fs", "ft"]));
        let (mnemonic, operands) = decoded.words();
        let mnemonic = mnemonic.strip_prefix("c.").unwrap_or(mnemonic);
        // Link registers are ra and t0 (Unprivileged ISA, "Unconditional Jumps").
        let link = |register: &str| matches!(register, "ra" | "t0");
        let indirect = BranchTarget::Indirect;
        let flow = match (mnemonic, &operands[..]) {
            ("j", [_]) => Flow::jump(target),
            ("jal", [_]) => Flow::call(target),
            ("jal", [to, _]) if link(to) => Flow::call(target),
            ("jal", [_, _]) => Flow::jump(target),
            ("ret", []) => Flow::Return,
            ("jr", [from, ..]) if link(base(from)) => Flow::Return,
            ("jr", _) => Flow::jump(indirect),
            ("jalr", [_]) => Flow::call(indirect),
            ("jalr", [to, ..]) if link(to) => Flow::call(indirect),
            ("jalr", [_, from, ..]) if operands[0] == "zero" && link(base(from)) => Flow::Return,
            ("jalr", _) => Flow::jump(indirect),
            _ => Flow::Other,
        };
        Some(Insn { flow, ..decoded })
    }
}

/// The register of `8(ra)`, or of `ra` alone.
fn base(operand: &str) -> &str {
    operand.split_once('(').map_or(operand, |(_, base)| base.trim_end_matches(')'))
}
