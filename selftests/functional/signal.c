// SPDX-License-Identifier: GPL-2.0
/* FUTEX_FD's signal: its receiver, its siginfo, and that it is never late. */
#include "word_fixture.h"

WORD_FIXTURE(signal, sigset_t set;);
FIXTURE_VARIANT_ADD(signal, private) { PRIVATE, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(signal, file) { SHARED, MEMFD };

FIXTURE_SETUP(signal)
{
	WORD_SETUP();
	sigemptyset(&self->set);
	sigaddset(&self->set, SIGIO);
	sigaddset(&self->set, SIGUSR1);
	sigaddset(&self->set, SIGURG);
	for (int sig = SIGRTMIN; sig <= SIGRTMAX; sig++)
		sigaddset(&self->set, sig);
	sigprocmask(SIG_BLOCK, &self->set, NULL);
}

FIXTURE_TEARDOWN(signal)
{
	WORD_TEARDOWN();
}

/* The next blocked signal, within ms milliseconds. */
static int next_signal(const sigset_t *set, siginfo_t *info, int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };
	int sig;

	do {
		sig = sigtimedwait(set, info, &ts);
	} while (sig < 0 && errno == EINTR);
	return sig;
}

static void check(struct __test_metadata *_metadata, const sigset_t *set, int sig, int fd)
{
	siginfo_t info;

	EXPECT_EQ(sig, next_signal(set, &info, 5000));
	EXPECT_EQ(fd, info.si_fd);
	EXPECT_EQ(POLL_IN, info.si_code);
	EXPECT_EQ(READABLE, info.si_band);
}

TEST_F(signal, sigio_and_realtime_carry_the_descriptor)
{
	int sigs[] = { SIGIO, SIGRTMIN, SIGRTMAX };
	siginfo_t info;

	for (int i = 0; i < 3; i++) {
		int fd = do_fd(self->dev, self->word, variant->scope, sigs[i]);

		ASSERT_GE(fd, 0);
		EXPECT_EQ(-1, next_signal(&self->set, &info, 10));
		EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
		check(_metadata, &self->set, sigs[i], fd);
		EXPECT_EQ(-1, next_signal(&self->set, &info, 10));
		close(fd);
	}
}

TEST_F(signal, settings_are_those_of_fcntl)
{
	int fd = do_fd(self->dev, self->word, variant->scope, SIGRTMIN + 1);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(getpid(), fcntl(fd, F_GETOWN));
	EXPECT_EQ(SIGRTMIN + 1, fcntl(fd, F_GETSIG));
	EXPECT_TRUE(fcntl(fd, F_GETFL) & O_ASYNC);
	close(fd);
	fd = do_fd(self->dev, self->word, variant->scope, 0);
	EXPECT_EQ(0, fcntl(fd, F_GETOWN));
	EXPECT_FALSE(fcntl(fd, F_GETFL) & O_ASYNC);
	close(fd);
}

TEST_F(signal, no_signal_no_signal)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);
	siginfo_t info;

	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(-1, next_signal(&self->set, &info, 20));
	close(fd);
}

TEST_F(signal, fcntl_arms_it_later)
{
	int fd = do_fd(self->dev, self->word, variant->scope, 0);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, fcntl(fd, F_SETOWN, getpid()));
	ASSERT_EQ(0, fcntl(fd, F_SETSIG, SIGRTMIN + 2));
	ASSERT_EQ(0, fcntl(fd, F_SETFL, O_ASYNC));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	check(_metadata, &self->set, SIGRTMIN + 2, fd);
	close(fd);
}

TEST_F(signal, fcntl_takes_it_away)
{
	int fd = do_fd(self->dev, self->word, variant->scope, SIGRTMIN);
	siginfo_t info;

	ASSERT_EQ(0, fcntl(fd, F_SETFL, 0));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	EXPECT_EQ(-1, next_signal(&self->set, &info, 20));
	close(fd);
}

TEST_F(signal, bad_numbers_are_EINVAL)
{
	int bad[] = { -1, 65, 1 << 30, INT32_MIN };

	for (int i = 0; i < 4; i++) {
		EXPECT_EQ(-1, do_fd(self->dev, self->word, variant->scope, bad[i]));
		EXPECT_EQ(EINVAL, errno);
	}
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(0, counter("fds"));
}

