// SPDX-License-Identifier: GPL-2.0
/* AFUTEX_IOC_SET: one descriptor for very many words. */
#include <liburing.h>
#include <sys/epoll.h>
#include <sys/uio.h>

#include "set_fixture.h"
#include "tokens.h"

TEST_F(set, tells_which_member_was_woken)
{
	struct afutex_event ev[8];

	for (int i = 0; i < 100; i++)
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, 1000 + i));
	EXPECT_EQ(100, counter("queued"));
	EXPECT_EQ(0, poll_ms(self->set, 0));
	EXPECT_EQ(-EAGAIN, events(self->set, ev, 8));
	WAKE(1, &self->word[70]);
	WAKE(1, &self->word[3]);
	EXPECT_EQ(READABLE, poll_ms(self->set, 0));
	ASSERT_EQ(2, events(self->set, ev, 8));
	EXPECT_EQ(1070, ev[0].cookie);
	EXPECT_EQ(AFUTEX_WOKEN, ev[0].why);
	EXPECT_EQ(1, ev[0].count);
	EXPECT_EQ(1003, ev[1].cookie);
	EXPECT_EQ(0, poll_ms(self->set, 0));
	/* One-shot: they are not armed any more, and the others are. */
	EXPECT_EQ(98, counter("queued"));
	EXPECT_EQ(0, do_wake(self->dev, &self->word[3], variant->scope, 1));
}

TEST_F(set, persistent_members_count)
{
	struct afutex_event ev[2];

	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	for (int i = 0; i < 5; i++)
		WAKE(1, self->word);
	ASSERT_EQ(1, events(self->set, ev, 2));
	EXPECT_EQ(7, ev[0].cookie);
	EXPECT_EQ(5, ev[0].count);
	WAKE(1, self->word);
	ASSERT_EQ(1, events(self->set, ev, 2));
	EXPECT_EQ(1, ev[0].count);
}

/* A bad member does not disturb the others, and the caller knows which it was. */
TEST_F(set, batch_succeeds_in_part)
{
	struct afutex_ctl items[10];
	struct afutex_event ev[10];

	for (int i = 0; i < 10; i++)
		items[i] = (struct afutex_ctl) {
			.op = AFUTEX_CTL_ADD, .result = 77, .id = 99,
			.watch = { .uaddr = addr_of(&self->word[i]), .mask = 1,
				   .flags = self->flags, .cookie = i },
		};
	items[1].watch.uaddr++;
	items[2].watch.mask = 0;
	items[3].watch.flags |= 0x4000;
	items[4].op = 9;
	items[5].pad = 1;
	items[6].watch.uaddr = 1ULL << 63;
	items[7].watch.flags |= AFUTEX_COMPARE;
	items[7].watch.val = 5;
	EXPECT_EQ(10, ctl(self->set, items, 10));
	for (int i = 0; i < 10; i++) {
		static const int expected[] = {
			0, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EINVAL, -EFAULT, -EAGAIN, 0, 0,
		};

		EXPECT_EQ(expected[i], items[i].result);
	}
	EXPECT_EQ(3, counter("queued"));
	WAKE(1, &self->word[9]);
	ASSERT_EQ(1, events(self->set, ev, 10));
	EXPECT_EQ(9, ev[0].cookie);
	/* Numbers are reused. */
	EXPECT_EQ(0, del(self->set, items[0].id));
	EXPECT_EQ(-ENOENT, del(self->set, items[0].id));
	EXPECT_EQ(-ENOENT, del(self->set, 12345));
	EXPECT_EQ((int)items[0].id, add(self->set, self->word, self->flags, 0, 0));
}

TEST_F(set, bad_arguments)
{
	struct afutex_ctlv args = { .pad = 1 };
	struct afutex_ctl item = { .op = AFUTEX_CTL_DEL, .watch = { .cookie = 1 } };
	char buf[16];

	EXPECT_EQ(-1, new_set(self->dev, O_APPEND, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, new_set(self->dev, 0, 65));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_CTL, &args));
	EXPECT_EQ(EINVAL, errno);
	args = (struct afutex_ctlv) { .nr = 1 };
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_CTL, &args));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(1, ctl(self->set, &item, 1));
	EXPECT_EQ(-EINVAL, item.result);
	EXPECT_EQ(-1, read(self->set, buf, 15));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_REARM, buf));
	EXPECT_EQ(ENOTTY, errno);
}

