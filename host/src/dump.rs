// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Memory dumps of guests: taking one, and reading what the kernel in it was doing.
//!
//! A dump is physical memory (`physical`; formats: `elf`, `kdump`). The kernel in it describes itself in a text
//! (`vmcoreinfo`), from which its page tables are found (`mmu`, `paging`) and with them its address space (`space`). Names
//! come from its own kallsyms or a vmlinux (`symbols`), where fields lie from its headers (`layout`). [`Frozen`] is what
//! all of that makes: a kernel that stands still, with its tasks and modules, as a stack walk looks at it.

mod elf;
mod kdump;
mod layout;
pub mod mmu;
mod modules;
mod paging;
mod physical;
mod space;
mod symbols;
mod tables;
mod take;
mod tasks;
mod view;
mod vmcoreinfo;

use std::ffi::CStr;
use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use anyhow::{Context, Result};
use klp_core::platform::Range;
use klp_core::unwind::{Code, ReturnTrampoline, TableFormat, UnwindInfo};
use klp_core::{Addr, Endian};
use object::Object;

use crate::Facts;
use crate::{Failure, Kernel};
pub use layout::Layout;
use mmu::PageTables;
use modules::Module;
use physical::Physical;
use space::Space;
use symbols::Symbols;
use tables::OwnedTable;
pub(crate) use take::take;
pub use take::{DumpSpec, Format};
pub use tasks::Task;
pub use view::View;
use vmcoreinfo::VmcoreInfo;

/// A kernel that stands still.
pub struct Frozen {
    space: Space,
    endian: Endian,
    layout: Layout,
    symbols: Symbols,
    modules: Vec<Module>,
    /// The first that holds an address counts.
    code: Vec<(Range, Code)>,
    unwind_info: UnwindInfo,
    /// The text that the kernel's own unwind table describes, and the table.
    table: Option<OwnedTable>,
    core: Vec<Range>,
    tasks: Vec<Task>,
}

/// A place in code, in words.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// The function's name.
    pub function: String,
    /// Bytes from its start.
    pub offset: u64,
    /// The module it belongs to, unless it is the kernel's own.
    pub module: Option<String>,
}

impl Frozen {
    /// Reads the dump `file` of a guest that ran `kernel`, whose structures `layout` describes. Names are those of
    /// `vmlinux`, if there is one, else those in the dump.
    ///
    /// # Errors
    ///
    /// [`Failure::Usage`] if the dump is none, is cut short, or is not of this kernel; or if the vmlinux is not this
    /// kernel's.
    pub fn open(file: &Path, kernel: &Kernel, layout: Layout, vmlinux: Option<&Path>) -> Result<Frozen> {
        let wrong = |what: String| Failure::Usage(format!("--dump {}: {what}", file.display()));
        let input = File::open(file).map_err(|error| wrong(format!("{error}; expected a memory dump")))?;
        let mut start = [0; 16];
        input.read_at(&mut start, 0).map_err(|error| wrong(error.to_string()))?;
        let core = match start {
            start if start.starts_with(b"\x7fELF") => elf::open(input),
            start if kdump::is(&start) => kdump::open(input),
            _ => Err("it is neither an ELF core file nor in makedumpfile's format; expected a memory dump, as `klp run \
                      --dump` or QEMU's dump-guest-memory writes it"
                .to_owned()),
        };
        let core = core.map_err(wrong)?;
        let arch = kernel.arch;
        if let Some(machine) = core.machine.filter(|machine| *machine != arch.facts.elf_machine) {
            let found = match crate::Arch::by_machine(machine) {
                Some(other) => format!("a dump of {other}"),
                None => format!("a dump of another architecture (ELF machine {machine})"),
            };
            return Err(wrong(format!("it is {found}, and --arch says {arch}")).into());
        }
        let PageTables(locate) = arch.page_tables.with_context(|| {
            format!(
                "dumps of {arch} cannot be read: its page tables are not described (host/src/dump/mmu.rs)"
            )
        })?;
        let endian = core.endian;
        let physical = Physical::new(core.memory);
        let info = VmcoreInfo::find(&physical)?.ok_or_else(|| {
            wrong(
                "no kernel in it describes itself (VMCOREINFO): it has not booted far enough, or has neither \
                 CONFIG_VMCORE_INFO nor CONFIG_CRASH_CORE"
                    .to_owned(),
            )
        })?;
        let release = info.get("OSRELEASE").unwrap_or_default();
        if release != kernel.release {
            let expected = &kernel.release;
            return Err(wrong(format!(
                "it is a dump of the kernel {release}, and {} is {expected}",
                kernel.id
            ))
            .into());
        }
        let tables = locate(&info, &core.notes).map_err(wrong)?;
        let space = Space::new(physical, tables, endian);
        let text = info.symbol("_stext").and_then(|start| space.translate(start));
        text.ok_or_else(|| {
            wrong("the kernel's page tables lead nowhere: the dump is not whole, or the guest is ppc64 without the radix MMU".to_owned())
        })?;
        let symbols = match vmlinux {
            Some(vmlinux) => from_vmlinux(vmlinux, &info)?,
            None => Symbols::kallsyms(&space, &info, &layout).map_err(wrong)?,
        };
        let modules = modules::find(&space, &layout)?;
        let tasks = tasks::all(&space, &layout)?.map_err(wrong)?;
        let mut frozen = Frozen {
            table: core_table(&space, &symbols),
            core: Vec::new(),
            code: Vec::new(),
            unwind_info: UnwindInfo::Frames,
            space,
            endian,
            layout,
            symbols,
            modules,
            tasks,
        };
        frozen.read_code(&arch.facts);
        Ok(frozen)
    }

