/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What the measurements share: system calls without a C library around them, and
 * the loop that counts instructions.
 *
 * Under QEMU's -icount shift=0 a nanosecond is an instruction, so differences of
 * clock_gettime(2) are counts. Elsewhere they are nanoseconds.
 */
#ifndef BENCH_H
#define BENCH_H

#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <linux/afutex.h>

#define PRIVATE	FUTEX_PRIVATE_FLAG
#define SHARED	0

typedef uint32_t word_t;

/*
 * The same few instructions for every call of both sides of a row: a C library would
 * favour one, as it makes some of them cancellation points. They return -errno.
 */
static inline long sys6(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 asm("r10") = d;
	register long r8 asm("r8") = e;
	register long r9 asm("r9") = f;
	long ret;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10), "r" (r8), "r" (r9)
		     : "rcx", "r11", "memory");
	return ret;
}

static inline long sys4(long nr, long a, long b, long c, long d)
{
	register long r10 asm("r10") = d;
	long ret;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c), "r" (r10)
		     : "rcx", "r11", "memory");
	return ret;
}

static inline long sys3(long nr, long a, long b, long c)
{
	long ret;

	asm volatile("syscall"
		     : "=a" (ret)
		     : "a" (nr), "D" (a), "S" (b), "d" (c)
		     : "rcx", "r11", "memory");
	return ret;
}

static inline long futex_wake(word_t *word, int scope, int count)
{
	return sys3(SYS_futex, (long)word, FUTEX_WAKE | scope, count);
}

static inline long futex_wait(word_t *word, int scope, uint32_t val)
{
	return sys4(SYS_futex, (long)word, FUTEX_WAIT | scope, val, 0);
}

static inline long ioctl3(int fd, unsigned long cmd, long arg)
{
	return sys3(SYS_ioctl, fd, cmd, arg);
}

/* The call of futex(2) as AFUTEX_IOC_CALL has it. */
static inline long call(int dev, word_t *word, uint32_t op, uint32_t val)
{
	struct afutex_call args = { .uaddr = (uintptr_t)word, .op = op, .val = val };

	return ioctl3(dev, AFUTEX_IOC_CALL, (long)&args);
}

/* The cheapest way to wake one: the address is the argument. */
static inline long wake_one(int dev, word_t *word, int scope)
{
	return ioctl3(dev, scope ? AFUTEX_IOC_WAKE_ONE_PRIVATE : AFUTEX_IOC_WAKE_ONE, (long)word);
}

static inline uint32_t word_flags(int scope)
{
	return FUTEX2_SIZE_U32 | (scope ? FUTEX2_PRIVATE : 0);
}

static inline int64_t now(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

/* Ends this side of a row, which then has no figure. */
void broken(const char *file, int line, const char *what) __attribute__((noreturn, cold));

/* Every call that is measured is also checked: one that fails is fast. */
#define must(cond) do {							\
	if (__builtin_expect(!(cond), 0))				\
		broken(__FILE__, __LINE__, #cond);			\
} while (0)

#define ROUNDS 7

double median(double *values, int n);

/*
 * What a run of the statement takes: the median of ROUNDS rounds of n runs each, after
 * one round that does not count. The loop itself is an instruction or two.
 */
#define measure(n, ...) ({						\
	double __of[ROUNDS];						\
	long __n = (n);							\
									\
	for (int __round = -1; __round < ROUNDS; __round++) {		\
		int64_t __start = now();				\
									\
		for (long __i = 0; __i < __n; __i++) {			\
			__VA_ARGS__;					\
		}							\
		if (__round >= 0)					\
			__of[__round] = (double)(now() - __start) / __n; \
	}								\
	median(__of, ROUNDS);						\
})

/*
 * The same for what needs something to be prepared before each run, at no cost, and
 * is long enough to be measured by itself.
 */
#define measure_after(prepare, ...) ({					\
	double __of[ROUNDS];						\
									\
	for (int __round = -1; __round < ROUNDS; __round++) {		\
		int64_t __start;					\
									\
		prepare;						\
		__start = now();					\
		__VA_ARGS__;						\
		if (__round >= 0)					\
			__of[__round] = now() - __start;		\
	}								\
	median(__of, ROUNDS);						\
})

/* One side of a row: what an operation takes. Each runs in a process of its own. */
typedef double side_t(void);

/*
 * A row, and what is measured beside it: the same work done in another way, or beside
 * another peer. Where one of them is NULL, it is the row's.
 */
struct row {
	const char *name;
	side_t *afutex;
	const char *peer;
	side_t *other;
	struct {
		const char *how;
		side_t *afutex;
		const char *peer;
		side_t *other;
	} beside[6];
};

/* Prints "bench: NAME ..." for each, and "bench: NAME/HOW ..." for what is beside it. */
void run_rows(const struct row *rows, int n);

/* What one side takes; negative if it broke. */
double run_side(side_t *side);

#define ROWS(rows) run_rows(rows, sizeof(rows) / sizeof((rows)[0]))

/* /dev/afutex, open. */
int device(void);

/* Zeroed pages that are there: a process's own, or of a file that others may map. */
void *private_pages(long n);
void *shared_pages(long n);

/* Descriptors, or the end of the side. */
int new_watch(int dev, word_t *word, int scope, uint32_t flags);
int new_set(int dev);
int new_epoll(int fd);

/* Members with the numbers 0 to n - 1, step words apart: adds them, or changes them. */
void ctl_members(int set, uint32_t op, word_t *words, int step, int n, uint32_t flags);

/* Loads the module anew, with other parameters. Nothing may be open. */
void reload(const char *params);

/* A little randomness, at the cost of few instructions: a number below n. */
static inline uint32_t some(uint32_t *seed, uint32_t n)
{
	*seed = *seed * 1664525 + 1013904223;
	return ((uint64_t)*seed * n) >> 32;
}

/* Peers of rows in more than one part. */
side_t read_eventfd, epoll_eventfd, all_uring;

/* The parts. */
void floors(void);
void wakes(void);
void watches(void);
void sets(void);
void mapped(void);
void sleepers(void);
void scale(void);
void spread(void);
void native(void);
void memory(void);
void throughput(void);

#endif /* BENCH_H */
