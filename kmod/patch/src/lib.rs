// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live patches written in Rust.
//!
//! A patch is a crate root with replacement functions, which are `extern "C"` with the signature of the function they
//! replace, and one [`patch!`]:
//!
//! ```ignore
//! #![no_std]
//!
//! use core::ffi::{c_char, c_int, c_void};
//!
//! unsafe extern "C" {
//!     fn seq_printf(file: *mut c_void, format: *const c_char, ...);
//! }
//!
//! unsafe extern "C" fn patched_show(file: *mut c_void, _: *mut c_void) -> c_int {
//!     unsafe { seq_printf(file, c"%s\n".as_ptr(), c"this has been live patched".as_ptr()) };
//!     0
//! }
//!
//! klp_patch::patch! {
//!     description: "/proc/cmdline says that it was patched",
//!     vmlinux { "cmdline_proc_show" => patched_show },
//! }
//! ```
//!
//! It says the same things as a patch in C (`include/linux/livepatch.h`), and becomes the same module.
#![no_std]

pub mod abi;
mod object;
mod shadow;
mod state;

#[doc(hidden)]
pub mod module;

#[doc(hidden)]
pub use object::answer;
pub use object::{Errno, Object};
pub use shadow::{Gfp, Shadow};
pub use state::{State, state};

