// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A semaphore as one more source of an event loop, where the program that posts to it knows
 * nothing of afutex. The loop also has a socket and a timer. It runs twice for each program:
 * with a descriptor for the semaphore, and as it is written without afutex, with a thread that
 * sleeps in sem_wait() and writes to an eventfd. What both cost is printed beside each other.
 *
 * usage: native COMMAND...
 *
 * A command prints the name of a semaphore, waits for a line, and posts to it as often as its
 * last argument says, which is added here. See post.c and post.py.
 */
#define _GNU_SOURCE
#include <linux/perf_event.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/wait.h>

#include "afutex.h"

#define TOKENS		1000
#define MESSAGES	50
#define SEVERAL		16	/* events at a time */

static int check(int ret, const char *what)
{
	if (ret < 0) {
		perror(what);
		exit(1);
	}
	return ret;
}

/* How a loop hears of tokens. */
struct source {
	const char *name;
	int (*open)(sem_t *sem);
	/* Takes the tokens that there are, and returns how many. */
	int (*take)(void);
};

/* With afutex: a descriptor for the semaphore. */
static struct afutex_sem watch;

static int take_from_watch(void)
{
	int n = 0;

	while (!afutex_sem_trywait(&watch))
		n++;
	check(errno == EAGAIN ? 0 : -1, "afutex_sem_trywait");
	return n;
}

static int open_watch(sem_t *sem)
{
	check(afutex_sem_open(&watch, sem), "afutex_sem_open (is the module loaded?)");
	return watch.fd;
}

/* Without: a thread that sleeps in the loop's place. */
static int event = -1;

static void *wait_and_tell(void *sem)
{
	for (;;) {
		while (sem_wait(sem))
			;
		check(eventfd_write(event, 1), "eventfd_write");
	}
	return NULL;
}

static int take_from_thread(void)
{
	eventfd_t n = 0;

	if (eventfd_read(event, &n) && errno != EAGAIN)
		check(-1, "eventfd_read");
	return (int)n;
}

static int open_thread(sem_t *sem)
{
	pthread_t thread;

	event = check(eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK), "eventfd");
	check(pthread_create(&thread, NULL, wait_and_tell, sem) ? -1 : 0, "pthread_create");
	return event;
}

static const struct source sources[] = {
	{ "a descriptor of afutex", open_watch, take_from_watch },
	{ "a thread, an eventfd", open_thread, take_from_thread },
};

/* Counts the system calls of this process and of its threads to come; -1 if it cannot. */
static int count_system_calls(void)
{
	struct perf_event_attr attr = {
		.type = PERF_TYPE_TRACEPOINT, .size = sizeof(attr), .inherit = 1,
	};
	FILE *file = fopen("/sys/kernel/tracing/events/raw_syscalls/sys_enter/id", "r");
	unsigned long long id;
	int got = file ? fscanf(file, "%llu", &id) : 0;

	if (file)
		fclose(file);
	if (got != 1)
		return -1;
	attr.config = id;
	return (int)syscall(SYS_perf_event_open, &attr, 0, -1, -1, PERF_FLAG_FD_CLOEXEC);
}

static long counted(int counter)
{
	uint64_t n;

	return read(counter, &n, sizeof(n)) == sizeof(n) ? (long)n : -1;
}

static long switches(void)
{
	struct rusage usage;

	getrusage(RUSAGE_SELF, &usage);
	return usage.ru_nvcsw + usage.ru_nivcsw;
}

static void add(int ep, int fd)
{
	struct epoll_event ev = { .events = EPOLLIN, .data.fd = fd };

	check(epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev), "EPOLL_CTL_ADD");
}

