// SPDX-License-Identifier: GPL-2.0
/* A descriptor for a word: wake it, learn of that, wait again. */
#include <liburing.h>
#include <poll.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "bench.h"

#define N 5000

static double persistent_read(bool direct)
{
	word_t *word = private_pages(1);
	int dev = device(), watch = new_watch(dev, word, PRIVATE, AFUTEX_PERSISTENT);
	uint64_t count;

	if (direct)
		return measure(N, {
			must(wake_one(dev, word, PRIVATE) == 1);
			must(sys3(SYS_read, watch, (long)&count, sizeof(count)) == sizeof(count));
		});
	return measure(N, {
		must(call(dev, word, FUTEX_WAKE | PRIVATE, 1) == 1);
		must(sys3(SYS_read, watch, (long)&count, sizeof(count)) == sizeof(count));
	});
}

static double read_direct(void) { return persistent_read(true); }
static double read_call(void) { return persistent_read(false); }

double read_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC);
	uint64_t count = 1;

	return measure(N, {
		must(sys3(SYS_write, fd, (long)&count, sizeof(count)) == sizeof(count));
		must(sys3(SYS_read, fd, (long)&count, sizeof(count)) == sizeof(count));
	});
}

static double persistent_epoll(bool direct)
{
	word_t *word = private_pages(1);
	int dev = device(), watch = new_watch(dev, word, PRIVATE, AFUTEX_PERSISTENT);
	int ep = new_epoll(watch);
	struct epoll_event ev;
	uint64_t count;

	if (direct)
		return measure(N, {
			must(wake_one(dev, word, PRIVATE) == 1);
			must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
			must(sys3(SYS_read, watch, (long)&count, sizeof(count)) == sizeof(count));
		});
	return measure(N, {
		must(call(dev, word, FUTEX_WAKE | PRIVATE, 1) == 1);
		must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
		must(sys3(SYS_read, watch, (long)&count, sizeof(count)) == sizeof(count));
	});
}

static double epoll_direct(void) { return persistent_epoll(true); }
static double epoll_call(void) { return persistent_epoll(false); }

double epoll_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC), ep = new_epoll(fd);
	struct epoll_event ev;
	uint64_t count = 1;

	return measure(N, {
		must(sys3(SYS_write, fd, (long)&count, sizeof(count)) == sizeof(count));
		must(sys4(SYS_epoll_wait, ep, (long)&ev, 1, -1) == 1);
		must(sys3(SYS_read, fd, (long)&count, sizeof(count)) == sizeof(count));
	});
}

static word_t *word_of(int scope)
{
	return scope ? private_pages(1) : shared_pages(1);
}

static double oneshot_next(int scope)
{
	word_t *word = word_of(scope);
	int dev = device(), watch = new_watch(dev, word, scope, AFUTEX_COMPARE);

	return measure(N, {
		must(wake_one(dev, word, scope) == 1);
		must(ioctl3(watch, AFUTEX_IOC_NEXT, 0) == 1);
	});
}

static double oneshot_rearm(int scope)
{
	word_t *word = word_of(scope);
	int dev = device(), watch = new_watch(dev, word, scope, AFUTEX_COMPARE);

	return measure(N, {
		struct afutex_rearm args = { .flags = AFUTEX_COMPARE };

		must(call(dev, word, FUTEX_WAKE | scope, 1) == 1);
		must(!ioctl3(watch, AFUTEX_IOC_REARM, (long)&args) && args.count == 1);
	});
}

static void submit_wait(struct io_uring *ring, word_t *word, int scope)
{
	struct io_uring_sqe *sqe = io_uring_get_sqe(ring);

	io_uring_prep_futex_wait(sqe, word, 0, FUTEX_BITSET_MATCH_ANY, word_flags(scope), 0);
}

static void reap(struct io_uring *ring)
{
	struct io_uring_cqe *cqe;

	must(!io_uring_peek_cqe(ring, &cqe) && !cqe->res);
	io_uring_cqe_seen(ring, cqe);
}

