// SPDX-License-Identifier: GPL-2.0
/* After any mix of wakes, closes, kills and exits nothing is queued or pinned. */
#include "word_fixture.h"

WORD_FIXTURE(lifetime);
FIXTURE_VARIANT_ADD(lifetime, private) { PRIVATE, ANON_SHARED };
FIXTURE_VARIANT_ADD(lifetime, shared) { SHARED, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(lifetime, file) { SHARED, MEMFD };

FIXTURE_SETUP(lifetime)
{
	WORD_SETUP();
}

FIXTURE_TEARDOWN(lifetime)
{
	WORD_TEARDOWN();
}

TEST_F(lifetime, exit_closes_armed_descriptors)
{
	pid_t pid = fork();

	if (!pid) {
		for (int i = 0; i < 100; i++)
			if (do_fd(self->dev, self->word + i % 8, variant->scope, SIGRTMIN) < 0)
				_exit(1);
		_exit(counter("queued") != 100);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
}

TEST_F(lifetime, kill_takes_sleepers_and_descriptors)
{
	pid_t pid = fork();

	if (!pid) {
		struct sleeper s[8];

		for (int i = 0; i < 8; i++) {
			s[i] = (struct sleeper) {
				.dev = self->dev, .scope = variant->scope, .word = self->word,
			};
			if (sleeper_start(&s[i]) ||
			    do_fd(self->dev, self->word, variant->scope, 0) < 0)
				_exit(1);
		}
		pause();
	}
	ASSERT_TRUE(counter_becomes("queued", 16));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_TRUE(counter_becomes("fds", 0));
}

/* exec closes descriptors that are close-on-exec, and ends the sleepers. */
TEST_F(lifetime, exec_takes_sleepers_and_closes_marked_descriptors)
{
	pid_t pid = fork();

	if (!pid) {
		struct sleeper s = {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
		};
		int fd = do_fd(self->dev, self->word, variant->scope, 0);

		if (fd < 0 || fcntl(fd, F_SETFD, FD_CLOEXEC) || sleeper_start(&s))
			_exit(99);
		execl("/bin/sh", "sh", "-c",
		      "sleep 0.2; cat /sys/kernel/debug/afutex/queued | grep -qx 0", NULL);
		_exit(98);
	}
	EXPECT_EQ(0, child_status(pid));
}

/* The memory is unmapped before the descriptor is closed. */
TEST_F(lifetime, unmapped_before_close)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, munmap((void *)self->word, 4096));
	close(self->file);
	close(fd);
	EXPECT_TRUE(counter_becomes("pinned", 0));
}

/* The waker drops the pin, though the descriptor stays open. */
TEST_F(lifetime, firing_unpins)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(0, counter("pinned"));
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(1, counter("fds"));
	close(fd);
}

struct closer {
	int dev, scope, last;
	word_t *word;
	_Atomic int round, woken;
	long total;
};

static void *wake_once_a_round(void *arg)
{
	struct closer *c = arg;

	for (int i = 1; i <= c->last; i++) {
		while (c->round < i)
			;
		/* A little later each time, to race with each point of the close. */
		for (volatile int spin = i % 512; spin; spin--)
			;
		c->total += do_wake(c->dev, c->word, c->scope, 1);
		c->woken = i;
	}
	return NULL;
}

/*
 * close() against wake, ten thousand times: either the waker counts the descriptor
 * or it does not find it, and both leave nothing.
 */
TEST_F_TIMEOUT(lifetime, close_races_wake, 600)
{
	struct closer c = {
		.dev = self->dev, .scope = variant->scope, .word = self->word,
		.last = rounds(10000),
	};
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_once_a_round, &c));
	for (int i = 1; i <= c.last; i++) {
		int fd = do_fd(self->dev, self->word, variant->scope, i % 2 ? SIGURG : 0);

		ASSERT_GE(fd, 0);
		c.round = i;
		for (volatile int spin = i / 8 % 512; spin; spin--)
			;
		close(fd);
		while (c.woken < i)
			;
	}
	pthread_join(thread, NULL);
	EXPECT_GE(c.total, 0);
	EXPECT_LE(c.total, c.last);
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_EQ(0, counter("waiters"));
}

/* A timeout races with a wake: a wait that was counted as woken returns 0. */
TEST_F_TIMEOUT(lifetime, timeout_races_wake, 600)
{
	struct closer c = {
		.dev = self->dev, .scope = variant->scope, .word = self->word,
		.last = rounds(10000),
	};
	struct timespec64 ts = { 0, 1000 };
	pthread_t thread;
	long woken = 0;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_once_a_round, &c));
	for (int i = 1; i <= c.last; i++) {
		c.round = i;
		ts.tv_nsec = i % 64 * 1000;
		if (!afutex_call(self->dev, self->word, FUTEX_WAIT | variant->scope, 0, &ts)) {
			woken++;
		} else {
			ASSERT_EQ(ETIMEDOUT, errno);
		}
		while (c.woken < i)
			;
	}
	pthread_join(thread, NULL);
	/* Those that were counted as woken returned 0, and no others. */
	EXPECT_EQ(c.total, woken);
}

TEST_F_TIMEOUT(lifetime, kill_races_wake, 600)
{
	long woken = 0, dead = 0;

	for (int i = 0; i < rounds(300); i++) {
		pid_t pid = fork();
		int status;

		if (!pid)
			_exit(do_wait(self->dev, self->word, SHARED, 0) ? 1 : 0);
		ASSERT_TRUE(eventually(counter("queued") == 1));
		if (i % 2) {
			kill(pid, SIGKILL);
			do_wake(self->dev, self->word, SHARED, 1);
		} else {
			int n = do_wake(self->dev, self->word, SHARED, 1);

			/* An anonymous private word is the child's own. */
			ASSERT_EQ(memory_is_private(variant->memory) ? 0 : 1, n);
			kill(pid, SIGKILL);
		}
		status = child_status(pid);
		ASSERT_EITHER(0, 128 + SIGKILL, status);
		if (status)
			dead++;
		else
			woken++;
		ASSERT_TRUE(counter_becomes("queued", 0));
	}
	EXPECT_GT(dead + woken, 0);
}

TEST_HARNESS_MAIN
