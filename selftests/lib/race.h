/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that do something at the same moment, over and over. */
#ifndef RACE_H
#define RACE_H

#include "afutex_test.h"

#define RACERS_MAX	3

typedef void (*race_fn)(void *arg);

/* The caller is one of them; each of the others has a thread. */
struct race {
	int nr;
	race_fn act[RACERS_MAX];
	void *arg;
	_Atomic int round, done;
	pthread_t threads[RACERS_MAX];
	unsigned int seed;
};

struct racer {
	struct race *all;
	int which;
};

static inline void race_pause(unsigned int *seed)
{
	/* Each racer is first now and then. */
	for (volatile int i = rand_r(seed) % 2000; i > 0; i--)
		;
}

static inline void *racer_main(void *arg)
{
	struct racer me = *(struct racer *)arg;
	struct race *all = me.all;
	unsigned int seed = me.which;

	free(arg);
	for (int seen = 0;; seen++) {
		while (all->round == seen)
			sched_yield();
		if (all->round < 0)
			return NULL;
		race_pause(&seed);
		all->act[me.which](all->arg);
		all->done++;
	}
}

/* Starts the threads of the second and the third, if there is one. */
static inline bool race_start(struct race *all, void *arg, race_fn first, race_fn second,
			      race_fn third)
{
	*all = (struct race) {
		.nr = third ? 3 : 2, .act = { first, second, third }, .arg = arg,
	};
	for (int i = 1; i < all->nr; i++) {
		struct racer *racer = malloc(sizeof(*racer));

		*racer = (struct racer) { all, i };
		if (pthread_create(&all->threads[i], NULL, racer_main, racer))
			return false;
	}
	return true;
}

/* One round: returns when all racers have finished it. */
static inline void race_meet(struct race *all)
{
	all->done = 0;
	all->round++;
	race_pause(&all->seed);
	all->act[0](all->arg);
	while (all->done < all->nr - 1)
		sched_yield();
}

static inline void race_stop(struct race *all)
{
	all->round = -1;
	for (int i = 1; i < all->nr; i++)
		pthread_join(all->threads[i], NULL);
}

#endif /* RACE_H */
