// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Walks over stacks as the kernel's compiler, entry code and tracers leave them.

extern crate std;
use std::collections::BTreeMap;
use std::{assert, vec};

use klp_conformance::host::stack::walk;
use klp_conformance::image::{Image, Table};
use klp_core::Architecture;
use klp_core::platform::Range;
use klp_core::unwind::{Saved, Start, UnwindInfo};

use crate::__Type__;

#[test]
fn a_stack_that_cannot_be_read_is_unreliable() {
    let image = Image {
        endian: __Type__::ENDIAN,
        start: Start::SwitchedOut(Saved { sp: 0x2000, pc: 0x10_0000, fp: 0x2000 }),
        stacks: vec![Range { start: 0x1000, size: 0x2000 }],
        bottom: 0x2f00,
        memory: BTreeMap::new(),
        text: BTreeMap::new(),
        code: vec![],
        kept: [vec![], vec![], vec![]],
        unwind_info: UnwindInfo::Frames,
        table: Table::default(),
    };
    assert!(walk::<__Type__>(&image).end.is_err());
}
