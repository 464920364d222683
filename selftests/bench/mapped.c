// SPDX-License-Identifier: GPL-2.0
/* Sets whose events are in memory. */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include <afutex.h>

#include "bench.h"

enum { N = 5000, SOME = 64, HERD = 10000, HERD_ROOM = 16384 };

static struct afutex_taken taken[HERD];

/* A set with so many persistent members, all of one word or of a word each. */
static void open_set(struct afutex_mapped_set *set, uint32_t room, word_t *words, int step, int n,
		     uint32_t flags)
{
	must(!afutex_mapped_set_open(set, room, O_NONBLOCK, 0));
	ctl_members(set->fd, AFUTEX_CTL_ADD, words, step, n, flags);
}

static double take(void)
{
	word_t *word = private_pages(1);
	int dev = device();
	struct afutex_mapped_set set;

	open_set(&set, 1, word, 0, 1, AFUTEX_PERSISTENT);
	return measure(N, {
		must(wake_one(dev, word, PRIVATE) == 1);
		must(afutex_mapped_set_take(&set, taken) && taken->count == 1);
	});
}

static double take_epoll(void)
{
	word_t *word = private_pages(1);
	int dev = device(), ep;
	struct afutex_mapped_set set;
	struct epoll_event ev;

	open_set(&set, 1, word, 0, 1, AFUTEX_PERSISTENT);
	ep = new_epoll(set.fd);
	return measure(N, {
		must(wake_one(dev, word, PRIVATE) == 1);
		must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
		must(afutex_mapped_set_take(&set, taken) && taken->count == 1);
	});
}

/* The reader's side alone. */
static double take_some(void)
{
	word_t *word = private_pages(1);
	int dev = device();
	struct afutex_mapped_set set;

	open_set(&set, SOME, word, 0, SOME, AFUTEX_PERSISTENT);
	return measure_after(must(ioctl3(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, (long)word) == SOME), {
		must(afutex_mapped_set_take_many(&set, taken, HERD) == SOME);
	}) / SOME;
}

static double read_some(void)
{
	int fds[SOME];
	uint64_t count = 1;

	for (int i = 0; i < SOME; i++)
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	return measure_after({
		for (int i = 0; i < SOME; i++)
			must(sys3(SYS_write, fds[i], (long)&count, sizeof(count)) == sizeof(count));
	}, {
		for (int i = 0; i < SOME; i++)
			must(sys3(SYS_read, fds[i], (long)&count, sizeof(count)) == sizeof(count));
	}) / SOME;
}

static double take_herd(bool persistent)
{
	word_t *word = private_pages(1);
	int dev = device();
	struct afutex_mapped_set set;
	bool armed = true;

	open_set(&set, HERD_ROOM, word, 0, HERD, persistent ? AFUTEX_PERSISTENT : 0);
	return measure_after({
		if (!armed && !persistent)
			ctl_members(set.fd, AFUTEX_CTL_MOD, word, 0, HERD, 0);
		armed = false;
	}, {
		must(ioctl3(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, (long)word) == HERD);
		must(afutex_mapped_set_take_many(&set, taken, HERD) == HERD);
	}) / HERD;
}

static double herd_persistent(void) { return take_herd(true); }
static double herd_oneshot(void) { return take_herd(false); }

void mapped(void)
{
	static const struct row rows[] = {
		{ "mapped-take", take, "eventfd", read_eventfd },
		{ "mapped-epoll", take_epoll, "eventfd", epoll_eventfd },
		{ "mapped-take-64", take_some, "eventfd", read_some },
		{ "mapped-10000", herd_persistent, "io_uring", all_uring,
			{ { "one-shot", herd_oneshot } } },
	};

	ROWS(rows);
}
