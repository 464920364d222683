// SPDX-License-Identifier: GPL-2.0
/* A set that sends signals, and more wakes than signals can be queued. */
#include "set_fixture.h"

#define WORDS	64
#define WAKERS	2

struct waker {
	int dev, scope, wakes;
	unsigned int seed;
	word_t *word;
	pthread_t thread;
	long bad;
};

static void *wake_at_random(void *arg)
{
	struct waker *w = arg;
	sigset_t all;

	/* Signals are for the reader. */
	sigfillset(&all);
	pthread_sigmask(SIG_BLOCK, &all, NULL);
	for (int i = 0; i < w->wakes; i++)
		w->bad += do_wake(w->dev, &w->word[rand_r(&w->seed) % WORDS], w->scope, 1) != 1;
	return NULL;
}

static bool wakers_start(struct waker *w, int dev, int scope, word_t *word, int wakes)
{
	for (int i = 0; i < WAKERS; i++) {
		w[i] = (struct waker) {
			.dev = dev, .scope = scope, .word = word, .wakes = wakes, .seed = i,
		};
		if (pthread_create(&w[i].thread, NULL, wake_at_random, &w[i]))
			return false;
	}
	return true;
}

static long wakers_join(struct waker *w)
{
	long bad = 0;

	for (int i = 0; i < WAKERS; i++) {
		pthread_join(w[i].thread, NULL);
		bad += w[i].bad;
	}
	return bad;
}

static bool watch_words(int set, word_t *word, uint32_t flags)
{
	for (int i = 0; i < WORDS; i++)
		if (add(set, &word[i], flags | AFUTEX_PERSISTENT, 0, i) != i)
			return false;
	return true;
}

/* Reads all events; returns how many wakes they count. */
static long drain(int set)
{
	struct afutex_event ev[5];
	long wakes = 0;
	int n;

	while ((n = events(set, ev, 5)) > 0)
		for (int i = 0; i < n; i++)
			wakes += ev[i].count;
	return wakes;
}

static void block(sigset_t *mask, int sig)
{
	sigemptyset(mask);
	sigaddset(mask, SIGIO);
	if (sig)
		sigaddset(mask, sig);
	sigprocmask(SIG_BLOCK, mask, NULL);
}

/* How many signals of this user may be queued; what it was before. */
static rlim_t limit_queued(rlim_t to)
{
	struct rlimit limit;
	rlim_t before;

	getrlimit(RLIMIT_SIGPENDING, &limit);
	before = limit.rlim_cur;
	limit.rlim_cur = to;
	setrlimit(RLIMIT_SIGPENDING, &limit);
	return before;
}

/*
 * A reader that reads all events after each signal misses none: not with SIGIO, of which
 * only one is pending at a time, and not with a real-time signal, be there room for many
 * or for few, when SIGIO comes in its place.
 */
TEST_F_TIMEOUT(set, signalled_reader_misses_nothing, 900)
{
	static const struct {
		bool realtime;
		int room;
	} ways[] = { { false, 4000 }, { true, 4000 }, { true, 8 }, { true, 0 } };

	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	ASSERT_EQ(0, fcntl(self->set, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_ASYNC | O_NONBLOCK));
	for (int way = 0; way < 4; way++) {
		int sig = ways[way].realtime ? SIGRTMIN + 3 : 0, n = rounds(10000);
		struct timespec ts = { 10, 0 };
		struct waker w[WAKERS];
		siginfo_t info;
		sigset_t mask;
		long told = 0;

		block(&mask, sig);
		ASSERT_EQ(0, fcntl(self->set, F_SETSIG, sig));
		limit_queued(ways[way].room);
		ASSERT_TRUE(wakers_start(w, self->dev, variant->scope, self->word, n));
		while (told < WAKERS * n) {
			int got;

			do {
				got = sigtimedwait(&mask, &info, &ts);
			} while (got < 0 && errno == EINTR);
			/* Otherwise there are events, and no signal for them. */
			ASSERT_GT(got, 0);
			if (got == sig)
				EXPECT_EQ(self->set, info.si_fd);
			told += drain(self->set);
		}
		EXPECT_EQ(WAKERS * n, told);
		EXPECT_EQ(0, wakers_join(w));
		/* Signals of wakes that were read already. */
		ts.tv_sec = 0;
		while (sigtimedwait(&mask, &info, &ts) > 0)
			;
		EXPECT_EQ(0, drain(self->set));
	}
}

/* The queue is full: plain SIGIO says so, once, and real-time signals come again after. */
TEST_F(set, sigio_when_the_queue_is_full)
{
	struct timespec ts = { 10, 0 }, now = { 0, 0 };
	int sig = SIGRTMIN + 3, queued = 0;
	siginfo_t info;
	sigset_t mask;
	rlim_t before;

	block(&mask, sig);
	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	ASSERT_EQ(0, fcntl(self->set, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(self->set, F_SETSIG, sig));
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_ASYNC | O_NONBLOCK));
	before = limit_queued(4);
	for (int i = 0; i < 20; i++)
		WAKE(1, &self->word[i]);
	ASSERT_EQ(SIGIO, sigtimedwait(&mask, &info, &ts));
	EXPECT_EQ(20, drain(self->set));
	while (sigtimedwait(&mask, &info, &now) == sig)
		queued++;
	EXPECT_LE(queued, 4);
	limit_queued(before);
	WAKE(1, self->word);
	ASSERT_EQ(sig, sigtimedwait(&mask, &info, &ts));
	EXPECT_EQ(self->set, info.si_fd);
	EXPECT_EQ(POLL_IN, info.si_code);
	EXPECT_EQ(READABLE, info.si_band);
	EXPECT_EQ(1, drain(self->set));
}

