// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What a simulated task does, one step after another.

use std::fmt;
use std::rc::Rc;

use crate::sim::tasks::Kind;

/// A step of a task.
#[derive(Clone, PartialEq, Eq)]
pub(crate) enum Op {
    /// A user task enters the kernel, for a system call or because of an interrupt.
    Enter,
    /// It is back at the border, and leaves.
    Leave,
    /// Calls a function, which runs until the matching [`Return`](Op::Return).
    Call(&'static str),
    /// Is interrupted; the handler runs until the matching [`Return`](Op::Return).
    Interrupt,
    Return,
    /// Is switched out, for a while.
    Sleep,
    /// Is switched out where its stack cannot be walked, for a while.
    Preempted,
    /// Sleeps until it is woken.
    Wait,
    /// A new task.
    Fork(Kind, Program),
    /// Ends here, wherever that is.
    Exit,
}

/// All steps of a task. Calls and interrupts are closed, and a user task makes them in the kernel.
pub(crate) type Program = Rc<[Op]>;

impl fmt::Debug for Op {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Op::Enter => f.write_str("{"),
            Op::Leave => f.write_str("}"),
            Op::Call(name) => write!(f, "{name}("),
            Op::Interrupt => f.write_str("!("),
            Op::Return => f.write_str(")"),
            Op::Sleep => f.write_str("z"),
            Op::Preempted => f.write_str("p"),
            Op::Wait => f.write_str("w"),
            Op::Fork(kind, program) => write!(f, "fork {kind:?} <{}>", text(program)),
            Op::Exit => f.write_str("exit"),
        }
    }
}

/// The steps in one line: what [`program`] reads.
pub(crate) fn text(program: &[Op]) -> String {
    program.iter().map(|op| format!("{op:?}")).collect::<Vec<_>>().join(" ")
}

/// A program from its text: words, `f(` for a call of 'f', `)` for a return, `{` and `}` for the way in and out of the
/// kernel, `!(` for an interrupt, `z` for a sleep, `p` for a preemption, `w` for a wait, `exit`.
pub(crate) fn program(text: &str) -> Program {
    let op = |word: &str| match word {
        "{" => Op::Enter,
        "}" => Op::Leave,
        ")" => Op::Return,
        "!(" => Op::Interrupt,
        "z" => Op::Sleep,
        "p" => Op::Preempted,
        "w" => Op::Wait,
        "exit" => Op::Exit,
        word => Op::Call(name(word.strip_suffix('(').unwrap_or_else(|| panic!("no step: '{word}'")))),
    };
    text.split_whitespace().map(op).collect()
}

/// A program that forks a task in its middle.
pub(crate) fn forking(before: &str, kind: Kind, child: &str, after: &str) -> Program {
    let fork = Op::Fork(kind, program(child));
    program(before).iter().cloned().chain([fork]).chain(program(after).iter().cloned()).collect()
}

fn name(name: &str) -> &'static str {
    let known = ["f", "g", "h", "mf", "mg", "nf"];
    known.into_iter().find(|known| *known == name).unwrap_or_else(|| panic!("no function '{name}'"))
}