TEST_F(set, differing_value)
{
	struct afutex_event ev[4];

	*self->word = 3;
	EXPECT_EQ(-EAGAIN, add(self->set, self->word, self->flags | AFUTEX_COMPARE, 2, 1));
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_COMPARE | AFUTEX_READY, 2, 1));
	ASSERT_EQ(1, events(self->set, ev, 4));
	EXPECT_EQ(AFUTEX_VALUE_CHANGED, ev[0].why);
	EXPECT_EQ(0, ev[0].count);
	/* Armed again with the new one. */
	EXPECT_EQ(0, mod(self->set, 0, self->word, self->flags | AFUTEX_COMPARE, 3, 2));
	WAKE(1, self->word);
	ASSERT_EQ(1, events(self->set, ev, 4));
	EXPECT_EQ(2, ev[0].cookie);
	EXPECT_EQ(AFUTEX_WOKEN, ev[0].why);
}

/* Everything about a member can be changed, also its word. */
TEST_F(set, change)
{
	struct afutex_event ev[4];

	ASSERT_EQ(0, add(self->set, self->word, self->flags, 0, 1));
	ASSERT_EQ(0, mod(self->set, 0, &self->word[9], self->flags | AFUTEX_PERSISTENT, 0, 2));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	WAKE(1, &self->word[9]);
	WAKE(1, &self->word[9]);
	ASSERT_EQ(1, events(self->set, ev, 4));
	EXPECT_EQ(2, ev[0].cookie);
	EXPECT_EQ(2, ev[0].count);
}

/* One word in several members, of one set and of many: each is a waiter. */
TEST_F(set, same_word_many_times)
{
	struct afutex_event ev[8];
	int sets[3];

	for (int i = 0; i < 2; i++)
		ASSERT_EQ(i, add(self->set, self->word, self->flags, 0, i));
	for (int i = 0; i < 3; i++) {
		sets[i] = new_set(self->dev, O_NONBLOCK, 0);
		ASSERT_EQ(0, add(sets[i], self->word, self->flags, 0, 10 + i));
	}
	EXPECT_EQ(1, counter("keys"));
	WAKE(1, self->word);
	ASSERT_EQ(1, events(self->set, ev, 8));
	EXPECT_EQ(0, ev[0].cookie);
	WAKE(2, self->word);
	ASSERT_EQ(1, events(self->set, ev, 8));
	EXPECT_EQ(1, ev[0].cookie);
	ASSERT_EQ(1, events(sets[0], ev, 8));
	EXPECT_EQ(10, ev[0].cookie);
	EXPECT_EQ(-EAGAIN, events(sets[1], ev, 8));
	EXPECT_EQ(2, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
	for (int i = 0; i < 3; i++)
		close(sets[i]);
}

/* Events are read in order, and those that do not fit stay. */
TEST_F(set, short_buffers_keep_order)
{
	struct afutex_event ev[64];
	int seen = 0;

	for (int i = 0; i < 50; i++) {
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, i));
		WAKE(1, &self->word[i]);
	}
	for (int room = 1; seen < 50; room = room % 11 + 1) {
		int n = events(self->set, ev, room);

		ASSERT_GT(n, 0);
		for (int i = 0; i < n; i++)
			EXPECT_EQ(seen++, (int)ev[i].cookie);
	}
	EXPECT_EQ(50, seen);
	EXPECT_EQ(-EAGAIN, events(self->set, ev, 1));
}

/* An event whose read fails stays first. */
TEST_F(set, fault_swallows_nothing)
{
	char *page = mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct afutex_event ev[64], *edge = (void *)(page + 4096 - 3 * sizeof(ev[0]));

	munmap(page + 4096, 4096);
	for (int i = 0; i < 20; i++) {
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, i));
		WAKE(1, &self->word[i]);
	}
	EXPECT_EQ(-1, syscall(SYS_read, self->set, 8L, 160L));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(3, events(self->set, edge, 10));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(i, (int)edge[i].cookie);
	ASSERT_EQ(17, events(self->set, ev, 64));
	for (int i = 0; i < 17; i++)
		EXPECT_EQ(3 + i, (int)ev[i].cookie);
}