static struct {
	int set;
	_Atomic long told, calls;
} handled;

static void on_sigio(int sig)
{
	int saved = errno;

	handled.calls++;
	handled.told += drain(handled.set);
	errno = saved;
}

/* All is read in the handler, which interrupts whatever the main thread does. */
TEST_F_TIMEOUT(set, read_in_the_handler, 900)
{
	struct sigaction sa = { .sa_handler = on_sigio, .sa_flags = SA_RESTART };
	struct waker w[WAKERS];
	int n = rounds(10000);

	handled.set = self->set;
	sigaction(SIGIO, &sa, NULL);
	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	ASSERT_EQ(0, fcntl(self->set, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_ASYNC | O_NONBLOCK));
	ASSERT_TRUE(wakers_start(w, self->dev, variant->scope, self->word, n));
	EXPECT_EQ(0, wakers_join(w));
	EXPECT_TRUE(eventually(handled.told == WAKERS * n));
	EXPECT_GT(handled.calls, 0);
	signal(SIGIO, SIG_IGN);
}

/* The signals go to another process, which reads the set that it inherited. */
TEST_F_TIMEOUT(set, owner_is_another_process, 900)
{
	int n = rounds(10000), ready[2], sig = SIGRTMIN + 4;
	struct waker w[WAKERS];
	sigset_t mask;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(ready));
	block(&mask, sig);
	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	pid = fork();
	if (!pid) {
		struct timespec ts = { 20, 0 };
		siginfo_t info;
		long told = 0;

		limit_queued(100);
		if (write(ready[1], "", 1) != 1)
			_exit(1);
		while (told < WAKERS * n) {
			int got = sigtimedwait(&mask, &info, &ts);

			if (got < 0 && errno == EINTR)
				continue;
			if (got < 0)
				_exit(2);
			if (got == sig && info.si_fd != self->set)
				_exit(3);
			told += drain(self->set);
		}
		_exit(told == WAKERS * n ? 0 : 4);
	}
	ASSERT_EQ(1, read(ready[0], &c, 1));
	ASSERT_EQ(0, fcntl(self->set, F_SETOWN, pid));
	ASSERT_EQ(0, fcntl(self->set, F_SETSIG, sig));
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_ASYNC | O_NONBLOCK));
	ASSERT_TRUE(wakers_start(w, self->dev, variant->scope, self->word, n));
	EXPECT_EQ(0, wakers_join(w));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, drain(self->set));
	close(ready[0]);
	close(ready[1]);
}

/* The signals go to one thread of several, by F_SETOWN_EX. */
TEST_F(set, owner_is_a_thread)
{
	struct f_owner_ex owner = { .type = F_OWNER_TID, .pid = syscall(SYS_gettid) };
	int sig = SIGRTMIN + 5;
	struct timespec ts = { 10, 0 };
	struct waker w[WAKERS];
	siginfo_t info;
	sigset_t mask;
	long told = 0;

	block(&mask, sig);
	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	ASSERT_EQ(0, fcntl(self->set, F_SETOWN_EX, &owner));
	ASSERT_EQ(0, fcntl(self->set, F_SETSIG, sig));
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_ASYNC | O_NONBLOCK));
	ASSERT_TRUE(wakers_start(w, self->dev, variant->scope, self->word, 50));
	EXPECT_EQ(0, wakers_join(w));
	while (told < WAKERS * 50) {
		ASSERT_GT(sigtimedwait(&mask, &info, &ts), 0);
		told += drain(self->set);
	}
}

/* Signals are switched on and off, and the owner changed, while wakes come. */
TEST_F_TIMEOUT(set, switched_on_and_off_beside_wakes, 900)
{
	int n = rounds(10000), sig = SIGRTMIN + 3;
	struct waker w[WAKERS];
	siginfo_t info;
	sigset_t mask;
	long told = 0;

	block(&mask, sig);
	ASSERT_TRUE(watch_words(self->set, self->word, self->flags));
	ASSERT_TRUE(wakers_start(w, self->dev, variant->scope, self->word, n));
	for (int i = 0; i < n; i++) {
		struct timespec now = { 0, 0 };

		ASSERT_EQ(0, fcntl(self->set, F_SETFL, (i % 2 ? O_ASYNC : 0) | O_NONBLOCK));
		ASSERT_EQ(0, fcntl(self->set, F_SETSIG, i % 3 ? sig : 0));
		ASSERT_EQ(0, fcntl(self->set, F_SETOWN, i % 5 ? getpid() : 0));
		if (i % 16 == 0)
			told += drain(self->set);
		while (sigtimedwait(&mask, &info, &now) > 0)
			;
	}
	EXPECT_EQ(0, wakers_join(w));
	told += drain(self->set);
	EXPECT_EQ(WAKERS * n, told);
	ASSERT_EQ(0, fcntl(self->set, F_SETFL, O_NONBLOCK));
}

TEST_HARNESS_MAIN
