# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What cases are written with. A case ends by reaching its end, by fail or by skip. Modules are named without path and
# suffix; what loading and the like print is in $KLP_TMP/said. $KLP_CMDLINE is what /proc/cmdline gives unpatched.

: "${KLP_MODULES:=/lib/klp}"
: "${KLP_TMP:=/tmp/klp-conformance}"
: "${KLP_TRACING:=/sys/kernel/tracing}"
KLP_SYS=/sys/kernel/klp
TARGET=/proc/test_target

# fail WORDS...: the case has failed, for this reason.
fail() {
    echo "$*" >>"$KLP_TMP/diagnostics"
    exit 1
}

# skip WORDS...: the case does not apply here, for this reason.
skip() {
    echo "$*" >"$KLP_TMP/skip"
    exit 4
}

# note WORDS...: a line of the report, whatever becomes of the case.
note() {
    echo "$*" >>"$KLP_TMP/notes"
}

# stated FACT...: facts.sh, which is the architecture's (arch/README.md), says what of it. Cases that ask for no fact need none.
stated() {
    for fact; do
        eval "[ -n \"\${$fact+stated}\" ]" || fail "the architecture's facts.sh does not say $fact (conformance/guest/arch/README.md)"
    done
}
[ ! -f "${KLP_LIB%/*}/facts.sh" ] || . "${KLP_LIB%/*}/facts.sh"

# expect FOUND EXPECTED WHAT...
expect() {
    [ "$1" = "$2" ] && return
    found=$1
    expected=$2
    shift 2
    fail "$*: expected '$expected', found '$found'"
}

# says FILE: its first line.
says() {
    line=
    IFS= read -r line <"$1" 2>/dev/null || [ -n "$line" ] || line="<cannot read $1>"
    echo "$line"
}

# expect_says FILE EXPECTED [WHEN...]
expect_says() {
    line=
    IFS= read -r line <"$1" 2>/dev/null || [ -n "$line" ] || line="<cannot read $1>"
    [ "$line" = "$2" ] && return
    file=$1
    expected=$2
    shift 2
    fail "$file${*:+, $*,}: expected '$expected', found '$line'"
}

# hundredths: since boot, in hundredths of a second.
hundredths() {
    read -r up _ </proc/uptime
    echo "${up%.*}${up#*.}"
}

# wait_for SECONDS COMMAND...: until the command succeeds.
wait_for() {
    deadline=$(($(hundredths) + $1 * 100))
    shift
    while ! "$@"; do
        [ "$(hundredths)" -lt "$deadline" ] || return 1
        usleep 10000
    done
}

# load MODULE [PARAMETER...]: it has to be accepted.
load() {
    module=$1
    shift
    insmod "$KLP_MODULES/$module.ko" "$@" >"$KLP_TMP/said" 2>&1 ||
        fail "loading $module${*:+ with $*} failed: $(cat "$KLP_TMP/said"); kernel log: $(klog | tail -n 5)"
}

# unload MODULE...: as load.
unload() {
    for module; do
        rmmod "$module" >"$KLP_TMP/said" 2>&1 || fail "unloading $module failed: $(cat "$KLP_TMP/said")"
    done
}

# refuse WORDS MODULE [PARAMETER...]: loading has to fail with the error that these words are (strerror).
refuse() {
    words=$1
    module=$2
    shift 2
    refuse_file "$words" "$KLP_MODULES/$module.ko" "$@"
}

# As refuse, for a file.
refuse_file() {
    words=$1
    shift
    if insmod_once "$@" >"$KLP_TMP/said" 2>&1; then
        fail "$* was accepted: expected it to be refused with '$words'"
    fi
    grep -q "$words" "$KLP_TMP/said" || fail "$*: expected to be refused with '$words', found '$(cat "$KLP_TMP/said")'"
}

# insmod_once FILE [PARAMETER...]: busybox's insmod tries a second time if the kernel refuses a file, with the content;
# a pipe is not even looked at by the first system call.
insmod_once() {
    file=$1
    shift
    cat "$file" | insmod /proc/self/fd/0 "$@"
}