/* The owner is the process, whichever of its threads armed. */
static void *arm_in_thread(void *arg)
{
	struct sleeper *s = arg;

	s->ret = do_fd(s->dev, s->word, s->scope, SIGRTMIN);
	return NULL;
}

TEST_F(signal, owner_is_the_process_not_the_thread)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };

	ASSERT_EQ(0, pthread_create(&s.thread, NULL, arm_in_thread, &s));
	pthread_join(s.thread, NULL);
	ASSERT_GE(s.ret, 0);
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	check(_metadata, &self->set, SIGRTMIN, s.ret);
	close(s.ret);
}

struct racer {
	int dev, scope;
	word_t *word;
	_Atomic int round, woken;
	int last;
};

static void *wake_each_round(void *arg)
{
	struct racer *r = arg;

	for (int i = 1; i <= r->last; i++) {
		while (r->round < i)
			;
		/* Wakes as soon as there is a waiter. */
		while (do_wake(r->dev, r->word, r->scope, 1) != 1)
			;
		r->woken = i;
	}
	return NULL;
}

/*
 * A waker that hits the descriptor as soon as it is queued, ten thousand times: the
 * owner and the signal were set before, so no wake comes unsignalled.
 */
TEST_F_TIMEOUT(signal, wake_races_arming, 600)
{
	struct racer r = {
		.dev = self->dev, .scope = variant->scope, .word = self->word,
		.last = rounds(10000),
	};
	pthread_t thread;
	siginfo_t info;
	int fd;

	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_each_round, &r));
	for (int i = 1; i <= r.last; i++) {
		r.round = i;
		fd = do_fd(self->dev, self->word, variant->scope, SIGRTMIN);
		ASSERT_GE(fd, 0);
		ASSERT_EQ(SIGRTMIN, next_signal(&self->set, &info, 10000));
		ASSERT_EQ(fd, info.si_fd);
		ASSERT_EQ(POLL_IN, info.si_code);
		ASSERT_EQ(READABLE, poll_ms(fd, 0));
		close(fd);
		while (r.woken < i)
			;
	}
	pthread_join(thread, NULL);
	EXPECT_EQ(-1, next_signal(&self->set, &info, 10));
}

/* Wakers in other processes. */
FIXTURE(stranger)
{
	int dev, file;
	word_t *word;
	sigset_t set;
};

FIXTURE_SETUP(stranger)
{
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = memory_map(MEMFD, &self->file);
	ASSERT_TRUE(self->word != NULL);
	sigemptyset(&self->set);
	sigaddset(&self->set, SIGRTMIN);
	sigprocmask(SIG_BLOCK, &self->set, NULL);
}

FIXTURE_TEARDOWN(stranger)
{
	close(self->dev);
	EXPECT_IDLE();
}

/* The waker needs no permission to signal the owner. */
TEST_F(stranger, waker_needs_no_right_to_signal)
{
	int fd;
	pid_t pid;

	fd = do_fd(self->dev, self->word, SHARED, SIGRTMIN);
	pid = fork();
	if (!pid) {
		if (setresuid(12345, 12345, 12345))
			_exit(99);
		_exit(do_wake(self->dev, self->word, SHARED, 1));
	}
	EXPECT_EQ(1, child_status(pid));
	check(_metadata, &self->set, SIGRTMIN, fd);
	close(fd);
}

/* The owner is gone and the descriptor lives on elsewhere: no signal is sent. */
TEST_F(stranger, owner_that_is_gone)
{
	int fd, pipe_fds[2];
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	if (!pid) {
		fd = do_fd(self->dev, self->word, SHARED, SIGRTMIN);
		if (fork() == 0) {
			close(pipe_fds[0]);
			_exit(poll_ms(fd, 10000) == READABLE &&
			      write(pipe_fds[1], "x", 1) == 1 ? 0 : 1);
		}
		_exit(fd < 0);
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(pipe_fds[1]);
	EXPECT_EQ(1, read(pipe_fds[0], &c, 1));
	close(pipe_fds[0]);
}

TEST_HARNESS_MAIN
