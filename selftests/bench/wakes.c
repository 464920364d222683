// SPDX-License-Identifier: GPL-2.0
/* Calls that find nothing to do: wakes without waiters, waits whose value differs. */
#include <signal.h>
#include <pthread.h>

#include "bench.h"

#define N	10000
#define BATCH	64

/* Two pages; the first word of the second one is where others wait. */
static word_t *words_of(int scope)
{
	return scope ? private_pages(2) : shared_pages(2);
}

static word_t *elsewhere(word_t *word, long offset)
{
	return word + (4096 + offset) / sizeof(*word);
}

/* Has a thread of this process sleep, so that futex(2) gives it a hash of its own. */
static void *sleep_forever(void *word)
{
	futex_wait(word, PRIVATE, 0);
	return NULL;
}

static void with_a_thread(void)
{
	pthread_t thread;

	must(!pthread_create(&thread, NULL, sleep_forever, private_pages(1)));
	usleep(1000);
}

/* Starts a thread that sleeps on a word by futex(2) until this process ends. */
static void sleeper_on(word_t *word)
{
	pid_t parent = getpid();

	if (!fork()) {
		while (futex_wait(word, SHARED, 0) && getppid() == parent)
			;
		_exit(0);
	}
	usleep(1000);
}

static double wake_direct(int scope)
{
	word_t *word = words_of(scope);
	int dev = device();

	return measure(N, must(!wake_one(dev, word, scope)));
}

static double wake_call(int scope)
{
	word_t *word = words_of(scope);
	int dev = device();

	return measure(N, must(!call(dev, word, FUTEX_WAKE | scope, 1)));
}

static double wake_futex(int scope)
{
	word_t *word = words_of(scope);

	return measure(N, must(!futex_wake(word, scope, 1)));
}

static double private_direct(void) { return wake_direct(PRIVATE); }
static double private_call(void) { return wake_call(PRIVATE); }
static double private_futex(void) { return wake_futex(PRIVATE); }
static double shared_direct(void) { return wake_direct(SHARED); }
static double shared_call(void) { return wake_call(SHARED); }
static double shared_futex(void) { return wake_futex(SHARED); }

static double threads_direct(void)
{
	with_a_thread();
	return wake_direct(PRIVATE);
}

static double threads_call(void)
{
	with_a_thread();
	return wake_call(PRIVATE);
}

static double threads_futex(void)
{
	with_a_thread();
	return wake_futex(PRIVATE);
}

static double elsewhere_direct(long offset)
{
	word_t *word = shared_pages(2);
	int dev = device();

	new_watch(dev, elsewhere(word, offset), SHARED, 0);
	return measure(N, must(!wake_one(dev, word, SHARED)));
}

static double same_offset_direct(void) { return elsewhere_direct(0); }
static double other_offset_direct(void) { return elsewhere_direct(64); }

static double same_offset_call(void)
{
	word_t *word = shared_pages(2);
	int dev = device();

	new_watch(dev, elsewhere(word, 0), SHARED, 0);
	return measure(N, must(!call(dev, word, FUTEX_WAKE, 1)));
}

static double same_offset_futex(void)
{
	word_t *word = shared_pages(2);
	double count;

	sleeper_on(elsewhere(word, 0));
	count = measure(N, must(!futex_wake(word, SHARED, 1)));
	must(futex_wake(elsewhere(word, 0), SHARED, 1) == 1);
	return count;
}

/*
 * The waker of a domain: a store, and a call if the bell rings. As include/afutex.h has
 * it, but for the C library around the call.
 */
struct bell {
	int domain;
	const word_t *counts;
};

static struct bell new_bell(void)
{
	struct afutex_domain_args args = { .fd_flags = O_CLOEXEC };
	struct bell bell = { .domain = ioctl3(device(), AFUTEX_IOC_DOMAIN, (long)&args) };

	must(bell.domain >= 0);
	bell.counts = mmap(NULL, AFUTEX_BELL_SIZE, PROT_READ, MAP_SHARED, bell.domain, 0);
	must(bell.counts != MAP_FAILED);
	return bell;
}

static inline long store_and_wake(const struct bell *bell, word_t *word, int scope)
{
	__atomic_store_n(word, 0, __ATOMIC_RELEASE);
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!__atomic_load_n(&bell->counts[(uintptr_t)word % AFUTEX_BELL_SIZE / 4],
			     __ATOMIC_RELAXED))
		return 0;
	return wake_one(bell->domain, word, scope);
}

static double wake_bell(int scope)
{
	word_t *word = words_of(scope);
	struct bell bell = new_bell();

	return measure(N, must(!store_and_wake(&bell, word, scope)));
}

