// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * Two processes, one ring in shared memory. The producer stores items and rings a
 * bell; the consumer has one epoll loop for the bell, a unix socket and a timer. The
 * bell is first a futex word behind /dev/afutex, and then an eventfd.
 *
 * usage: ring [ITEMS]
 *
 * It uses FUTEX_FD, as it was in 2002. The protocol between arming and sleeping is in
 * consume():
 *
 *     arm; look again; if there is nothing, sleep
 *
 * A store before the arming is seen by the second look, and a store after it wakes the
 * consumer. New programs start from loop.c, which needs no second look: its watch is
 * armed only if the word still holds what was seen.
 */
#include <errno.h>
#include <fcntl.h>
#include <linux/futex.h>
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
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <linux/afutex.h>

#define SLOTS	1024u

struct ring {
	/* Written by the producer: the next slot to fill, and a word to be woken. */
	_Alignas(64) _Atomic uint32_t tail;
	/* Written by the consumer: the next slot to empty, and a word to be woken. */
	_Alignas(64) _Atomic uint32_t head;
	/* Whether the consumer, or the producer, sleeps or is about to, and needs a bell. */
	_Alignas(64) _Atomic uint32_t consumer_sleeps;
	_Alignas(64) _Atomic uint32_t producer_sleeps;
	/* What the producer did, for the report. */
	_Atomic uint32_t producer_calls, bells;
	uint64_t items[SLOTS];
};

/* Every system call that moves items or waits for them is counted. */
static unsigned long calls;

static int counted(int ret, const char *what)
{
	calls++;
	if (ret < 0 && errno != EAGAIN && errno != EINTR) {
		perror(what);
		exit(1);
	}
	return ret;
}

/* A way to ring: over a futex word or over an eventfd. */
struct bell {
	const char *name;
	/* Makes a descriptor that becomes readable at the next ring of the word. */
	int (*arm)(struct bell *bell, _Atomic uint32_t *word);
	/* Clears the event of the descriptor, or closes it. */
	void (*disarm)(struct bell *bell, int fd);
	/* Rings for the consumer, and for the producer. */
	void (*ring)(struct bell *bell, _Atomic uint32_t *word);
	/* Sleeps until the word, which held value, is rung. */
	void (*wait)(struct bell *bell, _Atomic uint32_t *word, uint32_t value);
	bool one_shot;
	int dev, to_consumer, to_producer;
	struct ring *shared;
};

/* The futex bell. */

static int afutex(struct bell *bell, _Atomic uint32_t *word, uint32_t op, uint32_t val)
{
	struct afutex_call call = { .uaddr = (uintptr_t)word, .op = op, .val = val };

	return counted(ioctl(bell->dev, AFUTEX_IOC_CALL, &call), "AFUTEX_IOC_CALL");
}

static int futex_arm(struct bell *bell, _Atomic uint32_t *word)
{
	return afutex(bell, word, FUTEX_FD, 0);
}

static void futex_disarm(struct bell *bell, int fd)
{
	counted(close(fd), "close");
}

static void futex_ring(struct bell *bell, _Atomic uint32_t *word)
{
	afutex(bell, word, FUTEX_WAKE, 1);
}

static void futex_wait(struct bell *bell, _Atomic uint32_t *word, uint32_t value)
{
	afutex(bell, word, FUTEX_WAIT, value);
}

/* The eventfd bell: one for each direction. */

static int event_arm(struct bell *bell, _Atomic uint32_t *word)
{
	return bell->to_consumer;
}

static void event_disarm(struct bell *bell, int fd)
{
	uint64_t count;

	counted(read(fd, &count, sizeof(count)), "read");
}

static void event_ring(struct bell *bell, _Atomic uint32_t *word)
{
	uint64_t one = 1;

	counted(write(word == &bell->shared->tail ? bell->to_consumer : bell->to_producer,
		      &one, sizeof(one)), "write");
}

static void event_wait(struct bell *bell, _Atomic uint32_t *word, uint32_t value)
{
	uint64_t count;

	counted(read(bell->to_producer, &count, sizeof(count)), "read");
}

static void produce(struct bell *bell, struct ring *ring, uint64_t items, int sock)
{
	unsigned int seed = 1;

	for (uint64_t i = 0; i < items;) {
		/* Bursts, with pauses in which the consumer falls asleep. */
		uint64_t burst = i + 1 + rand_r(&seed) % 256;
		struct timespec pause = { 0, 100000 };

		for (; i < items && i < burst; i++) {
			uint32_t tail = atomic_load_explicit(&ring->tail, memory_order_relaxed);
			uint32_t head;

			/* Full: say so, look again, and sleep until a slot is free. */
			while (head = ring->head, tail - head == SLOTS) {
				ring->producer_sleeps = 1;
				if (ring->head == head)
					bell->wait(bell, &ring->head, head);
				ring->producer_sleeps = 0;
			}

			ring->items[tail % SLOTS] = i;
			/*
			 * Both are sequentially consistent: either this sees that the
			 * consumer sleeps, or its second look sees the new tail.
			 */
			ring->tail = tail + 1;
			if (ring->consumer_sleeps && atomic_exchange(&ring->consumer_sleeps, 0)) {
				ring->bells++;
				bell->ring(bell, &ring->tail);
			}
		}
		nanosleep(&pause, NULL);
	}
	ring->producer_calls = calls;
	if (write(sock, "done", 4) != 4)
		perror("write");
}

