// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Return addresses that are none.

use klp_core::Architecture;
use klp_core::unwind::{Code, Found, Machine, Unreliable};

use super::{Check, Description, ensure, ensure_eq, reliable};
use crate::host::stack::walk;

/// Each return address in turn is replaced by one that is in no text, follows no call, or is in code that cannot be walked.
pub(super) fn return_addresses<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        for (i, frame) in good.frames.iter().enumerate() {
            let Some(slot) = frame.slot else { continue };
            // Where a task starts that has never run, no call precedes.
            if frame.found == Found::Start && good.frames.len() == 1 {
                continue;
            }
            let start = |wanted| {
                good.image.code.iter().find(|(_, code)| *code == wanted).map(|(range, _)| range.start)
            };
            let (Some(function), Some(generated)) = (start(Code::Function), start(Code::Generated)) else {
                return Err("no text".to_owned());
            };
            let no_call = function + 0x28;
            let generated = generated + 0x20;
            for (pc, reason) in [
                (good.image.stacks[0].start, Unreliable::NotText(good.image.stacks[0].start)),
                (0x1000, Unreliable::NotText(0x1000)),
                (no_call, Unreliable::NotAfterCall(no_call)),
                (generated, Unreliable::Unwalkable(generated)),
            ] {
                let mut image = good.image.clone();
                image.set(slot, pc);
                let walked = walk::<A>(&image);
                // Nothing returns to the last frame.
                let last = i + 1 == good.frames.len() && matches!(reason, Unreliable::NotAfterCall(_));
                if last && walked.end.is_ok() {
                    continue;
                }
                // What was interrupted need not have a return address where it usually has one.
                let interrupted =
                    i.checked_sub(1).map(|i| good.frames[i]).filter(|frame| frame.found == Found::Registers);
                let no_call = matches!(reason, Unreliable::NotAfterCall(_));
                let reason = match (interrupted, walked.end) {
                    (Some(frame), Err(Unreliable::Exception(pc))) if no_call && pc == frame.pc => {
                        Unreliable::Exception(pc)
                    }
                    _ => reason,
                };
                let expected = (i, Err(reason));
                ensure_eq!(
                    (walked.frames.len(), walked.end),
                    expected,
                    "{}, frame {i} at {pc:#x}",
                    kind.name
                );
            }
        }
    }
    Ok(())
}

/// Each frame but the last is put into entry code, which has no caller.
pub(super) fn entry_code<A: Architecture>(d: &'static Description) -> Check {
    for (kind, good) in reliable(d) {
        let entry = good
            .image
            .code
            .iter()
            .find(|(_, code)| *code == Code::Entry)
            .map(|(range, _)| range.start + 0x20);
        let Some(entry) = entry else { return Err("no entry code".to_owned()) };
        let last = good.frames.len() - 1;
        for (i, frame) in good.frames.iter().enumerate().take(last) {
            let (Some(slot), true) = (frame.slot, good.image.code(frame.pc) != Code::Entry) else { continue };
            let mut image = good.image.clone();
            image.set(slot, entry);
            let walked = walk::<A>(&image);
            ensure!(walked.end.is_err(), "{}, frame {i} in entry code: {:x?}", kind.name, walked.seen());
        }
    }
    Ok(())
}
