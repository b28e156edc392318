// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Slots executed, by QEMU's emulation of user programs: `conformance/src/host/programs/slot.c`.

use std::fmt::Write as _;

use klp_core::branch::BranchKind;
use klp_core::{Addr, Architecture};

use super::super::{ensure, ensure_eq};
use super::{KINDS, make};
use crate::host::toolchain::Toolchain;
use crate::host::{Check, Description};

const PROGRAM: &str = include_str!("../../programs/slot.c");

/// Where the slot is, and where the functions are that it goes to: out of any direct branch's reach, and different in
/// both halves of their addresses, so that a mixture of the two is neither.
const SLOT_AT: Addr = 0x20_0000_0000;
const FUNCTIONS_AT: [Addr; 2] = [0x10_0000_0000, 0x18_1000_0000];

/// How often a call goes to another function than the one before it, the slot being updated all the time.
const CHANGES: u32 = 500;

/// Bytes as the initialiser of an array in C.
fn array(bytes: &[u8]) -> String {
    bytes.iter().fold(String::from("{"), |text, byte| text + &format!("{byte:#x},")) + "}"
}

/// The program's header: a slot, and a direct branch to it from either end of its reach.
fn header<A: Architecture>(kind: BranchKind, changes: u32) -> Result<String, String> {
    let slot = make::<A>(kind, SLOT_AT, FUNCTIONS_AT[0])?;
    let mut jumps = String::from("{");
    for distance in [A::REACH.min, A::REACH.max] {
        // The nearest place that an instruction may have, since one end of the reach may be odd.
        let from = SLOT_AT.wrapping_add_signed(-distance);
        let code = A::encode(BranchKind::Jump, from, SLOT_AT);
        let code = code.map_err(|error| format!("from {from:#x}: {error:x?}"))?;
        write!(jumps, "{{{from:#x},{}}},", array(code.as_bytes())).expect("a string");
    }
    Ok(format!(
        "#define SLOT_AT {SLOT_AT:#x}UL\n#define SLOT {}\n#define LITERAL {}\n#define CALLS_SAVE {}\n\
         #define JUMPS {jumps}}}\n#define CHANGES {changes}\n",
        array(slot.as_bytes()),
        A::SLOT_LITERAL,
        u8::from(kind == BranchKind::Call),
    ))
}

/// Compiles and runs the program; what it wrote.
fn run<A: Architecture>(d: &Description, kind: BranchKind, changes: u32) -> Result<String, String> {
    for target in FUNCTIONS_AT {
        ensure!(!A::REACH.covers(SLOT_AT, target), "{target:#x} is in reach of {SLOT_AT:#x}");
    }
    let tools = Toolchain::new(d)?;
    tools.write("slot.h", &header::<A>(kind, changes)?)?;
    tools.write("slot.c", PROGRAM)?;
    tools.write("arch.S", d.slot.program)?;
    let [far0, far1] = [0, 1].map(|i| format!("-Wl,--section-start=.far{i}={:#x}", FUNCTIONS_AT[i]));
    tools.program("slot", &["slot.c", "arch.S", &far0, &far1])?;
    tools.emulate("slot")
}

pub(super) fn keeps_registers<A: Architecture>(d: &'static Description) -> Check {
    for kind in KINDS {
        ensure_eq!(run::<A>(d, kind, 0)?, "kept\n", "a slot entered by a {kind:?}, executed");
    }
    Ok(())
}

pub(super) fn updated<A: Architecture>(d: &'static Description) -> Check {
    let said = run::<A>(d, BranchKind::Call, CHANGES)?;
    ensure_eq!(said, "kept\nupdated\n", "calls through a slot that is being updated");
    Ok(())
}
