/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* arm64: registers in struct ftrace_regs, saved state of a task that is not running. */
#ifdef CONFIG_HAVE_DYNAMIC_FTRACE_WITH_ARGS
#define KLP_REGS_PC	KLP_FREGS(pc)
#define KLP_REGS_SP	KLP_FREGS(sp)
#define KLP_REGS_RA	KLP_FREGS(lr)
#define KLP_REGS_GPRS	KLP_ABSENT
#else
#define KLP_REGS_PC	KLP_FREGS(regs.pc)
#define KLP_REGS_SP	KLP_FREGS(regs.sp)
#define KLP_REGS_RA	KLP_FREGS(regs.regs[30])
#define KLP_REGS_GPRS	KLP_FREGS(regs.regs[0])
#endif
#define KLP_TASK_SP(task) ((task)->thread.cpu_context.sp)
#define KLP_TASK_PC(task) ((task)->thread.cpu_context.pc)
#define KLP_TASK_FP(task) ((task)->thread.cpu_context.fp)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* Where the code is that asks; it has a frame record. */
#define KLP_HERE(pc, sp, fp) \
	asm volatile("adr %0, .\n\tmov %1, sp\n\tmov %2, x29" : "=r" (pc), "=r" (sp), "=r" (fp))
