/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * The user library of afutex: one header, nothing to link, for C11 and C++11 and
 * later. It has a function for each ioctl of <linux/afutex.h>, and the library of the
 * 2002 futex patch: locks and semaphores in shared memory.
 *
 * It needs POSIX.1-2008. A strict compiler (-std=c11) has to be asked for that:
 * define _POSIX_C_SOURCE as 200809L, or _GNU_SOURCE, before the first #include. Kernel
 * headers may be older than the module: what they lack is defined here.
 *
 * Functions that fail return -1 and set errno, as system calls do. Documentation/afutex.rst
 * has the errors of each ioctl.
 *
 *	The device		afutex_device, afutex_device_set, afutex_device_reopen,
 *				afutex_device_info
 *	futex(2)		afutex_futex
 *	One word		afutex_word_wait, afutex_word_wake, afutex_word_requeue,
 *				afutex_wake_one, afutex_wake_all, and the two with _private
 *	Many words		afutex_words_wait, afutex_words_wake
 *	A domain of one's own	afutex_domain_open, afutex_domain_use, afutex_domain_close,
 *				afutex_domain_rings, and the above in it: _domain_wake_one ...
 *	A descriptor for a word	afutex_watch_open, afutex_watch_next,
 *				afutex_watch_rearm, afutex_watch_read
 *	Wakes of futex(2)	afutex_native_open, afutex_sem_open, afutex_mutex_open,
 *				afutex_thread_open, and what goes with them
 *	One for many words	afutex_set_open, afutex_set_add, afutex_set_change,
 *				afutex_set_remove, afutex_set_ctl, afutex_set_read,
 *				afutex_set_ctl_wait
 *	... with its events in	afutex_mapped_set_open, afutex_domain_mapped_set_open,
 *	memory			afutex_mapped_set_attach,
 *				afutex_mapped_set_close, afutex_mapped_set_take,
 *				afutex_mapped_set_take_many, afutex_mapped_set_is_empty,
 *				afutex_mapped_set_wait
 *	Locks and semaphores	futex_init, futex_down, futex_trydown, futex_down_timeout,
 *				futex_up, futex_up_fair, futex_await, futex_claim; in
 *				a domain: futex_domain_down, futex_domain_up ...
 */
#ifndef _AFUTEX_H
#define _AFUTEX_H

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#include <linux/futex.h>

#include <linux/afutex.h>

#if !defined(O_CLOEXEC) || !defined(CLOCK_MONOTONIC)
#error "afutex.h needs POSIX.1-2008: define _POSIX_C_SOURCE as 200809L before the first #include"
#endif

/* Not in <linux/futex.h> before Linux 6.7. */
#ifndef FUTEX2_SIZE_U8
#define FUTEX2_SIZE_U8		0x00
#define FUTEX2_SIZE_U16		0x01
#define FUTEX2_SIZE_U32		0x02
#define FUTEX2_SIZE_U64		0x03
#endif
#ifndef FUTEX2_PRIVATE
#define FUTEX2_PRIVATE		FUTEX_PRIVATE_FLAG
#endif

