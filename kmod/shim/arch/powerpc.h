/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* ppc64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.nip)
#define KLP_REGS_SP	KLP_FREGS(regs.gpr[1])
#define KLP_REGS_RA	KLP_FREGS(regs.link)
#define KLP_REGS_GPRS	KLP_FREGS(regs.gpr[0])
#define KLP_TASK_SP(task) ((task)->thread.ksp)
