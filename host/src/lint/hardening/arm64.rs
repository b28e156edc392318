// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Branch targets, signed return addresses, frame records.

use super::{Config, File, Finding, Rule, words};

/// What may be first where an indirect branch arrives (Arm ARM C6.2, "BTI", "PACIASP"): `bti c`, `bti jc`, `paciasp`, `pacibsp`.
const LANDING_PADS: [u32; 4] = [0xd503_245f, 0xd503_24df, 0xd503_233f, 0xd503_237f];
/// `paciasp`.
const SIGNS: u32 = 0xd503_233f;

pub(super) fn rules(_: &File<'_>, config: &Config<'_>, _: &mut Vec<Finding>) -> Vec<Rule> {
    let mut rules = vec![Rule {
        check: "frame-record",
        expected: "every function that calls makes a frame record (stp x29, x30), or stacks cannot be walked through it",
        broken: |function| words(function).any(is_call) && !words(function).any(is_frame_record),
        of_replacements: false,
    }];
    if config.has(&["CONFIG_ARM64_BTI_KERNEL"]) {
        rules.push(Rule {
            check: "landing-pad",
            expected: "a replacement begins with bti c or paciasp, since the kernel is compiled with CONFIG_ARM64_BTI_KERNEL",
            broken: |function| !words(function).next().is_some_and(|word| LANDING_PADS.contains(&word)),
            of_replacements: true,
        });
    }
    if config.has(&["CONFIG_ARM64_PTR_AUTH_KERNEL"]) {
        rules.push(Rule {
            check: "pointer-authentication",
            expected: "a function that saves its return address signs it first (paciasp), since the kernel is compiled with \
                       CONFIG_ARM64_PTR_AUTH_KERNEL",
            broken: |function| {
                words(function).any(is_frame_record) && !words(function).any(|word| word == SIGNS)
            },
            of_replacements: false,
        });
    }
    rules
}

/// `bl`, `blr`
fn is_call(word: u32) -> bool {
    word & 0xfc00_0000 == 0x9400_0000 || word & 0xffff_fc1f == 0xd63f_0000
}

/// `stp x29, x30, [sp, …]`, with or without writing the stack pointer back.
fn is_frame_record(word: u32) -> bool {
    [0xa980_7bfd, 0xa900_7bfd].contains(&(word & 0xffc0_7fff))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_assembler_makes_is_known() {
        // stp x29, x30, [sp, #-32]!; stp x29, x30, [sp, #16]; bl .+4; blr x3
        assert!(is_frame_record(0xa9be_7bfd) && is_frame_record(0xa901_7bfd));
        assert!(!is_frame_record(0xa9be_7bf3), "stp x19, x30");
        assert!(is_call(0x9400_0001) && is_call(0xd63f_0060) && !is_call(0x1400_0001), "b is no call");
    }
}
