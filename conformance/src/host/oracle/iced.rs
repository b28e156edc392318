// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! iced-x86, for x86_64.

use iced_x86::{
    Code, CpuidFeature, Decoder, DecoderOptions, FlowControl, Formatter, Instruction, InstructionInfoFactory,
    IntelFormatter, OpKind, Register,
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
        FlowControl::Return => return Flow::Return,
        _ => return Flow::Other,
    };
    if matches!(insn.code(), Code::Syscall | Code::Sysenter | Code::Vmcall | Code::Vmmcall) {
        return Flow::Other;
    }
    if insn.is_jmp_far_indirect() || insn.is_call_far_indirect() {
        return Flow::Unjudged("a far branch changes the code segment too");
    }
    let prefixes = &code[..code.iter().take_while(|&&byte| is_prefix(byte)).count()];
    let is_rex = |byte: &u8| byte & 0xf0 == 0x40;
    if prefixes.contains(&0x66) {
        Flow::Unjudged("AMD truncates the target of a branch with an operand-size prefix, Intel does not")
    } else if prefixes.iter().rev().skip(1).any(is_rex) {
        Flow::Unjudged(
            "the processor ignores a REX prefix that is not directly before the opcode: nothing makes one",
        )
    } else {
        flow
    }
}

/// Legacy and REX prefixes (SDM vol. 2, 2.1.1, 2.2.1).
fn is_prefix(byte: u8) -> bool {
    matches!(byte, 0x26 | 0x2e | 0x36 | 0x3e | 0x64..=0x67 | 0xf0 | 0xf2 | 0xf3 | 0x40..=0x4f)
}

/// The x87, MMX, SSE, AVX, AVX-512 and AMX registers that an instruction uses; `x87` for one that uses their state
/// without naming one.
fn fpu(insn: &Instruction) -> Vec<String> {
    let is_fpu = |register: Register| {
        register.is_vector_register()
            || register.is_mm()
            || register.is_st()
            || register.is_k()
            || register.is_tmm()
    };
    let mut factory = InstructionInfoFactory::new();
    let registers = factory.info(insn).used_registers().iter().map(|used| used.register());
    let mut found: Vec<String> = registers
        .filter(|&register| is_fpu(register))
        .map(|name| format!("{name:?}").to_lowercase())
        .collect();
    let x87 = [CpuidFeature::FPU, CpuidFeature::FPU287, CpuidFeature::FPU387];
    if found.is_empty() && insn.cpuid_features().iter().any(|feature| x87.contains(feature)) {
        found.push("x87".to_owned());
    }
    found
}
