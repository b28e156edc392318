// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Each architecture's page tables: where the kernel's are, and what their entries say.

use klp_core::Endian;

pub use super::elf::Note;
pub use super::paging::{Entry, Level, Tables};
pub use super::vmcoreinfo::VmcoreInfo;

/// Where a kernel's own page tables are, and what their entries say, for one architecture. From the dump's `VMCOREINFO` and the
/// notes that it has of processors; an error says what is not there.
///
/// ```
/// use klp_core::Endian;
/// use klp_host::dump::mmu::{Entry, PageTables, Tables};
///
/// /// Three levels above pages of 4 KiB; bit 0: valid, bit 1: memory, bit 2: executable.
/// const PAGE_TABLES: PageTables = PageTables(|info, _| {
///     let root = info.symbol("swapper_pg_dir").ok_or("VMCOREINFO has no SYMBOL(swapper_pg_dir)")?;
///     Ok(Tables {
///         root: root & 0xff_ffff_ffff,
///         levels: Tables::levels(12, 9, 39),
///         above: u64::MAX << 39,
///         endian: Endian::Little,
///         decode: |entry, level| match entry & 3 {
///             1 => Entry::Table(entry & !0xfff),
///             3 => Entry::Memory { addr: entry & !(level.size() - 1), exec: entry & 4 != 0 },
///             _ => Entry::Absent,
///         },
///     })
/// });
/// ```
#[derive(Clone, Copy, Debug)]
pub struct PageTables(pub fn(&VmcoreInfo, &[Note]) -> Result<Tables, String>);

pub(crate) const X86_64: PageTables = PageTables(x86_64);
pub(crate) const ARM64: PageTables = PageTables(arm64);
pub(crate) const PPC64: PageTables = PageTables(ppc64);
pub(crate) const S390: PageTables = PageTables(s390);
pub(crate) const RISCV64: PageTables = PageTables(riscv64);

fn lacks(what: &str) -> String {
    format!("the kernel's VMCOREINFO has no {what}, so its page tables cannot be found")
}

fn symbol(info: &VmcoreInfo, name: &str) -> Result<u64, String> {
    info.symbol(name).ok_or_else(|| lacks(&format!("SYMBOL({name})")))
}

/// A number that may be written as signed or unsigned.
fn number(info: &VmcoreInfo, name: &str) -> Result<u64, String> {
    let number = info.number(name).ok_or_else(|| lacks(&format!("NUMBER({name})")))?;
    // Two's complement either way.
    u64::try_from(number).or_else(|_| i64::try_from(number).map(i64::cast_unsigned)).map_err(|_| lacks(name))
}

fn page_shift(info: &VmcoreInfo) -> Result<u32, String> {
    let size: Option<u64> = info.get("PAGESIZE").and_then(|size| size.parse().ok());
    let shift = size.filter(|size| size.is_power_of_two()).map(u64::trailing_zeros);
    shift.filter(|shift| (12..=16).contains(shift)).ok_or_else(|| lacks("usable PAGESIZE"))
}

/// Bits `from` to 51.
const fn physical(entry: u64, from: u32) -> u64 {
    entry & ((1 << 52) - 1) & !((1 << from) - 1)
}

/// x86_64: four or five levels (SDM vol. 3, "4-Level Paging and 5-Level Paging"). The kernel's image is mapped at
/// `__START_KERNEL_map` plus its distance from where it was linked to run (`phys_base`).
fn x86_64(info: &VmcoreInfo, _: &[Note]) -> Result<Tables, String> {
    const START_KERNEL_MAP: u64 = 0xffff_ffff_8000_0000;
    const PRESENT: u64 = 1;
    const PAGE_SIZE: u64 = 1 << 7;
    const NO_EXEC: u64 = 1 << 63;
    let root = symbol(info, "init_top_pgt")?.wrapping_sub(START_KERNEL_MAP);
    let root = root.wrapping_add(number(info, "phys_base")?);
    let width = if info.number("pgtable_l5_enabled") == Some(1) { 57 } else { 48 };
    Ok(Tables {
        root,
        levels: Tables::levels(12, 9, width),
        above: u64::MAX << width,
        endian: Endian::Little,
        decode: |entry, level| {
            if entry & PRESENT == 0 {
                Entry::Absent
            } else if level.shift == 12 || entry & PAGE_SIZE != 0 {
                Entry::Memory { addr: physical(entry, level.shift), exec: entry & NO_EXEC == 0 }
            } else {
                Entry::Table(physical(entry, 12))
            }
        },
    })
}

/// arm64: the upper half's tables (Arm ARM D8, "VMSAv8-64 translation table format descriptors"). The kernel's image is
/// mapped at one distance from where it lies (`kimage_voffset`).
fn arm64(info: &VmcoreInfo, _: &[Note]) -> Result<Tables, String> {
    const VALID: u64 = 1;
    const TABLE_OR_PAGE: u64 = 1 << 1;
    const PRIVILEGED_NO_EXEC: u64 = 1 << 53;
    const ADDRESS: u64 = (1 << 48) - 1;
    let page_shift = page_shift(info)?;
    let width = 64 - u32::try_from(number(info, "TCR_EL1_T1SZ")?).unwrap_or(16).clamp(12, 39);
    let root = symbol(info, "swapper_pg_dir")?.wrapping_sub(number(info, "kimage_voffset")?);
    Ok(Tables {
        root,
        levels: Tables::levels(page_shift, page_shift - 3, width),
        above: u64::MAX << width,
        endian: Endian::Little,
        decode: |entry, level| {
            // The last level is told by its size: the smallest table of the next level would be a block of 512 pages.
            let last = level.shift <= 16;
            if entry & VALID == 0 || last && entry & TABLE_OR_PAGE == 0 {
                Entry::Absent
            } else if last || entry & TABLE_OR_PAGE == 0 {
                let addr = entry & ADDRESS & !(level.size() - 1);
                Entry::Memory { addr, exec: entry & PRIVILEGED_NO_EXEC == 0 }
            } else {
                Entry::Table(entry & ADDRESS & !0xfff)
            }
        },
    })
}

