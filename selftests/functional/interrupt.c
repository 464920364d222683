// SPDX-License-Identifier: GPL-2.0
/*
 * Sleeps that are interrupted though no handler runs: by a tracer, the cgroup freezer, a stop or
 * task work of io_uring. They go on to the deadline that they began with.
 */
#include <linux/io_uring.h>
#include <sys/eventfd.h>
#include <sys/mount.h>
#include <sys/ptrace.h>

#include "set.h"

/* How often a sleeper is interrupted before it is woken or given up on. */
#define TIMES	20
/* Its timeout. A sleep that began anew at each interruption would not end between two of them. */
#define TIMEOUT_MS	500

/* What a sleeper and the test share. */
struct shared {
	word_t word, other;
	int dev, watch, set, poke;
	uint64_t timeout_ns;
	struct afutex_set_wait wait;
	_Atomic int sleeping, done;
	int ret, err;
	int64_t slept;
};

static struct timespec64 from_now(int clock, uint64_t ns)
{
	struct timespec ts;

	clock_gettime(clock, &ts);
	ns += ts.tv_sec * 1000000000ULL + ts.tv_nsec;
	return (struct timespec64) { ns / 1000000000, ns % 1000000000 };
}

static int sleep_relative(struct shared *s)
{
	struct timespec64 ts = { s->timeout_ns / 1000000000, s->timeout_ns % 1000000000 };

	return afutex_call(s->dev, &s->word, FUTEX_WAIT, 0, &ts);
}

static int sleep_relative_private(struct shared *s)
{
	struct timespec64 ts = { s->timeout_ns / 1000000000, s->timeout_ns % 1000000000 };

	return afutex_call(s->dev, &s->word, FUTEX_WAIT | PRIVATE, 0, &ts);
}

static int sleep_bitset(struct shared *s, int clock, int flag)
{
	struct timespec64 ts = from_now(clock, s->timeout_ns);
	struct afutex_call call = {
		.uaddr = addr_of(&s->word), .op = FUTEX_WAIT_BITSET | flag, .val3 = ~0u,
		.timeout = addr_of(&ts),
	};

	return ioctl(s->dev, AFUTEX_IOC_CALL, &call);
}

static int sleep_monotonic(struct shared *s)
{
	return sleep_bitset(s, CLOCK_MONOTONIC, 0);
}

static int sleep_realtime(struct shared *s)
{
	return sleep_bitset(s, CLOCK_REALTIME, FUTEX_CLOCK_REALTIME);
}

static int sleep_wait(struct shared *s)
{
	struct timespec64 ts = from_now(CLOCK_MONOTONIC, s->timeout_ns);
	struct afutex_wait wait = {
		.uaddr = addr_of(&s->word), .mask = ~0u, .flags = FUTEX2_SIZE_U32,
		.clockid = CLOCK_MONOTONIC, .timeout = addr_of(&ts),
	};

	return ioctl(s->dev, AFUTEX_IOC_WAIT, &wait);
}

static int sleep_waitv(struct shared *s)
{
	struct timespec64 ts = from_now(CLOCK_MONOTONIC, s->timeout_ns);
	struct futex_waitv words[2] = {
		{ .uaddr = addr_of(&s->word), .flags = FUTEX2_SIZE_U32 },
		{ .uaddr = addr_of(&s->other), .flags = FUTEX2_SIZE_U32 },
	};
	struct afutex_waitv waitv = {
		.waiters = addr_of(words), .nr = 2, .clockid = CLOCK_MONOTONIC,
		.timeout = addr_of(&ts),
	};

	return ioctl(s->dev, AFUTEX_IOC_WAITV, &waitv);
}

static int sleep_set_wait(struct shared *s)
{
	struct timespec64 ts = from_now(CLOCK_MONOTONIC, s->timeout_ns);
	struct afutex_event event;

	s->wait = (struct afutex_set_wait) {
		.nr_events = 1, .events = addr_of(&event), .timeout = addr_of(&ts),
		.clockid = CLOCK_MONOTONIC,
	};
	return ioctl(s->set, AFUTEX_IOC_SET_WAIT, &s->wait);
}

static int sleep_set_wait_items(struct shared *s)
{
	struct timespec64 ts = from_now(CLOCK_MONOTONIC, s->timeout_ns);
	struct afutex_event event;
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(&s->other), .mask = ~0u, .flags = FUTEX2_SIZE_U32 },
	};

	s->wait = (struct afutex_set_wait) {
		.items = addr_of(&item), .nr_items = 1,
		.nr_events = 1, .events = addr_of(&event), .timeout = addr_of(&ts),
		.clockid = CLOCK_MONOTONIC,
	};
	return ioctl(s->set, AFUTEX_IOC_SET_WAIT, &s->wait);
}