#ifdef __cplusplus
extern "C" {
#endif

/* Not in <linux/futex.h> before Linux 5.16. */
#ifndef FUTEX_WAITV_MAX
#define FUTEX_WAITV_MAX		128
struct futex_waitv {
	__u64 val;
	__u64 uaddr;
	__u32 flags;
	__u32 __reserved;
};
#endif

/*
 * The device.
 *
 * A process has one descriptor of /dev/afutex. The first function that needs it opens
 * it; all files of a program share it, and the shared libraries that the program was
 * linked with. A library that is loaded with dlopen() may have one of its own. That does
 * no harm: all descriptors of the device are equal, and waits and wakes through one meet
 * those through any other.
 *
 * A child of fork() uses the descriptor that it inherits; exec closes it. A process may
 * close all its descriptors, as daemons do: the next call finds that out and opens the
 * device again. A process that cannot open the device later, as after chroot() or in a
 * sandbox, calls afutex_device() before, or afutex_device_set() with a descriptor that
 * it was given.
 *
 * Where the device cannot be opened, functions fail with the errno of open(): ENOENT if
 * the module is not loaded or the device is not visible in the container, EACCES, EMFILE
 * and so on.
 */

/* The one variable of the library: every file that includes it defines the same. */
#ifdef __GNUC__
extern int _afutex_device_fd;
__attribute__((weak, visibility("default"))) int _afutex_device_fd = -1;
#else
#error "afutex.h needs weak symbols and atomic builtins, as gcc and clang have them"
#endif

/* Whether fd is a descriptor of the device; leaves errno as it was if so. */
static inline bool _afutex_is_device(int fd)
{
	struct afutex_info info;
	int err = errno;

	if (ioctl(fd, AFUTEX_IOC_INFO, &info) < 0)
		return false;
	errno = err;
	return true;
}

/* Opens the device, in the place of the descriptor "old" or of what came after it. */
static inline int _afutex_device_open(int old)
{
	int fd = open("/dev/afutex", O_RDWR | O_CLOEXEC);

	/* Where a daemon puts its standard streams is no place for it. */
	if (fd >= 0 && fd <= STDERR_FILENO) {
		int above = fcntl(fd, F_DUPFD_CLOEXEC, STDERR_FILENO + 1), err = errno;

		close(fd);
		errno = err;
		fd = above;
	}
	if (fd < 0)
		return -1;
	if (__atomic_compare_exchange_n(&_afutex_device_fd, &old, fd, false, __ATOMIC_ACQ_REL,
					__ATOMIC_ACQUIRE))
		return fd;
	/* Another thread was first. */
	close(fd);
	return old;
}

/* Returns the descriptor of the device; opens it if it is not open yet. */
static inline int afutex_device(void)
{
	int fd = __atomic_load_n(&_afutex_device_fd, __ATOMIC_ACQUIRE);

	return fd >= 0 ? fd : _afutex_device_open(fd);
}

/*
 * Opens the device again if its descriptor was closed, or if its number is that of
 * another file by now. Returns the descriptor. Other functions do that by themselves when
 * they find out; a daemon calls this once it has closed all descriptors, if it cannot
 * open the device any more later.
 */
static inline int afutex_device_reopen(void)
{
	int fd = afutex_device();

	return fd < 0 || _afutex_is_device(fd) ? fd : _afutex_device_open(fd);
}

/*
 * Makes the library use fd, a descriptor of the device. The caller keeps it open; the
 * library never closes it. EBADF or ENOTTY if it is none.
 */
static inline int afutex_device_set(int fd)
{
	if (!_afutex_is_device(fd))
		return -1;
	__atomic_store_n(&_afutex_device_fd, fd, __ATOMIC_RELEASE);
	return 0;
}

/* An ioctl of the device. */
static inline int _afutex_ioctl(unsigned long cmd, const volatile void *arg)
{
	int fd = afutex_device(), ret;

	if (fd < 0)
		return -1;
	ret = ioctl(fd, cmd, arg);
	if (ret >= 0 || (errno != EBADF && errno != ENOTTY && errno != EINVAL))
		return ret;
	/* It may be closed, or be another file. A call with these errors has done nothing. */
	fd = afutex_device_reopen();
	return fd < 0 ? -1 : ioctl(fd, cmd, arg);
}

/* Fills in what the module can do: see struct afutex_info. */
static inline int afutex_device_info(struct afutex_info *info)
{
	return _afutex_ioctl(AFUTEX_IOC_INFO, info);
}

/* futex(2): its arguments and results. timeout is the address of a 64-bit timespec, or val2. */
static inline int afutex_futex(const volatile void *word, uint32_t op, uint32_t val,
			       uint64_t timeout, const volatile void *word2, uint32_t val3)
{
	struct afutex_call args = {
		(uintptr_t)word, op, val, timeout, (uintptr_t)word2, val3, 0,
	};

	return _afutex_ioctl(AFUTEX_IOC_CALL, &args);
}

/*
 * Words.
 *
 * flags are FUTEX2_SIZE_* and FUTEX2_PRIVATE. A mask is FUTEX_BITSET_MATCH_ANY, or bits
 * that a wake and a wait must have in common. A deadline is a moment of CLOCK_MONOTONIC,
 * or NULL for none.
 */

/* struct __kernel_timespec, which old kernel headers do not have. */
struct _afutex_timespec {
	int64_t tv_sec;
	int64_t tv_nsec;
};

static inline uint64_t _afutex_deadline(struct _afutex_timespec *ts,
					const struct timespec *deadline)
{
	if (!deadline)
		return 0;
	ts->tv_sec = deadline->tv_sec;
	ts->tv_nsec = deadline->tv_nsec;
	return (uintptr_t)ts;
}

/* Sleeps until woken, if the word holds val; otherwise EAGAIN. */
static inline int afutex_word_wait(const volatile void *word, uint64_t val, uint32_t mask,
				   uint32_t flags, const struct timespec *deadline)
{
	struct _afutex_timespec ts;
	struct afutex_wait args = {
		(uintptr_t)word, val, mask, flags, CLOCK_MONOTONIC, _afutex_deadline(&ts, deadline),
	};

	return _afutex_ioctl(AFUTEX_IOC_WAIT, &args);
}

/* Wakes up to count waiters of the word; returns how many. */
static inline int afutex_word_wake(const volatile void *word, uint32_t count, uint32_t mask,
				   uint32_t flags)
{
	struct afutex_wake args = { (uintptr_t)word, mask, count, flags };

	return _afutex_ioctl(AFUTEX_IOC_WAKE, &args);
}

/* If word holds val: wakes waiters of it, and moves the next to word2. */
static inline int afutex_word_requeue(const volatile void *word, uint64_t val,
				      const volatile void *word2, uint32_t flags, uint32_t wake,
				      uint32_t requeue)
{
	struct afutex_requeue args = {
		(uintptr_t)word, val, (uintptr_t)word2, flags, wake, requeue, 0,
	};

	return _afutex_ioctl(AFUTEX_IOC_REQUEUE, &args);
}

/* Wakes the first waiter of a word of 32 bits: the cheapest wake. Returns 1 or 0. */
static inline int afutex_wake_one(const volatile void *word)
{
	return _afutex_ioctl(AFUTEX_IOC_WAKE_ONE, word);
}

/* Wakes all waiters of a word of 32 bits; returns how many. */
static inline int afutex_wake_all(const volatile void *word)
{
	return _afutex_ioctl(AFUTEX_IOC_WAKE_ALL, word);
}

/* The same for waiters with FUTEX2_PRIVATE. */
static inline int afutex_wake_one_private(const volatile void *word)
{
	return _afutex_ioctl(AFUTEX_IOC_WAKE_ONE_PRIVATE, word);
}

static inline int afutex_wake_all_private(const volatile void *word)
{
	return _afutex_ioctl(AFUTEX_IOC_WAKE_ALL_PRIVATE, word);
}

/* Sleeps until one of nr words is woken, if all hold their values; returns its index. */
static inline int afutex_words_wait(const struct futex_waitv *words, uint32_t nr,
				    const struct timespec *deadline)
{
	struct _afutex_timespec ts;
	struct afutex_waitv args = {
		(uintptr_t)words, nr, CLOCK_MONOTONIC, _afutex_deadline(&ts, deadline),
	};

	return _afutex_ioctl(AFUTEX_IOC_WAITV, &args);
}

/* Wakes on nr words; returns how many it processed, each with a result of its own. */
static inline int afutex_words_wake(struct afutex_wakev_word *words, uint32_t nr)
{
	struct afutex_wakev args = { (uintptr_t)words, nr, 0 };

	return _afutex_ioctl(AFUTEX_IOC_WAKEV, &args);
}

/*
 * Domains.
 *
 * Words meet only those who wait and wake through the same domain. All processes that use
 * one have its descriptor: a child inherits it, and it can be sent over a socket. A domain
 * is a small structure, which is copied freely:
 *
 *	struct afutex_domain domain;
 *
 *	if (afutex_domain_open(&domain, 0, O_CLOEXEC))
 *		fail();
 *	...
 *	__atomic_store_n(word, value, __ATOMIC_RELEASE);
 *	afutex_domain_wake_all(&domain, word);
 *
 * Its bell page has how many wait, or are about to, at each offset in a page. The functions
 * that wake look there first: where nobody waits, a wake is a memory fence and a load, and
 * no system call; it returns 0 then, whatever its other arguments.
 *
 * In the place of a domain NULL is the device's, that of the whole machine, which has no
 * bell page: each wake is a call.
 */
struct afutex_domain {
	int fd;
	const uint32_t *bell;
};

/*
 * Makes a domain of a descriptor that was inherited or received: maps its bell page. The
 * descriptor is the domain's from then on.
 */
static inline int afutex_domain_use(struct afutex_domain *domain, int fd)
{
	void *bell = mmap(NULL, AFUTEX_BELL_SIZE, PROT_READ, MAP_SHARED, fd, 0);

	if (bell == MAP_FAILED)
		return -1;
	domain->fd = fd;
	domain->bell = (const uint32_t *)bell;
	return 0;
}

/* Opens a new domain: see struct afutex_domain_args. 0 buckets are as many as mostly do. */
static inline int afutex_domain_open(struct afutex_domain *domain, uint32_t buckets,
				     uint32_t fd_flags)
{
	struct afutex_domain_args args = { buckets, fd_flags, 0 };
	int fd = _afutex_ioctl(AFUTEX_IOC_DOMAIN, &args), err;

	if (fd < 0 || !afutex_domain_use(domain, fd))
		return fd < 0 ? -1 : 0;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* Closes it for this process. Watches and sets in it stay. */
static inline void afutex_domain_close(struct afutex_domain *domain)
{
	munmap((void *)(uintptr_t)domain->bell, AFUTEX_BELL_SIZE);
	close(domain->fd);
}

/*
 * Whether anybody waits at the offset of the word. If not, whoever comes later sees what the
 * caller stored before. The fence pairs with that of a waiter, which counts itself before it
 * compares the word.
 */
static inline bool afutex_domain_rings(const struct afutex_domain *domain,
				       const volatile void *word)
{
	if (!domain)
		return true;
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	return __atomic_load_n(&domain->bell[(uintptr_t)word % AFUTEX_BELL_SIZE / 4],
			       __ATOMIC_RELAXED) != 0;
}

static inline int _afutex_domain_ioctl(const struct afutex_domain *domain, unsigned long cmd,
				       const volatile void *arg)
{
	return domain ? ioctl(domain->fd, cmd, arg) : _afutex_ioctl(cmd, arg);
}

static inline int _afutex_domain_wake(const struct afutex_domain *domain, unsigned long cmd,
				      const volatile void *word)
{
	return afutex_domain_rings(domain, word) ? _afutex_domain_ioctl(domain, cmd, word) : 0;
}

/* As afutex_wake_one and the others, in a domain. */
static inline int afutex_domain_wake_one(const struct afutex_domain *domain,
					 const volatile void *word)
{
	return _afutex_domain_wake(domain, AFUTEX_IOC_WAKE_ONE, word);
}

static inline int afutex_domain_wake_all(const struct afutex_domain *domain,
					 const volatile void *word)
{
	return _afutex_domain_wake(domain, AFUTEX_IOC_WAKE_ALL, word);
}

static inline int afutex_domain_wake_one_private(const struct afutex_domain *domain,
						 const volatile void *word)
{
	return _afutex_domain_wake(domain, AFUTEX_IOC_WAKE_ONE_PRIVATE, word);
}

static inline int afutex_domain_wake_all_private(const struct afutex_domain *domain,
						 const volatile void *word)
{
	return _afutex_domain_wake(domain, AFUTEX_IOC_WAKE_ALL_PRIVATE, word);
}

/* As afutex_word_wake, _wait and _requeue, in a domain. */
static inline int afutex_domain_word_wake(const struct afutex_domain *domain,
					  const volatile void *word, uint32_t count,
					  uint32_t mask, uint32_t flags)
{
	struct afutex_wake args = { (uintptr_t)word, mask, count, flags };

	if (!afutex_domain_rings(domain, word))
		return 0;
	return _afutex_domain_ioctl(domain, AFUTEX_IOC_WAKE, &args);
}

static inline int afutex_domain_word_wait(const struct afutex_domain *domain,
					  const volatile void *word, uint64_t val, uint32_t mask,
					  uint32_t flags, const struct timespec *deadline)
{
	struct _afutex_timespec ts;
	struct afutex_wait args = {
		(uintptr_t)word, val, mask, flags, CLOCK_MONOTONIC, _afutex_deadline(&ts, deadline),
	};

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_WAIT, &args);
}

static inline int afutex_domain_word_requeue(const struct afutex_domain *domain,
					     const volatile void *word, uint64_t val,
					     const volatile void *word2, uint32_t flags,
					     uint32_t wake, uint32_t requeue)
{
	struct afutex_requeue args = {
		(uintptr_t)word, val, (uintptr_t)word2, flags, wake, requeue, 0,
	};

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_REQUEUE, &args);
}

