// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! The engine.
#![no_std]
#![forbid(unsafe_code)]
