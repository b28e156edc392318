// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! `struct klp_patch` of `include/linux/livepatch.h`, read into the engine's model.

use core::ffi::{CStr, c_void};
use core::ptr::NonNull;

use klp_core::Error;
use klp_core::patch::{Model, Object, Patch, State};
use klp_core::patch_relocs::{Anchor, Relocations};
use klp_core::platform::{List, Range};
use klp_core::system_state::SystemState;
use klp_patch::abi::{
    KLP_CONSISTENT_IN_THREAD, KLP_CONSISTENT_IN_TIME, KLP_IMMEDIATE, KLP_RELOCATIONS_FORMAT,
};

use crate::ffi::{
    self, KlpFunc, KlpModule, KlpObject, KlpOriginal, KlpPatch, KlpRelocSymbol, KlpRelocations, KlpState,
};
use crate::platform::{Kernel, Name};

/// Reads a patch as its module declares it.
///
/// # Errors
///
/// A missing objects array or functions array, flags that name no consistency model, and failed allocations. What the
/// patch says is checked by the engine.
///
/// # Safety
///
/// `patch` is a patch of a module that stays loaded as long as the engine knows the patch; its arrays end as
/// `klp_for_each_object_static` and `klp_for_each_func_static` say, the states with the id 0. `relocations` is null, or that
/// module's, as `cargo klp build` filled them in.
pub(crate) unsafe fn read(
    patch: NonNull<KlpPatch>,
    relocations: *const KlpRelocations,
) -> Result<Patch<Kernel>, Error<Name>> {
    // SAFETY: the caller's promise.
    let declared = unsafe { patch.as_ref() };
    let module = module(declared.module)?;
    // SAFETY: a module's name lives as long as the module.
    let name = unsafe { Name::new(module.name) }.ok_or(Error::Empty)?;
    let mut read = Patch::<Kernel>::new(name, declared.replace, module.text);
    read.model = model(declared.flags)?;
    // SAFETY: an array of states, ended as the caller promised.
    for state in unsafe { states(declared.states) } {
        // SAFETY: an element of the array. Its data, which the patch may be changing, is not looked at.
        let (id, version) = unsafe { ((*state.as_ptr()).id, (*state.as_ptr()).version) };
        read.states.try_push(SystemState { id, version })?;
    }
    // SAFETY: an objects array, ended as the caller promised.
    for object in unsafe { objects(declared.objs) } {
        // SAFETY: the object's name is NULL or a C string in the module.
        let object_name = unsafe { Name::new((*object.as_ptr()).name) };
        // SAFETY: as above.
        if unsafe { (*object.as_ptr()).funcs }.is_null() {
            return Err(Error::NoFunctions { object: object_name });
        }
        let target = read.add_object(object_name, object.as_ptr())?;
        // SAFETY: a functions array, ended as the caller promised.
        for func in unsafe { funcs((*object.as_ptr()).funcs) } {
            // SAFETY: an element of the array; nobody else refers to it while it is read.
            let func = unsafe { func.as_ref() };
            // SAFETY: NULL or a C string in the module.
            let Some(name) = (unsafe { Name::new(func.old_name) }) else {
                return Err(Error::NoName { object: object_name });
            };
            let replacement = func.new_func as u64;
            let caller = original_caller(name, func.original)?;
            target.add_func(name, func.old_sympos, replacement, caller)?;
        }
    }
    // SAFETY: null or the module's.
    if let Some(relocations) = unsafe { relocations.as_ref() }.filter(|declared| declared.format != 0) {
        // SAFETY: filled in, as the caller promised.
        unsafe { read_relocations(relocations, &mut read.relocations) }?;
    }
    Ok(read)
}

