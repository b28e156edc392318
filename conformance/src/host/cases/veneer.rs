// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H3: veneers.

use klp_core::branch::{BranchError, Code, MAX_CODE};
use klp_core::{Addr, Architecture, Endian};
use proptest::prelude::*;

use super::{ensure, ensure_eq};
use crate::host::evaluate::{End, Machine};
use crate::host::oracle::{Oracle, listing};
use crate::host::random::for_all;
use crate::host::{Case, Check, Description, golden};

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let abi = d.manuals.veneers;
    vec![
        Case::new("H3.1", "veneer.continues_at_the_target_and_changes_nothing_else", abi, flow::<A>),
        Case::new("H3.2", "veneer.target_reads_back", "klp_core::FarBranch::veneer_target", reads_back::<A>),
        Case::new(
            "H3.3",
            "veneer.target_of_other_code_is_none",
            "klp_core::FarBranch::veneer_target",
            no_veneer::<A>,
        ),
        Case::new("H3.4", "veneer.refuses_misaligned_addresses", d.manuals.branches, misaligned::<A>)
            .only_if(A::INSN_ALIGN > 1, "an instruction may start at any address"),
        Case::new("H3.5", "veneer.starts_with_a_landing_pad", d.manuals.veneers, landing_pad::<A>)
            .only_if(!d.veneer.landing_pads.is_empty(), "an indirect branch may land on any instruction"),
        Case::new("H3.6", "veneer.code_is_as_approved", abi, approved::<A>),
    ]
}

/// A place that a veneer may lie at, and any target.
fn places<A: Architecture>(d: &'static Description) -> impl Strategy<Value = (Addr, Addr)> {
    let at = (prop::sample::select(d.text), 0_u64..1 << 20)
        .prop_map(|(text, n)| (text + n * A::VENEER_ALIGN).next_multiple_of(A::VENEER_ALIGN));
    let target = prop_oneof![
        any::<u64>().prop_map(|addr| addr / A::INSN_ALIGN * A::INSN_ALIGN),
        prop::sample::select(d.text),
        Just(0),
        Just(u64::MAX / A::INSN_ALIGN * A::INSN_ALIGN),
    ];
    // A target inside the veneer would be no end of it.
    (at, target).prop_map(|(at, target)| {
        let inside = target.wrapping_sub(at) < MAX_CODE as u64;
        (at, if inside { target + 0x1000 } else { target })
    })
}

fn make<A: Architecture>(at: Addr, target: Addr) -> Result<Code, String> {
    let code = A::veneer(at, target).map_err(|e| format!("at {at:#x} to {target:#x}: refused, {e:x?}"))?;
    ensure_eq!(code.as_bytes().len(), A::VENEER_LEN, "length of the veneer at {at:#x} to {target:#x}");
    Ok(code)
}

fn run<A: Architecture>(d: &Description, oracle: &dyn Oracle, at: Addr, code: &[u8]) -> Result<End, String> {
    let machine = Machine::new(at, code, A::ENDIAN == Endian::Big);
    let end = machine.run(oracle, d.veneer.effect);
    end.map_err(|error| format!("{error}\n{}", listing(oracle, at, code)))
}

fn flow<A: Architecture>(d: &'static Description) -> Check {
    ensure!(A::VENEER_LEN <= MAX_CODE, "VENEER_LEN {} exceeds MAX_CODE", A::VENEER_LEN);
    let multiple = A::VENEER_ALIGN.is_power_of_two() && A::VENEER_ALIGN.is_multiple_of(A::INSN_ALIGN);
    ensure!(multiple, "VENEER_ALIGN {} and INSN_ALIGN {}", A::VENEER_ALIGN, A::INSN_ALIGN);
    let oracle = (d.oracle)();
    for_all(2048, &places::<A>(d), |(at, target)| {
        let code = make::<A>(at, target)?;
        let End { pc, machine, .. } = run::<A>(d, oracle.as_ref(), at, code.as_bytes())?;
        let list = || listing(oracle.as_ref(), at, code.as_bytes());
        ensure_eq!(pc, target, "the veneer at {at:#x} leads to\n{}", list());
        for addr in machine.stores() {
            ensure!((d.veneer.may_store)(addr), "the veneer stores at {addr:#x}\n{}", list());
        }
        for register in machine.changed() {
            ensure!(
                d.veneer.may_change.contains(&register),
                "the veneer changes {register}; it may change {:?}\n{}",
                d.veneer.may_change,
                list()
            );
        }
        for register in d.veneer.hold_target {
            ensure_eq!(machine.get(register), target, "{register} at the target\n{}", list());
        }
        Ok(())
    })
}

