// SPDX-License-Identifier: GPL-2.0
/*
 * Tries a program on the module: LD_PRELOAD=preload.so overrides libc's syscall()
 * and sends the futex calls that are made through it to /dev/afutex.
 *
 * Whoever calls futex(2) by way of syscall() is redirected: Rust's standard library
 * and its crates, the kernel's selftests, perf, stress-ng. glibc's own locks and
 * condition variables are not, for they make the call inline; since the two do not
 * meet, a word that both sides use would be missed. Priority inheritance and robust
 * futexes go to the kernel's own.
 *
 * With AFUTEX_PRELOAD_WATCH set, it redirects nothing: the calls go to futex(2), and each
 * word that they name is watched, from before its first call, by AFUTEX_NATIVE.
 *
 * With AFUTEX_PRELOAD_COUNT set to the name of a file, all processes count the calls
 * that they redirect in it, or the words that they watch, as one 64-bit number; and behind
 * it the wakes of these words, if they exit by themselves.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

#include <linux/afutex.h>

#ifndef SYS_futex_wake
#define SYS_futex_wake		454
#define SYS_futex_wait		455
#define SYS_futex_requeue	456
#endif

static atomic_ulong nowhere[2], *redirected = nowhere;
#define WAKES	1
static int watches;

/* libc's syscall() itself, which this library hides. */
static long real(long nr, long a, long b, long c, long d, long e, long f)
{
	register long r10 __asm__("r10") = d;
	register long r8 __asm__("r8") = e;
	register long r9 __asm__("r9") = f;
	long ret;

	__asm__ volatile("syscall" : "=a"(ret)
			 : "a"(nr), "D"(a), "S"(b), "d"(c), "r"(r10), "r"(r8), "r"(r9)
			 : "rcx", "r11", "memory");
	if (ret < 0 && ret > -4096) {
		errno = -ret;
		return -1;
	}
	return ret;
}

/*
 * The device, under a number that few programs close, and that the smallest table of
 * descriptors has: to make a larger one takes a threaded process a while.
 */
static int keep(int low)
{
	int now = real(SYS_fcntl, low, F_DUPFD_CLOEXEC, 60, 0, 0, 0);

	if (now < 0)
		return low;
	real(SYS_close, low, 0, 0, 0, 0, 0);
	return now;
}

static int device(void)
{
	static atomic_int fd = -1;
	int now = fd, low;

	/* A fork keeps it; a program that closed it gets another. */
	if (now >= 0 && real(SYS_fcntl, now, F_GETFD, 0, 0, 0, 0) >= 0)
		return now;
	low = real(SYS_openat, AT_FDCWD, (long)"/dev/afutex", O_RDWR | O_CLOEXEC, 0, 0, 0);
	if (low < 0) {
		static const char text[] =
			"preload.so: cannot open /dev/afutex: load the module.\n";

		real(SYS_write, 2, (long)text, sizeof(text) - 1, 0, 0, 0);
		real(SYS_exit_group, 125, 0, 0, 0, 0, 0);
	}
	now = keep(low);
	fd = now;
	return now;
}

/* What is watched, by address; the lowest bit says that it is a private word. */
#define KNOWN	16384
static atomic_ulong known[KNOWN];
/* The set of watches of this process, and which that is. */
static atomic_int set = -1, owner;

/* A fork has the descriptor of its parent's set, and watches in its own memory. */
static void set_make(void)
{
	struct afutex_set args = { .fd_flags = O_CLOEXEC | O_NONBLOCK };
	int pid = real(SYS_getpid, 0, 0, 0, 0, 0, 0), before = owner, fd;

	if (pid == before || !atomic_compare_exchange_strong(&owner, &before, pid))
		return;
	for (int i = 0; i < KNOWN; i++)
		known[i] = 0;
	fd = real(SYS_ioctl, device(), AFUTEX_IOC_SET, (long)&args, 0, 0, 0);
	set = fd < 0 ? fd : keep(fd);
}

/* Watches a word, if it is one, and is not watched already. */
static void watch(unsigned long addr, int is_private)
{
	unsigned long word = addr | is_private, none = 0;
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = {
			.uaddr = addr, .mask = ~0u,
			.flags = FUTEX2_SIZE_U32 | AFUTEX_NATIVE | AFUTEX_PERSISTENT |
				 (is_private ? FUTEX2_PRIVATE : 0),
		},
	};
	struct afutex_ctlv args = { .items = (unsigned long)&item, .nr = 1 };
	int error = errno;

	set_make();
	if (!addr || addr % 4)
		return;
	for (unsigned long i = addr / 4, tries = 0; tries < KNOWN / 2; i++, tries++) {
		if (known[i % KNOWN] == word)
			return;
		none = 0;
		if (!known[i % KNOWN] &&
		    atomic_compare_exchange_strong(&known[i % KNOWN], &none, word)) {
			if (real(SYS_ioctl, set, AFUTEX_IOC_CTL, (long)&args, 0, 0, 0) == 1 &&
			    !item.result)
				++*redirected;
			break;
		}
		if (none == word)
			return;
	}
	errno = error;
}

