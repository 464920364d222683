// SPDX-License-Identifier: GPL-2.0
/* FUTEX_WAIT: when it sleeps, and what ends the sleep. */
#include <sys/mount.h>

#include "word_fixture.h"

WORD_FIXTURE(wait);
WORD_VARIANTS(wait);

FIXTURE_SETUP(wait)
{
	WORD_SETUP();
}

FIXTURE_TEARDOWN(wait)
{
	WORD_TEARDOWN();
}

TEST_F(wait, differing_value_is_EAGAIN)
{
	*self->word = 1;
	EXPECT_EQ(-1, do_wait(self->dev, self->word, variant->scope, 0));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(0, counter("pinned"));
}

TEST_F(wait, timeout_is_ETIMEDOUT_and_not_early)
{
	int64_t start = now_ns();

	EXPECT_EQ(-1, do_wait_ms(self->dev, self->word, variant->scope, 0, 50));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_GE(now_ns() - start, 50000000);
	EXPECT_EQ(0, counter("queued"));
}

TEST_F(wait, zero_timeout_is_ETIMEDOUT_at_once)
{
	struct timespec64 zero = { 0, 0 };

	EXPECT_EQ(-1, afutex_call(self->dev, self->word, FUTEX_WAIT | variant->scope, 0, &zero));
	EXPECT_EQ(ETIMEDOUT, errno);
}

TEST_F(wait, wake_ends_the_sleep)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };

	ASSERT_EQ(0, sleeper_start(&s));
	EXPECT_EQ(1, counter("queued"));
	EXPECT_EQ(1, counter("keys"));
	EXPECT_EQ(variant->memory == MEMFD, counter("pinned"));
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
}

/* A timeout at the end of time does not overflow. */
TEST_F(wait, longest_timeout_sleeps)
{
	struct timespec64 forever = { INT64_MAX, 999999999 };
	pid_t pid = fork();

	if (!pid)
		_exit(afutex_call(self->dev, self->word, FUTEX_WAIT | variant->scope, 0,
				  &forever) ? errno : 0);
	ASSERT_TRUE(counter_becomes("queued", 1));
	sleep_ms(20);
	EXPECT_EQ(1, counter("queued"));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
}

TEST_F(wait, sleeper_is_in_state_S)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };

	ASSERT_EQ(0, sleeper_start(&s));
	EXPECT_TRUE(eventually(task_state(s.tid) == 'S'));
	do_wake(self->dev, self->word, variant->scope, 1);
	sleeper_join(&s);
}

static _Atomic int handled;

static void on_signal(int sig)
{
	handled++;
}

static void catch(int sig, int flags)
{
	struct sigaction sa = { .sa_handler = on_signal, .sa_flags = flags };

	sigaction(sig, &sa, NULL);
}

TEST_F(wait, signal_without_SA_RESTART_is_EINTR)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };

	catch(SIGUSR1, 0);
	ASSERT_EQ(0, sleeper_start(&s));
	pthread_kill(s.thread, SIGUSR1);
	sleeper_join(&s);
	EXPECT_EQ(-1, s.ret);
	EXPECT_EQ(EINTR, s.err);
}

TEST_F(wait, signal_with_SA_RESTART_restarts_a_wait_without_timeout)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };

	catch(SIGUSR1, SA_RESTART);
	ASSERT_EQ(0, sleeper_start(&s));
	pthread_kill(s.thread, SIGUSR1);
	ASSERT_TRUE(eventually(handled));
	/* The handler ran after it was off the queue: it is there again. */
	ASSERT_TRUE(counter_becomes("queued", 1));
	EXPECT_FALSE(s.done);
	EXPECT_EQ(1, do_wake(self->dev, self->word, variant->scope, 1));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
}

