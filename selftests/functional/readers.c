// SPDX-License-Identifier: GPL-2.0
/* Several readers of one set: each event reaches one of them, and no reader sleeps on. */
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "set_fixture.h"

#define WORDS	64
#define THREADS	4

/* The cookie of the member whose event ends a reader. */
#define STOP	WORDS

/* What the readers of a set share. */
struct shared {
	int set, epoll;
	_Atomic int told[WORDS + 1];
	_Atomic long all;
};

struct reader {
	struct shared *shared;
	int room, epoll, stop;
	bool wait_call;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	long bad;
	struct afutex_event ev[8];
	int nr;
};

/* Takes note of events; whether one of them says to stop. */
static bool note(struct shared *s, const struct afutex_event *ev, int nr)
{
	bool stop = false;

	for (int i = 0; i < nr; i++) {
		if (ev[i].cookie == STOP) {
			stop = true;
			continue;
		}
		s->told[ev[i].cookie] += ev[i].count;
		s->all += ev[i].count;
	}
	return stop;
}

/* Waits with read(2) or with AFUTEX_IOC_SET_WAIT. How many events, or -errno. */
static int wait_for_events(struct reader *r)
{
	struct afutex_set_wait args = {
		.events = addr_of(r->ev), .nr_events = r->room, .clockid = CLOCK_MONOTONIC,
	};
	int n;

	if (!r->wait_call)
		return events(r->shared->set, r->ev, r->room);
	n = ioctl(r->shared->set, AFUTEX_IOC_SET_WAIT, &args);
	return n < 0 ? -errno : n;
}

static void *read_until_stop(void *arg)
{
	struct reader *r = arg;
	int n;

	do {
		n = wait_for_events(r);
		if (n <= 0)
			r->bad = n - 1;
	} while (!r->bad && !note(r->shared, r->ev, n));
	r->done = true;
	return NULL;
}

static bool watch_words(int set, word_t *word, uint32_t flags)
{
	for (int i = 0; i <= WORDS; i++)
		if (add(set, &word[i], flags | AFUTEX_PERSISTENT, 0, i) != i)
			return false;
	return true;
}

TEST_F_TIMEOUT(set, each_event_goes_to_one_reader, 900)
{
	struct shared shared = { .set = new_set(self->dev, 0, 0) };
	struct reader r[THREADS];
	int given[WORDS] = { 0 };
	unsigned int seed = 1;
	long all = rounds(20000);

	ASSERT_TRUE(watch_words(shared.set, self->word, self->flags));
	for (int i = 0; i < THREADS; i++) {
		r[i] = (struct reader) { .shared = &shared, .room = 1 + i, .wait_call = i % 2 };
		ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, read_until_stop, &r[i]));
	}
	for (long i = 0; i < all; i++) {
		int which = rand_r(&seed) % WORDS;

		ASSERT_EQ(1, do_wake(self->dev, &self->word[which], variant->scope, 1));
		given[which]++;
		/* Lets them fall asleep now and then. */
		if (i % 32 == 0)
			ASSERT_TRUE(eventually(shared.all == i + 1));
	}
	EXPECT_TRUE(eventually(shared.all == all));
	for (int i = 0; i < THREADS; i++) {
		while (pthread_tryjoin_np(r[i].thread, NULL)) {
			WAKE(1, &self->word[STOP]);
			sched_yield();
		}
		EXPECT_EQ(0, r[i].bad);
	}
	for (int i = 0; i < WORDS; i++)
		EXPECT_EQ(given[i], shared.told[i]);
	close(shared.set);
}

static void on_signal(int sig)
{
}

static void *read_once(void *arg)
{
	struct reader *r = arg;

	r->tid = syscall(SYS_gettid);
	r->nr = wait_for_events(r);
	r->done = true;
	return NULL;
}

/* Starts a reader, and lets it fall asleep. */
static bool reader_start(struct reader *r, struct shared *shared, bool wait_call)
{
	*r = (struct reader) { .shared = shared, .room = 1, .wait_call = wait_call };
	return !pthread_create(&r->thread, NULL, read_once, r) &&
	       eventually(r->tid && task_state(r->tid) == 'S');
}

