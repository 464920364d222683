// SPDX-License-Identifier: GPL-2.0
/* include/afutex.h: the user library of 2002. */
#include <sys/epoll.h>

/*
 * Counts the library's ioctls, and what was refused for want of something: as often as
 * refusals says, by this instead of the kernel.
 */
#include <sys/ioctl.h>
#include <errno.h>
#include <fcntl.h>
static _Atomic long system_calls, shortages, refusals;
static int counted(int ret)
{
	if (ret < 0 && (errno == ENOMEM || errno == EMFILE))
		shortages++;
	return ret;
}
static int counted_ioctl(int fd, unsigned long cmd, unsigned long arg)
{
	system_calls++;
	if (refusals > 0) {
		refusals--;
		errno = ENOMEM;
		return counted(-1);
	}
	return counted(ioctl(fd, cmd, arg));
}
#define ioctl(fd, cmd, arg)	counted_ioctl(fd, cmd, (unsigned long)(arg))
#define open(path, flags)	counted(open(path, flags))
#include "afutex.h"
#undef ioctl
#undef open

#include "memory.h"

#include <limits.h>

FIXTURE(library)
{
	int file;
	struct shared {
		struct futex f;
		_Atomic long inside, worst, rounds;
		long plain;
	} *s;
};

FIXTURE_SETUP(library)
{
	self->s = memory_map(ANON_SHARED, &self->file);
	ASSERT_TRUE(self->s != NULL);
}

FIXTURE_TEARDOWN(library)
{
	EXPECT_IDLE();
}

TEST_F(library, uncontended_makes_no_system_call)
{
	struct futex *f = &self->s->f;

	futex_init(f, 1);
	system_calls = 0;
	for (int i = 0; i < 1000; i++) {
		EXPECT_EQ(0, futex_down(f));
		EXPECT_EQ(-1, futex_trydown(f));
		EXPECT_EQ(EWOULDBLOCK, errno);
		EXPECT_EQ(0, i % 2 ? futex_up(f) : futex_up_fair(f));
		EXPECT_EQ(0, futex_trydown(f));
		EXPECT_EQ(0, futex_up(f));
	}
	EXPECT_EQ(0, system_calls);
	EXPECT_EQ(1, f->count);
}

TEST_F(library, counts_tokens)
{
	struct futex *f = &self->s->f;

	futex_init(f, 0);
	for (int i = 0; i < 10; i++)
		futex_up(f);
	EXPECT_EQ(10, f->count);
	for (int i = 0; i < 10; i++)
		EXPECT_EQ(0, futex_down(f));
	EXPECT_EQ(-1, futex_trydown(f));
}

TEST_F(library, timeout)
{
	struct timespec ts = { 0, 30000000 };
	int64_t start = now_ns();

	futex_init(&self->s->f, 0);
	system_calls = 0;
	EXPECT_EQ(-1, futex_down_timeout(&self->s->f, &ts));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(1, system_calls);
	EXPECT_GE(now_ns() - start, 30000000);
	EXPECT_EQ(0, futex_up(&self->s->f));
	EXPECT_EQ(0, futex_down_timeout(&self->s->f, &ts));
}

struct worker {
	struct shared *s;
	int rounds, fair;
	bool bad;
	/* NULL: the device. */
	const struct afutex_domain *domain;
};

static void lock_and_count(struct worker *w)
{
	for (int i = 0; i < w->rounds; i++) {
		if (futex_domain_down(w->domain, &w->s->f)) {
			w->bad = true;
			return;
		}
		if (w->s->inside++)
			w->bad = true;
		w->s->plain++;
		if (i % 64 == 0)
			sched_yield();
		w->s->inside--;
		if (w->fair && i % 2 ? futex_domain_up_fair(w->domain, &w->s->f) :
				       futex_domain_up(w->domain, &w->s->f)) {
			w->bad = true;
			return;
		}
	}
}

static void *lock_and_count_thread(void *arg)
{
	lock_and_count(arg);
	return NULL;
}

