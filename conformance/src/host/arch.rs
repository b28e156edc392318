// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! What the host suite is told about each architecture, one file each.

pub mod arm64;
pub mod ppc64;
pub mod s390;
pub mod x86_64;