/* As afutex_words_wait and _wake, in a domain. */
static inline int afutex_domain_words_wait(const struct afutex_domain *domain,
					   const struct futex_waitv *words, uint32_t nr,
					   const struct timespec *deadline)
{
	struct _afutex_timespec ts;
	struct afutex_waitv args = {
		(uintptr_t)words, nr, CLOCK_MONOTONIC, _afutex_deadline(&ts, deadline),
	};

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_WAITV, &args);
}

/* The bell is not looked at: one call is for all of the words. */
static inline int afutex_domain_words_wake(const struct afutex_domain *domain,
					   struct afutex_wakev_word *words, uint32_t nr)
{
	struct afutex_wakev args = { (uintptr_t)words, nr, 0 };

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_WAKEV, &args);
}

/* As afutex_watch_open and afutex_set_open, in a domain: for words that are woken there. */
static inline int afutex_domain_watch_open(const struct afutex_domain *domain,
					   const volatile void *word, uint64_t val, uint32_t mask,
					   uint32_t flags, uint32_t fd_flags, uint32_t sig)
{
	struct afutex_open args = {
		{ (uintptr_t)word, val, mask, flags, 0 }, fd_flags, sig,
	};

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_OPEN, &args);
}

static inline int afutex_domain_set_open(const struct afutex_domain *domain, uint32_t fd_flags,
					 uint32_t sig)
{
	struct afutex_set args = { fd_flags, sig };

	return _afutex_domain_ioctl(domain, AFUTEX_IOC_SET, &args);
}

/*
 * Watches: a descriptor for one word.
 */

/*
 * Opens a watch on a word: see struct afutex_open. An event loop wants the flags
 * AFUTEX_COMPARE | AFUTEX_READY, and fd_flags O_CLOEXEC | O_NONBLOCK. sig is a signal to
 * send to the process, or 0.
 */
static inline int afutex_watch_open(const volatile void *word, uint64_t val, uint32_t mask,
				    uint32_t flags, uint32_t fd_flags, uint32_t sig)
{
	struct afutex_open args = {
		{ (uintptr_t)word, val, mask, flags, 0 }, fd_flags, sig,
	};

	return _afutex_ioctl(AFUTEX_IOC_OPEN, &args);
}

/*
 * Reads the watch fd of a word of 32 bits, arms it for what the word holds, and sets
 * *seen to that value: the next event comes when the word no longer holds it, or at a
 * wake. This is all that an event loop does when the watch is readable. A wake need not
 * be a change: compare *seen with what it was before.
 *
 * The number of wakes is not reported: the value is what counts here. afutex_watch_rearm()
 * reports it.
 */
static inline int afutex_watch_next(int fd, const volatile void *word, uint32_t *seen)
{
	uint32_t val;
	int ret;

	do {
		val = __atomic_load_n((const volatile uint32_t *)word, __ATOMIC_SEQ_CST);
		ret = ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)val);
		/* The reverse of a read's EAGAIN: the word has changed, nothing is armed. */
	} while (ret < 0 && errno == EAGAIN);
	if (ret < 0)
		return -1;
	*seen = val;
	return 0;
}

/*
 * Reads the watch and arms it again; flags are AFUTEX_COMPARE and AFUTEX_READY. Sets
 * *wakes to the wakes since the last read, also if it fails: with EAGAIN the word holds
 * another value, and the watch is not armed.
 */
static inline int afutex_watch_rearm(int fd, uint64_t val, uint32_t flags, uint64_t *wakes)
{
	struct afutex_rearm args = { val, flags, 0, 0 };
	int ret = ioctl(fd, AFUTEX_IOC_REARM, &args);

	*wakes = args.count;
	return ret;
}

/* Reads the watch: sets *wakes to the wakes since the last read, with AFUTEX_CHANGED. */
static inline int afutex_watch_read(int fd, uint64_t *wakes)
{
	return read(fd, wakes, sizeof(*wakes)) == (ssize_t)sizeof(*wakes) ? 0 : -1;
}

/*
 * Sets: one descriptor for many words. Each member has a number, which the set gives,
 * and a cookie, which the caller chooses and events carry.
 */

/* What a member waits for, with all wakes. */
static inline struct afutex_watch afutex_watch_for(const volatile void *word, uint64_t val,
						   uint32_t flags, uint64_t cookie)
{
	struct afutex_watch watch = {
		(uintptr_t)word, val, FUTEX_BITSET_MATCH_ANY, flags, cookie,
	};

	return watch;
}

static inline int afutex_set_open(uint32_t fd_flags, uint32_t sig)
{
	struct afutex_set args = { fd_flags, sig };

	return _afutex_ioctl(AFUTEX_IOC_SET, &args);
}

/* Processes nr items; returns how many it processed, each with a result of its own. */
static inline int afutex_set_ctl(int set, struct afutex_ctl *items, uint32_t nr)
{
	struct afutex_ctlv args = { (uintptr_t)items, nr, 0 };

	return ioctl(set, AFUTEX_IOC_CTL, &args);
}

static inline int _afutex_set_one(int set, struct afutex_ctl *item)
{
	int ret = afutex_set_ctl(set, item, 1);

	if (ret == 1) {
		if (!item->result)
			return 0;
		errno = -item->result;
	} else if (!ret) {
		errno = EINTR;
	}
	return -1;
}

