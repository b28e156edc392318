# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.27
# name: refused: a patch of klp.ko, and a function that cannot be traced
# source: design: the engine's own callers
. "${KLP_LIB%/*}/transitions.sh"
refuse "Invalid argument\|invalid parameter" test_passthrough object=klp symbol=klp_sdk_enable_patch
expect_log "object 'klp' is the engine's own"
is_gone test_passthrough || fail "it is refused, and still there"
# Of the scheduler: what the tracers call must not be traced.
refuse "Invalid argument\|invalid parameter" test_passthrough symbol=preempt_schedule_notrace
expect_log "preempt_schedule_notrace"
is_gone test_passthrough || fail "it is refused, and still there"
