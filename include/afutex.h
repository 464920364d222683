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
 *	One for many words	afutex_set_open, afutex_set_add, afutex_set_change,
 *				afutex_set_remove, afutex_set_ctl, afutex_set_read,
 *				afutex_set_ctl_wait
 *	Locks and semaphores	futex_init, futex_down, futex_trydown, futex_down_timeout,
 *				futex_up, futex_up_fair, futex_await, futex_claim; in
 *				a domain: futex_domain_down, futex_domain_up ...
 */
#ifndef _AFUTEX_H
#define _AFUTEX_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
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