/// Declares the patch that a module carries, and the module itself.
///
/// ```text
/// patch! {
///     description: "…",
///     replace: true,                                    // optional: a cumulative patch
///     consistency: in_thread,                           // optional: see below
///     states: [STATE version 1],                        // optional: system states, by their ids, which are c_ulong
///     vmlinux {
///         pre_patch: prepare,                           // optional: callbacks
///         "function" => replacement,
///         "static_function"[2] => replacement,          // the second of that name, in the order of kallsyms
///         "function" => replacement calling ORIGINAL,   // with original!
///     },
///     module "name" { … },
/// }
/// ```
///
/// `consistency` says when a task is switched to the replacements, and what is switched at once:
///
/// | | leave | switch |
/// |---|---|---|
/// | `hybrid`, without it | patched set | thread |
/// | `immediate` | function | function |
/// | `in_thread` | kernel | thread |
/// | `in_time` | patched set | kernel |
/// | `checkpoint` | kernel | kernel |
///
/// Callbacks are `pre_patch`, a `fn(&Object) -> Result<(), Errno>`, and `post_patch`, `pre_unpatch` and `post_unpatch`, each a
/// `fn(&Object)`.
///
/// The module enables the patch when it is loaded; if that is refused it does not stay loaded, and the kernel log says
/// why.
#[macro_export]
macro_rules! patch {
    (description: $description:literal, $($rest:tt)*) => {
        #[unsafe(no_mangle)]
        #[unsafe(link_section = ".modinfo")]
        static __klp_modinfo: [u8; $crate::__modinfo!($description).len()] =
            $crate::module::bytes($crate::__modinfo!($description));

        $crate::__patch! { [false] [0] [] $($rest)* }

        #[unsafe(no_mangle)]
        extern "C" fn init_module() -> ::core::ffi::c_int {
            // SAFETY: called once, when the module is loaded; the patch lives as long as the module.
            unsafe { $crate::module::klp_sdk_enable_patch(&raw mut __klp_patch, &raw const __KLP_RELOCATIONS) }
        }

        // Filled in by the build. Reached through its address only, so that nobody takes it for the zeroes it is here.
        #[unsafe(link_section = ".klp.relocations")]
        static __KLP_RELOCATIONS: $crate::abi::KlpRelocations = $crate::abi::KlpRelocations::NONE;

        #[unsafe(no_mangle)]
        extern "C" fn cleanup_module() {}

        // The kernel calls both through pointers: this tells objtool, which takes the landing pads of other functions away
        // (___ADDRESSABLE in include/linux/module.h).
        #[unsafe(no_mangle)]
        static __klp_module_entry: (extern "C" fn() -> ::core::ffi::c_int, extern "C" fn()) =
            (init_module, cleanup_module);
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __modinfo {
    ($description:literal) => {
        ::core::concat!("license=Dual MIT/GPL\0description=", $description, "\0klp_livepatch=Y\0")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __patch {
    ([$_:expr] [$flags:expr] [$($states:tt)*] replace: $replace:literal, $($rest:tt)*) => {
        $crate::__patch! { [$replace] [$flags] [$($states)*] $($rest)* }
    };
    ([$replace:expr] [$_:expr] [$($states:tt)*] consistency: $model:ident, $($rest:tt)*) => {
        $crate::__patch! { [$replace] [$crate::__flags!($model)] [$($states)*] $($rest)* }
    };
    ([$replace:expr] [$flags:expr] [] states: [$($states:tt)*], $($rest:tt)*) => {
        $crate::__patch! { [$replace] [$flags] [$($states)*] $($rest)* }
    };
    ([$replace:expr] [$flags:expr] [$($id:tt version $version:tt),* $(,)?] $($objects:tt)*) => {
        static mut __KLP_STATES: [$crate::abi::KlpState; $crate::__count!($($id)*) + 1] = [
            $($crate::abi::KlpState { id: $id, version: $version, data: ::core::ptr::null_mut() },)*
            $crate::abi::KlpState::END,
        ];

        $crate::__objects! { [] $($objects)* }

        // By this name the crate finds it, too.
        #[unsafe(no_mangle)]
        static mut __klp_patch: $crate::abi::KlpPatch = $crate::abi::KlpPatch {
            module: &raw mut $crate::module::__this_module as *mut ::core::ffi::c_void,
            objs: (&raw mut __KLP_OBJECTS).cast(),
            states: (&raw mut __KLP_STATES).cast(),
            replace: $replace,
            flags: $flags,
            enabled: false,
            id: 0,
            older: ::core::ptr::null_mut(),
        };
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __flags {
    (hybrid) => {
        0
    };
    (immediate) => {
        $crate::abi::KLP_IMMEDIATE
    };
    (in_thread) => {
        $crate::abi::KLP_CONSISTENT_IN_THREAD
    };
    (in_time) => {
        $crate::abi::KLP_CONSISTENT_IN_TIME
    };
    (checkpoint) => {
        $crate::abi::KLP_CONSISTENT_IN_THREAD | $crate::abi::KLP_CONSISTENT_IN_TIME
    };
    ($other:ident) => {
        ::core::compile_error!("consistency is one of: hybrid, immediate, in_thread, in_time, checkpoint")
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __objects {
    ([$($done:tt)*] vmlinux { $($body:tt)* } $(, $($rest:tt)*)?) => {
        $crate::__objects! { [$($done)* { ::core::ptr::null(), $($body)* }] $($($rest)*)? }
    };
    ([$($done:tt)*] module $name:literal { $($body:tt)* } $(, $($rest:tt)*)?) => {
        $crate::__objects! {
            [$($done)* { ::core::concat!($name, "\0").as_ptr().cast(), $($body)* }]
            $($($rest)*)?
        }
    };
    ([$({
        $name:expr,
        $($callback:ident: $with:path,)*
        $($func:literal $([$position:literal])? => $replacement:ident $(calling $original:ident)?),* $(,)?
    })*]) => {
        static mut __KLP_OBJECTS: [$crate::abi::KlpObject; $crate::__count!($({ $name })*) + 1] = [
            $($crate::abi::KlpObject {
                name: $name,
                funcs: $crate::__funcs!($($func $([$position])? => $replacement $(calling $original)?),*),
                callbacks: $crate::abi::KlpCallbacks {
                    $($callback: $crate::__callback!($callback, $with),)*
                    ..$crate::abi::KlpCallbacks::NONE
                },
                ..$crate::abi::KlpObject::END
            },)*
            $crate::abi::KlpObject::END,
        ];
    };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __callback {
    (pre_patch, $with:path) => {{
        unsafe extern "C" fn callback(object: *mut $crate::abi::KlpObject) -> ::core::ffi::c_int {
            // SAFETY: called by the engine, as a callback.
            $crate::answer($with(unsafe { $crate::Object::of_callback(object) }))
        }
        ::core::option::Option::Some(callback)
    }};
    ($which:ident, $with:path) => {{
        unsafe extern "C" fn callback(object: *mut $crate::abi::KlpObject) {
            // SAFETY: called by the engine, as a callback.
            $with(unsafe { $crate::Object::of_callback(object) })
        }
        ::core::option::Option::Some(callback)
    }};
}

#[doc(hidden)]
#[macro_export]
macro_rules! __count {
    () => { 0 };
    ($first:tt $($rest:tt)*) => { 1 + $crate::__count!($($rest)*) };
}

#[doc(hidden)]
#[macro_export]
macro_rules! __funcs {
    ($($name:literal $([$position:literal])? => $replacement:ident $(calling $original:ident)?),*) => {{
        static mut FUNCS: [$crate::abi::KlpFunc; $crate::__count!($($name)*) + 1] = [
            $($crate::abi::KlpFunc {
                old_name: ::core::concat!($name, "\0").as_ptr().cast(),
                new_func: $replacement as *const () as *mut ::core::ffi::c_void,
                $(old_sympos: $position,)?
                $(original: &raw mut $original,)?
                ..$crate::abi::KlpFunc::END
            },)*
            $crate::abi::KlpFunc::END,
        ];
        (&raw mut FUNCS).cast()
    }};
}

/// Defines a function that calls the function a replacement stands in for, past the redirect.
///
/// `original!(ORIGINAL: fn name(argument: Type, …) -> Type);` defines `unsafe fn name`, and the static `ORIGINAL` for
/// `"…" => replacement calling ORIGINAL` in [`patch!`]. Callable from the patch's replacements.
#[macro_export]
macro_rules! original {
    ($original:ident : fn $name:ident($($argument:ident: $type:ty),* $(,)?) $(-> $result:ty)?) => {
        static mut $original: $crate::abi::KlpOriginal = {
            // The engine lets calls whose return address lies in this body through: one body, no tail call.
            #[inline(never)]
            unsafe extern "C" fn caller($($argument: $type),*) $(-> $result)? {
                // SAFETY: the engine filled it in before a replacement could run, with the address of a function of
                // this type, as the patch promises.
                let original = unsafe {
                    ::core::mem::transmute::<*mut ::core::ffi::c_void, unsafe extern "C" fn($($type),*) $(-> $result)?>(
                        (&raw const $original.func).read_volatile(),
                    )
                };
                // SAFETY: the caller's promise is the original's.
                let result = unsafe { original($($argument),*) };
                ::core::sync::atomic::compiler_fence(::core::sync::atomic::Ordering::SeqCst);
                result
            }
            $crate::abi::KlpOriginal {
                caller: caller as *const () as *mut ::core::ffi::c_void,
                func: ::core::ptr::null_mut(),
                key: ::core::ptr::null_mut(),
                tramp: ::core::ptr::null_mut(),
            }
        };

        /// Calls the original function.
        ///
        /// # Safety
        ///
        /// As the original function's; only to be called by a replacement of the patch.
        unsafe fn $name($($argument: $type),*) $(-> $result)? {
            // SAFETY: initialised above and never written. Read as volatile so that no specialised copy of the
            // caller is called in its place.
            let caller = unsafe {
                ::core::mem::transmute::<*mut ::core::ffi::c_void, unsafe extern "C" fn($($type),*) $(-> $result)?>(
                    (&raw const $original.caller).read_volatile(),
                )
            };
            // SAFETY: the caller's promise.
            unsafe { caller($($argument),*) }
        }
    };
}

/// Says which symbol the name of a function or static that is not exported stands for, in the whole patch.
///
/// `reloc_symbol!(object, name, position)`: of `object`, a module's name or `vmlinux`, the one at `position` among those of
/// that name, in the order of kallsyms, from 1; 0 if there is only one. Without it a name stands for the only one of
/// vmlinux. `reloc_symbol!(own = object, name, position)`: the patch has its own name for it.
///
/// ```ignore
/// unsafe extern "C" {
///     fn test_helper(value: c_int) -> c_int;
/// }
/// klp_patch::reloc_symbol!(test_target, test_helper, 0);
/// ```
#[macro_export]
macro_rules! reloc_symbol {
    ($object:ident, $name:ident, $position:literal) => {
        $crate::reloc_symbol!($name = $object, $name, $position);
    };
    ($own:ident = $object:ident, $name:ident, $position:literal) => {
        ::core::arch::global_asm!(::core::concat!(
            ".pushsection .note.klp.declared, \"\"\n.asciz \"",
            ::core::stringify!($own),
            "\"\n.asciz \"",
            ::core::stringify!($object),
            "\"\n.asciz \"",
            ::core::stringify!($name),
            "\"\n.asciz \"",
            ::core::stringify!($position),
            "\"\n.popsection"
        ));
    };
}

/// Reached by a panic only where the kernel's flags are not used: built for a kernel, a panic traps at once, and the
/// kernel reports an oops with a back trace.
#[cfg(klp_module)]
#[panic_handler]
fn panic(_: &core::panic::PanicInfo<'_>) -> ! {
    loop {}
}