static char *pages(int nr, int prot)
{
	return mmap(NULL, nr * 4096, prot, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
}

/* Buffers whose pages are there, are made by the write, or cannot be made. */
TEST_F(set, memory_that_is_not_there_yet)
{
	char *untouched = pages(3, PROT_READ | PROT_WRITE), *unreadable = pages(1, PROT_WRITE);
	char *readonly = pages(2, PROT_READ);
	void *to[] = {
		untouched, unreadable,
		/* Across the pages, and not aligned. */
		untouched + 4096 - 5,
		/* The stack grows when it is written to. */
		(char *)__builtin_frame_address(0) - 700 * 1024,
	};
	struct iovec split[] = { { untouched + 8192 - 3, 5 }, { readonly, 4096 } };
	struct afutex_event ev;

	ASSERT_EQ(0, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 7));
	for (int i = 0; i < (int)ARRAY_SIZE(to); i++) {
		WAKE(1, self->word);
		ASSERT_EQ(1, events(self->set, to[i], 1));
		memcpy(&ev, to[i], sizeof(ev));
		EXPECT_EQ(7, ev.cookie);
		EXPECT_EQ(1, ev.count);
	}

	WAKE(1, self->word);
	EXPECT_EQ(-EFAULT, events(self->set, (void *)readonly, 1));
	/* The last event would be only partly in mapped memory. */
	EXPECT_EQ(-1, readv(self->set, split, 2));
	EXPECT_EQ(EFAULT, errno);
	ASSERT_EQ(0, mprotect(readonly, 8192, PROT_READ | PROT_WRITE));
	ASSERT_EQ(sizeof(ev), readv(self->set, split, 2));
	memcpy((char *)memcpy(&ev, split[0].iov_base, 5) + 5, readonly, sizeof(ev) - 5);
	EXPECT_EQ(7, ev.cookie);
	EXPECT_EQ(1, ev.count);
	EXPECT_EQ(-EAGAIN, events(self->set, &ev, 1));
}

TEST_F(set, waited_for_in_every_way)
{
	int ep = epoll_create1(0), outer = epoll_create1(0), set = new_set(self->dev, 0, 0);
	struct epoll_event ee = { .events = EPOLLIN };
	struct afutex_event ev[2];
	struct io_uring ring;
	struct io_uring_cqe *cqe;

	ASSERT_EQ(0, add(set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 1));
	WHILE_WAITING(EXPECT_EQ(1, events(set, ev, 2)));
	WHILE_WAITING(EXPECT_EQ(READABLE, poll_ms(set, 10000)));
	EXPECT_EQ(1, events(set, ev, 2));

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, set, &ee));
	ASSERT_EQ(0, epoll_ctl(outer, EPOLL_CTL_ADD, ep, &ee));
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(outer, &ee, 1, 10000)));
	EXPECT_EQ(1, epoll_wait(ep, &ee, 1, 0));
	EXPECT_EQ(1, events(set, ev, 2));
	EXPECT_EQ(0, epoll_wait(ep, &ee, 1, 0));

	/* On the edge: once for each wake. */
	ee.events = EPOLLIN | EPOLLET;
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, set, &ee));
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(ep, &ee, 1, 10000)));
	EXPECT_EQ(0, epoll_wait(ep, &ee, 1, 0));
	EXPECT_EQ(1, events(set, ev, 2));

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	io_uring_prep_read(io_uring_get_sqe(&ring), set, ev, sizeof(ev), 0);
	ASSERT_EQ(1, io_uring_submit(&ring));
	WHILE_WAITING(EXPECT_EQ(0, io_uring_wait_cqe(&ring, &cqe)));
	EXPECT_EQ(sizeof(ev[0]), cqe->res);
	io_uring_queue_exit(&ring);
	close(ep);
	close(outer);
	close(set);
}

TEST_F(set, interrupted_read)
{
	int set = new_set(self->dev, 0, 0);
	struct afutex_event ev;

	WHILE_SIGNALLED(EXPECT_EQ(-EINTR, events(set, &ev, 1)));
	close(set);
}

