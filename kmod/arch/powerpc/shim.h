/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* ppc64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.nip)
#define KLP_REGS_SP	KLP_FREGS(regs.gpr[1])
#define KLP_REGS_RA	KLP_FREGS(regs.link)
#define KLP_REGS_GPRS	KLP_FREGS(regs.gpr[0])
#define KLP_TASK_SP(task) ((task)->thread.ksp)
#define KLP_TASK_PC(task) (0)
#define KLP_TASK_FP(task) (0)
/*
 * The lowest frame that entry code made (arch_stack_walk_reliable in arch/powerpc/kernel/stacktrace.c): a register block
 * and a frame under it; for a kernel thread (in older kernels, for an idle task) the frame alone.
 */
#ifdef KLP_HAVE_USER_INT_FRAME
#define KLP_TASK_FRAME(task) ((task)->flags & PF_KTHREAD ? STACK_FRAME_MIN_SIZE : STACK_USER_INT_FRAME_SIZE)
#else
#define KLP_TASK_FRAME(task) (is_idle_task(task) ? STACK_FRAME_OVERHEAD : STACK_FRAME_OVERHEAD + sizeof(struct pt_regs))
#endif
#define KLP_TASK_BOTTOM(task) ((u64)task_stack_page(task) + THREAD_SIZE - KLP_TASK_FRAME(task))

/* The caller of the function that asks, which thereby has a frame. */
#define KLP_CALLER(caller_pc, caller_sp, caller_fp) do { \
	(caller_pc) = (u64)__builtin_return_address(0); \
	(caller_sp) = *(const u64 *)__builtin_frame_address(0); \
	(caller_fp) = 0; \
} while (0)
