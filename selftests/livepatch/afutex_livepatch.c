// SPDX-License-Identifier: GPL-2.0
/*
 * A live patch of two functions of futex(2), for native_traced: they wake nobody, and
 * the one that stores before adds 1000 to the word.
 */
#include <linux/livepatch.h>
#include <linux/module.h>
#include <linux/uaccess.h>

static int patched_wake(u32 __user *uaddr, unsigned int flags)
{
	return 0;
}

static int patched_wake_op(u32 __user *uaddr, unsigned int flags, u32 __user *uaddr2)
{
	u32 value;

	return get_user(value, uaddr2) ?: put_user(value + 1000, uaddr2);
}

static struct klp_func funcs[] = {
	{ .old_name = "futex_wake", .new_func = patched_wake },
	{ .old_name = "futex_wake_op", .new_func = patched_wake_op },
	{ }
};

static struct klp_object objects[] = {
	{ .funcs = funcs },
	{ }
};

static struct klp_patch patch = {
	.mod = THIS_MODULE,
	.objs = objects,
};

static int __init patch_init(void)
{
	return klp_enable_patch(&patch);
}

static void __exit patch_exit(void)
{
}

module_init(patch_init);
module_exit(patch_exit);
MODULE_DESCRIPTION("Live patch of futex(2), for a test of afutex");
MODULE_LICENSE("GPL");
MODULE_INFO(livepatch, "Y");