TEST_F(set, signals)
{
	int set = new_set(self->dev, O_NONBLOCK, SIGRTMIN);
	struct timespec ts = { 5, 0 };
	siginfo_t info;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	ASSERT_EQ(0, add(set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	for (int i = 0; i < 3; i++) {
		WAKE(1, self->word);
		EXPECT_EQ(SIGRTMIN, sigtimedwait(&mask, &info, &ts));
		EXPECT_EQ(set, info.si_fd);
	}
	close(set);
}

/* One call does all that a loop does: arms again, waits, takes the events. */
TEST_F(set, wait_call)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_MOD,
		.watch = { .uaddr = addr_of(self->word), .mask = 1, .cookie = 5,
			   .flags = self->flags | AFUTEX_COMPARE | AFUTEX_READY },
	};
	struct afutex_event ev[4];
	struct timespec64 past = { 1, 0 };
	struct afutex_set_wait args = {
		.items = addr_of(&item), .nr_items = 1, .events = addr_of(ev), .nr_events = 4,
		.clockid = CLOCK_MONOTONIC,
	};

	ASSERT_EQ(0, add(self->set, self->word, self->flags, 0, 5));
	for (int i = 0; i < 5; i++) {
		WHILE_WAITING(EXPECT_EQ(1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args)));
		EXPECT_EQ(0, item.result);
		EXPECT_EQ(5, ev[0].cookie);
		EXPECT_EQ(AFUTEX_WOKEN, ev[0].why);
	}
	*self->word = 1;
	EXPECT_EQ(1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(AFUTEX_VALUE_CHANGED, ev[0].why);

	args.nr_items = 0;
	args.timeout = addr_of(&past);
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(ETIMEDOUT, errno);
	args.pad = 1;
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(EINVAL, errno);
	args.pad = 0;
	args.nr_events = 0;
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(EINVAL, errno);
	args.nr_events = 1;
	args.clockid = 99;
	EXPECT_EQ(-1, ioctl(self->set, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(EINVAL, errno);
}

/* Removing a member passes its undelivered wakes on to the next waiter. */
TEST_F(set, removal_passes_on)
{
	struct afutex_event ev[4];
	int next;

	for (int persistent = 0; persistent < 2; persistent++) {
		uint32_t flags = self->flags | (persistent ? AFUTEX_PERSISTENT : 0);
		int id = add(self->set, self->word, flags, 0, 1);

		next = do_fd(self->dev, self->word, variant->scope, 0);
		WAKE(1, self->word);
		EXPECT_EQ(0, poll_ms(next, 0));
		EXPECT_EQ(0, del(self->set, id));
		EXPECT_EQ(READABLE, poll_ms(next, 0));
		/* And the set does not report it any more. */
		EXPECT_EQ(0, poll_ms(self->set, 0));
		EXPECT_EQ(-EAGAIN, events(self->set, ev, 4));
		close(next);

		id = add(self->set, self->word, flags, 0, 1);
		next = do_fd(self->dev, self->word, variant->scope, 0);
		WAKE(1, self->word);
		EXPECT_EQ(1, events(self->set, ev, 4));
		EXPECT_EQ(0, del(self->set, id));
		EXPECT_EQ(0, poll_ms(next, 0));
		close(next);
	}
}

/* A closed set takes all members off the table before it passes a wake on. */
TEST_F(set, closing_passes_on_to_others)
{
	int set = new_set(self->dev, O_NONBLOCK, 0), next;

	for (int i = 0; i < 40; i++)
		ASSERT_EQ(i, add(set, self->word, self->flags | i % 2 * AFUTEX_PERSISTENT, 0, i));
	next = do_fd(self->dev, self->word, variant->scope, 0);
	WAKE(3, self->word);
	close(set);
	EXPECT_EQ(READABLE, poll_ms(next, 5000));
	EXPECT_TRUE(counter_becomes("queued", 0));
	close(next);
}

TEST_F(set, requeue_moves_members)
{
	word_t *other = self->word + 100;
	struct afutex_requeue args = {
		.uaddr = addr_of(self->word), .uaddr2 = addr_of(other), .flags = self->flags,
		.requeue = 10,
	};
	struct afutex_event ev[4];

	ASSERT_EQ(0, add(self->set, self->word, self->flags, 0, 1));
	ASSERT_EQ(1, add(self->set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 2));
	EXPECT_EQ(2, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(2, do_wake(self->dev, other, variant->scope, INT32_MAX));
	ASSERT_EQ(2, events(self->set, ev, 4));
	EXPECT_EQ(1, do_wake(self->dev, other, variant->scope, INT32_MAX));
	/* A member with an undelivered wake stays with its word. */
	args.uaddr = addr_of(other);
	args.uaddr2 = addr_of(self->word);
	EXPECT_EQ(0, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
}

TEST_F(set, fdinfo_stays_readable)
{
	static char text[65536];
	char path[64];
	int f, lines = 0;

	for (int i = 0; i < 500; i++)
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, i));
	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", self->set);
	f = open(path, O_RDONLY);
	ASSERT_GT(read(f, text, sizeof(text) - 1), 0);
	close(f);
	EXPECT_TRUE(strstr(text, "afutex-members:\t500\n") != NULL);
	for (char *at = text; (at = strstr(at, "afutex-watch:")); at++)
		lines++;
	EXPECT_EQ(32, lines);
}

struct busy {
	int dev, set, scope, seed;
	uint32_t flags;
	word_t *words;
	_Atomic bool *stop;
	_Atomic long count;
	long bad;
	pthread_t thread;
};

static void *add_and_remove(void *arg)
{
	struct busy *b = arg;
	int ids[16] = { 0 };
	unsigned int seed = b->seed;

	while (!*b->stop) {
		int *id = &ids[rand_r(&seed) % 16];
		word_t *word = &b->words[rand_r(&seed) % 32];
		uint32_t flags = b->flags | rand_r(&seed) % 2 * AFUTEX_PERSISTENT;
		int ret;

		if (!*id) {
			ret = add(b->set, word, flags, 0, 1);
			*id = ret < 0 ? 0 : ret + 1;
		} else if (rand_r(&seed) % 2) {
			ret = mod(b->set, *id - 1, word, flags, 0, 2);
		} else {
			ret = del(b->set, *id - 1);
			*id = 0;
		}
		if (ret < 0)
			b->bad = ret;
		b->count++;
	}
	for (int i = 0; i < 16; i++)
		if (ids[i] && del(b->set, ids[i] - 1))
			b->bad = -1;
	return NULL;
}

static void *wake_and_read(void *arg)
{
	struct busy *b = arg;
	unsigned int seed = b->seed;
	struct afutex_event ev[4];

	while (!*b->stop) {
		do_wake(b->dev, &b->words[rand_r(&seed) % 32], b->scope, rand_r(&seed) % 3);
		if (rand_r(&seed) % 4 == 0)
			events(b->set, ev, 1 + rand_r(&seed) % 4);
		b->count++;
	}
	return NULL;
}

/* Adding, changing, removing, waking and reading at once. */
TEST_F_TIMEOUT(set, everything_at_once, 600)
{
	_Atomic bool stop = false;
	struct busy b[4];

	for (int i = 0; i < 4; i++) {
		b[i] = (struct busy) {
			.dev = self->dev, .set = self->set, .scope = variant->scope, .seed = i,
			.flags = self->flags, .words = self->word, .stop = &stop,
		};
		ASSERT_EQ(0, pthread_create(&b[i].thread, NULL,
					    i % 2 ? wake_and_read : add_and_remove, &b[i]));
	}
	sleep_ms(3000);
	/* On a busy machine one may not have begun. */
	for (int i = 0; i < 4; i++)
		ASSERT_TRUE(eventually(b[i].count > 0));
	stop = true;
	for (int i = 0; i < 4; i++) {
		pthread_join(b[i].thread, NULL);
		EXPECT_EQ(0, b[i].bad);
		EXPECT_GT(b[i].count, 0);
	}
	EXPECT_EQ(0, counter("queued"));
}

static int open_token_set(struct token_taker *taker)
{
	return new_set(taker->dev, O_NONBLOCK, 0);
}

static void read_token_set(struct token_taker *taker)
{
	struct afutex_event ev[4];

	events(taker->set, ev, 4);
}

static void close_token_set(struct token_taker *taker)
{
	close(taker->set);
}

/* All tokens are taken, though sets are closed with wakes in them. */
TEST_F_TIMEOUT(set, tokens_are_not_lost, 600)
{
	static const struct token_set kind = { open_token_set, read_token_set, close_token_set };

	EXPECT_NO_TOKEN_LOST(&kind, rounds(100000), NULL);
}

TEST_HARNESS_MAIN
