// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* Shadow variables, one caller at a time. Reading a file of /proc/test_shadow does what it is named after. */
#include <linux/irqflags.h>
#include <linux/jiffies.h>
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/proc_fs.h>
#include <linux/slab.h>
#include <linux/string.h>
#include <linux/vmalloc.h>

#include "shadow.h"

#define FILL 0xa5
#define MANY 10000

/* Objects: only their addresses matter. */
static char object[3];

/* What a constructor saw, and what it is to answer. */
struct made {
	int calls, answer;
	void *obj, *data;
	bool zeroed, irqs_off, found;
};

static int make(void *obj, void *data, void *ctor_data)
{
	struct made *made = ctor_data;

	made->calls++;
	made->obj = obj;
	made->data = data;
	made->zeroed = !memchr_inv(data, 0, SIZE);
	made->irqs_off = irqs_disabled();
	made->found = klp_shadow_get(obj, ID);
	memset(data, FILL, SIZE);
	return made->answer;
}

/* What destructors saw. */
static struct unmade {
	int calls;
	void *obj, *data;
	bool filled, irqs_off, found;
} unmade;

static void unmake(void *obj, void *data)
{
	unmade.calls++;
	unmade.obj = obj;
	unmade.data = data;
	unmade.filled = !memchr_inv(data, FILL, SIZE);
	unmade.irqs_off = irqs_disabled();
	unmade.found = klp_shadow_get(obj, ID);
}

static void test_zeroed(struct seq_file *m)
{
	char *data;
	size_t size;

	EXPECT(!klp_shadow_get(object, ID));
	/* Sizes that share the allocator's caches with what was just freed, and not zeroed then. */
	for (size = 0; size <= 512; size += 8) {
		data = klp_shadow_alloc(object, ID, size, GFP_KERNEL, NULL, NULL);
		EXPECT(data);
		EXPECT(IS_ALIGNED((unsigned long)data, 8));
		EXPECT(!memchr_inv(data, 0, size));
		EXPECT(klp_shadow_get(object, ID) == data);
		memset(data, FILL, size);
		klp_shadow_free(object, ID, NULL);
		EXPECT(!klp_shadow_get(object, ID));
		data = klp_shadow_get_or_alloc(object, ID, size, GFP_KERNEL, NULL, NULL);
		EXPECT(data);
		EXPECT(!memchr_inv(data, 0, size));
		memset(data, FILL, size);
		klp_shadow_free(object, ID, NULL);
	}
}

static void test_constructed(struct seq_file *m)
{
	struct made made = {};
	char *data = klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made);

	EXPECT(data);
	EXPECT(made.calls == 1);
	EXPECT(made.obj == object && made.data == data);
	EXPECT(made.zeroed);
	EXPECT(made.irqs_off);
	EXPECT(!made.found);
	EXPECT(!memchr_inv(data, FILL, SIZE));
	EXPECT(klp_shadow_get(object, ID) == data);
	data = klp_shadow_get_or_alloc(object, OTHER, SIZE, GFP_KERNEL, make, &made);
	EXPECT(data);
	EXPECT(made.calls == 2);
	EXPECT(made.data == data);
}

