// SPDX-License-Identifier: GPL-2.0
/*
 * No token is lost when the sets that wait for it are closed, killed and shared: an
 * unread wake is passed on to the next waiter, be it a member of another set, a
 * descriptor, or a task that sleeps.
 */
#include <sys/uio.h>

#include "set_fixture.h"

struct taker {
	int dev, scope, kind;
	uint32_t flags;
	word_t *tokens;
	_Atomic bool *stop;
	long taken, bad;
	pthread_t thread;
};

static bool take(word_t *tokens)
{
	uint32_t now = *tokens;

	while (now)
		if (atomic_compare_exchange_weak(tokens, &now, now - 1))
			return true;
	return false;
}

/* Waits with a member that is armed if there is no token; reads every third time. */
static void wait_with_set(struct taker *t, int *set, int i)
{
	uint32_t flags = t->flags | AFUTEX_COMPARE | AFUTEX_READY;
	struct afutex_event ev[2];

	if (*set < 0) {
		*set = new_set(t->dev, O_NONBLOCK, 0);
		t->bad += add(*set, t->tokens, flags, 0, 0) != 0;
	} else {
		t->bad += mod(*set, 0, t->tokens, flags, 0, 0) != 0;
	}
	t->bad += poll_ms(*set, 20000) != READABLE;
	if (i % 3 == 0) {
		t->bad += events(*set, ev, 2) != 1;
	} else if (i % 3 == 1) {
		t->bad += del(*set, 0) != 0;
		t->bad += add(*set, t->tokens + 100, t->flags, 0, 0) != 0;
	} else {
		close(*set);
		*set = -1;
	}
}

/* FUTEX_FD as it is to be used: arm, look again, poll. */
static void wait_with_fd(struct taker *t)
{
	int fd = do_fd(t->dev, t->tokens, t->scope, 0);

	t->bad += fd < 0;
	if (!*t->tokens)
		t->bad += poll_ms(fd, 20000) != READABLE;
	close(fd);
}

static void *take_all(void *arg)
{
	struct taker *t = arg;
	int set = -1;

	for (int i = 0; !t->bad; i++) {
		if (take(t->tokens))
			t->taken++;
		else if (*t->stop)
			break;
		else if (t->kind == 0)
			wait_with_set(t, &set, i);
		else if (t->kind == 1)
			wait_with_fd(t);
		else if (do_wait_ms(t->dev, t->tokens, t->scope, 0, 20000))
			t->bad += errno != EAGAIN && errno != EINTR;
	}
	if (set >= 0)
		close(set);
	return NULL;
}

TEST_F_TIMEOUT(set, tokens_in_are_tokens_out, 900)
{
	enum { TAKERS = 6 };
	long given = rounds(50000), taken = 0;
	struct taker t[TAKERS];
	_Atomic bool stop = false;

	for (int i = 0; i < TAKERS; i++) {
		t[i] = (struct taker) {
			.dev = self->dev, .scope = variant->scope, .flags = self->flags,
			.tokens = self->word, .stop = &stop, .kind = i % 3,
		};
		ASSERT_EQ(0, pthread_create(&t[i].thread, NULL, take_all, &t[i]));
	}
	/* Otherwise the first may take all tokens before the last has begun. */
	ASSERT_TRUE(counter_becomes("queued", TAKERS));
	for (long i = 0; i < given; i++) {
		atomic_fetch_add(self->word, 1);
		ASSERT_GE(do_wake(self->dev, self->word, variant->scope, 1), 0);
		/* Lets the takers run out of tokens often. */
		if (i % 4 == 0)
			ASSERT_TRUE(eventually(*self->word <= 1));
	}
	/* Without another wake. */
	EXPECT_TRUE(eventually(*self->word == 0));
	stop = true;
	for (int i = 0; i < TAKERS; i++) {
		while (pthread_tryjoin_np(t[i].thread, NULL))
			do_wake(self->dev, self->word, variant->scope, INT32_MAX);
		EXPECT_EQ(0, t[i].bad);
		EXPECT_GT(t[i].taken, 0);
		taken += t[i].taken;
	}
	EXPECT_EQ(given, taken);
}

