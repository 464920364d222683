/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * The user library of the 2002 futex patch, over /dev/afutex: one header, nothing
 * to link, for C11 and C++20.
 *
 *	struct futex		a lock or a semaphore: a count of tokens
 *	futex_init		sets the count
 *	futex_down		takes a token, sleeps until there is one
 *	futex_trydown		takes one if there is one
 *	futex_down_timeout	takes one, or gives up after a while
 *	futex_up		puts a token back
 *	futex_up_fair		hands it to who waits longest, if anybody does
 *	futex_await		a descriptor that becomes readable when one may be had
 *	futex_claim		takes one then, as futex_trydown does without waiting
 *
 * A futex may be in private or in shared memory, and works in both: it is known by
 * what it is. Nobody waiting, down and up are one atomic instruction and no system
 * call.
 *
 * Functions that can fail return -1 and set errno, as system calls do. A process
 * that uses the library opens /dev/afutex once, at its first call that sleeps or
 * wakes; a child of fork() goes on with the same.
 *
 * Memory ordering. What was done before a futex_up is visible after the futex_down
 * that took the token: up releases, down acquires. The counter also orders against
 * itself: of a down that is about to sleep and an up, at least one sees the other
 * (both are sequentially consistent), and the kernel compares the word once more
 * before it lets anybody sleep.
 *
 * The count. From 0 up it is the number of tokens, and nobody waits. -1: there are
 * none, and there may be somebody who waits. FUTEX_PASSED: there is one, on its way
 * to somebody who was woken. Who takes the last and may have waited leaves -1.
 *
 * Fairness. futex_up makes the token anybody's: a thread that takes and puts back in
 * a loop may take it again before who was woken runs. futex_up_fair marks it as
 * passed and wakes one. Who was woken takes it; who comes along steps back for
 * FUTEX_PASSED_NSEC first, and takes it only if nobody did, for who was woken may have
 * been killed. So a wake that says 1 is a token that somebody will take, and a token
 * is in the count or on its way at all times, never in a descriptor: when one that was
 * told is closed unread, the kernel tells the next.
 */
#ifndef _AFUTEX_H
#define _AFUTEX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include <linux/futex.h>
#include <linux/time_types.h>

#include <linux/afutex.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A count of tokens: 1 for a lock that is free. */
struct futex {
	int count;
};

#define FUTEX_INITIALIZER(val)	{ (val) }

#define FUTEX_PASSED		(-(1 << 30))
#define FUTEX_PASSED_NSEC	2000000

