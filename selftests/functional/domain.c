// SPDX-License-Identifier: GPL-2.0
/* Wait domains: which waits and wakes meet in them, their bell page, and what they leave. */
#include <sys/epoll.h>
#include <sys/vfs.h>

#include "domain.h"
#include "pass_fd.h"
#include "set.h"
#include "word_fixture.h"

/* The other domain is there to be left alone. */
WORD_FIXTURE(domain, int domain, other; const word_t *bell; const word_t *other_bell;);
WORD_VARIANTS(domain);

FIXTURE_SETUP(domain)
{
	WORD_SETUP();
	self->domain = new_domain(self->dev, 0);
	ASSERT_GE(self->domain, 0);
	self->other = new_domain(self->dev, 0);
	ASSERT_GE(self->other, 0);
	self->bell = map_bell(self->domain);
	self->other_bell = map_bell(self->other);
	ASSERT_TRUE(self->bell && self->other_bell);
}

FIXTURE_TEARDOWN(domain)
{
	for (int i = 0; i < AFUTEX_BELL_SIZE / 4; i++) {
		EXPECT_EQ(0, self->bell[i]);
		EXPECT_EQ(0, self->other_bell[i]);
	}
	EXPECT_EQ(0, munmap((void *)self->bell, AFUTEX_BELL_SIZE));
	EXPECT_EQ(0, munmap((void *)self->other_bell, AFUTEX_BELL_SIZE));
	close(self->domain);
	close(self->other);
	WORD_TEARDOWN();
}

/* A watch on the fixture's word, or one behind it. */
static int open_watch(int dev, word_t *word, uint32_t flags)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .mask = ~0u, .flags = flags },
		.fd_flags = O_CLOEXEC | O_NONBLOCK,
	};

	return ioctl(dev, AFUTEX_IOC_OPEN, &args);
}

#define BELL(n, word) do {						\
	EXPECT_EQ(n, bell_of(self->bell, word));			\
	EXPECT_EQ(0, bell_of(self->other_bell, word));			\
} while (0)

TEST_F(domain, words_meet_within_it_only)
{
	int through[3] = { self->dev, self->domain, self->other }, fds[3];

	for (int i = 0; i < 3; i++) {
		fds[i] = do_fd(through[i], self->word, variant->scope, 0);
		ASSERT_GE(fds[i], 0);
	}
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(1, do_wake(through[i], self->word, variant->scope, INT32_MAX));
		for (int j = 0; j < 3; j++)
			EXPECT_EQ(j <= i ? READABLE : 0, poll_ms(fds[j], 0));
	}
	for (int i = 0; i < 3; i++)
		close(fds[i]);
}

