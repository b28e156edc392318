# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G11.17
# name: tasks that are born and that exit while a transition is held up; after a reverse they are back
# source: Documentation/livepatch/livepatch.rst, 3 Consistency model; design: the engine
. "${KLP_LIB%/*}/transitions.sh"
load test_universe
go_to_sleep sleep
inside=$sleeper
load test_universe_1 functions=sleep,which
expect_blocked test_universe_1 $inside cat "universe_sleep [test_universe]"
# A shell that lives through all of it, born now. A line on its input makes it look.
mkfifo "$KLP_TMP/ask" "$KLP_TMP/answer"
sh -c 'while read -r line; do read -r universe <"$1"; echo "$universe"; done' - $UNIVERSE/which <"$KLP_TMP/ask" >"$KLP_TMP/answer" &
born=$!
exec 7>"$KLP_TMP/ask" 8<"$KLP_TMP/answer"
born_says() { echo >&7; read -r universe <&8; echo "$universe"; }
expect "$(born_says)" 1 "a task born while patching"
for i in $(seq 50); do
    expect "$(which)" 1 "task $i that was born while patching, and exits"
done
# One that is born, and sleeps in the replacement.
go_to_sleep sleep
late=$sleeper
expect_blocked test_universe_1 $inside cat "universe_sleep [test_universe]"
disable test_universe_1
expect_blocked test_universe_1 $late cat "new_universe_sleep [test_universe_1]"
expect "$(born_says)" 0 "a task born while patching, after the reverse"
expect "$(which)" 0 "a task born after the reverse"
kill -9 $late
# A task that exits leaves what it was in.
gone test_universe_1
expect "$(born_says)" 0 "unpatched"
exec 7>&- 8<&-
wait $born
release
expect_woken $inside "0 0" "it was held up from the beginning"
unload test_universe
