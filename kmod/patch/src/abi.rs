// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The structures of `include/linux/livepatch.h`, in C's layout. Change both together.

use core::ffi::{c_char, c_int, c_uint, c_ulong, c_void};

/// `struct klp_original`: how a replacement calls the function it replaces.
#[repr(C)]
#[derive(Debug)]
pub struct KlpOriginal {
    /// The only function from which calls reach the original.
    pub caller: *mut c_void,
    /// Address of the original function, filled in when the patch is taken in.
    pub func: *mut c_void,
    /// The static call that is pointed at it; null for a patch in Rust.
    pub key: *mut c_void,
    /// The static call's trampoline.
    pub tramp: *mut c_void,
}

/// `struct klp_func`: a function to be replaced.
#[repr(C)]
#[derive(Debug)]
pub struct KlpFunc {
    /// Name of the function to be replaced.
    pub old_name: *const c_char,
    /// The replacement.
    pub new_func: *mut c_void,
    /// Position among the object's symbols of that name, from 1; 0 if there is only one.
    pub old_sympos: c_ulong,
    /// How the replacement calls the original; may be null.
    pub original: *mut KlpOriginal,
    /// Address of the function, filled in once it is known.
    pub old_func: *mut c_void,
}

/// `struct klp_callbacks`: called around (un)patching an object.
#[repr(C)]
#[derive(Debug)]
pub struct KlpCallbacks {
    /// Before it is patched; an error refuses the patch.
    pub pre_patch: Option<unsafe extern "C" fn(*mut KlpObject) -> c_int>,
    /// After it was patched.
    pub post_patch: Option<unsafe extern "C" fn(*mut KlpObject)>,
    /// Before it is unpatched.
    pub pre_unpatch: Option<unsafe extern "C" fn(*mut KlpObject)>,
    /// After it was unpatched.
    pub post_unpatch: Option<unsafe extern "C" fn(*mut KlpObject)>,
    /// The kernel's own; not used here.
    pub post_unpatch_enabled: bool,
}

/// `struct klp_object`: vmlinux or a module whose functions are replaced.
#[repr(C)]
#[derive(Debug)]
pub struct KlpObject {
    /// The module's name; null for vmlinux.
    pub name: *const c_char,
    /// Its functions; the last one is [`KlpFunc::END`].
    pub funcs: *mut KlpFunc,
    /// May all be `None`.
    pub callbacks: KlpCallbacks,
    /// `struct module`, while it is loaded; null for vmlinux.
    pub module: *mut c_void,
    /// Whether its functions are replaced now.
    pub patched: bool,
}

/// `struct klp_state`: something that a patch changes in the system and that its functions do not hold.
#[repr(C)]
#[derive(Debug)]
pub struct KlpState {
    /// What is changed; not 0.
    pub id: c_ulong,
    /// How; a later patch that changes it too must have this version or a newer one.
    pub version: c_uint,
    /// The patch's own.
    pub data: *mut c_void,
}

/// `KLP_IMMEDIATE`: leave function, switch function.
pub const KLP_IMMEDIATE: c_uint = 1 << 0;
/// `KLP_CONSISTENT_IN_THREAD`: leave kernel, switch thread.
pub const KLP_CONSISTENT_IN_THREAD: c_uint = 1 << 1;
/// `KLP_CONSISTENT_IN_TIME`: leave patched set, switch kernel; with the one above leave kernel, switch kernel.
pub const KLP_CONSISTENT_IN_TIME: c_uint = 1 << 2;

/// `struct klp_patch`: a live patch.
#[repr(C)]
#[derive(Debug)]
pub struct KlpPatch {
    /// `struct module` of the patch module.
    pub module: *mut c_void,
    /// The objects it changes; the last one is [`KlpObject::END`].
    pub objs: *mut KlpObject,
    /// The system states it changes; the last one is [`KlpState::END`]. May be null.
    pub states: *mut KlpState,
    /// Takes the place of all patches enabled before.
    pub replace: bool,
    /// The consistency model: `KLP_…`, or 0.
    pub flags: c_uint,
    /// Whether it is enabled.
    pub enabled: bool,
    /// How the engine names it.
    pub id: u32,
    /// The engine's: the patch enabled before it.
    pub older: *mut KlpPatch,
}

