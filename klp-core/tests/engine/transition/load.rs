// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Tasks that run their programs on the simulated kernel, a step at a time, whenever the engine gives them the time.

use klp_core::Addr;
use klp_core::platform::TaskId;

use crate::sim::hook::TRAMPOLINE;
use crate::sim::kernel::Point;
use crate::sim::tasks::{Kind, Mode, Pc, Task};
use crate::sim::text::{Function, SPACING};
use crate::sim::{FUNCTIONS, Sim};

use super::choices::Choices;
use super::judge::Judge;
use super::program::{Op, Program};

/// Entry code: where a system call returns to.
const ENTRY: Addr = 0xffff_ffff_8080_0100;
/// Text of an interrupt handler.
const HANDLER: Addr = 0xffff_ffff_8080_0200;
/// Into a function, to where it calls another or is interrupted.
const INSIDE: u64 = 0x10;

/// A call that has not returned, or an interrupt.
#[derive(Clone, Debug)]
pub(crate) enum Level {
    Function(Call),
    Interrupt,
}

/// A call of a function.
#[derive(Clone, Debug)]
pub(crate) struct Call {
    pub(crate) name: &'static str,
    pub(crate) function: Function,
    /// What runs: the function itself, or what replaces it.
    pub(crate) runs: Addr,
    /// How many transitions had begun.
    pub(crate) since: usize,
}

/// A call on its way.
#[derive(Clone, Debug)]
enum Calling {
    /// At the function's first instruction.
    Arrived(Function),
    /// In the callback, which has decided.
    Decided(Call),
}

/// A task and what it does.
#[derive(Clone, Debug)]
pub(crate) struct Runner {
    pub(crate) id: TaskId,
    pub(crate) kind: Kind,
    pub(crate) stack: Vec<Level>,
    /// Calls since the kernel was entered.
    pub(crate) calls: Vec<Call>,
    /// A kernel thread always is.
    pub(crate) in_kernel: bool,
    /// Consistency was given up for it: see [`Judge::forced`].
    pub(crate) exempt: bool,
    calling: Option<Calling>,
    program: Program,
    next: usize,
}

/// How much a step of a task does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Steps {
    /// A call is one step.
    Coarse,
    /// Arriving at a function, the callback's decision, and going where it says are three.
    Fine,
}

/// All tasks that do something.
pub(crate) struct Load {
    kernel: Sim<false>,
    pub(crate) judge: Judge,
    pub(crate) runners: Vec<Runner>,
    pub(crate) choices: Choices,
    steps: Steps,
    /// How often tasks may still get the time while the engine works.
    pub(crate) interruptions: usize,
    /// Steps that were made.
    pub(crate) count: usize,
}

impl Load {
    pub(crate) fn new(kernel: &Sim<false>, choices: Choices, steps: Steps, interruptions: usize) -> Load {
        let judge = Judge::new(kernel);
        Load { kernel: kernel.clone(), judge, runners: Vec::new(), choices, steps, interruptions, count: 0 }
    }

    /// Adds a task, outside of the kernel if it can be, outside of all functions anyway.
    pub(crate) fn start(&mut self, kind: Kind, program: Program) {
        let id = self.kernel.fork(kind);
        let in_kernel = kind != Kind::User;
        self.runners.push(Runner {
            id,
            kind,
            stack: Vec::new(),
            calls: Vec::new(),
            in_kernel,
            exempt: false,
            calling: None,
            program,
            next: 0,
        });
        self.show(self.runners.len() - 1);
    }

    /// The engine is at such a point.
    pub(crate) fn at(&mut self, point: Point) {
        match point {
            Point::Any if self.interruptions > 0 => {
                let mut interrupted = false;
                loop {
                    let able = self.able();
                    let choice = self.choices.choose(1 + able.len());
                    if choice == 0 {
                        break;
                    }
                    interrupted = true;
                    self.step(able[choice - 1]);
                }
                self.interruptions -= usize::from(interrupted);
            }
            Point::Any => {}
            Point::CallbacksEnd => {
                for runner in 0..self.runners.len() {
                    if let Some(Calling::Decided(..)) = self.runners[runner].calling {
                        self.step(runner);
                    }
                }
            }
            Point::Stopped => self.judge.stopped(&self.runners),
        }
    }

    /// The tasks that can make a step now.
    pub(crate) fn able(&self) -> Vec<usize> {
        (0..self.runners.len()).filter(|runner| self.is_able(*runner)).collect()
    }

