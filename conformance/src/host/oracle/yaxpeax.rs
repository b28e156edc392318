// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! yaxpeax-arm, for arm64.

use klp_core::Addr;
use klp_core::branch::BranchTarget;
use yaxpeax_arch::{Decoder, U8Reader};
use yaxpeax_arm::armv8::a64::{InstDecoder, Instruction, Opcode, Operand};

use super::{Flow, Insn, Oracle};

/// yaxpeax-arm, the A64 decoder.
#[derive(Clone, Copy, Debug)]
pub struct Yaxpeax;

impl Oracle for Yaxpeax {
    fn name(&self) -> &'static str {
        "yaxpeax-arm"
    }

    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn> {
        let word = code.first_chunk::<4>()?;
        let insn = InstDecoder::default().decode(&mut U8Reader::new(word)).ok()?;
        Some(Insn { len: 4, text: insn.to_string(), flow: flow(at, &insn), fpu: fpu(&insn) })
    }
}

fn flow(at: Addr, insn: &Instruction) -> Flow {
    let target = match insn.operands[0] {
        Operand::PCOffset(distance) => BranchTarget::Direct(at.wrapping_add_signed(distance)),
        _ => BranchTarget::Indirect,
    };
    match insn.opcode {
        Opcode::B | Opcode::BR | Opcode::BRAA | Opcode::BRAAZ | Opcode::BRAB | Opcode::BRABZ => {
            Flow::jump(target)
        }
        Opcode::BL | Opcode::BLR | Opcode::BLRAA | Opcode::BLRAAZ | Opcode::BLRAB | Opcode::BLRABZ => {
            Flow::call(target)
        }
        Opcode::RET | Opcode::RETAA | Opcode::RETAB => Flow::Return,
        _ => Flow::Other,
    }
}

fn fpu(insn: &Instruction) -> Vec<String> {
    let uses = |operand: &&Operand| {
        matches!(
            operand,
            Operand::SIMDRegister(..)
                | Operand::SIMDRegisterElements(..)
                | Operand::SIMDRegisterElementsLane(..)
                | Operand::SIMDRegisterElementsMultipleLane(..)
                | Operand::SIMDRegisterGroup(..)
                | Operand::SIMDRegisterGroupLane(..)
        )
    };
    insn.operands.iter().filter(uses).map(Operand::to_string).collect()
}
