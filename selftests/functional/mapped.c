// SPDX-License-Identifier: GPL-2.0
/* AFUTEX_IOC_SET_MAPPED: a set whose events are in memory. */
#include <liburing.h>
#include <sys/epoll.h>

#include <afutex.h>

#include "set_fixture.h"
#include "tokens.h"

#define MEMBERS 64

WORD_FIXTURE(mapped, struct afutex_mapped_set set;);
WORD_VARIANTS(mapped);

FIXTURE_SETUP(mapped)
{
	WORD_SETUP();
	ASSERT_EQ(0, afutex_mapped_set_open(&self->set, MEMBERS, O_CLOEXEC | O_NONBLOCK, 0));
}

FIXTURE_TEARDOWN(mapped)
{
	afutex_mapped_set_close(&self->set);
	WORD_TEARDOWN();
}

/* The next event is of that member, and has that count. */
#define EXPECT_TAKEN(set, n, c) do {						\
	struct afutex_taken _event = { ~0u, 0 };				\
	EXPECT_TRUE(afutex_mapped_set_take(set, &_event));			\
	EXPECT_EQ(n, _event.number);						\
	EXPECT_EQ(c, _event.count);						\
} while (0)

#define EXPECT_NOTHING(set) do {						\
	struct afutex_taken _event;						\
	EXPECT_TRUE(afutex_mapped_set_is_empty(set));				\
	EXPECT_FALSE(afutex_mapped_set_take(set, &_event));			\
	EXPECT_EQ(0, poll_ms((set)->fd, 0));					\
} while (0)

TEST_F(mapped, takes_what_was_woken)
{
	for (int i = 0; i < MEMBERS; i++)
		ASSERT_EQ(i, add(self->set.fd, &self->word[i], self->flags, 0, 0));
	EXPECT_NOTHING(&self->set);
	WAKE(1, &self->word[40]);
	WAKE(1, &self->word[3]);
	EXPECT_EQ(READABLE, poll_ms(self->set.fd, 0));
	EXPECT_FALSE(afutex_mapped_set_is_empty(&self->set));
	EXPECT_TAKEN(&self->set, 40, 1);
	EXPECT_EQ(READABLE, poll_ms(self->set.fd, 0));
	EXPECT_TAKEN(&self->set, 3, 1);
	EXPECT_NOTHING(&self->set);
	/* One-shot: they are not armed any more, and the others are. */
	EXPECT_EQ(MEMBERS - 2, counter("queued"));
	EXPECT_EQ(0, do_wake(self->dev, &self->word[3], variant->scope, 1));
	ASSERT_EQ(0, mod(self->set.fd, 3, &self->word[3], self->flags, 0, 0));
	WAKE(1, &self->word[3]);
	EXPECT_TAKEN(&self->set, 3, 1);
}