fn reads_back<A: Architecture>(d: &'static Description) -> Check {
    for_all(2048, &places::<A>(d), |(at, target)| {
        let code = make::<A>(at, target)?;
        ensure_eq!(A::veneer_target(at, code.as_bytes()), Some(target), "{code:?} at {at:#x}");
        let more = [code.as_bytes(), &[0xff; 8]].concat();
        ensure_eq!(A::veneer_target(at, &more), Some(target), "{code:?} at {at:#x} and more behind it");
        Ok(())
    })
}

/// A veneer with a bit flipped either still leads where it is said to lead, or is none.
fn no_veneer<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let (at, target) = (d.text[0].next_multiple_of(A::VENEER_ALIGN), d.text[d.text.len() - 1] + 0x1230);
    let code = make::<A>(at, target)?;
    for len in 0..A::VENEER_LEN {
        ensure_eq!(A::veneer_target(at, &code.as_bytes()[..len]), None, "{len} bytes of a veneer");
    }
    let mut none = 0;
    for bit in 0..8 * A::VENEER_LEN {
        let mut bytes = code.as_bytes().to_vec();
        bytes[bit / 8] ^= 1 << (bit % 8);
        match A::veneer_target(at, &bytes) {
            None => none += 1,
            Some(read) => {
                let end = run::<A>(d, oracle.as_ref(), at, &bytes)?;
                ensure_eq!(end.pc, read, "leads to\n{}", listing(oracle.as_ref(), at, &bytes));
            }
        }
    }
    ensure!(none > 0, "whatever bit is flipped, it is still a veneer");
    for code in d.branch_code() {
        let padded = [&code[..], &[0; MAX_CODE]].concat();
        ensure_eq!(A::veneer_target(at, &padded), None, "a branch and zeros");
    }
    Ok(())
}

fn misaligned<A: Architecture>(d: &'static Description) -> Check {
    let at = d.text[0].next_multiple_of(A::VENEER_ALIGN);
    for off in 1..A::INSN_ALIGN {
        for (at, target) in [(at + off, at), (at, at + off)] {
            let expected =
                Err(BranchError::Misaligned { addr: d.text[0].next_multiple_of(A::VENEER_ALIGN) + off });
            ensure_eq!(A::veneer(at, target), expected, "a veneer at {at:#x} to {target:#x}");
        }
    }
    Ok(())
}

fn landing_pad<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let at = d.text[0].next_multiple_of(A::VENEER_ALIGN);
    let code = make::<A>(at, d.text[1])?;
    let first = run::<A>(d, oracle.as_ref(), at, code.as_bytes())?.first;
    let pads = d.veneer.landing_pads;
    ensure!(pads.contains(&first.as_str()), "the veneer starts with '{first}', not one of {pads:?}");
    Ok(())
}

fn approved<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let at = d.text[0].next_multiple_of(A::VENEER_ALIGN);
    let target = 0x1234_5678_9abc_def0;
    let code = make::<A>(at, target)?;
    let text = format!("at {at:#x} to {target:#x}\n\n{}", listing(oracle.as_ref(), at, code.as_bytes()));
    golden::check(d.name, "veneer.code_is_as_approved", &text)
}
