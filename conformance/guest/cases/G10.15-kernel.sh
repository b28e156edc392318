# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.15
# name: all tasks under load, walked by klp.ko and by the kernel: the same lists, and none refused that the kernel can walk
# source: design: against the kernel's own walker
. "${KLP_LIB%/*}/stacks.sh"
load test_stacks
(while :; do ls -lR /sys/module | grep -c x; done) >/dev/null 2>&1 &
forks=$!
(while :; do dd if=/dev/zero bs=4k count=50 2>/dev/null | cat | md5sum; usleep 1000; done) >/dev/null 2>&1 &
pipes=$!
echo "${KLP_WALKS:-10000}" >$STACKS/compare
cat $STACKS/compare >"$KLP_TMP/tally"
kill $forks $pipes
expect "$(tally not-refused)" 0 "running tasks that were walked: $(cat "$KLP_TMP/tally")"
expect "$(tally different) $(tally fewer)" "0 0" "lists that differ from the kernel's, or are shorter: $(cat "$KLP_TMP/tally")"
[ "$(tally equal)" -gt $((${KLP_WALKS:-10000} / 2)) ] || fail "too few could be compared: $(cat "$KLP_TMP/tally")"
# A walk that is not reliable by intention takes exceptions for reliable.
[ "$(tally kernel)" = best-effort ] || expect "$(tally kernel-only)" 0 "unreliable where the kernel is not: $(cat "$KLP_TMP/tally")"
for reason in $(awk '$1 == "reason" { print $2 }' "$KLP_TMP/tally"); do
    case $reason in
    exception | caller-in-register) ;;
    *) fail "unreliable for a reason that no task has here, '$reason': $(cat "$KLP_TMP/tally")" ;;
    esac
done
unload test_stacks
