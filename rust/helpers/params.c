// SPDX-License-Identifier: GPL-2.0
/*
 * The module's parameters. Those of the kernel crate's module! macro are read once, at
 * load time, and do not appear in sysfs: a limit must be there to be read and changed.
 */
#include <linux/log2.h>
#include <linux/minmax.h>
#include <linux/mm.h>
#include <linux/module.h>
#include <linux/moduleparam.h>

#include "helpers.h"

unsigned long afutex_buckets __read_mostly;
unsigned long afutex_max_user_watches __read_mostly;
bool afutex_native __read_mostly = true;

/* All the watches of a user may take 4 % of the memory, as epoll has it. */
static unsigned long default_max_user_watches(void)
{
	return max(totalram_pages() / 25 * (PAGE_SIZE / AFUTEX_WATCH_BYTES), 1UL);
}

void afutex_params_init(void)
{
	if (!afutex_max_user_watches)
		afutex_max_user_watches = default_max_user_watches();
}

static int set_buckets(const char *val, const struct kernel_param *kp)
{
	unsigned long buckets;

	if (kstrtoul(val, 0, &buckets) || (buckets && !is_power_of_2(buckets))) {
		pr_err("afutex: buckets must be a power of two, or 0 for as many as this machine wants, not %s\n",
		       val);
		return -EINVAL;
	}
	afutex_buckets = buckets;
	return 0;
}

/* May be changed at any time. A user that has more keeps it. */
static int set_max_user_watches(const char *val, const struct kernel_param *kp)
{
	unsigned long limit;

	if (kstrtoul(val, 0, &limit) || limit > LONG_MAX) {
		pr_err("afutex: max_user_watches must be a number, or 0 for 4 %% of memory, not %s\n",
		       val);
		return -EINVAL;
	}
	WRITE_ONCE(afutex_max_user_watches, limit ?: default_max_user_watches());
	return 0;
}

static const struct kernel_param_ops buckets_ops = {
	.set = set_buckets,
	.get = param_get_ulong,
};

static const struct kernel_param_ops max_user_watches_ops = {
	.set = set_max_user_watches,
	.get = param_get_ulong,
};

module_param_cb(buckets, &buckets_ops, &afutex_buckets, 0444);
__MODULE_PARM_TYPE(buckets, "ulong");
MODULE_PARM_DESC(buckets, "Buckets of the futex table, a power of two (default: by CPUs and memory)");

module_param_cb(max_user_watches, &max_user_watches_ops, &afutex_max_user_watches, 0644);
__MODULE_PARM_TYPE(max_user_watches, "ulong");
MODULE_PARM_DESC(max_user_watches, "Watches that a user may have (default: 4 % of memory)");

module_param_named(native, afutex_native, bool, 0444);
MODULE_PARM_DESC(native, "Whether descriptors may wait for wakes of futex(2) (default: Y)");