/* Reads have no deadline: they end when they are woken. */
static int sleep_read_watch(struct shared *s)
{
	uint64_t wakes;

	return read(s->watch, &wakes, sizeof(wakes));
}

static int sleep_read_set(struct shared *s)
{
	struct afutex_event event;

	return read(s->set, &event, sizeof(event));
}

static int sleep_forever(struct shared *s)
{
	return afutex_call(s->dev, &s->word, FUTEX_WAIT, 0, NULL);
}

static int set_up_nothing(struct shared *s, pid_t pid)
{
	return 0;
}

/* Waits until a child stops, or has ended: its status is left for child_status(). */
static int child_stops(pid_t pid)
{
	siginfo_t info;

	if (waitid(P_PID, pid, &info, WSTOPPED | WEXITED | WNOWAIT))
		return -1;
	return info.si_code != CLD_STOPPED && info.si_code != CLD_TRAPPED;
}

static int attach_and_detach(struct shared *s, pid_t pid)
{
	if (ptrace(PTRACE_SEIZE, pid, 0, 0) || ptrace(PTRACE_INTERRUPT, pid, 0, 0))
		return -1;
	return child_stops(pid) || ptrace(PTRACE_DETACH, pid, 0, 0);
}

static int stop_and_continue(struct shared *s, pid_t pid)
{
	return kill(pid, SIGSTOP) || child_stops(pid) || kill(pid, SIGCONT);
}

#define CGROUP	"/tmp/afutex-cgroup"

static int freeze_set_up(struct shared *s, pid_t pid)
{
	char text[16];

	mkdir(CGROUP, 0755);
	if (mount("none", CGROUP, "cgroup2", 0, NULL) && errno != EBUSY)
		return -1;
	mkdir(CGROUP "/frozen", 0755);
	snprintf(text, sizeof(text), "%d", pid);
	write_string(CGROUP "/frozen/cgroup.procs", text);
	return access(CGROUP "/frozen/cgroup.freeze", F_OK);
}

static bool is_frozen(void)
{
	char text[64] = "";
	int fd = open(CGROUP "/frozen/cgroup.events", O_RDONLY | O_CLOEXEC);
	ssize_t len = read(fd, text, sizeof(text) - 1);

	close(fd);
	return len > 0 && strstr(text, "frozen 1");
}

static int freeze(void)
{
	write_string(CGROUP "/frozen/cgroup.freeze", "1");
	return !eventually(is_frozen());
}

static int thaw(void)
{
	write_string(CGROUP "/frozen/cgroup.freeze", "0");
	return !eventually(!is_frozen());
}

static int freeze_and_thaw(struct shared *s, pid_t pid)
{
	return freeze() || thaw();
}

/* An io_uring of the sleeper's, which polls an eventfd for ever. */
static struct io_uring_params params;
static char *ring, *sqes;

static int ring_poll(int ring_fd, int fd)
{
	unsigned int *tail = (unsigned int *)(ring + params.sq_off.tail);
	unsigned int *array = (unsigned int *)(ring + params.sq_off.array);
	unsigned int at = *tail & *(unsigned int *)(ring + params.sq_off.ring_mask);
	struct io_uring_sqe *sqe = (struct io_uring_sqe *)sqes + at;

	memset(sqe, 0, sizeof(*sqe));
	sqe->opcode = IORING_OP_POLL_ADD;
	sqe->fd = fd;
	sqe->poll32_events = POLLIN;
	sqe->len = IORING_POLL_ADD_MULTI;
	array[at] = at;
	__atomic_store_n(tail, *tail + 1, __ATOMIC_RELEASE);
	return syscall(SYS_io_uring_enter, ring_fd, 1, 0, 0, NULL, 0) != 1;
}

static int ring_in_sleeper(struct shared *s)
{
	int fd = syscall(SYS_io_uring_setup, 64, &params);
	size_t size;

	if (fd < 0)
		return -1;
	size = params.sq_off.array + params.sq_entries * sizeof(unsigned int);
	ring = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_POPULATE, fd,
		    IORING_OFF_SQ_RING);
	sqes = mmap(NULL, params.sq_entries * sizeof(struct io_uring_sqe), PROT_READ | PROT_WRITE,
		    MAP_SHARED | MAP_POPULATE, fd, IORING_OFF_SQES);
	if (ring == MAP_FAILED || sqes == MAP_FAILED)
		return -1;
	return ring_poll(fd, s->poke);
}

