// SPDX-License-Identifier: GPL-2.0
/*
 * futex(2) and AFUTEX_IOC_CALL side by side: every case runs on both, and what
 * they return, and with which error, must be the same. The differences that there
 * are, and no others, are listed in Documentation/afutex.rst and at the end here.
 */
#include "memory.h"

/* Both take the arguments of futex(2). */
typedef long futex_fn(void *uaddr, int op, uint32_t val, uintptr_t timeout, void *uaddr2,
		      uint32_t val3);

static int dev;

static long kernels(void *uaddr, int op, uint32_t val, uintptr_t timeout, void *uaddr2,
		    uint32_t val3)
{
	return syscall(SYS_futex, uaddr, op, val, timeout, uaddr2, val3);
}

static long ours(void *uaddr, int op, uint32_t val, uintptr_t timeout, void *uaddr2,
		 uint32_t val3)
{
	struct afutex_call call = {
		.uaddr = addr_of(uaddr), .op = op, .val = val, .timeout = timeout,
		.uaddr2 = addr_of(uaddr2), .val3 = val3,
	};

	return ioctl(dev, AFUTEX_IOC_CALL, &call);
}

/* What a case did, as text: compared as a whole. */
static char log_text[2][65536];
static char *log_at;

static void note(const char *what, long value)
{
	log_at += sprintf(log_at, "%s=%ld ", what, value);
}

static void outcome(const char *what, long ret)
{
	log_at += sprintf(log_at, "%s=%ld/%s ", what, ret, ret < 0 ? strerrorname_np(errno) : "ok");
}

#define CALL(...)	outcome(#__VA_ARGS__, futex(__VA_ARGS__))

/* A thread that waits, and how it ended. */
struct waiter {
	futex_fn *futex;
	void *word;
	int op;
	uint32_t val, mask;
	uintptr_t timeout;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool done;
	long ret;
	int err;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->tid = syscall(SYS_gettid);
	w->ret = w->futex(w->word, w->op, w->val, w->timeout, NULL, w->mask);
	w->err = w->ret < 0 ? errno : 0;
	w->done = true;
	return NULL;
}

static void waiter_start(struct waiter *w)
{
	w->done = false;
	w->tid = 0;
	pthread_create(&w->thread, NULL, waiter_main, w);
	eventually(w->tid && (w->done || task_state(w->tid) == 'S'));
}

static void waiter_end(struct waiter *w, const char *name)
{
	pthread_join(w->thread, NULL);
	errno = w->err;
	outcome(name, w->ret);
}

#define N 6

static void start_all(struct waiter *w, futex_fn *futex, void *word, int op, uint32_t mask)
{
	for (int i = 0; i < N; i++) {
		w[i] = (struct waiter) { .futex = futex, .word = word, .op = op, .mask = mask };
		waiter_start(&w[i]);
	}
}

/* Notes which of them are done, once as many as expected are. */
static void note_done(struct waiter *w, int expected)
{
	long mask = 0;

	eventually(({
		int done = 0;

		for (int i = 0; i < N; i++)
			done += w[i].done;
		done >= expected;
	}));
	sleep_ms(5);
	for (int i = 0; i < N; i++)
		mask |= (long)w[i].done << i;
	note("done", mask);
}