/* Closing a set passes its wakes on in order, to waiters of every kind. */
TEST_F(set, passes_on_to_every_kind)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };
	struct afutex_event ev[2];
	int set, fd, other;

	set = new_set(self->dev, O_NONBLOCK, 0);
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(i, add(set, self->word, self->flags | i % 2 * AFUTEX_PERSISTENT, 0, i));
	WAKE(3, self->word);
	fd = do_fd(self->dev, self->word, variant->scope, 0);
	ASSERT_EQ(0, sleeper_start(&s));
	ASSERT_EQ(0, add(self->set, self->word, self->flags, 0, 7));
	other = do_fd(self->dev, self->word, variant->scope, 0);
	close(set);
	EXPECT_EQ(READABLE, poll_ms(fd, 5000));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
	EXPECT_EQ(READABLE, poll_ms(self->set, 5000));
	EXPECT_EQ(1, events(self->set, ev, 2));
	EXPECT_EQ(7, ev[0].cookie);
	/* There were three. */
	EXPECT_EQ(0, poll_ms(other, 0));
	close(fd);
	close(other);
}

/* A child that waits in AFUTEX_IOC_SET_WAIT, arming its member each time. */
static void wait_in_child(int dev, word_t *word, uint32_t flags, _Atomic bool *armed)
{
	int set = new_set(dev, 0, 0);
	struct afutex_event ev[4];
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_MOD,
		.watch = { .uaddr = addr_of(word), .mask = ~0u, .flags = flags },
	};
	struct afutex_set_wait args = {
		.items = addr_of(&item), .nr_items = 1, .events = addr_of(ev), .nr_events = 4,
		.clockid = CLOCK_MONOTONIC,
	};

	if (add(set, word, flags, 0, 0))
		_exit(1);
	*armed = true;
	while (ioctl(set, AFUTEX_IOC_SET_WAIT, &args) > 0)
		;
	_exit(2);
}

FIXTURE(killed)
{
	int dev, file;
	word_t *word;
	_Atomic bool *armed;
};

FIXTURE_SETUP(killed)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = memory_map(MEMFD, &self->file);
	ASSERT_TRUE(self->word != NULL);
	self->armed = (void *)(self->word + 512);
}

FIXTURE_TEARDOWN(killed)
{
	close(self->dev);
	EXPECT_IDLE();
}

/* Stopped, woken and killed in its sleep: the wake is passed on. */
TEST_F_TIMEOUT(killed, in_the_middle_of_waiting, 900)
{
	for (int round = 0; round < rounds(200); round++) {
		uint32_t flags = FUTEX2_SIZE_U32 | (round % 2 ? AFUTEX_PERSISTENT : 0);
		int next;
		pid_t pid;

		*self->armed = false;
		pid = fork();
		if (!pid)
			wait_in_child(self->dev, self->word, flags, self->armed);
		ASSERT_TRUE(eventually(*self->armed && task_state(pid) == 'S'));
		kill(pid, SIGSTOP);
		ASSERT_TRUE(eventually(task_state(pid) == 'T'));
		next = do_fd(self->dev, self->word, SHARED, 0);
		ASSERT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
		ASSERT_EQ(0, poll_ms(next, 0));
		kill(pid, SIGKILL);
		ASSERT_EQ(128 + SIGKILL, child_status(pid));
		ASSERT_EQ(READABLE, poll_ms(next, 5000));
		close(next);
	}
}

