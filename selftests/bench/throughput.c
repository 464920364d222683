// SPDX-License-Identifier: GPL-2.0
/*
 * Two CPUs at once, in time and not in instructions: afutex and futex(2) in turn, so
 * that what else the machine does meets both.
 *
 * Prints "throughput: NAME afutex=N futex(2)=N ratio=R", in operations a second; the
 * ratio is the median of those of the rounds.
 */
#include <pthread.h>
#include <sched.h>

#include "bench.h"

enum { CPUS = 2, TURNS = 15, TURN_MS = 100 };

static bool one_word;
static volatile bool stop;
static int dev;

/* Two threads on a CPU, each with a bit of its own, or one that never sleeps. */
static struct pair {
	word_t *word;
	uint32_t turn;
	long done;
} __attribute__((aligned(256))) pairs[CPUS];

static inline long wait_for(word_t *word, uint32_t val, uint32_t mask)
{
	struct afutex_call args = {
		.uaddr = (uintptr_t)word, .op = FUTEX_WAIT_BITSET | PRIVATE, .val = val,
		.val3 = mask,
	};

	if (dev >= 0)
		return ioctl3(dev, AFUTEX_IOC_CALL, (long)&args);
	return sys6(SYS_futex, (long)word, FUTEX_WAIT_BITSET | PRIVATE, val, 0, 0, mask);
}

static inline long wake_mask(word_t *word, uint32_t mask)
{
	struct afutex_call args = {
		.uaddr = (uintptr_t)word, .op = FUTEX_WAKE_BITSET | PRIVATE, .val = 1,
		.val3 = mask,
	};

	if (dev >= 0)
		return ioctl3(dev, AFUTEX_IOC_CALL, (long)&args);
	return sys6(SYS_futex, (long)word, FUTEX_WAKE_BITSET | PRIVATE, 1, 0, 0, mask);
}

static void on_cpu(int cpu)
{
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET(cpu, &set);
	must(!sched_setaffinity(0, sizeof(set), &set));
}

/* A wake that finds no waiter, and a wait whose value differs. */
static void *without_sleep(void *arg)
{
	struct pair *pair = arg;

	on_cpu(pair - pairs);
	while (!stop) {
		must(!wake_mask(pair->word, 1));
		must(wait_for(pair->word, 1, 1) == -EAGAIN);
		pair->done++;
	}
	return NULL;
}

/*
 * The word counts whose turn it is, of all threads that wait on it: each wakes by the
 * bit of its partner.
 */
static void take_turns(struct pair *pair, uint32_t side)
{
	uint32_t bits = 1u << 2 * (pair - pairs);

	on_cpu(pair - pairs);
	for (;;) {
		for (;;) {
			uint32_t seen = __atomic_load_n(pair->word, __ATOMIC_SEQ_CST);

			if (__atomic_load_n(&pair->turn, __ATOMIC_SEQ_CST) == side)
				break;
			wait_for(pair->word, seen, bits << side);
		}
		pair->done++;
		__atomic_store_n(&pair->turn, !side, __ATOMIC_SEQ_CST);
		__atomic_fetch_add(pair->word, 1, __ATOMIC_SEQ_CST);
		wake_mask(pair->word, bits << !side);
	}
}

static void *first_of_two(void *arg)
{
	take_turns(arg, 0);
	return NULL;
}

static void *second_of_two(void *arg)
{
	take_turns(arg, 1);
	return NULL;
}

static double run(void *(*one)(void *), void *(*two)(void *))
{
	char *words = private_pages(CPUS);
	int64_t start;
	long done = 0;

	for (int i = 0; i < CPUS; i++) {
		pthread_t thread;

		pairs[i].word = (word_t *)(words + (one_word ? 0 : i * 4096));
		must(!pthread_create(&thread, NULL, one, &pairs[i]));
		if (two)
			must(!pthread_create(&thread, NULL, two, &pairs[i]));
	}
	usleep(50000);
	for (int i = 0; i < CPUS; i++)
		done -= __atomic_load_n(&pairs[i].done, __ATOMIC_RELAXED);
	start = now();
	usleep(TURN_MS * 1000);
	for (int i = 0; i < CPUS; i++)
		done += __atomic_load_n(&pairs[i].done, __ATOMIC_RELAXED);
	return done * 1e9 / (now() - start);
}

static double awake_afutex(void)
{
	dev = device();
	return run(without_sleep, NULL);
}

static double awake_futex(void)
{
	dev = -1;
	return run(without_sleep, NULL);
}

static double asleep_afutex(void)
{
	dev = device();
	return run(first_of_two, second_of_two);
}

static double asleep_futex(void)
{
	dev = -1;
	return run(first_of_two, second_of_two);
}

static void in_turn(const char *name, bool one, side_t *afutex, side_t *futex)
{
	double ours[TURNS], theirs[TURNS], ratios[TURNS];

	one_word = one;
	for (int i = 0; i < TURNS; i++) {
		ours[i] = run_side(afutex);
		theirs[i] = run_side(futex);
		ratios[i] = ours[i] / theirs[i];
	}
	printf("throughput: %s afutex=%.0f futex(2)=%.0f ratio=%.3f\n", name,
	       median(ours, TURNS), median(theirs, TURNS), median(ratios, TURNS));
}

void throughput(void)
{
	in_turn("distinct-words", false, awake_afutex, awake_futex);
	in_turn("one-word", true, awake_afutex, awake_futex);
	in_turn("distinct-words-asleep", false, asleep_afutex, asleep_futex);
	in_turn("one-word-asleep", true, asleep_afutex, asleep_futex);
}
