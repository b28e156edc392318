/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* __name__: registers in struct ftrace_regs, saved state of a task that is not running. */
/* Fact::Shim */
#error "not stated: KLP_REGS_PC, KLP_REGS_SP, KLP_REGS_RA, KLP_REGS_GPRS, KLP_TASK_SP, KLP_TASK_PC, KLP_TASK_FP, KLP_TASK_BOTTOM, KLP_CALLER; kmod/arch of the SDK has those of others"