/* A private and a shared wait on one word do not meet in a domain either. */
TEST_F(domain, scopes_are_apart)
{
	int fd = do_fd(self->domain, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	BELL(1, self->word);
	EXPECT_EQ(0, do_wake(self->domain, self->word, variant->scope ^ PRIVATE, 1));
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	close(fd);
}

TEST_F(domain, one_made_through_another_is_apart)
{
	int inner = new_domain(self->domain, 1), fd;

	ASSERT_GE(inner, 0);
	fd = do_fd(inner, self->word, variant->scope, 0);
	ASSERT_GE(fd, 0);
	BELL(0, self->word);
	EXPECT_EQ(0, do_wake(self->domain, self->word, variant->scope, 1));
	EXPECT_EQ(1, do_wake(inner, self->word, variant->scope, 1));
	close(fd);
	close(inner);
}

TEST_F(domain, info_is_of_the_domain)
{
	for (uint32_t buckets = 1; buckets <= AFUTEX_DOMAIN_BUCKETS_MAX; buckets *= 16) {
		struct afutex_info info, of_device;
		int fd = new_domain(self->dev, buckets);

		ASSERT_GE(fd, 0);
		ASSERT_EQ(0, ioctl(fd, AFUTEX_IOC_INFO, &info));
		ASSERT_EQ(0, ioctl(self->dev, AFUTEX_IOC_INFO, &of_device));
		EXPECT_EQ(buckets, info.buckets);
		EXPECT_EQ(of_device.ops, info.ops);
		EXPECT_EQ(of_device.features, info.features);
		EXPECT_NE(0, info.features & AFUTEX_FEATURE_DOMAIN);
		close(fd);
	}
}

/* A table of one bucket works as any other. */
TEST_F(domain, one_bucket_is_enough)
{
	int domain = new_domain(self->dev, 1), fds[32];

	ASSERT_GE(domain, 0);
	for (int i = 0; i < 32; i++) {
		fds[i] = do_fd(domain, self->word + i, variant->scope, 0);
		ASSERT_GE(fds[i], 0);
	}
	for (int i = 31; i >= 0; i--) {
		EXPECT_EQ(1, do_wake(domain, self->word + i, variant->scope, 2));
		EXPECT_EQ(READABLE, poll_ms(fds[i], 0));
		close(fds[i]);
	}
	close(domain);
}

TEST_F(domain, wrong_arguments)
{
	static const struct {
		struct afutex_domain_args args;
		int err;
	} cases[] = {
		{ { .buckets = 3 }, EINVAL },
		{ { .buckets = AFUTEX_DOMAIN_BUCKETS_MAX + 1 }, EINVAL },
		{ { .buckets = 2 * AFUTEX_DOMAIN_BUCKETS_MAX }, EINVAL },
		{ { .buckets = 1u << 31 }, EINVAL },
		{ { .buckets = ~0u }, EINVAL },
		{ { .fd_flags = O_NONBLOCK }, EINVAL },
		{ { .fd_flags = O_RDWR }, EINVAL },
		{ { .fd_flags = ~0u }, EINVAL },
		{ { .reserved = 1 }, EINVAL },
		{ { .reserved = 1ULL << 63 }, EINVAL },
	};
	long fds = counter("fds");

	for (int i = 0; i < ARRAY_SIZE(cases); i++) {
		EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_DOMAIN, &cases[i].args));
		EXPECT_EQ(cases[i].err, errno) {
			TH_LOG("case %d", i);
		}
	}
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_DOMAIN, NULL));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(fds, counter("fds"));
}

TEST_F(domain, no_descriptor_left)
{
	struct rlimit old, limit;
	long fds = counter("fds");

	ASSERT_EQ(0, getrlimit(RLIMIT_NOFILE, &old));
	limit = (struct rlimit) { 0, old.rlim_max };
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &limit));
	EXPECT_EQ(-EMFILE, new_domain(self->dev, 0));
	ASSERT_EQ(0, setrlimit(RLIMIT_NOFILE, &old));
	EXPECT_EQ(fds, counter("fds"));
}

/* As the device: there is nothing to read, and nothing to wait for. */
TEST_F(domain, is_no_file_to_read_or_poll)
{
	struct epoll_event event = { .events = EPOLLIN };
	int epoll = epoll_create1(EPOLL_CLOEXEC);
	struct statfs fs;
	char text[8];

	EXPECT_EQ(-1, read(self->domain, text, sizeof(text)));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, write(self->domain, "", 1));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, epoll_ctl(epoll, EPOLL_CTL_ADD, self->domain, &event));
	EXPECT_EQ(EPERM, errno);
	EXPECT_EQ(-1, ioctl(self->domain, AFUTEX_IOC_CTL, NULL));
	EXPECT_EQ(ENOTTY, errno);
	ASSERT_EQ(0, fstatfs(self->domain, &fs));
	EXPECT_EQ(AFUTEX_FS_MAGIC, fs.f_type);
	close(epoll);
}

/*
 * The bell counts every kind of waiter.
 */

TEST_F(domain, bell_counts_tasks)
{
	struct sleeper s[3];

	for (int i = 0; i < 3; i++) {
		s[i] = (struct sleeper) {
			.dev = self->domain, .scope = variant->scope, .word = self->word + 5,
		};
		BELL(i, self->word + 5);
		ASSERT_EQ(0, sleeper_start(&s[i]));
	}
	BELL(3, self->word + 5);
	BELL(0, self->word + 4);
	BELL(0, self->word + 6);
	EXPECT_EQ(3, do_wake(self->domain, self->word + 5, variant->scope, 3));
	BELL(0, self->word + 5);
	for (int i = 0; i < 3; i++) {
		sleeper_join(&s[i]);
		EXPECT_EQ(0, s[i].ret);
	}
}

