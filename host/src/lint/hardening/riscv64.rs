// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Frame records. The kernels' other hardening is the compiler's for all code (`-fstack-protector-strong`) or made of what no
//! kernel here is built with (shadow call stacks, landing pads).

use super::{Config, File, Finding, Rule};

pub(super) fn rules(_: &File<'_>, _: &Config<'_>, _: &mut Vec<Finding>) -> Vec<Rule> {
    vec![Rule {
        check: "frame-record",
        expected: "every function that calls sets the frame pointer up (addi s0, sp), or stacks cannot be walked through it",
        broken: |function| {
            insns(function.code).any(is_call) && !insns(function.code).any(is_frame_pointer_set)
        },
        of_replacements: false,
    }]
}

/// The instructions: of four bytes if the lowest two bits are ones, else of two (Unprivileged ISA, "Base Instruction-Length
/// Encoding").
fn insns(code: &[u8]) -> impl Iterator<Item = u32> {
    let mut left = code;
    std::iter::from_fn(move || {
        let (&[low, high], rest) = left.split_first_chunk()?;
        if low & 3 != 3 {
            left = rest;
            return Some(u32::from(u16::from_le_bytes([low, high])));
        }
        let (word, rest) = left.split_first_chunk()?;
        left = rest;
        Some(u32::from_le_bytes(*word))
    })
}

/// `jal ra`, `jalr ra`, `c.jalr`
fn is_call(insn: u32) -> bool {
    // c.ebreak is c.jalr of x0.
    let compressed = insn & 0xffff_f07f == 0x9002 && insn != 0x9002;
    insn & 0xfff == 0x0ef || insn & 0x7fff == 0x00e7 || compressed
}

/// `addi s0, sp, …`, also as `c.addi4spn`.
fn is_frame_pointer_set(insn: u32) -> bool {
    insn & 0xf_ffff == 0x0001_0413 || insn >> 16 == 0 && insn & 0xe01f == 0 && insn != 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_assembler_makes_is_known() {
        // jal ra, .; jalr ra, 0(ra); c.jalr a5
        assert!(is_call(0x0000_00ef) && is_call(0x0000_80e7) && is_call(0x9782));
        // jal x0, .; jalr x0, 0(t1); c.jr a5; c.ebreak; c.add a5, a4
        assert!([0x0000_006f, 0x0003_0067, 0x8782, 0x9002, 0x97ba].iter().all(|insn| !is_call(*insn)));
        // addi s0, sp, 32, long and short; addi a0, sp, 32
        assert!(is_frame_pointer_set(0x0201_0413) && is_frame_pointer_set(0x1000));
        assert!(!is_frame_pointer_set(0x1008) && !is_frame_pointer_set(0x0201_0513));
    }

    #[test]
    fn instructions_of_two_and_four_bytes_are_told_apart() {
        let code = [0x41, 0x11, 0x13, 0x04, 0x01, 0x02, 0x82, 0x80];
        assert_eq!(insns(&code).collect::<Vec<_>>(), [0x1141, 0x0201_0413, 0x8082]);
    }
}
