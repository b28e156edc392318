// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! iced-x86, for x86_64.

use iced_x86::{
    Code, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory, IntelFormatter,
    OpKind, Register,
};
use klp_core::Addr;
use klp_core::branch::BranchTarget;

use super::{Flow, Insn, Oracle};

/// iced-x86 in 64-bit mode.
#[derive(Clone, Copy, Debug)]
pub struct Iced;

impl Oracle for Iced {
    fn name(&self) -> &'static str {
        "iced-x86"
    }

    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn> {
        let mut decoder = Decoder::with_ip(64, code, at, DecoderOptions::NONE);
        let insn = decoder.decode();
        if insn.is_invalid() {
            return None;
        }
        let mut formatter = IntelFormatter::new();
        let options = formatter.options_mut();
        options.set_hex_prefix("0x");
        options.set_hex_suffix("");
        options.set_uppercase_hex(false);
        options.set_branch_leading_zeros(false);
        options.set_space_after_operand_separator(true);
        let mut text = String::new();
        formatter.format(&insn, &mut text);
        Some(Insn { len: insn.len(), text, flow: flow(&insn, &code[..insn.len()]), fpu: fpu(&insn) })
    }
}

fn flow(insn: &Instruction, code: &[u8]) -> Flow {
    let target = match insn.op0_kind() {
        OpKind::NearBranch64 => BranchTarget::Direct(insn.near_branch64()),
        _ => BranchTarget::Indirect,
    };
    let flow = match insn.flow_control() {
        FlowControl::UnconditionalBranch | FlowControl::IndirectBranch => Flow::jump(target),
        FlowControl::Call | FlowControl::IndirectCall => Flow::call(target),
        FlowControl::Return => Flow::Return,
        _ => return Flow::Other,
    };
    if matches!(flow, Flow::Return) {
        return flow;
    }
    let far = [Code::Jmp_m1632, Code::Jmp_m1664, Code::Jmp_m1616, Code::Call_m1632, Code::Call_m1664, Code::Call_m1616];
    if far.contains(&insn.code()) {
        return Flow::Unjudged("a far branch changes the code segment too");
    }
    if insn.flow_control() == FlowControl::Interrupt || matches!(insn.code(), Code::Syscall | Code::Sysenter) {
        return Flow::Other;
    }
    let prefixes = &code[..code.iter().take_while(|&&byte| is_prefix(byte)).count()];
    if prefixes.contains(&0x66) {
        return Flow::Unjudged("AMD truncates the target of a branch with an operand-size prefix, Intel does not");
    }
    if prefixes.contains(&0xf0) {
        return Flow::Unjudged("a branch with a lock prefix is undefined");
    }
    flow
}

/// Legacy and REX prefixes (SDM vol. 2, 2.1.1, 2.2.1).
fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 | 0x40..=0x4f)
}

/// The x87, MMX, SSE, AVX and AVX-512 registers that an instruction uses; `fpu` for one that uses their state at large.
fn fpu(insn: &Instruction) -> Vec<String> {
    let mut factory = InstructionInfoFactory::new();
    let registers = factory.info(insn).used_registers().iter().map(|used| used.register());
    let mut found: Vec<String> = registers.filter(|&register| is_fpu(register)).map(|r| format!("{r:?}").to_lowercase()).collect();
    if found.is_empty() && insn.is_fpu() {
        found.push("fpu".to_owned());
    }
    found
}

trait IsFpu {
    fn is_fpu(&self) -> bool;
}

impl IsFpu for Instruction {
    fn is_fpu(&self) -> bool {
        let cpuid = self.cpuid_features();
        cpuid.iter().any(|feature| format!("{feature:?}").starts_with("FPU"))
    }
}

fn is_fpu(register: Register) -> bool {
    register.is_vector_register() || register.is_mm() || register.is_st() || register.is_k() || register.is_tmm()
}
