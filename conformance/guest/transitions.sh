# SPDX-License-Identifier: GPL-2.0-only OR MIT
#
# What the cases about transitions are written with, on top of lib.sh. Which universe a task is in, and what the files do, is in
# modules/test_universe. A patch test_universe_N puts functions into universe N.

UNIVERSE=/proc/test_universe
KLP_PARAMETERS=/sys/module/klp/parameters

# The models of reference/2014-consistency-models.txt: klp_patch.flags.
HYBRID=0
IMMEDIATE=1
KGRAFT=2
KPATCH=4
CHECKPOINT=6

# The functions that work calls, and with those that call these.
CALLED=which,add,seal,open
CALLERS=$CALLED,ten,pair

# hammer WORK...: on each CPU a task for each kind of work, in one system call after another.
hammer() {
    works=$*
    for cpu in $(seq 0 $(($(nproc) - 1))); do
        for work; do
            taskset "$(printf %x $((1 << cpu)))" dd if=$UNIVERSE/"$work" of=/dev/null bs=1 2>/dev/null &
            hammers="$hammers $!"
        done
    done
}

hammer_off() {
    kill $hammers
    wait $hammers
    hammers=
} 2>/dev/null

# tally WORK KEY: that number of $UNIVERSE/tally.
tally() {
    awk -v work="$1" -v key="$2" '$1 == work { for (i = 2; i < NF; i += 2) if ($i == key) print $(i + 1) }' $UNIVERSE/tally
}

# count_from_now: what was tallied so far is forgotten. Work that has begun counts when it ends.
count_from_now() {
    echo 0 >$UNIVERSE/tally
}

# blocked PATCH: who holds it up, for messages.
blocked() {
    echo "blocked: $(cat "$KLP_SYS/$1/blocked" 2>&1 | head -n 5); kernel log: $(klog | tail -n 5)"
}

# settle PATCH: its transition ends.
settle() {
    wait_for 60 settled "$1" || fail "$1 is still in transition after 60 s; $(blocked "$1")"
}

# remove PATCH...: disables them in this order; they go, however long the tasks take.
remove() {
    for patch; do
        disable "$patch"
        wait_for 60 is_gone "$patch" || fail "$patch does not go in 60 s; $(blocked "$patch")"
        wait_for 10 rmmod "$patch" 2>"$KLP_TMP/said" || fail "unloading $patch failed: $(cat "$KLP_TMP/said")"
    done
}

# cycle FLAGS FUNCTIONS: test_universe_1 comes, stays so long that everybody works in it, and goes.
cycle() {
    load test_universe_1 flags="$1" functions="$2"
    settle test_universe_1
    usleep 50000
    remove test_universe_1
    usleep 50000
}

# cycles COUNT FLAGS FUNCTIONS
cycles() {
    for cycle in $(seq "$1"); do cycle "$2" "$3"; done
}

# cycles_until SEEN FLAGS FUNCTIONS: until the function SEEN succeeds. That tasks meet is a matter of chance; after 60 cycles
# without, it is not: nobody would see it.
cycles_until() {
    for cycle in $(seq 60); do
        cycle "$2" "$3"
        ! "$1" || return 0
    done
    fail "not in $cycle cycles: $1; these cases would not see it: $(cat $UNIVERSE/tally)"
}

# expect_worked: both universes were there, for each kind of work that tasks did.
expect_worked() {
    for work in $works; do
        for universe in universe0 universe1; do
            [ "$(tally $work $universe)" -gt 0 ] || fail "$work was never done in $universe: $(cat $UNIVERSE/tally)"
        done
    done
    note "$(tr '\n' ';' <$UNIVERSE/tally)"
}

# expect_whole: no work was mixed.
expect_whole() {
    for work in $works; do
        expect "$(tally $work mixed)" 0 "work of two universes in one system call, '$work', of which one gave $(tally $work gave)"
    done
    expect_worked
}