# refuse_unload WORDS MODULE
refuse_unload() {
    if rmmod "$2" >"$KLP_TMP/said" 2>&1; then
        fail "$2 could be unloaded: expected '$1'"
    fi
    grep -q "$1" "$KLP_TMP/said" || fail "unloading $2: expected '$1', found '$(cat "$KLP_TMP/said")'"
}

# disable PATCH: its functions are reverted when this returns, though it may still be draining.
disable() {
    echo 0 >"$KLP_SYS/$1/enabled" || fail "cannot disable $1"
}

# in_transition PATCH, settled PATCH
in_transition() {
    [ "$(says "$KLP_SYS/$1/transition")" = 1 ]
}

settled() {
    [ "$(says "$KLP_SYS/$1/transition")" = 0 ]
}

is_gone() {
    [ ! -d "$KLP_SYS/$1" ]
}

# gone PATCH...: waits until they have drained, and unloads their modules.
gone() {
    for patch; do
        wait_for 10 is_gone "$patch" || fail "$patch still drains after 10 s; kernel log: $(klog | tail -n 5)"
        # The module is given free just after its directory went.
        wait_for 10 rmmod "$patch" 2>"$KLP_TMP/said" || fail "unloading $patch failed: $(cat "$KLP_TMP/said")"
    done
}

# revert PATCH...: disables them in this order, and waits for all to go.
revert() {
    for patch; do
        disable "$patch"
    done
    gone "$@"
}

# The kernel log since the case began.
klog() {
    dmesg | awk -v begin="klp-conformance: begin $KLP_CASE" 'index($0, begin) { found = 1; next } found'
}

# expect_log WORDS...: one line of the log since the case began has all of these.
expect_log() {
    klog >"$KLP_TMP/klog"
    for words; do
        grep -F -e "$words" "$KLP_TMP/klog" >"$KLP_TMP/klog.next"
        mv "$KLP_TMP/klog.next" "$KLP_TMP/klog"
    done
    [ -s "$KLP_TMP/klog" ] || fail "the kernel log has no line with all of: $*. It has: $(klog | tail -n 10)"
}

# A value that a target's function returns, or that a patch of it would.
expect_value() {
    expect_says $TARGET/value "$@"
}

mount_tracing() {
    [ -f "$KLP_TRACING/current_tracer" ] || mount -t tracefs tracefs "$KLP_TRACING" 2>/dev/null
    [ -f "$KLP_TRACING/current_tracer" ] || {
        echo "Bail out! cannot mount tracefs on $KLP_TRACING"
        exit 2
    }
}

# The target and /proc/cmdline are unpatched, and no patch is left. After a refusal.
expect_untouched() {
    expect_value 1 "after the refusal"
    expect_says $TARGET/second 2 "after the refusal"
    expect_says $TARGET/twins "10 20" "after the refusal"
    expect_says /proc/cmdline "$KLP_CMDLINE" "after the refusal"
    expect "$(ls $KLP_SYS)" "" "patches after the refusal"
    for other in test_refuse test_many test_value_1; do
        [ ! -d /sys/module/$other ] || fail "$other is still loaded after the refusal"
    done
}

# Overridden by a case in which something else than nothing is there before.
unharmed() {
    expect_untouched
}

