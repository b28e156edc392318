/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* __name__: system calls of programs without a C library, see conformance/guest/arch/README.md of the SDK. */
/* Fact::Guests */
#error "not stated: the numbers, _start, call, start_sleeper; conformance/guest/arch of the SDK has those of others"