/* Whether eight threads, or processes, exclude each other: how often they failed to. */
static int exclusion(struct shared *s, const struct afutex_domain *domain, bool processes)
{
	int failures = 0;

	for (int fair = 0; fair < 2; fair++) {
		struct worker w = { s, rounds(fair ? 5000 : 50000), fair, false, domain };
		pthread_t threads[8];
		pid_t pids[8];

		s->plain = 0;
		futex_init(&s->f, 1);
		for (int i = 0; i < 8; i++) {
			if (!processes) {
				failures += pthread_create(&threads[i], NULL,
							   lock_and_count_thread, &w) != 0;
				continue;
			}
			pids[i] = fork();
			if (!pids[i]) {
				lock_and_count(&w);
				_exit(w.bad);
			}
		}
		for (int i = 0; i < 8; i++) {
			if (processes)
				failures += child_status(pids[i]) != 0;
			else
				pthread_join(threads[i], NULL);
		}
		failures += w.bad;
		failures += s->plain != 8L * w.rounds;
		failures += futex_trydown(&s->f) != 0;
	}
	return failures;
}

TEST_F_TIMEOUT(library, mutual_exclusion_of_threads, 600)
{
	EXPECT_EQ(0, exclusion(self->s, NULL, false));
}

TEST_F_TIMEOUT(library, mutual_exclusion_of_processes, 600)
{
	EXPECT_EQ(0, exclusion(self->s, NULL, true));
}

TEST_F_TIMEOUT(library, mutual_exclusion_in_a_domain, 600)
{
	struct afutex_domain domain;

	ASSERT_EQ(0, afutex_domain_open(&domain, 0, O_CLOEXEC));
	EXPECT_EQ(0, exclusion(self->s, &domain, false));
	EXPECT_EQ(0, exclusion(self->s, &domain, true));
	afutex_domain_close(&domain);
}

/* Where nobody waits the bell does not ring, and there is no call. */
TEST_F(library, domain_makes_no_call_for_nobody)
{
	struct futex *f = &self->s->f;
	struct afutex_domain domain;
	int fd;

	ASSERT_EQ(0, afutex_domain_open(&domain, 0, O_CLOEXEC));
	system_calls = 0;
	EXPECT_EQ(0, afutex_domain_wake_one(&domain, f));
	EXPECT_EQ(0, afutex_domain_wake_all(&domain, f));
	EXPECT_EQ(0, afutex_domain_wake_one_private(&domain, f));
	EXPECT_EQ(0, afutex_domain_wake_all_private(&domain, f));
	EXPECT_EQ(0, afutex_domain_word_wake(&domain, f, 1, 1, FUTEX2_SIZE_U32));
	/* Others may have waited, and do not any more. */
	for (int fair = 0; fair < 2; fair++) {
		futex_init(f, -1);
		EXPECT_EQ(0, fair ? futex_domain_up_fair(&domain, f) : futex_domain_up(&domain, f));
		EXPECT_EQ(1, f->count);
	}
	EXPECT_EQ(0, system_calls);

	/* Somebody at another offset is nobody. */
	fd = afutex_domain_watch_open(&domain, f + 1, 0, 1, FUTEX2_SIZE_U32, O_CLOEXEC, 0);
	ASSERT_GE(fd, 0);
	EXPECT_FALSE(afutex_domain_rings(&domain, f));
	EXPECT_TRUE(afutex_domain_rings(&domain, f + 1));
	system_calls = 0;
	EXPECT_EQ(0, afutex_domain_wake_one(&domain, f));
	EXPECT_EQ(0, system_calls);
	/* The private one is another word, at the same offset. */
	EXPECT_EQ(0, afutex_domain_wake_one_private(&domain, f + 1));
	EXPECT_EQ(1, system_calls);
	EXPECT_EQ(1, afutex_domain_wake_one(&domain, f + 1));
	EXPECT_EQ(2, system_calls);
	EXPECT_EQ(0, afutex_domain_wake_one(&domain, f + 1));
	EXPECT_EQ(2, system_calls);
	close(fd);
	afutex_domain_close(&domain);
}

