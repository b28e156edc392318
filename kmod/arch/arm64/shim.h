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
#define KLP_SLOT_REGS_SIZE 96
/* The context switch saves all three in the task, not on the stack. */
#define KLP_TASK_HAS_PC
#define KLP_TASK_SP(task) ((task)->thread.cpu_context.sp)
#define KLP_TASK_PC(task) ((task)->thread.cpu_context.pc)
#define KLP_TASK_FP(task) ((task)->thread.cpu_context.fp)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* The caller of the function that asks, which thereby has a frame record. */
#define KLP_CALLER(caller_pc, caller_sp, caller_fp) do { \
	const u64 *record_ = __builtin_frame_address(0); \
	(caller_pc) = (u64)__builtin_return_address(0); \
	(caller_sp) = (u64)(record_ + 2); \
	(caller_fp) = *record_; \
} while (0)
