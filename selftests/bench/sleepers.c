// SPDX-License-Identifier: GPL-2.0
/* Threads that sleep on words. */
#include <pthread.h>
#include <sched.h>

#include "bench.h"

enum { CROWD = 1000 };

static int dev = -1;
static word_t *word;

/* By the module where the device is open. */
static inline long sleep_on(word_t *on, uint32_t val)
{
	return dev < 0 ? futex_wait(on, PRIVATE, val) : call(dev, on, FUTEX_WAIT | PRIVATE, val);
}

static inline long wake(word_t *on, bool direct)
{
	if (dev < 0)
		return futex_wake(on, PRIVATE, 1);
	return direct ? wake_one(dev, on, PRIVATE) : call(dev, on, FUTEX_WAKE | PRIVATE, 1);
}

static bool by_call;

/* It is side's turn while the word says so. */
static inline void give_turn(uint32_t side)
{
	__atomic_store_n(word, !side, __ATOMIC_SEQ_CST);
	wake(word, !by_call);
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) != side)
		sleep_on(word, !side);
}

static void *partner(void *arg)
{
	while (__atomic_load_n(word, __ATOMIC_SEQ_CST) != 1)
		sleep_on(word, 0);
	for (;;)
		give_turn(1);
	return NULL;
}

/* Two wakes and two waits, of which each sleeps. */
static double ping_pong(void)
{
	pthread_t thread;

	word = private_pages(1);
	must(!pthread_create(&thread, NULL, partner, NULL));
	usleep(1000);
	return measure(2000, give_turn(0)) / 2;
}

static double ping_pong_direct(void)
{
	dev = device();
	return ping_pong();
}

static double ping_pong_call(void)
{
	by_call = true;
	return ping_pong_direct();
}

static void *sleep_in_crowd(void *arg)
{
	for (;;)
		sleep_on(word, 0);
	return NULL;
}

static long requeue(word_t *from, word_t *to)
{
	if (dev >= 0) {
		struct afutex_call args = {
			.uaddr = (uintptr_t)from, .op = FUTEX_CMP_REQUEUE | PRIVATE,
			.timeout = INT32_MAX, .uaddr2 = (uintptr_t)to,
		};

		return ioctl3(dev, AFUTEX_IOC_CALL, (long)&args);
	}
	return sys6(SYS_futex, (long)from, FUTEX_CMP_REQUEUE | PRIVATE, 0, INT32_MAX, (long)to, 0);
}

/*
 * All of them are moved from one word to another, and back; in each round to another,
 * since two words may share a bucket of futex(2), in which case there is little to do.
 */
static double crowd(void)
{
	enum { MOVES = 20 };
	word_t *to;

	word = private_pages(1);
	to = word;
	for (int i = 0; i < CROWD; i++) {
		pthread_attr_t attr;
		pthread_t thread;

		pthread_attr_init(&attr);
		pthread_attr_setstacksize(&attr, 32768);
		must(!pthread_create(&thread, &attr, sleep_in_crowd, NULL));
		pthread_attr_destroy(&attr);
	}
	usleep(100000);
	return measure_after(to += 100, {
		for (int i = 0; i < MOVES / 2; i++) {
			must(requeue(word, to) == CROWD);
			must(requeue(to, word) == CROWD);
		}
	}) / MOVES / CROWD;
}

static double crowd_afutex(void)
{
	dev = device();
	return crowd();
}

void sleepers(void)
{
	static const struct row rows[] = {
		{ "ping-pong", ping_pong_direct, "futex(2)", ping_pong,
			{ { "call", ping_pong_call } } },
		{ "requeue-1000", crowd_afutex, "futex(2)", crowd },
	};

	ROWS(rows);
}
