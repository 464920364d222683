/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the tests of afutex share: the calls, the module's counters, helpers that
 * wait for another thread to reach a state, and kselftest_harness.h.
 */
#ifndef AFUTEX_TEST_H
#define AFUTEX_TEST_H

#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/afutex.h>

#include "kselftest_harness.h"

/* For a test that hangs, not for one on a busy machine. */
#undef TEST_TIMEOUT_DEFAULT
#define TEST_TIMEOUT_DEFAULT	120

#define PRIVATE	FUTEX_PRIVATE_FLAG
#define SHARED	0

typedef _Atomic uint32_t word_t;

/* struct __kernel_timespec, which is 64-bit for 32-bit callers too. */
struct timespec64 {
	int64_t tv_sec;
	int64_t tv_nsec;
};

static inline uint64_t addr_of(const volatile void *p)
{
	return (uintptr_t)p;
}

static inline int afutex_open(void)
{
	return open("/dev/afutex", O_RDWR | O_CLOEXEC);
}

static inline int afutex_call(int dev, const volatile void *uaddr, unsigned int op,
			      uint32_t val, const void *timeout)
{
	struct afutex_call call = {
		.uaddr = addr_of(uaddr),
		.op = op,
		.val = val,
		.timeout = addr_of(timeout),
	};

	return ioctl(dev, AFUTEX_IOC_CALL, &call);
}

static inline int do_wait(int dev, word_t *word, int scope, uint32_t val)
{
	return afutex_call(dev, word, FUTEX_WAIT | scope, val, NULL);
}

static inline int do_wait_ms(int dev, word_t *word, int scope, uint32_t val, int ms)
{
	struct timespec64 ts = { ms / 1000, ms % 1000 * 1000000L };

	return afutex_call(dev, word, FUTEX_WAIT | scope, val, &ts);
}

static inline int do_wake(int dev, word_t *word, int scope, int count)
{
	return afutex_call(dev, word, FUTEX_WAKE | scope, count, NULL);
}

static inline int do_fd(int dev, word_t *word, int scope, int sig)
{
	return afutex_call(dev, word, FUTEX_FD | scope, sig, NULL);
}

/* What poll(2) reports for one descriptor, within ms milliseconds. */
static inline int poll_ms(int fd, int ms)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN | POLLRDNORM | POLLOUT | POLLPRI };
	int ret = poll(&pfd, 1, ms);

	return ret < 0 ? -errno : ret ? pfd.revents : 0;
}

#define READABLE	(POLLIN | POLLRDNORM)

/* A counter of the module, in /sys/kernel/debug/afutex. */
static inline long counter(const char *name)
{
	char path[64], buf[32] = "";
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/debug/afutex/%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, buf, sizeof(buf) - 1) <= 0)
		return -1;
	close(fd);
	return atol(buf);
}

static inline void sleep_ms(int ms)
{
	struct timespec ts = { ms / 1000, ms % 1000 * 1000000L };

	while (nanosleep(&ts, &ts) && errno == EINTR)
		;
}

static inline int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Waits until a condition holds, for ten seconds at most; whether it does. */
#define eventually(cond) ({						\
	int64_t __end = now_ns() + 10000000000LL;			\
	bool __ok;							\
	while (!(__ok = (cond)) && now_ns() < __end)			\
		sleep_ms(1);						\
	__ok; })

/* Waits until a counter has that value. */
static inline bool counter_becomes(const char *name, long value)
{
	return eventually(counter(name) == value);
}

/*
 * Expects that nothing is queued, counted or pinned any more. Files are released a
 * moment after their last close.
 */
#define EXPECT_IDLE() do {						\
	EXPECT_TRUE(counter_becomes("queued", 0));			\
	EXPECT_TRUE(counter_becomes("keys", 0));			\
	EXPECT_TRUE(counter_becomes("waiters", 0));			\
	EXPECT_TRUE(counter_becomes("shared", 0));			\
	EXPECT_TRUE(counter_becomes("pinned", 0));			\
	EXPECT_TRUE(counter_becomes("fds", 0));				\
} while (0)

/* Asserts that a result is one of two, and prints it if it is neither. */
#define ASSERT_EITHER(one, other, seen) do {				\
	long __got = (seen);						\
	ASSERT_TRUE(__got == (one) || __got == (other)) {		\
		TH_LOG("%s is %ld, neither %s nor %s", #seen, __got,	\
		       #one, #other);					\
	}								\
} while (0)

