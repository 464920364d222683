// SPDX-License-Identifier: GPL-2.0
/*
 * Watches that are armed again: on which word, in whose memory, and what an error leaves
 * of what was counted.
 */
#include "memory.h"
#include "race.h"

FIXTURE(rearm)
{
	int dev, file;
	/* The second word is in a page of its own. */
	word_t *word, *other;
	uint32_t flags;
};

FIXTURE_VARIANT(rearm)
{
	int scope;
	enum memory memory;
};

FIXTURE_VARIANT_ADD(rearm, private) { PRIVATE, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(rearm, shared) { SHARED, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(rearm, file) { SHARED, MEMFD };

static word_t *new_page(enum memory kind)
{
	return mmap(NULL, 4096, PROT_READ | PROT_WRITE,
		    (kind == ANON_PRIVATE ? MAP_PRIVATE : MAP_SHARED) | MAP_ANONYMOUS, -1, 0);
}

FIXTURE_SETUP(rearm)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->word != NULL);
	*self->word = 0;
	self->other = new_page(variant->memory);
	ASSERT_TRUE(self->other != MAP_FAILED);
	self->flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);
}

FIXTURE_TEARDOWN(rearm)
{
	munmap((void *)self->word, 4096);
	munmap((void *)self->other, 4096);
	close(self->file);
	close(self->dev);
	EXPECT_IDLE();
}

static int open_watch(int dev, const volatile void *word, uint32_t flags)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .mask = ~0u, .flags = flags },
		.fd_flags = O_NONBLOCK,
	};

	return ioctl(dev, AFUTEX_IOC_OPEN, &args);
}

/* The wakes that were counted, or -errno. */
static int next(int fd, uint32_t val)
{
	int ret = ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)val);

	return ret < 0 ? -errno : ret;
}

static int rearm_flags(int fd, uint32_t val, uint32_t flags)
{
	struct afutex_rearm args = { .val = val, .flags = flags, .count = 99 };

	if (!ioctl(fd, AFUTEX_IOC_REARM, &args))
		return args.count;
	/* No other error has counted anything. */
	return errno != EAGAIN && args.count ? -EIO : -errno;
}

static int rearm(int fd, uint32_t val)
{
	return rearm_flags(fd, val, AFUTEX_COMPARE);
}

typedef int again_t(int fd, uint32_t val);

/* The calls that read a watch and arm it again. */
static again_t *const again[] = { next, rearm };

static int64_t read_count(int fd)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	return n < 0 ? -errno : n == sizeof(count) ? (int64_t)count : -EIO;
}

/* A read that fails once it has taken what it was to give. */
static long read_nowhere(int fd)
{
	return syscall(SYS_read, fd, NULL, sizeof(uint64_t));
}

static int requeue(int dev, word_t *from, word_t *to, uint32_t flags)
{
	struct afutex_requeue args = {
		.uaddr = addr_of(from), .uaddr2 = addr_of(to), .flags = flags, .requeue = 1,
	};

	return ioctl(dev, AFUTEX_IOC_REQUEUE, &args);
}

#define WAKE(n, word)	EXPECT_EQ(n, do_wake(self->dev, word, variant->scope, 1))

/* A requeue and the wake there leave it with another word's key. */
TEST_F(rearm, waits_on_the_word_it_was_opened_for)
{
	for (int i = 0; i < 2; i++) {
		int fd = open_watch(self->dev, self->word, self->flags);

		ASSERT_GE(fd, 0);
		/* The second time it was armed again before. */
		for (int turn = 0; turn < 3; turn++) {
			EXPECT_EQ(1, requeue(self->dev, self->word, self->other, self->flags));
			WAKE(0, self->word);
			WAKE(1, self->other);
			EXPECT_EQ(1, again[i](fd, 0));
			WAKE(0, self->other);
			WAKE(1, self->word);
			EXPECT_EQ(1, again[i](fd, 0));
		}
		close(fd);
	}
}

