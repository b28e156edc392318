// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! placeholder
#![no_std]
