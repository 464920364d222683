/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A model of the futex table as Documentation/afutex.rst describes it: waiters in
 * queues, unread wakes, and what becomes of them. No system calls.
 */
#ifndef MODEL_H
#define MODEL_H

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

enum key_kind {
	KEY_PRIVATE,		/* address space and address, with FUTEX_PRIVATE_FLAG */
	KEY_MM,			/* address space and address, without */
	KEY_FILE,		/* page of a file and offset */
};

struct word_key {
	enum key_kind kind;
	int object;
	int at;
};

/* Wakes that were counted and not read. */
struct unread {
	uint32_t count;
	uint32_t mask;
	bool mixed;		/* they came with different masks */
	bool changed;		/* not armed, as the word held another value */
};

enum waiter_kind {
	NOBODY,
	FUTEX_FD_FILE,
	WATCH,
	MEMBER,
};

struct waiter {
	enum waiter_kind kind;
	bool persistent;
	bool queued;
	uint32_t mask;
	struct word_key key;		/* of the word it waits on, or was woken on last */
	uint64_t turn;		/* position in the queue: lower is earlier */
	struct unread unread;	/* passed on if the waiter goes */

	/* A member of a set: */
	int set;
	uint64_t cookie;
	uint32_t count;		/* wakes since the last event */
	bool changed;
	uint64_t ready;		/* position among the set's events, 0 for no event */
};

#define MODEL_WAITERS	32

struct model {
	struct waiter waiters[MODEL_WAITERS];
	uint64_t clock;
};

#define ALL_WAITERS	UINT32_MAX
#define ANY_MASK	UINT32_MAX

static inline bool same_key(struct word_key a, struct word_key b)
{
	return a.kind == b.kind && a.object == b.object && a.at == b.at;
}

/* Puts a waiter at the end of the queue of its key. */
static inline void model_queue(struct model *m, struct waiter *w, struct word_key key)
{
	w->key = key;
	w->turn = ++m->clock;
	w->queued = true;
}

/* Those in the queue of a key that came up to `until`, in order; how many. */
static inline int model_queue_of(struct model *m, struct word_key key, uint64_t until,
				 struct waiter *queue[MODEL_WAITERS])
{
	int n = 0;

	for (struct waiter *w = m->waiters; w < m->waiters + MODEL_WAITERS; w++) {
		int i;

		if (!w->queued || !same_key(w->key, key) || w->turn > until)
			continue;
		for (i = n++; i > 0 && queue[i - 1]->turn > w->turn; i--)
			queue[i] = queue[i - 1];
		queue[i] = w;
	}
	return n;
}

static inline void model_make_ready(struct model *m, struct waiter *w)
{
	if (!w->ready)
		w->ready = ++m->clock;
}

/* One wake with `mask` reaches a waiter. */
static inline void model_hit(struct model *m, struct waiter *w, uint32_t mask)
{
	struct unread *u = &w->unread;

	if (w->kind != FUTEX_FD_FILE) {
		u->mixed |= u->count && u->mask != mask;
		u->count++;
		u->mask |= mask;
	}
	if (w->kind == MEMBER) {
		w->count++;
		model_make_ready(m, w);
	}
	if (w->persistent)
		w->turn = ++m->clock;
	else
		w->queued = false;
}

/* Wakes up to `count` of those that came up to `until`; how many. */
static inline uint32_t model_wake_until(struct model *m, struct word_key key, uint64_t until,
					uint32_t count, uint32_t mask)
{
	struct waiter *queue[MODEL_WAITERS];
	int n = model_queue_of(m, key, until, queue);
	uint32_t woken = 0;

	for (int i = 0; i < n && woken < count; i++) {
		if (queue[i]->mask & mask) {
			model_hit(m, queue[i], mask);
			woken++;
		}
	}
	return woken;
}

static inline uint32_t model_wake(struct model *m, struct word_key key, uint32_t count,
				  uint32_t mask)
{
	return model_wake_until(m, key, m->clock, count, mask);
}

/* Wakes the first `wake` and moves the next `move`; how many in all. */
static inline uint32_t model_requeue(struct model *m, struct word_key from, struct word_key to,
				     uint32_t wake, uint32_t move)
{
	struct waiter *queue[MODEL_WAITERS];
	int n = model_queue_of(m, from, m->clock, queue);
	uint32_t woken = model_wake(m, from, wake, ANY_MASK);
	uint32_t moved = 0;

	for (int i = woken; i < n && moved < move; i++) {
		if (same_key(from, to)) {
			moved++;
		} else if (!queue[i]->unread.count) {
			model_queue(m, queue[i], to);
			moved++;
		}
	}
	return woken + moved;
}

/* Reads the unread wakes; how many. */
static inline uint32_t model_read(struct waiter *w)
{
	uint32_t count = w->unread.count;

	w->unread = (struct unread) {};
	return count;
}

/* Passes the unread wakes on to others that wait on the word. */
static inline void model_pass_on(struct model *m, struct waiter *w)
{
	struct unread u = w->unread;

	w->unread = (struct unread) {};
	if (u.count)
		model_wake(m, w->key, u.mixed ? ALL_WAITERS : u.count, u.mask);
}

/* Whether any page has a waiter without the private flag at that offset. */
static inline bool model_shares_offset(struct model *m, int offset, int page_size)
{
	for (struct waiter *w = m->waiters; w < m->waiters + MODEL_WAITERS; w++)
		if (w->queued && w->key.kind != KEY_PRIVATE && w->key.at % page_size == offset)
			return true;
	return false;
}

/* How many wait; how many words they wait on. */
static inline int model_waiting(struct model *m, int *words)
{
	int n = 0;

	*words = 0;
	for (int i = 0; i < MODEL_WAITERS; i++) {
		bool is_first = true;

		if (!m->waiters[i].queued)
			continue;
		for (int j = 0; j < i; j++)
			if (m->waiters[j].queued &&
			    same_key(m->waiters[i].key, m->waiters[j].key))
				is_first = false;
		n++;
		*words += is_first;
	}
	return n;
}

/* The member of a set whose event is next, or NULL. */
static inline struct waiter *model_next_event(struct model *m, int set)
{
	struct waiter *first = NULL;

	for (struct waiter *w = m->waiters; w < m->waiters + MODEL_WAITERS; w++)
		if (w->kind == MEMBER && w->set == set && w->ready &&
		    (!first || w->ready < first->ready))
			first = w;
	return first;
}

/* The event of a member was delivered. */
static inline void model_delivered(struct waiter *w)
{
	w->unread = (struct unread) {};
	w->count = 0;
	w->changed = false;
	w->ready = 0;
}

#endif /* MODEL_H */