/* Every function reaches the domain, and nothing of the device. */
TEST_F(library, domain_functions_meet)
{
	struct afutex_domain domain, same;
	struct futex *f = &self->s->f;
	uint32_t *word = (uint32_t *)&self->s->plain;
	struct futex_waitv other = { 1, (uintptr_t)word, FUTEX2_SIZE_U32, 0 };
	struct afutex_wakev_word wakes = { (uintptr_t)word, 1, FUTEX2_SIZE_U32, 1, 0 };
	struct timespec past = { 0, 1 };
	struct afutex_watch watch = afutex_watch_for(word, 0, FUTEX2_SIZE_U32, 7);
	struct afutex_event event;
	uint64_t count;
	uint32_t id;
	int fd, set;

	ASSERT_EQ(0, afutex_domain_open(&domain, 16, O_CLOEXEC));
	ASSERT_EQ(0, afutex_domain_use(&same, dup(domain.fd)));
	fd = afutex_domain_watch_open(&domain, word, 0, 1, FUTEX2_SIZE_U32,
				      O_CLOEXEC | O_NONBLOCK, 0);
	set = afutex_domain_set_open(&domain, O_CLOEXEC | O_NONBLOCK, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, afutex_set_add(set, &watch, &id));
	EXPECT_EQ(0, afutex_wake_all(word));
	EXPECT_EQ(1, afutex_domain_words_wake(&same, &wakes, 1));
	EXPECT_EQ(1, wakes.result);
	EXPECT_EQ(0, afutex_watch_read(fd, &count));
	EXPECT_EQ(1, afutex_domain_word_wake(&same, word, 1, 1, FUTEX2_SIZE_U32));
	EXPECT_EQ(1, afutex_set_read(set, &event, 1));
	EXPECT_EQ(7, event.cookie);
	close(fd);
	close(set);

	EXPECT_EQ(-1, afutex_domain_word_wait(&domain, word, 1, 1, FUTEX2_SIZE_U32, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, afutex_domain_word_wait(&domain, word, 0, 1, FUTEX2_SIZE_U32, &past));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(-1, afutex_domain_words_wait(&domain, &other, 1, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, afutex_domain_word_requeue(&domain, word, 1, word + 1, FUTEX2_SIZE_U32,
						 1, 1));
	EXPECT_EQ(EAGAIN, errno);

	/* A moved waiter is found where it went. */
	futex_init(f, 0);
	fd = futex_domain_await(&domain, f, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, afutex_domain_word_requeue(&same, f, (uint32_t)-1, word, FUTEX2_SIZE_U32,
						0, 1));
	EXPECT_FALSE(afutex_domain_rings(&domain, f));
	EXPECT_TRUE(afutex_domain_rings(&domain, word));
	EXPECT_EQ(1, afutex_domain_wake_all(&domain, word));
	close(fd);
	futex_init(f, 0);
	EXPECT_EQ(-1, futex_domain_down_timeout(&domain, f, &past));
	EXPECT_EQ(ETIMEDOUT, errno);
	/* Without one, it is the device. */
	EXPECT_EQ(0, afutex_domain_wake_one(NULL, word));
	EXPECT_TRUE(afutex_domain_rings(NULL, word));
	afutex_domain_close(&domain);
	afutex_domain_close(&same);
	/* Which has no bell. */
	EXPECT_EQ(-1, afutex_domain_use(&same, afutex_device()));
	EXPECT_EQ(ENODEV, errno);
}

struct greedy {
	struct futex *f;
	_Atomic bool stop;
	_Atomic long rounds;
};

static void *take_and_put_back(void *arg)
{
	struct greedy *g = arg;

	while (!g->stop) {
		futex_down(g->f);
		g->rounds++;
		futex_up_fair(g->f);
	}
	return NULL;
}

/* Somebody who takes and puts back in a loop does not starve who waits. */
TEST_F(library, fair_up_starves_nobody)
{
	struct greedy g[2] = { { &self->s->f }, { &self->s->f } };
	pthread_t threads[2];
	int64_t start, worst = 0;

	futex_init(&self->s->f, 1);
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL, take_and_put_back, &g[i]));
	for (int i = 0; i < 2; i++)
		ASSERT_TRUE(eventually(g[i].rounds > 0));
	for (int i = 0; i < rounds(200); i++) {
		start = now_ns();
		ASSERT_EQ(0, futex_down(&self->s->f));
		if (now_ns() - start > worst)
			worst = now_ns() - start;
		ASSERT_EQ(0, futex_up_fair(&self->s->f));
	}
	/* As long as it takes two others to run, on a busy machine. */
	EXPECT_LT(worst, 2000000000);
	for (int i = 0; i < 2; i++)
		g[i].stop = true;
	for (int i = 0; i < 2; i++)
		pthread_join(threads[i], NULL);
	EXPECT_EQ(0, futex_trydown(&self->s->f));
}