/* Adds a member, and sets *id to its number. */
static inline int afutex_set_add(int set, const struct afutex_watch *watch, uint32_t *id)
{
	struct afutex_ctl item = { AFUTEX_CTL_ADD, 0, 0, 0, *watch };

	if (_afutex_set_one(set, &item))
		return -1;
	*id = item.id;
	return 0;
}

/* Makes a member wait for something else, or arms it again. */
static inline int afutex_set_change(int set, uint32_t id, const struct afutex_watch *watch)
{
	struct afutex_ctl item = { AFUTEX_CTL_MOD, 0, id, 0, *watch };

	return _afutex_set_one(set, &item);
}

static inline int afutex_set_remove(int set, uint32_t id)
{
	struct afutex_ctl item = { AFUTEX_CTL_DEL, 0, id, 0, { 0, 0, 0, 0, 0 } };

	return _afutex_set_one(set, &item);
}

/* Reads up to nr events; returns how many there were. */
static inline int afutex_set_read(int set, struct afutex_event *events, uint32_t nr)
{
	ssize_t len = read(set, events, nr * sizeof(*events));

	return len < 0 ? -1 : (int)((size_t)len / sizeof(*events));
}

/*
 * Processes items, waits for the first event, and reads up to nr_events: a whole turn of
 * a loop. Returns the number of events. If it fails with ETIMEDOUT or EINTR the items have
 * been processed: do not give them again.
 */
static inline int afutex_set_ctl_wait(int set, struct afutex_ctl *items, uint32_t nr_items,
				      struct afutex_event *events, uint32_t nr_events,
				      const struct timespec *deadline)
{
	struct _afutex_timespec ts;
	struct afutex_set_wait args = {
		(uintptr_t)items, nr_items, nr_events, (uintptr_t)events,
		_afutex_deadline(&ts, deadline), CLOCK_MONOTONIC, 0,
	};

	return ioctl(set, AFUTEX_IOC_SET_WAIT, &args);
}

/*
 * A set whose events are in memory: they are taken without a system call.
 *
 *	struct afutex_mapped_set set;
 *	struct afutex_taken event;
 *
 *	afutex_mapped_set_open(&set, 1024, O_CLOEXEC, 0);
 *	afutex_set_add(set.fd, &watch, &number);
 *	...
 *	while (afutex_mapped_set_take(&set, &event))
 *		(event.number was woken, event.count times)
 *	(wait for set.fd with epoll, or afutex_mapped_set_wait())
 *
 * Members are added, changed and removed by the functions above, with set.fd; they have
 * numbers from 0 on, which are used again. Several threads, and processes that map the
 * same descriptor, may take at once: each event goes to one of them. A number may be
 * taken for a member that was removed, once: its event is passed on, and not seen here,
 * unless it was taken already.
 */
struct afutex_mapped_set {
	int fd;
	uint32_t members;
	struct afutex_ring *ring;
};

/* On 32 bits it has to be said that these are aligned, for atomic operations. */
typedef __u64 _afutex_u64 __attribute__((__aligned__(8)));

/* An event: what is in the count of a member, AFUTEX_CHANGED and the number of wakes. */
struct afutex_taken {
	uint32_t number;
	uint64_t count;
};

/* Maps a set that was made for so many members; the caller keeps fd. */
static inline int afutex_mapped_set_attach(struct afutex_mapped_set *set, int fd, uint32_t members)
{
	void *ring = mmap(NULL, AFUTEX_RING_SIZE(members), PROT_READ | PROT_WRITE, MAP_SHARED, fd,
			  0);

	if (ring == MAP_FAILED)
		return -1;
	set->fd = fd;
	set->members = members;
	set->ring = (struct afutex_ring *)ring;
	return 0;
}

/* Makes a set for so many members, a power of two, in a domain, and maps it. */
static inline int afutex_domain_mapped_set_open(const struct afutex_domain *domain,
						struct afutex_mapped_set *set, uint32_t members,
						uint32_t fd_flags, uint32_t sig)
{
	struct afutex_set_mapped args = { fd_flags, sig, members, 0 };
	int fd = _afutex_domain_ioctl(domain, AFUTEX_IOC_SET_MAPPED, &args), err;

	if (fd < 0)
		return -1;
	if (!afutex_mapped_set_attach(set, fd, members))
		return 0;
	err = errno;
	close(fd);
	errno = err;
	return -1;
}

/* The same on the device. */
static inline int afutex_mapped_set_open(struct afutex_mapped_set *set, uint32_t members,
					 uint32_t fd_flags, uint32_t sig)
{
	return afutex_domain_mapped_set_open(NULL, set, members, fd_flags, sig);
}

/* Unmaps it, and closes the descriptor. */
static inline void afutex_mapped_set_close(struct afutex_mapped_set *set)
{
	munmap(set->ring, AFUTEX_RING_SIZE(set->members));
	close(set->fd);
}

/* Whether there is nothing to take. */
static inline bool afutex_mapped_set_is_empty(const struct afutex_mapped_set *set)
{
	return __atomic_load_n(&set->ring->head, __ATOMIC_RELAXED) ==
	       __atomic_load_n(&set->ring->tail, __ATOMIC_ACQUIRE);
}

/* Takes up to nr events; returns how many there were. */
static inline uint32_t afutex_mapped_set_take_many(struct afutex_mapped_set *set,
						   struct afutex_taken *events, uint32_t nr)
{
	_afutex_u64 *counts = (_afutex_u64 *)(void *)(set->ring + 1);
	__u32 *numbers = (__u32 *)(void *)(counts + set->members), mask = set->members - 1;
	uint32_t n = 0;

	while (n < nr) {
		_afutex_u64 head = __atomic_load_n(&set->ring->head, __ATOMIC_RELAXED);
		__u64 some = __atomic_load_n(&set->ring->tail, __ATOMIC_ACQUIRE) - head;
		struct afutex_taken *at = &events[n];

		if (!some)
			break;
		if (some > nr - n)
			some = nr - n;
		for (__u64 i = 0; i < some; i++)
			at[i].number = __atomic_load_n(&numbers[(head + i) & mask],
						       __ATOMIC_RELAXED);
		/* Before the exchanges: see rust/futex/set/ring.rs. */
		if (!__atomic_compare_exchange_n(&set->ring->head, &head, head + some, false,
						 __ATOMIC_SEQ_CST, __ATOMIC_RELAXED))
			continue;
		for (__u64 i = 0; i < some; i++) {
			events[n].number = at[i].number;
			events[n].count = __atomic_exchange_n(&counts[at[i].number & mask], 0,
							      __ATOMIC_SEQ_CST);
			if (events[n].count)
				n++;
		}
	}
	return n;
}

/* Takes an event; whether there was one. */
static inline bool afutex_mapped_set_take(struct afutex_mapped_set *set, struct afutex_taken *event)
{
	return afutex_mapped_set_take_many(set, event, 1);
}

/*
 * Processes items, and waits until there is something to take: 0. If it fails with
 * ETIMEDOUT or EINTR the items have been processed: do not give them again.
 */
static inline int afutex_mapped_set_wait(struct afutex_mapped_set *set, struct afutex_ctl *items,
					 uint32_t nr_items, const struct timespec *deadline)
{
	return afutex_set_ctl_wait(set->fd, items, nr_items, NULL, 0, deadline);
}

