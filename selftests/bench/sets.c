// SPDX-License-Identifier: GPL-2.0
/* Many words at once. */
#include <liburing.h>
#include <pthread.h>
#include <sched.h>

#include "bench.h"

enum { MANY = 100000, HERD = 10000, WAITED = 128 };

static struct afutex_event events[HERD];

void ctl_members(int set, uint32_t op, word_t *words, int step, int n, uint32_t flags)
{
	enum { BATCH = 1000 };
	static struct afutex_ctl items[BATCH];
	struct afutex_ctlv args = { .items = (uintptr_t)items };

	for (int at = 0; at < n; at += args.nr) {
		args.nr = n - at < BATCH ? n - at : BATCH;
		for (int i = 0; i < args.nr; i++)
			items[i] = (struct afutex_ctl) {
				.op = op, .id = op == AFUTEX_CTL_ADD ? 0 : at + i,
				.watch = {
					.uaddr = (uintptr_t)(words + (at + i) * (long)step),
					.mask = ~0u, .cookie = at + i,
					.flags = word_flags(PRIVATE) | flags,
				},
			};
		must(ioctl3(set, AFUTEX_IOC_CTL, (long)&args) == args.nr);
		for (int i = 0; i < args.nr; i++)
			must(!items[i].result && items[i].id == at + i);
	}
}

static double one_of(int n)
{
	word_t *words = private_pages(n / 1024 + 1);
	int dev = device(), set = new_set(dev);
	uint32_t seed = 1;

	ctl_members(set, AFUTEX_CTL_ADD, words, 1, n, AFUTEX_PERSISTENT);
	return measure(5000, {
		must(wake_one(dev, &words[some(&seed, n)], PRIVATE) == 1);
		must(sys3(SYS_read, set, (long)events, 16 * sizeof(*events)) == sizeof(*events));
	});
}

static double one_of_one(void) { return one_of(1); }
static double one_of_many(void) { return one_of(MANY); }

/*
 * A thread that waits for any of WAITED words. Its real-time priority has it run as soon
 * as it is woken, and to the end of its next wait: an operation is a wake, the return
 * from one wait and the whole of the next.
 */
static word_t *waited;
static int waited_set = -1;
static bool waited_oneshot;
static volatile long woken;

static void *wait_for_any(void *arg)
{
	struct sched_param first = { .sched_priority = 1 };
	struct futex_waitv all[WAITED];
	struct afutex_event ev[16];
	struct afutex_ctl again = {
		.op = AFUTEX_CTL_MOD,
		.watch = { .mask = ~0u, .flags = word_flags(PRIVATE) | AFUTEX_COMPARE },
	};
	struct afutex_set_wait args = {
		.items = (uintptr_t)&again, .nr_events = 16, .events = (uintptr_t)ev,
		.clockid = CLOCK_MONOTONIC,
	};

	for (int i = 0; i < WAITED; i++)
		all[i] = (struct futex_waitv) {
			.uaddr = (uintptr_t)&waited[i], .flags = word_flags(PRIVATE),
		};
	must(!sched_setscheduler(0, SCHED_FIFO, &first));
	for (;;) {
		if (waited_set < 0) {
			must(sys6(SYS_futex_waitv, (long)all, WAITED, 0, 0, 0, 0) >= 0);
		} else {
			must(ioctl3(waited_set, AFUTEX_IOC_SET_WAIT, (long)&args) == 1);
			if (waited_oneshot) {
				again.id = again.watch.cookie = ev[0].cookie;
				again.watch.uaddr = (uintptr_t)&waited[ev[0].cookie];
				args.nr_items = 1;
			}
		}
		woken++;
	}
	return NULL;
}

static void start_waiter(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, wait_for_any, NULL));
	usleep(1000);
}

static double rewait_afutex(bool oneshot)
{
	int dev = device();
	long i = 0;

	waited = private_pages(1);
	waited_set = new_set(dev);
	waited_oneshot = oneshot;
	ctl_members(waited_set, AFUTEX_CTL_ADD, waited, 1, WAITED,
		    oneshot ? AFUTEX_COMPARE : AFUTEX_PERSISTENT);
	start_waiter();
	return measure(2000, {
		must(wake_one(dev, &waited[i++ % WAITED], PRIVATE) == 1);
		must(woken == i);
	});
}