/* Takes a token in an event loop. */
static int take_by_epoll(struct futex *f)
{
	int ep = epoll_create1(0), ret = -1;

	for (int i = 0; i < 1000000; i++) {
		struct epoll_event ev = { .events = EPOLLIN };
		int fd;

		if (!futex_claim(f)) {
			ret = 0;
			break;
		}
		fd = futex_await(f, 0);
		if (fd < 0)
			break;
		epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev);
		if (epoll_wait(ep, &ev, 1, 20000) != 1)
			break;
		/* Told, or closed unread: both are well. */
		if (!futex_claim(f)) {
			uint64_t count;

			if (read(fd, &count, sizeof(count)) != sizeof(count))
				ret = -2;
			else
				ret = 0;
			close(fd);
			break;
		}
		close(fd);
	}
	close(ep);
	return ret;
}

static void *epoll_taker(void *arg)
{
	struct worker *w = arg;

	for (int i = 0; i < w->rounds && !w->bad; i++) {
		if (take_by_epoll(&w->s->f) || w->s->inside++)
			w->bad = true;
		w->s->plain++;
		w->s->inside--;
		futex_up_fair(&w->s->f);
	}
	return NULL;
}

TEST_F_TIMEOUT(library, waiting_in_an_event_loop, 600)
{
	struct worker w = { self->s, rounds(2000), 1, false };
	pthread_t threads[4];

	futex_init(&self->s->f, 1);
	for (int i = 0; i < 4; i++)
		ASSERT_EQ(0, pthread_create(&threads[i], NULL,
					    i % 2 ? epoll_taker : lock_and_count_thread, &w));
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], NULL);
	EXPECT_FALSE(w.bad);
	EXPECT_EQ(4L * w.rounds, self->s->plain);
	EXPECT_EQ(0, futex_trydown(&self->s->f));
}

TEST_F(library, await_sends_the_signal)
{
	struct timespec ts = { 5, 0 };
	siginfo_t info;
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &set, NULL);
	futex_init(&self->s->f, 0);
	fd = futex_await(&self->s->f, SIGRTMIN);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, futex_up(&self->s->f));
	EXPECT_EQ(SIGRTMIN, sigtimedwait(&set, &info, &ts));
	EXPECT_EQ(fd, info.si_fd);
	EXPECT_EQ(0, futex_trydown(&self->s->f));
	close(fd);
}

static void *close_unread(void *arg)
{
	struct greedy *g = arg;

	while (!g->stop) {
		int fd = futex_await(g->f, 0);

		if (g->rounds++ % 3)
			poll_ms(fd, 1);
		close(fd);
	}
	return NULL;
}

/* Descriptors that are told of a token and closed can neither keep nor lose it. */
TEST_F_TIMEOUT(library, closing_descriptors_loses_no_token, 600)
{
	struct greedy g[3] = { { &self->s->f }, { &self->s->f }, { &self->s->f } };
	struct worker w = { self->s, rounds(2000), 1, false };
	pthread_t closers[3], lockers[3];

	futex_init(&self->s->f, 1);
	for (int i = 0; i < 3; i++) {
		ASSERT_EQ(0, pthread_create(&closers[i], NULL, close_unread, &g[i]));
		ASSERT_EQ(0, pthread_create(&lockers[i], NULL, lock_and_count_thread, &w));
	}
	for (int i = 0; i < 3; i++)
		pthread_join(lockers[i], NULL);
	for (int i = 0; i < 3; i++)
		g[i].stop = true;
	for (int i = 0; i < 3; i++)
		pthread_join(closers[i], NULL);
	EXPECT_FALSE(w.bad);
	EXPECT_EQ(3L * w.rounds, self->s->plain);
	EXPECT_EQ(0, futex_trydown(&self->s->f));
	EXPECT_LE(self->s->f.count, 0);
}

static void *down_thread(void *arg)
{
	return (void *)(intptr_t)futex_down(arg);
}

