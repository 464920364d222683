// SPDX-License-Identifier: GPL-2.0
/*
 * What scripts/profile looks into: one operation, many times over, between marks.
 *
 * usage: profile CASE [ITERATIONS]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <afutex.h>

#include "profile.h"

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32	0x02
#endif
#ifndef FUTEX2_PRIVATE
#define FUTEX2_PRIVATE	FUTEX_PRIVATE_FLAG
#endif

static int dev, fd, ep;
static _Atomic uint32_t words[64];
static long iterations = 2000;

static void die(const char *what)
{
	perror(what);
	exit(1);
}

/* What must give that many. */
static inline void must(const char *what, long is, long want)
{
	if (is != want) {
		fprintf(stderr, "%s: %ld rather than %ld: ", what, is, want);
		die("errno");
	}
}

static int call(uint32_t op, uint32_t val)
{
	struct afutex_call args = { .uaddr = (uintptr_t)words, .op = op, .val = val };

	return ioctl(dev, AFUTEX_IOC_CALL, &args);
}

static void open_watch(uint32_t flags)
{
	struct afutex_open args = {
		.watch = { .uaddr = (uintptr_t)words, .mask = ~0u,
			   .flags = FUTEX2_SIZE_U32 | flags },
		.fd_flags = O_NONBLOCK,
	};

	fd = ioctl(dev, AFUTEX_IOC_OPEN, &args);
	if (fd < 0)
		die("AFUTEX_IOC_OPEN");
}

static void epoll_on(int which)
{
	struct epoll_event ev = { .events = EPOLLIN };

	ep = epoll_create1(0);
	must("epoll_ctl", epoll_ctl(ep, EPOLL_CTL_ADD, which, &ev), 0);
}

static void wait_with_epoll(void)
{
	struct epoll_event ev;

	must("epoll_wait", epoll_wait(ep, &ev, 1, -1), 1);
}

static void nothing(void)
{
}

static void getppid_once(void)
{
	syscall(SYS_getppid);
}

static void wake_private(void)
{
	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 0);
}

static void wake_shared(void)
{
	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE, words), 0);
}

static void call_wake_private(void)
{
	must("wake", call(FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 0);
}

static void call_wake_shared(void)
{
	must("wake", call(FUTEX_WAKE, 1), 0);
}

static void futex_wake(void)
{
	must("wake", syscall(SYS_futex, words, FUTEX_WAKE | FUTEX_PRIVATE_FLAG, 1), 0);
}

static void futex_wake_shared(void)
{
	must("wake", syscall(SYS_futex, words, FUTEX_WAKE, 1), 0);
}

static void open_persistent(void)
{
	open_watch(FUTEX2_PRIVATE | AFUTEX_PERSISTENT);
}

static void watch(void)
{
	uint64_t count;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	must("read", read(fd, &count, sizeof(count)), sizeof(count));
}

static void open_persistent_shared(void)
{
	open_watch(AFUTEX_PERSISTENT);
}

static void watch_shared(void)
{
	uint64_t count;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE, words), 1);
	must("read", read(fd, &count, sizeof(count)), sizeof(count));
}

static void open_persistent_epoll(void)
{
	open_persistent();
	epoll_on(fd);
}

static void watch_epoll(void)
{
	uint64_t count;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	wait_with_epoll();
	must("read", read(fd, &count, sizeof(count)), sizeof(count));
}

static void open_once(void)
{
	open_watch(FUTEX2_PRIVATE | AFUTEX_COMPARE);
}

static void next(void)
{
	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	must("next", ioctl(fd, AFUTEX_IOC_NEXT, 0), 1);
}

static void open_once_shared(void)
{
	open_watch(AFUTEX_COMPARE);
}

static void next_shared(void)
{
	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE, words), 1);
	must("next", ioctl(fd, AFUTEX_IOC_NEXT, 0), 1);
}

/* Somebody waits at the same offset of another page. */
static void open_elsewhere(void)
{
	struct afutex_call call = { .op = FUTEX_FD };

	call.uaddr = (uintptr_t)mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				     MAP_PRIVATE | MAP_ANONYMOUS, -1, 0) +
		     (uintptr_t)words % 4096;
	if (ioctl(dev, AFUTEX_IOC_CALL, &call) < 0)
		die("FUTEX_FD");
}

#define HERD	1000

static struct afutex_ctl herd[HERD];