TEST_F(domain, bell_counts_a_wait_that_times_out_for_its_time)
{
	EXPECT_EQ(-1, do_wait_ms(self->domain, self->word, variant->scope, 0, 1));
	EXPECT_EQ(ETIMEDOUT, errno);
	BELL(0, self->word);
	EXPECT_EQ(-1, do_wait(self->domain, self->word, variant->scope, 1));
	EXPECT_EQ(EAGAIN, errno);
	BELL(0, self->word);
}

TEST_F(domain, bell_counts_futex_fds)
{
	int fired = do_fd(self->domain, self->word, variant->scope, 0);
	int closed = do_fd(self->domain, self->word, variant->scope, 0);

	ASSERT_GE(fired, 0);
	ASSERT_GE(closed, 0);
	BELL(2, self->word);
	EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	BELL(1, self->word);
	close(closed);
	BELL(0, self->word);
	close(fired);
}

/* A one-shot watch waits until it is woken, and again from when it is armed again. */
TEST_F(domain, bell_counts_watches_that_are_armed)
{
	struct afutex_rearm rearm = { 0 };
	int fd = open_watch(self->domain, self->word, self->flags);

	ASSERT_GE(fd, 0);
	BELL(1, self->word);
	EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	BELL(0, self->word);
	EXPECT_EQ(0, ioctl(fd, AFUTEX_IOC_REARM, &rearm));
	EXPECT_EQ(1, rearm.count);
	BELL(1, self->word);
	EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	BELL(0, self->word);
	EXPECT_EQ(1, ioctl(fd, AFUTEX_IOC_NEXT, 0));
	BELL(1, self->word);
	close(fd);
	BELL(0, self->word);
}

/* One that is woken and not read passes the wake on when it is closed. */
TEST_F(domain, bell_counts_whom_a_wake_is_passed_on_to)
{
	int first = open_watch(self->domain, self->word, self->flags);
	int next = open_watch(self->domain, self->word, self->flags);

	ASSERT_GE(first, 0);
	ASSERT_GE(next, 0);
	EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	BELL(1, self->word);
	close(first);
	EXPECT_EQ(READABLE, poll_ms(next, 10000));
	BELL(0, self->word);
	close(next);
}

TEST_F(domain, bell_counts_persistent_watches_always)
{
	int fd = open_watch(self->domain, self->word, self->flags | AFUTEX_PERSISTENT);
	uint64_t wakes;

	ASSERT_GE(fd, 0);
	for (int i = 0; i < 3; i++) {
		BELL(1, self->word);
		EXPECT_EQ(1, do_wake(self->domain, self->word, variant->scope, 1));
	}
	BELL(1, self->word);
	EXPECT_EQ(8, read(fd, &wakes, sizeof(wakes)));
	EXPECT_EQ(3, wakes);
	BELL(1, self->word);
	close(fd);
	BELL(0, self->word);
}

TEST_F(domain, bell_counts_members)
{
	int set = new_set(self->domain, O_CLOEXEC | O_NONBLOCK, 0), id[3];
	struct afutex_event ev[4];

	ASSERT_GE(set, 0);
	for (int i = 0; i < 3; i++) {
		id[i] = add(set, self->word + i, self->flags | (i == 2 ? AFUTEX_PERSISTENT : 0),
			    0, i);
		ASSERT_GE(id[i], 0);
		BELL(1, self->word + i);
		EXPECT_EQ(1, do_wake(self->domain, self->word + i, variant->scope, 1));
		BELL(i == 2, self->word + i);
	}
	EXPECT_EQ(3, events(set, ev, 4));
	EXPECT_EQ(0, mod(set, id[0], self->word + 7, self->flags, 0, 0));
	BELL(0, self->word);
	BELL(1, self->word + 7);
	EXPECT_EQ(0, del(set, id[0]));
	BELL(0, self->word + 7);
	EXPECT_EQ(0, mod(set, id[1], self->word + 1, self->flags, 0, 0));
	BELL(1, self->word + 1);
	close(set);
	EXPECT_TRUE(eventually(!bell_of(self->bell, self->word + 1)));
	BELL(0, self->word + 2);
}

struct waitv {
	int domain, ret;
	struct futex_waitv words[3];
	pthread_t thread;
};

