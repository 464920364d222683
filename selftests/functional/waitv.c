// SPDX-License-Identifier: GPL-2.0
/* The calls like futex2: sizes, masks, strict counts, many words. */
#include "word_fixture.h"

WORD_FIXTURE(futex2, char *map; uint32_t private;);
WORD_VARIANTS(futex2);

FIXTURE_SETUP(futex2)
{
	WORD_SETUP();
	self->map = (char *)self->word;
	self->private = variant->scope ? FUTEX2_PRIVATE : 0;
}

FIXTURE_TEARDOWN(futex2)
{
	WORD_TEARDOWN();
}

static int wait2(int dev, void *word, uint64_t val, uint64_t mask, uint32_t flags, int ms)
{
	struct timespec64 ts;
	struct timespec now;
	struct afutex_wait args = {
		.uaddr = addr_of(word), .val = val, .mask = mask, .flags = flags,
		.clockid = CLOCK_MONOTONIC, .timeout = addr_of(&ts),
	};

	clock_gettime(CLOCK_MONOTONIC, &now);
	ts.tv_sec = now.tv_sec + (now.tv_nsec + ms * 1000000LL) / 1000000000;
	ts.tv_nsec = (now.tv_nsec + ms * 1000000LL) % 1000000000;
	return ioctl(dev, AFUTEX_IOC_WAIT, &args) ? -errno : 0;
}

static int wake2(int dev, void *word, uint32_t count, uint64_t mask, uint32_t flags)
{
	struct afutex_wake args = {
		.uaddr = addr_of(word), .mask = mask, .count = count, .flags = flags,
	};
	int ret = ioctl(dev, AFUTEX_IOC_WAKE, &args);

	return ret < 0 ? -errno : ret;
}

/* The size governs how many bytes are compared, and the alignment. */
TEST_F(futex2, sizes)
{
	static const uint64_t ones[] = { 0xff, 0xffff, 0xffffffff, ~0ULL };

	for (int size = 0; size < 4; size++) {
		uint32_t flags = size | self->private;
		int bytes = 1 << size;
		char *word = self->map + 64 + bytes;

		/* Its neighbours are full of ones. */
		memset(self->map, 0xff, 256);
		memset(word, 0, bytes);
		EXPECT_EQ(-ETIMEDOUT, wait2(self->dev, word, 0, 1, flags, 1));
		EXPECT_EQ(-EAGAIN, wait2(self->dev, word, 1, 1, flags, 1));
		memset(word, 0xff, bytes);
		EXPECT_EQ(-ETIMEDOUT, wait2(self->dev, word, ones[size], 1, flags, 1));
		EXPECT_EQ(-EAGAIN, wait2(self->dev, word, 0, 1, flags, 1));
		if (size < 3)
			EXPECT_EQ(-EINVAL, wait2(self->dev, word, ones[size] + 1, 1, flags, 1));
		for (int off = 1; off < bytes; off++) {
			EXPECT_EQ(-EINVAL, wait2(self->dev, word + off, 0, 1, flags, 1));
			EXPECT_EQ(-EINVAL, wake2(self->dev, word + off, 1, 1, flags));
		}
	}
}

/* The key is the byte address: the size is no part of it. */
TEST_F(futex2, size_is_no_part_of_the_key)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(self->map), .mask = 1, .flags = 0 | self->private },
	};
	int fd = ioctl(self->dev, AFUTEX_IOC_OPEN, &args);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, wake2(self->dev, self->map + 1, 1, 1, 0 | self->private));
	EXPECT_EQ(1, wake2(self->dev, self->map, 1, 1, 3 | self->private));
	close(fd);
}

