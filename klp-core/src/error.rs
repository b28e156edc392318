// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Why the engine refuses something.

use core::fmt;

use crate::Addr;
use crate::ftrace::SiteError;
use crate::patchable::NoRoom;
use crate::platform::{Errno, NoMemory};
use crate::redirect::MAX_ORIGINAL_CALLERS;
use crate::reloc::Refused;
use crate::system_state::SystemState;

/// A refusal. The kernel is as it was before the call that returned it.
///
/// `N` is the platform's name type. The text's first line is the kernel's own for the same refusal where it has one
/// (`kernel/livepatch/core.c` and `patch.c`), word for word, since there are scripts that look for it; what was expected
/// and what to do follow on the second.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Error<N> {
    /// The patch has no objects, or names no module.
    Empty,
    /// An object has no array of functions.
    NoFunctions {
        /// The object; `None` is vmlinux.
        object: Option<N>,
    },
    /// A function has no name.
    NoName {
        /// The object; `None` is vmlinux.
        object: Option<N>,
    },
    /// The patch's module has another patch that is known already.
    AlreadyKnown,
    /// A function has no replacement.
    NoReplacement {
        /// The function's symbol.
        func: N,
    },
    /// A function is named twice in one patch.
    Duplicate {
        /// The function's symbol.
        func: N,
    },
    /// An object is named twice in one patch.
    DuplicateObject {
        /// The object; `None` is vmlinux.
        object: Option<N>,
    },
    /// The object has no function symbol of that name.
    SymbolNotFound {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// The symbol.
        func: N,
    },
    /// There are several and the patch does not say which.
    SymbolAmbiguous {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// The symbol.
        func: N,
        /// How many there are.
        count: u64,
    },
    /// There are fewer than the position says.
    PositionNotFound {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// The symbol.
        func: N,
        /// The position asked for, from 1.
        position: u64,
        /// How many there are.
        count: u64,
    },
    /// ftrace knows no patch site in the function.
    NotTraceable {
        /// The function's symbol.
        func: N,
        /// Its address.
        addr: Addr,
    },
    /// ftrace knows no patch site in the function, and its module was built with room for slots, but not at this one.
    NoRoom(NoRoom<N>),
    /// The site that ftrace names is not what this architecture's patch sites look like.
    Site {
        /// The function's symbol.
        func: N,
        /// What was found.
        error: SiteError,
    },
    /// ftrace refused the hook.
    Hook {
        /// The function's symbol.
        func: N,
        /// ftrace's error.
        errno: Errno,
    },
    /// A kprobe that is on the function already would undo the redirect.
    Probed {
        /// The function's symbol.
        func: N,
    },
    /// The function that calls the original is no function of the patch module.
    NoOriginalCaller {
        /// The symbol of the function whose original is to be called.
        func: N,
    },
    /// Too many patches on this function call the original.
    TooManyOriginalCallers {
        /// The function's symbol.
        func: N,
    },
    /// A pre-patch callback refused.
    Callback {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// What the callback returned.
        errno: Errno,
    },
    /// The symbol table does not say how long the function is: whether a task is in it cannot be known.
    NoSize {
        /// The function's symbol.
        func: N,
    },
    /// The object is part of the engine.
    OwnObject {
        /// The object.
        object: N,
    },
    /// A patch is in transition; nothing else can start before that is over.
    InTransition {
        /// The patch in transition.
        patch: N,
    },
    /// The patch is not in a state in which this can be done.
    Busy,
    /// There is no such patch.
    NoSuchPatch,
    /// An allocation failed.
    NoMemory,
    /// The patch's flags have bits that mean nothing.
    UnknownFlags {
        /// All flags.
        flags: u32,
    },
    /// The patch's flags name two consistency models.
    ContradictoryFlags {
        /// All flags.
        flags: u32,
    },
    /// The patch cannot deal with a system state that an enabled patch has changed.
    Incompatible {
        /// The patch.
        patch: N,
        /// The state, as the enabled patch declares it.
        state: SystemState,
    },
    /// The object does not have the symbol that the patch refers to, or not that often.
    ReferenceNotFound {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// The symbol.
        symbol: N,
        /// The position asked for, from 1; 0 if none was.
        position: u64,
        /// How many there are.
        count: u64,
        /// Whether the kernel's symbol table lists data.
        lists_data: bool,
    },
    /// There are several symbols of that name, and the patch does not say which it refers to.
    ReferenceAmbiguous {
        /// The object; `None` is vmlinux.
        object: Option<N>,
        /// The symbol.
        symbol: N,
        /// How many there are.
        count: u64,
    },
    /// The patch refers to a symbol of a module that it does not change.
    SymbolOfOtherObject {
        /// The module.
        object: N,
        /// The symbol.
        symbol: N,
    },
    /// One place of the patch takes in symbols of two modules. It goes back to what it held when a module goes, and either may go
    /// first.
    PlaceOfTwoModules {
        /// One of the symbols.
        symbol: N,
        /// The other.
        other: N,
    },
    /// A variable's place was taken from a vmlinux that is not the running kernel's.
    OtherVmlinux {
        /// The variable.
        symbol: N,
        /// A function of that vmlinux.
        anchor: N,
        /// Another, which is not as far from it here as there.
        witness: N,
    },
    /// A relocation of the patch cannot be applied.
    Relocation(Refused<N>),
    /// The patch's own relocations are not what this klp.ko can read.
    BadRelocations,
}