static void *waitv_main(void *arg)
{
	struct waitv *w = arg;
	struct afutex_waitv args = {
		.waiters = addr_of(w->words), .nr = 3, .clockid = CLOCK_MONOTONIC,
	};

	w->ret = ioctl(w->domain, AFUTEX_IOC_WAITV, &args);
	return NULL;
}

TEST_F(domain, bell_counts_each_word_of_many)
{
	struct waitv w = { .domain = self->domain };

	for (int i = 0; i < 3; i++)
		w.words[i] = (struct futex_waitv) {
			.uaddr = addr_of(self->word + 10 * i), .flags = self->flags,
		};
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, waitv_main, &w));
	EXPECT_TRUE(counter_becomes("queued", 3));
	for (int i = 0; i < 3; i++)
		BELL(1, self->word + 10 * i);
	EXPECT_EQ(1, do_wake(self->domain, self->word + 10, variant->scope, 1));
	pthread_join(w.thread, NULL);
	EXPECT_EQ(1, w.ret);
	for (int i = 0; i < 3; i++)
		BELL(0, self->word + 10 * i);
}

/* Words of all sizes, by the four bytes that they begin in. */
TEST_F(domain, bell_counts_by_four_bytes)
{
	static const int at[4] = { 7, 10, 12, 24 };

	for (int size = 0; size < 4; size++) {
		char *word = (char *)self->word + at[size];
		struct afutex_open args = {
			.watch = { .uaddr = addr_of(word), .mask = 1,
				   .flags = size | (self->flags & FUTEX2_PRIVATE) },
		};
		int fd = ioctl(self->domain, AFUTEX_IOC_OPEN, &args);

		ASSERT_GE(fd, 0);
		for (int i = 0; i < 16; i++)
			BELL(i == at[size] / 4, self->word + i);
		close(fd);
	}
}

static int requeue(int dev, word_t *from, word_t *to, int scope, int wake, int move)
{
	struct afutex_call call = {
		.uaddr = addr_of(from), .uaddr2 = addr_of(to), .op = FUTEX_REQUEUE | scope,
		.val = wake, .timeout = move,
	};

	return ioctl(dev, AFUTEX_IOC_CALL, &call);
}

TEST_F(domain, bell_follows_a_requeue)
{
	word_t *from = self->word, *to = self->word + 9;
	int fds[5];

	for (int i = 0; i < 5; i++) {
		fds[i] = do_fd(self->domain, from, variant->scope, 0);
		ASSERT_GE(fds[i], 0);
	}
	EXPECT_EQ(0, requeue(self->other, from, to, variant->scope, 1, 1));
	BELL(5, from);
	EXPECT_EQ(3, requeue(self->domain, from, to, variant->scope, 1, 2));
	BELL(2, from);
	BELL(2, to);
	/* Onto the same word, nothing changes. */
	EXPECT_EQ(2, requeue(self->domain, to, to, variant->scope, 0, 9));
	BELL(2, to);
	EXPECT_EQ(1, do_wake(self->domain, to, variant->scope, 1));
	BELL(1, to);
	/* And back. */
	EXPECT_EQ(1, requeue(self->domain, to, from, variant->scope, 0, 9));
	BELL(0, to);
	BELL(3, from);
	EXPECT_EQ(3, do_wake(self->domain, from, variant->scope, 9));
	BELL(0, from);
	for (int i = 0; i < 5; i++) {
		EXPECT_EQ(READABLE, poll_ms(fds[i], 0));
		close(fds[i]);
	}
}

/* A requeue of more than one step counts in all of them. */
TEST_F(domain, bell_follows_a_long_requeue)
{
	int set = new_set(self->domain, O_CLOEXEC | O_NONBLOCK, 0), n = rounds(3000);
	word_t *to = self->word + 100;

	ASSERT_GE(set, 0);
	for (int i = 0; i < n; i++)
		ASSERT_GE(add(set, self->word, self->flags, 0, i), 0);
	BELL(n, self->word);
	EXPECT_EQ(n, requeue(self->domain, self->word, to, variant->scope, 0, INT32_MAX));
	BELL(0, self->word);
	BELL(n, to);
	EXPECT_EQ(n, do_wake(self->domain, to, variant->scope, INT32_MAX));
	BELL(0, to);
	close(set);
}

