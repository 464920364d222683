/* SPDX-License-Identifier: GPL-2.0 */
/* Watches of the wakes of futex(2), and what wakes them: for their tests. */
#ifndef NATIVE_H
#define NATIVE_H

#include "set.h"

#ifndef FUTEX_ROBUST_UNLOCK
#define FUTEX_ROBUST_UNLOCK	512
#define FUTEX_ROBUST_LIST32	1024
#endif
/* FUTEX_WAKE that unlocks, with what is to be cleared of the size of a pointer. */
#define FUTEX_UNLOCK_WAKE	(FUTEX_WAKE | FUTEX_ROBUST_UNLOCK |		\
				 (sizeof(long) == 4 ? FUTEX_ROBUST_LIST32 : 0))
#ifndef SYS_futex_wake
#define SYS_futex_wake		454
#endif
#ifndef SYS_futex_requeue
#define SYS_futex_requeue	456
#endif

static inline long futex(volatile void *word, int op, uint32_t val, unsigned long val2,
			 volatile void *word2, uint32_t val3)
{
	return syscall(SYS_futex, word, op, val, val2, word2, val3);
}

static inline int native_watch(int dev, volatile void *word, int scope, uint32_t flags,
			       uint64_t val)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .val = val, .mask = ~0u,
			   .flags = FUTEX2_SIZE_U32 | AFUTEX_NATIVE | flags |
				    (scope ? FUTEX2_PRIVATE : 0) },
		.fd_flags = O_CLOEXEC | O_NONBLOCK,
	};
	int fd = ioctl(dev, AFUTEX_IOC_OPEN, &args);

	return fd < 0 ? -errno : fd;
}

/* The wakes that a watch has counted, and has no longer. */
static inline uint64_t wakes_of(int fd)
{
	uint64_t count = 0;

	return read(fd, &count, sizeof(count)) == sizeof(count) ? count : 0;
}

/* Whether a watch counts that many wakes, no more and no less. */
static inline bool woken(int fd, uint64_t count)
{
	uint64_t sum = 0;

	return eventually((sum += wakes_of(fd)) >= count) && sum == count;
}

#endif /* NATIVE_H */