impl<N> From<NoMemory> for Error<N> {
    fn from(_: NoMemory) -> Error<N> {
        Error::NoMemory
    }
}

impl<N> Error<N> {
    /// The error number that the caller gets.
    pub fn errno(&self) -> Errno {
        match self {
            Error::Hook { errno, .. } | Error::Callback { errno, .. } => *errno,
            Error::Busy
            | Error::InTransition { .. }
            | Error::Probed { .. }
            | Error::TooManyOriginalCallers { .. } => Errno::EBUSY,
            Error::NoSuchPatch => Errno::ENOENT,
            Error::AlreadyKnown => Errno::EEXIST,
            Error::NoMemory => Errno::ENOMEM,
            _ => Errno::EINVAL,
        }
    }
}

/// An object's name, for messages.
fn object_name<N: AsRef<str>>(object: &Option<N>) -> &str {
    object.as_ref().map_or("vmlinux", AsRef::as_ref)
}

impl<N: AsRef<str>> fmt::Display for Error<N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Error::Empty => f.write_str("the patch has no objects: fill in klp_patch.objs"),
            Error::NoFunctions { object } => {
                write!(f, "object '{}' has no functions: fill in klp_object.funcs", object_name(object))
            }
            Error::NoName { object } => write!(
                f,
                "a function of object '{}' has no name: fill in klp_func.old_name",
                object_name(object)
            ),
            Error::AlreadyKnown => {
                f.write_str("the module has a patch already: one module carries one patch")
            }
            Error::NoReplacement { func } => {
                write!(f, "function '{}' has no replacement: fill in klp_func.new_func", func.as_ref())
            }
            Error::Duplicate { func } => {
                write!(f, "function '{}' is named twice in one patch", func.as_ref())
            }
            Error::DuplicateObject { object } => write!(
                f,
                "object '{}' is named twice in one patch: put all its functions into one klp_object",
                object_name(object)
            ),
            Error::SymbolNotFound { object, func } => {
                let object = object_name(object);
                write!(
                    f,
                    "symbol '{}' not found in symbol table\n\
                     {object} has none: it may be inlined or spelled differently, see /proc/kallsyms",
                    func.as_ref()
                )
            }
            Error::SymbolAmbiguous { object, func, count } => write!(
                f,
                "unresolvable ambiguity for symbol '{}' in object '{}'\n\
                 there are {count}, say which in klp_func.old_sympos (1 to {count}, in the order of /proc/kallsyms)",
                func.as_ref(),
                object_name(object)
            ),
            Error::PositionNotFound { object, func, position, count } => write!(
                f,
                "symbol position '{position}' for symbol '{}' in object '{}' not found\nthere are {count}",
                func.as_ref(),
                object_name(object)
            ),
            Error::NotTraceable { func, addr } => write!(
                f,
                "failed to find location for function '{}'\n\
                 at {addr:#x} there is no ftrace site (notrace, assembly, or __init): patch its callers instead",
                func.as_ref()
            ),
            Error::NoRoom(lack) => write!(
                f,
                "failed to find location for function '{}'\n{lack}: build its module with more (--patchable)",
                lack.func.as_ref()
            ),
            Error::Site { func, error } => {
                write!(f, "unexpected code at the ftrace site of function '{}': ", func.as_ref())?;
                match error {
                    SiteError::TooFar { offset, limit } => write!(
                        f,
                        "the site is {offset} bytes behind the function's start, at most {limit} are expected"
                    ),
                    SiteError::UnknownCode { at, found: [a, b, c, d] } => {
                        write!(f, "neither NOP nor call at {at:#x}, but {a:02x} {b:02x} {c:02x} {d:02x}")
                    }
                    SiteError::ShortCode => f.write_str("it cannot be read"),
                }
            }
            Error::Hook { func, errno } if *errno == Errno::EBUSY => write!(
                f,
                "failed to register ftrace handler for function '{}' (-{})\n\
                 another user already redirects it (IPMODIFY: the kernel's livepatch, a kprobe with a post handler, BPF; \
                 see /sys/kernel/debug/tracing/enabled_functions), or kernel.ftrace_enabled is 0",
                func.as_ref(),
                errno.0
            ),
            Error::Hook { func, errno } => {
                write!(f, "failed to register ftrace handler for function '{}' (-{})", func.as_ref(), errno.0)
            }
            Error::Probed { func } => write!(
                f,
                "a kprobe on function '{}' would undo the redirect: remove it, patch, and set it again, see \
                 /sys/kernel/debug/kprobes/list",
                func.as_ref()
            ),
            Error::NoOriginalCaller { func } => write!(
                f,
                "the caller of the original of function '{}' is in no symbol table: define it with KLP_ORIGINAL, and do \
                 not strip the module",
                func.as_ref()
            ),
            Error::TooManyOriginalCallers { func } => write!(
                f,
                "more than {MAX_ORIGINAL_CALLERS} patches call the original of function '{}': use one cumulative patch",
                func.as_ref()
            ),
            Error::Callback { object, errno } => {
                write!(
                    f,
                    "pre-patch callback failed for object '{}'\nit returned -{}",
                    object_name(object),
                    errno.0
                )
            }
            Error::NoSize { func } => write!(
                f,
                "kallsyms size lookup failed for '{}'\nwithout it tasks that run it are not found: use KLP_IMMEDIATE",
                func.as_ref()
            ),
            Error::OwnObject { object } => write!(
                f,
                "object '{}' is the engine's own: it cannot replace the code that replaces it",
                object.as_ref()
            ),
            Error::InTransition { patch } => write!(
                f,
                "patch '{}' is in transition: wait, reverse or force it, see /sys/kernel/klp/{}/blocked",
                patch.as_ref(),
                patch.as_ref()
            ),
            Error::Busy => f.write_str("the patch is not in a state to do that"),
            Error::NoSuchPatch => f.write_str("no such patch"),
            Error::NoMemory => f.write_str("out of memory"),
            Error::UnknownFlags { flags } => write!(
                f,
                "klp_patch.flags is {flags:#x}, which has bits that this klp.ko does not know: build klp.ko and the patch from \
                 the same version"
            ),
            Error::ContradictoryFlags { flags } => write!(
                f,
                "klp_patch.flags is {flags:#x}, which names two consistency models: KLP_IMMEDIATE goes with no other flag"
            ),
            Error::Incompatible { patch, state } => write!(
                f,
                "Livepatch patch ({}) is not compatible with the already installed livepatches.\n\
                 system state {:#x} is there in version {}: the patch has to declare that version or a newer one",
                patch.as_ref(),
                state.id,
                state.version
            ),
            Error::ReferenceNotFound { object, symbol, position, count, lists_data } => {
                let (object, symbol) = (object_name(object), symbol.as_ref());
                if *position > 1 {
                    write!(
                        f,
                        "symbol position '{position}' for symbol '{symbol}' in object '{object}' not found\nthere are {count}"
                    )
                } else if *lists_data {
                    write!(
                        f,
                        "symbol '{symbol}' not found in symbol table\n\
                         the patch refers to it: KLP_RELOC_SYMBOL says in which module it is if not in {object}"
                    )
                } else {
                    write!(
                        f,
                        "symbol '{symbol}' not found in symbol table\n\
                         the kernel lists functions only (no CONFIG_KALLSYMS_ALL), and {object} has none of that name: if it is a \
                         variable, build with --vmlinux"
                    )
                }
            }
            Error::ReferenceAmbiguous { object, symbol, count } => write!(
                f,
                "unresolvable ambiguity for symbol '{}' in object '{}'\n\
                 the patch refers to it and there are {count}: say which with KLP_RELOC_SYMBOL (1 to {count}, in the order of \
                 /proc/kallsyms)",
                symbol.as_ref(),
                object_name(object)
            ),
            Error::SymbolOfOtherObject { object, symbol } => write!(
                f,
                "the patch refers to symbol '{}' of module '{}' and does not change that: add a klp_object for it, with or \
                 without functions",
                symbol.as_ref(),
                object.as_ref()
            ),
            Error::OtherVmlinux { symbol, anchor, witness } => write!(
                f,
                "symbol '{}' not found in symbol table\n\
                 it was looked up in a vmlinux that is not this kernel's: '{}' and '{}' are not as far apart here",
                symbol.as_ref(),
                anchor.as_ref(),
                witness.as_ref()
            ),
            Error::PlaceOfTwoModules { symbol, other } => write!(
                f,
                "the patch holds a difference of symbols '{}' and '{}', of modules that come and go one without the other: compute it \
                 in code, from two addresses",
                symbol.as_ref(),
                other.as_ref()
            ),
            Error::Relocation(refused) => write!(f, "{refused}"),
            Error::BadRelocations => f.write_str(
                "the patch's relocations cannot be read: build klp.ko and the patch from the same version",
            ),
        }
    }
}