# fail_each MODULE [PARAMETER...]: loads it again and again, with the first allocation of klp.ko failing, then the second
# and so on, until none is left to fail; or every $fail_step-th of them. Each time it has to be refused, and the kernel unharmed.
fail_each() {
    module=$1
    shift
    nth=0
    while :; do
        nth=$((nth + ${fail_step:-1}))
        [ $nth -le 500 ] || fail "allocation $nth still fails"
        echo $nth >/sys/module/klp/parameters/fail_nth
        if insmod_once "$KLP_MODULES/$module.ko" "$@" >"$KLP_TMP/said" 2>&1; then
            break
        fi
        grep -q "Cannot allocate memory" "$KLP_TMP/said" ||
            fail "allocation $nth failed: expected 'Cannot allocate memory', found '$(cat "$KLP_TMP/said")'"
        expect_says /sys/module/klp/parameters/fail_nth 0 "after allocation $nth failed"
        unharmed "after allocation $nth failed"
    done
    [ "$(says /sys/module/klp/parameters/fail_nth)" -gt 0 ] || fail "allocation $nth failed and nobody was told"
    echo 0 >/sys/module/klp/parameters/fail_nth
    # It allocates for patch, objects, functions, hooks, directories.
    [ $nth -gt 3 ] || fail "only $((nth - 1)) allocations could fail: fault injection does not work"
    expect_log "out of memory"
}

# stress_cycles PATCH COUNT: loads, disables and unloads it so many times.
stress_cycles() {
    cycle=0
    while [ $cycle -lt "$2" ]; do
        cycle=$((cycle + 1))
        insmod "$KLP_MODULES/$1.ko" 2>"$KLP_TMP/said" || fail "cycle $cycle: $(cat "$KLP_TMP/said")"
        echo 0 >"$KLP_SYS/$1/enabled" || fail "cycle $cycle: cannot disable $1"
        while [ -d "$KLP_SYS/$1" ]; do
            usleep 2000
        done
        until rmmod "$1" 2>/dev/null; do
            usleep 2000
        done
    done
}

# expect_stress CYCLES: every CPU had old and new results, and no other.
expect_stress() {
    cpus=0
    cat $TARGET/stress >"$KLP_TMP/stress"
    while read -r cpu _ old _ new _ bad rest; do
        cpus=$((cpus + 1))
        expect "$bad" 0 "wrong results on CPU $cpu in $1 cycles ($rest)"
        [ "$old" -gt 0 ] && [ "$new" -gt 0 ] || fail "CPU $cpu saw $old old and $new new results: expected some of both"
    done <"$KLP_TMP/stress"
    expect $cpus "$(nproc)" "CPUs that called"
    [ $cpus -gt 1 ] || fail "expected a guest with more than one CPU"
}

# trace_on, trace_off, traced WHEN: the function_graph tracer on test_value.
trace_on() {
    echo test_value >$KLP_TRACING/set_ftrace_filter || fail "test_value is not traceable"
    echo function_graph >$KLP_TRACING/current_tracer || fail "there is no function_graph tracer"
}

trace_off() {
    echo nop >$KLP_TRACING/current_tracer
    echo >$KLP_TRACING/set_ftrace_filter
}

traced() {
    grep -q test_value $KLP_TRACING/trace || fail "the tracer saw no call of test_value, $1"
    echo >$KLP_TRACING/trace
}

# probes_entries: whether kprobes and return probes can be at the entry of a function that ftrace can trace.
probes_entries() {
    stated NO_ENTRY_PROBES
    [ -z "$NO_ENTRY_PROBES" ]
}

need_entry_probes() {
    probes_entries || skip "$NO_ENTRY_PROBES"
}

# probe_on, probe_off, probed RESULT WHEN: a kretprobe on test_value. What kretprobes see is the return value.
probe_on() {
    echo "r:klp_test test_target:test_value result=\$retval:s32" >$KLP_TRACING/kprobe_events || fail "no kretprobe can be set"
    echo 1 >$KLP_TRACING/events/kprobes/klp_test/enable || fail "the kretprobe cannot be enabled"
}

probe_off() {
    echo 0 >$KLP_TRACING/events/kprobes/klp_test/enable
    echo >$KLP_TRACING/kprobe_events
}

probed() {
    echo >$KLP_TRACING/trace
    expect_value "$1" "$2"
    grep -q "klp_test: .*result=$1\$" $KLP_TRACING/trace || fail "the kretprobe did not see $1, $2: $(tail -n 2 $KLP_TRACING/trace)"
}
