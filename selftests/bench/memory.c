// SPDX-License-Identifier: GPL-2.0
/*
 * Bytes of kernel memory for each word that is waited for: what is not free any more,
 * once very many are.
 *
 * Prints "memory: BYTES NAME".
 */
#include <liburing.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "bench.h"

enum { MANY = 100000 };

/* The sum of what the lines of a file say that look like this one. */
static long sum_of(const char *path, const char *line_like)
{
	char line[256];
	long value, sum = 0;
	FILE *f = fopen(path, "r");

	must(f);
	while (fgets(line, sizeof(line), f))
		if (sscanf(line, line_like, &value) == 1)
			sum += value;
	fclose(f);
	return sum;
}

/* Bytes; those that a CPU keeps for itself are in other lists, and free all the same. */
static long free_memory(void)
{
	/* What RCU has to free is free then. */
	usleep(500000);
	/* Reading this has the CPUs add up what they count. */
	sum_of("/proc/sys/vm/stat_refresh", "%ld");
	return sum_of("/proc/meminfo", "MemFree: %ld") * 1024 +
	       sum_of("/proc/zoneinfo", " count: %ld") * 4096;
}

/* The words, and what else is user memory, must be there before. */
#define taken_by(...) ({						\
	long __before = free_memory();					\
									\
	__VA_ARGS__;							\
	(double)(__before - free_memory()) / MANY;			\
})

static double members(void)
{
	word_t *words = private_pages(MANY / 1024 + 1);
	int dev = device(), set = new_set(dev);

	/* Touches what the call uses. */
	ctl_members(new_set(dev), AFUTEX_CTL_ADD, words, 1, 1000, AFUTEX_PERSISTENT);
	return taken_by(ctl_members(set, AFUTEX_CTL_ADD, words, 1, MANY, AFUTEX_PERSISTENT));
}

static double one_word(void)
{
	word_t *words = private_pages(1);
	int dev = device(), set = new_set(dev);

	ctl_members(new_set(dev), AFUTEX_CTL_ADD, words, 0, 1000, AFUTEX_PERSISTENT);
	return taken_by(ctl_members(set, AFUTEX_CTL_ADD, words, 0, MANY, AFUTEX_PERSISTENT));
}

static double descriptors(void)
{
	word_t *words = private_pages(MANY / 1024 + 1);
	int dev = device();

	new_watch(dev, words, PRIVATE, AFUTEX_PERSISTENT);
	return taken_by({
		for (int i = 0; i < MANY; i++)
			new_watch(dev, &words[i], PRIVATE, AFUTEX_PERSISTENT);
	});
}

static double uring(void)
{
	word_t *words = private_pages(MANY / 1024 + 1);
	struct io_uring_params params = {
		.flags = IORING_SETUP_CQSIZE | IORING_SETUP_CLAMP, .cq_entries = MANY,
	};
	struct io_uring ring;

	/* With room for as many completions as there can be. */
	return taken_by({
		must(!io_uring_queue_init_params(1024, &ring, &params));
		for (int i = 0; i < MANY; i++) {
			struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

			if (!sqe) {
				must(io_uring_submit(&ring) > 0);
				sqe = io_uring_get_sqe(&ring);
			}
			io_uring_prep_futex_wait(sqe, &words[i], 0, FUTEX_BITSET_MATCH_ANY,
						 word_flags(PRIVATE), 0);
		}
		must(io_uring_submit(&ring) > 0);
	});
}

static double eventfds(void)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	return taken_by({
		for (int i = 0; i < MANY; i++) {
			int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);

			must(fd >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
		}
	});
}

void memory(void)
{
	static const struct {
		const char *what;
		side_t *side;
	} kinds[] = {
		{ "member of a set, a word each", members },
		{ "member of a set, all of one word", one_word },
		{ "descriptor of a watch", descriptors },
		{ "io_uring futex wait", uring },
		{ "eventfd in epoll", eventfds },
	};

	for (int i = 0; i < sizeof(kinds) / sizeof(kinds[0]); i++)
		printf("memory: %.0f %s\n", run_side(kinds[i].side), kinds[i].what);
}