/* Those whose wakes are futex(2)'s do not ring: whoever wakes them does not look. */
TEST_F(domain, native_watches_are_of_the_machine)
{
	struct afutex_info info;
	int fd;

	ASSERT_EQ(0, ioctl(self->domain, AFUTEX_IOC_INFO, &info));
	if (!(info.features & AFUTEX_FEATURE_NATIVE))
		SKIP(return, "this kernel has no native watches");
	fd = open_watch(self->domain, self->word, self->flags | AFUTEX_NATIVE);
	ASSERT_GE(fd, 0);
	BELL(0, self->word);
	EXPECT_EQ(0, do_wake(self->domain, self->word, variant->scope, 1));
	EXPECT_EQ(0, syscall(SYS_futex, self->word, FUTEX_WAKE | variant->scope, 1));
	EXPECT_EQ(READABLE, poll_ms(fd, 10000));
	close(fd);
}

/* One user, one folio, one charge: through whichever domain. */
TEST_F(domain, pins_are_of_the_machine)
{
	int fds[3] = {
		do_fd(self->dev, self->word, variant->scope, 0),
		do_fd(self->domain, self->word + 1, variant->scope, 0),
		do_fd(self->other, self->word + 2, variant->scope, 0),
	};
	bool pins = variant->memory == MEMFD;

	for (int i = 0; i < 3; i++)
		ASSERT_GE(fds[i], 0);
	EXPECT_EQ(pins, counter("pinned"));
	close(fds[0]);
	close(fds[2]);
	EXPECT_EQ(pins, counter("pinned"));
	close(fds[1]);
	EXPECT_TRUE(counter_becomes("pinned", 0));
}

/*
 * Where the descriptor goes.
 */

/* Descriptors that were made through it hold it, without one of its own. */
TEST_F(domain, is_held_by_what_waits_in_it)
{
	int domain = new_domain(self->dev, 0), set, watch, fd;
	const word_t *bell;

	ASSERT_GE(domain, 0);
	bell = map_bell(domain);
	ASSERT_NE(NULL, bell);
	set = new_set(domain, O_CLOEXEC | O_NONBLOCK, 0);
	watch = open_watch(domain, self->word, self->flags);
	fd = do_fd(domain, self->word, variant->scope, 0);
	ASSERT_GE(add(set, self->word, self->flags, 0, 0), 0);
	close(domain);
	EXPECT_EQ(3, bell_of(bell, self->word));
	EXPECT_EQ(3, counter("queued"));
	/* Its set still takes members. */
	ASSERT_GE(add(set, self->word, self->flags, 0, 0), 0);
	EXPECT_EQ(4, bell_of(bell, self->word));
	close(fd);
	close(watch);
	close(set);
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_EQ(0, bell_of(bell, self->word));
	EXPECT_EQ(0, munmap((void *)bell, AFUTEX_BELL_SIZE));
}

/* A task that sleeps in it holds it: the descriptor may be closed under it. */
TEST_F(domain, is_held_by_a_task_that_sleeps)
{
	struct sleeper s = {
		.dev = new_domain(self->dev, 0), .scope = variant->scope, .word = self->word,
	};
	int copy = dup(s.dev);

	ASSERT_EQ(0, sleeper_start(&s));
	close(s.dev);
	EXPECT_EQ(1, do_wake(copy, self->word, variant->scope, 1));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
	close(copy);
}

/*
 * The mapping.
 */

static int map_errno(size_t size, int prot, int flags, int fd, off_t offset)
{
	void *p = mmap(NULL, size, prot, flags, fd, offset);

	if (p == MAP_FAILED)
		return errno;
	munmap(p, size);
	return 0;
}

FIXTURE(bell)
{
	int dev, domain;
	size_t page;
};

FIXTURE_SETUP(bell)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->domain = new_domain(self->dev, 0);
	ASSERT_GE(self->domain, 0);
	self->page = sysconf(_SC_PAGESIZE);
}

FIXTURE_TEARDOWN(bell)
{
	close(self->domain);
	close(self->dev);
	EXPECT_IDLE();
}

