// SPDX-License-Identifier: GPL-2.0
/*
 * How long a bucket's lock is held: very many waiters on one word, in a table of one
 * bucket, and wakes of another word that needs the same lock.
 */
#include "set.h"

#define BATCH	1000

static const uint32_t private = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;

FIXTURE(hold)
{
	int dev, set, n;
	/* Each in a cache line of its own. */
	word_t *words[8];
	char *memory;
};

FIXTURE_SETUP(hold)
{
	ASSERT_TRUE(reload("buckets=1 max_user_watches=1100000"));
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->set = new_set(self->dev, O_NONBLOCK, 0);
	ASSERT_GE(self->set, 0);
	/* Fewer where each takes far longer. */
	self->n = rounds(2) < 2 ? 30000 : 1000000;
	self->memory = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->memory != MAP_FAILED);
	for (int i = 0; i < 8; i++)
		self->words[i] = (word_t *)(self->memory + i * 64);
}

FIXTURE_TEARDOWN(hold)
{
	close(self->set);
	close(self->dev);
	munmap(self->memory, 4096);
	EXPECT_IDLE();
	EXPECT_TRUE(reload(""));
}

/* Adds n members for some bits, with cookies from 0 on; whether all were added. */
static bool add_many(int set, word_t *word, int n, uint32_t mask, uint32_t how)
{
	static struct afutex_ctl items[BATCH];

	for (int at = 0; at < n; at += BATCH) {
		for (int i = 0; i < BATCH; i++)
			items[i] = (struct afutex_ctl) {
				.op = AFUTEX_CTL_ADD,
				.watch = { .uaddr = addr_of(word), .mask = mask, .cookie = at + i,
					   .flags = private | how },
			};
		if (ctl(set, items, BATCH) != BATCH)
			return false;
		for (int i = 0; i < BATCH; i++)
			if (items[i].result)
				return false;
	}
	return true;
}

static bool add_one(int set, word_t *word, uint32_t mask)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(word), .mask = mask, .flags = private },
	};

	return ctl(set, &item, 1) == 1 && !item.result;
}

static int wake_mask(int dev, word_t *word, uint32_t count, uint32_t mask)
{
	struct afutex_wake args = {
		.uaddr = addr_of(word), .mask = mask, .count = count, .flags = private,
	};

	return ioctl(dev, AFUTEX_IOC_WAKE, &args);
}

static int requeue(int dev, word_t *from, word_t *to, uint32_t wake, uint32_t move)
{
	struct afutex_requeue args = {
		.uaddr = addr_of(from), .uaddr2 = addr_of(to), .val = *from,
		.wake = wake, .requeue = move, .flags = private,
	};

	return ioctl(dev, AFUTEX_IOC_REQUEUE, &args);
}

/*
 * Wakes a word that nobody waits on, over and over: the lock is needed to see that. And
 * sees, from the events of a set, that a call has begun.
 */
struct neighbour {
	int dev, fronts;
	word_t *word;
	pthread_t thread;
	/* The call has begun, and it is over; and turns in between. */
	_Atomic bool seen, over;
	_Atomic long turns;
	_Atomic int64_t longest;
	_Atomic bool stop;
	long bad;
};

static void *neighbour_main(void *arg)
{
	struct neighbour *n = arg;
	struct afutex_event ev;

	while (!n->stop) {
		int64_t start = now_ns(), took;

		n->bad += do_wake(n->dev, n->word, PRIVATE, 1) != 0;
		took = now_ns() - start;
		if (took > n->longest)
			n->longest = took;
		if (n->seen && !n->over)
			n->turns++;
		else if (!n->seen && events(n->fronts, &ev, 1) == 1)
			n->seen = true;
	}
	return NULL;
}

/*
 * A call wakes the first waiter and goes through all others. From the moment at which
 * that is seen until the call is over, the neighbour has its turn again and again: how
 * often tells, and not how long it waits, since the host may stop a CPU at any time. A
 * call may meet such a moment; ten do not.
 */
#define MANY_TURNS	40
#define TRIES		10
#define beside(n, what, ...) ({							\
	for (int try = 0; try < TRIES && (n)->turns < MANY_TURNS; try++) {	\
		int64_t __start, __took;					\
		(n)->over = false;						\
		(n)->longest = 0;						\
		(n)->turns = 0;							\
		(n)->seen = false;						\
		__start = now_ns();						\
		__VA_ARGS__;							\
		__took = now_ns() - __start;					\
		(n)->over = true;						\
		ASSERT_TRUE(eventually((n)->seen));				\
		TH_LOG("%s: %ld us, the neighbour's longest wake %ld us, %ld turns",	\
		       what, (long)(__took / 1000), (long)((n)->longest / 1000),	\
		       (n)->turns);						\
	}									\
	EXPECT_GE((n)->turns, MANY_TURNS);					\
	(n)->turns = 0;								\
})

