/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
unsigned long call_bench_target(unsigned long value);