TEST_F(bell, wrong_mappings)
{
	const int read = PROT_READ, write = PROT_READ | PROT_WRITE, shared = MAP_SHARED;
	const size_t page = self->page;

	EXPECT_EQ(0, map_errno(page, read, shared, self->domain, 0));
	EXPECT_EQ(0, map_errno(page, PROT_NONE, shared, self->domain, 0));
	EXPECT_EQ(0, map_errno(page, read, MAP_SHARED_VALIDATE, self->domain, 0));
	/* Less than a page is a page, as with any file. */
	EXPECT_EQ(0, map_errno(1, read, shared, self->domain, 0));
	EXPECT_EQ(EINVAL, map_errno(2 * page, read, shared, self->domain, 0));
	EXPECT_EQ(EINVAL, map_errno(1024 * page, read, shared, self->domain, 0));
	EXPECT_EQ(EINVAL, map_errno(page, read, shared, self->domain, page));
	EXPECT_EQ(EINVAL, map_errno(page, read, shared, self->domain, 16 * page));
	EXPECT_EQ(EINVAL, map_errno(page, read, MAP_PRIVATE, self->domain, 0));
	EXPECT_EQ(EINVAL, map_errno(page, write, MAP_PRIVATE, self->domain, 0));
	EXPECT_EQ(EACCES, map_errno(page, write, shared, self->domain, 0));
	EXPECT_EQ(EACCES, map_errno(page, PROT_WRITE, shared, self->domain, 0));
	EXPECT_EQ(EPERM, map_errno(page, PROT_READ | PROT_EXEC, shared, self->domain, 0));
}

/* Which offsets are waited at in the whole machine is nobody's business. */
TEST_F(bell, the_device_has_none)
{
	EXPECT_EQ(ENODEV, map_errno(self->page, PROT_READ, MAP_SHARED, self->dev, 0));
	EXPECT_EQ(ENODEV, map_errno(self->page, PROT_READ, MAP_PRIVATE, self->dev, 0));
}

TEST_F(bell, stays_read_only)
{
	void *bell = (void *)map_bell(self->domain);
	int mem = open("/proc/self/mem", O_RDWR | O_CLOEXEC);
	char one = 1;

	ASSERT_NE(NULL, bell);
	EXPECT_EQ(-1, mprotect(bell, self->page, PROT_READ | PROT_WRITE));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(-1, mprotect(bell, self->page, PROT_READ | PROT_EXEC));
	EXPECT_EQ(EACCES, errno);
	EXPECT_EQ(0, mprotect(bell, self->page, PROT_NONE));
	EXPECT_EQ(0, mprotect(bell, self->page, PROT_READ));
	/* Nor does a debugger write there. */
	EXPECT_EQ(-1, pwrite(mem, &one, 1, addr_of(bell)));
	EXPECT_EQ(EIO, errno);
	EXPECT_EQ(0, *(word_t *)bell);
	close(mem);
	munmap(bell, self->page);
}

TEST_F(bell, outlives_its_descriptor)
{
	const word_t *bell = map_bell(self->domain);
	word_t word = 0;
	int fd;

	ASSERT_NE(NULL, bell);
	fd = do_fd(self->domain, &word, PRIVATE, 0);
	ASSERT_GE(fd, 0);
	close(self->domain);
	EXPECT_EQ(1, bell_of(bell, &word));
	close(fd);
	EXPECT_TRUE(eventually(!bell_of(bell, &word)));
	EXPECT_EQ(1, counter("fds"));
	munmap((void *)bell, self->page);
	EXPECT_TRUE(counter_becomes("fds", 0));
	self->domain = -1;
}

/* A child and its parent meet in the domain. */
TEST_F(bell, and_domain_are_inherited)
{
	word_t *word = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	const word_t *bell = map_bell(self->domain);
	pid_t pid;

	ASSERT_TRUE(bell && word != MAP_FAILED);
	pid = fork();
	if (!pid) {
		/* Its mapping of the bell is a copy, of the same page. */
		while (!bell_of(bell, word))
			sched_yield();
		_exit(do_wake(self->domain, word, SHARED, 1) != 1);
	}
	EXPECT_EQ(0, do_wait_ms(self->domain, word, SHARED, 0, 60000));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, bell_of(bell, word));
	munmap((void *)bell, self->page);
	munmap(word, self->page);
}