/* The device, opened at the first use; -1 if it cannot be. */
static inline int afutex_device(void)
{
	static int device = -1;
	int fd = __atomic_load_n(&device, __ATOMIC_ACQUIRE), none = -1;

	if (fd >= 0)
		return fd;
	fd = open("/dev/afutex", O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return -1;
	if (__atomic_compare_exchange_n(&device, &none, fd, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return fd;
	/* Another thread was first. */
	close(fd);
	return none;
}

/* The modern calls: see Documentation/afutex.rst. */

static inline int afutex_wait(const void *word, uint64_t val, uint32_t mask, uint32_t flags,
			      const struct timespec *deadline)
{
	struct __kernel_timespec ts;
	struct afutex_wait args = {
		(uintptr_t)word, val, mask, flags, CLOCK_MONOTONIC, 0,
	};

	if (deadline) {
		ts.tv_sec = deadline->tv_sec;
		ts.tv_nsec = deadline->tv_nsec;
		args.timeout = (uintptr_t)&ts;
	}
	return ioctl(afutex_device(), AFUTEX_IOC_WAIT, &args);
}

static inline int afutex_wake(const void *word, uint32_t count, uint32_t mask, uint32_t flags)
{
	struct afutex_wake args = { (uintptr_t)word, mask, count, flags };

	return ioctl(afutex_device(), AFUTEX_IOC_WAKE, &args);
}

/* A descriptor that waits on the word if it holds val: see struct afutex_watch. */
static inline int afutex_watch(const void *word, uint64_t val, uint32_t mask, uint32_t flags,
			       uint32_t fd_flags, uint32_t sig)
{
	struct afutex_open args = {
		{ (uintptr_t)word, val, mask, flags, 0 }, fd_flags, sig,
	};

	return ioctl(afutex_device(), AFUTEX_IOC_OPEN, &args);
}

/* Reads the watch and arms it again, in one call; the wakes, or -1. */
static inline int64_t afutex_rearm(int fd, uint64_t val, uint32_t flags)
{
	struct afutex_rearm args = { val, flags, 0, 0 };

	return ioctl(fd, AFUTEX_IOC_REARM, &args) ? -1 : (int64_t)args.count;
}

/* The library of 2002. */

static inline void futex_init(struct futex *f, int val)
{
	__atomic_store_n(&f->count, val, __ATOMIC_RELEASE);
}

/* Takes a token if there is one, and leaves last in the place of the last one. */
static inline int _futex_try(struct futex *f, int last)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED);

	while (count > 0 || count == FUTEX_PASSED) {
		int left = count > 1 ? count - 1 : count == 1 ? last : -1;

		if (__atomic_compare_exchange_n(&f->count, &count, left, true,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return 0;
	}
	errno = EWOULDBLOCK;
	return -1;
}

/* Takes a token if there is one: 0, or -1 and EWOULDBLOCK. No system call. */
static inline int futex_trydown(struct futex *f)
{
	return _futex_try(f, 0);
}

/*
 * As futex_trydown, for who waits by a descriptor: he cannot know whether others still
 * do, so who puts the token back wakes one.
 */
static inline int futex_claim(struct futex *f)
{
	return _futex_try(f, -1);
}

/* The moment that is nsec from now. */
static inline struct timespec _futex_after(int64_t nsec)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	nsec += ts.tv_nsec;
	ts.tv_sec += nsec / 1000000000;
	ts.tv_nsec = nsec % 1000000000;
	return ts;
}

static inline bool _futex_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* futex_down when there was no token: sleeps for one. */
static inline int _futex_down_slow(struct futex *f, const struct timespec *deadline)
{
	bool slept = false, may_claim = false;

	for (;;) {
		int count = __atomic_load_n(&f->count, __ATOMIC_SEQ_CST), left;

		if (count > 0 || (count == FUTEX_PASSED && may_claim)) {
			/* Who slept cannot know whether others still do. */
			left = count > 0 ? count - 1 : -1;
			if (slept && left == 0)
				left = -1;
			if (!__atomic_compare_exchange_n(&f->count, &count, left, false,
							 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
				continue;
			/* More tokens came than wakes: on to the next. */
			if (slept && left > 0)
				afutex_wake(&f->count, 1, FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32);
			return 0;
		}
		if (count == 0) {
			__atomic_compare_exchange_n(&f->count, &count, -1, false,
						    __ATOMIC_SEQ_CST, __ATOMIC_RELAXED);
			continue;
		}

		/* -1, or passed to somebody else, who is given a moment. */
		struct timespec step_back;
		const struct timespec *until = deadline;

		if (count == FUTEX_PASSED) {
			step_back = _futex_after(FUTEX_PASSED_NSEC);
			if (!deadline || _futex_before(&step_back, deadline))
				until = &step_back;
		}
		if (!afutex_wait(&f->count, (uint32_t)count, FUTEX_BITSET_MATCH_ANY,
				 FUTEX2_SIZE_U32, until)) {
			slept = true;
			may_claim = true;
		} else if (errno == ETIMEDOUT && until == &step_back) {
			may_claim = true;
		} else if (errno != EAGAIN && errno != EINTR) {
			return -1;
		}
	}
}

/* Takes a token; sleeps until there is one. */
static inline int futex_down(struct futex *f)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED);

	while (count > 0)
		if (__atomic_compare_exchange_n(&f->count, &count, count - 1, true,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return 0;
	return _futex_down_slow(f, NULL);
}

/* Takes a token within a time; -1 and ETIMEDOUT if there was none. */
static inline int futex_down_timeout(struct futex *f, const struct timespec *rel)
{
	struct timespec deadline;
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED);

	while (count > 0)
		if (__atomic_compare_exchange_n(&f->count, &count, count - 1, true,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			return 0;
	deadline = _futex_after(rel->tv_nsec);
	deadline.tv_sec += rel->tv_sec;
	return _futex_down_slow(f, &deadline);
}

static inline int _futex_up(struct futex *f, bool fair)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED), next;

	for (;;) {
		/* Two tokens at once are anybody's. */
		next = count >= 0 ? count + 1 : count == FUTEX_PASSED ? 2 : fair ? FUTEX_PASSED : 1;
		if (__atomic_compare_exchange_n(&f->count, &count, next, true,
						__ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			break;
	}
	if (count >= 0)
		return 0;
	count = afutex_wake(&f->count, next == 2 ? INT32_MAX : 1, FUTEX_BITSET_MATCH_ANY,
			    FUTEX2_SIZE_U32);
	/* Passed to nobody: it is anybody's. Who came meanwhile steps back for a moment only. */
	if (!count && next == FUTEX_PASSED)
		__atomic_compare_exchange_n(&f->count, &next, 1, false, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED);
	return count < 0 ? -1 : 0;
}

/* Puts a token back. */
static inline int futex_up(struct futex *f)
{
	return _futex_up(f, false);
}

/* Puts a token back for who waits longest. */
static inline int futex_up_fair(struct futex *f)
{
	return _futex_up(f, true);
}

/*
 * Makes a descriptor that becomes readable when a token may be had, and sends the
 * calling process a signal then, if that is not 0. When it is readable, take the
 * token with futex_claim, and close it; if the token is gone, ask for another. To
 * give up, close it: if it was told of a token meanwhile, the next is.
 */
static inline int futex_await(struct futex *f, int sig)
{
	int count = 0;

	/* Says that somebody waits. */
	__atomic_compare_exchange_n(&f->count, &count, -1, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_RELAXED);
	return afutex_watch(&f->count, (uint32_t)-1, FUTEX_BITSET_MATCH_ANY,
			    FUTEX2_SIZE_U32 | AFUTEX_COMPARE | AFUTEX_READY,
			    O_CLOEXEC | O_NONBLOCK, (uint32_t)sig);
}

#ifdef __cplusplus
}
#endif

#endif /* _AFUTEX_H */
