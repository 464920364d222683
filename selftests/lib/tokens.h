/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A word that holds tokens, and takers that wait for them by a set of one member: none is
 * lost, though sets are closed, and members removed, with wakes in them.
 *
 * A test has its own kind of set: what opens it, reads what it has, and closes it.
 */
#ifndef TOKENS_H
#define TOKENS_H

#include "set.h"

struct token_taker;

struct token_set {
	/* Its descriptor, or less than 0. */
	int (*open)(struct token_taker *taker);
	void (*read)(struct token_taker *taker);
	void (*close)(struct token_taker *taker);
};

struct token_taker {
	pthread_t thread;
	const struct token_set *kind;
	/* Where the set is, for its kind. */
	void *own;
	int dev, set, bad;
	uint32_t flags;
	word_t *word;
	_Atomic bool *stop;
	long count;
};

static void *take_tokens(void *arg)
{
	struct token_taker *t = arg;
	uint32_t flags = t->flags | AFUTEX_COMPARE | AFUTEX_READY;
	int i = 0;

	t->set = -1;
	while (true) {
		uint32_t now = *t->word;

		while (now && !atomic_compare_exchange_weak(t->word, &now, now - 1))
			;
		if (now) {
			t->count++;
			continue;
		}
		if (*t->stop)
			break;
		if (t->set < 0) {
			t->set = t->kind->open(t);
			if (add(t->set, t->word, flags, 0, 0))
				t->bad = 1;
		} else if (mod(t->set, 0, t->word, flags, 0, 0)) {
			t->bad = 2;
		}
		if (!poll_ms(t->set, 20000)) {
			t->bad = 3;
			break;
		}
		/* Now and then it is closed, or its member removed, without being read. */
		if (++i % 5 == 0) {
			t->kind->close(t);
			t->set = -1;
		} else if (i % 7 == 0) {
			del(t->set, 0);
			if (add(t->set, t->word, flags, 0, 0))
				t->bad = 4;
		} else {
			t->kind->read(t);
		}
	}
	if (t->set >= 0)
		t->kind->close(t);
	return NULL;
}

#define TAKERS 3

/* In a test of WORD_FIXTURE: gives as many tokens, with own[i] for taker i. */
#define EXPECT_NO_TOKEN_LOST(of_kind, tokens, own_of) do {			\
	_Atomic bool stop = false;						\
	struct token_taker t[TAKERS];						\
	long given = (tokens), taken = 0;					\
	for (int i = 0; i < TAKERS; i++) {					\
		t[i] = (struct token_taker) {					\
			.kind = of_kind, .own = own_of, .dev = self->dev,	\
			.flags = self->flags, .word = self->word, .stop = &stop,	\
		};								\
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, take_tokens, &t[i]));	\
	}									\
	for (long i = 0; i < given; i++) {					\
		atomic_fetch_add(self->word, 1);				\
		do_wake(self->dev, self->word, variant->scope, 1);		\
		if (i % 4 == 0)							\
			while (*self->word > 1)					\
				sched_yield();					\
	}									\
	EXPECT_TRUE(eventually(*self->word == 0));				\
	stop = true;								\
	for (int i = 0; i < TAKERS; i++) {					\
		while (pthread_tryjoin_np(t[i].thread, NULL))			\
			do_wake(self->dev, self->word, variant->scope, INT32_MAX);	\
		EXPECT_EQ(0, t[i].bad);						\
		taken += t[i].count;						\
	}									\
	EXPECT_EQ(given, taken);						\
} while (0)

#endif /* TOKENS_H */
