/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* x86_64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.ip)
#define KLP_REGS_SP	KLP_FREGS(regs.sp)
#define KLP_REGS_RA	KLP_ABSENT
#define KLP_REGS_GPRS	KLP_ABSENT
#define KLP_SLOT_REGS_SIZE 80
/* An instruction that CPUs execute is not replaced by one store (SDM vol. 3A, "Handling Self- and Cross-Modifying Code"). */
#define KLP_WRITE_BY_BREAKPOINT
#define KLP_TASK_SP(task) ((task)->thread.sp)
#define KLP_TASK_PC(task) (0)
#define KLP_TASK_FP(task) (0)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* The caller of the function that asks, which thereby has a frame pointer. */
#define KLP_CALLER(caller_pc, caller_sp, caller_fp) do { \
	const u64 *frame_ = __builtin_frame_address(0); \
	(caller_pc) = (u64)__builtin_return_address(0); \
	(caller_sp) = (u64)(frame_ + 2); \
	(caller_fp) = *frame_; \
} while (0)

/* Neither tables nor frame pointers (CONFIG_UNWINDER_GUESS). */
#if !defined(CONFIG_UNWINDER_ORC) && !defined(CONFIG_UNWINDER_FRAME_POINTER)
#define KLP_NO_UNWIND_INFO
#endif