/*
 * Words that futex(2) wakes: what programs that do not know of afutex leave to be watched.
 *
 *	any word		afutex_native_open: then afutex_watch_next, afutex_watch_read
 *	sem_t			afutex_sem_open, afutex_sem_trywait, afutex_sem_disarm,
 *				afutex_sem_close
 *	pthread_mutex_t		afutex_mutex_open, afutex_mutex_trylock, afutex_mutex_close
 *	the end of a thread	afutex_thread_open, afutex_thread_word
 *
 * ENOTSUP, which is EOPNOTSUPP: this C library, or this kind of object, is not known well
 * enough; or the module has no such watches (afutex_device_info() tells which). Whether a
 * semaphore and a mutex are what is assumed here is tried at first use, on one that nothing
 * else has: less than a millisecond, and some 10 ms for the first such watch of a machine.
 *
 * There is nothing for pthread_cond_t: a signal makes a system call only if there are waiters,
 * and a descriptor counted among those of glibc would take signals that are meant for others.
 * There is nothing for barriers either: to wait at one is to arrive at it.
 */

/* syscall(), which strict C does not see. */
#if !defined(__cplusplus) && !defined(_DEFAULT_SOURCE) && !defined(_GNU_SOURCE) && \
	!defined(_BSD_SOURCE)
extern long syscall(long number, ...);
#endif

/* futex(2) itself, where 32-bit machines may have it with a 64-bit timespec alone. */
#ifdef SYS_futex
#define _AFUTEX_SYS_FUTEX	SYS_futex
#else
#define _AFUTEX_SYS_FUTEX	SYS_futex_time64
#endif

/*
 * Opens a watch for the wakes of futex(2) of a word of 32 bits: readable if the word does
 * not hold seen, and when it is woken. flags is FUTEX2_PRIVATE if those who wake it say
 * FUTEX_PRIVATE_FLAG, and otherwise 0. When it is readable: afutex_watch_next().
 */
static inline int afutex_native_open(const volatile void *word, uint32_t seen, uint32_t flags)
{
	return afutex_watch_open(word, seen, FUTEX_BITSET_MATCH_ANY,
				 FUTEX2_SIZE_U32 | AFUTEX_NATIVE | AFUTEX_COMPARE | AFUTEX_READY |
				 flags, O_CLOEXEC | O_NONBLOCK, 0);
}

/* One that is not readable before it is armed: what it is to wait for comes later. */
static inline int _afutex_native_idle(const volatile void *word, uint32_t flags)
{
	return afutex_watch_open(word, 0, FUTEX_BITSET_MATCH_ANY,
				 FUTEX2_SIZE_U32 | AFUTEX_NATIVE | flags, O_CLOEXEC | O_NONBLOCK,
				 0);
}

/* Whether it becomes readable: for what has been woken already. */
static inline bool _afutex_native_comes(int fd)
{
	struct pollfd pfd = { fd, POLLIN, 0 };
	int ret;

	do {
		ret = poll(&pfd, 1, 10000);
	} while (ret < 0 && errno == EINTR);
	return ret == 1;
}

/*
 * Returns 0 if a trial has shown that something works, and tries it if it is not known yet.
 * trial() returns whether it does, or -1 if that could not be tried.
 */
static inline int _afutex_tried(int *known, int (*trial)(void))
{
	/* 1: it works, 2: it does not. */
	int now = __atomic_load_n(known, __ATOMIC_RELAXED);

	if (!now) {
		now = trial();
		if (now < 0)
			return -1;
		now = now ? 1 : 2;
		__atomic_store_n(known, now, __ATOMIC_RELAXED);
	}
	if (now == 1)
		return 0;
	errno = ENOTSUP;
	return -1;
}

/*
 * Semaphores: sem_init() and sem_open(), of glibc and of musl. The waking side is
 * sem_post(), as it is.
 *
 * afutex_sem_trywait() takes a token, or arms the descriptor, and nothing else does: an event
 * loop calls it when it starts and whenever the descriptor is readable, until it fails with
 * EAGAIN, and only then waits again:
 *
 *	while (!afutex_sem_trywait(&watch))
 *		handle();
 *	if (errno != EAGAIN)
 *		fail();
 *
 * While it is armed it is one of the waiters that the semaphore counts, since sem_post() wakes
 * only if there are any. It no longer is when a token was taken, nor after afutex_sem_disarm()
 * and afutex_sem_close(): the semaphore must exist as long as that. If the process is killed
 * before, the count stays one too high, as it does when it is killed in sem_wait(): each later
 * sem_post() makes a system call that it need not make, and nothing else is amiss.
 *
 * All descriptors of a semaphore hear of each token, beside the one task in sem_wait() that is
 * woken; the first that tries has it. A structure is for one thread at a time, and not for a
 * child of fork(), which closes watch.fd if it has no use for it, and opens its own.
 */
struct afutex_sem {
	int fd;
	bool armed;
	sem_t *sem;
};

/*
 * The layouts. glibc on 64 bits: a word of 64 bits, the value in its lower and the waiters in
 * its upper half. glibc on 32 bits: twice the value, and 1 if there are waiters; their number
 * is elsewhere. musl: the value, with the sign if there are waiters; and their number.
 */
#if !defined(__GLIBC__)
#define _AFUTEX_SEM_VALUE	0
#define _AFUTEX_SEM_WAITERS	1
#define _AFUTEX_SEM_SCOPE	2
#define _AFUTEX_SEM_PRIVATE	128
#define _AFUTEX_SEM_NONE	0x80000000u
#elif __SIZEOF_LONG__ == 8 || defined(__x86_64__)
#define _AFUTEX_SEM_VALUE	(__BYTE_ORDER__ == __ORDER_BIG_ENDIAN__)
#define _AFUTEX_SEM_SCOPE	2
#define _AFUTEX_SEM_PRIVATE	0
#define _AFUTEX_SEM_NONE	0u
#else
#define _AFUTEX_SEM_VALUE	0
#define _AFUTEX_SEM_WAITERS	3
#define _AFUTEX_SEM_SCOPE	1
#define _AFUTEX_SEM_PRIVATE	0
#define _AFUTEX_SEM_NONE	1u
#endif

static inline uint32_t *_afutex_sem_word(sem_t *sem, int which)
{
	return (uint32_t *)(void *)sem + which;
}

static inline uint32_t _afutex_sem_scope(sem_t *sem)
{
	uint32_t scope = __atomic_load_n(_afutex_sem_word(sem, _AFUTEX_SEM_SCOPE),
					 __ATOMIC_RELAXED);

	return scope == _AFUTEX_SEM_PRIVATE ? FUTEX2_PRIVATE : 0;
}

/* Says in the semaphore that there is a waiter, if it does not say so any more. */
static inline void _afutex_sem_arm(struct afutex_sem *watch)
{
#ifndef _AFUTEX_SEM_WAITERS
	if (!watch->armed)
		__atomic_fetch_add((uint64_t *)(void *)watch->sem, (uint64_t)1 << 32,
				   __ATOMIC_SEQ_CST);
#else
	uint32_t *value = _afutex_sem_word(watch->sem, _AFUTEX_SEM_VALUE), old = 0;

	if (!watch->armed)
		__atomic_fetch_add(_afutex_sem_word(watch->sem, _AFUTEX_SEM_WAITERS), 1,
				   __ATOMIC_SEQ_CST);
	/* Only where there is no token: the kernel compares it with that. */
	__atomic_compare_exchange_n(value, &old, _AFUTEX_SEM_NONE, false, __ATOMIC_SEQ_CST,
				    __ATOMIC_SEQ_CST);
#endif
	watch->armed = true;
}

