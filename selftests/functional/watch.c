// SPDX-License-Identifier: GPL-2.0
/*
 * AFUTEX_IOC_OPEN: descriptors that compare before they are armed, are armed again or
 * stay armed, count wakes, and lose none.
 */
#include <liburing.h>
#include <sys/epoll.h>

#include "word_fixture.h"

WORD_FIXTURE(watch);
WORD_VARIANTS(watch);

FIXTURE_SETUP(watch)
{
	WORD_SETUP();
}

FIXTURE_TEARDOWN(watch)
{
	WORD_TEARDOWN();
}

static int open_watch(int dev, const volatile void *word, uint32_t flags, uint64_t val,
		      int fd_flags)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .val = val, .mask = ~0u, .flags = flags },
		.fd_flags = fd_flags,
	};

	return ioctl(dev, AFUTEX_IOC_OPEN, &args);
}

static int open_masked(int dev, const volatile void *word, uint32_t flags, uint32_t mask)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .mask = mask, .flags = flags },
		.fd_flags = O_NONBLOCK,
	};

	return ioctl(dev, AFUTEX_IOC_OPEN, &args);
}

/* What read gives, or -errno. */
static int64_t read_count(int fd)
{
	uint64_t count;
	ssize_t n = read(fd, &count, sizeof(count));

	return n < 0 ? -errno : n == sizeof(count) ? (int64_t)count : -EIO;
}

static int rearm(int fd, uint64_t val, uint32_t flags, uint64_t *count)
{
	struct afutex_rearm args = { .val = val, .flags = flags, .count = 99 };
	int ret = ioctl(fd, AFUTEX_IOC_REARM, &args) ? -errno : 0;

	*count = args.count;
	return ret;
}

#define WAKE(n)	EXPECT_EQ(n, do_wake(self->dev, self->word, variant->scope, n))

TEST_F(watch, arms_only_if_the_word_holds_the_value)
{
	int fd;

	*self->word = 5;
	EXPECT_EQ(-1, open_watch(self->dev, self->word, self->flags | AFUTEX_COMPARE, 4, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, counter("queued"));
	fd = open_watch(self->dev, self->word, self->flags | AFUTEX_COMPARE, 5, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, counter("queued"));
	EXPECT_EQ(0, poll_ms(fd, 0));
	WAKE(1);
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(1, read_count(fd));
	EXPECT_EQ(0, poll_ms(fd, 0));
	close(fd);
}

TEST_F(watch, differing_word_is_ready_at_once_where_asked)
{
	int fd;

	*self->word = 5;
	fd = open_watch(self->dev, self->word, self->flags | AFUTEX_COMPARE | AFUTEX_READY, 4,
			O_NONBLOCK);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ((int64_t)AFUTEX_CHANGED, read_count(fd));
	EXPECT_EQ(0, poll_ms(fd, 0));
	EXPECT_EQ(-EAGAIN, read_count(fd));
	close(fd);
}

TEST_F(watch, unknown_or_contradicting_flags_are_EINVAL)
{
	struct afutex_open good = {
		.watch = { .uaddr = addr_of(self->word), .mask = 1, .flags = self->flags },
	}, args;
	int fd;

#define BAD(change) do {						\
	args = good;							\
	change;								\
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_OPEN, &args));	\
	EXPECT_EQ(EINVAL, errno);					\
} while (0)
	BAD(args.watch.mask = 0);
	BAD(args.watch.cookie = 1);
	BAD(args.watch.val = 1);
	BAD(args.watch.flags |= AFUTEX_READY);
	BAD(args.watch.flags |= FUTEX2_NUMA);
	BAD(args.watch.flags |= 0x10);
	BAD(args.watch.flags |= 0x80000000);
	BAD(args.watch.uaddr++);
	BAD(args.fd_flags = O_APPEND);
	BAD(args.signal = 65);
	BAD(args.watch.flags |= AFUTEX_COMPARE; args.watch.val = 1ULL << 32);
	fd = ioctl(self->dev, AFUTEX_IOC_OPEN, &good);
	EXPECT_GE(fd, 0);
	close(fd);
	EXPECT_TRUE(counter_becomes("fds", 0));
}