static void open_herd(void)
{
	struct afutex_set args = { .fd_flags = O_NONBLOCK };
	struct afutex_ctlv ctlv = { .items = (uintptr_t)herd, .nr = HERD };

	fd = ioctl(dev, AFUTEX_IOC_SET, &args);
	for (int i = 0; i < HERD; i++)
		herd[i] = (struct afutex_ctl) {
			.op = AFUTEX_CTL_ADD,
			.watch = { .uaddr = (uintptr_t)words, .mask = ~0u,
				   .flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE },
		};
	must("ctl", ioctl(fd, AFUTEX_IOC_CTL, &ctlv), HERD);
	for (int i = 0; i < HERD; i++)
		herd[i].op = AFUTEX_CTL_MOD;
}

static struct afutex_mapped_set mapped;

/* A mapped set of persistent members. */
static void open_members(int n)
{
	struct afutex_ctlv ctlv = { .items = (uintptr_t)herd, .nr = n };

	must("open", afutex_mapped_set_open(&mapped, 1024, O_NONBLOCK, 0), 0);
	fd = mapped.fd;
	for (int i = 0; i < n; i++)
		herd[i] = (struct afutex_ctl) {
			.op = AFUTEX_CTL_ADD,
			.watch = { .uaddr = (uintptr_t)words, .mask = ~0u,
				   .flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE | AFUTEX_PERSISTENT },
		};
	must("ctl", ioctl(fd, AFUTEX_IOC_CTL, &ctlv), n);
}

static void open_mapped(void)
{
	open_members(1);
}

static void take(void)
{
	struct afutex_taken event;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	must("take", afutex_mapped_set_take(&mapped, &event), 1);
}

static void open_mapped_herd(void)
{
	open_members(HERD);
}

static void take_herd(void)
{
	static struct afutex_taken events[HERD];

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, words), HERD);
	must("take", afutex_mapped_set_take_many(&mapped, events, HERD), HERD);
}

static void wake_herd(void)
{
	static struct afutex_event events[HERD];
	struct afutex_ctlv ctlv = { .items = (uintptr_t)herd, .nr = HERD };

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ALL_PRIVATE, words), HERD);
	must("read", read(fd, events, sizeof(events)), sizeof(events));
	must("ctl", ioctl(fd, AFUTEX_IOC_CTL, &ctlv), HERD);
}

static void open_set(void)
{
	struct afutex_set args = { .fd_flags = O_NONBLOCK };
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = (uintptr_t)words, .mask = ~0u,
			   .flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE | AFUTEX_PERSISTENT },
	};
	struct afutex_ctlv batch = { .items = (uintptr_t)&item, .nr = 1 };

	fd = ioctl(dev, AFUTEX_IOC_SET, &args);
	must("add", ioctl(fd, AFUTEX_IOC_CTL, &batch), 1);
	must("add", item.result, 0);
}

static void set(void)
{
	struct afutex_event ev;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	must("read", read(fd, &ev, sizeof(ev)), sizeof(ev));
}

static void open_set_epoll(void)
{
	open_set();
	epoll_on(fd);
}

static void set_epoll(void)
{
	struct afutex_event ev;

	must("wake", ioctl(dev, AFUTEX_IOC_WAKE_ONE_PRIVATE, words), 1);
	wait_with_epoll();
	must("read", read(fd, &ev, sizeof(ev)), sizeof(ev));
}

static void futex_fd(void)
{
	struct pollfd pfd = { .events = POLLIN };

	pfd.fd = call(FUTEX_FD, 0);
	must("wake", call(FUTEX_WAKE, 1), 1);
	must("poll", poll(&pfd, 1, -1), 1);
	must("close", close(pfd.fd), 0);
}

static void wakev(void)
{
	static struct afutex_wakev_word v[64];
	struct afutex_wakev args = { .words = (uintptr_t)v, .nr = 64 };

	for (int i = 0; i < 64 && !v[i].uaddr; i++)
		v[i] = (struct afutex_wakev_word) {
			.uaddr = (uintptr_t)&words[i], .mask = ~0u, .count = 1,
			.flags = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE,
		};
	must("wakev", ioctl(dev, AFUTEX_IOC_WAKEV, &args), 64);
}

static void open_eventfd(void)
{
	fd = eventfd(0, EFD_NONBLOCK);
}