# expect_at_once SWITCHES: nobody worked in one universe while somebody worked in another, and the universe of all work changed so
# often.
expect_at_once() {
    expect "$(tally all overlaps)" 0 "work of one universe that began while there was work of another"
    expect "$(tally all changes)" "$1" "changes of universe"
}

# all_work_was_mixed, work_overlapped: what the cases look for can be seen. For cycles_until.
all_work_was_mixed() {
    for work in $works; do
        [ "$(tally $work mixed)" -gt 0 ] || return 1
    done
}
work_overlapped() {
    [ "$(tally all overlaps)" -gt 0 ]
}

# is_asleep PID
is_asleep() {
    grep -qx "$1" $UNIVERSE/sleepers
}

# go_to_sleep FILE: a task reads it and sleeps there; $sleeper is its process id, what it gets is in $KLP_TMP/woken.$sleeper.
go_to_sleep() {
    sh -c 'exec cat "$1" >"$2.$$" 2>&1' - "$UNIVERSE/$1" "$KLP_TMP/woken" &
    sleeper=$!
    wait_for 5 is_asleep $sleeper || fail "task $sleeper does not sleep in $1"
}

# thread KIND: a thread of the kernel sleeps; $thread is its process id.
thread() {
    echo "$1" >$UNIVERSE/threads || fail "no thread can $1"
    thread=$(tail -n 1 $UNIVERSE/threads)
    thread=${thread%% *}
    wait_for 5 is_asleep "$thread" || fail "thread $thread does not sleep"
}

# release: all that sleep go on.
release() {
    echo 1 >$UNIVERSE/release
}

# expect_woken PID EXPECTED WHEN...: what a task got once it went on.
expect_woken() {
    wait "$1"
    pid=$1
    shift
    expect_says "$KLP_TMP/woken.$pid" "$@"
}

# thread_says PID: "asleep", or what it got once it went on.
thread_says() {
    sed -n "s/^$1 //p" $UNIVERSE/threads
}

thread_is() {
    [ "$(thread_says "$1")" = "$2" ]
}

# expect_thread PID EXPECTED WHEN...
expect_thread() {
    wait_for 5 thread_is "$1" "$2" || expect "$(thread_says "$1")" "$2" "what thread $1 got, $3"
}

# lists PATCH PID COMM FUNCTION: the task holds it up, in this function ("name" or "name [module]").
lists() {
    found=$(sed -nE "s/^$2 $3 (.*)\+0x[0-9a-f]+\/0x[0-9a-f]+( \[[a-z0-9_]+\])? [0-9]+\.[0-9]{3}\$/\1\2/p" "$KLP_SYS/$1/blocked" 2>/dev/null)
    [ "$found" = "$4" ]
}

only() {
    lists "$@" && [ "$(wc -l 2>/dev/null <"$KLP_SYS/$1/blocked")" = 1 ]
}

# expect_blocked PATCH PID COMM FUNCTION: it is in transition, and this task alone holds it up.
expect_blocked() {
    wait_for 10 only "$@" || fail "expected that $1 is held up by task $2 ($3) in $4, and by nobody else; $(blocked "$1")"
    expect_says "$KLP_SYS/$1/transition" 1 "held up by task $2"
}

# which: the universe of a task that is born now; here: of this one.
which() {
    cat $UNIVERSE/which
}

here() {
    says $UNIVERSE/which
}

# refuse_store VALUE FILE WORDS WHEN...: writing has to fail with this error. A shell does not say why.
refuse_store() {
    value=$1 file=$2 words=$3
    shift 3
    if echo "$value" | dd of="$file" 2>"$KLP_TMP/said"; then fail "$*: $file took '$value', expected '$words'"; fi
    grep -q "$words" "$KLP_TMP/said" || fail "$*: $file, '$value': expected '$words', found '$(cat "$KLP_TMP/said")'"
}