/* Is no waiter any more. The descriptor may still become readable. */
static inline void afutex_sem_disarm(struct afutex_sem *watch)
{
	if (!watch->armed)
		return;
	watch->armed = false;
#ifndef _AFUTEX_SEM_WAITERS
	__atomic_fetch_sub((uint64_t *)(void *)watch->sem, (uint64_t)1 << 32, __ATOMIC_SEQ_CST);
#elif !defined(__GLIBC__)
	__atomic_fetch_sub(_afutex_sem_word(watch->sem, _AFUTEX_SEM_WAITERS), 1,
			   __ATOMIC_SEQ_CST);
#else
	uint32_t *value = _afutex_sem_word(watch->sem, _AFUTEX_SEM_VALUE), tokens;
	uint32_t *waiters = _afutex_sem_word(watch->sem, _AFUTEX_SEM_WAITERS);
	bool last = __atomic_load_n(waiters, __ATOMIC_SEQ_CST) == 1;
	uint32_t scope = _afutex_sem_scope(watch->sem) ? FUTEX_PRIVATE_FLAG : 0;
	int err = errno;

	/* As sem_wait() of glibc has it: a guess, which is put right if another one came. */
	if (last)
		__atomic_fetch_and(value, ~_AFUTEX_SEM_NONE, __ATOMIC_SEQ_CST);
	if (__atomic_fetch_sub(waiters, 1, __ATOMIC_SEQ_CST) > 1 && last) {
		tokens = __atomic_fetch_or(value, _AFUTEX_SEM_NONE, __ATOMIC_SEQ_CST) >> 1;
		if (tokens)
			syscall(_AFUTEX_SYS_FUTEX, value, FUTEX_WAKE | scope, tokens, NULL, NULL,
				0);
		errno = err;
	}
#endif
}

static inline int _afutex_sem_open(struct afutex_sem *watch, sem_t *sem)
{
	watch->sem = sem;
	watch->armed = false;
	watch->fd = _afutex_native_idle(_afutex_sem_word(sem, _AFUTEX_SEM_VALUE),
					_afutex_sem_scope(sem));
	return watch->fd < 0 ? -1 : 0;
}

/* Takes a token: 0. EAGAIN: there is none, watch->fd is readable when there may be one. */
static inline int afutex_sem_trywait(struct afutex_sem *watch)
{
	int ret, err;

	do {
		if (!sem_trywait(watch->sem)) {
			afutex_sem_disarm(watch);
			return 0;
		}
		if (errno != EAGAIN)
			break;
		_afutex_sem_arm(watch);
		ret = ioctl(watch->fd, AFUTEX_IOC_NEXT, (unsigned long)_AFUTEX_SEM_NONE);
		if (ret >= 0) {
			errno = EAGAIN;
			return -1;
		}
		/* EAGAIN: there is a token, and the descriptor is not armed. */
	} while (errno == EAGAIN);
	err = errno;
	afutex_sem_disarm(watch);
	errno = err;
	return -1;
}

static inline int afutex_sem_close(struct afutex_sem *watch)
{
	afutex_sem_disarm(watch);
	return close(watch->fd);
}

/* Posts to a semaphore that is watched, and looks whether it is as before afterwards. */
static inline int _afutex_sem_trial_of(int pshared)
{
	struct afutex_sem watch;
	sem_t sem, before;
	bool works;

	memset(&sem, 0, sizeof(sem));
	if (sem_init(&sem, pshared, 0))
		return -1;
	before = sem;
	if (_afutex_sem_open(&watch, &sem))
		return -1;
	works = _afutex_sem_scope(&sem) == (pshared ? 0 : FUTEX2_PRIVATE) &&
		afutex_sem_trywait(&watch) && errno == EAGAIN && !sem_post(&sem) &&
		_afutex_native_comes(watch.fd) && !afutex_sem_trywait(&watch);
	afutex_sem_close(&watch);
	works = works && !memcmp(&sem, &before, sizeof(sem));
	sem_destroy(&sem);
	return works;
}

static inline int _afutex_sem_trial(void)
{
	int works = _afutex_sem_trial_of(0);

	return works == 1 ? _afutex_sem_trial_of(1) : works;
}

/* Opens a descriptor for a semaphore. It waits for nothing before afutex_sem_trywait(). */
static inline int afutex_sem_open(struct afutex_sem *watch, sem_t *sem)
{
	static int known;

	watch->fd = -1;
	watch->armed = false;
	watch->sem = sem;
	return _afutex_tried(&known, _afutex_sem_trial) ? -1 : _afutex_sem_open(watch, sem);
}

/*
 * Mutexes of glibc: of every type, private, process-shared and robust; those with a protocol
 * (PTHREAD_PRIO_INHERIT, _PROTECT) and those of other libraries are ENOTSUP. The waking side
 * is pthread_mutex_unlock(), as it is.
 *
 * afutex_mutex_trylock() takes the mutex, or says in it that there may be waiters and arms the
 * descriptor: EBUSY. Call it as afutex_sem_trywait() is called. It returns what
 * pthread_mutex_trylock() does, also EOWNERDEAD, after which the mutex is held; or another
 * error, and then the descriptor is not armed. The thread that calls it holds the mutex.
 *
 * What is said in the mutex makes the next unlock a system call; so much stays after a close,
 * and after a kill. As in pthread_mutex_lock(), the wake is lost if the process that unlocks
 * is killed between the unlock and the wake, unless the mutex is robust. A process with one
 * thread unlocks private mutexes without a wake: no other thread waits for them.
 */
struct afutex_mutex {
	int fd;
	pthread_mutex_t *mutex;
};

#ifdef __GLIBC__
/* Of __kind: robust, the two protocols, process-shared. */
#define _AFUTEX_MUTEX_ROBUST	0x10
#define _AFUTEX_MUTEX_PROTOCOL	0x60
#define _AFUTEX_MUTEX_SHARED	0x80
/* Of the word of a robust mutex, as the kernel has it. */
#define _AFUTEX_MUTEX_WAITERS	0x80000000u

static inline uint32_t *_afutex_mutex_word(pthread_mutex_t *mutex)
{
	return (uint32_t *)&mutex->__data.__lock;
}

static inline int _afutex_mutex_kind(pthread_mutex_t *mutex)
{
	return __atomic_load_n(&mutex->__data.__kind, __ATOMIC_RELAXED);
}
#endif

static inline int _afutex_mutex_open(struct afutex_mutex *watch, pthread_mutex_t *mutex)
{
	watch->mutex = mutex;
	watch->fd = -1;
	errno = ENOTSUP;
#ifdef __GLIBC__
	int kind = _afutex_mutex_kind(mutex);

	/* The wakes of a robust mutex are shared ones, since those at its owner's death are. */
	bool shared = kind & (_AFUTEX_MUTEX_ROBUST | _AFUTEX_MUTEX_SHARED);

	if (!(kind & _AFUTEX_MUTEX_PROTOCOL))
		watch->fd = _afutex_native_idle(_afutex_mutex_word(mutex),
						shared ? 0 : FUTEX2_PRIVATE);
#endif
	return watch->fd < 0 ? -1 : 0;
}

