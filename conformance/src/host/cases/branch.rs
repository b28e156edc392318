// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H2: direct branches, their reach, and what is one.

use klp_core::branch::{Branch, BranchError, BranchKind, BranchTarget, Reach};
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::{ensure, ensure_eq};
use crate::host::oracle::{Flow, Insn, Oracle, hex};
use crate::host::random::for_all;
use crate::host::{Case, Check, Description};

const KINDS: [BranchKind; 2] = [BranchKind::Jump, BranchKind::Call];

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let manual = d.manuals.branches;
    vec![
        Case::new("H2.1", "branch.reach.is_the_manuals", manual, reach::<A>),
        Case::new("H2.2", "branch.reach.encodes_at_both_limits", manual, limits::<A>),
        Case::new("H2.3", "branch.reach.refuses_beyond_both_limits", manual, beyond::<A>),
        Case::new("H2.4", "branch.encode.refuses_misaligned_addresses", manual, misaligned::<A>)
            .only_if(A::INSN_ALIGN > 1, "an instruction may start at any address"),
        Case::new("H2.5", "branch.encode.random_pairs_decode_back", manual, round_trip::<A>),
        Case::new("H2.6", "branch.decode.agrees_on_every_family", manual, families::<A>),
        Case::new("H2.7", "branch.decode.agrees_on_flipped_bits", manual, flipped::<A>),
        Case::new("H2.8", "branch.decode.agrees_on_random_bytes", manual, random_bytes::<A>),
        Case::new("H2.9", "branch.decode.refuses_code_cut_short", manual, cut_short::<A>),
        Case::new(
            "H2.10",
            "branch.follows_call.knows_every_call_and_nothing_else",
            "livepatch/reliable-stacktrace.rst §4.2; reference/2015-stack-walking-must-be-100-percent",
            follows_call::<A>,
        ),
        Case::new(
            "H2.11",
            "branch.follows_call.is_false_where_no_instruction_ends",
            "livepatch/reliable-stacktrace.rst §4.2; reference/2015-stack-walking-must-be-100-percent",
            follows_nothing::<A>,
        ),
    ]
}

fn reach<A: Architecture>(d: &'static Description) -> Check {
    ensure_eq!(A::REACH, d.reach, "FarBranch::REACH");
    Ok(())
}

/// Encodes a branch and reads it back, twice: by the crate and by the disassembler.
fn encodes<A: Architecture>(oracle: &dyn Oracle, kind: BranchKind, from: Addr, to: Addr) -> Check {
    let what = format!("{kind:?} from {from:#x} to {to:#x}");
    let code = A::encode(kind, from, to).map_err(|error| format!("{what}: refused, {error:x?}"))?;
    ensure_eq!(code.as_bytes().len(), A::BRANCH_LEN, "{what}: length");
    let len = u8::try_from(A::BRANCH_LEN).expect("short");
    let expected = Branch { kind, target: BranchTarget::Direct(to), len };
    ensure_eq!(A::decode(from, code.as_bytes()), Some(expected), "{what}: {code:?} decoded");
    let insn = oracle.insn(from, code.as_bytes());
    let seen = insn.as_ref().map(|insn| (insn.flow, insn.len));
    let expected = Flow::Branch { kind, target: BranchTarget::Direct(to) };
    ensure_eq!(
        seen,
        Some((expected, A::BRANCH_LEN)),
        "{what}: {code:?} is '{}' to {}",
        text(&insn),
        oracle.name()
    );
    Ok(())
}

fn text(insn: &Option<Insn>) -> &str {
    insn.as_ref().map_or("unknown", |insn| &insn.text)
}

fn limits<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let Reach { min, max, align } = d.reach;
    let step = align.cast_signed();
    for &from in d.text {
        for distance in [min, min + step, -step, 0, step, max - step, max] {
            for kind in KINDS {
                encodes::<A>(oracle.as_ref(), kind, from, from.wrapping_add_signed(distance))?;
            }
        }
    }
    Ok(())
}