static void end_all(struct waiter *w, futex_fn *futex, void *a, void *b, int scope)
{
	futex(a, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
	futex(b, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
	for (int i = 0; i < N; i++)
		waiter_end(&w[i], "end");
}

FIXTURE(same)
{
	int file;
	word_t *words;
	futex_fn *futex[2];
};

FIXTURE_VARIANT(same)
{
	int scope;
	enum memory memory;
};

FIXTURE_VARIANT_ADD(same, private) { PRIVATE, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(same, shared) { SHARED, ANON_PRIVATE };
FIXTURE_VARIANT_ADD(same, file) { SHARED, MEMFD };

FIXTURE_SETUP(same)
{
	dev = afutex_open();
	ASSERT_GE(dev, 0);
	self->words = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->words != NULL);
	self->futex[0] = kernels;
	self->futex[1] = ours;
}

FIXTURE_TEARDOWN(same)
{
	close(dev);
	EXPECT_IDLE();
}

/* Runs a block on both, on zeroed words, and compares what it noted. */
#define ON_BOTH(...) do {							\
	for (int __i = 0; __i < 2; __i++) {					\
		futex_fn *futex = self->futex[__i];				\
		uint32_t *a = (uint32_t *)self->words, *b = a + 64;		\
		int scope = variant->scope;					\
		(void)futex; (void)b; (void)scope;				\
		memset(a, 0, 4096);						\
		log_at = log_text[__i];						\
		log_at[0] = 0;							\
		__VA_ARGS__;							\
	}									\
	EXPECT_STREQ(log_text[0], log_text[1]);					\
	EXPECT_NE(0, log_text[0][0]);						\
} while (0)

static const int all_ops[] = {
	FUTEX_WAIT, FUTEX_WAKE, FUTEX_REQUEUE, FUTEX_CMP_REQUEUE, FUTEX_WAKE_OP,
	FUTEX_WAIT_BITSET, FUTEX_WAKE_BITSET,
};

#define N_OPS (sizeof(all_ops) / sizeof(all_ops[0]))

TEST_F(same, nobody_waits)
{
	ON_BOTH({
		*a = 1;
		CALL(a, FUTEX_WAIT | scope, 0, 0, NULL, 0);
		CALL(a, FUTEX_WAKE | scope, 1, 0, NULL, 0);
		CALL(a, FUTEX_WAKE | scope, 0, 0, NULL, 0);
		CALL(a, FUTEX_WAKE | scope, -1, 0, NULL, 0);
		CALL(a, FUTEX_REQUEUE | scope, 1, 1, b, 0);
		CALL(a, FUTEX_CMP_REQUEUE | scope, 1, 1, b, 1);
		CALL(a, FUTEX_CMP_REQUEUE | scope, 1, 1, b, 2);
		CALL(a, FUTEX_WAIT_BITSET | scope, 0, 0, NULL, 1);
		CALL(a, FUTEX_WAIT_BITSET | scope, 1, 0, NULL, 0);
		CALL(a, FUTEX_WAKE_BITSET | scope, 1, 0, NULL, 1);
		CALL(a, FUTEX_WAKE_BITSET | scope, 1, 0, NULL, 0);
	});
}

TEST_F(same, bad_addresses)
{
	char *hole = mmap(NULL, 4096, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ON_BOTH({
		for (size_t i = 0; i < N_OPS; i++) {
			int op = all_ops[i] | scope;

			/* A wake does not look up a page if no page has a waiter at that offset. */
			bool lazy = !scope && (all_ops[i] == FUTEX_WAKE ||
					       all_ops[i] == FUTEX_WAKE_BITSET);

			note("op", op);
			if (!lazy)
				CALL(NULL, op, 0, 0, b, 1);
			CALL((char *)a + 1, op, 0, 0, b, 1);
			CALL((char *)a + 2, op, 0, 0, b, 1);
			CALL((void *)-4096L, op, 0, 0, b, 1);
			if (all_ops[i] == FUTEX_WAKE_OP)
				continue;
			if (!lazy)
				CALL(hole, op, 0, 0, b, 1);
			CALL(a, op, 1, 0, (char *)b + 1, 1);
		}
		/* The word that is written. */
		CALL(a, FUTEX_WAKE_OP | scope, 1, 1, hole, 0);
		CALL(a, FUTEX_WAKE_OP | scope, 1, 1, NULL, 0);
		CALL(a, FUTEX_WAKE_OP | scope, 1, 1, (char *)b + 2, 0);
	});
}

TEST_F(same, negative_requeue_counts)
{
	ON_BOTH({
		CALL(a, FUTEX_REQUEUE | scope, -1, 1, b, 0);
		CALL(a, FUTEX_REQUEUE | scope, 1, -1, b, 0);
		CALL(a, FUTEX_CMP_REQUEUE | scope, INT32_MIN, 1, b, 0);
		CALL(a, FUTEX_CMP_REQUEUE | scope, 1, (uint32_t)INT32_MIN, b, 0);
		CALL(a, FUTEX_CMP_REQUEUE | scope, 0, 0, b, 0);
		CALL(a, FUTEX_CMP_REQUEUE | scope, INT32_MAX, INT32_MAX, b, 0);
	});
}

TEST_F(same, timeouts)
{
	struct timespec bad[] = { { -1, 0 }, { 0, -1 }, { 0, 1000000000 } };
	struct timespec zero = { 0, 0 }, some = { 0, 5000000 };

	ON_BOTH({
		for (int i = 0; i < 3; i++) {
			CALL(a, FUTEX_WAIT | scope, 0, (uintptr_t)&bad[i], NULL, 0);
			CALL(a, FUTEX_WAIT_BITSET | scope, 0, (uintptr_t)&bad[i], NULL, 1);
			/* Before the word and the mask are looked at. */
			CALL(a, FUTEX_WAIT_BITSET | scope, 1, (uintptr_t)&bad[i], NULL, 0);
		}
		CALL(a, FUTEX_WAIT | scope, 0, 8, NULL, 0);
		CALL(a, FUTEX_WAIT_BITSET | scope, 0, 8, NULL, 1);
		CALL(a, FUTEX_WAIT | scope, 0, (uintptr_t)&zero, NULL, 0);
		CALL(a, FUTEX_WAIT | scope, 0, (uintptr_t)&some, NULL, 0);
		/* In the past of either clock. */
		CALL(a, FUTEX_WAIT_BITSET | scope, 0, (uintptr_t)&some, NULL, 1);
		CALL(a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME | scope, 0, (uintptr_t)&some,
		     NULL, 1);
		CALL(a, FUTEX_WAIT | FUTEX_CLOCK_REALTIME | scope, 0, (uintptr_t)&some, NULL, 1);
		CALL(a, FUTEX_WAIT | FUTEX_CLOCK_REALTIME | scope, 0, (uintptr_t)&bad[0], NULL, 1);
	});
}

/* An absolute deadline in the future of either clock is waited for. */
TEST_F(same, absolute_deadlines)
{
	ON_BOTH({
		for (int i = 0; i < 2; i++) {
			clockid_t clock = i ? CLOCK_REALTIME : CLOCK_MONOTONIC;
			struct timespec until;
			struct timespec after;

			clock_gettime(clock, &until);
			until.tv_nsec += 20000000;
			until.tv_sec += until.tv_nsec / 1000000000;
			until.tv_nsec %= 1000000000;
			CALL(a, FUTEX_WAIT_BITSET | (i ? FUTEX_CLOCK_REALTIME : 0) | scope, 0,
			     (uintptr_t)&until, NULL, FUTEX_BITSET_MATCH_ANY);
			clock_gettime(clock, &after);
			note("late", after.tv_sec > until.tv_sec ||
			     (after.tv_sec == until.tv_sec && after.tv_nsec >= until.tv_nsec));
		}
	});
}

TEST_F(same, realtime_flag)
{
	ON_BOTH({
		for (size_t i = 0; i < N_OPS; i++) {
			if (all_ops[i] != FUTEX_WAIT_BITSET)
				CALL(a, all_ops[i] | FUTEX_CLOCK_REALTIME | scope, 1, 0, b, 0);
		}
		*a = 1;
		CALL(a, FUTEX_WAIT_BITSET | FUTEX_CLOCK_REALTIME | scope, 0, 0, NULL, 1);
	});
}

TEST_F(same, unknown_commands)
{
	ON_BOTH({
		for (int op = 14; op < 127; op++)
			CALL(a, op | scope, 0, 0, b, 0);
	});
}

TEST_F(same, wakes_in_order)
{
	struct waiter w[N];

	ON_BOTH({
		start_all(w, futex, a, FUTEX_WAIT | scope, 0);
		for (int i = 1; i <= 3; i++) {
			CALL(a, FUTEX_WAKE | scope, i == 3 ? 0 : i, 0, NULL, 0);
			note_done(w, i == 3 ? 4 : i == 2 ? 3 : 1);
		}
		end_all(w, futex, a, b, scope);
	});
}

TEST_F(same, bitsets)
{
	struct waiter w[N];

	ON_BOTH({
		for (int i = 0; i < N; i++) {
			w[i] = (struct waiter) {
				.futex = futex, .word = a, .op = FUTEX_WAIT_BITSET | scope,
				.mask = i == 5 ? FUTEX_BITSET_MATCH_ANY : 1u << i % 3,
			};
			waiter_start(&w[i]);
		}
		CALL(a, FUTEX_WAKE_BITSET | scope, 1, 0, NULL, 8);
		note_done(w, 1);
		CALL(a, FUTEX_WAKE_BITSET | scope, 1, 0, NULL, 8);
		CALL(a, FUTEX_WAKE_BITSET | scope, INT32_MAX, 0, NULL, 2);
		note_done(w, 3);
		CALL(a, FUTEX_WAKE_BITSET | scope, 1, 0, NULL, 5);
		note_done(w, 4);
		CALL(a, FUTEX_WAKE_BITSET | scope, 0, 0, NULL, 4);
		note_done(w, 5);
		end_all(w, futex, a, b, scope);
	});
}

TEST_F(same, requeues)
{
	static const struct { int wake, requeue; } cases[] = {
		{ 0, 0 }, { 1, 0 }, { 0, 1 }, { 1, 1 }, { 2, 3 }, { 1, INT32_MAX },
		{ INT32_MAX, 0 }, { INT32_MAX, INT32_MAX }, { 6, 1 }, { 0, 6 },
	};

	struct waiter w[N];

	for (int cmp = 0; cmp < 2; cmp++) {
		for (size_t c = 0; c < sizeof(cases) / sizeof(cases[0]); c++) {
			int wake = cases[c].wake, requeue = cases[c].requeue;
			int op = cmp ? FUTEX_CMP_REQUEUE : FUTEX_REQUEUE;

			ON_BOTH({
				start_all(w, futex, a, FUTEX_WAIT | scope, 0);
				CALL(a, FUTEX_CMP_REQUEUE | scope, 1, 1, b, 7);
				CALL(a, op | scope, wake, requeue, b, 0);
				note_done(w, wake < N ? wake : N);
				CALL(b, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
				CALL(a, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
				end_all(w, futex, a, b, scope);
			});
		}
	}
}

/* Plain requeue to the same word is legal, and counts each once. */
TEST_F(same, requeue_to_the_same_word)
{
	struct waiter w[N];

	ON_BOTH({
		start_all(w, futex, a, FUTEX_WAIT | scope, 0);
		CALL(a, FUTEX_REQUEUE | scope, 0, 3, a, 0);
		CALL(a, FUTEX_REQUEUE | scope, 1, INT32_MAX, a, 0);
		note_done(w, 1);
		CALL(a, FUTEX_WAKE | scope, 1, 0, NULL, 0);
		note_done(w, 2);
		end_all(w, futex, a, b, scope);
	});
}

/*
 * Waiters that are moved queue behind those of the target. They came in that order too:
 * futex(2) keeps the order of coming if both words happen to share a bucket.
 */
TEST_F(same, requeue_keeps_order)
{
	struct waiter w[N];

	ON_BOTH({
		for (int i = 0; i < N; i++) {
			w[i] = (struct waiter) {
				.futex = futex, .word = i < 3 ? b : a, .op = FUTEX_WAIT | scope,
			};
			waiter_start(&w[i]);
		}
		CALL(a, FUTEX_REQUEUE | scope, 0, 2, b, 0);
		for (int i = 1; i <= 5; i++) {
			CALL(b, FUTEX_WAKE | scope, 1, 0, NULL, 0);
			note_done(w, i);
		}
		end_all(w, futex, a, b, scope);
	});
}

TEST_F(same, wake_op_operations)
{
	static const uint32_t values[] = { 0, 1, 7, 0x7fffffff, 0x80000000, 0xffffffff };

	ON_BOTH({
		for (int op = 0; op < 8; op++) {
			for (int shift = 0; shift < 2; shift++) {
				for (size_t v = 0; v < 6; v++) {
					*b = values[v];
					CALL(a, FUTEX_WAKE_OP | scope, 1, 1, b,
					     FUTEX_OP((op | (shift ? FUTEX_OP_OPARG_SHIFT : 0)), 5,
						      FUTEX_OP_CMP_EQ, 0));
					note("word", *b);
				}
			}
		}
		/* Arguments have a sign; a shift beyond the word wraps around. */
		CALL(a, FUTEX_WAKE_OP | scope, 1, 1, b, FUTEX_OP(FUTEX_OP_SET, -3, 0, 0));
		note("word", *b);
		CALL(a, FUTEX_WAKE_OP | scope, 1, 1, b,
		     FUTEX_OP((FUTEX_OP_SET | FUTEX_OP_OPARG_SHIFT), 35, 0, 0));
		note("word", *b);
	});
}

TEST_F(same, wake_op_comparisons)
{
	struct waiter w[N];

	for (int cmp = 0; cmp < 8; cmp++) {
		for (int held = -2; held <= 2; held += 2) {
			ON_BOTH({
				for (int i = 0; i < N; i++) {
					w[i] = (struct waiter) {
						.futex = futex, .word = i < 3 ? a : b,
						.op = FUTEX_WAIT | scope,
					};
					waiter_start(&w[i]);
				}
				*b = held;
				CALL(a, FUTEX_WAKE_OP | scope, 1, 2, b,
				     FUTEX_OP(FUTEX_OP_ADD, 10, cmp, 0));
				note("word", *b);
				CALL(a, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
				CALL(b, FUTEX_WAKE | scope, INT32_MAX, 0, NULL, 0);
				end_all(w, futex, a, b, scope);
			});
		}
	}
}

/* Counts below one wake one, here too; both words may be the same. */
TEST_F(same, wake_op_counts)
{
	struct waiter w[N];

	ON_BOTH({
		start_all(w, futex, a, FUTEX_WAIT | scope, 0);
		CALL(a, FUTEX_WAKE_OP | scope, 0, 0, a,
		     FUTEX_OP(FUTEX_OP_SET, 1, FUTEX_OP_CMP_EQ, 0));
		note_done(w, 2);
		note("word", *a);
		CALL(a, FUTEX_WAKE_OP | scope, -1, 2, a,
		     FUTEX_OP(FUTEX_OP_SET, 0, FUTEX_OP_CMP_EQ, 1));
		note_done(w, 5);
		end_all(w, futex, a, b, scope);
	});
}

static void on_signal(int sig)
{
}

/* A handler ends a wait; with SA_RESTART one without timeout goes on. */
TEST_F(same, signals)
{
	struct timespec until, relative = { .tv_sec = 1000 };
	struct {
		int op;
		struct timespec *timeout;
	} waits[] = {
		{ FUTEX_WAIT_BITSET, NULL },
		{ FUTEX_WAIT_BITSET, &until },
		{ FUTEX_WAIT, &relative },
	};
	struct waiter w;

	clock_gettime(CLOCK_MONOTONIC, &until);
	until.tv_sec += 1000;
	for (int restart = 0; restart < 2; restart++) {
		struct sigaction sa = {
			.sa_handler = on_signal, .sa_flags = restart ? SA_RESTART : 0,
		};

		sigaction(SIGUSR1, &sa, NULL);
		for (int i = 0; i < ARRAY_SIZE(waits); i++) {
			ON_BOTH({
				w = (struct waiter) {
					.futex = futex, .word = a,
					.op = waits[i].op | scope, .mask = 1,
					.timeout = (uintptr_t)waits[i].timeout,
				};
				waiter_start(&w);
				pthread_kill(w.thread, SIGUSR1);
				if (restart && !waits[i].timeout) {
					sleep_ms(20);
					eventually(task_state(w.tid) == 'S');
					note("still", !w.done);
					CALL(a, FUTEX_WAKE | scope, 1, 0, NULL, 0);
				}
				waiter_end(&w, "end");
			});
		}
	}
}

/* Absolute deadlines of the monotonic clock are those of the time namespace. */
TEST_F(same, time_namespaces)
{
	static const int ahead[] = { 100000, -1 };

	for (int i = 0; i < 2; i++) {
		pid_t pid = fork();

		if (!pid) {
			char offset[64];
			pid_t child;

			if (unshare(CLONE_NEWTIME))
				_exit(1);
			snprintf(offset, sizeof(offset), "monotonic %d 0\n", ahead[i]);
			write_string("/proc/self/timens_offsets", offset);
			child = fork();
			if (!child) {
				for (int j = 0; j < 2; j++) {
					struct timespec until, after;
					long ret;

					clock_gettime(CLOCK_MONOTONIC, &until);
					until.tv_sec++;
					ret = self->futex[j]((void *)self->words,
							     FUTEX_WAIT_BITSET | variant->scope, 0,
							     (uintptr_t)&until, NULL, 1);
					clock_gettime(CLOCK_MONOTONIC, &after);
					if (ret != -1 || errno != ETIMEDOUT)
						_exit(2);
					/* A deadline of another namespace is a day away. */
					if (after.tv_sec < until.tv_sec)
						_exit(3);
				}
				_exit(0);
			}
			_exit(child_status(child));
		}
		EXPECT_EQ(0, child_status(pid));
	}
}

/*
 * The closed list of differences, those that can be shown here. The others: the
 * order of real-time tasks, RLIMIT_MEMLOCK, truncated files, fsdax, sealing (key.c),
 * and restarts of many relative timeouts (interrupt.c).
 */
TEST(difference_read_only_anonymous_memory)
{
	uint32_t *word = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct timespec zero = { 0, 0 };

	dev = afutex_open();
	EXPECT_EQ(-1, kernels(word, FUTEX_WAIT, 0, (uintptr_t)&zero, NULL, 0));
	EXPECT_EQ(EFAULT, errno);
	EXPECT_EQ(-1, ours(word, FUTEX_WAIT, 0, (uintptr_t)&zero, NULL, 0));
	EXPECT_EQ(ETIMEDOUT, errno);
	close(dev);
}

TEST(difference_priority_inheritance)
{
	static const int ops[] = {
		FUTEX_LOCK_PI, FUTEX_UNLOCK_PI, FUTEX_TRYLOCK_PI, FUTEX_WAIT_REQUEUE_PI,
		FUTEX_CMP_REQUEUE_PI, FUTEX_LOCK_PI2,
	};
	uint32_t word = 0;

	dev = afutex_open();
	for (size_t i = 0; i < sizeof(ops) / sizeof(ops[0]); i++) {
		EXPECT_EQ(-1, ours(&word, ops[i], 0, 0, NULL, 0));
		EXPECT_EQ(ENOSYS, errno);
	}
	close(dev);
}

TEST(difference_fd_is_there_again)
{
	uint32_t word = 0;
	int fd;

	dev = afutex_open();
	EXPECT_EQ(-1, kernels(&word, FUTEX_FD, 0, 0, NULL, 0));
	EXPECT_EQ(ENOSYS, errno);
	fd = ours(&word, FUTEX_FD, 0, 0, NULL, 0);
	EXPECT_GE(fd, 0);
	close(fd);
	close(dev);
}

/*
 * A mapping of a file that is private and read-only is known by its address; futex(2) knows
 * the file. It follows the file with both.
 */
TEST(difference_read_only_private_mapping_of_a_file)
{
	futex_fn *const both[] = { kernels, ours };
	int file;
	uint32_t *files = memory_map(MEMFD, &file);
	uint32_t *mine = mmap(NULL, 4096, PROT_READ, MAP_PRIVATE, file, 0);

	dev = afutex_open();
	for (int i = 0; i < 2; i++) {
		struct waiter w = { .futex = both[i], .word = mine, .op = FUTEX_WAIT, .val = 1 };

		*files = 1;
		EXPECT_EQ(1, *mine);
		waiter_start(&w);
		EXPECT_FALSE(w.done);
		*files = 2;
		EXPECT_EQ(2, *mine);
		EXPECT_EQ(!i, both[i](files, FUTEX_WAKE, 1, 0, NULL, 0));
		EXPECT_EQ(i, both[i](mine, FUTEX_WAKE, 1, 0, NULL, 0));
		pthread_join(w.thread, NULL);
		EXPECT_EQ(0, w.ret);
	}
	close(dev);
	close(file);
}

/*
 * A wake through a private mapping, while it has the file's page, finds those who wait on the
 * file, whoever else waits where; futex(2) does if it is read-only, and else copies the page.
 */
TEST(difference_wake_through_private_mapping_of_a_file)
{
	futex_fn *const both[] = { kernels, ours };
	int file, fd = -1;
	uint32_t *files = memory_map(MEMFD, &file);

	dev = afutex_open();
	*files = 0;
	for (int i = 0; i < 2; i++) {
		for (int readable = 0; readable < 2; readable++) {
			for (int elsewhere = 0; elsewhere < 2; elsewhere++) {
				struct waiter w = {
					.futex = both[i], .word = files, .op = FUTEX_WAIT,
				};
				uint32_t *mine = mmap(NULL, 4096, PROT_READ |
						      (readable ? 0 : PROT_WRITE),
						      MAP_PRIVATE, file, 0);

				if (elsewhere)
					fd = ours(mine + 1, FUTEX_FD, 0, 0, NULL, 0);
				waiter_start(&w);
				EXPECT_EQ(0, *mine);
				EXPECT_EQ(i || readable, both[i](mine, FUTEX_WAKE, 1, 0, NULL, 0));
				both[i](files, FUTEX_WAKE, 1, 0, NULL, 0);
				pthread_join(w.thread, NULL);
				EXPECT_EQ(0, w.ret);
				if (elsewhere)
					close(fd);
				munmap(mine, 4096);
			}
		}
	}
	close(dev);
	close(file);
}

/* Memory that is given back between wait and wake, whatever was written to it, is the same. */
TEST(private_mapping_of_a_file)
{
	futex_fn *const both[] = { kernels, ours };
	static const enum memory kinds[] = { MEMFD, TMPFS, EXT4 };

	dev = afutex_open();
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (int written = 0; written < 3; written++) {
			for (int i = 0; i < 2; i++) {
				int file;
				uint32_t *files = memory_map(kinds[k], &file);
				struct waiter w = { .futex = both[i], .op = FUTEX_WAIT };
				uint32_t *mine;

				ASSERT_TRUE(files != NULL);
				mine = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE,
					    file, 0);
				ASSERT_TRUE(mine != MAP_FAILED);
				*files = 0;
				w.word = mine;
				/* Before the wait, while it lasts, or never. */
				if (written == 0)
					*mine = 0;
				waiter_start(&w);
				EXPECT_FALSE(w.done);
				if (written == 1)
					*mine = 1;
				EXPECT_EQ(0, both[i](files, FUTEX_WAKE, 1, 0, NULL, 0));
				EXPECT_EQ(0, madvise(mine, 4096, MADV_DONTNEED));
				EXPECT_EQ(1, both[i](mine, FUTEX_WAKE, 1, 0, NULL, 0));
				/* Should it still wait, its end is no failure of its own. */
				munmap(mine, 4096);
				munmap(files, 4096);
				close(file);
				pthread_join(w.thread, NULL);
				EXPECT_EQ(0, w.ret);
			}
		}
	}
	close(dev);
}

/* What can be written can be read, whatever the mapping says. */
TEST(write_only_mappings)
{
	futex_fn *const both[] = { kernels, ours };
	static const enum memory kinds[] = {
		ANON_PRIVATE, ANON_SHARED, MEMFD, TMPFS, EXT4, HUGETLB_SHARED,
	};

	dev = afutex_open();
	for (size_t k = 0; k < sizeof(kinds) / sizeof(kinds[0]); k++) {
		for (int scope = 0; scope <= PRIVATE; scope += PRIVATE) {
			for (int i = 0; i < 2; i++) {
				int file;
				uint32_t *word = memory_map(kinds[k], &file);
				struct waiter w = {
					.futex = both[i], .word = word, .op = FUTEX_WAIT | scope,
				};

				ASSERT_TRUE(word != NULL);
				ASSERT_EQ(0, mprotect(word, memory_size(kinds[k]), PROT_WRITE));
				waiter_start(&w);
				EXPECT_FALSE(w.done);
				*(volatile uint32_t *)word = 1;
				EXPECT_EQ(1, both[i](word, FUTEX_WAKE | scope, 1, 0, NULL, 0));
				munmap(word, memory_size(kinds[k]));
				close(file);
				pthread_join(w.thread, NULL);
				EXPECT_EQ(0, w.ret);
			}
		}
	}
	write_string("/proc/sys/vm/nr_hugepages", "0");
	close(dev);
}

TEST_HARNESS_MAIN
