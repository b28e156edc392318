// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Independent disassemblers: who is asked what a run of bytes means.

mod capstone;
mod iced;
mod yaxpeax;

pub use capstone::{PowerPc, RiscV, SystemZ};
pub use iced::Iced;
pub use yaxpeax::Yaxpeax;

use klp_core::Addr;
use klp_core::branch::{BranchKind, BranchTarget};

/// A disassembler.
pub trait Oracle {
    /// Its name.
    fn name(&self) -> &'static str;

    /// The instruction that starts `code`, which lies at `at`; `None` if it knows none.
    fn insn(&self, at: Addr, code: &[u8]) -> Option<Insn>;
}

/// What stands for the disassembler of an architecture for which none is stated. It knows no instruction.
#[derive(Debug)]
pub struct Unstated;

impl Oracle for Unstated {
    fn name(&self) -> &'static str {
        "unstated"
    }

    fn insn(&self, _at: Addr, _code: &[u8]) -> Option<Insn> {
        None
    }
}

/// One instruction, as a disassembler sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Insn {
    /// Its length in bytes.
    pub len: usize,
    /// Its text in the disassembler's syntax.
    pub text: String,
    /// Where execution goes.
    pub flow: Flow,
    /// The floating-point and vector registers that it uses.
    pub fpu: Vec<String>,
}

/// Where execution goes after an instruction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Flow {
    /// To the next one, to a trap handler, or to one of two: none of it a branch that is always taken.
    Other,
    /// A branch that is always taken.
    Branch {
        /// Whether it sets the return address.
        kind: BranchKind,
        /// Its target.
        target: BranchTarget,
    },
    /// A return.
    Return,
    /// Nothing is asked about it, for this reason.
    Unjudged(&'static str),
}

impl Flow {
    const fn jump(target: BranchTarget) -> Flow {
        Flow::Branch { kind: BranchKind::Jump, target }
    }

    const fn call(target: BranchTarget) -> Flow {
        Flow::Branch { kind: BranchKind::Call, target }
    }
}

impl Insn {
    /// The mnemonic, and the operands as they are separated by commas outside brackets.
    pub fn words(&self) -> (&str, Vec<&str>) {
        let (mnemonic, operands) = self.text.split_once(' ').unwrap_or((&self.text, ""));
        let mut depth = 0;
        let split = operands.split(move |c: char| {
            match c {
                '[' | '(' => depth += 1,
                ']' | ')' => depth -= 1,
                _ => {}
            }
            c == ',' && depth == 0
        });
        (mnemonic, split.map(str::trim).filter(|word| !word.is_empty()).collect())
    }

    /// Whether it is a call.
    pub fn is_call(&self) -> bool {
        matches!(self.flow, Flow::Branch { kind: BranchKind::Call, .. })
    }
}

/// A listing of `code`, one line an instruction: its bytes and text.
pub fn listing(oracle: &dyn Oracle, at: Addr, code: &[u8]) -> String {
    let mut lines = String::new();
    let mut offset = 0;
    while offset < code.len() {
        let rest = &code[offset..];
        let (len, text) = match oracle.insn(at.wrapping_add(offset as u64), rest) {
            Some(insn) => (insn.len, insn.text),
            None => (rest.len(), "…".to_owned()),
        };
        lines += &format!("{offset:+5}  {:<20}  {text}\n", hex(&rest[..len]));
        offset += len;
    }
    lines
}

/// Bytes in hexadecimal.
pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn operands_are_split_outside_brackets() {
        let insn = |text: &str| Insn { len: 1, text: text.to_owned(), flow: Flow::Other, fpu: Vec::new() };
        assert_eq!(insn("ldr x16, [x17, #0x8]").words(), ("ldr", vec!["x16", "[x17, #0x8]"]));
        assert_eq!(insn("lg %r1, 8(%r2,%r3)").words(), ("lg", vec!["%r1", "8(%r2,%r3)"]));
        assert_eq!(insn("bctr").words(), ("bctr", vec![]));
    }
}
