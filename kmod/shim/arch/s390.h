/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* s390: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.psw.addr)
#define KLP_REGS_SP	KLP_FREGS(regs.gprs[15])
#define KLP_REGS_RA	KLP_FREGS(regs.gprs[14])
#define KLP_REGS_GPRS	KLP_FREGS(regs.gprs[0])
#define KLP_TASK_SP(task) ((task)->thread.ksp)