TEST_F_TIMEOUT(hold, neighbour_of_very_many, 900)
{
	enum { FRONTS = 3 * TRIES };
	struct neighbour n = { .dev = self->dev, .word = self->words[7], .seen = true };
	struct sleeper last = { .dev = self->dev, .scope = PRIVATE, .word = self->words[0] };
	word_t *from = self->words[0], *to = self->words[1], *third = self->words[2];
	int fronts = FRONTS, told = 0, room;
	struct afutex_event ev[64];

	n.fronts = new_set(self->dev, O_NONBLOCK, 0);
	/* Each of the first ten has a bit of its own. */
	for (int i = 0; i < FRONTS; i++)
		ASSERT_TRUE(add_one(n.fronts, from, i < TRIES ? 4u << i : 1u << 31));
	ASSERT_TRUE(add_many(self->set, from, self->n, 2, 0));
	ASSERT_EQ(0, pthread_create(&n.thread, NULL, neighbour_main, &n));

	beside(&n, "a wake that matches one", {
		ASSERT_EQ(1, wake_mask(self->dev, from, INT32_MAX, 4u << try));
		fronts--;
	});
	ASSERT_EQ(0, sleeper_start(&last));
	beside(&n, "a requeue", {
		word_t *was = from;

		ASSERT_EQ(self->n + fronts + 1, requeue(self->dev, from, to, 1, INT32_MAX));
		fronts--;
		from = to;
		to = was;
	});
	beside(&n, "a requeue to the same word", {
		ASSERT_EQ(self->n + fronts + 1, requeue(self->dev, from, from, 1, INT32_MAX));
		fronts--;
	});
	n.stop = true;
	pthread_join(n.thread, NULL);
	EXPECT_EQ(0, n.bad);
	EXPECT_EQ(self->n + fronts + 1, counter("queued"));

	/* All of them are there, and in order. */
	EXPECT_EQ(0, do_wake(self->dev, to, PRIVATE, INT32_MAX));
	EXPECT_EQ(fronts, do_wake(self->dev, from, PRIVATE, fronts));
	EXPECT_EQ(10, requeue(self->dev, from, third, 5, 5));
	EXPECT_EQ(5, do_wake(self->dev, third, PRIVATE, INT32_MAX));
	EXPECT_EQ(self->n - 10, do_wake(self->dev, from, PRIVATE, self->n - 10));
	EXPECT_FALSE(last.done);
	EXPECT_EQ(1, do_wake(self->dev, from, PRIVATE, INT32_MAX));
	sleeper_join(&last);
	EXPECT_EQ(0, last.ret);
	for (; told < self->n; told += room) {
		room = events(self->set, ev, 64);
		ASSERT_GT(room, 0);
		for (int i = 0; i < room; i++)
			ASSERT_EQ(told + i, (int)ev[i].cookie);
	}
	close(n.fronts);
}

/* Wakes all for one bit, while others for another bit are woken, moved, added and removed. */
struct disturber {
	int dev, set;
	word_t **words;
	_Atomic bool stop;
	long bad;
	pthread_t thread;
};

static void *disturb(void *arg)
{
	struct disturber *d = arg;
	int other = new_set(d->dev, O_NONBLOCK, 0), ids[200];

	while (!d->stop) {
		for (int i = 0; i < 200; i++) {
			struct afutex_ctl item = {
				.op = AFUTEX_CTL_ADD,
				.watch = { .uaddr = addr_of(d->words[0]), .mask = 4,
					   .flags = private | AFUTEX_PERSISTENT },
			};

			d->bad += ctl(other, &item, 1) != 1 || item.result;
			ids[i] = item.id;
			if (i % 50 == 0)
				wake_mask(d->dev, d->words[0], INT32_MAX, 4);
		}
		wake_mask(d->dev, d->words[0], 100, 4);
		for (int i = 0; i < 200; i++)
			d->bad += del(other, ids[i]) != 0;
	}
	close(other);
	return NULL;
}

TEST_F_TIMEOUT(hold, each_is_woken_once_by_a_wake_in_steps, 900)
{
	struct disturber d = { .dev = self->dev, .words = self->words };
	int n = self->n / 10, others = new_set(self->dev, O_NONBLOCK, 0);

	/* A thousand for one bit, a thousand for another, and so on. */
	for (int at = 0; at < n; at += BATCH) {
		ASSERT_TRUE(add_many(self->set, self->words[0], BATCH, 1, AFUTEX_PERSISTENT));
		ASSERT_TRUE(add_many(others, self->words[0], BATCH, 2, AFUTEX_PERSISTENT));
	}
	ASSERT_EQ(0, pthread_create(&d.thread, NULL, disturb, &d));
	for (int round = 0; round < 20; round++) {
		struct afutex_event ev[64];
		int told = 0, room;

		ASSERT_EQ(n, wake_mask(self->dev, self->words[0], INT32_MAX, 1));
		while ((room = events(self->set, ev, 64)) > 0) {
			for (int i = 0; i < room; i++)
				ASSERT_EQ(1, ev[i].count);
			told += room;
		}
		ASSERT_EQ(n, told);
		ASSERT_EQ(n / 2, wake_mask(self->dev, self->words[0], n / 2, 1));
		ASSERT_EQ(n / 2, wake_mask(self->dev, self->words[0], n / 2, 1));
		for (told = 0; (room = events(self->set, ev, 64)) > 0; told += room)
			for (int i = 0; i < room; i++)
				ASSERT_EQ(1, ev[i].count);
		ASSERT_EQ(n, told);
	}
	EXPECT_EQ(-EAGAIN, events(others, &(struct afutex_event){ 0 }, 1));
	d.stop = true;
	pthread_join(d.thread, NULL);
	EXPECT_EQ(0, d.bad);
	close(others);
}