TEST_F(futex2, strict)
{
	uint32_t flags = FUTEX2_SIZE_U32 | self->private;
	int fd = do_fd(self->dev, (word_t *)self->map, variant->scope, 0);

	EXPECT_EQ(0, wake2(self->dev, self->map, 0, ~0u, flags));
	EXPECT_EQ(-EINVAL, wake2(self->dev, self->map, 1, 0, flags));
	EXPECT_EQ(-EINVAL, wake2(self->dev, self->map, 1, 1ULL << 32, flags));
	EXPECT_EQ(-EINVAL, wake2(self->dev, self->map, 1, 1, flags | FUTEX2_NUMA));
	EXPECT_EQ(-EINVAL, wake2(self->dev, self->map, 1, 1, flags | 0x100));
	EXPECT_EQ(-EINVAL, wait2(self->dev, self->map, 0, 0, flags, 1));
	EXPECT_EQ(-EINVAL, wait2(self->dev, self->map, 0, 1, flags | 0x8, 1));
	EXPECT_EQ(-EFAULT, wait2(self->dev, NULL, 0, 1, flags, 1));
	EXPECT_EQ(1, wake2(self->dev, self->map, UINT32_MAX, 1, flags));
	close(fd);
}

TEST_F(futex2, clocks)
{
	struct timespec64 past = { 1, 0 };
	struct afutex_wait args = {
		.uaddr = addr_of(self->map), .mask = 1, .flags = FUTEX2_SIZE_U32 | self->private,
		.timeout = addr_of(&past),
	};
	static const struct { int clock, err; } cases[] = {
		{ CLOCK_MONOTONIC, ETIMEDOUT }, { CLOCK_REALTIME, ETIMEDOUT },
		{ CLOCK_BOOTTIME, EINVAL }, { -1, EINVAL }, { 100, EINVAL },
	};

	for (size_t i = 0; i < 5; i++) {
		args.clockid = cases[i].clock;
		EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_WAIT, &args));
		EXPECT_EQ(cases[i].err, errno);
	}
}

/* Many words in one call, each with its own result. */
TEST_F(futex2, wakev)
{
	enum { N = 2000 };
	static struct afutex_wakev_word w[N];
	struct afutex_wakev args = { .words = addr_of(w), .nr = N };
	int fds[4];

	for (int i = 0; i < N; i++)
		w[i] = (struct afutex_wakev_word) {
			.uaddr = addr_of(self->map + i % 1000 * 4), .mask = ~0u, .count = 1,
			.flags = FUTEX2_SIZE_U32 | self->private, .result = 77,
		};
	for (int i = 0; i < 4; i++)
		fds[i] = do_fd(self->dev, (word_t *)self->map + (i < 3 ? 500 : 501),
			       variant->scope, 0);
	w[3].uaddr++;
	w[4].flags |= 0x1000;
	w[5].mask = 0;
	w[6].uaddr = 1ULL << 63;
	w[500].count = 2;
	w[501].count = 0;
	ASSERT_EQ(N, ioctl(self->dev, AFUTEX_IOC_WAKEV, &args));
	for (int i = 0; i < N; i++) {
		int expected = i == 3 || i == 4 || i == 5 ? -EINVAL : i == 6 ? -EFAULT :
			       i == 500 ? 2 : i == 1500 || i == 1501 ? 1 : 0;

		ASSERT_EQ(expected, w[i].result);
	}
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(READABLE, poll_ms(fds[i], 0));
		close(fds[i]);
	}

	args.nr = 0;
	EXPECT_EQ(0, ioctl(self->dev, AFUTEX_IOC_WAKEV, &args));
	args.nr = AFUTEX_WAKEV_MAX + 1;
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_WAKEV, &args));
	EXPECT_EQ(EINVAL, errno);
	args = (struct afutex_wakev) { .words = addr_of(w), .nr = 1, .pad = 1 };
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_WAKEV, &args));
	EXPECT_EQ(EINVAL, errno);
	args = (struct afutex_wakev) { .words = 0, .nr = 1 };
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_WAKEV, &args));
	EXPECT_EQ(EFAULT, errno);
}

/* The address is the argument. */
TEST_F(futex2, direct_wakes)
{
	unsigned long one = variant->scope ? AFUTEX_IOC_WAKE_ONE_PRIVATE : AFUTEX_IOC_WAKE_ONE;
	unsigned long all = variant->scope ? AFUTEX_IOC_WAKE_ALL_PRIVATE : AFUTEX_IOC_WAKE_ALL;
	int fds[5];

	for (int i = 0; i < 5; i++)
		fds[i] = do_fd(self->dev, (word_t *)self->map, variant->scope, 0);
	EXPECT_EQ(1, ioctl(self->dev, one, self->map));
	EXPECT_EQ(4, ioctl(self->dev, all, self->map));
	EXPECT_EQ(0, ioctl(self->dev, all, self->map));
	EXPECT_EQ(-1, ioctl(self->dev, one, self->map + 2));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->dev, all, -4096L));
	EXPECT_EQ(EFAULT, errno);
	for (int i = 0; i < 5; i++)
		close(fds[i]);
}