/* One wake makes as many events as there are readers, and each reader has room for one. */
TEST_F_TIMEOUT(set, who_leaves_events_leaves_nobody_asleep, 900)
{
	struct shared shared = { .set = new_set(self->dev, 0, 0) };
	struct reader r[THREADS];

	for (int i = 0; i < THREADS; i++)
		ASSERT_EQ(i, add(shared.set, self->word, self->flags | AFUTEX_PERSISTENT, 0, i));
	for (int round = 0; round < rounds(200); round++) {
		int seen = 0;

		for (int i = 0; i < THREADS; i++)
			ASSERT_TRUE(reader_start(&r[i], &shared, (round + i) % 2));
		WAKE(THREADS, self->word);
		for (int i = 0; i < THREADS; i++) {
			ASSERT_TRUE(eventually(r[i].done));
			pthread_join(r[i].thread, NULL);
			ASSERT_EQ(1, r[i].nr);
			ASSERT_EQ(1, r[i].ev[0].count);
			seen |= 1 << r[i].ev[0].cookie;
		}
		ASSERT_EQ((1 << THREADS) - 1, seen);
	}
	close(shared.set);
}

/* The same with events that are there at once, not from a wake. */
TEST_F_TIMEOUT(set, changed_words_wake_all_readers, 900)
{
	struct shared shared = { .set = new_set(self->dev, 0, 0) };
	struct reader r[THREADS];
	struct afutex_ctl items[THREADS];

	for (int round = 0; round < rounds(200); round++) {
		for (int i = 0; i < THREADS; i++) {
			ASSERT_TRUE(reader_start(&r[i], &shared, (round + i) % 2));
			items[i] = (struct afutex_ctl) {
				.op = round ? AFUTEX_CTL_MOD : AFUTEX_CTL_ADD, .id = i,
				.watch = { .uaddr = addr_of(self->word), .val = 1, .mask = 1,
					   .flags = self->flags | AFUTEX_COMPARE | AFUTEX_READY },
			};
		}
		ASSERT_EQ(THREADS, ctl(shared.set, items, THREADS));
		for (int i = 0; i < THREADS; i++) {
			ASSERT_EQ(0, items[i].result);
			ASSERT_TRUE(eventually(r[i].done));
			pthread_join(r[i].thread, NULL);
			ASSERT_EQ(1, r[i].nr);
			ASSERT_EQ(AFUTEX_VALUE_CHANGED, r[i].ev[0].why);
		}
	}
	close(shared.set);
}

/* A reader that is interrupted as the event comes does not take the wake-up with it. */
TEST_F_TIMEOUT(set, interrupted_reader_leaves_it_to_another, 900)
{
	struct shared shared = { .set = new_set(self->dev, 0, 0) };
	struct sigaction sa = { .sa_handler = on_signal };
	struct reader r[2];
	int interrupted = 0;

	sigaction(SIGUSR1, &sa, NULL);
	ASSERT_EQ(0, add(shared.set, self->word, self->flags | AFUTEX_PERSISTENT, 0, 0));
	for (int round = 0; round < rounds(400); round++) {
		int told = 0;

		for (int i = 0; i < 2; i++)
			ASSERT_TRUE(reader_start(&r[i], &shared, (round / 2 + i) % 2));
		if (round % 2)
			pthread_kill(r[0].thread, SIGUSR1);
		WAKE(1, self->word);
		if (round % 2 == 0)
			pthread_kill(r[0].thread, SIGUSR1);
		/* One of them has it, unless the one is interrupted and the other still asleep. */
		ASSERT_TRUE(eventually((r[0].done && r[0].nr == 1) || (r[1].done && r[1].nr == 1)));
		for (int i = 0; i < 2; i++) {
			while (pthread_tryjoin_np(r[i].thread, NULL)) {
				if (!r[i].done && task_state(r[i].tid) == 'S' &&
				    !do_wake(self->dev, self->word, variant->scope, 1))
					break;
				sched_yield();
			}
			told += r[i].nr == 1;
			interrupted += r[i].nr == -EINTR;
			ASSERT_EITHER(1, -EINTR, r[i].nr);
		}
		ASSERT_GE(told, 1);
		/* Events of wakes beyond the one. */
		while (poll_ms(shared.set, 0))
			ASSERT_EQ(1, events(shared.set, r[0].ev, 1));
	}
	EXPECT_GT(interrupted, 0);
	close(shared.set);
}

static void *epoll_until_stop(void *arg)
{
	struct reader *r = arg;
	struct epoll_event ee;

	while (!r->bad) {
		int n = epoll_wait(r->epoll, &ee, 1, 60000);

		if (n != 1) {
			r->bad = n < 0 ? errno : ETIMEDOUT;
			break;
		}
		if (ee.data.fd == r->stop)
			break;
		while ((n = events(r->shared->set, r->ev, r->room)) > 0)
			note(r->shared, r->ev, n);
		if (n != -EAGAIN)
			r->bad = n;
	}
	return NULL;
}