static void *up_thread(void *arg)
{
	return (void *)(intptr_t)futex_up(arg);
}

TEST_F(library, down_waits_where_memory_is_short)
{
	struct timespec ts = { 0, 5000000 };
	pthread_t thread;
	void *ret;

	for (int fair = 0; fair < 2; fair++) {
		futex_init(&self->s->f, 0);
		/* Its time is kept. */
		refusals = LONG_MAX;
		EXPECT_EQ(-1, futex_down_timeout(&self->s->f, &ts));
		EXPECT_EQ(ETIMEDOUT, errno);
		shortages = 0;
		ASSERT_EQ(0, pthread_create(&thread, NULL, down_thread, &self->s->f));
		EXPECT_TRUE(eventually(shortages > 2));
		/* Sleeping or not, it gets the token. */
		refusals = 0;
		EXPECT_EQ(0, fair ? futex_up_fair(&self->s->f) : futex_up(&self->s->f));
		pthread_join(thread, &ret);
		EXPECT_EQ(NULL, ret);
		EXPECT_EQ(-1, futex_trydown(&self->s->f));
	}
}

TEST_F(library, up_reaches_the_waiter_where_memory_is_short)
{
	pthread_t thread;
	void *ret;

	for (int fair = 0; fair < 2; fair++) {
		futex_init(&self->s->f, 0);
		ASSERT_EQ(0, pthread_create(&thread, NULL, down_thread, &self->s->f));
		ASSERT_TRUE(counter_becomes("queued", 1));
		shortages = 0;
		refusals = 3;
		EXPECT_EQ(0, fair ? futex_up_fair(&self->s->f) : futex_up(&self->s->f));
		EXPECT_EQ(3, shortages);
		pthread_join(thread, &ret);
		EXPECT_EQ(NULL, ret);
		EXPECT_EQ(-1, futex_trydown(&self->s->f));
	}
}

/* Takes or puts back a token while no descriptor is left, and the device not open. */
static int without_descriptors(struct futex *f, void *(*call)(void *), bool up_after)
{
	struct rlimit limit, none = { 0, 0 };
	pthread_t thread;
	void *ret;

	close(_afutex_device_fd);
	_afutex_device_fd = -1;
	if (getrlimit(RLIMIT_NOFILE, &limit))
		return 1;
	none.rlim_max = limit.rlim_max;
	if (setrlimit(RLIMIT_NOFILE, &none) || pthread_create(&thread, NULL, call, f))
		return 2;
	if (!eventually(shortages > 1))
		return 3;
	if (setrlimit(RLIMIT_NOFILE, &limit))
		return 4;
	if (up_after && futex_up(f))
		return 5;
	pthread_join(thread, &ret);
	return ret ? 6 : 0;
}

TEST_F(library, down_and_up_wait_for_a_descriptor)
{
	pid_t pid;

	ASSERT_GE(afutex_device(), 0);
	futex_init(&self->s->f, 0);
	pid = fork();
	if (!pid)
		_exit(without_descriptors(&self->s->f, down_thread, true));
	EXPECT_EQ(0, child_status(pid));

	futex_init(&self->s->f, -1);
	pid = fork();
	if (!pid)
		_exit(without_descriptors(&self->s->f, up_thread, false));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(1, self->s->f.count);
}

/* Killed between being woken and taking the token: the next takes it. */
TEST_F_TIMEOUT(library, killed_heir, 600)
{
	futex_init(&self->s->f, 1);
	for (int i = 0; i < rounds(100); i++) {
		pid_t pid;

		ASSERT_EQ(0, futex_down(&self->s->f));
		pid = fork();
		if (!pid) {
			int fd = futex_await(&self->s->f, 0);

			_exit(poll_ms(fd, 20000) != READABLE);
		}
		ASSERT_TRUE(counter_becomes("queued", 1));
		ASSERT_EQ(0, futex_up_fair(&self->s->f));
		if (i % 2)
			kill(pid, SIGKILL);
		child_status(pid);
		/* Nobody took it, and it is not lost. */
		ASSERT_EQ(0, futex_down(&self->s->f));
		ASSERT_EQ(0, futex_up(&self->s->f));
	}
}

TEST_HARNESS_MAIN