/// ppc64: the radix tree (Power ISA Book III, "Radix Tree Translation"), whose entries are big endian always. The kernel
/// and all memory are mapped at `PAGE_OFFSET`; the tree has that too.
fn ppc64(info: &VmcoreInfo, _: &[Note]) -> Result<Tables, String> {
    const PAGE_OFFSET: u64 = 0xc000_0000_0000_0000;
    const VALID: u64 = 1 << 63;
    const LEAF: u64 = 1 << 62;
    const EXECUTE: u64 = 1;
    let page_shift = page_shift(info)?;
    // 13, 9 and 9 bits, and what the page leaves of 21 (`asm/book3s/64/radix.h`).
    let levels = [(39, 13), (30, 9), (21, 9), (page_shift, 21 - page_shift)]
        .map(|(shift, bits)| Level { shift, bits });
    Ok(Tables {
        root: symbol(info, "swapper_pg_dir")? & !PAGE_OFFSET,
        levels: levels.to_vec(),
        above: PAGE_OFFSET,
        endian: Endian::Big,
        decode: |entry, level| {
            if entry & VALID == 0 {
                Entry::Absent
            } else if entry & LEAF != 0 {
                let addr = entry & 0x01ff_ffff_ffff_f000 & !(level.size() - 1);
                Entry::Memory { addr, exec: entry & EXECUTE != 0 }
            } else {
                Entry::Table(entry & 0x0fff_ffff_ffff_ff00)
            }
        },
    })
}

/// s390: region, segment and page tables (PoP ch. 3, "Dynamic Address Translation"), whose origin and outermost kind are
/// in the home-space ASCE: control register 13, which the kernel gives its own (`arch/s390/boot/vmem.c`).
fn s390(_: &VmcoreInfo, notes: &[Note]) -> Result<Tables, String> {
    const INVALID_TABLE: u64 = 0x20;
    const INVALID_PAGE: u64 = 0x400;
    const LARGE: u64 = 0x400;
    const NO_EXEC: u64 = 0x100;
    let registers = notes.iter().find(|note| note.kind == object::elf::NT_S390_CTRS);
    let asce = registers
        .and_then(|note| note.data.get(13 * 8..)?.first_chunk())
        .map(|bytes| u64::from_be_bytes(*bytes));
    let asce = asce.filter(|asce| asce & INVALID_TABLE == 0).ok_or(
        "the dump has no note with a processor's control registers (NT_S390_CTRS), so the kernel's page tables cannot be found",
    )?;
    let all = [(53, 11), (42, 11), (31, 11), (20, 11), (12, 8)].map(|(shift, bits)| Level { shift, bits });
    // Designation type: 3 region-first, 2 region-second, 1 region-third, 0 segment.
    let outermost = match asce >> 2 & 3 {
        3 => 0,
        2 => 1,
        1 => 2,
        _ => 3,
    };
    Ok(Tables {
        root: asce & !0xfff,
        levels: all[outermost..].to_vec(),
        above: 0,
        endian: Endian::Big,
        decode: |entry, level| match level.shift {
            12 if entry & INVALID_PAGE != 0 => Entry::Absent,
            12 => Entry::Memory { addr: entry & !0xfff, exec: entry & NO_EXEC == 0 },
            _ if entry & INVALID_TABLE != 0 => Entry::Absent,
            20 | 31 if entry & LARGE != 0 => {
                Entry::Memory { addr: entry & !(level.size() - 1), exec: entry & NO_EXEC == 0 }
            }
            // A page table is 2 KiB, the others are pages.
            20 => Entry::Table(entry & !0x7ff),
            _ => Entry::Table(entry & !0xfff),
        },
    })
}

/// riscv64: Sv39, Sv48 or Sv57 (Privileged ISA, "Supervisor-Level Page-Based Virtual Memory"). The kernel's image is mapped at one
/// distance from where it lies (`va_kernel_pa_offset`).
fn riscv64(info: &VmcoreInfo, _: &[Note]) -> Result<Tables, String> {
    const VALID: u64 = 1;
    const LEAF: u64 = 7 << 1;
    const EXECUTE: u64 = 1 << 3;
    /// Of several pages (`Svnapot`), whose number is in the low bits of the page's.
    const NAPOT: u64 = 1 << 63;
    let width = number(info, "VA_BITS")?;
    let width = u32::try_from(width).ok().filter(|width| matches!(width, 39 | 48 | 57));
    let width = width.ok_or_else(|| lacks("usable NUMBER(VA_BITS)"))?;
    Ok(Tables {
        root: symbol(info, "swapper_pg_dir")?.wrapping_sub(number(info, "va_kernel_pa_offset")?),
        levels: Tables::levels(12, 9, width),
        above: u64::MAX << width,
        endian: Endian::Little,
        decode: |entry, level| {
            let addr = (entry >> 10 & ((1 << 44) - 1)) << 12;
            if entry & VALID == 0 || entry & NAPOT != 0 {
                Entry::Absent
            } else if entry & LEAF != 0 {
                Entry::Memory { addr: addr & !(level.size() - 1), exec: entry & EXECUTE != 0 }
            } else {
                Entry::Table(addr)
            }
        },
    })
}