/* Takes the mutex: 0, EOWNERDEAD. EBUSY: watch->fd is readable when it may be had. */
static inline int afutex_mutex_trylock(struct afutex_mutex *watch)
{
	int ret = pthread_mutex_trylock(watch->mutex);
#ifdef __GLIBC__
	bool robust = _afutex_mutex_kind(watch->mutex) & _AFUTEX_MUTEX_ROBUST;
	uint32_t *word = _afutex_mutex_word(watch->mutex), val, waiters;

	for (; ret == EBUSY; ret = pthread_mutex_trylock(watch->mutex)) {
		val = __atomic_load_n(word, __ATOMIC_SEQ_CST);
		/* 1 is locked, and 2 that with waiters; or the owner's number, with a bit. */
		waiters = robust ? val | _AFUTEX_MUTEX_WAITERS : 2;
		if (!val || (val != waiters &&
			     !__atomic_compare_exchange_n(word, &val, waiters, false,
							  __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)))
			continue;
		if (ioctl(watch->fd, AFUTEX_IOC_NEXT, (unsigned long)waiters) >= 0)
			break;
		if (errno != EAGAIN)
			return errno;
	}
#endif
	return ret;
}

static inline int afutex_mutex_close(struct afutex_mutex *watch)
{
	return close(watch->fd);
}

/* Unlocks a process-shared mutex that is watched, and takes it. */
static inline int _afutex_mutex_trial_of(bool robust)
{
	struct afutex_mutex watch;
	pthread_mutexattr_t attr;
	pthread_mutex_t mutex;
	bool works;

	if (pthread_mutexattr_init(&attr)) {
		errno = ENOMEM;
		return -1;
	}
	works = !pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED) &&
		!(robust && pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST)) &&
		!pthread_mutex_init(&mutex, &attr);
	pthread_mutexattr_destroy(&attr);
	if (!works)
		return 0;
	if (_afutex_mutex_open(&watch, &mutex))
		return -1;
	works = !pthread_mutex_lock(&mutex) && afutex_mutex_trylock(&watch) == EBUSY;
	pthread_mutex_unlock(&mutex);
	works = works && _afutex_native_comes(watch.fd) && !afutex_mutex_trylock(&watch) &&
		!pthread_mutex_unlock(&mutex);
	afutex_mutex_close(&watch);
	pthread_mutex_destroy(&mutex);
	return works;
}

static inline int _afutex_mutex_trial(void)
{
	int works = _afutex_mutex_trial_of(false);

	return works == 1 ? _afutex_mutex_trial_of(true) : works;
}

/* Opens a descriptor for a mutex. It waits for nothing before afutex_mutex_trylock(). */
static inline int afutex_mutex_open(struct afutex_mutex *watch, pthread_mutex_t *mutex)
{
	static int known;

	watch->fd = -1;
	watch->mutex = mutex;
	return _afutex_tried(&known, _afutex_mutex_trial) ? -1 : _afutex_mutex_open(watch, mutex);
}

/*
 * The end of a thread: the kernel clears a word of it, and wakes. For glibc that is the
 * thread's number; the libraries that have another word there, as musl has, are ENOTSUP, and
 * so are kernels without CONFIG_CHECKPOINT_RESTORE, which do not tell which word it is.
 *
 * Both functions are for the thread itself. Its word is what it is until the thread is joined,
 * or, if it is detached, has ended; then it may be another thread's. So a watch
 * of another thread's word is armed before that, with the number that this thread has read
 * from it itself. The last thread of a process ends without a wake.
 *
 * pidfd_open(2) with PIDFD_THREAD (Linux 6.9) tells it too, a moment later: it needs neither
 * module nor C library, and a descriptor for each thread. Words are members of one set.
 */

/* The word: it holds the number of the calling thread. */
static inline const volatile uint32_t *afutex_thread_word(void)
{
	const volatile uint32_t *word;
	uint64_t room = 0;

	/* A 64-bit kernel stores 64 bits, for 32-bit programs too. */
	if (prctl(PR_GET_TID_ADDRESS, &room))
		room = 0;
	memcpy(&word, &room, sizeof(word));
	if (word && *word == (uint32_t)syscall(SYS_gettid))
		return word;
	errno = ENOTSUP;
	return NULL;
}

/* Opens a descriptor that is readable once the calling thread has ended. */
static inline int afutex_thread_open(void)
{
	const volatile uint32_t *word = afutex_thread_word();

	return word ? afutex_native_open(word, *word, 0) : -1;
}

/*
 * The library of 2002: locks and semaphores.
 *
 *	struct futex		a lock or a semaphore: a count of tokens
 *	futex_init		sets the count
 *	futex_down		takes a token, sleeps until there is one
 *	futex_trydown		takes one if there is one
 *	futex_down_timeout	takes one, or gives up after a while
 *	futex_up		puts a token back
 *	futex_up_fair		hands it to the waiter that waits longest, if there is one
 *	futex_await		a descriptor that becomes readable when one may be had
 *	futex_claim		takes one then, as futex_trydown does without waiting
 *
 * A futex may be in private or in shared memory, and works in both. While there are no
 * waiters, down and up are one atomic instruction and no system call.
 *
 * Errors. futex_down and futex_up fail only for a bad address (EFAULT) and where the
 * device cannot be opened; a failed futex_up puts no token back. A shortage (ENOMEM,
 * also of RLIMIT_MEMLOCK, EMFILE, ENFILE) makes them slower: they look every 2 ms until it
 * is over. So a process that must not be slowed calls afutex_device() when it starts.
 *
 * Memory ordering. Stores before a futex_up are visible after the futex_down that takes
 * the token: up releases, down acquires. Accesses of the count are sequentially consistent
 * too: of a down that is about to sleep and an up, at least one sees the other, and the
 * kernel compares the word once more before it lets a task sleep.
 *
 * The count. From 0 up it is the number of tokens, and there are no waiters. -1: there
 * are no tokens, and there may be waiters. FUTEX_PASSED: there is one token, on its way
 * to a waiter that was woken. A task that takes the last token and may have waited leaves
 * -1.
 *
 * Domains. A futex is of the device, or of a domain, if all who use it do so through that
 * domain: with futex_domain_down, futex_domain_up and the like. Then putting back a token
 * after others have waited makes no system call if none of them waits any more.
 *
 * Fairness. A token put back with futex_up is free for all: a thread that takes and puts
 * back in a loop may take it again before the woken waiter runs. futex_up_fair marks the
 * token as passed and wakes one waiter, which takes it. A newcomer first steps back for
 * FUTEX_PASSED_NSEC, and takes the token only if it is still there then, since the woken
 * waiter may have been killed. So a wake that returns 1 is a token that some task takes:
 * a token is in the count or on its way at all times, and never in a descriptor. When a
 * descriptor that was woken is closed unread, the kernel wakes the next waiter.
 */

/* A count of tokens: 1 for a lock that is free. */
struct futex {
	int count;
};

#define FUTEX_INITIALIZER(val)	{ (val) }

#define FUTEX_PASSED		(-(1 << 30))
#define FUTEX_PASSED_NSEC	2000000

static inline void futex_init(struct futex *f, int val)
{
	__atomic_store_n(&f->count, val, __ATOMIC_RELEASE);
}

/* Replaces the count *old by count, or sets *old to what it is. */
static inline bool _futex_change(struct futex *f, int *old, int count)
{
	return __atomic_compare_exchange_n(&f->count, old, count, false, __ATOMIC_SEQ_CST,
					   __ATOMIC_RELAXED);
}

