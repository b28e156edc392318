// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What host tools and the conformance suites are told of __name__.

pub mod arch;
pub mod description;

use klp_arch___name__::__Type__;
use klp_conformance::arch::Entry;

/// The entry that the SDK's table would have.
pub static ENTRY: Entry = Entry::new::<__Type__>(&description::DESCRIPTION);
