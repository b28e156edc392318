// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Writing a patch module's text and data: `shim/patch_text.c`.

use core::ffi::c_void;
use core::ptr::NonNull;

use klp_core::Addr;
use klp_core::platform::{List, NoMemory, Write};

use crate::alloc::{self, KList};
use crate::ffi;

/// A page of a module, mapped a second time so that it can be written.
struct Page {
    at: Addr,
    mapped: NonNull<c_void>,
}

impl Page {
    fn map(at: Addr) -> Result<Page, NoMemory> {
        if alloc::fault_due() {
            return Err(NoMemory);
        }
        // SAFETY: process context; the page is of a patch module, which stays as long as the engine knows the patch.
        let mapped = NonNull::new(unsafe { ffi::klp_shim_page_map(at) }).ok_or(NoMemory)?;
        Ok(Page { at, mapped })
    }
}

impl Drop for Page {
    fn drop(&mut self) {
        // SAFETY: mapped in `map`, and nobody uses the mapping any more.
        unsafe { ffi::klp_shim_page_unmap(self.mapped.as_ptr()) };
    }
}

/// Does all the writes or, without memory for all the mappings, none.
pub(crate) fn write(writes: &[Write]) -> Result<(), NoMemory> {
    // SAFETY: a constant.
    let size = unsafe { ffi::klp_shim_page_size } as u64;
    let mut pages = KList::<Page>::default();
    for Write { at, code } in writes {
        let last = at + code.as_bytes().len().saturating_sub(1) as u64;
        for at in [at - at % size, last - last % size] {
            if !pages.iter().any(|page| page.at == at) {
                pages.try_push(Page::map(at)?)?;
            }
        }
    }
    for Write { at, code } in writes {
        for (addr, byte) in (*at..).zip(code.as_bytes()) {
            let Some(page) = pages.iter().find(|page| addr.wrapping_sub(page.at) < size) else { continue };
            let offset = usize::try_from(addr - page.at).unwrap_or_default();
            // SAFETY: the address is in this page, which is mapped and of which the engine writes what is its own to write.
            unsafe { page.mapped.byte_add(offset).cast::<u8>().write_volatile(*byte) };
        }
    }
    drop(pages);
    for Write { at, code } in writes {
        // SAFETY: process context, memory of a module.
        unsafe { ffi::klp_shim_text_written(*at, code.as_bytes().len()) };
    }
    Ok(())
}
