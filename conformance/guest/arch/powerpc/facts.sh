# SPDX-License-Identifier: GPL-2.0-only OR MIT
# ppc64: what the cases expect of it. ../README.md says what each means.

NO_NMI="ppc64 calls no ftrace callback from an NMI (paca->ftrace_enabled is 0): the original runs"
NO_ENTRY_PROBES=
PROBE_UNDOES_REDIRECT=
RETURN_STUB=y
# Each object has a TOC pointer of its own.
CALL_WAYS=slot
FAULT_IN_COPY=exception
FAULT_IN_GET=exception
# It loses its return address to the tracer's: nobody ever returns to it.
SECOND_KRETPROBE=return-left
CHEAPEST_ENTRY=callback
NO_SLOTS="functions of modules have no slots of their own here, see docs/src/slots.md"
SITE_WITH_ROOM=none
