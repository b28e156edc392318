// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The patch that a module declares (`struct klp_patch` of `kmod/include/linux/livepatch.h`), read from its file.

use core::mem::{offset_of, size_of};

use klp_patch::abi::{KlpFunc, KlpObject, KlpPatch};

use super::file::{File, Place};

/// What a patch replaces.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Declared {
    pub(super) objects: Vec<Target>,
}

/// vmlinux or a module.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Target {
    /// `None`: vmlinux.
    pub(super) module: Option<String>,
    pub(super) funcs: Vec<Func>,
}

/// A function to be replaced.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Func {
    /// `None`: the patch does not say, and will be refused.
    pub(super) name: Option<String>,
    /// From 1; 0 if there is only one of that name.
    pub(super) position: u64,
    pub(super) replacement: Replacement,
}

/// What runs instead.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Replacement {
    None,
    Here(Place),
    /// A function of the kernel's or of another module's.
    Elsewhere(String),
}

/// Longer arrays are taken for a sign that what was found is none.
const MANY: usize = 4096;

/// The patches that are declared as data. One that a module puts together while it runs cannot be found.
///
/// A patch is what has its size and begins with a pointer to the module itself; nothing else has both in modules that the
/// SDK builds, since it would have to be `struct module`'s owner field in a structure of exactly this size that points to
/// an array of objects next.
pub(super) fn declared(file: &File<'_>) -> Vec<Declared> {
    let is_patch = |place: &Place| {
        let module = file.pointer(place.plus(offset_of!(KlpPatch, module)));
        module.is_some_and(|module| file.is_symbol(module, "__this_module"))
    };
    let patches = file.data_of_size(size_of::<KlpPatch>()).filter(is_patch);
    patches.filter_map(|place| Some(Declared { objects: objects(file, place)? })).collect()
}

fn objects(file: &File<'_>, patch: Place) -> Option<Vec<Target>> {
    let first = file.pointer(patch.plus(offset_of!(KlpPatch, objs)))?;
    let mut found = Vec::new();
    for index in 0..MANY {
        let object = first.plus(index * size_of::<KlpObject>());
        let name = file.pointer(object.plus(offset_of!(KlpObject, name)));
        let first_func = file.pointer(object.plus(offset_of!(KlpObject, funcs)));
        if name.is_none() && first_func.is_none() {
            break;
        }
        let module = match name {
            Some(name) => Some(file.string(name)?.to_owned()),
            None => None,
        };
        found.push(Target { module, funcs: first_func.map_or(Vec::new(), |first| funcs(file, first)) });
    }
    Some(found)
}

fn funcs(file: &File<'_>, first: Place) -> Vec<Func> {
    let entry = |index: usize| {
        let func = first.plus(index * size_of::<KlpFunc>());
        let name = file.pointer(func.plus(offset_of!(KlpFunc, old_name)));
        let code = func.plus(offset_of!(KlpFunc, new_func));
        let position = file.u64(func.plus(offset_of!(KlpFunc, old_sympos)));
        let replacement = match (file.pointer(code), file.imported(code)) {
            (Some(place), _) => Replacement::Here(place),
            (None, Some(symbol)) => Replacement::Elsewhere(symbol.to_owned()),
            (None, None) => Replacement::None,
        };
        if name.is_none() && replacement == Replacement::None && position == 0 {
            return None;
        }
        Some(Func { name: name.and_then(|name| file.string(name)).map(str::to_owned), position, replacement })
    };
    (0..MANY).map_while(entry).collect()
}