static void test_refused(struct seq_file *m)
{
	struct made made = { .answer = -EBUSY };

	EXPECT(!klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(!klp_shadow_get(object, ID));
	EXPECT(!klp_shadow_get_or_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(!klp_shadow_get(object, ID));
	EXPECT(made.calls == 2);
	made.answer = 0;
	EXPECT(klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(made.calls == 3);
}

static void test_existing(struct seq_file *m)
{
	struct made made = {};
	char *data = klp_shadow_get_or_alloc(object, ID, SIZE, GFP_KERNEL, make, &made);

	EXPECT(data);
	memset(data, 1, SIZE);
	EXPECT(klp_shadow_get_or_alloc(object, ID, SIZE, GFP_KERNEL, make, &made) == data);
	EXPECT(made.calls == 1);
	EXPECT(!memchr_inv(data, 1, SIZE));
}

/* Warns. */
static void test_duplicate(struct seq_file *m)
{
	struct made made = {};
	char *data = klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, NULL, NULL);

	EXPECT(data);
	EXPECT(!klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(!made.calls);
	EXPECT(klp_shadow_get(object, ID) == data);
	EXPECT(!memchr_inv(data, 0, SIZE));
}

static void test_pairs(struct seq_file *m)
{
	void *data[ARRAY_SIZE(object)][2];
	int i, j;

	for (i = 0; i < ARRAY_SIZE(object); i++) {
		for (j = 0; j < 2; j++) {
			data[i][j] = klp_shadow_alloc(&object[i], ID + j, SIZE, GFP_KERNEL, NULL, NULL);
			EXPECT(data[i][j]);
		}
	}
	for (i = 0; i < ARRAY_SIZE(object); i++)
		for (j = 0; j < 2; j++)
			EXPECT(klp_shadow_get(&object[i], ID + j) == data[i][j]);
	klp_shadow_free(&object[1], ID, NULL);
	for (i = 0; i < ARRAY_SIZE(object); i++)
		for (j = 0; j < 2; j++)
			EXPECT(klp_shadow_get(&object[i], ID + j) == (i == 1 && !j ? NULL : data[i][j]));
	/* NULL is an address like others. */
	EXPECT(!klp_shadow_get(NULL, ID));
	EXPECT(klp_shadow_alloc(NULL, ID, SIZE, GFP_KERNEL, NULL, NULL));
	EXPECT(klp_shadow_get(NULL, ID));
}

static void test_freed(struct seq_file *m)
{
	struct made made = {};
	char *data = klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made);

	EXPECT(data);
	memset(&unmade, 0, sizeof(unmade));
	klp_shadow_free(object, OTHER, unmake);
	klp_shadow_free(&object[1], ID, unmake);
	EXPECT(!unmade.calls);
	klp_shadow_free(object, ID, unmake);
	EXPECT(unmade.calls == 1);
	EXPECT(unmade.obj == object && unmade.data == data);
	EXPECT(unmade.filled);
	EXPECT(unmade.irqs_off);
	EXPECT(!unmade.found);
	EXPECT(!klp_shadow_get(object, ID));
	klp_shadow_free(object, ID, unmake);
	EXPECT(unmade.calls == 1);
}

static void test_freed_all(struct seq_file *m)
{
	struct made made = {};
	int i, j;

	for (i = 0; i < ARRAY_SIZE(object); i++)
		for (j = 0; j < 2; j++)
			EXPECT(klp_shadow_alloc(&object[i], ID + j, SIZE, GFP_KERNEL, make, &made));
	memset(&unmade, 0, sizeof(unmade));
	klp_shadow_free_all(ID, unmake);
	EXPECT(unmade.calls == ARRAY_SIZE(object));
	EXPECT(unmade.filled && unmade.irqs_off && !unmade.found);
	for (i = 0; i < ARRAY_SIZE(object); i++) {
		EXPECT(!klp_shadow_get(&object[i], ID));
		EXPECT(klp_shadow_get(&object[i], OTHER));
	}
	klp_shadow_free_all(ID, unmake);
	EXPECT(unmade.calls == ARRAY_SIZE(object));
	klp_shadow_free_all(OTHER, NULL);
	for (i = 0; i < ARRAY_SIZE(object); i++)
		EXPECT(!klp_shadow_get(&object[i], OTHER));
}

/* More than there are chains. */
static void test_many_in(struct seq_file *m, long *objects)
{
	int i;

	for (i = 0; i < MANY; i++) {
		int *number = klp_shadow_alloc(&objects[i], ID, sizeof(*number), GFP_KERNEL, NULL, NULL);

		EXPECT(number);
		*number = i;
	}
	for (i = 0; i < MANY; i += 2)
		klp_shadow_free(&objects[i], ID, NULL);
	for (i = 0; i < MANY; i++) {
		int *number = klp_shadow_get(&objects[i], ID);

		EXPECT(i % 2 ? number && *number == i : !number);
	}
	klp_shadow_free_all(ID, NULL);
	for (i = 0; i < MANY; i++)
		EXPECT(!klp_shadow_get(&objects[i], ID));
}

static void test_many(struct seq_file *m)
{
	long *objects = vmalloc(array_size(MANY, sizeof(*objects)));

	EXPECT(objects);
	test_many_in(m, objects);
	vfree(objects);
}

/* The next allocation fails: klp.fail_nth is 1. */
static void test_no_memory(struct seq_file *m)
{
	struct made made = {};

	EXPECT(!klp_shadow_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(!made.calls);
	EXPECT(!klp_shadow_get(object, ID));
	EXPECT(klp_shadow_get_or_alloc(object, ID, SIZE, GFP_KERNEL, make, &made));
	EXPECT(made.calls == 1);
}

static void test_too_large(struct seq_file *m)
{
	const size_t sizes[] = { SIZE_MAX, SIZE_MAX - 39, SIZE_MAX - 40, SIZE_MAX / 2, 1UL << 40 };
	int i;

	for (i = 0; i < ARRAY_SIZE(sizes); i++) {
		EXPECT(!klp_shadow_alloc(object, ID, sizes[i], GFP_KERNEL | __GFP_NOWARN, NULL, NULL));
		EXPECT(!klp_shadow_get(object, ID));
	}
}

/* Of objects that are still there when this module has gone and come back. */
static void test_keep(struct seq_file *m)
{
	int *data = klp_shadow_alloc((void *)&jiffies, KEPT, sizeof(*data), GFP_KERNEL, NULL, NULL);

	EXPECT(data);
	*data = 4711;
	EXPECT(klp_shadow_alloc(NULL, KEPT, 1, GFP_KERNEL, NULL, NULL));
}

static void test_kept(struct seq_file *m)
{
	int *data = klp_shadow_get((void *)&jiffies, KEPT);

	EXPECT(data);
	EXPECT(*data == 4711);
}

static void test_not_kept(struct seq_file *m)
{
	EXPECT(!klp_shadow_get((void *)&jiffies, KEPT));
	EXPECT(!klp_shadow_get(NULL, KEPT));
}

static void test_forget(struct seq_file *m)
{
	klp_shadow_free_all(KEPT, NULL);
	test_not_kept(m);
}

static const struct test {
	const char *name;
	void (*run)(struct seq_file *m);
} tests[] = {
	{ "zeroed", test_zeroed },
	{ "constructed", test_constructed },
	{ "refused", test_refused },
	{ "existing", test_existing },
	{ "duplicate", test_duplicate },
	{ "pairs", test_pairs },
	{ "freed", test_freed },
	{ "freed_all", test_freed_all },
	{ "many", test_many },
	{ "no_memory", test_no_memory },
	{ "too_large", test_too_large },
	{ "contexts", test_contexts },
	{ "grace", test_grace },
	{ "race", test_race },
	{ "stress", test_stress },
	{ "keep", test_keep },
	{ "kept", test_kept },
	{ "not_kept", test_not_kept },
	{ "forget", test_forget },
};

static int test_show(struct seq_file *m, void *v)
{
	const struct test *test = m->private;

	test->run(m);
	if (!m->count)
		seq_puts(m, "ok\n");
	klp_shadow_free_all(ID, NULL);
	klp_shadow_free_all(OTHER, NULL);
	return 0;
}

static int __init test_init(void)
{
	struct proc_dir_entry *directory = proc_mkdir("test_shadow", NULL);
	size_t i;

	if (!directory)
		return -ENOMEM;
	for (i = 0; i < ARRAY_SIZE(tests); i++) {
		if (!proc_create_single_data(tests[i].name, 0444, directory, test_show, (void *)&tests[i])) {
			remove_proc_subtree("test_shadow", NULL);
			return -ENOMEM;
		}
	}
	return 0;
}

static void __exit test_exit(void)
{
	remove_proc_subtree("test_shadow", NULL);
}

module_init(test_init);
module_exit(test_exit);
MODULE_LICENSE("Dual MIT/GPL");
MODULE_DESCRIPTION("Live patch conformance: shadow variables");