/* Killed at any moment, while wakes come: nothing is left. */
TEST_F_TIMEOUT(killed, in_the_middle_of_anything, 900)
{
	unsigned int seed = 1;

	for (int round = 0; round < rounds(500); round++) {
		uint32_t flags = FUTEX2_SIZE_U32 | (round % 2 ? AFUTEX_PERSISTENT : 0);
		pid_t pid;

		*self->armed = false;
		pid = fork();
		if (!pid)
			wait_in_child(self->dev, self->word, flags, self->armed);
		ASSERT_TRUE(eventually(*self->armed));
		for (int i = rand_r(&seed) % 50; i >= 0; i--)
			ASSERT_GE(do_wake(self->dev, self->word, SHARED, 1), 0);
		kill(pid, SIGKILL);
		do_wake(self->dev, self->word, SHARED, 1);
		ASSERT_EQ(128 + SIGKILL, child_status(pid));
		ASSERT_TRUE(eventually(!do_wake(self->dev, self->word, SHARED, INT32_MAX)));
	}
}

/* A set that a child inherits is one set: its events go to one of the two. */
TEST_F_TIMEOUT(set, inherited_set_is_shared, 900)
{
	_Atomic long *told = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
	int set = new_set(self->dev, 0, 0), n = rounds(10000);
	struct afutex_event ev;
	struct iovec iov = { &ev, sizeof(ev) };
	pid_t pid;

	ASSERT_EQ(0, add(set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	pid = fork();
	if (!pid) {
		while (events(set, &ev, 1) == 1)
			told[0] += ev.count;
		_exit(1);
	}
	for (int i = 0; i < n; i++) {
		WAKE(1, self->word);
		/* Every 16th is left to the child. */
		if (i % 16 && preadv2(set, &iov, 1, -1, RWF_NOWAIT) == sizeof(ev))
			told[1] += ev.count;
		if (i % 16 == 0)
			ASSERT_TRUE(eventually(told[0] + told[1] == i + 1));
	}
	EXPECT_TRUE(eventually(told[0] + told[1] == n));
	EXPECT_GT(told[0], 0);
	/* It waits for more. */
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
	WAKE(1, self->word);
	EXPECT_EQ(1, events(set, &ev, 1));
	close(set);
	munmap((void *)told, 4096);
}

/* A private word that a child adds is of the child's address space. */
TEST_F(set, members_added_by_a_child)
{
	struct afutex_event ev[2];
	pid_t pid;

	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 10));
	pid = fork();
	if (!pid) {
		bool same = variant->memory == MEMFD;

		/* The parent's is there, its own as well after this. */
		if (do_wake(self->dev, self->word, variant->scope, INT32_MAX) != same)
			_exit(1);
		if (add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 11) != 1)
			_exit(2);
		if (do_wake(self->dev, self->word, variant->scope, INT32_MAX) != 1 + same)
			_exit(3);
		_exit(0);
	}
	ASSERT_EQ(0, child_status(pid));
	ASSERT_EQ(variant->memory == MEMFD ? 2 : 1, events(self->set, ev, 2));
	EXPECT_EQ(1, ev[variant->memory == MEMFD].count);
	EXPECT_EQ(11, ev[variant->memory == MEMFD].cookie);
	/* The member stays, though the address space that its word is in is gone. */
	EXPECT_EQ(2, counter("queued"));
	EXPECT_EQ(variant->memory == MEMFD ? 2 : 1,
		  do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	EXPECT_EQ(0, del(self->set, 1));
	EXPECT_EQ(1, counter("queued"));
}

/* The last close passes on, in whichever process it is. */
TEST_F(set, last_of_two_processes_passes_on)
{
	int set = new_set(self->dev, O_NONBLOCK, 0), go[2], next;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, add(set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	pid = fork();
	if (!pid)
		_exit(read(go[0], &c, 1) != 1);
	next = do_fd(self->dev, self->word, variant->scope, 0);
	WAKE(1, self->word);
	close(set);
	EXPECT_EQ(0, poll_ms(next, 0));
	EXPECT_EQ(2, counter("queued"));
	EXPECT_EQ(1, write(go[1], "", 1));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(READABLE, poll_ms(next, 5000));
	close(next);
	close(go[0]);
	close(go[1]);
}

TEST_HARNESS_MAIN