struct many {
	int dev, nr, ret, err;
	struct futex_waitv *waiters;
	_Atomic bool done;
	pthread_t thread;
};

static int waitv(int dev, struct futex_waitv *waiters, int nr, const struct timespec64 *until)
{
	struct afutex_waitv args = {
		.waiters = addr_of(waiters), .nr = nr, .clockid = CLOCK_MONOTONIC,
		.timeout = addr_of(until),
	};
	int ret = ioctl(dev, AFUTEX_IOC_WAITV, &args);

	return ret < 0 ? -errno : ret;
}

static void *wait_for_many(void *arg)
{
	struct many *m = arg;

	m->ret = waitv(m->dev, m->waiters, m->nr, NULL);
	m->done = true;
	return NULL;
}

/* A wake on any of them, and more words than futex_waitv(2) takes. */
TEST_F(futex2, any_of_a_thousand_words)
{
	enum { N = 1000 };
	static struct futex_waitv w[N];
	word_t *words = (word_t *)self->map;

	for (int i = 0; i < N; i++)
		w[i] = (struct futex_waitv) {
			.uaddr = addr_of(&words[i]), .flags = FUTEX2_SIZE_U32 | self->private,
		};
	for (int i = 0; i < N; i += 333) {
		struct many m = { .dev = self->dev, .nr = N, .waiters = w };

		ASSERT_EQ(0, pthread_create(&m.thread, NULL, wait_for_many, &m));
		ASSERT_TRUE(counter_becomes("queued", N));
		EXPECT_EQ(1, do_wake(self->dev, &words[i], variant->scope, 1));
		pthread_join(m.thread, NULL);
		EXPECT_EQ(i, m.ret);
		EXPECT_EQ(0, counter("queued"));
	}
}

TEST_F(futex2, waitv_errors)
{
	struct timespec64 past = { 1, 0 }, bad = { -1, 0 };
	struct futex_waitv good = {
		.uaddr = addr_of(self->map), .flags = FUTEX2_SIZE_U32 | self->private,
	}, w[2];

#define BAD(err, change) do {					\
	w[0] = w[1] = good;					\
	change;							\
	EXPECT_EQ(-(err), waitv(self->dev, w, 2, &past));	\
	EXPECT_EQ(0, counter("queued"));			\
} while (0)
	BAD(ETIMEDOUT, (void)0);
	BAD(EAGAIN, w[1].val = 1);
	BAD(EINVAL, w[1].flags |= 0x4);
	BAD(EINVAL, w[1].__reserved = 1);
	BAD(EINVAL, w[1].uaddr++);
	BAD(EINVAL, w[1].val = 1ULL << 32);
	BAD(EFAULT, w[1].uaddr = 0);
	EXPECT_EQ(-EINVAL, waitv(self->dev, w, 0, NULL));
	EXPECT_EQ(-EINVAL, waitv(self->dev, w, AFUTEX_WAITV_MAX + 1, NULL));
	EXPECT_EQ(-EFAULT, waitv(self->dev, NULL, 2, &past));
	w[0] = w[1] = good;
	EXPECT_EQ(-EINVAL, waitv(self->dev, w, 2, &bad));
	EXPECT_EQ(-EFAULT, waitv(self->dev, w, 2, (void *)8));
}

static void on_signal(int sig)
{
}

TEST_F(futex2, waitv_is_interrupted)
{
	struct futex_waitv w = {
		.uaddr = addr_of(self->map), .flags = FUTEX2_SIZE_U32 | self->private,
	};
	struct many m = { .dev = self->dev, .nr = 1, .waiters = &w };
	struct sigaction sa = { .sa_handler = on_signal };

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, pthread_create(&m.thread, NULL, wait_for_many, &m));
	ASSERT_TRUE(counter_becomes("queued", 1));
	pthread_kill(m.thread, SIGUSR1);
	pthread_join(m.thread, NULL);
	EXPECT_EQ(-EINTR, m.ret);
}