/* Another user's process that gets the descriptor wakes and waits, and reads the bell. */
TEST_F(bell, and_domain_are_passed_on)
{
	word_t *word = mmap(NULL, self->page, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
			    -1, 0);
	int pair[2], fd;
	pid_t pid;

	ASSERT_TRUE(word != MAP_FAILED);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	if (!pid) {
		const word_t *bell;
		int domain;

		close(self->domain);
		if (setresuid(12345, 12345, 12345))
			_exit(1);
		domain = receive_fd(pair[1]);
		bell = map_bell(domain);
		if (!bell || bell_of(bell, word) != 1)
			_exit(2);
		if (do_wake(self->dev, word, SHARED, 1))
			_exit(3);
		if (do_wake(domain, word, SHARED, 1) != 1)
			_exit(4);
		_exit(bell_of(bell, word) ? 5 : 0);
	}
	fd = do_fd(self->domain, word, SHARED, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, send_fd(pair[0], self->domain));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	close(fd);
	munmap(word, self->page);
	close(pair[0]);
	close(pair[1]);
}

/* It can be moved, and its copy in another place is the same; it does not grow. */
TEST_F(bell, is_moved_by_mremap)
{
	const word_t *bell = map_bell(self->domain), *copy = map_bell(self->domain);
	void *there = mmap(NULL, self->page, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	word_t word = 0;
	int fd = do_fd(self->domain, &word, PRIVATE, 0);

	ASSERT_GE(fd, 0);
	ASSERT_TRUE(bell && copy && there != MAP_FAILED);
	EXPECT_EQ(MAP_FAILED, mremap((void *)bell, self->page, 2 * self->page, MREMAP_MAYMOVE));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(there, mremap((void *)bell, self->page, self->page,
				MREMAP_MAYMOVE | MREMAP_FIXED, there));
	EXPECT_EQ(1, bell_of(there, &word));
	EXPECT_EQ(1, bell_of(copy, &word));
	close(fd);
	EXPECT_EQ(0, bell_of(there, &word));
	EXPECT_EQ(0, bell_of(copy, &word));
	munmap(there, self->page);
	munmap((void *)copy, self->page);
}

/* A child has the page too, unless it is not to have it. */
TEST_F(bell, and_fork)
{
	const word_t *bell = map_bell(self->domain), *not_copied = map_bell(self->domain);
	word_t word = 0;
	int fd = do_fd(self->domain, &word, PRIVATE, 0);
	pid_t pid;

	ASSERT_GE(fd, 0);
	ASSERT_TRUE(bell && not_copied);
	ASSERT_EQ(0, madvise((void *)not_copied, self->page, MADV_DONTFORK));
	pid = fork();
	if (!pid)
		_exit(bell_of(bell, &word) != 1);
	EXPECT_EQ(0, child_status(pid));
	pid = fork();
	if (!pid) {
		signal(SIGSEGV, SIG_DFL);
		_exit(bell_of(not_copied, &word));
	}
	EXPECT_EQ(128 + SIGSEGV, child_status(pid));
	EXPECT_EQ(1, bell_of(not_copied, &word));
	close(fd);
	munmap((void *)bell, self->page);
	munmap((void *)not_copied, self->page);
}

/* Thrown away, it is gone for the process that did that, and for no other. */
TEST_F(bell, that_was_thrown_away)
{
	const word_t *bell = map_bell(self->domain);
	pid_t pid;

	ASSERT_NE(NULL, bell);
	pid = fork();
	if (!pid) {
		signal(SIGBUS, SIG_DFL);
		if (madvise((void *)bell, self->page, MADV_DONTNEED))
			_exit(99);
		_exit(*bell);
	}
	EXPECT_EQ(128 + SIGBUS, child_status(pid));
	EXPECT_EQ(0, *bell);
	munmap((void *)bell, self->page);
}

/* To a waiter on a word in it, it is memory like any other that others cannot store to. */
TEST_F(bell, can_be_waited_on)
{
	word_t *bell = (word_t *)map_bell(self->domain);
	int fd;

	ASSERT_NE(NULL, bell);
	fd = do_fd(self->dev, bell, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, counter("pinned"));
	EXPECT_EQ(1, do_wake(self->dev, bell, SHARED, 1));
	close(fd);
	/* In the domain itself it counts itself. */
	fd = do_fd(self->domain, bell, SHARED, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, *bell);
	/* The page outlives its domain while it is pinned. */
	munmap(bell, self->page);
	close(self->domain);
	self->domain = -1;
	EXPECT_EQ(1, counter("pinned"));
	close(fd);
}

TEST_HARNESS_MAIN