static int new_epoll(int set, uint32_t how, int stop)
{
	struct epoll_event ee = { .events = EPOLLIN | how, .data.fd = set };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	if (epoll_ctl(ep, EPOLL_CTL_ADD, set, &ee))
		return -1;
	ee = (struct epoll_event) { .events = EPOLLIN, .data.fd = stop };
	return epoll_ctl(ep, EPOLL_CTL_ADD, stop, &ee) ? -1 : ep;
}

/* Threads that wait in one epoll each, exclusively, or all in the same one. */
TEST_F_TIMEOUT(set, herd_of_epolls_loses_nothing, 900)
{
	static const struct {
		uint32_t how;
		bool one;
	} ways[] = {
		{ EPOLLEXCLUSIVE, false }, { EPOLLEXCLUSIVE | EPOLLET, false },
		{ 0, true }, { EPOLLET, true },
	};
	struct reader r[THREADS];
	unsigned int seed = 1;

	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	for (int way = 0; way < 4; way++) {
		int stop = eventfd(0, EFD_CLOEXEC);
		int one = new_epoll(self->set, ways[way].how, stop);
		struct shared shared = { .set = self->set };
		uint64_t end = 1;

		ASSERT_GE(one, 0);
		for (int i = 0; i < THREADS; i++) {
			r[i] = (struct reader) {
				.shared = &shared, .room = 1 + i, .stop = stop,
				.epoll = ways[way].one ? one :
							 new_epoll(self->set, ways[way].how, stop),
			};
			ASSERT_GE(r[i].epoll, 0);
		}
		if (!ways[way].one)
			close(one);
		for (int i = 0; i < THREADS; i++)
			ASSERT_EQ(0, pthread_create(&r[i].thread, NULL, epoll_until_stop, &r[i]));
		for (long i = 0; i < rounds(4000); i++) {
			ASSERT_EQ(1, do_wake(self->dev, &self->word[rand_r(&seed) % WORDS],
					     variant->scope, 1));
			/* No event is left unread while no other comes. */
			if (i % 8 == 0)
				ASSERT_TRUE(eventually(shared.all == i + 1));
		}
		EXPECT_TRUE(eventually(shared.all == rounds(4000)));
		EXPECT_EQ(8, write(stop, &end, 8));
		for (int i = 0; i < THREADS; i++) {
			pthread_join(r[i].thread, NULL);
			EXPECT_EQ(0, r[i].bad);
			if (r[i].epoll != one)
				close(r[i].epoll);
		}
		if (ways[way].one)
			close(one);
		close(stop);
	}
}

/* Edge-triggered: each wake is reported, even if the reader left events before. */
TEST_F(set, edges_with_short_reads)
{
	int inner = epoll_create1(0), outer = epoll_create1(0);
	struct epoll_event ee = { .events = EPOLLIN | EPOLLET };
	struct afutex_event ev[WORDS];
	int seen = 0;

	ASSERT_EQ(0, epoll_ctl(inner, EPOLL_CTL_ADD, self->set, &ee));
	ASSERT_EQ(0, epoll_ctl(outer, EPOLL_CTL_ADD, inner, &ee));
	for (int i = 0; i < WORDS; i++)
		ASSERT_EQ(i, add(self->set, &self->word[i], self->flags, 0, i));
	for (int i = 0; i < WORDS; i += 4) {
		for (int j = i; j < i + 4; j++)
			WAKE(1, &self->word[j]);
		ASSERT_EQ(1, epoll_wait(outer, &ee, 1, 5000));
		ASSERT_EQ(1, epoll_wait(inner, &ee, 1, 5000));
		ASSERT_EQ(3, events(self->set, ev, 3));
		for (int j = 0; j < 3; j++)
			EXPECT_EQ(seen++, (int)ev[j].cookie);
	}
	ASSERT_EQ(WORDS / 4, events(self->set, ev, WORDS));
	for (int j = 0; j < WORDS / 4; j++)
		EXPECT_EQ(seen++, (int)ev[j].cookie);
	EXPECT_EQ(0, epoll_wait(inner, &ee, 1, 0));
	close(outer);
	close(inner);
}

TEST_HARNESS_MAIN
