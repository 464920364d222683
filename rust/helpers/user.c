// SPDX-License-Identifier: GPL-2.0

#include <linux/cred.h>
#include <linux/sched/signal.h>
#include <linux/sched/user.h>

#include "helpers.h"

struct user_struct *afutex_current_user(void)
{
	return current_user();
}

struct user_struct *afutex_get_current_user(void)
{
	return get_uid(current_user());
}

/* In bytes. */
unsigned long afutex_memlock_limit(void)
{
	return rlimit(RLIMIT_MEMLOCK);
}
