// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The tasks in a dump.

use std::collections::HashSet;

use anyhow::Result;
use klp_core::Addr;
use klp_core::platform::Range;
use klp_core::unwind::Saved;

use super::layout::Layout;
use super::space::Space;

/// A task, as it stands in a dump.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Task {
    /// Address of its `struct task_struct`.
    pub addr: Addr,
    /// Its number; an idle task's is 0.
    pub pid: i32,
    /// Its name.
    pub comm: String,
    /// Its state, in the letter that `/proc/PID/stat` shows.
    pub state: char,
    /// Whether it is on a CPU.
    pub running: bool,
    /// Whether it has exited and will not run again.
    pub dead: bool,
    /// Its stack, if it still has one.
    pub stack: Option<Range>,
    /// The address above its highest frame.
    pub bottom: Addr,
    /// Whether the kernel booted in it.
    pub booted: bool,
    /// What the context switch saved.
    pub saved: Saved,
    /// What marks a return stack as this task's.
    pub(crate) owner: u64,
}

/// How the idle tasks' names begin; the number of the CPU follows (`init_idle` in `kernel/sched/core.c`).
const IDLE: &str = "swapper/";

/// All tasks: the idle ones, then each process with its threads. The error says what is wrong with the dump.
pub(crate) fn all(space: &Space, layout: &Layout) -> Result<Result<Vec<Task>, String>> {
    let reader = Reader { space, layout };
    let mut idle = reader.idle_tasks()?;
    let parent = layout.need("task_struct.real_parent")?;
    // The first task is its own parent.
    let Some(first) = idle.iter().copied().find(|task| space.word(task.wrapping_add(parent)) == Some(*task))
    else {
        return Ok(Err("there is no idle task in it: either this kernel's headers are not those it was built with, or the \
                       dump is not whole"
            .to_owned()));
    };
    idle.sort_by_key(|task| reader.comm(*task).trim_start_matches(IDLE).parse::<u32>().unwrap_or(u32::MAX));
    let leaders = reader.list(first.wrapping_add(layout.need("task_struct.tasks")?));
    let Some(leaders) = leaders else { return Ok(Err("its list of tasks is broken".to_owned())) };
    let mut tasks = Vec::new();
    for task in idle {
        tasks.push(reader.task(task)?);
    }
    for node in leaders {
        let leader = node.wrapping_sub(layout.need("task_struct.tasks")?);
        let signal = space.word(leader.wrapping_add(layout.need("task_struct.signal")?)).unwrap_or(0);
        let threads = reader.list(signal.wrapping_add(layout.need("signal_struct.thread_head")?));
        let Some(threads) = threads else {
            return Ok(Err(format!("the list of threads of its task {} is broken", reader.comm(leader))));
        };
        for node in threads {
            tasks.push(reader.task(node.wrapping_sub(layout.need("task_struct.thread_node")?))?);
        }
    }
    Ok(Ok(tasks))
}

struct Reader<'a> {
    space: &'a Space,
    layout: &'a Layout,
}

