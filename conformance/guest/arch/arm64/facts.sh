# SPDX-License-Identifier: GPL-2.0-only OR MIT
# arm64: what the cases expect of it. ../README.md says what each means.

NO_NMI="arm64 has NMIs only as pseudo-NMIs (irqchip.gicv3_pseudo_nmi=1), which stock kernels do not enable"
NO_ENTRY_PROBES=
PROBE_UNDOES_REDIRECT=
RETURN_STUB=
CALL_WAYS="direct slot"
# The copy routine has no frame record; get_user() is in a function that has saved none.
FAULT_IN_COPY=exception
FAULT_IN_GET=caller-in-register
SECOND_KRETPROBE=reliable
# CONFIG_DYNAMIC_FTRACE_WITH_DIRECT_CALLS since 6.4
CHEAPEST_ENTRY=direct
case $(uname -r) in
6.1.*) CHEAPEST_ENTRY=callback ;;
esac
NO_SLOTS=
SITE_WITH_ROOM=none