/* It is read in between, and moved while it is armed again: the word is still the first. */
TEST_F(rearm, moved_and_read)
{
	int fd = open_watch(self->dev, self->word, self->flags);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, requeue(self->dev, self->word, self->other, self->flags));
	WAKE(1, self->other);
	EXPECT_EQ(1, read_count(fd));
	EXPECT_EQ(0, next(fd, 0));
	WAKE(0, self->other);
	WAKE(1, self->word);
	/* Armed again while it is queued elsewhere. */
	EXPECT_EQ(1, next(fd, 0));
	EXPECT_EQ(1, requeue(self->dev, self->word, self->other, self->flags));
	EXPECT_EQ(0, next(fd, 0));
	WAKE(0, self->other);
	WAKE(1, self->word);
	close(fd);
}

/* A requeue, and then a read that fails, which puts the key back. */
TEST_F(rearm, moved_and_not_read)
{
	int fd = open_watch(self->dev, self->word, self->flags);

	ASSERT_GE(fd, 0);
	for (int turn = 0; turn < 3; turn++) {
		EXPECT_EQ(1, requeue(self->dev, self->word, self->other, self->flags));
		WAKE(1, self->other);
		EXPECT_EQ(-1, read_nowhere(fd));
		EXPECT_EQ(EFAULT, errno);
		EXPECT_EQ(1, next(fd, 0));
		WAKE(0, self->other);
	}
	WAKE(1, self->word);
	close(fd);
}

/* Two processes that have different files at the address take turns. */
TEST_F(rearm, each_process_has_its_own_word)
{
	int fd, to_child[2], to_parent[2];
	char c = 0;
	pid_t pid;

	if (variant->memory != MEMFD)
		return;
	fd = open_watch(self->dev, self->word, self->flags);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, pipe(to_child));
	ASSERT_EQ(0, pipe(to_parent));
	pid = fork();
	if (!pid) {
		if (mmap((void *)self->word, 4096, PROT_READ | PROT_WRITE,
			 MAP_SHARED | MAP_ANONYMOUS | MAP_FIXED, -1, 0) != (void *)self->word)
			_exit(1);
		for (int turn = 0; turn < 3; turn++) {
			if (read(to_child[0], &c, 1) != 1)
				_exit(2);
			if (next(fd, 0) != 1)
				_exit(3);
			if (do_wake(self->dev, self->word, variant->scope, 1) != 1)
				_exit(4);
			if (write(to_parent[1], &c, 1) != 1)
				_exit(5);
		}
		_exit(0);
	}
	for (int turn = 0; turn < 3; turn++) {
		WAKE(1, self->word);
		ASSERT_EQ(1, write(to_child[1], &c, 1));
		ASSERT_EQ(1, read(to_parent[0], &c, 1));
		WAKE(0, self->word);
		EXPECT_EQ(1, next(fd, 0));
	}
	WAKE(1, self->word);
	EXPECT_EQ(0, child_status(pid));
	for (int i = 0; i < 2; i++) {
		close(to_child[i]);
		close(to_parent[i]);
	}
	close(fd);
}

/*
 * A word that an address space knows cannot be armed by another one, which would take the
 * watch away from those who opened it. What is shared can.
 */
TEST_F(rearm, by_another_address_space)
{
	bool shared = variant->memory == MEMFD;
	int fd = open_watch(self->dev, self->word, self->flags);

	ASSERT_GE(fd, 0);
	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		/* While it waits, and once it was woken. */
		if (!pid)
			_exit(again[i](fd, 0) != (shared ? 0 : -EXDEV));
		EXPECT_EQ(0, child_status(pid));
		WAKE(1, self->word);
		pid = fork();
		if (!pid)
			_exit(again[i](fd, 0) != (shared ? 1 : -EXDEV));
		EXPECT_EQ(0, child_status(pid));
		/* Nothing of it is lost. */
		EXPECT_EQ(shared ? 0 : 1, again[i](fd, 0));
	}
	WAKE(1, self->word);
	close(fd);
}

