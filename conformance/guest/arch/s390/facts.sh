# SPDX-License-Identifier: GPL-2.0-only OR MIT
# s390: what the cases expect of it. ../README.md says what each means.

NO_NMI="s390 has no NMI that a guest can raise (machine checks come from the hypervisor)"
NO_ENTRY_PROBES=
# arch/s390/kernel/ftrace.c, kprobe_ftrace_handler
PROBE_UNDOES_REDIRECT="the kernel's kprobe callback sets the resume address back (docs/src/arch/s390.md, Kprobes)"
RETURN_STUB=
CALL_WAYS="direct slot"
FAULT_IN_COPY=exception
FAULT_IN_GET=exception
SECOND_KRETPROBE=reliable
CHEAPEST_ENTRY=direct
NO_SLOTS=
SITE_WITH_ROOM=at-entry
