// SPDX-License-Identifier: GPL-2.0-only OR MIT
//! Functions of Debian's kernel 6.12.107+deb13-riscv64, run by QEMU.
//!
//! A module printed the 24 bytes at each symbol of /proc/kallsyms, once with no tracer and once with the function tracer
//! on these functions, and placed kprobes by name. Of functions that can be traced they were refused (-EINVAL), so `probe` says
//! nothing of those; of the others they lie at the function, or are refused too.

use crate::host::description::SiteSample;

pub(super) const SITES: &[SiteSample] = &[
    SiteSample {
        kernel: "debian-6.12",
        function: "cmdline_proc_show",
        at: 0xffff_ffff_803b_b28c,
        site: Some(0),
        probe: 0,
        off: "1300000013000000011106ec22e826e4001097d5040183b5",
        on: "9722c5ffe78242cd011106ec22e826e4001097d5040183b5",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "vfs_read",
        at: 0xffff_ffff_8031_4606,
        site: Some(0),
        probe: 0,
        off: "1300000013000000357122e9cefc06ed4ae100115c450337",
        on: "9792cfffe782a295357122e9cefc06ed4ae100115c450337",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "vfs_fsync_range",
        at: 0xffff_ffff_8035_a59c,
        site: Some(0),
        probe: 0,
        off: "13000000130000001c69dc63b9cb797122f026ec4ae806f4",
        on: "9732cbffe782429c1c69dc63b9cb797122f026ec4ae806f4",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "int_sqrt",
        at: 0xffff_ffff_8052_554c,
        site: Some(0),
        probe: 0,
        off: "1300000013000000411122e006e4000885472a8763f8a702",
        on: "9782aeffe78242a1411122e006e4000885472a8763f8a702",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "do_nanosleep",
        at: 0xffff_ffff_80a7_434c,
        site: Some(0),
        probe: 0,
        off: "13000000130000005d71a2e026fc4af84ef486e480088969",
        on: "979259ffe78242c15d71a2e026fc4af84ef486e480088969",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "get_option",
        at: 0xffff_ffff_80a3_4202,
        site: None,
        probe: 0,
        off: "797122f006f44ae80018033905006300090683470900a1cf",
        on: "797122f006f44ae80018033905006300090683470900a1cf",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "hex_to_bin",
        at: 0xffff_ffff_8052_3dec,
        site: None,
        probe: 0,
        off: "9305f00241119376f50d9b0765fc899d1306000422e006e4",
        on: "9305f00241119376f50d9b0765fc899d1306000422e006e4",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "memcpy",
        at: 0xffff_ffff_80a5_a8e4,
        site: None,
        probe: 0,
        off: "aa8f93360608ddee93f67f0013f77500639ae60a99ce93f6",
        on: "aa8f93360608ddee93f67f0013f77500639ae60a99ce93f6",
    },
    SiteSample {
        kernel: "debian-6.12",
        function: "ret_from_fork",
        at: 0xffff_ffff_80a7_6880,
        site: None,
        probe: 0,
        off: "97605effe780e0ea19c0268502940a859740ffffe7806083",
        on: "97605effe780e0ea19c0268502940a859740ffffe7806083",
    },
];