static double wake_bell_elsewhere(int scope)
{
	word_t *word = words_of(scope);
	struct bell bell = new_bell();

	new_watch(bell.domain, elsewhere(word, 0), scope, 0);
	return measure(N, must(!store_and_wake(&bell, word, scope)));
}

static double bell_private(void) { return wake_bell(PRIVATE); }
static double bell_shared(void) { return wake_bell(SHARED); }
static double bell_private_elsewhere(void) { return wake_bell_elsewhere(PRIVATE); }
static double bell_shared_elsewhere(void) { return wake_bell_elsewhere(SHARED); }

static double wait_call(int scope)
{
	word_t *word = words_of(scope);
	int dev = device();

	*word = 1;
	return measure(N, must(call(dev, word, FUTEX_WAIT | scope, 0) == -EAGAIN));
}

static double wait_wait(int scope)
{
	word_t *word = words_of(scope);
	int dev = device();

	*word = 1;
	return measure(N, {
		struct afutex_wait args = {
			.uaddr = (uintptr_t)word, .mask = ~0u, .flags = word_flags(scope),
		};

		must(ioctl3(dev, AFUTEX_IOC_WAIT, (long)&args) == -EAGAIN);
	});
}

static double wait_futex(int scope)
{
	word_t *word = words_of(scope);

	*word = 1;
	return measure(N, must(futex_wait(word, scope, 0) == -EAGAIN));
}

static double wait_private_call(void) { return wait_call(PRIVATE); }
static double wait_private_wait(void) { return wait_wait(PRIVATE); }
static double wait_private_futex(void) { return wait_futex(PRIVATE); }
static double wait_shared_call(void) { return wait_call(SHARED); }
static double wait_shared_wait(void) { return wait_wait(SHARED); }
static double wait_shared_futex(void) { return wait_futex(SHARED); }

/* Private words are neighbours, shared ones have a page each. */
static double batch_afutex(int scope)
{
	struct afutex_wakev_word batch[BATCH];
	struct afutex_wakev args = { .words = (uintptr_t)batch, .nr = BATCH };
	long step = scope ? 4 : 4096;
	char *words = scope ? private_pages(1) : shared_pages(BATCH);
	int dev = device();

	for (int i = 0; i < BATCH; i++)
		batch[i] = (struct afutex_wakev_word) {
			.uaddr = (uintptr_t)words + i * step, .mask = ~0u,
			.flags = word_flags(scope), .count = 1, .result = -1,
		};
	must(ioctl3(dev, AFUTEX_IOC_WAKEV, (long)&args) == BATCH);
	for (int i = 0; i < BATCH; i++)
		must(!batch[i].result);
	return measure(N / 20, must(ioctl3(dev, AFUTEX_IOC_WAKEV, (long)&args) == BATCH)) / BATCH;
}

static double batch_futex(int scope)
{
	long step = scope ? 4 : 4096;
	char *words = scope ? private_pages(1) : shared_pages(BATCH);

	return measure(N / 20, {
		for (int i = 0; i < BATCH; i++)
			must(!futex_wake((word_t *)(words + i * step), scope, 1));
	}) / BATCH;
}

static double batch_private_afutex(void) { return batch_afutex(PRIVATE); }
static double batch_private_futex(void) { return batch_futex(PRIVATE); }
static double batch_shared_afutex(void) { return batch_afutex(SHARED); }
static double batch_shared_futex(void) { return batch_futex(SHARED); }

void wakes(void)
{
	static const struct row rows[] = {
		{ "wake-private", private_direct, "futex(2)", private_futex,
			{ { "call", private_call } } },
		{ "wake-private-threads", threads_direct, "futex(2)", threads_futex,
			{ { "call", threads_call } } },
		{ "wake-shared", shared_direct, "futex(2)", shared_futex,
			{ { "call", shared_call } } },
		{ "wake-shared-elsewhere", same_offset_direct, "futex(2)", same_offset_futex,
			{ { "other-offset", other_offset_direct }, { "call", same_offset_call } } },
		{ "bell-private", bell_private, "futex(2)", private_futex },
		{ "bell-shared", bell_shared, "futex(2)", shared_futex },
		{ "bell-private-elsewhere", bell_private_elsewhere, "futex(2)", private_futex },
		{ "bell-shared-elsewhere", bell_shared_elsewhere, "futex(2)", same_offset_futex },
		{ "wait-private", wait_private_call, "futex(2)", wait_private_futex,
			{ { "wait", wait_private_wait } } },
		{ "wait-shared", wait_shared_call, "futex(2)", wait_shared_futex,
			{ { "wait", wait_shared_wait } } },
		{ "wakev-private", batch_private_afutex, "futex(2)", batch_private_futex },
		{ "wakev-shared", batch_shared_afutex, "futex(2)", batch_shared_futex },
	};

	ROWS(rows);
}
