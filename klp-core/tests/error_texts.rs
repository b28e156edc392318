// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What users read when something is refused.
//!
//! To bless changed texts: `INSTA_UPDATE=always cargo test -p klp-core --test error_texts`.

use std::fmt::Write;

use klp_core::Error;
use klp_core::ftrace::SiteError;
use klp_core::patchable::{Lack, NoRoom};
use klp_core::platform::Errno;
use klp_core::reloc::{Refused, RelocError, Relocation};
use klp_core::system_state::SystemState;

type Refusal = Error<&'static str>;

/// Every variant, and every text that a variant has.
fn all() -> Vec<Refusal> {
    let (func, module) = ("cmdline_proc_show", Some("virtio_net"));
    let addr = 0xffff_ffff_812a_4c10;
    let site = |error| Error::Site { func, error };
    vec![
        Error::Empty,
        Error::NoReplacement { func },
        Error::Duplicate { func },
        Error::DuplicateObject { object: None },
        Error::DuplicateObject { object: module },
        Error::SymbolNotFound { object: None, func },
        Error::SymbolNotFound { object: module, func },
        Error::SymbolAmbiguous { object: None, func, count: 3 },
        Error::SymbolAmbiguous { object: module, func, count: 2 },
        Error::PositionNotFound { object: None, func, position: 4, count: 3 },
        Error::PositionNotFound { object: module, func, position: 2, count: 0 },
        Error::NotTraceable { func, addr },
        site(SiteError::TooFar { offset: 64, limit: 16 }),
        site(SiteError::TooFar { offset: -4, limit: 16 }),
        site(SiteError::UnknownCode { at: addr, found: [0x0f, 0x0b, 0, 0xff] }),
        site(SiteError::ShortCode),
        Error::Hook { func, errno: Errno::EBUSY },
        Error::Hook { func, errno: Errno::EINVAL },
        Error::TooManyOriginalCallers { func },
        Error::Callback { object: None, errno: Errno::ENOENT },
        Error::Callback { object: module, errno: Errno::ENOMEM },
        Error::Busy,
        Error::NoSuchPatch,
        Error::NoMemory,
        Error::NoFunctions { object: None },
        Error::NoFunctions { object: module },
        Error::NoName { object: module },
        Error::AlreadyKnown,
        Error::NoOriginalCaller { func },
        Error::Probed { func },
        Error::UnknownFlags { flags: 0x81 },
        Error::ContradictoryFlags { flags: 0x3 },
        Error::Incompatible { patch: "fix_2", state: SystemState { id: 1, version: 3 } },
        Error::OwnObject { object: "klp" },
        Error::InTransition { patch: "fix_1" },
        Error::NoSize { func },
        Error::ReferenceNotFound { object: None, symbol: func, position: 0, count: 0, lists_data: true },
        Error::ReferenceNotFound { object: module, symbol: func, position: 0, count: 0, lists_data: false },
        Error::ReferenceNotFound { object: None, symbol: func, position: 3, count: 2, lists_data: true },
        Error::ReferenceAmbiguous { object: module, symbol: func, count: 2 },
        Error::SymbolOfOtherObject { object: "virtio_net", symbol: func },
        Error::PlaceOfTwoModules { symbol: func, other: "mf" },
        Error::OtherVmlinux { symbol: "nr_threads", anchor: "_stext", witness: func },
        Error::Relocation(Refused {
            relocation: Relocation { r_type: 283, place: 0xffff_8000_7a4c_1038, symbol: addr, addend: 0 },
            type_name: Some("R_AARCH64_CALL26"),
            name: func,
            error: RelocError::NoSlot { needed: 3, planned: 2 },
        }),
        Error::BadRelocations,
        Error::NoRoom(NoRoom { func, at: Lack::Before { found: 8, needed: 24 } }),
        Error::NoRoom(NoRoom { func, at: Lack::Entry { found: 0, needed: 4 } }),
        Error::NoRoom(NoRoom { func, at: Lack::OneNop { needed: 5 } }),
    ]
}

/// A number for each variant. A new variant does not compile here: give it the next number and an example in [`all`].
fn variant(error: &Refusal) -> usize {
    match error {
        Error::Empty => 0,
        Error::NoReplacement { .. } => 1,
        Error::Duplicate { .. } => 2,
        Error::DuplicateObject { .. } => 3,
        Error::SymbolNotFound { .. } => 4,
        Error::SymbolAmbiguous { .. } => 5,
        Error::PositionNotFound { .. } => 6,
        Error::NotTraceable { .. } => 7,
        Error::Site { error: SiteError::TooFar { .. }, .. } => 8,
        Error::Site { error: SiteError::UnknownCode { .. }, .. } => 9,
        Error::Site { error: SiteError::ShortCode, .. } => 10,
        Error::Hook { .. } => 11,
        Error::TooManyOriginalCallers { .. } => 12,
        Error::Callback { .. } => 13,
        Error::Busy => 14,
        Error::NoSuchPatch => 15,
        Error::NoMemory => 16,
        Error::NoFunctions { .. } => 17,
        Error::NoName { .. } => 18,
        Error::AlreadyKnown => 19,
        Error::NoOriginalCaller { .. } => 20,
        Error::Probed { .. } => 21,
        Error::UnknownFlags { .. } => 22,
        Error::ContradictoryFlags { .. } => 23,
        Error::Incompatible { .. } => 24,
        Error::OwnObject { .. } => 25,
        Error::InTransition { .. } => 26,
        Error::NoSize { .. } => 27,
        Error::ReferenceNotFound { .. } => 28,
        Error::ReferenceAmbiguous { .. } => 29,
        Error::SymbolOfOtherObject { .. } => 30,
        Error::PlaceOfTwoModules { .. } => 31,
        Error::OtherVmlinux { .. } => 32,
        Error::Relocation(_) => 33,
        Error::BadRelocations => 34,
        Error::NoRoom(_) => 35,
    }
}

#[test]
fn every_refusal_has_its_text_and_its_number() {
    let mut seen: Vec<usize> = all().iter().map(variant).collect();
    seen.dedup();
    assert_eq!(seen, (0..=35).collect::<Vec<_>>(), "an example of each variant, in their order");
    let mut texts = String::new();
    for error in all() {
        writeln!(texts, "{}: {error}", error.errno().0).expect("strings take everything");
    }
    insta::assert_snapshot!(texts);
}

/// The kernel's own line first, then what may help. The kernel module cuts texts off after 511 bytes (`Text` in
/// kmod/src/platform.rs).
#[test]
fn every_text_is_one_line_or_two_that_fit_the_log_with_long_names() {
    const TEXT: usize = 511;
    const LONGER_NAMES: usize = 128;
    for error in all() {
        let text = error.to_string();
        assert!(text.lines().count() <= 2 && !text.ends_with('\n'), "{text}");
        assert!(text.len() + LONGER_NAMES <= TEXT, "{} bytes: {text}", text.len());
    }
}