static double rewait_set(void) { return rewait_afutex(false); }
static double rewait_oneshot(void) { return rewait_afutex(true); }

static double rewait_futex(void)
{
	long i = 0;

	waited = private_pages(1);
	start_waiter();
	return measure(200, {
		must(futex_wake(&waited[i++ % WAITED], PRIVATE, 1) == 1);
		must(woken == i);
	});
}

static void read_all(int set)
{
	must(sys3(SYS_read, set, (long)events, sizeof(events)) == sizeof(events));
}

static double all_set(bool persistent, bool tell)
{
	word_t *word = private_pages(1);
	int dev = device(), set = new_set(dev);
	bool armed = false;

	ctl_members(set, AFUTEX_CTL_ADD, word, 0, HERD, persistent ? AFUTEX_PERSISTENT : 0);
	return measure_after({
		if (armed && !tell)
			read_all(set);
		if (armed && !persistent)
			ctl_members(set, AFUTEX_CTL_MOD, word, 0, HERD, 0);
		armed = true;
	}, {
		must(ioctl3(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, (long)word) == HERD);
		if (tell)
			read_all(set);
	}) / HERD;
}

static double all_oneshot(void) { return all_set(false, true); }
static double all_persistent(void) { return all_set(true, true); }
static double all_only_wake(void) { return all_set(false, false); }

/* The same number of descriptors. */
static double all_fds(void)
{
	static int fds[HERD];
	word_t *word = private_pages(1);
	int dev = device();

	for (int i = 0; i < HERD; i++)
		fds[i] = new_watch(dev, word, PRIVATE, AFUTEX_PERSISTENT);
	return measure_after(, {
		uint64_t count;

		must(ioctl3(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, (long)word) == HERD);
		for (int i = 0; i < HERD; i++)
			must(sys3(SYS_read, fds[i], (long)&count, sizeof(count)) == sizeof(count));
	}) / HERD;
}

static struct io_uring ring;

static void ring_init(unsigned int flags)
{
	struct io_uring_params params = {
		.flags = flags | IORING_SETUP_CQSIZE, .cq_entries = 2 * HERD,
	};

	must(!io_uring_queue_init_params(1024, &ring, &params));
	io_uring_register_ring_fd(&ring);
}

static void ring_wait(word_t *word)
{
	for (int i = 0; i < HERD; i++) {
		struct io_uring_sqe *sqe = io_uring_get_sqe(&ring);

		if (!sqe) {
			must(io_uring_submit(&ring) > 0);
			sqe = io_uring_get_sqe(&ring);
		}
		io_uring_prep_futex_wait(sqe, word, 0, FUTEX_BITSET_MATCH_ANY,
					 word_flags(PRIVATE), 0);
	}
	must(io_uring_submit(&ring) > 0);
}

static double all_uring_with(unsigned int flags)
{
	word_t *word = private_pages(1);

	ring_init(flags);
	return measure_after(ring_wait(word), {
		struct io_uring_cqe *cqe;
		unsigned int head;
		int n = 0;

		must(futex_wake(word, PRIVATE, INT32_MAX) == HERD);
		if (flags & IORING_SETUP_DEFER_TASKRUN)
			must(!io_uring_submit_and_wait(&ring, HERD));
		io_uring_for_each_cqe(&ring, head, cqe) {
			must(!cqe->res);
			n++;
		}
		must(n == HERD);
		io_uring_cq_advance(&ring, n);
	}) / HERD;
}

double all_uring(void)
{
	return all_uring_with(0);
}

static double all_deferred(void)
{
	return all_uring_with(IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN);
}

void sets(void)
{
	static const struct row rows[] = {
		{ "one-of-100000", one_of_many, "one-of-1", one_of_one },
		{ "rewait-128", rewait_set, "futex_waitv", rewait_futex,
			{ { "one-shot", rewait_oneshot } } },
		{ "wake-all-10000", all_oneshot,
			"io_uring", all_uring,
			{ { "deferred", NULL, "io_uring-deferred", all_deferred },
			  { "persistent", all_persistent }, { "wake-alone", all_only_wake },
			  { "descriptors", all_fds } } },
	};

	ROWS(rows);
}