/// # Safety
///
/// As for [`read`]; they are filled in.
unsafe fn read_relocations(
    declared: &KlpRelocations,
    read: &mut Relocations<Kernel>,
) -> Result<(), Error<Name>> {
    if declared.format != KLP_RELOCATIONS_FORMAT {
        return Err(Error::BadRelocations);
    }
    let counts = [declared.symbol_count, declared.reloc_count, declared.slot_count];
    let [symbols, relocs, slots] = counts.map(|count| usize::try_from(count).unwrap_or(0));
    if symbols == 0 || relocs == 0 || declared.symbols.is_null() || declared.relocs.is_null() {
        return Err(Error::BadRelocations);
    }
    // SAFETY: an array of the module's with so many elements.
    for symbol in unsafe { core::slice::from_raw_parts(declared.symbols, symbols) } {
        // SAFETY: NULL, or C strings in the module.
        let (object, name) = unsafe { (Name::new(symbol.object), Name::new(symbol.name)) };
        read.add_symbol(object, name.ok_or(Error::BadRelocations)?, symbol.position)?;
        // SAFETY: as above.
        let functions = unsafe { (Name::new(symbol.anchor), Name::new(symbol.witness)) };
        if let (Some(anchor), Some(witness)) = functions {
            let KlpRelocSymbol { offset, distance, .. } = *symbol;
            read.set_anchor(Anchor { anchor, offset, witness, distance });
        }
    }
    // SAFETY: as above.
    for reloc in unsafe { core::slice::from_raw_parts(declared.relocs, relocs) } {
        read.add(reloc.place, reloc.r_type, reloc.symbol, reloc.addend, reloc.room)?;
    }
    read.set_slots(declared.slots as u64, slots)?;
    Ok(())
}

/// The consistency model that `klp_patch.flags` asks for.
fn model(flags: u32) -> Result<Model, Error<Name>> {
    const BOTH: u32 = KLP_CONSISTENT_IN_THREAD | KLP_CONSISTENT_IN_TIME;
    match flags {
        0 => Ok(Model::Hybrid),
        KLP_IMMEDIATE => Ok(Model::Immediate),
        KLP_CONSISTENT_IN_THREAD => Ok(Model::InThread),
        KLP_CONSISTENT_IN_TIME => Ok(Model::InTime),
        BOTH => Ok(Model::Checkpoint),
        _ if flags & !(KLP_IMMEDIATE | BOTH) != 0 => Err(Error::UnknownFlags { flags }),
        _ => Err(Error::ContradictoryFlags { flags }),
    }
}

fn module(module: *mut c_void) -> Result<KlpModule, Error<Name>> {
    let module = NonNull::new(module).ok_or(Error::Empty)?;
    let mut info = KlpModule { name: core::ptr::null(), text: Range::default() };
    // SAFETY: `struct module` of the patch module, which is calling us.
    unsafe { ffi::klp_shim_module_info(module.as_ptr(), &raw mut info) };
    Ok(info)
}

/// The body of the function that calls the original, if the patch has one.
fn original_caller(func: Name, original: *mut KlpOriginal) -> Result<Range, Error<Name>> {
    let Some(original) = NonNull::new(original) else { return Ok(Range::default()) };
    // SAFETY: the patch module's `struct klp_original`.
    let start = unsafe { (*original.as_ptr()).caller } as u64;
    // SAFETY: takes any address.
    let size = unsafe { ffi::klp_shim_function_size(start) };
    // Without its size no call would be known for one to the original: it would reach the replacement, for ever.
    if size == 0 { Err(Error::NoOriginalCaller { func }) } else { Ok(Range { start, size }) }
}

/// The objects of an array that ends with one that has neither name nor functions.
///
/// # Safety
///
/// `first` is NULL or starts such an array.
pub(crate) unsafe fn objects(first: *mut KlpObject) -> impl Iterator<Item = NonNull<KlpObject>> {
    let mut next = NonNull::new(first);
    core::iter::from_fn(move || {
        let object = next?;
        // SAFETY: not behind the last element, which the previous call would have ended at.
        let (element, after) = unsafe { (object.as_ref(), object.add(1)) };
        next = Some(after);
        if element.name.is_null() && element.funcs.is_null() {
            next = None;
            return None;
        }
        Some(object)
    })
}

