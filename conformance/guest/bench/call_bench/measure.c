// SPDX-License-Identifier: GPL-2.0-only OR MIT
/*
 * What a call costs: /sys/module/call_bench/parameters/cost is the time of one call in picoseconds. Under QEMU's -icount
 * shift=0 a nanosecond of guest time is an instruction, so a thousand picoseconds are one.
 */
#include <linux/irqflags.h>
#include <linux/ktime.h>
#include <linux/math64.h>
#include <linux/module.h>

#include "target.h"

#define CALLS 200000

static u64 call_bench_run(void)
{
	unsigned long flags, i, sum = 0;
	u64 start, end;

	local_irq_save(flags);
	start = ktime_get_ns();
	for (i = 0; i < CALLS; i++)
		sum += call_bench_target(i);
	end = ktime_get_ns();
	local_irq_restore(flags);
	/* Nothing may be left out of the loop. */
	OPTIMIZER_HIDE_VAR(sum);
	return div_u64((end - start) * 1000, CALLS);
}

static int call_bench_get(char *buffer, const struct kernel_param *kp)
{
	call_bench_run();
	return sysfs_emit(buffer, "%llu\n", call_bench_run());
}

static const struct kernel_param_ops call_bench_ops = { .get = call_bench_get };
module_param_cb(cost, &call_bench_ops, NULL, 0400);

static int __init call_bench_init(void)
{
	return 0;
}

static void __exit call_bench_exit(void)
{
}

module_init(call_bench_init);
module_exit(call_bench_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Benchmark: the cost of a call");