    fn is_able(&self, runner: usize) -> bool {
        let runner = &self.runners[runner];
        let (mode, woken, walkable) =
            self.kernel.look_at(runner.id, |task| (task.mode, task.woken, task.walkable));
        let ended = runner.calling.is_none() && runner.next == runner.program.len();
        match mode {
            Mode::Waiting | Mode::Offline | Mode::Exited => false,
            // Whoever is in user mode comes to the border when it is asked to, and nobody is preempted for good.
            _ if ended => !runner.in_kernel && self.kernel.look_at(runner.id, Task::is_asked) || !walkable,
            Mode::Asleep if self.waits(runner) => woken,
            Mode::Running | Mode::InCallback | Mode::Asleep => true,
        }
    }

    /// Whether a task sleeps until it is woken.
    fn waits(&self, runner: &Runner) -> bool {
        runner.next > 0 && runner.program[runner.next - 1] == Op::Wait
    }

    /// Whether all tasks have done what they had to.
    pub(crate) fn is_done(&self) -> bool {
        let offline = |runner: &Runner| self.kernel.look_at(runner.id, |task| task.mode) == Mode::Offline;
        let ended = |runner: &Runner| runner.calling.is_none() && runner.next == runner.program.len();
        self.runners.iter().all(|runner| ended(runner) || offline(runner))
    }

    /// Takes the CPUs of idle tasks that are in no function away, or brings them back.
    pub(crate) fn set_online(&mut self, online: bool) {
        let idle = self.runners.iter().filter(|runner| runner.kind == Kind::Idle && runner.stack.is_empty());
        for runner in idle.filter(|runner| runner.calling.is_none()) {
            let mode = if online { Mode::Running } else { Mode::Offline };
            self.kernel.change(runner.id, |task| task.mode = mode);
        }
    }

    /// Wakes whoever waits to be woken.
    pub(crate) fn wake_all(&mut self) {
        for runner in &self.runners {
            self.kernel.change(runner.id, |task| task.woken = true);
        }
    }

    /// Lets a task make its next step.
    pub(crate) fn step(&mut self, runner: usize) {
        self.count += 1;
        let id = self.runners[runner].id;
        self.kernel.change(id, |task| {
            task.mode = Mode::Running;
            task.walkable = true;
        });
        if let Some(calling) = self.runners[runner].calling.take() {
            self.go_on(runner, calling);
            return self.show(runner);
        }
        let Some(op) = self.runners[runner].program.get(self.runners[runner].next).cloned() else {
            if !self.runners[runner].in_kernel {
                self.kernel.at_border(id);
            }
            return;
        };
        self.runners[runner].next += 1;
        match op {
            Op::Enter => self.runners[runner].in_kernel = true,
            Op::Leave => {
                let runner = &mut self.runners[runner];
                assert!(runner.stack.is_empty(), "a program leaves the kernel from inside a function");
                runner.in_kernel = false;
                runner.exempt = false;
                runner.calls.clear();
                self.kernel.at_border(id);
            }
            Op::Call(name) => self.call(runner, name),
            Op::Interrupt => self.runners[runner].stack.push(Level::Interrupt),
            Op::Return => {
                let runner = &mut self.runners[runner];
                runner.stack.pop().expect("a program that returns has called");
                runner.exempt &= !runner.stack.is_empty() || runner.kind == Kind::User;
            }
            Op::Sleep | Op::Preempted | Op::Wait => self.kernel.change(id, |task| {
                task.mode = Mode::Asleep;
                task.walkable = op != Op::Preempted;
                task.woken = false;
            }),
            Op::Fork(kind, program) => {
                self.start(kind, program);
                // It starts on its way out of the kernel, where nothing has been called.
                self.runners.last_mut().expect("it was just added").in_kernel = true;
                self.show(self.runners.len() - 1);
            }
            Op::Exit => {
                self.kernel.exit(id);
                self.runners.remove(runner);
                return;
            }
        }
        self.show(runner);
    }

    fn call(&mut self, runner: usize, name: &'static str) {
        let callable = |function: &Function| {
            function.name == name && function.object.is_none_or(|module| self.kernel.is_callable(module))
        };
        let Some(function) = self.kernel.find_function(callable) else {
            // Its module is not there: the caller goes on behind the call.
            let Runner { program, next, .. } = &mut self.runners[runner];
            let mut depth = 1;
            while depth > 0 && program.get(*next).is_some_and(|op| *op != Op::Exit) {
                depth = match program[*next] {
                    Op::Call(_) | Op::Interrupt => depth + 1,
                    Op::Return => depth - 1,
                    _ => depth,
                };
                *next += 1;
            }
            return;
        };
        if self.steps == Steps::Coarse {
            let calling = self.decide(runner, function);
            return self.go_on(runner, calling);
        }
        self.runners[runner].calling = Some(Calling::Arrived(function));
    }

