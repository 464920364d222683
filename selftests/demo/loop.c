// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A word in shared memory as one more source of an event loop. Several processes
 * watch the word, each in an epoll loop with a socket and a timer; one process
 * changes it. README.md shows the part between the two marks.
 *
 * usage: loop [CHANGES]
 */
#define _DEFAULT_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include <linux/afutex.h>

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32	0x02	/* not in kernel headers before 6.7 */
#endif

#define WATCHERS	3

static int check(int ret, const char *what)
{
	if (ret < 0) {
		perror(what);
		exit(1);
	}
	return ret;
}

static void use(uint32_t value);
static void other_event(int fd);

/* README.md: begin */
/* Opens a watch: readable if the word does not hold "seen", and when it is woken. */
static int watch(int dev, _Atomic uint32_t *word, uint32_t seen)
{
	struct afutex_open open = {
		.watch = {
			.uaddr = (uintptr_t)word,
			.val = seen,
			.mask = FUTEX_BITSET_MATCH_ANY,
			.flags = FUTEX2_SIZE_U32 | AFUTEX_COMPARE | AFUTEX_READY,
		},
		.fd_flags = O_CLOEXEC | O_NONBLOCK,
	};

	return check(ioctl(dev, AFUTEX_IOC_OPEN, &open), "AFUTEX_IOC_OPEN");
}

/* Returns what the word holds, and arms the watch for the next change. */
static uint32_t next(int fd, _Atomic uint32_t *word)
{
	uint32_t seen;
	int ret;

	do {
		seen = atomic_load(word);
		ret = ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)seen);
		/* EAGAIN: the word has changed, the watch is not armed. Do not wait. */
	} while (ret < 0 && errno == EAGAIN);
	check(ret, "AFUTEX_IOC_NEXT");
	return seen;
}

/* Changes the word, and wakes all waiters. */
static void change(int dev, _Atomic uint32_t *word)
{
	atomic_fetch_add(word, 1);
	check(ioctl(dev, AFUTEX_IOC_WAKE_ALL, word), "AFUTEX_IOC_WAKE_ALL");
}

/* Handles changes of the word, and all other events, until it holds "last". */
static void loop(int ep, int dev, _Atomic uint32_t *word, uint32_t last)
{
	uint32_t seen = atomic_load(word), now;
	int fd = watch(dev, word, seen);
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	check(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), "EPOLL_CTL_ADD");
	while (seen != last) {
		int n = epoll_wait(ep, &ev, 1, -1);

		if (n < 0 && errno == EINTR)
			continue;
		check(n, "epoll_wait");
		if (ev.data.fd != fd) {
			other_event(ev.data.fd);
			continue;
		}
		now = next(fd, word);
		if (now != seen)	/* a wake need not be a change */
			use(now);
		seen = now;
	}
	close(fd);
}
/* README.md: end */

static unsigned int changes, messages, ticks;
static int timer;

static void use(uint32_t value)
{
	static uint32_t before;

	if (value <= before) {
		fprintf(stderr, "%u after %u\n", value, before);
		exit(1);
	}
	before = value;
	changes++;
}

static void other_event(int fd)
{
	char buf[8];
	int len = (int)read(fd, buf, sizeof(buf));

	if (len < 0 && errno == EAGAIN)
		return;
	check(len, "read");
	if (fd == timer)
		ticks++;
	else
		messages += (unsigned int)len;
}

static void add(int ep, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	check(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), "EPOLL_CTL_ADD");
}

/* A process that watches the word, and counts messages and ticks besides. */
static void watcher(int dev, _Atomic uint32_t *word, uint32_t last, int sock, int ready)
{
	struct itimerspec period = { { 0, 10000000 }, { 0, 10000000 } };
	int ep = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");

	timer = check(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
	check(timerfd_settime(timer, 0, &period, NULL), "timerfd_settime");
	add(ep, timer);
	add(ep, sock);
	check((int)write(ready, "", 1), "write");
	loop(ep, dev, word, last);
	printf("process %d saw %u of %u values, up to the last, %u messages and %u ticks\n",
	       (int)getpid(), changes, last, messages, ticks);
	fflush(stdout);
}

int main(int argc, char **argv)
{
	uint32_t last = argc > 1 ? (uint32_t)strtoul(argv[1], NULL, 0) : 20000;
	int dev = check(open("/dev/afutex", O_RDWR | O_CLOEXEC),
			"/dev/afutex (is the module loaded?)");
	_Atomic uint32_t *word = mmap(NULL, sizeof(*word), PROT_READ | PROT_WRITE,
				      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int sock[WATCHERS][2], ready[2], failed = 0, status;
	char byte;

	check(word == MAP_FAILED ? -1 : 0, "mmap");
	check(pipe(ready), "pipe");
	for (int i = 0; i < WATCHERS; i++) {
		check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, sock[i]), "socketpair");
		if (!check(fork(), "fork")) {
			watcher(dev, word, last, sock[i][0], ready[1]);
			_exit(0);
		}
	}
	for (int i = 0; i < WATCHERS; i++)
		check((int)read(ready[0], &byte, 1), "read");

	for (uint32_t i = 0; i < last; i++) {
		/* Some wakes without a change before it, as other users of a word give. */
		if (i % 100 == 0)
			check(ioctl(dev, AFUTEX_IOC_WAKE_ALL, word), "AFUTEX_IOC_WAKE_ALL");
		if (i % 1000 == 0) {
			for (int j = 0; j < WATCHERS; j++)
				check((int)write(sock[j][1], "x", 1), "write");
		}
		change(dev, word);
	}
	for (int i = 0; i < WATCHERS; i++) {
		check(wait(&status), "wait");
		failed |= status;
	}
	return failed != 0;
}
