# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.29
# name: many patches come and go under fork, exec, I/O, signals and module loading on four CPUs, and nothing is ever mixed
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model
# cpus: 4
# timeout: 7200
. "${KLP_LIB%/*}/transitions.sh"
: "${KLP_CYCLES:=$(sed -n 's/.*klp_cycles=\([0-9]*\).*/\1/p' /proc/cmdline)}"
: "${KLP_CYCLES:=15}"
# Pressure, with gaps in which the patches come and go: on an emulated machine it would leave them little time. Longer ones,
# in microseconds, make many cycles bearable: klp_cycles=1000 klp_gap=1000000.
: "${KLP_GAP:=$(sed -n 's/.*klp_gap=\([0-9]*\).*/\1/p' /proc/cmdline)}"
: "${KLP_GAP:=5000}"
load test_universe rest_us=$((KLP_GAP * 2 / 5))
hammer ten
# Until the case ends.
while :; do sh -c 'true | cat; : $(cat /proc/self/stat)'; usleep $KLP_GAP; done >/dev/null 2>&1 &
pressure=$!
while :; do dd if=/dev/zero of="$KLP_TMP/io" bs=64k count=16 conv=fsync; rm "$KLP_TMP/io"; usleep $KLP_GAP; done 2>/dev/null &
pressure="$pressure $!"
(
    trap : USR1
    while :; do usleep $((KLP_GAP * 4)); done
) &
target=$!
while :; do
    kill -USR1 $target
    usleep $KLP_GAP
done &
pressure="$pressure $target $!"
rm -f "$KLP_TMP/enough"
while [ ! -e "$KLP_TMP/enough" ]; do
    insmod "$KLP_MODULES/test_target.ko" 2>/dev/null
    usleep $((KLP_GAP * 10))
    rmmod test_target 2>/dev/null
done &
loader=$!

walks=/sys/kernel/debug/klp/walks
before=$(says $walks)
start=$(hundredths)
/klp/cycles "$KLP_CYCLES" "$KLP_MODULES/test_universe_1.ko" "functions=which,add,ten value=1" $KLP_SYS/test_universe_1 \
    >"$KLP_TMP/said" || fail "$(cat "$KLP_TMP/said"); $(blocked test_universe_1)"
took=$(($(hundredths) - start))
note "$KLP_CYCLES cycles in $((took / 100)) s with $(ls -d /proc/[0-9]* | wc -l) tasks, $(cut -d ' ' -f 1 /proc/loadavg) of load, $(($(says $walks) - before)) stacks walked"
[ "$(says $walks)" -gt "$before" ] || fail "no stack was walked"
touch "$KLP_TMP/enough"
wait $loader
kill $pressure
hammer_off
expect_whole
unload test_universe
