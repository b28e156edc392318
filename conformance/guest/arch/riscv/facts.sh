# SPDX-License-Identifier: GPL-2.0-only OR MIT
# riscv64: what the cases expect of it. ../README.md says what each means.

NO_NMI="riscv has no NMI (its resumable one, Smrnmi, is the firmware's)"
# check_ftrace_location in kernel/kprobes.c, where kprobes are not on ftrace.
NO_ENTRY_PROBES="a function that can be traced begins with ftrace's site here, and no kprobe can be at it"
PROBE_UNDOES_REDIRECT=
RETURN_STUB=
CALL_WAYS="direct slot"
FAULT_IN_COPY=exception
FAULT_IN_GET=exception
SECOND_KRETPROBE=
CHEAPEST_ENTRY=direct
NO_SLOTS=
SITE_WITH_ROOM=none