fn beyond<A: Architecture>(d: &'static Description) -> Check {
    let step = d.reach.align.cast_signed();
    let far = i64::MAX / step * step;
    for &from in d.text {
        for distance in [d.reach.min - step, d.reach.max + step, -far, far] {
            for kind in KINDS {
                let to = from.wrapping_add_signed(distance);
                let expected = Err(BranchError::OutOfReach { distance });
                ensure_eq!(A::encode(kind, from, to), expected, "{kind:?} from {from:#x} to {to:#x}");
            }
        }
    }
    Ok(())
}

fn misaligned<A: Architecture>(d: &'static Description) -> Check {
    for &from in d.text {
        for off in 1..A::INSN_ALIGN {
            for kind in KINDS {
                let (to, bad) =
                    (from + 64 * A::INSN_ALIGN, Err(BranchError::Misaligned { addr: from + off }));
                ensure_eq!(
                    A::encode(kind, from + off, to),
                    bad,
                    "{kind:?} from {:#x} to {to:#x}",
                    from + off
                );
                ensure_eq!(
                    A::encode(kind, to, from + off),
                    bad,
                    "{kind:?} from {to:#x} to {:#x}",
                    from + off
                );
                let both = A::encode(kind, from + off, to + off);
                ensure!(
                    matches!(both, Err(BranchError::Misaligned { .. })),
                    "{kind:?} from {:#x} to {:#x}: {both:x?}",
                    from + off,
                    to + off
                );
            }
        }
    }
    Ok(())
}

fn round_trip<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let units = d.reach.min / d.reach.align.cast_signed()..=d.reach.max / d.reach.align.cast_signed();
    let from = (prop::sample::select(d.text), 0_u64..1 << 24).prop_map(|(text, n)| text + n * A::INSN_ALIGN);
    let pairs = (from, units, any::<bool>());
    for_all(4096, &pairs, |(from, unit, call)| {
        let to = from.wrapping_add_signed(unit * d.reach.align.cast_signed());
        encodes::<A>(oracle.as_ref(), KINDS[usize::from(call)], from, to)
    })
}

/// How often each kind of branch was seen: agreement on nothing is no agreement.
#[derive(Debug, Default)]
struct Seen {
    direct: usize,
    indirect: usize,
    calls: usize,
    others: usize,
}

/// Whether the crate and the disassembler agree on the instruction that starts `code`.
fn agrees<A: Architecture>(oracle: &dyn Oracle, at: Addr, code: &[u8], seen: &mut Seen) -> Check {
    let insn = oracle.insn(at, code);
    let expected = match insn.as_ref().map(|insn| insn.flow) {
        Some(Flow::Unjudged(_)) => return Ok(()),
        Some(Flow::Branch { kind, target }) => {
            match target {
                BranchTarget::Direct(_) => seen.direct += 1,
                BranchTarget::Indirect => seen.indirect += 1,
            }
            seen.calls += usize::from(kind == BranchKind::Call);
            let len = insn.as_ref().map_or(0, |insn| insn.len);
            Some(Branch { kind, target, len: u8::try_from(len).expect("instructions are short") })
        }
        Some(Flow::Other | Flow::Return) | None => {
            seen.others += 1;
            None
        }
    };
    ensure_eq!(
        A::decode(at, code),
        expected,
        "{} at {at:#x} is '{}' to {}",
        hex(code),
        text(&insn),
        oracle.name()
    );
    Ok(())
}

impl Seen {
    fn enough(&self, each: usize) -> Check {
        let least = self.direct.min(self.indirect).min(self.calls).min(self.others);
        ensure!(least >= each, "too few of some kind to say that they agree: {self:?}");
        Ok(())
    }
}

fn families<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let mut seen = Seen::default();
    for &at in d.text {
        for code in &d.branch_code() {
            agrees::<A>(oracle.as_ref(), at, code, &mut seen)?;
        }
    }
    seen.enough(d.text.len())
}

/// Every sample with every one and two bits flipped.
fn for_each_flipped(d: &Description, mut each: impl FnMut(&[u8]) -> Check) -> Check {
    for code in d.branch_code() {
        let bits = code.len() * 8;
        for i in 0..bits {
            for j in i..bits {
                let mut code = code.clone();
                code[i / 8] ^= 1 << (i % 8);
                if i != j {
                    code[j / 8] ^= 1 << (j % 8);
                }
                each(&code)?;
            }
        }
    }
    Ok(())
}