/* Empties the ring; false if an item is not the one that was due. */
static bool drain(struct bell *bell, struct ring *ring, uint64_t *next)
{
	uint32_t head = atomic_load_explicit(&ring->head, memory_order_relaxed);

	while (head != ring->tail) {
		if (ring->items[head % SLOTS] != *next)
			return false;
		(*next)++;
		ring->head = ++head;
		if (ring->producer_sleeps && atomic_exchange(&ring->producer_sleeps, 0))
			bell->ring(bell, &ring->head);
	}
	return true;
}

static void watch(int ep, int op, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	counted(epoll_ctl(ep, op, fd, &ev), "epoll_ctl");
}

struct result {
	uint64_t items;
	unsigned long sleeps, ticks, consumer, producer, bells;
};

static bool consume(struct bell *bell, struct ring *ring, int sock, struct result *r)
{
	int ep = epoll_create1(0), timer = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK);
	struct itimerspec period = { { 0, 100000000 }, { 0, 100000000 } };
	bool done = false;
	int fd = -1;

	timerfd_settime(timer, 0, &period, NULL);
	watch(ep, EPOLL_CTL_ADD, sock);
	watch(ep, EPOLL_CTL_ADD, timer);
	calls = 0;
	while (true) {
		struct epoll_event events[8];
		int n;

		if (!drain(bell, ring, &r->items))
			return false;
		if (done && ring->head == ring->tail)
			break;

		/* Arm, look again, sleep. */
		if (fd < 0) {
			fd = bell->arm(bell, &ring->tail);
			watch(ep, EPOLL_CTL_ADD, fd);
		}
		ring->consumer_sleeps = 1;
		if (ring->head != ring->tail) {
			ring->consumer_sleeps = 0;
			continue;
		}
		n = counted(epoll_wait(ep, events, 8, -1), "epoll_wait");
		ring->consumer_sleeps = 0;
		r->sleeps++;

		for (int i = 0; i < n; i++) {
			char buf[8];

			if (events[i].data.fd == fd) {
				bell->disarm(bell, fd);
				if (bell->one_shot)
					fd = -1;
			} else if (events[i].data.fd == timer) {
				counted(read(timer, buf, 8), "read");
				r->ticks++;
				printf("  %-8s %8llu items so far\n", bell->name,
				       (unsigned long long)r->items);
			} else {
				counted(read(sock, buf, 4), "read");
				done = true;
			}
		}
	}
	r->consumer = calls;
	r->producer = ring->producer_calls;
	r->bells = ring->bells;
	close(ep);
	close(timer);
	return true;
}

static bool run(struct bell *bell, uint64_t items, struct result *r)
{
	int memfd = memfd_create("ring", MFD_CLOEXEC), socks[2], status;
	struct ring *ring;
	bool ok;
	pid_t pid;

	if (memfd < 0 || ftruncate(memfd, sizeof(*ring)) ||
	    socketpair(AF_UNIX, SOCK_STREAM, 0, socks)) {
		perror("setting up");
		return false;
	}
	ring = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE, MAP_SHARED, memfd, 0);
	bell->shared = ring;
	fflush(stdout);
	pid = fork();
	if (pid == 0) {
		/* At another address: the word is known by what it is, not where. */
		bell->shared = mmap(NULL, sizeof(*ring), PROT_READ | PROT_WRITE,
				    MAP_SHARED, memfd, 0);
		munmap(ring, sizeof(*ring));
		produce(bell, bell->shared, items, socks[1]);
		_exit(0);
	}
	ok = consume(bell, ring, socks[0], r);
	waitpid(pid, &status, 0);
	munmap(ring, sizeof(*ring));
	close(memfd);
	close(socks[0]);
	close(socks[1]);
	return ok && status == 0 && r->items == items;
}

int main(int argc, char **argv)
{
	uint64_t items = argc > 1 ? strtoull(argv[1], NULL, 0) : 200000;
	struct bell bells[2] = {
		{
			.name = "afutex", .arm = futex_arm, .disarm = futex_disarm,
			.ring = futex_ring, .wait = futex_wait, .one_shot = true,
		}, {
			.name = "eventfd", .arm = event_arm, .disarm = event_disarm,
			.ring = event_ring, .wait = event_wait,
		},
	};
	struct result results[2] = { 0 };

	bells[0].dev = open("/dev/afutex", O_RDWR | O_CLOEXEC);
	if (bells[0].dev < 0) {
		perror("/dev/afutex (is the module loaded?)");
		return 1;
	}
	bells[1].to_consumer = eventfd(0, EFD_NONBLOCK);
	bells[1].to_producer = eventfd(0, 0);

	printf("%llu items through a ring of %u slots in shared memory; the consumer's\n"
	       "epoll loop also has a unix socket and a timer.\n\n",
	       (unsigned long long)items, SLOTS);
	for (int i = 0; i < 2; i++) {
		if (!run(&bells[i], items, &results[i])) {
			printf("%s: items were lost or out of order\n", bells[i].name);
			return 1;
		}
	}

	printf("\n%28s %12s %12s\n", "", bells[0].name, bells[1].name);
#define ROW(what, field)							\
	printf("%-28s %12lu %12lu\n", what, (unsigned long)results[0].field,	\
	       (unsigned long)results[1].field)
	ROW("items, in order", items);
	ROW("times the consumer slept", sleeps);
	ROW("bells rung for it", bells);
	ROW("system calls, consumer", consumer);
	ROW("system calls, producer", producer);
	printf("%-28s %12.2f %12.2f\n", "calls for an item",
	       (double)(results[0].consumer + results[0].producer) / items,
	       (double)(results[1].consumer + results[1].producer) / items);
	return 0;
}
