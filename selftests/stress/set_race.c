// SPDX-License-Identifier: GPL-2.0
/*
 * A wake of a member of a set races with another call on the member or the set: whichever
 * is first, the wake arrives, once.
 */
#include "race.h"
#include "set_fixture.h"

/* The state of a round, and the results of its calls. */
struct match {
	int dev, scope, set, id;
	uint32_t flags;
	word_t *word, *other;
	/* What each call returned. */
	int woken, moved, told, told_too, seen, removed, changed;
	struct afutex_event ev[2];
};

static void wake(void *arg)
{
	struct match *m = arg;

	m->woken = do_wake(m->dev, m->word, m->scope, 1);
}

static void read_one(void *arg)
{
	struct match *m = arg;

	m->told = events(m->set, m->ev, 1);
}

/* There is nothing to write at that address. */
static void read_in_vain(void *arg)
{
	struct match *m = arg;

	m->told = syscall(SYS_read, m->set, 8L, sizeof(m->ev)) < 0 ? -errno : 0;
}

static void remove_member(void *arg)
{
	struct match *m = arg;

	m->removed = del(m->set, m->id);
}

static void change_word(void *arg)
{
	struct match *m = arg;

	m->changed = mod(m->set, m->id, m->other, m->flags, 0, 2);
}

static void close_set(void *arg)
{
	struct match *m = arg;

	close(m->set);
}

static void read_and_close(void *arg)
{
	read_one(arg);
	close_set(arg);
}

static void requeue_one(void *arg)
{
	struct match *m = arg;
	struct afutex_requeue args = {
		.uaddr = addr_of(m->word), .uaddr2 = addr_of(m->other), .requeue = 1,
		.flags = m->flags & (FUTEX2_SIZE_U64 | FUTEX2_PRIVATE),
	};

	m->moved = ioctl(m->dev, AFUTEX_IOC_REQUEUE, &args);
}

static struct match new_match(int dev, int scope, uint32_t flags, word_t *word)
{
	return (struct match) {
		.dev = dev, .scope = scope, .flags = flags, .word = word, .other = word + 100,
	};
}

/* A set with one member, one-shot and persistent in turn, first in the queue of the word. */
static bool prepare(struct match *m, int round, int set)
{
	uint32_t persistent = round % 2 ? AFUTEX_PERSISTENT : 0;

	m->set = set < 0 ? new_set(m->dev, O_NONBLOCK, 0) : set;
	m->flags = (m->flags & ~AFUTEX_PERSISTENT) | persistent;
	m->told = 0;
	m->id = add(m->set, m->word, m->flags, 0, 1);
	return m->id >= 0;
}

/* How many wakes the readers got. */
static int wakes_told(const struct match *m)
{
	return m->told == 1 ? m->ev[0].count : 0;
}

/* With each kind of memory: more than ten thousand in all. */
#define ROUNDS	rounds(5000)

#define START(...)	ASSERT_TRUE(race_start(&race, &m, __VA_ARGS__))

TEST_F_TIMEOUT(set, wake_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, remove_member, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, self->set));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(0, m.removed);
		/* The member was gone already, or passed its wake on. */
		ASSERT_EQ(READABLE, poll_ms(next, 5000));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		close(next);
	}
	race_stop(&race);
}

TEST_F_TIMEOUT(set, wake_or_change_of_word, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, change_word, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, self->set));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(0, m.changed);
		m.told = events(self->set, m.ev, 1);
		if (wakes_told(&m) != 1)
			ASSERT_EQ(READABLE, poll_ms(next, 5000));
		/* It waits for the other word now, and only for that. */
		ASSERT_EQ(1, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
		ASSERT_EQ(1, events(self->set, m.ev, 1));
		ASSERT_EQ(2, m.ev[0].cookie);
		ASSERT_EQ(1, m.ev[0].count);
		ASSERT_EQ(0, del(self->set, m.id));
		close(next);
	}
	race_stop(&race);
}

TEST_F_TIMEOUT(set, wake_or_close, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, close_set, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, -1));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(READABLE, poll_ms(next, 5000));
		close(next);
	}
	race_stop(&race);
}

TEST_F_TIMEOUT(set, wake_or_read, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, read_one, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int told;

		ASSERT_TRUE(prepare(&m, i, self->set));
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		told = wakes_told(&m);
		if (!told)
			ASSERT_EQ(-EAGAIN, m.told);
		m.told = events(self->set, m.ev, 1);
		ASSERT_EQ(1, told + wakes_told(&m));
		ASSERT_EQ(0, del(self->set, m.id));
	}
	race_stop(&race);
}

/* A reader gets the wake, or the next waiter does: one of the two. */
TEST_F_TIMEOUT(set, wake_read_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, read_one, remove_member);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, self->set));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(0, m.removed);
		ASSERT_EQ(wakes_told(&m) ? 0 : READABLE, poll_ms(next, 0));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		close(next);
	}
	race_stop(&race);
}

TEST_F_TIMEOUT(set, wake_read_or_close, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, read_one, close_set);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, -1));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(wakes_told(&m) ? 0 : READABLE, poll_ms(next, 0));
		close(next);
	}
	race_stop(&race);
}

