# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G10.17
# name: an address in text that was discarded after boot, on the stack of a task that did not boot the kernel, is no return address
# source: Documentation/livepatch/reliable-stacktrace.rst, 2. Requirements
. "${KLP_LIB%/*}/stacks.sh"
shown=/sys/kernel/debug/klp/stacks
end=$(sed -n 's/^\([0-9a-f]*\) [tT] _einittext$/\1/p' /proc/kallsyms)
[ -n "$end" ] || skip "kallsyms does not say where the discarded text was"
load test_stacks
park nested
# Behind the last of its instructions, as if that had been a call.
echo "0x$end" >/sys/module/test_stacks/parameters/spoil_with
echo $parked >$STACKS/spoil
echo $parked >$shown
cat $shown >"$KLP_TMP/shown"
echo $parked >$STACKS/spoil
case $(head -n 1 "$KLP_TMP/shown") in
"$parked (stacks-nested) unreliable not-text: "*) ;;
*) fail "expected 'unreliable not-text', found: $(cat "$KLP_TMP/shown")" ;;
esac
# Only that task came from there, and its stack is as it always was.
echo 0 >$shown
cat $shown >"$KLP_TMP/shown"
expect "$(grep -c '^0 (swapper/[0-9]*) unreliable not-text' "$KLP_TMP/shown")" 0 "idle tasks that are not believed: $(grep -A 9 '^0 ' "$KLP_TMP/shown")"
release
unload test_stacks