/* futex_requeue(2), with more to wake than fit in a batch. */
TEST_F(futex2, requeue)
{
	enum { N = 60 };
	word_t *a = (word_t *)self->map, *b = a + 100;
	struct afutex_requeue args = {
		.uaddr = addr_of(a), .uaddr2 = addr_of(b), .val = 3,
		.flags = FUTEX2_SIZE_U32 | self->private, .wake = 40, .requeue = 10,
	};
	int fds[N], fired = 0;

	*a = 3;
	for (int i = 0; i < N; i++)
		ASSERT_GE(fds[i] = do_fd(self->dev, a, variant->scope, 0), 0);
	args.pad = 1;
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(EINVAL, errno);
	args.pad = 0;
	args.val = 4;
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(EAGAIN, errno);
	args.val = 3;
	EXPECT_EQ(50, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	for (int i = 0; i < N; i++)
		fired += poll_ms(fds[i], 0) == READABLE;
	EXPECT_EQ(40, fired);
	EXPECT_EQ(20, counter("queued"));
	EXPECT_EQ(2, counter("keys"));
	EXPECT_EQ(10, do_wake(self->dev, a, variant->scope, INT32_MAX));
	EXPECT_EQ(10, do_wake(self->dev, b, variant->scope, INT32_MAX));
	for (int i = 0; i < N; i++)
		close(fds[i]);
}

/* Waiters that are moved queue behind those of the target, even if they came earlier. */
TEST_F(futex2, requeue_goes_to_the_end)
{
	word_t *a = (word_t *)self->map, *b = a + 100;
	struct afutex_requeue args = {
		.uaddr = addr_of(a), .uaddr2 = addr_of(b), .requeue = 2,
		.flags = FUTEX2_SIZE_U32 | self->private,
	};
	int fds[4];

	for (int i = 0; i < 4; i++)
		fds[i] = do_fd(self->dev, i < 2 ? a : b, variant->scope, 0);
	EXPECT_EQ(2, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(1, do_wake(self->dev, b, variant->scope, 1));
		EXPECT_EQ(READABLE, poll_ms(fds[(i + 2) % 4], 0));
		EXPECT_EQ(i < 3 ? 0 : READABLE, poll_ms(fds[1], 0));
	}
	for (int i = 0; i < 4; i++)
		close(fds[i]);
}

struct mover {
	int dev, scope;
	word_t *words;
	_Atomic bool stop;
};

static void *move_about(void *arg)
{
	struct mover *m = arg;
	unsigned int seed = (uintptr_t)pthread_self();

	while (!m->stop) {
		struct afutex_call call = {
			.op = FUTEX_REQUEUE | m->scope, .val = 0, .timeout = 3,
			.uaddr = addr_of(&m->words[rand_r(&seed) % 4]),
			.uaddr2 = addr_of(&m->words[rand_r(&seed) % 4]),
		};

		ioctl(m->dev, AFUTEX_IOC_CALL, &call);
	}
	return NULL;
}

/* Sleepers time out, are woken and descriptors closed while they are moved about. */
TEST_F_TIMEOUT(futex2, requeue_races_everything, 600)
{
	struct mover m = { .dev = self->dev, .scope = variant->scope,
			   .words = (word_t *)self->map };
	pthread_t threads[2];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, move_about, &m));
	for (int i = 0; i < rounds(3000); i++) {
		int fd = do_fd(self->dev, &m.words[i % 4], variant->scope, 0);
		int other = do_fd(self->dev, &m.words[(i + 1) % 4], variant->scope, 0);

		ASSERT_GE(fd, 0);
		ASSERT_GE(other, 0);
		do_wait_ms(self->dev, &m.words[i % 4], variant->scope, 0, 1);
		close(fd);
		/* On whichever word it is by now. */
		while (!poll_ms(other, 0))
			for (int w = 0; w < 4; w++)
				do_wake(self->dev, &m.words[w], variant->scope, INT32_MAX);
		close(other);
	}
	m.stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
}

TEST_HARNESS_MAIN