/* A word that cannot be read cannot be waited for, compared or not. */
TEST_F(rearm, word_that_is_gone)
{
	int fd = open_watch(self->dev, self->word, self->flags);

	ASSERT_GE(fd, 0);
	WAKE(1, self->word);
	EXPECT_EQ(1, read_count(fd));
	ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, rearm_flags(fd, 0, 0));
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(-EFAULT, rearm(fd, 0));
	EXPECT_EQ(-EFAULT, next(fd, 0));
	ASSERT_EQ(0, munmap((void *)self->word, 4096));
	EXPECT_EQ(-EFAULT, rearm_flags(fd, 0, 0));
	EXPECT_EQ(-EFAULT, next(fd, 0));
	EXPECT_EQ(0, counter("queued"));
	close(fd);
}

/* An error, other than that the word has changed, leaves what was counted to be read. */
TEST_F(rearm, error_leaves_what_was_counted)
{
	int fd = open_watch(self->dev, self->word, self->flags);

	ASSERT_GE(fd, 0);
	for (int i = 0; i < 2; i++) {
		WAKE(1, self->word);
		EXPECT_EQ(-EINVAL, rearm_flags(fd, 0, AFUTEX_PERSISTENT));
		EXPECT_EQ(-1, ioctl(fd, AFUTEX_IOC_REARM, NULL));
		EXPECT_EQ(-1, read_nowhere(fd));
		ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_NONE));
		EXPECT_EQ(-EFAULT, again[i](fd, 0));
		EXPECT_EQ(-EFAULT, rearm_flags(fd, 0, 0));
		EXPECT_EQ(READABLE, poll_ms(fd, 0));
		ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_READ | PROT_WRITE));
		EXPECT_EQ(1, again[i](fd, 0));
		WAKE(1, self->word);
		ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_NONE));
		EXPECT_EQ(-EFAULT, again[i](fd, 0));
		EXPECT_EQ(1, read_count(fd));
		ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_READ | PROT_WRITE));
		EXPECT_EQ(0, again[i](fd, 0));
		/* Changed: it was read. */
		WAKE(1, self->word);
		EXPECT_EQ(-EAGAIN, again[i](fd, 1));
		EXPECT_EQ(0, poll_ms(fd, 0));
		EXPECT_EQ(0, again[i](fd, 0));
	}
	close(fd);
}

/* And to be passed on, by a close. */
TEST_F(rearm, error_and_close)
{
	int fd = open_watch(self->dev, self->word, self->flags);
	int behind = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	ASSERT_GE(behind, 0);
	WAKE(1, self->word);
	ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_NONE));
	EXPECT_EQ(-EFAULT, rearm_flags(fd, 0, 0));
	EXPECT_EQ(0, poll_ms(behind, 0));
	close(fd);
	EXPECT_EQ(READABLE, poll_ms(behind, 5000));
	close(behind);
	ASSERT_EQ(0, mprotect((void *)self->word, 4096, PROT_READ | PROT_WRITE));
}

struct match {
	int fd, dev, scope;
	word_t *word;
	uint32_t flags;
	again_t *again;
	long counted;
};

static void arm_again(void *arg)
{
	struct match *m = arg;
	int ret = m->again(m->fd, 0);

	/* The count that an error leaves is no count. */
	if (ret > 0)
		m->counted += ret;
}

static void fail_to_read(void *arg)
{
	struct match *m = arg;

	for (int i = 0; i < 3; i++)
		if (read_nowhere(m->fd) >= 0)
			m->counted += 1000000;
}

/* Whatever fails beside whatever: each wake is counted once. */
TEST_F_TIMEOUT(rearm, beside_reads_that_fail, 900)
{
	struct match match = {
		.dev = self->dev, .scope = variant->scope, .word = self->word,
		.flags = self->flags,
	};
	struct race race;

	for (int i = 0; i < 2; i++) {
		long woken = 0;

		match.again = again[i];
		match.counted = 0;
		match.fd = open_watch(self->dev, self->word, self->flags);
		ASSERT_GE(match.fd, 0);
		ASSERT_TRUE(race_start(&race, &match, arm_again, fail_to_read, NULL));
		for (int n = rounds(20000); n > 0; n--) {
			woken += do_wake(self->dev, self->word, variant->scope, 1);
			race_meet(&race);
			/* What is left if it was EBUSY. */
			arm_again(&match);
		}
		race_stop(&race);
		EXPECT_EQ(woken, match.counted);
		EXPECT_GT(woken, 0);
		close(match.fd);
	}
}

TEST_HARNESS_MAIN