/* Takes a token if there is one, and leaves last in the place of the last one. */
static inline int _futex_try(struct futex *f, int last)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED);

	while (count > 0 || count == FUTEX_PASSED)
		if (_futex_change(f, &count, count > 1 ? count - 1 : count == 1 ? last : -1))
			return 0;
	errno = EWOULDBLOCK;
	return -1;
}

/* Takes a token if there is one: 0, or -1 and EWOULDBLOCK. No system call. */
static inline int futex_trydown(struct futex *f)
{
	return _futex_try(f, 0);
}

/*
 * Like futex_trydown, for a task that waits by a descriptor. It does not know of other
 * waiters, so the task that puts the token back wakes one.
 */
static inline int futex_claim(struct futex *f)
{
	return _futex_try(f, -1);
}

/* The moment nsec from now. */
static inline struct timespec _futex_after(int64_t nsec)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	nsec += ts.tv_nsec;
	ts.tv_sec += (time_t)(nsec / 1000000000);
	ts.tv_nsec = (long)(nsec % 1000000000);
	return ts;
}

static inline bool _futex_before(const struct timespec *a, const struct timespec *b)
{
	return a->tv_sec != b->tv_sec ? a->tv_sec < b->tv_sec : a->tv_nsec < b->tv_nsec;
}

/* Whether errno is a shortage that passes; if so, lets some time pass. */
static inline bool _futex_shortage(void)
{
	struct timespec moment = { 0, FUTEX_PASSED_NSEC };

	if (errno != ENOMEM && errno != EMFILE && errno != ENFILE)
		return false;
	nanosleep(&moment, NULL);
	return true;
}

/* Wakes waiters for a token that is in the count: has to reach them. */
static inline int _futex_wake(const struct afutex_domain *domain, struct futex *f, uint32_t nr)
{
	int ret;

	do {
		ret = afutex_domain_word_wake(domain, &f->count, nr, FUTEX_BITSET_MATCH_ANY,
					      FUTEX2_SIZE_U32);
	} while (ret < 0 && _futex_shortage());
	return ret;
}

/* futex_down without a token in sight: sleeps for one. */
static inline int _futex_down_slow(const struct afutex_domain *domain, struct futex *f,
				   const struct timespec *deadline)
{
	bool slept = false, may_claim = false;

	for (;;) {
		int count = __atomic_load_n(&f->count, __ATOMIC_SEQ_CST), left;
		struct timespec step_back;
		const struct timespec *until = deadline;

		if (count > 0 || (count == FUTEX_PASSED && may_claim)) {
			/* A task that slept does not know whether there are other waiters. */
			left = count > 0 ? count - 1 : -1;
			if (slept && left == 0)
				left = -1;
			if (!_futex_change(f, &count, left))
				continue;
			/* More tokens came than wakes: pass the wake on. */
			if (slept && left > 0)
				_futex_wake(domain, f, 1);
			return 0;
		}
		if (count == 0) {
			_futex_change(f, &count, -1);
			continue;
		}

		/* -1, or passed to another task, which gets some time to take it. */
		if (count == FUTEX_PASSED) {
			step_back = _futex_after(FUTEX_PASSED_NSEC);
			if (!deadline || _futex_before(&step_back, deadline))
				until = &step_back;
		}
		if (!afutex_domain_word_wait(domain, &f->count, (uint32_t)count,
					     FUTEX_BITSET_MATCH_ANY, FUTEX2_SIZE_U32, until)) {
			slept = true;
			may_claim = true;
		} else if (errno == ETIMEDOUT && until == &step_back) {
			may_claim = true;
		} else if (errno != EAGAIN && errno != EINTR) {
			if (!_futex_shortage())
				return -1;
			/* It has stepped back for that long. */
			if (count == FUTEX_PASSED)
				may_claim = true;
			if (deadline) {
				step_back = _futex_after(0);
				if (!_futex_before(&step_back, deadline)) {
					errno = ETIMEDOUT;
					return -1;
				}
			}
		}
	}
}

/* Takes a token if there is one and no waiter is in sight. */
static inline bool _futex_down_fast(struct futex *f)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED);

	while (count > 0)
		if (_futex_change(f, &count, count - 1))
			return true;
	return false;
}

/* Takes a token; sleeps until there is one. */
static inline int futex_domain_down(const struct afutex_domain *domain, struct futex *f)
{
	return _futex_down_fast(f) ? 0 : _futex_down_slow(domain, f, NULL);
}

static inline int futex_down(struct futex *f)
{
	return futex_domain_down(NULL, f);
}

/* Takes a token within a time; -1 and ETIMEDOUT if there was none. */
static inline int futex_domain_down_timeout(const struct afutex_domain *domain, struct futex *f,
					    const struct timespec *rel)
{
	struct timespec deadline;

	if (_futex_down_fast(f))
		return 0;
	deadline = _futex_after(rel->tv_nsec);
	deadline.tv_sec += rel->tv_sec;
	return _futex_down_slow(domain, f, &deadline);
}

static inline int futex_down_timeout(struct futex *f, const struct timespec *rel)
{
	return futex_domain_down_timeout(NULL, f, rel);
}

static inline int _futex_up(const struct afutex_domain *domain, struct futex *f, bool fair)
{
	int count = __atomic_load_n(&f->count, __ATOMIC_RELAXED), next;

	do {
		/* Waiters have to be woken: no token without a device. */
		if (count < 0 && !domain) {
			while (afutex_device() < 0)
				if (!_futex_shortage())
					return -1;
		}
		/* Two tokens at once are free for all. */
		next = count >= 0 ? count + 1 : count == FUTEX_PASSED ? 2 : fair ? FUTEX_PASSED : 1;
	} while (!_futex_change(f, &count, next));
	if (count >= 0)
		return 0;
	count = _futex_wake(domain, f, next == 2 ? INT32_MAX : 1);
	/* Passed to no task: it is free for all. A task that came since steps back only briefly. */
	if (!count && next == FUTEX_PASSED)
		_futex_change(f, &next, 1);
	return count < 0 ? -1 : 0;
}

/* Puts a token back. */
static inline int futex_domain_up(const struct afutex_domain *domain, struct futex *f)
{
	return _futex_up(domain, f, false);
}

static inline int futex_up(struct futex *f)
{
	return futex_domain_up(NULL, f);
}

/* Puts a token back for the waiter that waits longest. */
static inline int futex_domain_up_fair(const struct afutex_domain *domain, struct futex *f)
{
	return _futex_up(domain, f, true);
}

static inline int futex_up_fair(struct futex *f)
{
	return futex_domain_up_fair(NULL, f);
}

/*
 * Opens a descriptor that becomes readable when a token may be had, and sends a signal
 * to the calling process then, if sig is not 0. When it is readable, take the token with
 * futex_claim() and close the descriptor; if the token is gone, open another. To give up,
 * close it: if it was woken since, the next waiter is.
 */
static inline int futex_domain_await(const struct afutex_domain *domain, struct futex *f,
				     int sig)
{
	int count = 0;

	/* Says that there is a waiter. */
	_futex_change(f, &count, -1);
	return afutex_domain_watch_open(domain, &f->count, (uint32_t)-1, FUTEX_BITSET_MATCH_ANY,
					FUTEX2_SIZE_U32 | AFUTEX_COMPARE | AFUTEX_READY,
					O_CLOEXEC | O_NONBLOCK, (uint32_t)sig);
}

static inline int futex_await(struct futex *f, int sig)
{
	return futex_domain_await(NULL, f, sig);
}

#ifdef __cplusplus
}
#endif

#endif /* _AFUTEX_H */
