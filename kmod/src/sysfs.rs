// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! A patch's directory under `/sys/kernel/klp`.

use core::ffi::c_void;
use core::ptr::{self, NonNull};

use klp_core::patch::Patch;
use klp_core::platform::{Errno, List};

use crate::alloc::{self, KList};
use crate::ffi::{self, KlpIndex};
use crate::platform::{Kernel, errno};

const KIND_PATCH: u32 = 0;
const KIND_OBJECT: u32 = 1;
const KIND_FUNC: u32 = 2;

/// The directories of one patch, in the order in which they were made. Dropping it removes them, and waits for readers
/// and writers of their files, who may wait for the engine's lock: it must not be held then.
#[derive(Default)]
pub(crate) struct Directory {
    nodes: KList<NonNull<c_void>>,
}

impl Directory {
    /// Makes the directories of `patch`, its objects and their functions.
    pub(crate) fn new(patch: &Patch<Kernel>) -> Result<Directory, (Errno, Directory)> {
        let mut directory = Directory::default();
        match directory.fill(patch) {
            Ok(()) => Ok(directory),
            Err(errno) => Err((errno, directory)),
        }
    }

    fn fill(&mut self, patch: &Patch<Kernel>) -> Result<(), Errno> {
        let id = patch.id().0;
        let at = |object, func| KlpIndex { patch: id, object, func };
        let top = self.add(None, KIND_PATCH, at(0, 0), patch.name.as_ptr(), 0)?;
        for (index, object) in (0..).zip(patch.objects.iter()) {
            let name = object.name.map_or(c"vmlinux".as_ptr(), |name| name.as_ptr());
            let above = self.add(Some(top), KIND_OBJECT, at(index, 0), name, 0)?;
            for (number, func) in (0..).zip(object.funcs.iter()) {
                let (name, position) = (func.name.as_ptr(), func.position.max(1));
                self.add(Some(above), KIND_FUNC, at(index, number), name, position)?;
            }
        }
        Ok(())
    }

    fn add(
        &mut self,
        parent: Option<NonNull<c_void>>,
        kind: u32,
        index: KlpIndex,
        name: *const core::ffi::c_char,
        position: u64,
    ) -> Result<NonNull<c_void>, Errno> {
        self.nodes.try_reserve(1).map_err(|_| Errno::ENOMEM)?;
        // SAFETY: a constant.
        let node = alloc::alloc(unsafe { ffi::klp_shim_node_size() }).map_err(|_| Errno::ENOMEM)?;
        let parent = parent.map_or(ptr::null_mut(), NonNull::as_ptr);
        // SAFETY: zeroed memory of the size that the shim asked for, which it takes over; the parent is a node that was
        // added and not removed; the name is a C string of the patch.
        errno(unsafe { ffi::klp_shim_node_add(node.as_ptr(), parent, kind, index, name, position) })?;
        self.nodes.try_push(node).map_err(|_| Errno::ENOMEM)?;
        Ok(node)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        for node in self.nodes.iter().rev() {
            // SAFETY: added, not yet removed, and its children are gone: they were made later.
            unsafe { ffi::klp_shim_node_del(node.as_ptr()) };
        }
    }
}