fn flipped<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let mut seen = Seen::default();
    for_each_flipped(d, |code| {
        // Room for the longest instruction that the flipped bits may have made.
        let code = [code, &[0; 16]].concat();
        agrees::<A>(oracle.as_ref(), d.text[0], &code, &mut seen)
    })?;
    seen.enough(10)
}

fn random_bytes<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let code = any::<[u8; 16]>();
    for_all(100_000, &(prop::sample::select(d.text), code), |(at, code)| {
        agrees::<A>(oracle.as_ref(), at, &code, &mut Seen::default())
    })
}

fn cut_short<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    for code in d.branch_code() {
        let Some(insn) = oracle.insn(d.text[0], &code) else { continue };
        for len in 0..insn.len {
            ensure_eq!(A::decode(d.text[0], &code[..len]), None, "{len} bytes of '{}'", insn.text);
        }
    }
    Ok(())
}

/// Whether some decoding of the bytes ends in a call; `None` if nobody can say.
fn ends_in_call<A: Architecture>(oracle: &dyn Oracle, return_address: Addr, before: &[u8]) -> Option<bool> {
    let align = usize::try_from(A::INSN_ALIGN).expect("small");
    let mut unjudged = false;
    for len in (align..=before.len()).step_by(align) {
        let start = return_address.wrapping_sub(len as u64);
        let Some(insn) = oracle.insn(start, &before[before.len() - len..]) else { continue };
        if insn.len == len {
            match insn.flow {
                Flow::Branch { kind: BranchKind::Call, .. } => return Some(true),
                Flow::Unjudged(_) => unjudged = true,
                _ => {}
            }
        }
    }
    (!unjudged).then_some(false)
}

fn follows_call<A: Architecture>(d: &'static Description) -> Check {
    let oracle = (d.oracle)();
    let (mut calls, mut others) = (0, 0);
    let filler: [u8; 16] = core::array::from_fn(|i| d.branch_code()[i % d.branches.len()][0]);
    let mut judge = |before: &[u8]| -> Check {
        let return_address = d.text[0] + 0x1000;
        let Some(expected) = ends_in_call::<A>(oracle.as_ref(), return_address, before) else {
            return Ok(());
        };
        if expected {
            calls += 1
        } else {
            others += 1
        }
        ensure_eq!(A::follows_call(return_address, before), expected, "after {}", hex(before));
        Ok(())
    };
    for_each_flipped(d, |code| {
        judge(code)?;
        judge(&[&filler, code].concat())
    })?;
    let mut state = 0x9e37_79b9_7f4a_7c15_u64;
    for _ in 0..20_000 {
        let bytes: [u8; 16] = core::array::from_fn(|_| {
            // xorshift64: as good as any for this, and the same in every run.
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            state.to_le_bytes()[3]
        });
        judge(&bytes)?;
    }
    ensure!(calls > 100 && others > 100, "too few to judge: {calls} calls, {others} others");
    Ok(())
}

fn follows_nothing<A: Architecture>(d: &'static Description) -> Check {
    let at = d.text[0];
    ensure!(!A::follows_call(at, &[]), "nothing at all is taken for a call");
    for kind in KINDS {
        let code = A::encode(kind, at, at + 0x100).map_err(|error| format!("{error:?}"))?;
        let (code, end) = (code.as_bytes(), at + A::BRANCH_LEN as u64);
        let before = [&[0; 16], code].concat();
        ensure_eq!(A::follows_call(end, &before), kind == BranchKind::Call, "{kind:?} {}", hex(code));
        for off in 1..A::INSN_ALIGN {
            ensure!(!A::follows_call(end + off, &before), "{:#x} is no instruction boundary", end + off);
        }
        // A call that does not end there, but one instruction before.
        let len = usize::try_from(A::INSN_ALIGN).expect("small");
        let behind = [&before[..], &vec![0; len]].concat();
        ensure!(!A::follows_call(end + A::INSN_ALIGN, &behind), "{} and zeros behind it", hex(code));
    }
    Ok(())
}
