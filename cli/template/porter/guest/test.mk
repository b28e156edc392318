# SPDX-License-Identifier: GPL-2.0-only OR MIT
# __name__, for the make of test modules: see conformance/guest/arch/README.md of the SDK.

# Fact::Guests
