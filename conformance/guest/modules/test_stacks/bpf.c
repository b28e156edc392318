// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* A BPF program that sleeps: it calls schedule(), which the verifier would not let one from user space do. */
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/sched.h>
#include <linux/seq_file.h>
#include <linux/static_call.h>
#include <linux/string.h>

#include "stacks.h"

static struct bpf_prog *prog;

/* Programs that user space loads are made known as text. */
DEFINE_STATIC_CALL_NULL(stacks_bpf_add, *(void (*)(struct bpf_prog *))NULL);
DEFINE_STATIC_CALL_NULL(stacks_bpf_del, *(void (*)(struct bpf_prog *))NULL);

int stacks_bpf_init(void)
{
	struct bpf_insn insns[] = {
		BPF_EMIT_CALL(schedule),
		BPF_MOV64_IMM(BPF_REG_0, 0),
		BPF_EXIT_INSN(),
	};
	unsigned long add = stacks_symbol("bpf_prog_kallsyms_add");
	unsigned long del = stacks_symbol("bpf_prog_kallsyms_del");
	int ret;

	prog = bpf_prog_alloc(bpf_prog_size(ARRAY_SIZE(insns)), 0);
	if (!prog)
		return -ENOMEM;
	prog->len = ARRAY_SIZE(insns);
	memcpy(prog->insnsi, insns, sizeof(insns));
	prog->type = BPF_PROG_TYPE_SOCKET_FILTER;
	prog->aux->stack_depth = 64;
	prog = bpf_prog_select_runtime(prog, &ret);
	if (ret) {
		bpf_prog_free(prog);
		return ret;
	}
	/* Without a compiler these are inline, and empty. */
	if (add && del) {
		static_call_update(stacks_bpf_add, (void *)add);
		static_call_update(stacks_bpf_del, (void *)del);
		static_call(stacks_bpf_add)(prog);
	}
	return 0;
}

void stacks_bpf_exit(void)
{
	static_call_cond(stacks_bpf_del)(prog);
	bpf_prog_free(prog);
}

/* Whether its code was made at run time, rather than interpreted. */
int stacks_bpf_show(struct seq_file *m, void *v)
{
	seq_puts(m, prog->jited ? "compiled\n" : "interpreted\n");
	return 0;
}

STACKS_FUNC int stacks_bpf(struct stacks_parked *parked)
{
	for (;;) {
		set_current_state(TASK_IDLE);
		if (READ_ONCE(parked->released))
			break;
		WRITE_ONCE(parked->arrived, true);
		bpf_prog_run(prog, NULL);
	}
	__set_current_state(TASK_RUNNING);
	return 1;
}