TEST_F(watch, descriptor_flags)
{
	int fd = open_watch(self->dev, self->word, self->flags, 0, O_CLOEXEC | O_NONBLOCK);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_TRUE(fcntl(fd, F_GETFL) & O_NONBLOCK);
	EXPECT_EQ(-EAGAIN, read_count(fd));
	close(fd);
	fd = open_watch(self->dev, self->word, self->flags, 0, 0);
	EXPECT_EQ(0, fcntl(fd, F_GETFD));
	EXPECT_FALSE(fcntl(fd, F_GETFL) & O_NONBLOCK);
	close(fd);
}

TEST_F(watch, rearms_in_one_call)
{
	uint64_t count;
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_COMPARE, 0, O_NONBLOCK);

	ASSERT_GE(fd, 0);
	for (uint32_t v = 1; v < 10; v++) {
		*self->word = v;
		WAKE(1);
		EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
		EXPECT_EQ(READABLE, poll_ms(fd, 0));
		/* An old value: the watch is read, and not armed. */
		EXPECT_EQ(-EAGAIN, rearm(fd, v - 1, AFUTEX_COMPARE, &count));
		EXPECT_EQ(1, count);
		EXPECT_EQ(0, counter("queued"));
		EXPECT_EQ(0, poll_ms(fd, 0));
		/* Or it is ready at once. */
		EXPECT_EQ(0, rearm(fd, v - 1, AFUTEX_COMPARE | AFUTEX_READY, &count));
		EXPECT_EQ(0, count);
		EXPECT_EQ((int64_t)AFUTEX_CHANGED, read_count(fd));
		EXPECT_EQ(0, rearm(fd, v, AFUTEX_COMPARE, &count));
		EXPECT_EQ(0, count);
		EXPECT_EQ(1, counter("queued"));
		EXPECT_EQ(0, poll_ms(fd, 0));
		/* A watch that is armed is queued anew. */
		EXPECT_EQ(0, rearm(fd, v, AFUTEX_COMPARE, &count));
		EXPECT_EQ(1, counter("queued"));
	}
	EXPECT_EQ(-EINVAL, rearm(fd, 0, AFUTEX_PERSISTENT, &count));
	EXPECT_EQ(-EINVAL, rearm(fd, 1, 0, &count));
	EXPECT_EQ(-1, ioctl(fd, AFUTEX_IOC_REARM, NULL));
	EXPECT_EQ(EFAULT, errno);
	close(fd);
}

TEST_F(watch, persistent_one_counts)
{
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, O_NONBLOCK);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(-EAGAIN, read_count(fd));
	for (int i = 0; i < 5; i++)
		WAKE(1);
	/* Once for each wake, however many it asks for. */
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	EXPECT_EQ(1, counter("queued"));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(6, read_count(fd));
	EXPECT_EQ(-EAGAIN, read_count(fd));
	WAKE(1);
	EXPECT_EQ(1, read_count(fd));
	close(fd);
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_TRUE(counter_becomes("pinned", 0));
}

/* A persistent watch goes to the end of the queue, so others get their turn. */
TEST_F(watch, persistent_ones_take_turns)
{
	int fds[3];

	for (int i = 0; i < 3; i++) {
		fds[i] = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0,
				    O_NONBLOCK);
		ASSERT_GE(fds[i], 0);
	}
	for (int i = 0; i < 9; i++) {
		WAKE(1);
		for (int j = 0; j < 3; j++)
			EXPECT_EQ(j == i % 3 ? 1 : -EAGAIN, read_count(fds[j]));
	}
	EXPECT_EQ(3, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(1, read_count(fds[i]));
		close(fds[i]);
	}
}

TEST_F(watch, read_wants_eight_bytes)
{
	char buf[16];
	uint64_t count;
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0);

	WAKE(1);
	EXPECT_EQ(-1, read(fd, buf, 7));
	EXPECT_EQ(EINVAL, errno);
	/* A wake whose read fails is not lost. */
	EXPECT_EQ(-1, syscall(SYS_read, fd, 8L, 8L));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(8, read(fd, buf, 16));
	memcpy(&count, buf, 8);
	EXPECT_EQ(1, count);
	EXPECT_EQ(-1, write(fd, buf, 8));
	EXPECT_EQ(EINVAL, errno);
	close(fd);
}

