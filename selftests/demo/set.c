// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * One descriptor for very many words. A reader watches N words in shared memory
 * through one set; other processes add to random words and wake them. The reader counts
 * the events, and shows what an event costs as N grows.
 *
 * usage: set [WORDS]
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
#include <poll.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/afutex.h>

#ifndef FUTEX2_SIZE_U32
#define FUTEX2_SIZE_U32	0x02
#endif

#define WAKERS	3
#define WAKES	20000	/* by each */

static int64_t now_ns(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000000000LL + ts.tv_nsec;
}

static void fail(const char *what)
{
	perror(what);
	exit(1);
}

/* Adds to random words, and wakes their first waiter. */
static void wake_at_random(int dev, _Atomic uint32_t *words, long n, unsigned int seed)
{
	for (int i = 0; i < WAKES; i++) {
		long which = ((long)rand_r(&seed) * RAND_MAX + rand_r(&seed)) % n;
		_Atomic uint32_t *word = &words[which];

		atomic_fetch_add(word, 1);
		if (ioctl(dev, AFUTEX_IOC_WAKE_ONE, word) < 0)
			fail("AFUTEX_IOC_WAKE_ONE");
	}
}

/* Adds all words to the set, a batch at a time; the cookie is the index of the word. */
static void watch_all(int set, _Atomic uint32_t *words, long n)
{
	static struct afutex_ctl items[512];

	for (long at = 0; at < n; at += 512) {
		int nr = n - at < 512 ? n - at : 512;
		struct afutex_ctlv batch = { .items = (uintptr_t)items, .nr = nr };

		for (int i = 0; i < nr; i++)
			items[i] = (struct afutex_ctl) {
				.op = AFUTEX_CTL_ADD,
				.watch = {
					.uaddr = (uintptr_t)&words[at + i], .mask = ~0u,
					.flags = FUTEX2_SIZE_U32 | AFUTEX_PERSISTENT,
					.cookie = at + i,
				},
			};
		if (ioctl(set, AFUTEX_IOC_CTL, &batch) != nr)
			fail("AFUTEX_IOC_CTL");
		for (int i = 0; i < nr; i++) {
			if (items[i].result) {
				errno = -items[i].result;
				fail("adding a word");
			}
		}
	}
}

static void run(int dev, long n)
{
	struct afutex_set args = { .fd_flags = O_CLOEXEC };
	int memfd = memfd_create("words", MFD_CLOEXEC), set, status;
	long wakes = 0, events = 0, reads = 0, wrong = 0;
	int64_t added, start, end;
	_Atomic uint32_t *words;
	uint32_t *counted;

	if (memfd < 0 || ftruncate(memfd, n * sizeof(*words)))
		fail("memfd");
	words = mmap(NULL, n * sizeof(*words), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	counted = calloc(n, sizeof(*counted));
	set = ioctl(dev, AFUTEX_IOC_SET, &args);
	if (words == MAP_FAILED || !counted || set < 0)
		fail("setting up");

	start = now_ns();
	watch_all(set, words, n);
	added = now_ns() - start;

	for (int i = 0; i < WAKERS; i++) {
		if (fork() == 0) {
			wake_at_random(dev, words, n, i);
			_exit(0);
		}
	}
	start = now_ns();
	while (wakes < WAKERS * WAKES) {
		struct afutex_event ev[64];
		ssize_t len = read(set, ev, sizeof(ev));

		if (len < 0)
			fail("read");
		reads++;
		for (size_t i = 0; i < len / sizeof(ev[0]); i++) {
			counted[ev[i].cookie] += ev[i].count;
			wakes += ev[i].count;
			events++;
		}
	}
	end = now_ns();
	for (int i = 0; i < WAKERS; i++)
		wait(&status);

	/* Every store has its wake, at its word. */
	for (long i = 0; i < n; i++)
		wrong += counted[i] != words[i];
	printf("%9ld %12.2f %12ld %9ld %12.2f %14.2f %8ld\n", n, added / 1e3 / n, wakes, reads,
	       (double)reads / wakes, (end - start) / 1e3 / wakes, wrong);
	if (wrong)
		exit(1);
	close(set);
	munmap(words, n * sizeof(*words));
	close(memfd);
	free(counted);
}

int main(int argc, char **argv)
{
	long most = argc > 1 ? atol(argv[1]) : 100000;
	int dev = open("/dev/afutex", O_RDWR | O_CLOEXEC);

	if (dev < 0) {
		perror("/dev/afutex (is the module loaded?)");
		return 1;
	}
	printf("%d processes wake random words, %d times each; one reads a set of the words.\n\n",
	       WAKERS, WAKES);
	printf("%9s %12s %12s %9s %12s %14s %8s\n", "words", "us to add 1", "wakes read", "reads",
	       "reads a wake", "us for a wake", "wrong");
	for (long n = 1; n <= most; n *= 10)
		run(dev, n);
	printf("\n(The times are those of this machine, emulated or not.)\n");
	return 0;
}
