# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G13.1
# name: a replacement calls a function of vmlinux that is not exported
# source: Documentation/livepatch/module-elf-format.rst, "Why does livepatch need to write its own relocations"
load test_reloc_1
read -r found by way rest </proc/cmdline
expect "$found $by" "found by" "what the replacement found"
stated CALL_WAYS
case " $CALL_WAYS " in
*" $way "*) ;;
*) fail "the call goes by '$way', expected one of $CALL_WAYS" ;;
esac
note "the call goes by $way"
revert test_reloc_1
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
