# SPDX-License-Identifier: GPL-2.0-only OR MIT
# __name__: what the cases expect of it, see conformance/guest/arch/README.md of the SDK.

# Fact::Guests