TEST_F(watch, blocking_read)
{
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0);

	WHILE_WAITING(EXPECT_EQ(1, read_count(fd)));
	close(fd);
}

TEST_F(watch, interrupted_read)
{
	int fd = open_watch(self->dev, self->word, self->flags, 0, 0);

	WHILE_SIGNALLED(EXPECT_EQ(-EINTR, read_count(fd)));
	close(fd);
}

TEST_F(watch, waited_for_with_epoll)
{
	struct epoll_event ev = { .events = EPOLLIN | EPOLLET };
	int ep = epoll_create1(0);
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, O_NONBLOCK);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	for (int i = 0; i < 3; i++) {
		WHILE_WAITING(EXPECT_EQ(1, epoll_wait(ep, &ev, 1, 10000)));
		EXPECT_EQ(0, epoll_wait(ep, &ev, 1, 0));
	}
	EXPECT_EQ(3, read_count(fd));
	close(fd);
	close(ep);
}

TEST_F(watch, signals)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(self->word), .mask = 1,
			   .flags = self->flags | AFUTEX_PERSISTENT },
		.signal = SIGRTMIN,
	};
	struct timespec ts = { 5, 0 };
	siginfo_t info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	fd = ioctl(self->dev, AFUTEX_IOC_OPEN, &args);
	ASSERT_GE(fd, 0);
	for (int i = 0; i < 3; i++) {
		WAKE(1);
		EXPECT_EQ(SIGRTMIN, sigtimedwait(&set, &info, &ts));
		EXPECT_EQ(fd, info.si_fd);
		EXPECT_EQ(READABLE, info.si_band);
	}
	close(fd);
}

TEST_F(watch, io_uring_reads_and_polls)
{
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0);
	struct io_uring ring;
	struct io_uring_cqe *cqe;
	uint64_t count = 0;

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	for (int i = 0; i < 3; i++) {
		io_uring_prep_read(io_uring_get_sqe(&ring), fd, &count, sizeof(count), 0);
		ASSERT_EQ(1, io_uring_submit(&ring));
		EXPECT_EQ(-EAGAIN, io_uring_peek_cqe(&ring, &cqe));
		WHILE_WAITING(EXPECT_EQ(0, io_uring_wait_cqe(&ring, &cqe)));
		EXPECT_EQ(8, cqe->res);
		EXPECT_EQ(1, count);
		io_uring_cqe_seen(&ring, cqe);
	}
	io_uring_prep_poll_add(io_uring_get_sqe(&ring), fd, POLLIN);
	ASSERT_EQ(1, io_uring_submit(&ring));
	WHILE_WAITING(EXPECT_EQ(0, io_uring_wait_cqe(&ring, &cqe)));
	EXPECT_TRUE(cqe->res & POLLIN);
	io_uring_queue_exit(&ring);
	close(fd);
}

TEST_F(watch, masks)
{
	struct afutex_wake wake = {
		.uaddr = addr_of(self->word), .count = 10, .flags = self->flags,
	};
	int one = open_masked(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 1);
	int two = open_masked(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 2);

	wake.mask = 2;
	EXPECT_EQ(1, ioctl(self->dev, AFUTEX_IOC_WAKE, &wake));
	EXPECT_EQ(-EAGAIN, read_count(one));
	EXPECT_EQ(1, read_count(two));
	wake.mask = 3;
	EXPECT_EQ(2, ioctl(self->dev, AFUTEX_IOC_WAKE, &wake));
	wake.mask = 4;
	EXPECT_EQ(0, ioctl(self->dev, AFUTEX_IOC_WAKE, &wake));
	close(one);
	close(two);
}