    /// Its tasks: the idle ones first, then each process with its threads.
    pub fn tasks(&self) -> &[Task] {
        &self.tasks
    }

    /// Byte order of its words.
    pub fn endian(&self) -> Endian {
        self.endian
    }

    /// What code is where; the first range that holds an address counts.
    pub fn code_ranges(&self) -> &[(Range, Code)] {
        &self.code
    }

    /// The function that holds the code at `pc`.
    pub fn place(&self, pc: Addr) -> Option<Place> {
        let place = |symbols: &Symbols, module: Option<&Module>| {
            let (function, offset) = symbols.function(pc)?;
            let module = module.map(|module| module.name.clone());
            Some(Place { function: function.to_owned(), offset, module })
        };
        if holds(&self.core, pc) {
            return place(&self.symbols, None);
        }
        let module = self.modules.iter().find(|module| holds(&module.text, pc))?;
        place(&module.symbols, Some(module))
    }

    /// The machine as a walk of `task` looks at it.
    pub fn view<'a>(&'a self, task: &'a Task) -> View<'a> {
        View::new(self, task)
    }

    /// What code is where, by the kernel's and the modules' symbols. What is not there is not text, and a walk that meets
    /// it says so.
    fn read_code(&mut self, facts: &Facts) {
        let between = |symbols: &Symbols, first: &str, behind: &str| {
            let (start, end) = (symbols.addr(first)?, symbols.addr(behind)?);
            (end > start).then_some(Range { start, size: end - start })
        };
        let mut code = Vec::new();
        // Return addresses are those words exactly; behind them the return address is in a register.
        let trampoline = |name: &str, keeper| {
            let start = self.symbols.addr(name)?;
            let rest = (1..MAX_TRAMPOLINE)
                .take_while(|i| self.symbols.function(start + i) == Some((name, *i)))
                .count();
            let first = (Range { start, size: 1 }, Code::ReturnTrampoline(keeper));
            Some([first, (Range { start: start + 1, size: rest as u64 }, Code::Generated)])
        };
        for (name, keeper) in [
            ("return_to_handler", ReturnTrampoline::Graph),
            ("arch_rethook_trampoline", ReturnTrampoline::Probe),
            ("__kretprobe_trampoline", ReturnTrampoline::Probe),
        ] {
            code.extend(trampoline(name, keeper).into_iter().flatten());
        }
        let bounds =
            |first: &CStr, behind: &CStr| between(&self.symbols, first.to_str().ok()?, behind.to_str().ok()?);
        let size_of = |start: Addr| {
            let name = self.symbols.function(start).map(|(name, _)| name);
            (0..MAX_TRAMPOLINE)
                .take_while(|i| self.symbols.function(start + i).map(|(name, _)| name) == name)
                .count() as u64
        };
        // From ftrace's own trampolines a task goes on where a callback said, which is in the register block only. A label near
        // their end begins what kallsyms takes for the last of them.
        let whole = std::iter::once(&[c"ftrace_caller", c"ftrace_regs_caller_end"])
            .chain(facts.ftrace_text)
            .find_map(|[first, behind]| bounds(first, behind));
        let whole = whole.map(|Range { start, size }| Range { start, size: size + size_of(start + size) });
        let functions = ["ftrace_caller", "ftrace_regs_caller"].map(|name| {
            let start = self.symbols.addr(name)?;
            Some(Range { start, size: size_of(start) })
        });
        code.extend(
            whole.into_iter().chain(functions.into_iter().flatten()).map(|range| (range, Code::Generated)),
        );
        let entry = std::iter::once(&[c"__entry_text_start", c"__entry_text_end"])
            .chain(facts.entry_text)
            .find_map(|[first, behind]| bounds(first, behind));
        // Where CPUs begin, if it is in front of the kernel's text.
        let head = between(&self.symbols, "_start", "_stext");
        code.extend(entry.into_iter().chain(head).map(|range| (range, Code::Entry)));
        let core = between(&self.symbols, "_stext", "_etext");
        let init = between(&self.symbols, "_sinittext", "_einittext");
        code.extend(core.map(|range| (range, Code::Function)));
        code.extend(init.map(|range| (range, Code::Discarded)));
        for module in &self.modules {
            let stub = between(&module.symbols, "klp_return_stub", "klp_return_stub_end");
            code.extend(stub.map(|range| (range, Code::ReturnTrampoline(ReturnTrampoline::Patch))));
            code.extend(module.text.iter().map(|range| (*range, Code::Function)));
        }
        self.core = core.into_iter().chain(init).collect();
        self.code = code;
        if self.table.is_some() {
            self.unwind_info = UnwindInfo::Tables(match self.layout.get("ORC_TYPE_UNDEFINED") {
                Some(_) => TableFormat::SignalBit,
                None => TableFormat::EndBit,
            });
        }
    }
}