/// The functions of an array that ends with one that has neither name nor replacement nor position.
///
/// # Safety
///
/// `first` is NULL or starts such an array.
pub(crate) unsafe fn funcs(first: *mut KlpFunc) -> impl Iterator<Item = NonNull<KlpFunc>> {
    let mut next = NonNull::new(first);
    core::iter::from_fn(move || {
        let func = next?;
        // SAFETY: not behind the last element, which the previous call would have ended at.
        let (element, after) = unsafe { (func.as_ref(), func.add(1)) };
        next = Some(after);
        if element.old_name.is_null() && element.new_func.is_null() && element.old_sympos == 0 {
            next = None;
            return None;
        }
        Some(func)
    })
}

/// The system states of an array that ends with one whose id is 0.
///
/// # Safety
///
/// `first` is NULL or starts such an array.
pub(crate) unsafe fn states(first: *mut KlpState) -> impl Iterator<Item = NonNull<KlpState>> {
    let mut next = NonNull::new(first);
    core::iter::from_fn(move || {
        let state = next?;
        // SAFETY: not behind the last element, which the previous call would have ended at.
        let (id, after) = unsafe { ((*state.as_ptr()).id, state.add(1)) };
        next = (id != 0).then_some(after);
        (id != 0).then_some(state)
    })
}

/// Fills in `klp_object.mod` for the modules that are loaded, before callbacks run.
///
/// # Safety
///
/// As for [`read`]; the lock is held.
pub(crate) unsafe fn set_loaded_modules(patch: NonNull<KlpPatch>) {
    // SAFETY: the caller's promise; names are NULL or C strings, the field written is ours alone.
    unsafe {
        for object in objects((*patch.as_ptr()).objs) {
            let name = (*object.as_ptr()).name;
            let loaded = !name.is_null() && ffi::klp_shim_object_loaded(name);
            (*object.as_ptr()).module =
                if loaded { ffi::klp_shim_find_module(name) } else { core::ptr::null_mut() };
        }
    }
}

/// Fills in `klp_object.mod` for the module of this name: before callbacks run for a module that comes, and null after they
/// ran for one that goes.
///
/// # Safety
///
/// As for [`read`]; the lock is held.
pub(crate) unsafe fn set_module(patch: NonNull<KlpPatch>, name: &CStr, module: *mut c_void) {
    // SAFETY: the caller's promise; names are NULL or C strings, the field written is ours alone.
    unsafe {
        for object in objects((*patch.as_ptr()).objs) {
            let object = object.as_ptr();
            if !(*object).name.is_null() && CStr::from_ptr((*object).name) == name {
                (*object).module = module;
            }
        }
    }
}

/// Writes what the engine found out back to where the patch module can see it.
///
/// # Safety
///
/// As for [`read`]; the lock is held.
pub(crate) unsafe fn write_back(patch: NonNull<KlpPatch>, known: &Patch<Kernel>) {
    // SAFETY: the caller's promise; the fields written are ours alone.
    unsafe {
        (*patch.as_ptr()).enabled = known.state() == State::Enabled;
        (*patch.as_ptr()).id = known.id().0;
        for (declared, object) in objects((*patch.as_ptr()).objs).zip(known.objects.iter()) {
            write_object(declared, object);
        }
    }
}

/// Of one object only.
///
/// # Safety
///
/// As for [`write_back`]; `declared` is what `object` was read from.
pub(crate) unsafe fn write_object(declared: NonNull<KlpObject>, object: &Object<Kernel>) {
    // SAFETY: the caller's promise; the fields written are ours alone.
    unsafe {
        (*declared.as_ptr()).patched = object.is_patched();
        for (declared, func) in funcs((*declared.as_ptr()).funcs).zip(object.funcs.iter()) {
            let addr = func.site().map_or(0, |site| site.function) as *mut c_void;
            (*declared.as_ptr()).old_func = addr;
            if let Some(original) = NonNull::new((*declared.as_ptr()).original) {
                ffi::klp_shim_set_original(original.as_ptr(), addr);
            }
        }
    }
}
