// SPDX-License-Identifier: GPL-2.0
/*
 * Members of a set that are added, armed and removed while their word is changed, and
 * while the set is closed or the same is done by another.
 */
#include "race.h"
#include "set_fixture.h"

#define BATCH	8

/* The state of a round, and the results of its calls. */
struct match {
	int dev, scope, set, id;
	uint32_t flags;
	word_t *word, *other;
	int woken, armed, armed_too, removed, removed_too, told;
	struct afutex_ctl items[BATCH];
	struct afutex_event ev[2];
};

static void store_and_wake(void *arg)
{
	struct match *m = arg;

	*m->word = 1;
	m->woken = do_wake(m->dev, m->word, m->scope, 1);
}

static void wake(void *arg)
{
	struct match *m = arg;

	m->woken = do_wake(m->dev, m->word, m->scope, 1);
}

/* Adds it, or changes it if it is there. */
static void arm(void *arg)
{
	struct match *m = arg;

	if (m->id < 0)
		m->armed = add(m->set, m->word, m->flags, 0, 1);
	else
		m->armed = mod(m->set, m->id, m->word, m->flags, 0, 1);
}

static void arm_elsewhere(void *arg)
{
	struct match *m = arg;

	m->armed_too = mod(m->set, m->id, m->other, m->flags, 0, 2);
}

static void add_batch(void *arg)
{
	struct match *m = arg;

	for (int i = 0; i < BATCH; i++)
		m->items[i] = (struct afutex_ctl) {
			.op = AFUTEX_CTL_ADD, .result = 1,
			.watch = { .uaddr = addr_of(m->word), .mask = 1, .flags = m->flags },
		};
	m->armed = ctl(m->set, m->items, BATCH);
	if (m->armed < 0)
		m->armed = -errno;
}

static void close_set(void *arg)
{
	struct match *m = arg;

	close(m->set);
}

static void remove_member(void *arg)
{
	struct match *m = arg;

	m->removed = del(m->set, m->id);
}

static void remove_member_too(void *arg)
{
	struct match *m = arg;

	m->removed_too = del(m->set, m->id);
}

static struct match new_match(int dev, int scope, int set, uint32_t flags, word_t *word)
{
	return (struct match) {
		.dev = dev, .scope = scope, .set = set, .flags = flags, .word = word,
		.other = word + 100,
	};
}

#define MATCH	new_match(self->dev, variant->scope, self->set, self->flags, self->word)

/* With each kind of memory: more than ten thousand in all. */
#define ROUNDS	rounds(5000)

#define START(...)	ASSERT_TRUE(race_start(&race, &m, __VA_ARGS__))

/* Armed and woken, or reported as changed: exactly one of the two. */
TEST_F_TIMEOUT(set, arm_or_change_of_value, 900)
{
	struct match m = MATCH;
	struct race race;
	int armed = 0;

	START(arm, store_and_wake, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		uint32_t persistent = i & 1 ? AFUTEX_PERSISTENT : 0;
		uint32_t ready = i & 2 ? AFUTEX_READY : 0;

		m.flags = self->flags | AFUTEX_COMPARE | persistent | ready;
		/* A new one, or one that waits for another word. */
		m.id = i & 4 ? add(self->set, m.other, self->flags, 0, 9) : -1;
		*self->word = 0;
		race_meet(&race);
		if (m.armed < 0) {
			ASSERT_EQ(0, ready);
			ASSERT_EQ(-EAGAIN, m.armed);
			ASSERT_EQ(0, m.woken);
			ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 2));
		} else {
			ASSERT_EQ(1, events(self->set, m.ev, 2));
			ASSERT_EQ(1, m.ev[0].cookie);
			ASSERT_EQ(m.woken, m.ev[0].count);
			ASSERT_EQ(m.woken ? AFUTEX_WOKEN : AFUTEX_VALUE_CHANGED, m.ev[0].why);
			if (!ready)
				ASSERT_EQ(1, m.woken);
			armed += m.woken;
		}
		if (m.armed >= 0 || m.id >= 0)
			ASSERT_EQ(0, del(self->set, m.id < 0 ? m.armed : m.id));
		ASSERT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
		ASSERT_EQ(0, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
	}
	race_stop(&race);
	EXPECT_GT(armed, 0);
}

