# SPDX-License-Identifier: GPL-2.0-only OR MIT
# x86_64: what the cases expect of it. ../README.md says what each means.

NO_NMI=
NO_ENTRY_PROBES=
PROBE_UNDOES_REDIRECT=
RETURN_STUB=
CALL_WAYS="direct slot"
# Its tables describe every instruction.
FAULT_IN_COPY=reliable
FAULT_IN_GET=reliable
SECOND_KRETPROBE=reliable
CHEAPEST_ENTRY=direct
NO_SLOTS=
SITE_WITH_ROOM=behind