/* A wake that was counted and not read goes to the next when the watch is closed. */
TEST_F(watch, close_passes_on)
{
	for (int persistent = 0; persistent < 2; persistent++) {
		uint32_t flags = self->flags | (persistent ? AFUTEX_PERSISTENT : 0);
		int first = open_watch(self->dev, self->word, flags, 0, O_NONBLOCK);
		int second = open_watch(self->dev, self->word, flags, 0, O_NONBLOCK);
		struct sleeper s = {
			.dev = self->dev, .scope = variant->scope, .word = self->word,
		};

		ASSERT_EQ(0, sleeper_start(&s));
		WAKE(1);
		EXPECT_EQ(0, poll_ms(second, 0));
		close(first);
		EXPECT_EQ(READABLE, poll_ms(second, 5000));
		EXPECT_FALSE(s.done);
		close(second);
		sleeper_join(&s);
		EXPECT_EQ(0, s.ret);
	}
}

TEST_F(watch, close_after_reading_passes_nothing_on)
{
	int first = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);
	int second = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);

	WAKE(1);
	EXPECT_EQ(1, read_count(first));
	close(first);
	sleep_ms(30);
	EXPECT_EQ(0, poll_ms(second, 0));
	close(second);
}

/* Several wakes at once; a waiter of another mask does not get them. */
TEST_F(watch, close_passes_on_as_many_with_their_mask)
{
	struct afutex_wake wake = {
		.uaddr = addr_of(self->word), .mask = 2, .count = 1, .flags = self->flags,
	};
	int first = open_masked(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 3);
	int other = open_masked(self->dev, self->word, self->flags, 1);
	int next[3];

	EXPECT_EQ(1, ioctl(self->dev, AFUTEX_IOC_WAKE, &wake));
	EXPECT_EQ(1, ioctl(self->dev, AFUTEX_IOC_WAKE, &wake));
	for (int i = 0; i < 3; i++)
		next[i] = open_masked(self->dev, self->word, self->flags, 2);
	close(first);
	EXPECT_EQ(READABLE, poll_ms(next[0], 5000));
	EXPECT_EQ(READABLE, poll_ms(next[1], 5000));
	EXPECT_EQ(0, poll_ms(next[2], 0));
	EXPECT_EQ(0, poll_ms(other, 0));
	/* The wakes of these are passed on to the third, and end there. */
	close(next[0]);
	EXPECT_EQ(READABLE, poll_ms(next[2], 5000));
	for (int i = 1; i < 3; i++)
		close(next[i]);
	sleep_ms(20);
	EXPECT_EQ(0, poll_ms(other, 0));
	close(other);
}

/* FUTEX_FD keeps its contract: firing is consuming. */
TEST_F(watch, futex_fd_does_not_pass_on)
{
	int first = do_fd(self->dev, self->word, variant->scope, 0);
	int second = do_fd(self->dev, self->word, variant->scope, 0);

	WAKE(1);
	close(first);
	sleep_ms(30);
	EXPECT_EQ(0, poll_ms(second, 0));
	close(second);
}

/* Requeue moves descriptors and watches as it does sleepers. */
TEST_F(watch, requeue_moves_all_kinds)
{
	word_t *other = self->word + 16;
	int fd = do_fd(self->dev, self->word, variant->scope, 0);
	int once = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);
	int stays = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0,
			       O_NONBLOCK);
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };
	struct afutex_requeue args = {
		.uaddr = addr_of(self->word), .uaddr2 = addr_of(other), .flags = self->flags,
		.requeue = 10,
	};

	ASSERT_EQ(0, sleeper_start(&s));
	EXPECT_EQ(4, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(4, counter("queued"));
	EXPECT_EQ(1, counter("keys"));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	EXPECT_EQ(4, do_wake(self->dev, other, variant->scope, INT32_MAX));
	sleeper_join(&s);
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(1, read_count(once));
	EXPECT_EQ(1, read_count(stays));
	EXPECT_EQ(1, do_wake(self->dev, other, variant->scope, INT32_MAX));
	close(fd);
	close(once);
	close(stays);
}

/* A watch that was woken and not read stays: the wake belongs to its word. */
TEST_F(watch, requeue_leaves_who_owes)
{
	word_t *other = self->word + 16;
	int stays = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0,
			       O_NONBLOCK);
	struct afutex_requeue args = {
		.uaddr = addr_of(self->word), .uaddr2 = addr_of(other), .flags = self->flags,
		.requeue = 10,
	};
	int next;

	WAKE(1);
	EXPECT_EQ(0, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	next = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);
	close(stays);
	EXPECT_EQ(READABLE, poll_ms(next, 5000));
	close(next);
}

