// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Live-patching facts of s390.
#![no_std]
#![forbid(unsafe_code)]