TEST_F(mapped, persistent_members_count)
{
	struct afutex_taken events[4];

	ASSERT_EQ(0, add(self->set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	ASSERT_EQ(1, add(self->set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	for (int i = 0; i < 5; i++)
		WAKE(2, self->word);
	ASSERT_EQ(2, afutex_mapped_set_take_many(&self->set, events, 4));
	EXPECT_EQ(0, events[0].number);
	EXPECT_EQ(5, events[0].count);
	EXPECT_EQ(1, events[1].number);
	EXPECT_EQ(5, events[1].count);
	for (int i = 0; i < 100; i++) {
		WAKE(1, self->word);
		EXPECT_TAKEN(&self->set, i % 2, 1);
	}
	EXPECT_NOTHING(&self->set);
}

TEST_F(mapped, a_word_that_changed_is_an_event)
{
	uint32_t flags = self->flags | AFUTEX_COMPARE | AFUTEX_READY | AFUTEX_PERSISTENT;

	ASSERT_EQ(0, add(self->set.fd, self->word, flags, 7, 0));
	EXPECT_EQ(READABLE, poll_ms(self->set.fd, 0));
	EXPECT_TAKEN(&self->set, 0, AFUTEX_CHANGED);
	EXPECT_NOTHING(&self->set);
	/* With the wakes that came before. */
	ASSERT_EQ(0, mod(self->set.fd, 0, self->word, flags, 0, 0));
	WAKE(1, self->word);
	ASSERT_EQ(0, mod(self->set.fd, 0, self->word, flags, 7, 0));
	ASSERT_EQ(0, mod(self->set.fd, 0, self->word, flags, 7, 0));
	EXPECT_TAKEN(&self->set, 0, AFUTEX_CHANGED | 1);
	EXPECT_NOTHING(&self->set);
	EXPECT_EQ(-EAGAIN, mod(self->set.fd, 0, self->word, flags & ~AFUTEX_READY, 7, 0));
}

TEST_F(mapped, removal_passes_on_what_was_not_taken)
{
	for (int persistent = 0; persistent < 2; persistent++) {
		uint32_t flags = self->flags | (persistent ? AFUTEX_PERSISTENT : 0);
		int id = add(self->set.fd, self->word, flags, 0, 0), next;

		ASSERT_GE(id, 0);
		next = do_fd(self->dev, self->word, variant->scope, 0);
		WAKE(1, self->word);
		EXPECT_EQ(0, poll_ms(next, 0));
		EXPECT_EQ(0, del(self->set.fd, id));
		EXPECT_EQ(READABLE, poll_ms(next, 0));
		close(next);
		/* The number is still on the ring, and has nothing to tell. */
		EXPECT_FALSE(afutex_mapped_set_take(&self->set, &(struct afutex_taken) {}));
		EXPECT_NOTHING(&self->set);

		id = add(self->set.fd, self->word, flags, 0, 0);
		next = do_fd(self->dev, self->word, variant->scope, 0);
		WAKE(1, self->word);
		EXPECT_TAKEN(&self->set, id, 1);
		EXPECT_EQ(0, del(self->set.fd, id));
		EXPECT_EQ(0, poll_ms(next, 0));
		close(next);
	}
}

/* What was taken before does not count. */
TEST_F(mapped, no_more_is_passed_on_than_was_left)
{
	int id = add(self->set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0), next[3];

	for (int i = 0; i < 10; i++)
		WAKE(1, self->word);
	EXPECT_TAKEN(&self->set, id, 10);
	WAKE(1, self->word);
	WAKE(1, self->word);
	for (int i = 0; i < 3; i++)
		next[i] = do_fd(self->dev, self->word, variant->scope, 0);
	/* Nor is it more than was counted, whatever is written there. */
	((uint64_t *)(self->set.ring + 1))[id] = 1ULL << 40;
	EXPECT_EQ(0, del(self->set.fd, id));
	EXPECT_EQ(READABLE, poll_ms(next[0], 0));
	EXPECT_EQ(READABLE, poll_ms(next[1], 0));
	EXPECT_EQ(0, poll_ms(next[2], 0));
	for (int i = 0; i < 3; i++)
		close(next[i]);
}

TEST_F(mapped, change_passes_on_what_was_not_taken)
{
	int next;

	ASSERT_EQ(0, add(self->set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	next = do_fd(self->dev, self->word, variant->scope, 0);
	WAKE(1, self->word);
	ASSERT_EQ(0, mod(self->set.fd, 0, self->word + 9, self->flags | AFUTEX_PERSISTENT, 0, 0));
	EXPECT_EQ(READABLE, poll_ms(next, 0));
	close(next);
	/* It is reported all the same, and not passed on again. */
	next = do_fd(self->dev, self->word + 9, variant->scope, 0);
	ASSERT_EQ(0, mod(self->set.fd, 0, self->word + 9, self->flags | AFUTEX_PERSISTENT, 0, 0));
	EXPECT_EQ(0, poll_ms(next, 0));
	EXPECT_TAKEN(&self->set, 0, 1);
	close(next);
}

TEST_F(mapped, closing_passes_on_to_others)
{
	struct afutex_mapped_set set;
	int next;

	ASSERT_EQ(0, afutex_mapped_set_open(&set, 64, O_NONBLOCK, 0));
	for (int i = 0; i < 40; i++)
		ASSERT_EQ(i, add(set.fd, self->word, self->flags | i % 2 * AFUTEX_PERSISTENT, 0,
				 0));
	WAKE(3, self->word);
	EXPECT_TAKEN(&set, 0, 1);
	EXPECT_TAKEN(&set, 1, 1);
	next = do_fd(self->dev, self->word, variant->scope, 0);
	/* One was not taken. */
	close(set.fd);
	EXPECT_EQ(0, poll_ms(next, 0));
	munmap(set.ring, AFUTEX_RING_SIZE(64));
	EXPECT_EQ(READABLE, poll_ms(next, 5000));
	EXPECT_TRUE(counter_becomes("queued", 0));
	close(next);
}

/*
 * A number that is given again while it is on the ring is not put there twice: the ring
 * would run over, and lose what others have to tell.
 */
TEST_F(mapped, a_number_is_on_the_ring_once)
{
	struct afutex_mapped_set set;

	ASSERT_EQ(0, afutex_mapped_set_open(&set, 2, O_NONBLOCK, 0));
	ASSERT_EQ(0, add(set.fd, self->word, self->flags, 0, 0));
	WAKE(1, self->word);
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(1, add(set.fd, self->word + 1, self->flags, 0, 0));
		WAKE(1, self->word + 1);
		ASSERT_EQ(0, del(set.fd, 1));
	}
	EXPECT_EQ(2, set.ring->tail - set.ring->head);
	EXPECT_TAKEN(&set, 0, 1);
	ASSERT_EQ(1, add(set.fd, self->word + 1, self->flags, 0, 0));
	WAKE(1, self->word + 1);
	EXPECT_TAKEN(&set, 1, 1);
	EXPECT_NOTHING(&set);
	afutex_mapped_set_close(&set);
}

/* A member with a wake that was not taken stays with its word. */
TEST_F(mapped, requeue_moves_members)
{
	word_t *other = self->word + 100;
	struct afutex_requeue args = {
		.uaddr = addr_of(self->word), .uaddr2 = addr_of(other), .flags = self->flags,
		.requeue = 10,
	};

	ASSERT_EQ(0, add(self->set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	WAKE(1, self->word);
	EXPECT_EQ(0, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_TAKEN(&self->set, 0, 1);
	EXPECT_EQ(1, ioctl(self->dev, AFUTEX_IOC_REQUEUE, &args));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	WAKE(1, other);
	EXPECT_TAKEN(&self->set, 0, 1);
}

TEST_F(mapped, has_room_for_so_many)
{
	struct afutex_mapped_set set;

	ASSERT_EQ(0, afutex_mapped_set_open(&set, 4, O_NONBLOCK, 0));
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(i, add(set.fd, self->word, self->flags, 0, 0));
	EXPECT_EQ(-ENOSPC, add(set.fd, self->word, self->flags, 0, 0));
	EXPECT_EQ(0, del(set.fd, 2));
	EXPECT_EQ(2, add(set.fd, self->word, self->flags, 0, 0));
	WAKE(4, self->word);
	for (int i = 0; i < 4; i++)
		EXPECT_TAKEN(&set, i < 2 ? i : i == 2 ? 3 : 2, 1);
	afutex_mapped_set_close(&set);
}

TEST_F(mapped, waited_for_in_every_way)
{
	struct timespec past = { 1, 0 };
	int ep = epoll_create1(0), outer = epoll_create1(0), fd = self->set.fd;
	struct epoll_event ee = { .events = EPOLLIN };
	struct io_uring_cqe *cqe;
	struct io_uring ring;

	ASSERT_EQ(0, add(fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	EXPECT_EQ(-1, afutex_mapped_set_wait(&self->set, NULL, 0, &past));
	EXPECT_EQ(ETIMEDOUT, errno);
	WHILE_WAITING(EXPECT_EQ(0, afutex_mapped_set_wait(&self->set, NULL, 0, NULL)));
	EXPECT_EQ(0, afutex_mapped_set_wait(&self->set, NULL, 0, NULL));
	EXPECT_TAKEN(&self->set, 0, 1);
	WHILE_WAITING(EXPECT_EQ(READABLE, poll_ms(fd, 10000)));
	EXPECT_TAKEN(&self->set, 0, 1);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ee));
	ASSERT_EQ(0, epoll_ctl(outer, EPOLL_CTL_ADD, ep, &ee));
	WHILE_WAITING(EXPECT_EQ(1, epoll_wait(outer, &ee, 1, 10000)));
	EXPECT_EQ(1, epoll_wait(ep, &ee, 1, 0));
	EXPECT_TAKEN(&self->set, 0, 1);
	EXPECT_EQ(0, epoll_wait(ep, &ee, 1, 0));

	/* On the edge: what is taken without a call does not end it. */
	ee.events = EPOLLIN | EPOLLET;
	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_MOD, fd, &ee));
	for (int i = 0; i < 3; i++) {
		WHILE_WAITING(EXPECT_EQ(1, epoll_wait(ep, &ee, 1, 10000)));
		EXPECT_EQ(0, epoll_wait(ep, &ee, 1, 0));
		EXPECT_TAKEN(&self->set, 0, 1);
	}

	ASSERT_EQ(0, io_uring_queue_init(4, &ring, 0));
	io_uring_prep_poll_add(io_uring_get_sqe(&ring), fd, POLLIN);
	ASSERT_EQ(1, io_uring_submit(&ring));
	WHILE_WAITING(EXPECT_EQ(0, io_uring_wait_cqe(&ring, &cqe)));
	EXPECT_EQ(POLLIN, cqe->res & POLLIN);
	io_uring_queue_exit(&ring);
	EXPECT_TAKEN(&self->set, 0, 1);
	close(ep);
	close(outer);
}

TEST_F(mapped, interrupted_wait)
{
	WHILE_SIGNALLED({
		EXPECT_EQ(-1, afutex_mapped_set_wait(&self->set, NULL, 0, NULL));
		EXPECT_EQ(EINTR, errno);
	});
}

TEST_F(mapped, signals)
{
	struct afutex_mapped_set set;
	struct timespec ts = { 5, 0 };
	siginfo_t info;
	sigset_t mask;

	sigemptyset(&mask);
	sigaddset(&mask, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &mask, NULL);
	ASSERT_EQ(0, afutex_mapped_set_open(&set, 1, O_NONBLOCK, SIGRTMIN));
	ASSERT_EQ(0, add(set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	WAKE(1, self->word);
	EXPECT_EQ(SIGRTMIN, sigtimedwait(&mask, &info, &ts));
	EXPECT_EQ(set.fd, info.si_fd);
	afutex_mapped_set_close(&set);
}

TEST_F(mapped, controls_and_wait_in_one_call)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(self->word), .val = 1, .mask = ~0u,
			   .flags = self->flags | AFUTEX_COMPARE | AFUTEX_READY },
	};

	EXPECT_EQ(0, afutex_mapped_set_wait(&self->set, &item, 1, NULL));
	EXPECT_EQ(0, item.result);
	EXPECT_TAKEN(&self->set, 0, AFUTEX_CHANGED);
}

TEST_F(mapped, events_are_in_memory_only)
{
	struct afutex_event ev;
	struct afutex_set_wait args = { .nr_events = 1, .events = addr_of(&ev) };
	int unmapped = new_set(self->dev, O_NONBLOCK, 0);

	ASSERT_EQ(0, add(self->set.fd, self->word, self->flags, 0, 0));
	WAKE(1, self->word);
	EXPECT_EQ(-EINVAL, events(self->set.fd, &ev, 1));
	EXPECT_EQ(-1, ioctl(self->set.fd, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_TAKEN(&self->set, 0, 1);
	/* And the other way round. */
	args.nr_events = 0;
	EXPECT_EQ(-1, ioctl(unmapped, AFUTEX_IOC_SET_WAIT, &args));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, 4096, PROT_READ, MAP_SHARED, unmapped, 0));
	EXPECT_EQ(ENODEV, errno);
	close(unmapped);
}

TEST_F(mapped, arguments_are_checked)
{
	struct afutex_set_mapped args[] = {
		{ .members = 0 }, { .members = 3 }, { .members = AFUTEX_RING_MAX * 2 },
		{ .members = ~0u }, { .members = 1, .pad = 1 }, { .members = 1, .signal = 65 },
		{ .members = 1, .fd_flags = O_APPEND },
	};

	for (int i = 0; i < (int)ARRAY_SIZE(args); i++) {
		EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_SET_MAPPED, &args[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(-1, ioctl(self->dev, AFUTEX_IOC_SET_MAPPED, NULL));
	EXPECT_EQ(EFAULT, errno);
}

TEST_F(mapped, mappings_are_whole)
{
	size_t size = AFUTEX_RING_SIZE(MEMBERS), page = sysconf(_SC_PAGESIZE);
	int prot = PROT_READ | PROT_WRITE;
	void *map;

	EXPECT_EQ(MAP_FAILED, mmap(NULL, size + page, prot, MAP_SHARED, self->set.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, prot, MAP_SHARED, self->set.fd, page));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(MAP_FAILED, mmap(NULL, size, prot, MAP_PRIVATE, self->set.fd, 0));
	EXPECT_EQ(EINVAL, errno);
	map = mmap(NULL, size, PROT_READ, MAP_SHARED, self->set.fd, 0);
	ASSERT_NE(MAP_FAILED, map);
	EXPECT_EQ(0, ((struct afutex_ring *)map)->tail);
	/* It does not grow. */
	EXPECT_EQ(MAP_FAILED, mremap(map, size, size + page, MREMAP_MAYMOVE));
	munmap(map, size);
}

/* The set lives as long as its memory is mapped: its members too. */
TEST_F(mapped, mapping_outlives_the_descriptor)
{
	struct afutex_mapped_set set;
	size_t size = AFUTEX_RING_SIZE(4);
	void *moved;

	ASSERT_EQ(0, afutex_mapped_set_open(&set, 4, O_NONBLOCK, 0));
	ASSERT_EQ(0, add(set.fd, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	close(set.fd);
	WAKE(1, self->word);
	moved = mmap(NULL, size, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_EQ(moved, mremap(set.ring, size, size, MREMAP_MAYMOVE | MREMAP_FIXED, moved));
	set.ring = moved;
	{
		struct afutex_taken event = {};

		EXPECT_TRUE(afutex_mapped_set_take(&set, &event));
		EXPECT_EQ(1, event.count);
	}
	EXPECT_EQ(1, counter("queued"));
	munmap(set.ring, size);
	EXPECT_TRUE(counter_becomes("queued", 0));
}

/* A child has the ring in common, unless it is told not to. */
TEST_F(mapped, fork)
{
	pid_t pid;

	ASSERT_EQ(0, add(self->set.fd, &self->word[0], self->flags | AFUTEX_PERSISTENT, 0, 0));
	ASSERT_EQ(1, add(self->set.fd, &self->word[1], self->flags | AFUTEX_PERSISTENT, 0, 0));
	WAKE(1, &self->word[0]);
	WAKE(1, &self->word[1]);
	pid = fork();
	if (!pid) {
		struct afutex_taken event;

		_exit(!afutex_mapped_set_take(&self->set, &event) || event.number != 0);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_TAKEN(&self->set, 1, 1);
	EXPECT_NOTHING(&self->set);

	ASSERT_EQ(0, madvise(self->set.ring, AFUTEX_RING_SIZE(MEMBERS), MADV_DONTFORK));
	pid = fork();
	if (!pid)
		_exit(afutex_mapped_set_is_empty(&self->set));
	EXPECT_EQ(128 + SIGSEGV, child_status(pid));
	WAKE(1, &self->word[0]);
	EXPECT_TAKEN(&self->set, 0, 1);
}

/* How many watches the user of a set has. */
static int used_watches(int set)
{
	char text[4096] = "", path[64], *at;
	int f, used = -1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", set);
	f = open(path, O_RDONLY);
	if (f >= 0 && read(f, text, sizeof(text) - 1) > 0) {
		at = strstr(text, "afutex-user-watches:");
		used = at ? atoi(strchr(at, ':') + 1) : -1;
	}
	close(f);
	return used;
}

/* Memory that was thrown away is not there any more, and can be mapped again. */
TEST_F(mapped, thrown_away)
{
	size_t size = AFUTEX_RING_SIZE(MEMBERS);
	pid_t pid;

	ASSERT_EQ(0, add(self->set.fd, self->word, self->flags, 0, 0));
	WAKE(1, self->word);
	ASSERT_EQ(0, madvise(self->set.ring, size, MADV_DONTNEED));
	pid = fork();
	if (!pid)
		_exit(afutex_mapped_set_is_empty(&self->set));
	EXPECT_EQ(128 + SIGBUS, child_status(pid));
	munmap(self->set.ring, size);
	ASSERT_EQ(0, afutex_mapped_set_attach(&self->set, self->set.fd, MEMBERS));
	EXPECT_TAKEN(&self->set, 0, 1);
}

/* As how many watches the memory of a ring counts. */
static int charged_as(int members)
{
	return (128 + 20 * members + 223) / 224;
}

/* The memory of a ring counts as watches. */
TEST_F(mapped, rings_are_charged)
{
	struct afutex_mapped_set set;
	int used = used_watches(self->set.fd);

	EXPECT_EQ(charged_as(MEMBERS), used);
	ASSERT_EQ(0, afutex_mapped_set_open(&set, 1024, O_NONBLOCK, 0));
	EXPECT_EQ(used + charged_as(1024), used_watches(self->set.fd));
	afutex_mapped_set_close(&set);
	EXPECT_TRUE(eventually(used_watches(self->set.fd) == used));
}

struct takers {
	struct afutex_mapped_set *set;
	_Atomic uint64_t wakes, events;
	_Atomic bool stop;
};

static void *take_all(void *arg)
{
	struct takers *t = arg;
	struct afutex_taken event;

	for (;;) {
		/* Asked before it is empty: what was woken before is found. */
		bool last = t->stop;

		while (afutex_mapped_set_take(t->set, &event)) {
			t->wakes += event.count;
			t->events++;
		}
		if (last)
			return NULL;
	}
}

/* Each wake is taken once, by one of them. */
TEST_F(mapped, several_threads_take)
{
	struct takers takers = { .set = &self->set };
	pthread_t threads[3];
	uint64_t woken = 0;

	for (int i = 0; i < MEMBERS; i++)
		ASSERT_EQ(i, add(self->set.fd, &self->word[i], self->flags | AFUTEX_PERSISTENT, 0,
				 0));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, take_all, &takers));
	for (int i = 0; i < rounds(50000); i++)
		woken += do_wake(self->dev, &self->word[i * 7 % MEMBERS], variant->scope, 1);
	takers.stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(rounds(50000), woken);
	EXPECT_EQ(woken, takers.wakes);
	EXPECT_LE(takers.events, woken);
	EXPECT_NOTHING(&self->set);
}

struct vandal {
	uint64_t *memory;
	size_t words;
	_Atomic bool stop;
};

static void *write_garbage(void *arg)
{
	struct vandal *v = arg;
	uint64_t state = 88172645463325252ULL;

	while (!v->stop) {
		size_t at;

		/* https://www.jstatsoft.org/article/view/v008i14 */
		state ^= state << 13;
		state ^= state >> 7;
		state ^= state << 17;
		at = state >> 8;
		/* The heads most often. */
		at = state & 1 ? at % 16 : at % v->words;
		v->memory[at] = state & 2 ? state >> 32 : state & 4 ? state : at;
	}
	return NULL;
}

/* Whatever is written there, it harms this set alone. */
TEST_F(mapped, garbage_in_all_of_it)
{
	size_t size = AFUTEX_RING_SIZE(MEMBERS);
	struct vandal vandal = { (uint64_t *)self->set.ring, (size + 4095) / 4096 * 512 };
	struct afutex_mapped_set other;
	pthread_t thread;

	ASSERT_EQ(0, afutex_mapped_set_open(&other, 1, O_NONBLOCK, 0));
	ASSERT_EQ(0, add(other.fd, &self->word[9], self->flags | AFUTEX_PERSISTENT, 0, 0));
	ASSERT_EQ(0, pthread_create(&thread, NULL, write_garbage, &vandal));
	for (int i = 0; i < rounds(5000); i++) {
		int id = add(self->set.fd, &self->word[i % 3],
			     self->flags | i % 2 * AFUTEX_PERSISTENT, 0, 0);
		struct afutex_taken event;

		ASSERT_TRUE(id >= 0 || id == -ENOSPC);
		do_wake(self->dev, &self->word[i % 3], variant->scope, INT32_MAX);
		poll_ms(self->set.fd, 0);
		afutex_mapped_set_take(&self->set, &event);
		if (i % 5 == 0)
			mod(self->set.fd, i % MEMBERS, &self->word[i % 2],
			    self->flags | AFUTEX_COMPARE | AFUTEX_READY, i % 7, 0);
		if (i % 3 == 0 || id < 0)
			del(self->set.fd, i / 3 % MEMBERS);
		ASSERT_FALSE(afutex_mapped_set_take(&other, &event));
		ASSERT_EQ(1, do_wake(self->dev, &self->word[9], variant->scope, 1));
		ASSERT_TRUE(afutex_mapped_set_take(&other, &event));
		ASSERT_EQ(1, event.count);
	}
	vandal.stop = true;
	pthread_join(thread, NULL);
	afutex_mapped_set_close(&other);
}

static int open_token_set(struct token_taker *taker)
{
	struct afutex_mapped_set *set = taker->own;

	return afutex_mapped_set_open(set, 2, O_NONBLOCK, 0) ? -1 : set->fd;
}

static void read_token_set(struct token_taker *taker)
{
	struct afutex_taken event;

	afutex_mapped_set_take(taker->own, &event);
}

static void close_token_set(struct token_taker *taker)
{
	afutex_mapped_set_close(taker->own);
}

/* All tokens are taken, though sets are closed with wakes in them. */
TEST_F_TIMEOUT(mapped, tokens_are_not_lost, 600)
{
	static const struct token_set kind = { open_token_set, read_token_set, close_token_set };
	struct afutex_mapped_set sets[TAKERS];

	EXPECT_NO_TOKEN_LOST(&kind, rounds(20000), &sets[i]);
}

TEST_HARNESS_MAIN
