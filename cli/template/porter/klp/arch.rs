// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What host tools know of __name__: its names, and QEMU's machine.

use klp_arch___name__::__Type__;
use klp_host::arch::{Arch, Image, Qemu, Threads};
use klp_host::kernel::debian::BOOKWORM;
use klp_host::{Facts, patchable};

/// The entry that the SDK's table would have.
pub static ARCH: Arch = __entry__;
