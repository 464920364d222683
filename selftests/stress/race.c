// SPDX-License-Identifier: GPL-2.0
/* Many threads and processes at once: no wake is lost, and none is made up. */
#include "domain.h"
#include "word_fixture.h"

/* Through the device, and through a domain. */
FIXTURE(race)
{
	int dev, file;
	word_t *word;
	uint32_t flags;
};

FIXTURE_VARIANT(race)
{
	int scope;
	enum memory memory;
	bool domain;
};

FIXTURE_VARIANT_ADD(race, private) { PRIVATE, ANON_PRIVATE, false };
FIXTURE_VARIANT_ADD(race, shared) { SHARED, ANON_PRIVATE, false };
FIXTURE_VARIANT_ADD(race, file) { SHARED, MEMFD, false };
FIXTURE_VARIANT_ADD(race, domain_private) { PRIVATE, ANON_PRIVATE, true };
FIXTURE_VARIANT_ADD(race, domain_file) { SHARED, MEMFD, true };

FIXTURE_SETUP(race)
{
	WORD_SETUP();
	if (variant->domain) {
		int device = self->dev;

		self->dev = new_domain(device, 2);
		ASSERT_GE(self->dev, 0);
		close(device);
	}
}

FIXTURE_TEARDOWN(race)
{
	WORD_TEARDOWN();
}

struct worker {
	int dev, scope;
	word_t *word;
	_Atomic bool *stop;
	long count, bad;
	uint32_t last;
	pthread_t thread;
};

/*
 * The classic: the word is a generation. A waiter that saw generation g sleeps
 * unless it has moved on; the waker stores g + 1, then wakes. A lost wake is a
 * waiter that sleeps for good on an old generation.
 */
static void *follow(void *arg)
{
	struct worker *w = arg;
	uint32_t seen = 0;

	while (seen < w->last) {
		uint32_t now = *w->word;

		if (now != seen) {
			seen = now;
			w->count++;
			continue;
		}
		if (do_wait_ms(w->dev, w->word, w->scope, seen, 20000) &&
		    errno != EAGAIN && errno != EINTR) {
			w->bad = errno;
			break;
		}
	}
	return NULL;
}

/* The same with descriptors: arm, look again, poll. */
static void *follow_with_fd(void *arg)
{
	struct worker *w = arg;
	uint32_t seen = 0;

	while (seen < w->last) {
		int fd = do_fd(w->dev, w->word, w->scope, 0);

		if (fd < 0) {
			w->bad = errno;
			break;
		}
		/* Armed: a change from here on fires it. */
		if (*w->word == seen && poll_ms(fd, 20000) != READABLE) {
			w->bad = ETIMEDOUT;
			close(fd);
			break;
		}
		close(fd);
		seen = *w->word;
		w->count++;
	}
	return NULL;
}

TEST_F_TIMEOUT(race, no_wake_is_lost, 900)
{
	struct worker w[6];
	uint32_t last = rounds(30000);

	for (int i = 0; i < 6; i++) {
		w[i] = (struct worker) {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
			.last = last,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL,
					    i % 2 ? follow_with_fd : follow, &w[i]));
	}
	for (uint32_t g = 1; g <= last; g++) {
		*self->word = g;
		ASSERT_GE(do_wake(self->dev, self->word, variant->scope, INT32_MAX), 0);
		/* Lets the waiters sleep now and then. */
		if (g % 16 == 0)
			sched_yield();
	}
	for (int i = 0; i < 6; i++) {
		pthread_join(w[i].thread, NULL);
		EXPECT_EQ(0, w[i].bad);
		EXPECT_GT(w[i].count, 0);
	}
}

/* Each wake of one wakes exactly one of many waiters. */
static void *take_tokens(void *arg)
{
	struct worker *w = arg;

	while (!*w->stop) {
		if (!do_wait_ms(w->dev, w->word, w->scope, 0, 50)) {
			w->count++;
		} else if (errno != ETIMEDOUT) {
			w->bad = errno;
			break;
		}
	}
	return NULL;
}

static void *take_tokens_with_fd(void *arg)
{
	struct worker *w = arg;

	while (!*w->stop) {
		int fd = do_fd(w->dev, w->word, w->scope, 0);

		if (fd < 0) {
			w->bad = errno;
			break;
		}
		/* Until it fires, or all is over. */
		while (!*w->stop && !poll_ms(fd, 10))
			;
		w->count += poll_ms(fd, 0) == READABLE;
		close(fd);
	}
	return NULL;
}

TEST_F_TIMEOUT(race, wakes_counted_are_wakes_received, 900)
{
	_Atomic bool stop = false;
	struct worker w[8];
	long given = 0, taken = 0;

	for (int i = 0; i < 8; i++) {
		w[i] = (struct worker) {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
			.stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&w[i].thread, NULL,
					    i % 2 ? take_tokens_with_fd : take_tokens, &w[i]));
	}
	for (int i = 0; i < rounds(30000); i++) {
		int n = do_wake(self->dev, self->word, variant->scope, 1 + i % 3);

		ASSERT_GE(n, 0);
		ASSERT_LE(n, 1 + i % 3);
		given += n;
		if (!n)
			sched_yield();
	}
	/* No wake comes from here on. */
	stop = true;
	for (int i = 0; i < 8; i++)
		pthread_join(w[i].thread, NULL);
	for (int i = 0; i < 8; i++) {
		EXPECT_EQ(0, w[i].bad);
		taken += w[i].count;
	}
	EXPECT_GT(given, 0);
	EXPECT_EQ(given, taken);
}

/* Everything at once, over many words of few pages, with forks and kills. */
static void mix(int dev, int scope, word_t *words, unsigned int seed, int n)
{
	int fds[16];

	for (int i = 0; i < 16; i++)
		fds[i] = -1;
	for (int i = 0; i < n; i++) {
		word_t *word = &words[rand_r(&seed) % 1024];
		int *fd = &fds[rand_r(&seed) % 16];

		switch (rand_r(&seed) % 8) {
		case 0:
		case 1:
		case 2:
			if (*fd < 0)
				*fd = do_fd(dev, word, scope, rand_r(&seed) % 2 ? SIGURG : 0);
			break;
		case 3:
			if (*fd >= 0)
				close(*fd);
			*fd = -1;
			break;
		case 4:
			do_wait_ms(dev, word, scope, 0, 1);
			break;
		case 5:
			if (*fd >= 0)
				poll_ms(*fd, 1);
			break;
		default:
			do_wake(dev, word, scope, rand_r(&seed) % 4);
		}
	}
}

TEST_F_TIMEOUT(race, mixture_with_kills_leaves_nothing, 900)
{
	word_t *words = mmap(NULL, 16 * 4096, PROT_READ | PROT_WRITE,
			     MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pids[6];

	ASSERT_TRUE(words != MAP_FAILED);
	for (int round = 0; round < rounds(20); round++) {
		for (int i = 0; i < 6; i++) {
			pids[i] = fork();
			if (!pids[i]) {
				mix(self->dev, variant->scope, words, round * 6 + i, 1000000);
				_exit(0);
			}
		}
		sleep_ms(100);
		for (int i = 0; i < 6; i++) {
			kill(pids[i], SIGKILL);
			EXPECT_EQ(128 + SIGKILL, child_status(pids[i]));
		}
		ASSERT_TRUE(counter_becomes("queued", 0));
		ASSERT_TRUE(counter_becomes("pinned", 0));
	}
}

TEST_HARNESS_MAIN
