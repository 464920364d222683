/* SPDX-License-Identifier: GPL-2.0 */
/* Threads that do something at the same moment, over and over. */
#ifndef RIVALS_H
#define RIVALS_H

#include "afutex_test.h"

#define RIVALS_MAX	3

typedef void (*rival_t)(void *arg);

/* The caller is one of them; each of the others has a thread. */
struct rivals {
	int nr;
	rival_t act[RIVALS_MAX];
	void *arg;
	_Atomic int round, done;
	pthread_t threads[RIVALS_MAX];
	unsigned int seed;
};

struct rival {
	struct rivals *all;
	int which;
};

static inline void rival_pause(unsigned int *seed)
{
	/* Now one is first, now the other. */
	for (volatile int i = rand_r(seed) % 2000; i > 0; i--)
		;
}

static inline void *rival_main(void *arg)
{
	struct rival me = *(struct rival *)arg;
	struct rivals *all = me.all;
	unsigned int seed = me.which;

	free(arg);
	for (int seen = 0;; seen++) {
		while (all->round == seen)
			sched_yield();
		if (all->round < 0)
			return NULL;
		rival_pause(&seed);
		all->act[me.which](all->arg);
		all->done++;
	}
}

/* Starts the threads of the second and the third, if there is one. */
static inline bool rivals_start(struct rivals *all, void *arg, rival_t first, rival_t second,
				rival_t third)
{
	*all = (struct rivals) {
		.nr = third ? 3 : 2, .act = { first, second, third }, .arg = arg,
	};
	for (int i = 1; i < all->nr; i++) {
		struct rival *rival = malloc(sizeof(*rival));

		*rival = (struct rival) { all, i };
		if (pthread_create(&all->threads[i], NULL, rival_main, rival))
			return false;
	}
	return true;
}

/* One round: returns when all have done it. */
static inline void rivals_meet(struct rivals *all)
{
	all->done = 0;
	all->round++;
	rival_pause(&all->seed);
	all->act[0](all->arg);
	while (all->done < all->nr - 1)
		sched_yield();
}

static inline void rivals_stop(struct rivals *all)
{
	all->round = -1;
	for (int i = 1; i < all->nr; i++)
		pthread_join(all->threads[i], NULL);
}

#endif /* RIVALS_H */
