// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Expolines, and the back chain.

use super::{Config, File, Finding, Function, Rule};

pub(super) fn rules(_: &File<'_>, config: &Config<'_>, _: &mut Vec<Finding>) -> Vec<Rule> {
    let mut rules = vec![Rule {
        check: "back-chain",
        expected: "every function that calls stores a back chain (stg), or stacks cannot be walked through it",
        broken: |function| instructions(function).any(is_call) && !instructions(function).any(is_back_chain),
        of_replacements: false,
    }];
    if config.has(&["CONFIG_EXPOLINE"]) {
        rules.push(Rule {
            check: "expoline",
            expected: "every indirect branch goes through a thunk, since the kernel is compiled with CONFIG_EXPOLINE",
            // The thunks themselves have the branch.
            broken: |function| {
                !function.name.starts_with("__s390_indirect_jump") && instructions(function).any(is_indirect)
            },
            of_replacements: false,
        });
    }
    rules
}

/// The instructions of a function: the first two bits say how long each is (PoP ch. 5, "Instruction Formats").
fn instructions<'f>(function: &Function<'f>) -> impl Iterator<Item = &'f [u8]> {
    let mut rest = function.code;
    std::iter::from_fn(move || {
        let length = match rest.first()? >> 6 {
            0 => 2,
            1 | 2 => 4,
            _ => 6,
        };
        let (instruction, behind) = rest.split_at_checked(length)?;
        rest = behind;
        Some(instruction)
    })
}

/// `brasl`, `bras`, `basr` to a register
fn is_call(instruction: &[u8]) -> bool {
    match *instruction {
        [0xc0, second, ..] => second & 0x0f == 5,
        [0xa7, second, _, _] => second & 0x0f == 5,
        [0x0d, second] => second & 0x0f != 0,
        _ => false,
    }
}

/// `stg %rN,0(%r15)`; in a packed stack, as the kernel's is, `stg %rN,152(%r15)`
fn is_back_chain(instruction: &[u8]) -> bool {
    matches!(*instruction, [0xe3, second, 0xf0, 0 | 152, 0, 0x24] if second & 0x0f == 0)
}

/// `br %rN`, and `basr` to a register; neither with register 0, which means no branch.
fn is_indirect(instruction: &[u8]) -> bool {
    match *instruction {
        [0x07, second] => second & 0xf0 == 0xf0 && second & 0x0f != 0,
        [0x0d, second] => second & 0x0f != 0,
        _ => false,
    }
}

#[cfg(test)]
mod tests {
    use object::SectionIndex;

    use super::*;
    use crate::lint::file::Place;

    #[test]
    fn what_the_assembler_makes_is_known() {
        let code = [
            0xe3, 0x10, 0xf0, 0x00, 0x00, 0x24, // stg %r1,0(%r15)
            0xc0, 0xe5, 0x00, 0x00, 0x00, 0x00, // brasl %r14,.
            0xa7, 0xf4, 0x00, 0x02, // j .+4
            0x07, 0x07, // nopr %r7
            0x07, 0xfe, // br %r14
        ];
        let function =
            Function { name: "f", place: Place { section: SectionIndex(1), offset: 0 }, code: &code };
        let kinds: Vec<_> = instructions(&function)
            .map(|instruction| (is_back_chain(instruction), is_call(instruction), is_indirect(instruction)))
            .collect();
        let nothing = (false, false, false);
        assert_eq!(
            kinds,
            [(true, false, false), (false, true, false), nothing, nothing, (false, false, true)]
        );
    }
}