/* The poll's completion is task work of the sleeper's. */
static int poke(struct shared *s, pid_t pid)
{
	uint64_t one = 1;

	return write(s->poke, &one, sizeof(one)) != sizeof(one);
}

/* In a child, for that is what can be traced, stopped and frozen. */
static void sleeper(struct shared *s, int (*sleep)(struct shared *s),
		    int (*prepare)(struct shared *s))
{
	int64_t start;

	if (prepare && prepare(s))
		_exit(1);
	start = now_ns();
	s->sleeping = 1;
	s->ret = sleep(s);
	s->err = s->ret < 0 ? errno : 0;
	s->slept = now_ns() - start;
	s->done = 1;
	_exit(0);
}

FIXTURE(interrupt)
{
	struct shared *s;
};

/* How a sleeper is interrupted: what is done before, outside of it and in it. */
struct how {
	int (*set_up)(struct shared *s, pid_t pid);
	int (*prepare)(struct shared *s);
	int (*interrupt)(struct shared *s, pid_t pid);
};

FIXTURE_VARIANT(interrupt)
{
	struct how how;
};

FIXTURE_VARIANT_ADD(interrupt, tracer) { { set_up_nothing, NULL, attach_and_detach } };
FIXTURE_VARIANT_ADD(interrupt, stop) { { set_up_nothing, NULL, stop_and_continue } };
FIXTURE_VARIANT_ADD(interrupt, freezer) { { freeze_set_up, NULL, freeze_and_thaw } };
FIXTURE_VARIANT_ADD(interrupt, task_work) { { set_up_nothing, ring_in_sleeper, poke } };

FIXTURE_SETUP(interrupt)
{
	struct afutex_open watch = {};
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				-1, 0);

	ASSERT_TRUE(s != MAP_FAILED);
	self->s = s;
	s->dev = afutex_open();
	ASSERT_GE(s->dev, 0);
	watch.watch = (struct afutex_watch) {
		.uaddr = addr_of(&s->word), .mask = ~0u,
		.flags = FUTEX2_SIZE_U32 | AFUTEX_PERSISTENT,
	};
	s->watch = ioctl(s->dev, AFUTEX_IOC_OPEN, &watch);
	ASSERT_GE(s->watch, 0);
	s->set = new_set(s->dev, O_CLOEXEC, 0);
	ASSERT_GE(s->set, 0);
	ASSERT_GE(add(s->set, &s->word, FUTEX2_SIZE_U32 | AFUTEX_PERSISTENT, 0, 0), 0);
	s->poke = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
	ASSERT_GE(s->poke, 0);
	s->timeout_ns = TIMEOUT_MS * 1000000ULL;
}

FIXTURE_TEARDOWN(interrupt)
{
	close(self->s->poke);
	close(self->s->set);
	close(self->s->watch);
	close(self->s->dev);
	munmap(self->s, 4096);
	rmdir(CGROUP "/frozen");
	EXPECT_IDLE();
}

static pid_t start(struct __test_metadata *_metadata, struct shared *s,
		   const struct how *how, int (*sleep)(struct shared *))
{
	pid_t pid;

	s->sleeping = s->done = 0;
	pid = fork();
	if (!pid)
		sleeper(s, sleep, how->prepare);
	EXPECT_TRUE(eventually(s->done || (s->sleeping && task_state(pid) == 'S')));
	EXPECT_EQ(0, how->set_up(s, pid));
	return pid;
}

/*
 * Interrupts a sleep that has a deadline until it ends, and until no earlier than that. Returns how
 * often it began.
 */
static int check_deadline(struct __test_metadata *_metadata, struct shared *s,
			  const struct how *how, int (*sleep)(struct shared *))
{
	int times, sleeps = 1;

	/* On a slow machine it may end before it was interrupted a few times. */
	for (s->timeout_ns = TIMEOUT_MS * 1000000ULL;; s->timeout_ns *= 4, sleeps++) {
		pid_t pid = start(_metadata, s, how, sleep);

		for (times = 0; times < 10 * TIMES && !s->done;) {
			/* There is nobody to interrupt where the sleeper is gone. */
			if (!how->interrupt(s, pid))
				times++;
			sleep_ms(s->timeout_ns / 10000000);
		}
		EXPECT_EQ(0, child_status(pid));
		if (times > 2 || s->timeout_ns > 60000000000ULL)
			break;
	}
	EXPECT_GT(times, 2);
	EXPECT_LT(times, 10 * TIMES);
	EXPECT_EQ(-1, s->ret);
	EXPECT_EQ(ETIMEDOUT, s->err);
	EXPECT_GE(s->slept, (int64_t)s->timeout_ns);
	return sleeps;
}