TEST_F(watch, fdinfo)
{
	char path[64], text[1024] = "";
	int fd = open_watch(self->dev, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0), f;

	WAKE(1);
	WAKE(1);
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", fd);
	f = open(path, O_RDONLY);
	ASSERT_GT(read(f, text, sizeof(text) - 1), 0);
	close(f);
	EXPECT_TRUE(strstr(text, "afutex-state:\tarmed\n") != NULL);
	EXPECT_TRUE(strstr(text, "afutex-wakes:\t2\n") != NULL);
	close(fd);
}

/* A descriptor that outlives the memory of its word, and its process, passes on too. */
TEST_F(watch, closed_from_elsewhere)
{
	int first, second, pipe_fds[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipe_fds));
	first = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);
	second = open_watch(self->dev, self->word, self->flags, 0, O_NONBLOCK);
	pid = fork();
	if (!pid) {
		/* The last reference is dropped by this process, which has another mm. */
		_exit(read(pipe_fds[0], &c, 1) != 1);
	}
	WAKE(1);
	close(first);
	EXPECT_EQ(0, poll_ms(second, 0));
	EXPECT_EQ(1, write(pipe_fds[1], "", 1));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(READABLE, poll_ms(second, 5000));
	close(second);
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

struct stress {
	int dev, scope, persistent;
	uint32_t flags;
	word_t *tokens;
	_Atomic long *taken;
	_Atomic bool *stop;
	pthread_t thread;
	long bad;
};

static bool take(word_t *tokens)
{
	uint32_t now = *tokens;

	while (now)
		if (atomic_compare_exchange_weak(tokens, &now, now - 1))
			return true;
	return false;
}

/*
 * Takers arm with the value they saw, and sleep; now and then they close a watch
 * that was woken without having read it.
 */
static void *taker(void *arg)
{
	struct stress *s = arg;
	int fd = -1, i = 0;

	while (true) {
		uint64_t count;

		if (take(s->tokens)) {
			++*s->taken;
			continue;
		}
		if (*s->stop)
			break;
		if (fd < 0)
			fd = open_watch(s->dev, s->tokens,
					s->flags | AFUTEX_COMPARE | AFUTEX_READY, 0, O_NONBLOCK);
		else if (rearm(fd, 0, AFUTEX_COMPARE | AFUTEX_READY, &count))
			s->bad = errno;
		if (fd < 0) {
			s->bad = errno;
			break;
		}
		if (!poll_ms(fd, 20000)) {
			s->bad = ETIMEDOUT;
			break;
		}
		if (++i % 7 == 0) {
			close(fd);
			fd = -1;
		}
	}
	close(fd);
	return NULL;
}

/* All tokens are taken, and no taker sleeps while there is one. */
TEST_F_TIMEOUT(watch, litmus, 900)
{
	_Atomic bool stop = false;
	_Atomic long taken = 0;
	struct stress s[4];
	long given = rounds(200000);

	for (int i = 0; i < 4; i++) {
		s[i] = (struct stress) {
			.dev = self->dev, .scope = variant->scope, .flags = self->flags,
			.tokens = self->word, .taken = &taken, .stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&s[i].thread, NULL, taker, &s[i]));
	}
	for (long i = 0; i < given; i++) {
		atomic_fetch_add(self->word, 1);
		do_wake(self->dev, self->word, variant->scope, 1);
		/* Lets the takers run out of tokens often. */
		if (i % 8 == 0)
			while (*self->word > 2)
				sched_yield();
	}
	EXPECT_TRUE(eventually(taken == given));
	stop = true;
	EXPECT_TRUE(eventually(({
		do_wake(self->dev, self->word, variant->scope, INT32_MAX);
		counter("queued") == 0;
	})));
	for (int i = 0; i < 4; i++) {
		/* A taker may arm after the last wake. */
		while (pthread_tryjoin_np(s[i].thread, NULL))
			do_wake(self->dev, self->word, variant->scope, INT32_MAX);
		EXPECT_EQ(0, s[i].bad);
	}
	EXPECT_EQ(given, taken);
	EXPECT_EQ(0, *self->word);
}

TEST_HARNESS_MAIN
