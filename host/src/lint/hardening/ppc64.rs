// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The back chain.

use super::{Config, File, Finding, Function, Rule, words};

pub(super) fn rules(_: &File<'_>, _: &Config<'_>, _: &mut Vec<Finding>) -> Vec<Rule> {
    vec![Rule {
        check: "back-chain",
        expected: "every function that calls makes a stack frame (stdu r1), or stacks cannot be walked through it",
        broken: |function| calls(function) && !words(function).any(is_frame),
        of_replacements: false,
    }]
}

/// `mflr r0`, `std r0,16(r1)`: what `-mprofile-kernel` has in front of its `bl _mcount`, which makes no frame.
const BEFORE_MCOUNT: [u32; 2] = [0x7c08_02a6, 0xf801_0010];

/// Whether the function calls another one than `_mcount`.
fn calls(function: &Function<'_>) -> bool {
    let before = std::iter::once(0).chain(words(function));
    before.zip(words(function)).any(|(before, word)| is_call(word) && !BEFORE_MCOUNT.contains(&before))
}

/// `bl`, `bctrl`
fn is_call(word: u32) -> bool {
    word & 0xfc00_0003 == 0x4800_0001 || word == 0x4e80_0421
}

/// `stdu r1, -n(r1)`, `stdux r1, r1, rn`
fn is_frame(word: u32) -> bool {
    word & 0xffff_0003 == 0xf821_0001 || word & 0xffff_07ff == 0x7c21_016a
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_assembler_makes_is_known() {
        // stdu r1, -48(r1); bl .+8; bctrl; std r1, 0(r1)
        assert!(is_frame(0xf821_ffd1) && !is_frame(0xf821_0000));
        assert!(is_call(0x4800_0009) && is_call(0x4e80_0421) && !is_call(0x4800_0008), "b is no call");
    }
}
