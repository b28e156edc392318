/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* x86_64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.ip)
#define KLP_REGS_SP	KLP_FREGS(regs.sp)
#define KLP_REGS_RA	KLP_ABSENT
#define KLP_REGS_GPRS	KLP_ABSENT
#define KLP_TASK_SP(task) ((task)->thread.sp)
