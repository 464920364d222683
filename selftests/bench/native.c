// SPDX-License-Identifier: GPL-2.0
/* Wakes of futex(2) that are watched, and what a watch costs those that are not. */
#include <sys/epoll.h>

#include "bench.h"

#define N 5000

/* Hooks stay for a while after the last watch. */
static void without_hooks(void)
{
	char in_place = '1';

	while (in_place != '0') {
		int fd = open("/sys/kernel/debug/afutex/native_in_place", O_RDONLY | O_CLOEXEC);

		must(fd >= 0 && read(fd, &in_place, 1) == 1);
		close(fd);
		usleep(100000);
	}
}

static word_t *words_of(int scope)
{
	return scope ? private_pages(2) : shared_pages(2);
}

static double epoll_native(int scope)
{
	word_t *word = words_of(scope);
	int watch = new_watch(device(), word, scope, AFUTEX_PERSISTENT | AFUTEX_NATIVE);
	int ep = new_epoll(watch);
	struct epoll_event ev;
	uint64_t count;

	return measure(N, {
		must(!futex_wake(word, scope, 1));
		must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
		must(sys3(SYS_read, watch, (long)&count, sizeof(count)) == sizeof(count));
	});
}

/* Wakes of one word, where another is watched: at another offset, or at the same. */
static double wake_elsewhere(int scope, long offset)
{
	word_t *word = words_of(scope);

	new_watch(device(), word + (4096 + offset) / sizeof(*word), scope, AFUTEX_NATIVE);
	return measure(N, must(!futex_wake(word, scope, 1)));
}

static double wake_unhooked(int scope)
{
	word_t *word = words_of(scope);

	without_hooks();
	return measure(N, must(!futex_wake(word, scope, 1)));
}

static double epoll_private(void) { return epoll_native(PRIVATE); }
static double epoll_shared(void) { return epoll_native(SHARED); }
static double private_elsewhere(void) { return wake_elsewhere(PRIVATE, 64); }
static double private_same_offset(void) { return wake_elsewhere(PRIVATE, 0); }
static double private_unhooked(void) { return wake_unhooked(PRIVATE); }
static double shared_elsewhere(void) { return wake_elsewhere(SHARED, 64); }
static double shared_same_offset(void) { return wake_elsewhere(SHARED, 0); }
static double shared_unhooked(void) { return wake_unhooked(SHARED); }

void native(void)
{
	static const struct row rows[] = {
		{ "native-epoll", epoll_private, "eventfd", epoll_eventfd,
			{ { "shared", epoll_shared } } },
		{ "native-elsewhere-private", private_elsewhere, "futex", private_unhooked,
			{ { "same-offset", private_same_offset } } },
		{ "native-elsewhere-shared", shared_elsewhere, "futex", shared_unhooked,
			{ { "same-offset", shared_same_offset } } },
	};

	ROWS(rows);
}