/* The completion is there when the wake returns. */
static double oneshot_uring(int scope)
{
	word_t *word = word_of(scope);
	struct io_uring ring;

	must(!io_uring_queue_init(8, &ring, 0));
	io_uring_register_ring_fd(&ring);
	return measure(N, {
		submit_wait(&ring, word, scope);
		must(io_uring_submit(&ring) == 1);
		must(futex_wake(word, scope, 1) == 1);
		reap(&ring);
	});
}

/* The completion comes with the submission of the next wait. */
static double oneshot_deferred(int scope)
{
	word_t *word = word_of(scope);
	struct io_uring ring;

	must(!io_uring_queue_init(8, &ring,
				  IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN));
	io_uring_register_ring_fd(&ring);
	submit_wait(&ring, word, scope);
	must(io_uring_submit(&ring) == 1);
	return measure(N, {
		must(futex_wake(word, scope, 1) == 1);
		submit_wait(&ring, word, scope);
		must(io_uring_submit_and_wait(&ring, 1) == 1);
		reap(&ring);
	});
}

static double next_private(void) { return oneshot_next(PRIVATE); }
static double next_shared(void) { return oneshot_next(SHARED); }
static double rearm_private(void) { return oneshot_rearm(PRIVATE); }
static double rearm_shared(void) { return oneshot_rearm(SHARED); }
static double uring_private(void) { return oneshot_uring(PRIVATE); }
static double uring_shared(void) { return oneshot_uring(SHARED); }
static double deferred_private(void) { return oneshot_deferred(PRIVATE); }
static double deferred_shared(void) { return oneshot_deferred(SHARED); }

static double fd_afutex(void)
{
	word_t *word = private_pages(1);
	int dev = device();

	return measure(N, {
		struct pollfd pfd = { .events = POLLIN };

		pfd.fd = call(dev, word, FUTEX_FD | PRIVATE, 0);
		must(wake_one(dev, word, PRIVATE) == 1);
		must(sys3(SYS_poll, (long)&pfd, 1, -1) == 1);
		must(!sys3(SYS_close, pfd.fd, 0, 0));
	});
}

static double fd_open(void)
{
	word_t *word = private_pages(1);
	int dev = device();

	return measure(N, {
		struct afutex_open args = {
			.watch = {
				.uaddr = (uintptr_t)word, .mask = ~0u,
				.flags = word_flags(PRIVATE),
			},
		};
		struct pollfd pfd = { .events = POLLIN };

		pfd.fd = ioctl3(dev, AFUTEX_IOC_OPEN, (long)&args);
		must(wake_one(dev, word, PRIVATE) == 1);
		must(sys3(SYS_poll, (long)&pfd, 1, -1) == 1);
		must(!sys3(SYS_close, pfd.fd, 0, 0));
	});
}

static double fd_eventfd(void)
{
	uint64_t one = 1;

	return measure(N, {
		struct pollfd pfd = { .events = POLLIN };

		pfd.fd = sys3(SYS_eventfd2, 0, 0, 0);
		must(sys3(SYS_write, pfd.fd, (long)&one, sizeof(one)) == sizeof(one));
		must(sys3(SYS_poll, (long)&pfd, 1, -1) == 1);
		must(!sys3(SYS_close, pfd.fd, 0, 0));
	});
}

void watches(void)
{
	static const struct row rows[] = {
		{ "watch-read", read_direct, "eventfd", read_eventfd,
			{ { "call", read_call } } },
		{ "watch-epoll", epoll_direct, "eventfd", epoll_eventfd,
			{ { "call", epoll_call } } },
		{ "oneshot-private", next_private,
			"io_uring", uring_private,
			{ { "deferred", NULL, "io_uring-deferred", deferred_private },
			  { "call-rearm", rearm_private } } },
		{ "oneshot-shared", next_shared,
			"io_uring", uring_shared,
			{ { "deferred", NULL, "io_uring-deferred", deferred_shared },
			  { "call-rearm", rearm_shared } } },
		{ "futex-fd", fd_afutex, "eventfd", fd_eventfd,
			{ { "open", fd_open } } },
	};

	ROWS(rows);
}
