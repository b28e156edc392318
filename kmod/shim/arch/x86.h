/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* x86_64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.ip)
#define KLP_REGS_SP	KLP_FREGS(regs.sp)
#define KLP_REGS_RA	KLP_ABSENT
#define KLP_REGS_GPRS	KLP_ABSENT
#define KLP_TASK_SP(task) ((task)->thread.sp)
#define KLP_TASK_PC(task) (0)
#define KLP_TASK_FP(task) (0)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* Where the code is that asks: ORC describes every instruction, so the registers must be those of one. */
#define KLP_HERE(pc, sp, fp) \
	asm volatile("leaq 0(%%rip), %0\n\tmovq %%rsp, %1\n\tmovq %%rbp, %2" : "=r" (pc), "=r" (sp), "=r" (fp))