static void watch_all(long nr, long a, long b, long d, long e)
{
	const struct futex_waitv *w = (const struct futex_waitv *)a;
	int cmd = b & FUTEX_CMD_MASK;

	switch (nr) {
	case SYS_futex:
		watch(a, !!(b & FUTEX_PRIVATE_FLAG));
		if (cmd == FUTEX_WAKE_OP || cmd == FUTEX_REQUEUE || cmd == FUTEX_CMP_REQUEUE)
			watch(e, !!(b & FUTEX_PRIVATE_FLAG));
		break;
	case SYS_futex_wake:
	case SYS_futex_wait:
		watch(a, !!(d & FUTEX2_PRIVATE));
		break;
	case SYS_futex_waitv:
		for (long i = 0; w && i < b && i < FUTEX_WAITV_MAX; i++)
			watch(w[i].uaddr, !!(w[i].flags & FUTEX2_PRIVATE));
		break;
	case SYS_futex_requeue:
		for (int i = 0; w && i < 2; i++)
			watch(w[i].uaddr, !!(w[i].flags & FUTEX2_PRIVATE));
		break;
	}
}

__attribute__((destructor)) static void count_wakes(void)
{
	struct afutex_event events[64];
	long got;

	if (!watches || owner != real(SYS_getpid, 0, 0, 0, 0, 0, 0))
		return;
	while ((got = real(SYS_read, set, (long)events, sizeof(events), 0, 0, 0)) > 0)
		for (long i = 0; i < got / (long)sizeof(events[0]); i++)
			redirected[WAKES] += events[i].count;
}

static long ask(unsigned long cmd, void *args)
{
	++*redirected;
	return real(SYS_ioctl, device(), cmd, (long)args, 0, 0, 0);
}

/* Whether the command is one that only the kernel's own futex has. */
static int is_theirs(int op)
{
	switch (op & FUTEX_CMD_MASK) {
	case FUTEX_LOCK_PI:
	case FUTEX_LOCK_PI2:
	case FUTEX_UNLOCK_PI:
	case FUTEX_TRYLOCK_PI:
	case FUTEX_WAIT_REQUEUE_PI:
	case FUTEX_CMP_REQUEUE_PI:
		return 1;
	}
	return 0;
}

/* Whether all words are of 32 bits: the kernel's call knows no others. */
static int only_u32(const void *from, unsigned long nr)
{
	struct futex_waitv w[FUTEX_WAITV_MAX];
	struct iovec local = { w, nr * sizeof(w[0]) };
	struct iovec remote = { (void *)from, nr * sizeof(w[0]) };

	/* An array that cannot be read is for the module to refuse. */
	if (real(SYS_process_vm_readv, real(SYS_getpid, 0, 0, 0, 0, 0, 0), (long)&local, 1,
		 (long)&remote, 1, 0) != (long)local.iov_len)
		return 1;
	for (unsigned long i = 0; i < nr; i++)
		if ((w[i].flags & FUTEX2_SIZE_MASK) != FUTEX2_SIZE_U32)
			return 0;
	return 1;
}

long syscall(long nr, ...)
{
	long a, b, c, d, e, f;
	va_list ap;

	va_start(ap, nr);
	a = va_arg(ap, long);
	b = va_arg(ap, long);
	c = va_arg(ap, long);
	d = va_arg(ap, long);
	e = va_arg(ap, long);
	f = va_arg(ap, long);
	va_end(ap);

	if (watches) {
		watch_all(nr, a, b, d, e);
		return real(nr, a, b, c, d, e, f);
	}
	switch (nr) {
	case SYS_futex:
		if (!is_theirs(b)) {
			struct afutex_call args = {
				.uaddr = a, .op = b, .val = c, .timeout = d, .uaddr2 = e,
				.val3 = f,
			};

			return ask(AFUTEX_IOC_CALL, &args);
		}
		break;
	case SYS_futex_wake: {
		struct afutex_wake args = { .uaddr = a, .mask = b, .count = c, .flags = d };

		return ask(AFUTEX_IOC_WAKE, &args);
	}
	case SYS_futex_wait: {
		struct afutex_wait args = {
			.uaddr = a, .val = b, .mask = c, .flags = d, .timeout = e, .clockid = f,
		};

		return ask(AFUTEX_IOC_WAIT, &args);
	}
	case SYS_futex_requeue: {
		/* waiters[2], flags, nr_wake, nr_requeue */
		const struct futex_waitv *w = (const struct futex_waitv *)a;
		struct afutex_requeue args = { .wake = c, .requeue = d };

		if (!w || b || w[0].flags != w[1].flags || w[0].__reserved || w[1].__reserved ||
		    (int)c < 0 || (int)d < 0) {
			errno = EINVAL;
			return -1;
		}
		args.uaddr = w[0].uaddr;
		args.val = w[0].val;
		args.uaddr2 = w[1].uaddr;
		args.flags = w[0].flags;
		return ask(AFUTEX_IOC_REQUEUE, &args);
	}
	case SYS_futex_waitv: {
		struct afutex_waitv args = {
			.waiters = a, .nr = b, .timeout = d, .clockid = d ? e : 1,
		};

		if (c || !b || b > FUTEX_WAITV_MAX || !a || !only_u32((void *)a, b)) {
			errno = EINVAL;
			return -1;
		}
		return ask(AFUTEX_IOC_WAITV, &args);
	}
	}
	return real(nr, a, b, c, d, e, f);
}

__attribute__((constructor)) static void start(void)
{
	const char *path = getenv("AFUTEX_PRELOAD_COUNT");
	void *map;
	int fd;

	watches = !!getenv("AFUTEX_PRELOAD_WATCH");
	device();
	if (!path)
		return;
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0666);
	if (fd < 0 || ftruncate(fd, sizeof(nowhere))) {
		perror(path);
		return;
	}
	map = mmap(NULL, sizeof(nowhere), PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	if (map != MAP_FAILED)
		redirected = map;
	close(fd);
}
