/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* s390: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.psw.addr)
#define KLP_REGS_SP	KLP_FREGS(regs.gprs[15])
#define KLP_REGS_RA	KLP_FREGS(regs.gprs[14])
#define KLP_REGS_GPRS	KLP_FREGS(regs.gprs[0])
#define KLP_TASK_SP(task) ((task)->thread.ksp)
#define KLP_TASK_PC(task) (0)
#define KLP_TASK_FP(task) (0)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* Where the code is that asks; it calls others, so it has a frame. */
#define KLP_HERE(pc, sp, fp) do { \
	asm volatile("larl %0,.\n\tlgr %1,%%r15" : "=d" (pc), "=d" (sp)); \
	(fp) = 0; \
} while (0)