#define GOES_ON_TO_ITS_DEADLINE(name)					\
	TEST_F_TIMEOUT(interrupt, name##_goes_on_to_its_deadline, 300)	\
	{								\
		check_deadline(_metadata, self->s, &variant->how, sleep_##name); \
	}

GOES_ON_TO_ITS_DEADLINE(relative)
GOES_ON_TO_ITS_DEADLINE(relative_private)
GOES_ON_TO_ITS_DEADLINE(monotonic)
GOES_ON_TO_ITS_DEADLINE(realtime)
GOES_ON_TO_ITS_DEADLINE(wait)
GOES_ON_TO_ITS_DEADLINE(waitv)
GOES_ON_TO_ITS_DEADLINE(set_wait)

/* Its items are gone through once, however often it is restarted. */
TEST_F_TIMEOUT(interrupt, set_wait_with_items_goes_on_to_its_deadline, 300)
{
	long before = counter("queued");
	int sleeps = check_deadline(_metadata, self->s, &variant->how, sleep_set_wait_items);

	EXPECT_EQ(before + sleeps, counter("queued"));
	EXPECT_EQ(0, self->s->wait.nr_items);
	EXPECT_EQ(1, self->s->wait.nr_events);
}

/* A sleep without a deadline, interrupted and then woken. */
static void check_wake(struct __test_metadata *_metadata, struct shared *s,
		       const struct how *how, int (*sleep)(struct shared *),
		       int ret)
{
	pid_t pid = start(_metadata, s, how, sleep);

	for (int i = 0; i < TIMES; i++) {
		EXPECT_EQ(0, how->interrupt(s, pid));
		EXPECT_TRUE(eventually(s->done || task_state(pid) == 'S'));
		EXPECT_FALSE(s->done);
	}
	/* It may be on its way from one sleep to the next. */
	EXPECT_TRUE(eventually((do_wake(s->dev, &s->word, SHARED, INT32_MAX), s->done)));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(ret, s->ret);
}

TEST_F_TIMEOUT(interrupt, wait_without_timeout_goes_on, 300)
{
	check_wake(_metadata, self->s, &variant->how, sleep_forever, 0);
}

TEST_F_TIMEOUT(interrupt, read_of_a_watch_goes_on, 300)
{
	check_wake(_metadata, self->s, &variant->how, sleep_read_watch, sizeof(uint64_t));
}

TEST_F_TIMEOUT(interrupt, read_of_a_set_goes_on, 300)
{
	check_wake(_metadata, self->s, &variant->how, sleep_read_set, sizeof(struct afutex_event));
}

/* A wake that comes after many interruptions finds the sleeper. */
TEST_F_TIMEOUT(interrupt, relative_wait_can_be_woken, 300)
{
	self->s->timeout_ns = 600 * 1000000000ULL;
	check_wake(_metadata, self->s, &variant->how, sleep_relative, 0);
}

/* With a handler they end, as documented. */
FIXTURE(handled)
{
	struct shared *s;
};

FIXTURE_SETUP(handled)
{
	struct shared *s = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				-1, 0);

	ASSERT_TRUE(s != MAP_FAILED);
	self->s = s;
	s->dev = afutex_open();
	ASSERT_GE(s->dev, 0);
	s->set = new_set(s->dev, O_CLOEXEC, 0);
	ASSERT_GE(s->set, 0);
	s->timeout_ns = 600 * 1000000000ULL;
}

FIXTURE_TEARDOWN(handled)
{
	close(self->s->set);
	close(self->s->dev);
	munmap(self->s, 4096);
	rmdir(CGROUP "/frozen");
	EXPECT_IDLE();
}

static void on_signal(int sig)
{
}

static int handle_signals(struct shared *s)
{
	struct sigaction sa = { .sa_handler = on_signal };

	return sigaction(SIGUSR1, &sa, NULL);
}

static pid_t start_handled(struct shared *s, int (*sleep)(struct shared *))
{
	pid_t pid;

	s->sleeping = s->done = 0;
	pid = fork();
	if (!pid)
		sleeper(s, sleep, handle_signals);
	return eventually(s->sleeping && task_state(pid) == 'S') ? pid : -1;
}

TEST_F(handled, handler_ends_each_sleep)
{
	int (*sleeps[])(struct shared *) = {
		sleep_relative, sleep_monotonic, sleep_realtime, sleep_wait, sleep_waitv,
		sleep_set_wait, sleep_set_wait_items,
	};

	for (int i = 0; i < ARRAY_SIZE(sleeps); i++) {
		pid_t pid = start_handled(self->s, sleeps[i]);

		ASSERT_GT(pid, 0);
		kill(pid, SIGUSR1);
		EXPECT_EQ(0, child_status(pid));
		EXPECT_EQ(-1, self->s->ret);
		EXPECT_EQ(EINTR, self->s->err);
	}
	EXPECT_EQ(0, self->s->wait.nr_items);
}

static int sleep_set_wait_unwritable(struct shared *s)
{
	struct timespec64 ts = from_now(CLOCK_MONOTONIC, s->timeout_ns);
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(&s->other), .mask = ~0u, .flags = FUTEX2_SIZE_U32 },
	};
	struct afutex_set_wait *wait = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
					    MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct afutex_event event;

	*wait = (struct afutex_set_wait) {
		.items = addr_of(&item), .nr_items = 1,
		.nr_events = 1, .events = addr_of(&event), .timeout = addr_of(&ts),
		.clockid = CLOCK_MONOTONIC,
	};
	if (mprotect(wait, 4096, PROT_READ))
		return 0;
	return ioctl(s->set, AFUTEX_IOC_SET_WAIT, wait);
}

