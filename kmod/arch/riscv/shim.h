/* SPDX-License-Identifier: GPL-2.0-only OR MIT */
/* riscv64: registers in struct ftrace_regs, saved state of a task that is not running. */
#define KLP_REGS_PC	KLP_FREGS(epc)
#define KLP_REGS_SP	KLP_FREGS(sp)
#define KLP_REGS_RA	KLP_FREGS(ra)
#define KLP_REGS_GPRS	KLP_ABSENT
#define KLP_SLOT_REGS_SIZE 88
/* The context switch saves all three in the task, not on the stack (__switch_to in arch/riscv/kernel/entry.S). */
#define KLP_TASK_HAS_PC
#define KLP_TASK_SP(task) ((task)->thread.sp)
#define KLP_TASK_PC(task) ((task)->thread.ra)
#define KLP_TASK_FP(task) ((task)->thread.s[0])
#define KLP_TASK_BOTTOM(task) ((u64)task_pt_regs(task))

/* Frames are by the frame pointer. Without it no walk is reliable. */
#ifndef CONFIG_FRAME_POINTER
#define KLP_NO_UNWIND_INFO
#endif

/* The operand of a number in inline assembly: gcc for riscv has no modifier `c`. */
#define KLP_OPERAND "%0"

/*
 * The caller of the function that asks, which thereby has a frame. It ends where the caller's begins, and that is what s0 holds;
 * the caller's own s0 is in the second word below (psABI, "Frame Pointer Convention").
 */
#define KLP_CALLER(caller_pc, caller_sp, caller_fp) do { \
	const u64 *frame_ = __builtin_frame_address(0); \
	(caller_pc) = (u64)__builtin_return_address(0); \
	(caller_sp) = (u64)frame_; \
	(caller_fp) = frame_[-2]; \
} while (0)
