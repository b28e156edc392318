// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! H5: a redirect writes the resume address of the block, and nothing else.

use std::cell::RefCell;
use std::sync::atomic::AtomicU64;

use klp_core::branch::BranchKind;
use klp_core::ftrace::{Redirected, Registers, RegsLayout, ReturnFrame};
use klp_core::platform::Range;
use klp_core::redirect::{Call, FuncRedirect, redirect};
use klp_core::return_stack::{MAX_WORDS, ReturnStack};
use klp_core::{Addr, Architecture};
use proptest::prelude::*;

use super::{ensure, ensure_eq, of_each_kernel};
use crate::host::random::for_all;
use crate::host::{Case, Check, Description};

const CONSISTENCY: &str = "livepatch/livepatch.rst, \"Livepatch function redirection\"";

pub(super) fn cases<A: Architecture>(d: &'static Description) -> Vec<Case> {
    let trampoline = d.manuals.trampoline;
    vec![
        Case::new("H5.1", "redirect.changes_the_resume_address_only", trampoline, changes::<A>),
        Case::new("H5.2", "redirect.reads_inside_the_block_only", trampoline, reads::<A>),
        Case::new("H5.3", "redirect.resume_address_before_is_behind_the_site", trampoline, resume::<A>),
        Case::new("H5.4", "redirect.frame_holds_what_the_return_needs", trampoline, frame::<A>),
        Case::new("H5.5", "redirect.without_a_stub_goes_straight_to_the_target", trampoline, no_stub::<A>),
        Case::new(
            "H5.6",
            "redirect.call_path_redirects_all_but_original_callers",
            CONSISTENCY,
            call_path::<A>,
        ),
        Case::new(
            "H5.7",
            "redirect.call_path_with_a_full_return_stack_leaves_the_call_alone",
            CONSISTENCY,
            full::<A>,
        )
        .only_if(A::RETURN_STUB, "redirected calls return straight to their callers"),
        Case::new("H5.8", "redirect.call_site_is_ftraces_ip", trampoline, call_site::<A>),
    ]
}

/// A register block that remembers what was read.
#[derive(Clone, Debug)]
struct Block {
    words: Vec<u64>,
    read: RefCell<Vec<u16>>,
}

impl Block {
    fn new(layout: &RegsLayout, seed: u64) -> Block {
        let words = (0..u64::from(layout.size) / 8).map(|i| (i + 1).wrapping_mul(seed | 1).rotate_left(17));
        Block { words: words.collect(), read: RefCell::default() }
    }
}

impl Registers for Block {
    fn read(&self, offset: u16) -> u64 {
        self.read.borrow_mut().push(offset);
        assert!(offset != RegsLayout::ABSENT, "reads a register that the block does not hold");
        assert!(offset.is_multiple_of(8), "reads at {offset}");
        self.words[usize::from(offset) / 8]
    }

    fn write(&mut self, offset: u16, value: u64) {
        assert!(offset != RegsLayout::ABSENT, "writes a register that the block does not hold");
        assert!(offset.is_multiple_of(8), "writes at {offset}");
        self.words[usize::from(offset) / 8] = value;
    }
}

const STUB: Addr = 0xffff_c000_0123_4560;

/// Stub addresses that a module may pass.
fn stubs<A: Architecture>() -> Vec<Addr> {
    if A::RETURN_STUB { vec![STUB, 0] } else { vec![0] }
}

fn for_each_block(
    d: &'static Description,
    check: impl Fn(&'static RegsLayout, &mut Block, Addr) -> Check,
) -> Check {
    of_each_kernel(d, "register block", d.blocks.iter().map(|sample| sample.kernel))?;
    for sample in d.blocks {
        for_all(256, &(any::<u64>(), any::<u64>()), |(seed, target)| {
            let mut block = Block::new(&sample.layout, seed);
            check(&sample.layout, &mut block, target & !0xf | 0x10)
                .map_err(|error| format!("{}: {error}", sample.kernel))
        })?;
    }
    Ok(())
}

fn changes<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, target| {
        for stub in stubs::<A>() {
            let mut after = block.clone();
            A::redirect(&mut after, layout, target, stub);
            let resume = if stub == 0 { target } else { stub };
            let mut expected = block.words.clone();
            expected[usize::from(layout.pc) / 8] = resume;
            ensure_eq!(
                after.words,
                expected,
                "the block, redirected to {target:#x} with the stub at {stub:#x}"
            );
            ensure_eq!(A::resume_address(&after, layout), resume, "resume address");
        }
        Ok(())
    })
}

