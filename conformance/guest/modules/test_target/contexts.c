// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Calls of a function from interrupts. */
#include <linux/atomic.h>
#include <linux/completion.h>
#include <linux/cpumask.h>
#include <linux/irq_work.h>
#include <linux/jiffies.h>
#include <linux/kernel.h>
#include <linux/preempt.h>
#include <linux/sched.h>
#include <linux/smp.h>
#include <linux/timer.h>
#ifdef CONFIG_X86
#include <asm/nmi.h>
#endif

#include "target.h"

int test_context(void);

TEST_FUNC int test_context(void)
{
	return 1;
}

/* One kind of context: in how many calls the function said what. */
struct context {
	atomic_t calls, misplaced, sum;
};

static void context_call(struct context *context, bool in_place)
{
	atomic_inc(&context->calls);
	if (!in_place)
		atomic_inc(&context->misplaced);
	atomic_add(test_context(), &context->sum);
}

static void context_print(struct seq_file *m, const char *name, const struct context *context)
{
	seq_printf(m, "%s calls %d misplaced %d sum %d\n", name, atomic_read(&context->calls),
		   atomic_read(&context->misplaced), atomic_read(&context->sum));
}

static void call_in_ipi(void *info)
{
	/* An idle CPU that polls is asked without an interrupt (flush_smp_call_function_queue in do_idle). */
	context_call(info, in_hardirq() || (is_idle_task(current) && irqs_disabled()));
}

struct work {
	struct irq_work work;
	struct timer_list timer;
	struct context context;
	struct completion done;
};

static void call_in_irq_work(struct irq_work *irq_work)
{
	struct work *work = container_of(irq_work, struct work, work);

	context_call(&work->context, in_hardirq());
	complete(&work->done);
}

static void call_in_timer(struct timer_list *timer)
{
	struct work *work = container_of(timer, struct work, timer);

	context_call(&work->context, in_serving_softirq() && !in_hardirq());
	complete(&work->done);
}

/* Outlives its callers. */
static struct work irq_work, soft_work;

int contexts_show(struct seq_file *m, void *v)
{
	struct context ipi = {};

	smp_call_function(call_in_ipi, &ipi, 1);
	context_print(m, "ipi", &ipi);

	memset(&irq_work, 0, sizeof(irq_work));
	init_completion(&irq_work.done);
	irq_work.work = IRQ_WORK_INIT_HARD(call_in_irq_work);
	irq_work_queue(&irq_work.work);
	wait_for_completion(&irq_work.done);
	irq_work_sync(&irq_work.work);
	context_print(m, "irq_work", &irq_work.context);

	memset(&soft_work, 0, sizeof(soft_work));
	init_completion(&soft_work.done);
	timer_setup(&soft_work.timer, call_in_timer, 0);
	mod_timer(&soft_work.timer, jiffies + 1);
	wait_for_completion(&soft_work.done);
	context_print(m, "softirq", &soft_work.context);
	return 0;
}

#ifdef CONFIG_X86
static struct context nmi;

/* Sees every NMI, and leaves it to its handler. */
static int call_in_nmi(unsigned int type, struct pt_regs *regs)
{
	context_call(&nmi, in_nmi());
	return NMI_DONE;
}

int nmi_show(struct seq_file *m, void *v)
{
	context_print(m, "nmi", &nmi);
	atomic_set(&nmi.calls, 0);
	atomic_set(&nmi.misplaced, 0);
	atomic_set(&nmi.sum, 0);
	return 0;
}

int test_contexts_init(void)
{
	return register_nmi_handler(NMI_LOCAL, call_in_nmi, NMI_FLAG_FIRST, "test_target");
}

void test_contexts_exit(void)
{
	unregister_nmi_handler(NMI_LOCAL, "test_target");
}
#else
int nmi_show(struct seq_file *m, void *v)
{
	seq_puts(m, "none\n");
	return 0;
}

int test_contexts_init(void)
{
	return 0;
}

void test_contexts_exit(void)
{
}
#endif