    fn go_on(&mut self, runner: usize, calling: Calling) {
        match calling {
            Calling::Arrived(function) => {
                self.runners[runner].calling = Some(self.decide(runner, function));
            }
            Calling::Decided(call) => {
                self.judge.called(&self.runners, runner, &call);
                let runner = &mut self.runners[runner];
                runner.calls.push(call.clone());
                runner.stack.push(Level::Function(call));
            }
        }
    }

    fn decide(&self, runner: usize, function: Function) -> Calling {
        let id = self.runners[runner].id;
        let caller = self.runners[runner].return_address(self.runners[runner].stack.len());
        let no_return_stack = || unreachable!("calls return directly");
        let runs = self.kernel.trampoline(id.0, 0, caller, function.addr, no_return_stack);
        let call = Call { name: function.name, function, runs, since: self.judge.transitions() };
        self.judge.decided(&call);
        Calling::Decided(call)
    }

    /// Lets the kernel know where a task is.
    fn show(&mut self, runner: usize) {
        let runner = &self.runners[runner];
        let id = runner.id;
        let mode = self.kernel.look_at(id, |task| task.mode);
        let mut stack: Vec<Pc> = (0..runner.stack.len())
            .map(|level| match (&runner.stack[level], runner.stack.get(level + 1)) {
                (Level::Function(_), Some(Level::Function(_))) => {
                    Pc { addr: runner.return_address(level + 1), exact: false }
                }
                (Level::Function(call), Some(Level::Interrupt)) => {
                    Pc { addr: call.runs + INSIDE, exact: true }
                }
                (Level::Interrupt, Some(_)) => Pc { addr: HANDLER, exact: false },
                (_, None) if mode == Mode::Asleep || runner.calling.is_some() => {
                    Pc { addr: runner.return_address(level + 1), exact: false }
                }
                (Level::Function(call), None) => Pc { addr: call.runs + INSIDE, exact: true },
                (Level::Interrupt, None) => Pc { addr: HANDLER, exact: true },
            })
            .collect();
        if runner.kind == Kind::User && runner.in_kernel {
            stack.insert(0, Pc { addr: ENTRY, exact: false });
        }
        let in_callback = matches!(runner.calling, Some(Calling::Decided(..)));
        match &runner.calling {
            Some(Calling::Arrived(function)) => stack.push(Pc { addr: function.addr, exact: true }),
            Some(Calling::Decided(..)) => stack.push(Pc { addr: TRAMPOLINE, exact: true }),
            None => {}
        }
        self.kernel.change(id, |task| {
            task.stack = stack;
            if in_callback {
                task.mode = Mode::InCallback;
            }
        });
    }
}

impl Runner {
    /// Where a call returns to that is made below this level of the stack: into the cold part of the caller if it is one of
    /// vmlinux's own functions, and always behind the caller's last instruction.
    fn return_address(&self, level: usize) -> Addr {
        match level.checked_sub(1).map(|caller| &self.stack[caller]) {
            None => ENTRY,
            Some(Level::Interrupt) => HANDLER,
            Some(Level::Function(call)) if call.runs == call.function.addr => {
                call.function.cold.map_or(call.runs + SPACING, |cold| cold.start + cold.size)
            }
            Some(Level::Function(call)) => call.runs + SPACING,
        }
    }

    /// The calls on its stack, the outermost first.
    pub(crate) fn inside(&self) -> impl Iterator<Item = &Call> {
        self.stack.iter().filter_map(|level| match level {
            Level::Function(call) => Some(call),
            Level::Interrupt => None,
        })
    }

    /// Whether it is in a function of a module, or on its way into one.
    pub(crate) fn uses(&self, module: &str) -> bool {
        let calling = self.calling.iter().map(|calling| match calling {
            Calling::Arrived(function) => function,
            Calling::Decided(call) => &call.function,
        });
        self.inside()
            .map(|call| &call.function)
            .chain(calling)
            .any(|function| function.object == Some(module))
    }

    /// What it is about to run.
    pub(crate) fn about_to_run(&self) -> Option<Addr> {
        match &self.calling {
            Some(Calling::Decided(call)) => Some(call.runs),
            _ => None,
        }
    }
}

/// Functions of vmlinux, and those of modules that are loaded.
pub(crate) fn callable(kernel: &Sim<false>) -> Vec<&'static str> {
    let functions = kernel.functions();
    let modules = functions.iter().filter(|function| function.object.is_some());
    FUNCTIONS.into_iter().chain(modules.map(|function| function.name)).collect()
}
