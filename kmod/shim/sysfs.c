// SPDX-License-Identifier: GPL-2.0-only OR MIT
/* /sys/kernel/klp/PATCH/OBJECT/FUNCTION,POS, laid out as Documentation/ABI/testing/sysfs-kernel-livepatch says. */
#include <linux/kobject.h>
#include <linux/kstrtox.h>
#include <linux/pid.h>
#include <linux/sched.h>
#include <linux/sysfs.h>

#include "shim.h"

struct klp_node {
	struct kobject kobj;
	struct klp_index index;
};

static ssize_t klp_show(struct kobject *kobj, unsigned int attr, char *buf)
{
	struct klp_node *node = container_of(kobj, struct klp_node, kobj);
	u64 value = 0;
	int ret = klp_rs_attr_show(node->index, attr, &value);

	return ret ? ret : sysfs_emit(buf, "%llu\n", value);
}

#define KLP_ATTR_SHOW(attr, number)									\
static ssize_t attr##_show(struct kobject *kobj, struct kobj_attribute *kattr, char *buf)		\
{													\
	return klp_show(kobj, number, buf);								\
}

KLP_ATTR_SHOW(enabled, KLP_ATTR_ENABLED)
KLP_ATTR_SHOW(transition, KLP_ATTR_TRANSITION)
KLP_ATTR_SHOW(replace, KLP_ATTR_REPLACE)
KLP_ATTR_SHOW(stack_order, KLP_ATTR_STACK_ORDER)
KLP_ATTR_SHOW(patched, KLP_ATTR_PATCHED)

static ssize_t entry_show(struct kobject *kobj, struct kobj_attribute *kattr, char *buf)
{
	static const char *const names[] = {
		[KLP_ENTRY_NONE] = "none",
		[KLP_ENTRY_CALLBACK] = "callback",
		[KLP_ENTRY_DIRECT] = "direct",
		[KLP_ENTRY_SLOT] = "slot",
	};
	u64 entry = 0;
	int ret = klp_rs_attr_show(container_of(kobj, struct klp_node, kobj)->index, KLP_ATTR_ENTRY, &entry);

	return ret ? ret : sysfs_emit(buf, "%s\n", names[entry]);
}

static ssize_t enabled_store(struct kobject *kobj, struct kobj_attribute *kattr, const char *buf, size_t count)
{
	struct klp_node *node = container_of(kobj, struct klp_node, kobj);
	bool enabled;
	int ret = kstrtobool(buf, &enabled);

	if (!ret)
		ret = klp_rs_attr_store(node->index.patch, KLP_ATTR_ENABLED, enabled);
	return ret ? ret : count;
}

static ssize_t force_store(struct kobject *kobj, struct kobj_attribute *kattr, const char *buf, size_t count)
{
	struct klp_node *node = container_of(kobj, struct klp_node, kobj);
	bool force;
	int ret = kstrtobool(buf, &force);

	if (!ret && force)
		ret = klp_rs_attr_store(node->index.patch, KLP_ATTR_FORCE, force);
	return ret ? ret : count;
}

/* Which tasks hold the transition up, a line each: pid, comm, the function or the reason, seconds. */
static ssize_t blocked_show(struct kobject *kobj, struct kobj_attribute *kattr, char *buf)
{
	return klp_rs_blocked_show(container_of(kobj, struct klp_node, kobj)->index.patch, buf, PAGE_SIZE);
}

int klp_shim_show_blocked(char *line, size_t size, struct task_struct *task, u64 addr, const char *why, u64 ms)
{
	unsigned long seconds = ms / 1000, rest = ms % 1000;

	if (addr)
		return scnprintf(line, size, "%d %s %pS %lu.%03lu\n", task_pid_nr(task), task->comm,
				 (void *)(unsigned long)addr, seconds, rest);
	return scnprintf(line, size, "%d %s %s %lu.%03lu\n", task_pid_nr(task), task->comm, why, seconds, rest);
}

static struct kobj_attribute enabled_attr = __ATTR_RW(enabled);
static struct kobj_attribute transition_attr = __ATTR_RO(transition);
static struct kobj_attribute replace_attr = __ATTR_RO(replace);
static struct kobj_attribute stack_order_attr = __ATTR_RO(stack_order);
static struct kobj_attribute patched_attr = __ATTR_RO(patched);
static struct kobj_attribute entry_attr = __ATTR_RO(entry);
static struct kobj_attribute force_attr = __ATTR_WO(force);
static struct kobj_attribute blocked_attr = __ATTR(blocked, 0400, blocked_show, NULL);

static struct attribute *klp_patch_attrs[] = {
	&enabled_attr.attr, &transition_attr.attr, &replace_attr.attr, &stack_order_attr.attr,
	&force_attr.attr, &blocked_attr.attr, NULL,
};
ATTRIBUTE_GROUPS(klp_patch);

static struct attribute *klp_object_attrs[] = { &patched_attr.attr, NULL };
ATTRIBUTE_GROUPS(klp_object);

static struct attribute *klp_func_attrs[] = { &entry_attr.attr, NULL };
ATTRIBUTE_GROUPS(klp_func);

static void klp_node_release(struct kobject *kobj)
{
	klp_shim_free(container_of(kobj, struct klp_node, kobj));
}

static const struct kobj_type klp_node_types[] = {
	[KLP_NODE_PATCH] = {
		.release = klp_node_release,
		.sysfs_ops = &kobj_sysfs_ops,
		.default_groups = klp_patch_groups,
	},
	[KLP_NODE_OBJECT] = {
		.release = klp_node_release,
		.sysfs_ops = &kobj_sysfs_ops,
		.default_groups = klp_object_groups,
	},
	[KLP_NODE_FUNC] = {
		.release = klp_node_release,
		.sysfs_ops = &kobj_sysfs_ops,
		.default_groups = klp_func_groups,
	},
};

static struct kobject *klp_root;

size_t klp_shim_node_size(void)
{
	return sizeof(struct klp_node);
}

/* Takes the node's memory over: on an error it is freed. */
int klp_shim_node_add(struct klp_node *node, struct klp_node *parent, unsigned int kind, struct klp_index index,
		      const char *name, u64 position)
{
	struct kobject *above = parent ? &parent->kobj : klp_root;
	int ret;

	node->index = index;
	if (kind == KLP_NODE_FUNC)
		ret = kobject_init_and_add(&node->kobj, &klp_node_types[kind], above, "%s,%llu", name, position);
	else
		ret = kobject_init_and_add(&node->kobj, &klp_node_types[kind], above, "%s", name);
	if (ret)
		kobject_put(&node->kobj);
	return ret;
}

/* Waits for attribute callbacks that run; not to be called with the lock held that they take. */
void klp_shim_node_del(struct klp_node *node)
{
	kobject_del(&node->kobj);
	kobject_put(&node->kobj);
}

int klp_shim_sysfs_init(void)
{
	klp_root = kobject_create_and_add("klp", kernel_kobj);
	if (!klp_root)
		return -ENOMEM;
	/* Tools written for the kernel's livepatch find ours where the kernel has none. */
	if (!IS_ENABLED(CONFIG_LIVEPATCH)) {
		int ret = sysfs_create_link(kernel_kobj, klp_root, "livepatch");

		if (ret) {
			kobject_put(klp_root);
			return ret;
		}
	}
	return 0;
}

void klp_shim_sysfs_exit(void)
{
	if (!IS_ENABLED(CONFIG_LIVEPATCH))
		sysfs_remove_link(kernel_kobj, "livepatch");
	kobject_put(klp_root);
}
