// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A frozen kernel as a walk of one task's stack looks at it.

use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::return_stack;
use klp_core::unwind::{Code, Machine, Memory, ReturnTrampoline, Start, Unreliable, UnwindInfo, UnwindTable};

use super::{Frozen, Task, holds};

/// A frozen kernel, and one of its tasks.
#[derive(Clone, Copy)]
pub struct View<'a> {
    kernel: &'a Frozen,
    task: &'a Task,
}

impl<'a> View<'a> {
    pub(super) fn new(kernel: &'a Frozen, task: &'a Task) -> View<'a> {
        View { kernel, task }
    }

    /// Where a walk of the task starts, and the stacks it may be on.
    ///
    /// # Errors
    ///
    /// There is nothing to walk: the task is running, or has exited.
    pub fn start(&self) -> Result<(Start, Vec<Range>), Unreliable> {
        if self.task.running {
            return Err(Unreliable::Running);
        }
        let stack = self.task.stack.filter(|_| !self.task.dead).ok_or(Unreliable::NoStack)?;
        Ok((Start::SwitchedOut(self.task.saved), vec![stack]))
    }

    fn graph_return(&self, nth: usize) -> Option<Addr> {
        let Frozen { space, layout, .. } = self.kernel;
        let field = |name: &str| Some(self.task.addr.wrapping_add(layout.get(name)?));
        let stack = space.word(field("task_struct.ret_stack")?)?;
        let newest = i64::from(space.number(field("task_struct.curr_ret_stack")?)?.cast_signed());
        let ret = layout.get("ftrace_ret_stack.ret")?;
        if stack == 0 {
            return None;
        }
        if layout.get("ret_stack of words") == Some(0) {
            // An array; `newest` is the number of the last one.
            let index = u64::try_from(newest.checked_sub(i64::try_from(nth).ok()?)?).ok()?;
            let entry = index.checked_mul(layout.get("sizeof(ftrace_ret_stack)")?)?;
            return space.word(stack.wrapping_add(entry).wrapping_add(ret));
        }
        // `newest` words; the last one says how far the entry below it begins (kernel/trace/fgraph.c).
        const BACK: u64 = (1 << 10) - 1;
        let mut end = u64::try_from(newest).ok()?;
        for _ in 0..=nth {
            let last = end.checked_sub(1)?;
            let back = space.word(stack.wrapping_add(8 * last))? & BACK;
            end = last.checked_sub(back).filter(|_| back != 0)?;
        }
        space.word(stack.wrapping_add(8 * end).wrapping_add(ret))
    }

    /// Of two lists only one is ever used.
    fn probe_return(&self, nth: usize) -> Option<Addr> {
        self.listed("task_struct.rethooks", "rethook_node", nth)
            .or_else(|| self.listed("task_struct.kretprobe_instances", "kretprobe_instance", nth))
    }

    fn listed(&self, list: &str, node: &str, nth: usize) -> Option<Addr> {
        let Frozen { space, layout, .. } = self.kernel;
        let link = layout.get(&format!("{node}.llist"))?;
        let mut at = space.word(self.task.addr.wrapping_add(layout.get(list)?))?;
        for _ in 0..nth {
            at = space.word(at).filter(|_| at != 0)?;
        }
        if at == 0 {
            return None;
        }
        space.word(at.wrapping_sub(link).wrapping_add(layout.get(&format!("{node}.ret_addr"))?))
    }

    /// The layout is [`return_stack`]'s, which this reads in another machine's memory.
    fn patch_return(&self, nth: usize) -> Option<Addr> {
        let has_stub = |(_, code): &(Range, Code)| *code == Code::ReturnTrampoline(ReturnTrampoline::Patch);
        if !self.kernel.code.iter().any(has_stub) {
            return None;
        }
        let base = self.task.stack?.start;
        let word = |index: usize| self.kernel.space.word(base.wrapping_add(8 * index as u64));
        if word(return_stack::OWNER)? != self.task.owner {
            return None;
        }
        let count = usize::try_from(word(return_stack::COUNT)?).ok()?;
        let frame = count
            .min(return_stack::MAX_WORDS / return_stack::FRAME_WORDS)
            .checked_sub(1)?
            .checked_sub(nth)?;
        word(return_stack::FRAMES + frame * return_stack::FRAME_WORDS)
    }
}

impl Memory for View<'_> {
    fn word(&self, addr: Addr) -> Option<u64> {
        self.kernel.space.word(addr)
    }
}

impl Machine for View<'_> {
    fn code(&self, pc: Addr) -> Code {
        let known = self.kernel.code.iter().find(|(range, _)| range.contains(pc));
        known.map_or_else(
            // Executable, and nobody's text: the kernel made it.
            || match self.kernel.space.mapping(pc) {
                Some(mapping) if mapping.exec => Code::Generated,
                _ => Code::NotText,
            },
            |(_, code)| match code {
                Code::Discarded if !self.task.booted => Code::NotText,
                code => *code,
            },
        )
    }

    fn text(&self, addr: Addr, bytes: &mut [u8]) -> bool {
        self.kernel.space.read(addr, bytes)
    }

    fn pending_return(&self, keeper: ReturnTrampoline, nth: usize) -> Option<Addr> {
        let kept = match keeper {
            ReturnTrampoline::Graph => self.graph_return(nth),
            ReturnTrampoline::Probe => self.probe_return(nth),
            ReturnTrampoline::Patch => self.patch_return(nth),
        };
        kept.filter(|addr| *addr != 0)
    }

    fn unwind_info(&self) -> UnwindInfo {
        self.kernel.unwind_info
    }

    fn unwind_table(&self, pc: Addr) -> Option<UnwindTable<'_>> {
        let table = if holds(&self.kernel.core, pc) {
            self.kernel.table.as_ref()
        } else {
            self.kernel.modules.iter().find(|module| holds(&module.text, pc))?.table.as_ref()
        };
        table.map(super::OwnedTable::as_table)
    }
}