/* The state letter of a task: /proc/TID/stat. */
static inline char task_state(pid_t tid)
{
	char path[64], buf[512], *p;
	int fd, len;

	snprintf(path, sizeof(path), "/proc/%d/stat", tid);
	fd = open(path, O_RDONLY);
	if (fd < 0)
		return 0;
	len = read(fd, buf, sizeof(buf) - 1);
	close(fd);
	if (len <= 0)
		return 0;
	buf[len] = 0;
	p = strrchr(buf, ')');
	return p ? p[2] : 0;
}

/* How often a test repeats something: n times, or fewer on a slow kernel. */
static inline int rounds(int n)
{
	const char *slow = getenv("AFUTEX_SLOW");
	int by = slow ? atoi(slow) : 1;

	return n / (by > 0 ? by : 1) + 1;
}

/* As often as n, or more where there is time for it: "make check-all". */
static inline int thorough(int n)
{
	const char *times = getenv("AFUTEX_THOROUGH");

	return times && atoi(times) > 1 ? n * atoi(times) : n;
}

/* Whether everything takes far longer. */
static inline bool is_slow(void)
{
	return rounds(2) < 3;
}

/* main() of a test whose variants in that list, which ends with NULL, are too dear there. */
static inline int run_but(int argc, char **argv, const char * const *dear)
{
	char *args[64] = { argv[0] };
	int n = 1;

	if (!is_slow() || argc > 1)
		return test_harness_run(argc, argv);
	for (; *dear && n < 62; dear++) {
		args[n++] = "-V";
		args[n++] = (char *)*dear;
	}
	return test_harness_run(n, args);
}

/* A thread that waits once, and the result of the wait. */
struct sleeper {
	int dev, scope, ms;
	word_t *word;
	uint32_t val;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	int ret, err;
	/* Its place in the order of waking, taken from *order. */
	_Atomic int *order;
	int place;
};

static inline void *sleeper_main(void *arg)
{
	struct sleeper *s = arg;

	s->tid = syscall(SYS_gettid);
	s->ret = s->ms ? do_wait_ms(s->dev, s->word, s->scope, s->val, s->ms) :
			 do_wait(s->dev, s->word, s->scope, s->val);
	s->err = s->ret < 0 ? errno : 0;
	if (s->order)
		s->place = atomic_fetch_add(s->order, 1);
	s->done = true;
	return NULL;
}

static inline int sleeper_start(struct sleeper *s)
{
	long before = counter("queued");

	s->done = false;
	s->tid = 0;
	if (pthread_create(&s->thread, NULL, sleeper_main, s))
		return -1;
	return eventually(counter("queued") > before || s->done) ? 0 : -1;
}

static inline void sleeper_join(struct sleeper *s)
{
	pthread_join(s->thread, NULL);
}

/* A wake from another thread, after a while. */
struct delayed {
	int dev, scope;
	word_t *word;
};

static inline void *wake_later(void *arg)
{
	struct delayed *d = arg;

	sleep_ms(30);
	return (void *)(long)do_wake(d->dev, d->word, d->scope, 1);
}

/* Wakes one on the fixture's word from another thread while this one waits in expr. */
#define WHILE_WAITING(expr) do {						\
	struct delayed d = { self->dev, variant->scope, self->word };		\
	pthread_t thread;							\
	void *ret;								\
	ASSERT_EQ(0, pthread_create(&thread, NULL, wake_later, &d));		\
	expr;									\
	pthread_join(thread, &ret);						\
	EXPECT_EQ(1, (long)ret);						\
} while (0)

/* The exit status of a child, or 128 and the signal that killed it; -1 on error. */
static inline int child_status(pid_t pid)
{
	int status;

	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

struct signaller {
	pthread_t thread;
	_Atomic bool stop;
};

static inline void ignore_signal(int sig)
{
}

/* A signal that comes before the wait has begun ends nothing: there are more. */
static inline void *signal_until_stopped(void *arg)
{
	struct signaller *s = arg;

	while (!s->stop) {
		sleep_ms(20);
		pthread_kill(s->thread, SIGUSR1);
	}
	return NULL;
}

/* Runs expr, which is to be interrupted, while signals are sent to this thread. */
#define WHILE_SIGNALLED(expr) do {						\
	struct signaller s = { pthread_self() };				\
	struct sigaction sa = { .sa_handler = ignore_signal };			\
	pthread_t thread;							\
	sigaction(SIGUSR1, &sa, NULL);						\
	ASSERT_EQ(0, pthread_create(&thread, NULL, signal_until_stopped, &s));	\
	expr;									\
	s.stop = true;								\
	pthread_join(thread, NULL);						\
} while (0)

#endif /* AFUTEX_TEST_H */