/* Its items cannot be taken back: it ends rather than add them again. */
TEST_F(handled, set_wait_that_cannot_be_written_ends)
{
	pid_t pid = start_handled(self->s, sleep_set_wait_unwritable);

	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, stop_and_continue(self->s, pid));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(-1, self->s->ret);
	EXPECT_EQ(EINTR, self->s->err);
	EXPECT_EQ(1, counter("queued"));
}

/* After a handler has ended it, the next wait is one of its own, and lasts as long as it is to. */
static int sleep_again(struct shared *s)
{
	int64_t start;

	if (sleep_relative(s) != -1 || errno != EINTR)
		return 0;
	s->timeout_ns = 300 * 1000000ULL;
	start = now_ns();
	s->other = 1;
	if (sleep_relative(s) != -1 || errno != ETIMEDOUT)
		return 1;
	return now_ns() - start >= (int64_t)s->timeout_ns ? 2 : 3;
}

/* The handler becomes pending when the sleep was interrupted already, and left to be restarted. */
TEST_F(handled, handler_that_comes_while_frozen_ends_a_relative_wait)
{
	struct shared *s = self->s;
	pid_t pid = start_handled(s, sleep_again);

	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, freeze_set_up(s, pid));
	ASSERT_EQ(0, freeze());
	kill(pid, SIGUSR1);
	ASSERT_EQ(0, thaw());
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(1, s->other);
	EXPECT_EQ(2, s->ret);
}

#define THREADS	140
#define THREADS_MS	3000

static void *wait_in_thread(void *arg)
{
	struct shared *s = arg;
	int64_t start = now_ns();
	int ret = do_wait_ms(s->dev, &s->word, SHARED, 0, THREADS_MS);

	if (ret != -1 || errno != ETIMEDOUT || now_ns() - start < THREADS_MS * 1000000LL)
		return s;
	return NULL;
}

static int sleep_in_threads(struct shared *s)
{
	pthread_t threads[THREADS];
	void *bad;
	int ret = 0;

	for (int i = 0; i < THREADS; i++)
		if (pthread_create(&threads[i], NULL, wait_in_thread, s))
			return -1;
	for (int i = 0; i < THREADS; i++) {
		pthread_join(threads[i], &bad);
		ret += bad != NULL;
	}
	return ret;
}

/* More than are remembered at once: none ends early, or with an error. */
TEST_F_TIMEOUT(handled, many_relative_waits_go_on, 300)
{
	struct shared *s = self->s;
	pid_t pid;

	if (rounds(100) < 100)
		SKIP(return, "on a slow kernel the first has ended when the last begins");
	pid = start_handled(s, sleep_in_threads);
	ASSERT_GT(pid, 0);
	ASSERT_EQ(0, freeze_set_up(s, pid));
	EXPECT_TRUE(eventually(s->done || counter("queued") == THREADS));
	for (int i = 0; i < 3; i++) {
		EXPECT_EQ(0, freeze());
		EXPECT_EQ(0, thaw());
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(0, s->ret);
}

TEST_HARNESS_MAIN
