// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Retpolines, return thunks, landing pads, and ORC.

use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Instruction, Register};

use super::{Config, Function, Rule};
use crate::lint::file::File;
use crate::lint::{Finding, Severity};

pub(super) fn rules(file: &File<'_>, config: &Config<'_>, findings: &mut Vec<Finding>) -> Vec<Rule> {
    let mut rules = Vec::new();
    if config.has(&["CONFIG_UNWINDER_ORC"]) && !file.has_section(".orc_unwind_ip") {
        findings.push(Finding::new(
            Severity::Warning,
            "orc",
            "the module has no unwind tables (.orc_unwind_ip), and the kernel walks by them: no stack with a function of \
             the module on it is reliable",
            "build it with `klp build` or the kernel's own kbuild, with objtool",
        ));
    }
    if config.has(&["CONFIG_MITIGATION_RETPOLINE", "CONFIG_RETPOLINE"]) {
        if file.modinfo("retpoline") != Some("Y") {
            findings.push(Finding::new(
                Severity::Warning,
                "retpoline",
                "the module does not say that it is compiled with retpolines, as the kernel is: loading it makes the \
                 kernel vulnerable to Spectre v2",
                "build it with `klp build` or the kernel's own kbuild",
            ));
        }
        rules.push(Rule {
            check: "retpoline",
            expected: "every indirect branch goes through a thunk, since the kernel is compiled with retpolines",
            broken: |function| instructions(function).any(|instruction| is_indirect(&instruction)),
            of_replacements: false,
        });
    }
    if config.has(&["CONFIG_MITIGATION_RETHUNK", "CONFIG_RETHUNK"]) {
        rules.push(Rule {
            check: "return-thunk",
            expected: "every return is a jump to __x86_return_thunk, as in the kernel",
            broken: |function| {
                instructions(function).any(|instruction| instruction.flow_control() == FlowControl::Return)
            },
            of_replacements: false,
        });
    }
    if config.has(&["CONFIG_X86_KERNEL_IBT"]) {
        rules.push(Rule {
            check: "landing-pad",
            expected: "a replacement begins with endbr64, since the kernel is compiled with CONFIG_X86_KERNEL_IBT",
            broken: |function| {
                instructions(function).next().is_none_or(|instruction| instruction.code() != Code::Endbr64)
            },
            of_replacements: true,
        });
    }
    rules
}

fn instructions(function: &Function<'_>) -> impl Iterator<Item = Instruction> {
    Decoder::with_ip(64, function.code, 0, DecoderOptions::NONE).into_iter()
}

/// A branch through a register, or through memory that one points to. One through a fixed place is the kernel's own
/// (`pv_ops`), and is made direct when the module is loaded.
fn is_indirect(instruction: &Instruction) -> bool {
    let indirect =
        matches!(instruction.flow_control(), FlowControl::IndirectBranch | FlowControl::IndirectCall);
    let fixed = instruction.op0_kind() == iced_x86::OpKind::Memory
        && matches!(instruction.memory_base(), Register::None | Register::RIP)
        && instruction.memory_index() == Register::None;
    indirect && !fixed
}

#[cfg(test)]
mod tests {
    use object::SectionIndex;

    use super::*;
    use crate::lint::file::Place;

    fn broken(code: &[u8]) -> bool {
        let function = Function { name: "f", place: Place { section: SectionIndex(1), offset: 0 }, code };
        instructions(&function).any(|instruction| is_indirect(&instruction))
    }

    #[test]
    fn indirect_branches_are_told_from_direct_ones() {
        assert!(broken(&[0xff, 0xd0]), "call *%rax");
        assert!(broken(&[0xff, 0x24, 0xc5, 0, 0, 0, 0]), "jmp *0(,%rax,8)");
        assert!(!broken(&[0xff, 0x15, 0, 0, 0, 0]), "call *0(%rip)");
        assert!(!broken(&[0xe8, 0, 0, 0, 0]), "call");
    }
}