/* Also with SA_RESTART, as in futex(2). */
TEST_F(wait, handler_ends_a_wait_with_timeout)
{
	struct sleeper s = {
		.dev = self->dev, .scope = variant->scope, .word = self->word, .ms = 60000,
	};

	catch(SIGUSR1, SA_RESTART);
	ASSERT_EQ(0, sleeper_start(&s));
	pthread_kill(s.thread, SIGUSR1);
	sleeper_join(&s);
	EXPECT_EQ(-1, s.ret);
	EXPECT_EQ(EINTR, s.err);
}

TEST_F(wait, stopped_and_continued_sleeper_goes_on_waiting)
{
	struct sleeper s = { .dev = self->dev, .scope = variant->scope, .word = self->word };
	int pipe_fds[2], status;
	pid_t pid;
	char c;

	ASSERT_EQ(0, pipe(pipe_fds));
	pid = fork();
	if (!pid) {
		/* Private words can only be woken from within. */
		if (sleeper_start(&s) || read(pipe_fds[0], &c, 1) != 1 ||
		    do_wake(s.dev, s.word, s.scope, 1) != 1)
			_exit(1);
		sleeper_join(&s);
		_exit(s.ret ? s.err : 0);
	}
	ASSERT_TRUE(counter_becomes("queued", 1));
	for (int i = 0; i < 3; i++) {
		kill(pid, SIGSTOP);
		ASSERT_EQ(pid, waitpid(pid, &status, WUNTRACED));
		EXPECT_TRUE(WIFSTOPPED(status));
		kill(pid, SIGCONT);
		sleep_ms(10);
		EXPECT_TRUE(counter_becomes("queued", 1));
	}
	ASSERT_EQ(1, write(pipe_fds[1], "", 1));
	EXPECT_EQ(0, child_status(pid));
	close(pipe_fds[0]);
	close(pipe_fds[1]);
}

TEST_F(wait, killed_sleeper_leaves_nothing)
{
	pid_t pid = fork();

	if (!pid)
		_exit(do_wait(self->dev, self->word, variant->scope, 0) ? errno : 0);
	ASSERT_TRUE(counter_becomes("queued", 1));
	kill(pid, SIGKILL);
	EXPECT_EQ(128 + SIGKILL, child_status(pid));
	EXPECT_TRUE(counter_becomes("queued", 0));
	EXPECT_TRUE(counter_becomes("pinned", 0));
	EXPECT_EQ(0, do_wake(self->dev, self->word, variant->scope, INT32_MAX));
}

/* A cgroup that freezes does not wait for the sleeper to wake. */
TEST_F(wait, sleeper_can_be_frozen)
{
	char buf[512];
	pid_t pid;
	int fd, len;

	mkdir("/tmp/cgroup", 0700);
	if (mount("none", "/tmp/cgroup", "cgroup2", 0, NULL) && errno != EBUSY)
		SKIP(return, "no cgroup2 in this kernel");
	mkdir("/tmp/cgroup/frozen", 0700);
	pid = fork();
	if (!pid)
		_exit(do_wait(self->dev, self->word, variant->scope, 0) ? errno : 0);
	ASSERT_TRUE(counter_becomes("queued", 1));
	snprintf(buf, sizeof(buf), "%d", pid);
	write_string("/tmp/cgroup/frozen/cgroup.procs", buf);
	write_string("/tmp/cgroup/frozen/cgroup.freeze", "1");
	EXPECT_TRUE(eventually(({
		fd = open("/tmp/cgroup/frozen/cgroup.events", O_RDONLY);
		len = fd >= 0 ? read(fd, buf, sizeof(buf) - 1) : 0;
		close(fd);
		buf[len > 0 ? len : 0] = 0;
		!!strstr(buf, "frozen 1");
	})));
	write_string("/tmp/cgroup/frozen/cgroup.freeze", "0");
	kill(pid, SIGKILL);
	child_status(pid);
	EXPECT_TRUE(eventually(rmdir("/tmp/cgroup/frozen") == 0));
}

TEST_HARNESS_MAIN
