#!/bin/sh
# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# Runs the cases in the guest: sh run.sh [ID|GROUP|GLOB...], without arguments all of them. klp.ko is loaded before, unless $KLP_CORE
# is "off".
#
# Standard output is KTAP version 1 (Documentation/dev-tools/ktap.rst of the kernel). Every case runs in a shell of its
# own, with a time-out, between two marks in the kernel log. After it the kernel has to be as it was before: what is left
# behind fails the case and is cleaned up. Exit status: 0 if nothing failed, 1 if something did, 2 on wrong usage.

here=$(dirname "$(realpath "$0")")
export KLP_LIB="$here/lib.sh"
export KLP_TMP=/tmp/klp-conformance
# Seconds that a case may take, unless its header says "timeout".
: "${KLP_CASE_TIMEOUT:=60}"

mkdir -p "$KLP_TMP"
. "$KLP_LIB"

# header FILE KEY
header() {
    sed -n "s/^# $2: //p;/^[^#]/q" "$1" | head -n 1
}

# selected ID PATTERN...
selected() {
    id=$1
    shift
    [ $# -gt 0 ] || return 0
    for pattern; do
        case $id in
        $pattern | $pattern.*) return 0 ;;
        esac
    done
    return 1
}

mark() {
    echo "klp-conformance: $1 $2" >/dev/kmsg
}

# What has to be the same before and after a case: modules, patches, fault injection, what ftrace calls back from, tracer
# and probes, what the functions that are patched most give. With few programs, since this takes time.
snapshot() {
    while read -r module _; do
        echo "module $module"
    done </proc/modules | sort
    for patch in /sys/kernel/klp/*/ /sys/kernel/livepatch/*/; do
        [ -d "$patch" ] && echo "patch $patch"
    done
    [ -d /sys/kernel/klp ] || echo "no /sys/kernel/klp"
    grep -s '' /sys/module/klp/parameters/* "$KLP_TRACING/enabled_functions" "$KLP_TRACING/current_tracer" \
        "$KLP_TRACING/kprobe_events" /proc/cmdline /proc/version
}

# Takes everything back that a case may have left.
clean_up() {
    sed -n 's|^\(/sys/module/klp/parameters/[^:]*\):|\1 |p' "$KLP_TMP/before" | while read -r parameter value; do
        echo "$value" >"$parameter"
    done
    echo nop >"$KLP_TRACING/current_tracer"
    echo 0 >"$KLP_TRACING/events/enable"
    echo >"$KLP_TRACING/kprobe_events"
    echo >"$KLP_TRACING/set_ftrace_filter"
    for attempt in $(seq 30); do
        for enabled in /sys/kernel/klp/*/enabled /sys/kernel/livepatch/*/enabled; do
            [ "$(cat "$enabled")" = 1 ] && echo 0 >"$enabled"
        done
        snapshot | sed -n 's/^module //p' | grep -vxFf "$KLP_TMP/modules" | xargs -r -n 1 rmmod
        [ "$KLP_CORE" = off ] || [ -d /sys/module/klp ] || insmod "$KLP_MODULES/klp.ko"
        snapshot >"$KLP_TMP/after"
        cmp -s "$KLP_TMP/before" "$KLP_TMP/after" && return
        sleep 0.3
    done
} 2>/dev/null

# Kills what a case started and did not end: all of its session.
end_jobs() {
    ps -o pid,sid | awk -v session="$session" '$2 == session { print $1 }' | xargs -r kill -9
} 2>/dev/null

# run_case NUMBER FILE
run_case() {
    id=$(header "$2" id)
    rm -f "$KLP_TMP/diagnostics" "$KLP_TMP/skip" "$KLP_TMP/notes"
    limit=$(header "$2" timeout)
    : "${limit:=$KLP_CASE_TIMEOUT}"
    mark begin "$id"
    start=$(hundredths)
    KLP_CASE=$id setsid timeout -k 2 "$limit" \
        sh -c '. "$KLP_LIB"; . "$0"' "$2" >"$KLP_TMP/out" 2>&1 </dev/null &
    session=$!
    wait $session
    status=$?
    took=$(($(hundredths) - start))

    verdict=ok
    case $status in
    0) ;;
    4) [ -s "$KLP_TMP/skip" ] || verdict='not ok' ;;
    124 | 137 | 143)
        verdict='not ok'
        echo "it did not end within $limit s" >>"$KLP_TMP/diagnostics"
        ;;
    *) verdict='not ok' ;;
    esac
    end_jobs
    if ! snapshot | cmp -s "$KLP_TMP/before" -; then
        verdict='not ok'
        snapshot >"$KLP_TMP/after"
        echo "the kernel is not as it was before (-), but (+):" >>"$KLP_TMP/diagnostics"
        diff -U 0 "$KLP_TMP/before" "$KLP_TMP/after" | sed 1,2d >>"$KLP_TMP/diagnostics"
        clean_up
        cmp -s "$KLP_TMP/before" "$KLP_TMP/after" || echo "it could not be cleaned up" >>"$KLP_TMP/diagnostics"
    fi
    mark end "$id"

    if [ "$verdict" = 'not ok' ]; then
        [ $status -eq 0 ] || [ -s "$KLP_TMP/diagnostics" ] || echo "it ended with status $status" >"$KLP_TMP/diagnostics"
        sed 's/^/# /' "$KLP_TMP/diagnostics" "$KLP_TMP/out"
    fi
    [ ! -f "$KLP_TMP/notes" ] || sed "s/^/# $id: /" "$KLP_TMP/notes"
    printf '# %s took %d.%02d s\n' "$id" $((took / 100)) $((took % 100))
    skipped=
    [ "$verdict" = ok ] && [ $status -eq 4 ] && skipped=" # SKIP $(cat "$KLP_TMP/skip")"
    echo "$verdict $1 $id $(header "$2" name)$skipped"
    [ "$verdict" = ok ]
}

if [ "$KLP_CORE" != off ] && [ ! -d /sys/kernel/klp ]; then
    echo "Bail out! klp.ko is not loaded"
    exit 2
fi
mount_tracing

chosen=
count=0
for case in "$here"/cases/*.sh; do
    if selected "$(header "$case" id)" "$@"; then
        chosen="$chosen $case"
        count=$((count + 1))
    fi
done
echo "KTAP version 1"
echo "1..$count"
if [ $count -eq 0 ]; then
    echo "# no case matches $*"
    exit 2
fi

# Every mark has to arrive. Refused where the kernel's command line has said so already.
echo on 2>/dev/null >/proc/sys/kernel/printk_devkmsg
snapshot >"$KLP_TMP/before"
sed -n 's/^module //p' "$KLP_TMP/before" >"$KLP_TMP/modules"
IFS= read -r KLP_CMDLINE </proc/cmdline
export KLP_CMDLINE

number=0
failed=0
for case in $chosen; do
    number=$((number + 1))
    run_case $number "$case" || failed=$((failed + 1))
done
echo "# passed or skipped $((count - failed)), failed $failed, in $(cut -d ' ' -f 1 /proc/uptime) s since boot"
[ $failed -eq 0 ]
