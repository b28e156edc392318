/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* s390: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(regs.psw.addr)
#define KLP_REGS_SP	KLP_FREGS(regs.gprs[15])
#define KLP_REGS_RA	KLP_FREGS(regs.gprs[14])
#define KLP_REGS_GPRS	KLP_FREGS(regs.gprs[0])
#define KLP_SLOT_REGS_SIZE 64
#define KLP_TASK_SP(task) ((task)->thread.ksp)
#define KLP_TASK_PC(task) (0)
#define KLP_TASK_FP(task) (0)
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* The operand of a number in inline assembly: gcc's modifier `c` prints a byte. */
#define KLP_OPERAND "%0"

/* The caller of the function that asks. With packed frames gcc takes the address of its back chain for that of its frame. */
#define KLP_CALLER(caller_pc, caller_sp, caller_fp) do { \
	(caller_pc) = (u64)__builtin_return_address(0); \
	(caller_sp) = (u64)__builtin_frame_address(0) - offsetof(struct stack_frame, back_chain); \
	(caller_fp) = 0; \
} while (0)
