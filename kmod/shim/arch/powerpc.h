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

/*
 * Where the code is that asks. It must have made its frame and saved LR in its caller's, which is what fp states; since LR
 * is lost and the frame is used here, the compiler cannot put that off until the first call, as it else may.
 */
#define KLP_HERE(pc, sp, fp) do { \
	(sp) = (u64)__builtin_frame_address(0); \
	(fp) = (sp); \
	asm volatile("bcl 20,31,1f\n1:\tmflr %0" : "=r" (pc) : "r" (sp) : "lr"); \
} while (0)
