// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of arm64.
#![no_std]
#![forbid(unsafe_code)]