/* A member is changed and removed at once: one of the two passes its wakes on. */
TEST_F_TIMEOUT(set, change_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(change_word, remove_member, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, self->set));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		ASSERT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
		ASSERT_EQ(0, poll_ms(next, 0));
		race_meet(&race);
		ASSERT_EITHER(0, -ENOENT, m.changed);
		ASSERT_EQ(0, m.removed);
		ASSERT_EQ(READABLE, poll_ms(next, 5000));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		ASSERT_EQ(0, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
		close(next);
	}
	race_stop(&race);
}

/* A read of the event fails while the member is removed. */
TEST_F_TIMEOUT(set, failing_read_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, read_in_vain, remove_member);
	for (int i = 0; i < ROUNDS; i++) {
		int next;

		ASSERT_TRUE(prepare(&m, i, self->set));
		next = do_fd(self->dev, self->word, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(0, m.removed);
		ASSERT_EITHER(-EAGAIN, -EFAULT, m.told);
		ASSERT_EQ(READABLE, poll_ms(next, 5000));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
		close(next);
	}
	race_stop(&race);
}

/* ... and puts it back if the member is there. */
TEST_F_TIMEOUT(set, failing_read_or_read, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(wake, read_in_vain, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(prepare(&m, i, self->set));
		race_meet(&race);
		ASSERT_EQ(1, m.woken);
		ASSERT_EITHER(-EAGAIN, -EFAULT, m.told);
		ASSERT_EQ(READABLE, poll_ms(self->set, 0));
		m.told = events(self->set, m.ev, 1);
		ASSERT_EQ(1, wakes_told(&m));
		ASSERT_EQ(0, del(self->set, m.id));
	}
	race_stop(&race);
}

/* How many descriptors are readable; closes them. */
static int readable(int *fds, int nr)
{
	int count = 0;

	for (int i = 0; i < nr; i++) {
		count += poll_ms(fds[i], 0) == READABLE;
		close(fds[i]);
	}
	return count;
}

TEST_F_TIMEOUT(set, requeue_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(requeue_one, remove_member, NULL);
	for (int i = 0; i < ROUNDS; i++) {
		ASSERT_TRUE(prepare(&m, i, self->set));
		race_meet(&race);
		ASSERT_EQ(0, m.removed);
		ASSERT_EITHER(0, 1, m.moved);
		ASSERT_EQ(0, do_wake(self->dev, m.word, variant->scope, INT32_MAX));
		ASSERT_EQ(0, do_wake(self->dev, m.other, variant->scope, INT32_MAX));
	}
	race_stop(&race);
}

/* On whichever word the member is when it goes, its wake reaches a waiter of that word. */
TEST_F_TIMEOUT(set, requeue_wake_or_removal, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(requeue_one, wake, remove_member);
	for (int i = 0; i < ROUNDS; i++) {
		int next[3];

		ASSERT_TRUE(prepare(&m, i, self->set));
		/* At most one moves: each word keeps a waiter. */
		for (int j = 0; j < 3; j++)
			next[j] = do_fd(self->dev, j < 2 ? m.word : m.other, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(0, m.removed);
		ASSERT_EQ(1, m.moved);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(1, readable(next, 3));
		ASSERT_EQ(-EAGAIN, events(self->set, m.ev, 1));
	}
	race_stop(&race);
}

TEST_F_TIMEOUT(set, requeue_wake_read_or_close, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	START(requeue_one, wake, read_and_close);
	for (int i = 0; i < ROUNDS; i++) {
		int next[3];

		ASSERT_TRUE(prepare(&m, i, -1));
		for (int j = 0; j < 3; j++)
			next[j] = do_fd(self->dev, j < 2 ? m.word : m.other, variant->scope, 0);
		race_meet(&race);
		ASSERT_EQ(1, m.moved);
		ASSERT_EQ(1, m.woken);
		ASSERT_EQ(1, wakes_told(&m) + readable(next, 3));
	}
	race_stop(&race);
}

static void read_too(void *arg)
{
	struct match *m = arg;

	m->told_too = events(m->set, &m->ev[1], 1);
}

static void look(void *arg)
{
	struct match *m = arg;

	m->seen = poll_ms(m->set, 0);
}

/* Two readers take one of four events each: poll in a third thread sees the others. */
TEST_F_TIMEOUT(set, read_read_or_look, 900)
{
	struct match m = new_match(self->dev, variant->scope, self->flags, self->word);
	struct race race;

	m.set = self->set;
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(i, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, i));
	START(read_one, read_too, look);
	for (int i = 0; i < ROUNDS; i++) {
		struct afutex_event left[4];
		int seen = 0;

		WAKE(4, self->word);
		race_meet(&race);
		ASSERT_EQ(1, m.told);
		ASSERT_EQ(1, m.told_too);
		ASSERT_EQ(READABLE, m.seen);
		ASSERT_EQ(2, events(self->set, left, 4));
		for (int j = 0; j < 2; j++)
			seen |= 1 << m.ev[j].cookie | 1 << left[j].cookie;
		ASSERT_EQ(15, seen);
	}
	race_stop(&race);
}

TEST_HARNESS_MAIN
