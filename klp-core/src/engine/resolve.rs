// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! From a symbol's name to its patch site.

use crate::engine::Result;
use crate::error::Error;
use crate::ftrace::{PatchSite, SiteError};
use crate::patch::{Func, Object};
use crate::patchable::{self, Room};
use crate::platform::Platform;
use crate::{Addr, FarBranch, FtraceRedirect, Patchable};

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
        let (site, room) = site(platform, name, func)?;
        (func.site, func.room) = (Some(site), room);
    }
    Ok(())
}

fn site<P: Platform>(
    platform: &P,
    object: Option<P::Name>,
    func: &Func<P>,
) -> Result<(PatchSite, Option<Room>), P> {
    const { assert!(<P::Arch as FtraceRedirect>::ENTRY_LEN <= MAX_ENTRY) };
    let function = function(platform, object, func)?;
    let Some(location) = platform.ftrace_location(function) else {
        return own_site(platform, object, func, function);
    };
    let mut code = [0; MAX_ENTRY];
    let code = &mut code[..P::Arch::ENTRY_LEN];
    if !platform.read_text(function, code) {
        return Err(Error::Site { func: func.name, error: SiteError::ShortCode });
    }
    match P::Arch::patch_site(function, location, code) {
        Ok(site) => Ok((site, None)),
        Err(error) => Err(Error::Site { func: func.name, error }),
    }
}

/// The site of a function that ftrace does not know, if its module was built with room for slots.
fn own_site<P: Platform>(
    platform: &P,
    object: Option<P::Name>,
    func: &Func<P>,
    function: Addr,
) -> Result<(PatchSite, Option<Room>), P> {
    let not_traceable = Error::NotTraceable { func: func.name, addr: function };
    let Some(declared) = platform.declared_room(object) else { return Err(not_traceable) };
    let mut bytes = [0; 2 * MAX_ENTRY];
    let (room, code) = bytes.split_at_mut(MAX_ENTRY);
    let size = usize::from(declared.before).min(MAX_ENTRY);
    let before = &mut room[..size];
    if !platform.read_text(function.wrapping_sub(size as u64), before) || !platform.read_text(function, code)
    {
        return Err(Error::Site { func: func.name, error: SiteError::ShortCode });
    }
    let room = patchable::site::<P::Arch, _>(func.name, function, before, code).map_err(|lack| {
        // Its breakpoint is what is at the entry.
        let probed = platform.has_probe(function + P::Arch::landing_pad(code) as u64);
        if probed { Error::Probed { func: func.name } } else { Error::NoRoom(lack) }
    })?;
    let resume = room.site + P::Arch::BRANCH_LEN as u64;
    Ok((PatchSite { function, site: room.site, resume }, Some(room)))
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