fn reads<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, target| {
        for stub in stubs::<A>() {
            A::resume_address(block, layout);
            A::return_frame(block, layout, target, stub);
            A::redirect(block, layout, target, stub);
        }
        for offset in block.read.borrow().iter() {
            ensure!(
                [layout.pc, layout.sp, layout.ra].contains(offset)
                    || layout.gprs <= *offset && *offset < layout.size,
                "reads the word at {offset}, which {layout:?} does not name"
            );
        }
        Ok(())
    })
}

fn resume<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, _| {
        let at = d.sites[0].at + 0x10;
        block.words[usize::from(layout.pc) / 8] = at;
        ensure_eq!(A::resume_address(block, layout), at, "resume address");
        Ok(())
    })
}

fn frame<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, target| {
        let found = A::return_frame(block, layout, target, if A::RETURN_STUB { STUB } else { 0 });
        let expected = if A::RETURN_STUB {
            let word = |offset: u16| block.words[usize::from(offset) / 8];
            Redirected::ThroughStub(ReturnFrame { ra: word(layout.ra), sp: word(layout.sp), context: target })
        } else {
            Redirected::Direct
        };
        ensure_eq!(found, expected, "return frame");
        Ok(())
    })
}

fn no_stub<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, target| {
        ensure_eq!(A::return_frame(block, layout, target, 0), Redirected::Direct, "return frame");
        A::redirect(block, layout, target, 0);
        ensure_eq!(A::resume_address(block, layout), target, "resume address");
        Ok(())
    })
}

fn call_path<A: Architecture>(d: &'static Description) -> Check {
    let caller = d.text[0] + 0x2000;
    for_each_block(d, |layout, block, target| {
        let words: Vec<AtomicU64> = (0..MAX_WORDS).map(|_| AtomicU64::new(0)).collect();
        let func = FuncRedirect::default();
        let stub = stubs::<A>()[0];
        let call = |block: &mut Block, caller: Addr| {
            let return_stack = || (ReturnStack::claim(&words, STUB & !0xffff, 1), 0x4000);
            let universe = || unreachable!("the function is not in transition");
            redirect::<A>(&func, block, layout, Call { caller, universe, return_stub: stub, return_stack });
        };
        let before = block.words.clone();
        call(block, caller);
        ensure_eq!(block.words, before, "the block, nothing being redirected");
        func.settle(Some(target));
        let own = Range { start: caller - 0x10, size: 0x20 };
        ensure!(func.add_original_caller(own), "no room for one caller");
        call(block, caller);
        ensure_eq!(block.words, before, "the block, called by an original caller");
        call(block, caller + 0x1000);
        ensure_eq!(A::resume_address(block, layout), if stub == 0 { target } else { stub }, "resume address");
        let frames = ReturnStack::claim(&words, STUB & !0xffff, 1).count();
        ensure_eq!(frames, usize::from(A::RETURN_STUB), "frames on the return stack");
        Ok(())
    })
}

fn full<A: Architecture>(d: &'static Description) -> Check {
    for_each_block(d, |layout, block, target| {
        let words: Vec<AtomicU64> = (0..MAX_WORDS).map(|_| AtomicU64::new(0)).collect();
        let func = FuncRedirect::default();
        func.settle(Some(target));
        let claim = || (ReturnStack::claim(&words, 0x1000, 1), 0);
        while claim().0.push(ReturnFrame { ra: 1, sp: 2, context: 3 }, 0).is_ok() {}
        let (before, count) = (block.words.clone(), claim().0.count());
        let universe = || unreachable!("the function is not in transition");
        let call = Call { caller: d.text[0], universe, return_stub: STUB, return_stack: claim };
        redirect::<A>(&func, block, layout, call);
        ensure_eq!(block.words, before, "the block");
        ensure_eq!((func.missed(), claim().0.count()), (1, count), "missed calls, frames");
        Ok(())
    })
}

fn call_site<A: Architecture>(d: &'static Description) -> Check {
    for sample in d.sites {
        let Some(site) = sample.site else { continue };
        ensure_eq!(A::call_site(sample.at + site), sample.at + site, "{}", sample.function);
    }
    // The trampoline is in reach of a call from the site, or ftrace could not have enabled it.
    ensure!(A::encode(BranchKind::Call, d.text[0], d.text[0] + 0x1000).is_ok(), "a call within kernel text");
    Ok(())
}