/* The loop: until all tokens and messages are there. */
static void watcher(const struct source *source, const char *name, int sock, int ready)
{
	struct itimerspec period = { { 0, 50000000 }, { 0, 50000000 } };
	int ep = check(epoll_create1(EPOLL_CLOEXEC), "epoll_create1");
	int timer = check(timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK), "timerfd_create");
	int tokens = 0, messages = 0, ticks = 0, counter = count_system_calls(), fd, n;
	long calls, turns;
	struct epoll_event events[SEVERAL];
	sem_t *sem = sem_open(name, 0);
	uint64_t expired;
	char buf[16];

	check(sem == SEM_FAILED ? -1 : 0, name);
	fd = source->open(sem);
	add(ep, fd);
	add(ep, timer);
	add(ep, sock);
	tokens += source->take();
	check(timerfd_settime(timer, 0, &period, NULL), "timerfd_settime");
	check((int)write(ready, "", 1), "write");
	calls = counted(counter);
	turns = switches();
	while (tokens < TOKENS || messages < MESSAGES) {
		n = epoll_wait(ep, events, SEVERAL, -1);
		for (int i = 0; i < n; i++) {
			if (events[i].data.fd == fd)
				tokens += source->take();
			else if (events[i].data.fd == sock)
				messages += (int)read(sock, buf, sizeof(buf));
			else if (read(timer, &expired, sizeof(expired)) > 0)
				ticks += (int)expired;
		}
	}
	turns = switches() - turns;
	if (counter >= 0)
		calls = counted(counter) - calls;
	printf("  %-24s %8d %10d %8d ", source->name, tokens, messages, ticks);
	if (counter >= 0)
		printf("%14ld", calls);
	else
		printf("%14s", "not counted");
	printf(" %18ld\n", turns);
	fflush(stdout);
	/* More tokens than were posted are as wrong as fewer, which do not come here. */
	_exit(tokens != TOKENS || messages != MESSAGES);
}

/* Starts a program that posts, and takes the name of its semaphore. */
static pid_t start(const char *command, FILE **in, FILE **out, char *name, int size)
{
	char line[1024];
	int to[2], from[2];
	pid_t pid;

	snprintf(line, sizeof(line), "exec %s %d", command, TOKENS);
	check(pipe2(to, O_CLOEXEC), "pipe");
	check(pipe2(from, O_CLOEXEC), "pipe");
	pid = check(fork(), "fork");
	if (!pid) {
		dup2(to[0], STDIN_FILENO);
		dup2(from[1], STDOUT_FILENO);
		execl("/bin/sh", "sh", "-c", line, NULL);
		_exit(127);
	}
	close(to[0]);
	close(from[1]);
	*in = fdopen(from[0], "r");
	*out = fdopen(to[1], "w");
	if (!fgets(name, size, *in)) {
		fprintf(stderr, "%s: it named no semaphore\n", command);
		exit(1);
	}
	name[strcspn(name, "\n")] = 0;
	return pid;
}

static int status_of(pid_t pid)
{
	int status;

	return waitpid(pid, &status, 0) == pid && WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}

static int run(const struct source *source, const char *command)
{
	struct timespec pause = { 0, 1000000000L / MESSAGES };
	int sock[2], ready[2];
	pid_t waker, loop;
	FILE *in, *out;
	char name[64], byte;
	int failed;

	waker = start(command, &in, &out, name, sizeof(name));
	check(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sock), "socketpair");
	check(pipe2(ready, O_CLOEXEC), "pipe");
	loop = check(fork(), "fork");
	if (!loop)
		watcher(source, name, sock[0], ready[1]);
	close(ready[1]);
	if (read(ready[0], &byte, 1) != 1)
		exit(1);
	fputs("go\n", out);
	fflush(out);
	for (int i = 0; i < MESSAGES; i++) {
		check((int)write(sock[1], "x", 1), "write");
		nanosleep(&pause, NULL);
	}
	failed = status_of(loop) | status_of(waker);
	fclose(in);
	fclose(out);
	close(sock[0]);
	close(sock[1]);
	close(ready[0]);
	return failed;
}

int main(int argc, char **argv)
{
	int failed = 0;

	printf("%d tokens of a semaphore, %d messages of a socket and the ticks of a timer\n"
	       "come to one event loop. The semaphore comes there by a descriptor of afutex,\n"
	       "or by a thread that sleeps in sem_wait() and writes to an eventfd.\n",
	       TOKENS, MESSAGES);
	for (int i = 1; i < argc; i++) {
		printf("\nposted by: %s\n", argv[i]);
		printf("  %-24s %8s %10s %8s %14s %18s\n", "comes by", "tokens", "messages",
		       "ticks", "system calls", "context switches");
		fflush(stdout);
		for (size_t j = 0; j < sizeof(sources) / sizeof(sources[0]); j++)
			failed |= run(&sources[j], argv[i]);
	}
	printf("\n(Those of the watching process, with all of its threads.)\n");
	return failed;
}