impl Reader<'_> {
    /// The idle tasks' addresses. They are in no list, and not every kernel has a symbol for any of them: what has their
    /// name is one if it is number 0 and the leader of its own group, at the address where it is.
    fn idle_tasks(&self) -> Result<Vec<Addr>> {
        let Reader { space, layout } = self;
        let (comm, pid) = (layout.need("task_struct.comm")?, layout.need("task_struct.pid")?);
        let leader = layout.need("task_struct.group_leader")?;
        let mut found = Vec::new();
        space.physical().find(IDLE.as_bytes(), |at| {
            let Some(physical) = at.checked_sub(comm).filter(|addr| addr.is_multiple_of(8)) else {
                return true;
            };
            let mut bytes = [0; 8];
            let leader = space
                .physical()
                .read(physical.wrapping_add(leader), &mut bytes)
                .then(|| space.word_of(&bytes))
                .flatten();
            if let Some(task) = leader
                && space.translate(task) == Some(physical)
                && space.number(task.wrapping_add(pid)) == Some(0)
            {
                found.push(task);
            }
            true
        })?;
        Ok(found)
    }

    fn comm(&self, task: Addr) -> String {
        let comm = self
            .layout
            .get("task_struct.comm")
            .and_then(|field| self.space.text::<16>(task.wrapping_add(field)));
        comm.unwrap_or_default()
    }

    /// The nodes of the list with this head, without it. `None` if the list does not lead back to it.
    fn list(&self, head: Addr) -> Option<Vec<Addr>> {
        let mut seen = HashSet::from([head]);
        let mut nodes = Vec::new();
        let mut node = self.space.word(head)?;
        while node != head {
            if !seen.insert(node) {
                return None;
            }
            nodes.push(node);
            node = self.space.word(node)?;
        }
        Some(nodes)
    }

    fn task(&self, addr: Addr) -> Result<Task> {
        let Reader { space, layout } = self;
        let word = |name: &str| -> Result<u64> {
            Ok(space.word(addr.wrapping_add(layout.need(name)?)).unwrap_or(0))
        };
        let number = |name: &str| -> Result<u32> {
            Ok(space.number(addr.wrapping_add(layout.need(name)?)).unwrap_or(0))
        };
        let has = |name: &str| layout.get(name).is_some();
        let flags = u64::from(number("task_struct.flags")?);
        let state = u64::from(number("task_struct.__state")?);
        let exit = u64::from(number("task_struct.exit_state")?);
        let pid = number("task_struct.pid")?.cast_signed();
        let kind = if pid == 0 {
            "bottom.idle"
        } else if flags & layout.need("PF_KTHREAD")? != 0 {
            "bottom.kthread"
        } else {
            "bottom.user"
        };
        let start = word("task_struct.stack")?;
        let kept = number("task_struct.stack_refcount")? != 0;
        let canary = if has("task_struct.stack_canary") { word("task_struct.stack_canary")? } else { 0 };
        Ok(Task {
            addr,
            pid,
            comm: self.comm(addr),
            state: self.letter(state, exit)?,
            // Without other CPUs the running task is not marked; it is the one that the dump stopped in.
            running: has("task_struct.on_cpu") && number("task_struct.on_cpu")? != 0,
            dead: state & layout.need("TASK_DEAD")? != 0,
            stack: (start != 0 && kept).then_some(Range { start, size: layout.need("THREAD_SIZE")? }),
            bottom: start.wrapping_add(layout.need(kind)?),
            // The first CPU's: init_task of init/init_task.c.
            booted: pid == 0 && self.comm(addr) == "swapper/0",
            saved: Saved {
                sp: word("task_struct.sp")?,
                pc: if has("task_struct.pc") { word("task_struct.pc")? } else { 0 },
                fp: if has("task_struct.fp") { word("task_struct.fp")? } else { 0 },
            },
            owner: addr ^ canary,
        })
    }

    /// As `task_state_array` in `fs/proc/array.c` has them.
    fn letter(&self, state: u64, exit: u64) -> Result<char> {
        let is = |name: &str| -> Result<bool> {
            let bits = self.layout.need(name)?;
            Ok(state & bits == bits)
        };
        for (name, letter) in [("EXIT_ZOMBIE", 'Z'), ("EXIT_DEAD", 'X')] {
            if exit & self.layout.need(name)? != 0 {
                return Ok(letter);
            }
        }
        for (name, letter) in [
            ("TASK_DEAD", 'X'),
            ("TASK_IDLE", 'I'),
            ("TASK_PARKED", 'P'),
            ("__TASK_STOPPED", 'T'),
            ("__TASK_TRACED", 't'),
            ("TASK_UNINTERRUPTIBLE", 'D'),
            ("TASK_INTERRUPTIBLE", 'S'),
        ] {
            if is(name)? {
                return Ok(letter);
            }
        }
        Ok('R')
    }
}
