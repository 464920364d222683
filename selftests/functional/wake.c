// SPDX-License-Identifier: GPL-2.0
/* FUTEX_WAKE: how many waiters it wakes, in which order, and which it leaves. */
#include "word_fixture.h"

WORD_FIXTURE(wake);
WORD_VARIANTS(wake);

FIXTURE_SETUP(wake)
{
	WORD_SETUP();
}

FIXTURE_TEARDOWN(wake)
{
	WORD_TEARDOWN();
}

TEST_F(wake, nobody_waits)
{
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
}

/* Like in futex(2), a count of 0 means 1. */
TEST_F(wake, zero_and_negative_counts_wake_one)
{
	int fds[3];

	for (int i = 0; i < 3; i++)
		ASSERT_GE(fds[i] = do_fd(self->dev, self->word, variant->scope, 0), 0);
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 0));
	EXPECT_EQ(READABLE, poll_ms(fds[0], 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, -1));
	EXPECT_EQ(READABLE, poll_ms(fds[1], 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, INT32_MIN));
	EXPECT_EQ(READABLE, poll_ms(fds[2], 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

/* Sleepers and descriptors in one queue, first come first served. */
TEST_F(wake, order_is_that_of_coming)
{
	enum { N = 12 };
	_Atomic int order = 0;
	struct sleeper sleepers[N];
	int fds[N];

	for (int i = 0; i < N; i++) {
		if (i % 2) {
			ASSERT_GE(fds[i] = do_fd(self->dev, self->word, variant->scope, 0), 0);
			continue;
		}
		sleepers[i] = (struct sleeper) {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
			.order = &order,
		};
		ASSERT_EQ(0, sleeper_start(&sleepers[i]));
	}
	EXPECT_EQ(N, counter("queued"));
	EXPECT_EQ(1, counter("keys"));

	for (int i = 0; i < N; i++) {
		EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
		if (i % 2) {
			EXPECT_EQ(READABLE, poll_ms(fds[i], 0));
		} else {
			sleeper_join(&sleepers[i]);
			EXPECT_EQ(i / 2, sleepers[i].place);
		}
		EXPECT_EQ(N - 1 - i, counter("queued"));
		for (int j = i + 1; j < N; j++) {
			if (j % 2) {
				EXPECT_EQ(0, poll_ms(fds[j], 0));
			} else {
				EXPECT_FALSE(sleepers[j].done);
			}
		}
	}
	for (int i = 1; i < N; i += 2)
		close(fds[i]);
}

TEST_F(wake, count_is_kept_over_a_mixture)
{
	enum { N = 40 };
	struct sleeper sleepers[N];
	int fds[N], woken = 0, done = 0;

	for (int i = 0; i < N; i++) {
		if (i % 4) {
			ASSERT_GE(fds[i] = do_fd(self->dev, self->word, variant->scope, 0), 0);
			continue;
		}
		sleepers[i] = (struct sleeper) {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
		};
		ASSERT_EQ(0, sleeper_start(&sleepers[i]));
	}

	/* More than a batch, and not a multiple of one. */
	EXPECT_EQ(23, do_wake(self->dev, self->word, variant->scope, 23));
	for (int i = 0; i < 23; i++) {
		if (i % 4)
			woken += poll_ms(fds[i], 0) == READABLE;
		else
			woken += eventually(sleepers[i].done);
	}
	EXPECT_EQ(23, woken);
	for (int i = 23; i < N; i++)
		done += i % 4 ? poll_ms(fds[i], 0) != 0 : sleepers[i].done;
	EXPECT_EQ(0, done);

	EXPECT_EQ(N - 23, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	for (int i = 0; i < N; i++) {
		if (i % 4)
			close(fds[i]);
		else
			sleeper_join(&sleepers[i]);
	}
}

TEST_F_TIMEOUT(wake, all_of_a_thousand, 300)
{
	enum { N = 1000 };
	static int fds[N];
	struct rlimit files = { N + 100, N + 100 };
	int fired = 0;

	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &files));
	for (int i = 0; i < N; i++)
		ASSERT_GE(fds[i] = do_fd(self->dev, self->word, variant->scope, 0), 0);
	/* One word, one key, one pin, however many wait. */
	EXPECT_EQ(N, counter("queued"));
	EXPECT_EQ(1, counter("keys"));
	EXPECT_EQ(variant->memory == MEMFD, counter("pinned"));
	EXPECT_EQ(N, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	EXPECT_EQ(0, counter("pinned"));
	for (int i = 0; i < N; i++) {
		fired += poll_ms(fds[i], 0) == READABLE;
		close(fds[i]);
	}
	EXPECT_EQ(N, fired);
}

/* A private and a shared operation on one word never meet. */
TEST_F(wake, private_and_shared_do_not_meet)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope ^ PRIVATE, INT32_MAX));
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	close(fd);
}

/* afutex and futex(2) have tables of their own. */
TEST_F(wake, futex_syscall_does_not_meet_us)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, syscall(SYS_futex, self->word, FUTEX_WAKE | variant->scope, INT32_MAX,
			     NULL, NULL, 0));
	EXPECT_EQ(0, poll_ms(fd, 0));
	close(fd);
}

TEST_F(wake, neighbouring_words_are_apart)
{
	int fd = do_fd(self->dev, self->word + 1, variant->scope, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	EXPECT_EQ(0, do_wake(self->dev, self->word + 2, variant->scope, INT32_MAX));
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word + 1, variant->scope, INT32_MAX));
	close(fd);
}

struct comer {
	int dev, scope;
	word_t *word;
	_Atomic bool stop;
};

static void *come_again(void *arg)
{
	struct comer *c = arg;

	while (!c->stop)
		do_wait_ms(c->dev, c->word, c->scope, 0, 1000);
	return NULL;
}

/*
 * A waiter that is woken and waits again at once is left alone by that wake: a wake of all
 * ends, and no waiter is passed over for ever.
 */
TEST_F(wake, comers_starve_neither_waker_nor_waiter)
{
	struct comer c = { .dev = self->dev, .scope = variant->scope, .word = self->word };
	pthread_t threads[4];

	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, come_again, &c));
	for (int i = 0; i < rounds(2000); i++)
		ASSERT_LE(do_wake(self->dev, self->word, variant->scope, INT32_MAX), 5);
	for (int i = 0; i < rounds(200); i++) {
		int fd = do_fd(self->dev, self->word, variant->scope, 0), wakes = 0;

		ASSERT_GE(fd, 0);
		while (!poll_ms(fd, 0) && wakes++ < 100)
			do_wake(self->dev, self->word, variant->scope, 1);
		/* At most the four threads were before it. */
		EXPECT_LE(wakes, 5);
		close(fd);
	}
	c.stop = true;
	for (int i = 0; i < 4; i++) {
		while (pthread_tryjoin_np(threads[i], NULL))
			do_wake(self->dev, self->word, variant->scope, INT32_MAX);
	}
}

TEST_HARNESS_MAIN