/* The set is closed in the middle of a batch: nothing is left on the words. */
TEST_F_TIMEOUT(set, adding_or_close, 900)
{
	struct match m = MATCH;
	struct race race;
	int added = 0;

	START(add_batch, close_set, wake);
	for (int i = 0; i < ROUNDS; i++) {
		m.set = new_set(self->dev, O_NONBLOCK, 0);
		m.flags = self->flags | (i % 2 ? AFUTEX_PERSISTENT : 0);
		race_meet(&race);
		ASSERT_EITHER(-EBADF, BATCH, m.armed);
		for (int j = 0; m.armed == BATCH && j < BATCH; j++)
			ASSERT_EQ(0, m.items[j].result);
		added += m.armed == BATCH;
		ASSERT_TRUE(eventually(!do_wake(self->dev, m.word, variant->scope, INT32_MAX)));
	}
	race_stop(&race);
	EXPECT_GT(added, 0);
}

/* Changed by two threads at once: it waits on one of the words, or one gets EBUSY. */
TEST_F_TIMEOUT(set, change_or_change, 900)
{
	struct match m = MATCH;
	struct race race;

	START(arm, arm_elsewhere, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int waits;

		m.flags = self->flags | (i % 2 ? AFUTEX_PERSISTENT : 0);
		m.id = add(self->set, i % 3 ? m.word : m.other, m.flags, 0, 0);
		ASSERT_GE(m.id, 0);
		race_meet(&race);
		ASSERT_EITHER(0, -EBUSY, m.armed);
		ASSERT_EITHER(0, -EBUSY, m.armed_too);
		waits = do_wake(self->dev, m.word, variant->scope, INT32_MAX) +
			do_wake(self->dev, m.other, variant->scope, INT32_MAX);
		ASSERT_LE(waits, 1);
		if (!m.armed && !m.armed_too)
			ASSERT_EQ(1, waits);
		ASSERT_EQ(waits ? 1 : -EAGAIN, events(self->set, m.ev, 1));
		ASSERT_EQ(0, del(self->set, m.id));
		ASSERT_EQ(0, do_wake(self->dev, m.word, variant->scope, INT32_MAX));
		ASSERT_EQ(0, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
	}
	race_stop(&race);
}

/* Armed and removed at once: it is gone, and waits on no word. */
TEST_F_TIMEOUT(set, arm_or_removal, 900)
{
	struct match m = MATCH;
	struct race race;

	START(arm, remove_member, wake);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		m.flags = self->flags | (i % 2 ? AFUTEX_PERSISTENT : 0);
		m.id = add(self->set, m.other, m.flags, 0, 0);
		ASSERT_GE(m.id, 0);
		next = do_fd(self->dev, m.word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(0, m.removed);
		ASSERT_EITHER(0, -ENOENT, m.armed);
		ASSERT_EQ(1, m.woken);
		/* It came first, and the member behind it. */
		ASSERT_EQ(READABLE, poll_ms(next, 0));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		ASSERT_EQ(-ENOENT, del(self->set, m.id));
		ASSERT_EQ(0, do_wake(self->dev, m.word, variant->scope, INT32_MAX));
		ASSERT_EQ(0, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
		close(next);
	}
	race_stop(&race);
}

/* Removed by two threads at once: one succeeds, and the wake is passed on once. */
TEST_F_TIMEOUT(set, removal_or_removal, 900)
{
	struct match m = MATCH;
	struct race race;

	START(remove_member, remove_member_too, wake);
	for (int i = 0; i < ROUNDS; i++) {
		int next[2];

		m.flags = self->flags | (i % 2 ? AFUTEX_PERSISTENT : 0);
		m.id = add(self->set, m.word, m.flags, 0, 0);
		ASSERT_GE(m.id, 0);
		for (int j = 0; j < 2; j++)
			next[j] = do_fd(self->dev, m.word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(-ENOENT, m.removed + m.removed_too);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(READABLE, poll_ms(next[0], 5000));
		ASSERT_EQ(0, poll_ms(next[1], 0));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		for (int j = 0; j < 2; j++)
			close(next[j]);
	}
	race_stop(&race);
}

TEST_HARNESS_MAIN