/// `KLP_RELOCATIONS_FORMAT`
pub const KLP_RELOCATIONS_FORMAT: u64 = 1;

/// `struct klp_reloc_symbol`: a symbol that is not exported.
#[repr(C)]
#[derive(Debug)]
pub struct KlpRelocSymbol {
    /// The module's name; null for vmlinux.
    pub object: *const c_char,
    /// Its name.
    pub name: *const c_char,
    /// Position among the object's symbols of that name, from 1; 0 if there is only one.
    pub position: u64,
    /// A function that it is so far behind, in the build in which another is so far behind that. May be null.
    pub anchor: *const c_char,
    /// From the anchor to the symbol.
    pub offset: i64,
    /// The other function.
    pub witness: *const c_char,
    /// From the anchor to the witness.
    pub distance: i64,
}

/// `struct klp_reloc`: a relocation against one.
#[repr(C)]
#[derive(Debug)]
pub struct KlpReloc {
    /// Its address.
    pub place: u64,
    /// The addend.
    pub addend: i64,
    /// The type.
    pub r_type: u32,
    /// Which of the symbols.
    pub symbol: u32,
    /// Bytes from the place to the end of its section.
    pub room: u32,
    /// Zero.
    pub reserved: u32,
}

/// `struct klp_relocations`: what `cargo klp build` makes of references to symbols that are not exported.
#[repr(C)]
#[derive(Debug)]
pub struct KlpRelocations {
    /// [`KLP_RELOCATIONS_FORMAT`]; 0 if there are none.
    pub format: u64,
    /// The relocations.
    pub relocs: *const KlpReloc,
    /// How many.
    pub reloc_count: u64,
    /// The symbols.
    pub symbols: *const KlpRelocSymbol,
    /// How many.
    pub symbol_count: u64,
    /// The slots.
    pub slots: *mut c_void,
    /// How many.
    pub slot_count: u64,
}

impl KlpRelocations {
    /// None, until the module is built.
    pub const NONE: KlpRelocations = KlpRelocations {
        format: 0,
        relocs: core::ptr::null(),
        reloc_count: 0,
        symbols: core::ptr::null(),
        symbol_count: 0,
        slots: core::ptr::null_mut(),
        slot_count: 0,
    };
}

// SAFETY: written by the build only.
unsafe impl Sync for KlpRelocations {}

impl KlpFunc {
    /// What ends an array of functions.
    pub const END: KlpFunc = KlpFunc {
        old_name: core::ptr::null(),
        new_func: core::ptr::null_mut(),
        old_sympos: 0,
        original: core::ptr::null_mut(),
        old_func: core::ptr::null_mut(),
    };
}

impl KlpCallbacks {
    /// No callbacks.
    pub const NONE: KlpCallbacks = KlpCallbacks {
        pre_patch: None,
        post_patch: None,
        pre_unpatch: None,
        post_unpatch: None,
        post_unpatch_enabled: false,
    };
}

impl KlpState {
    /// What ends an array of system states.
    pub const END: KlpState = KlpState { id: 0, version: 0, data: core::ptr::null_mut() };
}

impl KlpObject {
    /// What ends an array of objects.
    pub const END: KlpObject = KlpObject {
        name: core::ptr::null(),
        funcs: core::ptr::null_mut(),
        callbacks: KlpCallbacks::NONE,
        module: core::ptr::null_mut(),
        patched: false,
    };
}

// The offsets that shim/main.c asserts of the C structures.
const _: () = assert!(size_of::<KlpRelocSymbol>() == 56 && size_of::<KlpReloc>() == 32);
const _: () = assert!(size_of::<KlpRelocations>() == 56);
const _: () = assert!(size_of::<KlpOriginal>() == 32 && size_of::<KlpFunc>() == 40);
const _: () = assert!(core::mem::offset_of!(KlpObject, patched) == 64 && size_of::<KlpObject>() == 72);
const _: () = assert!(core::mem::offset_of!(KlpState, data) == 16 && size_of::<KlpState>() == 24);
const _: () = assert!(
    core::mem::offset_of!(KlpPatch, flags) == 28
        && core::mem::offset_of!(KlpPatch, enabled) == 32
        && core::mem::offset_of!(KlpPatch, id) == 36
        && size_of::<KlpPatch>() == 48
);
