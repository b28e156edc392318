# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G2.5
# name: a position chooses one of two functions of the same name
# source: Documentation/livepatch/livepatch.rst, "Livepatch structure": old_sympos
load test_target
expect_says $TARGET/twins "10 20"
load test_refuse what=twin-1
first=$(says $TARGET/twins)
revert test_refuse
load test_refuse what=twin-2
second=$(says $TARGET/twins)
revert test_refuse
expect_says $TARGET/twins "10 20" "reverted"
# The order is that of kallsyms.
order=$(grep -w test_twin /proc/kallsyms | grep test_target | wc -l)
expect "$order" 2 "functions named test_twin"
case "$first/$second" in
"99 20/10 99" | "10 99/99 20") ;;
*) fail "position 1 gives '$first', position 2 gives '$second'" ;;
esac
unload test_target
