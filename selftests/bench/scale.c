// SPDX-License-Identifier: GPL-2.0
/*
 * How a wake's cost grows with the number of words that are watched, and with the
 * number of waiters that its bucket holds.
 *
 * Prints "plot: PLOT SERIES X Y".
 */
#include <liburing.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/prctl.h>

#include "bench.h"

#ifndef PR_FUTEX_HASH
#define PR_FUTEX_HASH			78
#define PR_FUTEX_HASH_SET_SLOTS		1
#endif

static int count;
static struct io_uring ring;

/* Runs in a round: fewer where each takes long. */
static long runs(void)
{
	return count < 1000 ? 2000 : count < 100000 ? 200 : 20;
}

/* Where the kernel has a limit for all of a user's. */
static void raise_limit(const char *path)
{
	FILE *f = fopen(path, "w");

	must(f && fprintf(f, "10000000") > 0 && !fclose(f));
}

static void ring_wait(word_t *word)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

	if (!sqe) {
		must(io_uring_submit(&ring) > 0);
		sqe = io_uring_get_sqe(&ring);
	}
	io_uring_prep_futex_wait(sqe, word, 0, FUTEX_BITSET_MATCH_ANY, word_flags(PRIVATE), 0);
	sqe->user_data = (uintptr_t)word;
}

static void ring_init(void)
{
	must(!io_uring_queue_init(1024, &ring, 0));
	io_uring_register_ring_fd(&ring);
}

static double watched_afutex(void)
{
	word_t *words = private_pages(count / 1024 + 1);
	int dev = device(), set = new_set(dev);
	struct afutex_event ev[16];
	uint32_t seed = 1;

	ctl_members(set, AFUTEX_CTL_ADD, words, 1, count, AFUTEX_PERSISTENT);
	return measure(runs(), {
		must(wake_one(dev, &words[some(&seed, count)], PRIVATE) == 1);
		must(sys3(SYS_read, set, (long)ev, sizeof(ev)) == sizeof(*ev));
	});
}

static double watched_uring(void)
{
	word_t *words = private_pages(count / 1024 + 1);
	uint32_t seed = 1;

	ring_init();
	for (int i = 0; i < count; i++)
		ring_wait(&words[i]);
	must(io_uring_submit(&ring) >= 0);
	return measure(runs(), {
		struct io_uring_cqe *cqe;

		must(futex_wake(&words[some(&seed, count)], PRIVATE, 1) == 1);
		must(!io_uring_peek_cqe(&ring, &cqe) && !cqe->res);
		ring_wait((word_t *)(uintptr_t)cqe->user_data);
		io_uring_cqe_seen(&ring, cqe);
		must(io_uring_submit(&ring) == 1);
	});
}

static double watched_epoll(void)
{
	int *fds = private_pages(count / 1024 + 1), ep = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event ev = { .events = EPOLLIN };
	uint64_t one = 1;
	uint32_t seed = 1;

	raise_limit("/proc/sys/fs/epoll/max_user_watches");
	for (int i = 0; i < count; i++) {
		fds[i] = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
		ev.data.fd = fds[i];
		must(fds[i] >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fds[i], &ev));
	}
	return measure(runs(), {
		must(sys3(SYS_write, fds[some(&seed, count)], (long)&one, 8) == 8);
		must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
		must(sys3(SYS_read, ev.data.fd, (long)&one, 8) == 8);
	});
}

/* Words next to those with waiters, without waiters themselves. */
enum { OTHERS = 64 };

static double bucket_afutex(int step)
{
	word_t *words = private_pages(count / 1024 + 2);
	int dev = device(), set = new_set(dev);
	uint32_t seed = 1;

	ctl_members(set, AFUTEX_CTL_ADD, words + OTHERS, step, count, AFUTEX_PERSISTENT);
	return measure(runs(), must(!wake_one(dev, &words[some(&seed, OTHERS)], PRIVATE)));
}

/* A hash of a process's own has two buckets at least: twice as many waiters fill them. */
static double bucket_futex(int step)
{
	word_t *words = private_pages(2 * count / 1024 + 2);
	uint32_t seed = 1;

	must(!prctl(PR_FUTEX_HASH, PR_FUTEX_HASH_SET_SLOTS, 2, 0));
	ring_init();
	for (int i = 0; i < 2 * count; i++)
		ring_wait(&words[OTHERS + i * step]);
	must(io_uring_submit(&ring) >= 0);
	return measure(runs(), must(!futex_wake(&words[some(&seed, OTHERS)], PRIVATE, 1)));
}

static double words_afutex(void) { return bucket_afutex(1); }
static double words_futex(void) { return bucket_futex(1); }
static double word_afutex(void) { return bucket_afutex(0); }

static void point(const char *plot, const char *series, side_t *side)
{
	double y = run_side(side);

	if (y >= 0)
		printf("plot: %s %s %d %.1f\n", plot, series, count, y);
}

void scale(void)
{
	reload("max_user_watches=1000000");
	for (count = 1; count <= 1000000; count *= 10) {
		point("watched", "afutex", watched_afutex);
		point("watched", "io_uring", watched_uring);
		/* A million descriptors take half a minute to make and close. */
		if (count < 1000000)
			point("watched", "eventfd+epoll", watched_epoll);
	}
	reload("buckets=1 max_user_watches=1000000");
	for (count = 1; count <= 4096; count *= 4) {
		point("bucket", "afutex,a-word-each", words_afutex);
		point("bucket", "afutex,on-one-word", word_afutex);
		point("bucket", "futex(2)", words_futex);
	}
	reload("");
}