/// More bytes than any trampoline has.
const MAX_TRAMPOLINE: u64 = 4096;

/// Whether an address is in one of these ranges.
fn holds(ranges: &[Range], addr: Addr) -> bool {
    ranges.iter().any(|range| range.contains(addr))
}

/// The kernel's own unwind table, where it has one.
fn core_table(space: &Space, symbols: &Symbols) -> Option<OwnedTable> {
    let (ip, end) = (symbols.addr("__start_orc_unwind_ip")?, symbols.addr("__stop_orc_unwind_ip")?);
    OwnedTable::read(space, ip, symbols.addr("__start_orc_unwind")?, end.checked_sub(ip)? / 4)
}

/// The symbols of a vmlinux that is the dumped kernel's own.
fn from_vmlinux(file: &Path, info: &VmcoreInfo) -> Result<Symbols> {
    let wrong = |what: String| Failure::Usage(format!("--vmlinux {}: {what}", file.display()));
    let data =
        std::fs::read(file).map_err(|error| wrong(format!("{error}; expected the kernel's vmlinux")))?;
    let elf = object::File::parse(data.as_slice()).map_err(|error| {
        wrong(format!("{error}; expected the kernel's ELF file, not the image that boots"))
    })?;
    let id = elf.build_id().ok().flatten();
    let id = id.map(|id| id.iter().map(|byte| format!("{byte:02x}")).collect::<String>());
    let offset = info.hex("KERNELOFFSET").unwrap_or(0);
    let symbols = Symbols::vmlinux(&elf, offset).map_err(wrong)?;
    let same = match (&id, info.get("BUILD-ID")) {
        (Some(id), Some(dumped)) => id == dumped,
        // It can still be told by where its text is.
        _ => symbols.addr("_stext") == info.symbol("_stext"),
    };
    if !same {
        let dumped = info.get("BUILD-ID").unwrap_or("unknown");
        return Err(wrong(format!(
            "it is not the vmlinux of the dumped kernel: its build id is {}, the dump's {dumped}",
            id.as_deref().unwrap_or("unknown")
        ))
        .into());
    }
    Ok(symbols)
}
