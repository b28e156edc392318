/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* __name__: code of test modules, see conformance/guest/arch/README.md of the SDK. */
/* Fact::Guests */
#error "not stated: TEST_CLOBBER, TEST_INSN_ALIGN, test_call_destination, TEST_DIRECT_STUB; conformance/guest/arch of the SDK has those of others"
