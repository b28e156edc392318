// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! From a symbol's name to its patch site.

use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::PatchSite;
use crate::patch::{Func, Object};
use crate::platform::Platform;
use crate::{Addr, FtraceRedirect};

/// Longest function entry any architecture looks at, in bytes.
const MAX_ENTRY: usize = 64;

/// Checks that no object is named twice, since only one of them would be found when the module comes or goes, and that none
/// is the engine's own.
pub(super) fn check_objects<P: Platform>(platform: &P, objects: &[Object<P>]) -> Result<(), P> {
    for (index, object) in objects.iter().enumerate() {
        if let Some(own) = object.name.filter(|name| platform.is_own(*name)) {
            return Err(Error::OwnObject { object: own });
        }
        let name = object.name.as_ref().map(AsRef::as_ref);
        let same = |other: &Object<P>| other.name.as_ref().map(AsRef::as_ref) == name;
        if objects[..index].iter().any(same) {
            return Err(Error::DuplicateObject { object: object.name });
        }
    }
    Ok(())
}

/// Checks what can be checked of an object without the kernel.
pub(super) fn check<P: Platform>(object: &Object<P>) -> Result<(), P> {
    for (index, func) in object.funcs.iter().enumerate() {
        if func.replacement == 0 {
            return Err(Error::NoReplacement { func: func.name });
        }
        let same = |other: &Func<P>| {
            other.name.as_ref() == func.name.as_ref() && other.position.max(1) == func.position.max(1)
        };
        if object.funcs[..index].iter().any(same) {
            return Err(Error::Duplicate { func: func.name });
        }
    }
    Ok(())
}

/// Finds the patch sites of all functions of a loaded object that are not known yet.
pub(super) fn resolve<P: Platform>(platform: &P, object: &mut Object<P>) -> Result<(), P> {
    let name = object.name;
    for func in object.funcs.iter_mut().filter(|func| func.site.is_none()) {
        func.site = Some(site(platform, name, func)?);
    }
    Ok(())
}

fn site<P: Platform>(platform: &P, object: Option<P::Name>, func: &Func<P>) -> Result<PatchSite, P> {
    const { assert!(<P::Arch as FtraceRedirect>::ENTRY_LEN <= MAX_ENTRY) };
    let function = function(platform, object, func)?;
    let location =
        platform.ftrace_location(function).ok_or(Error::NotTraceable { func: func.name, addr: function })?;
    let mut code = [0; MAX_ENTRY];
    let code = &mut code[..P::Arch::ENTRY_LEN];
    if !platform.read_text(function, code) {
        return Err(Error::Site { func: func.name, error: crate::ftrace::SiteError::ShortCode });
    }
    P::Arch::patch_site(function, location, code).map_err(|error| Error::Site { func: func.name, error })
}

/// Finds the one symbol that the function names, as `klp_find_object_symbol` in `kernel/livepatch/core.c` defines it.
fn function<P: Platform>(platform: &P, object: Option<P::Name>, func: &Func<P>) -> Result<Addr, P> {
    let mut count = 0;
    let mut found = None;
    platform.for_each_symbol(object, func.name, &mut |addr| {
        count += 1;
        if count == func.position.max(1) {
            found = Some(addr);
        }
        // Without a position every symbol is looked at, to find out whether there is a second.
        func.position == 0 || found.is_none()
    });
    match found {
        Some(_) if func.position == 0 && count > 1 => {
            Err(Error::SymbolAmbiguous { object, func: func.name, count })
        }
        Some(addr) => Ok(addr),
        None if func.position > 1 => {
            Err(Error::PositionNotFound { object, func: func.name, position: func.position, count })
        }
        None => Err(Error::SymbolNotFound { object, func: func.name }),
    }
}