/* Watches a requeue from the one to the other word: by wakes, it is one step. */
struct observer {
	int dev;
	word_t *from, *to;
	_Atomic int round, seen;
	long bad, woken, early;
	_Atomic bool stop;
};

static void *observe(void *arg)
{
	struct observer *o = arg;

	for (int round = 1; !o->stop; ) {
		bool moved = false;

		if (o->round != round) {
			sched_yield();
			continue;
		}
		for (int i = 0; i < 200 && !moved; i++) {
			int ret = wake_mask(o->dev, o->to, 1, 1);

			o->bad += ret < 0;
			moved = ret > 0;
			o->woken += moved;
			o->early += !moved;
		}
		/* Some are there, so all are: none on the old word, and the last on the new. */
		if (moved) {
			o->bad += wake_mask(o->dev, o->from, INT32_MAX, ~0u) != 0;
			o->bad += wake_mask(o->dev, o->to, INT32_MAX, 2) != 1;
		}
		o->seen = round++;
	}
	return NULL;
}

TEST_F_TIMEOUT(hold, a_requeue_is_one_step_for_wakers, 900)
{
	struct observer o = { .dev = self->dev };
	pthread_t thread;
	int n = self->n / 20 / BATCH * BATCH;
	unsigned int seed = 1;

	ASSERT_TRUE(add_many(self->set, self->words[0], n, 1, AFUTEX_PERSISTENT));
	ASSERT_EQ(0, pthread_create(&thread, NULL, observe, &o));
	for (int round = 1; round <= 40; round++) {
		struct afutex_event ev[64];
		int last, moved;

		o.from = self->words[(round - 1) % 2];
		o.to = self->words[round % 2];
		last = add(self->set, o.from, private | AFUTEX_PERSISTENT, 0, n);
		ASSERT_GE(last, 0);
		/* It waits for bit 2 alone. */
		struct afutex_ctl item = {
			.op = AFUTEX_CTL_MOD, .id = last,
			.watch = { .uaddr = addr_of(o.from), .mask = 2, .cookie = n,
				   .flags = private | AFUTEX_PERSISTENT },
		};
		ASSERT_EQ(1, ctl(self->set, &item, 1));
		ASSERT_EQ(0, item.result);
		o.round = round;
		/* Now it wakes before, and now after. */
		for (volatile int i = rand_r(&seed) % 100000; i > 0; i--)
			;
		moved = requeue(self->dev, o.from, o.to, 0, INT32_MAX);
		ASSERT_EQ(n + 1, moved);
		ASSERT_TRUE(eventually(o.seen == round));
		while (events(self->set, ev, 64) > 0)
			;
		ASSERT_EQ(0, del(self->set, last));
	}
	o.stop = true;
	pthread_join(thread, NULL);
	TH_LOG("%ld wakes were early, %ld in time", o.early, o.woken);
	EXPECT_EQ(0, o.bad);
	EXPECT_GT(o.woken, 0);
}

/* What was queued after the comparison stays; the wakes of a requeue come first. */
TEST_F_TIMEOUT(hold, many_wakes_then_moves, 900)
{
	struct afutex_event ev[64];
	int n = 5000, told = 0, room;

	ASSERT_TRUE(add_many(self->set, self->words[0], n, 1, 0));
	EXPECT_EQ(4000, requeue(self->dev, self->words[0], self->words[1], 1500, 2500));
	while ((room = events(self->set, ev, 64)) > 0) {
		for (int i = 0; i < room; i++)
			ASSERT_EQ(told + i, (int)ev[i].cookie);
		told += room;
	}
	EXPECT_EQ(1500, told);
	EXPECT_EQ(1000, do_wake(self->dev, self->words[0], PRIVATE, INT32_MAX));
	EXPECT_EQ(2500, do_wake(self->dev, self->words[1], PRIVATE, INT32_MAX));
	for (told = 0; (room = events(self->set, ev, 64)) > 0; told += room)
		for (int i = 0; i < room; i++)
			ASSERT_EQ(told + i < 1000 ? 4000 + told + i : 500 + told + i,
				  (int)ev[i].cookie);
	EXPECT_EQ(3500, told);
	/* It differs: nothing happens. */
	ASSERT_TRUE(add_many(self->set, self->words[0], 1000, 1, 0));
	struct afutex_requeue args = {
		.uaddr = addr_of(self->words[0]), .uaddr2 = addr_of(self->words[1]), .val = 1,
		.wake = 1000, .requeue = 1000, .flags = private,
	};
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(1000, do_wake(self->dev, self->words[0], PRIVATE, INT32_MAX));
}

TEST_HARNESS_MAIN
