/* SPDX-License-Identifier: GPL-2.0 */
/*
 * Wakes of futex(2), seen from outside of it: see futex_hook.c.
 */
#ifndef _AFUTEX_FUTEX_HOOK_H
#define _AFUTEX_FUTEX_HOOK_H

#include <linux/types.h>

struct page;

/* The size of the smallest word that has a count of its own, and how many counts there are. */
#define AFUTEX_HOOK_STEP	4
#define AFUTEX_HOOK_COUNTS	1024

/**
 * struct afutex_hook_ops - what is done about a wake of futex(2)
 * @woken: the word at @addr of @mm, a number of mm_id(), was woken: as a private
 *	one, or, as a shared one, in @page. Must not sleep.
 * @any_woken: a word that is not known was woken; with @offsets, one at an
 *	offset in its page, in units of AFUTEX_HOOK_STEP, that is set there. May
 *	sleep.
 */
struct afutex_hook_ops {
	void (*woken)(void *data, u64 mm, unsigned long addr, struct page *page);
	void (*any_woken)(void *data, const unsigned long *offsets);
};

/**
 * struct afutex_hook_stats - what was counted since the module was loaded
 * @hooked: how often the hooks were put in place
 * @handed_on: wakes that were left to the worker
 * @unknown: wakes whose word was not known
 * @in_place: whether they are there now
 */
struct afutex_hook_stats {
	u64 hooked;
	u64 handed_on;
	u64 unknown;
	u64 in_place;
};

int afutex_hook_find(void);
void afutex_hook_forget(void);
void afutex_hook_init(const struct afutex_hook_ops *ops, void *data);
void afutex_hook_exit(void);
int afutex_hook_get(void);
void afutex_hook_put(void);
void afutex_hook_count(u64 mm, unsigned long addr, bool shared, int count);
void afutex_hook_read_stats(struct afutex_hook_stats *stats);

#endif /* _AFUTEX_FUTEX_HOOK_H */
