# SPDX-License-Identifier: GPL-2.0-only OR MIT
# id: G12.40
# name: a patch in Rust: callbacks with their objects, system states, shadow variables with a type that are dropped once
# source: docs: writing a patch, "In Rust"
load test_api_1 ids=82 versions=3
load test_api_rust
load test_target
expect_says /proc/cmdline "100 0 $KLP_CMDLINE" "read for the first time"
expect_says /proc/cmdline "101 0 $KLP_CMDLINE" "read again"
expect_value 7
revert test_api_rust
expect_value 301
expect_says /proc/cmdline "$KLP_CMDLINE" "reverted"
expect "$(klog | sed -n 's/.*test_api_rust: //p')" "\
pre_patch vmlinux
previous version 3
post_patch vmlinux
post_patch test_target with its module
pre_unpatch vmlinux
dropped 2, data 1
post_unpatch vmlinux
post_unpatch test_target with its module" "what the callbacks logged"
expect_log "livepatch: Failed to construct shadow variable <" ", 5275> (-16)"
revert test_api_1
unload test_target