static void event_fd(void)
{
	uint64_t count = 1;

	must("write", write(fd, &count, sizeof(count)), sizeof(count));
	must("read", read(fd, &count, sizeof(count)), sizeof(count));
}

static void open_eventfd_epoll(void)
{
	open_eventfd();
	epoll_on(fd);
}

static void eventfd_epoll(void)
{
	uint64_t count = 1;

	must("write", write(fd, &count, sizeof(count)), sizeof(count));
	wait_with_epoll();
	must("read", read(fd, &count, sizeof(count)), sizeof(count));
}

static int by_afutex(int op, int val)
{
	return call(op | FUTEX_PRIVATE_FLAG, val);
}

static int by_futex(int op, int val)
{
	return syscall(SYS_futex, words, op | FUTEX_PRIVATE_FLAG, val, NULL);
}

static int (*do_futex)(int op, int val);

/* Waits for the word to leave a value, and gives it the next. */
static void turn(uint32_t from)
{
	while (words[0] == from)
		if (do_futex(FUTEX_WAIT, from) && errno != EAGAIN)
			die("wait");
	words[0] = from;
	do_futex(FUTEX_WAKE, 1);
}

static void *partner(void *unused)
{
	while (true)
		turn(0);
	return NULL;
}

static void start_partner(void)
{
	pthread_t thread;

	if (pthread_create(&thread, NULL, partner, NULL))
		die("pthread_create");
}

static void open_pingpong(void)
{
	do_futex = by_afutex;
	start_partner();
}

static void open_futex_pingpong(void)
{
	do_futex = by_futex;
	start_partner();
}

static void pingpong(void)
{
	words[0] = 1;
	do_futex(FUTEX_WAKE, 1);
	while (words[0] == 1)
		if (do_futex(FUTEX_WAIT, 1) && errno != EAGAIN)
			die("wait");
}

static const struct {
	const char *name;
	void (*open)(void);
	void (*once)(void);
} cases[] = {
	{ "nothing", nothing, nothing },
	{ "getppid", nothing, getppid_once },
	{ "wake-private", nothing, wake_private },
	{ "wake-shared", nothing, wake_shared },
	{ "call-wake-private", nothing, call_wake_private },
	{ "call-wake-shared", nothing, call_wake_shared },
	{ "wakev", nothing, wakev },
	{ "watch", open_persistent, watch },
	{ "watch-shared", open_persistent_shared, watch_shared },
	{ "watch-epoll", open_persistent_epoll, watch_epoll },
	{ "next", open_once, next },
	{ "next-shared", open_once_shared, next_shared },
	{ "wake-elsewhere", open_elsewhere, wake_shared },
	{ "herd", open_herd, wake_herd },
	{ "mapped", open_mapped, take },
	{ "mapped-herd", open_mapped_herd, take_herd },
	{ "set", open_set, set },
	{ "set-epoll", open_set_epoll, set_epoll },
	{ "fd", nothing, futex_fd },
	{ "pingpong", open_pingpong, pingpong },
	{ "eventfd", open_eventfd, event_fd },
	{ "eventfd-epoll", open_eventfd_epoll, eventfd_epoll },
	{ "futex-wake", nothing, futex_wake },
	{ "futex-wake-shared", nothing, futex_wake_shared },
	{ "futex-pingpong", open_futex_pingpong, pingpong },
};

#define CASES	(sizeof(cases) / sizeof(cases[0]))

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

int main(int argc, char **argv)
{
	const char *name = argc > 1 ? argv[1] : "";
	int64_t ns;
	size_t which;

	for (which = 0; which < CASES && strcmp(name, cases[which].name); which++)
		;
	if (which == CASES) {
		for (which = 0; which < CASES; which++)
			printf("%s\n", cases[which].name);
		return 2;
	}
	if (argc > 2)
		iterations = atol(argv[2]);
	dev = open("/dev/afutex", O_RDWR | O_CLOEXEC);
	if (dev < 0)
		die("/dev/afutex");
	cases[which].open();
	/* What is only done the first time does not count. */
	for (int i = 0; i < 100; i++)
		cases[which].once();
	ns = now_ns();
	PROFILE_ON();
	for (long i = 0; i < iterations; i++)
		cases[which].once();
	PROFILE_OFF();
	ns = now_ns() - ns;
	printf("profile-iterations: %ld\n%s, %.1f instructions by the clock\n", iterations, name,
	       (double)ns / iterations);
	return 0;
}
