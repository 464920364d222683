// SPDX-License-Identifier: GPL-2.0
/*
 * The wakes of a C library, as it is: what it does for threads that sleep fires the watches of
 * its words, whichever of the words it is. For any C library, so it is not a kselftest.
 * It also uses what include/afutex.h has for semaphores, mutexes and threads.
 */
#define _GNU_SOURCE
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "afutex.h"

static const char *now = "setting up";

static void expect(bool so, const char *what)
{
	if (so)
		return;
	printf("%s: not so: %s (errno %d)\n", now, what, errno);
	exit(1);
}
#define EXPECT(cond) expect(cond, #cond)

/* Everything that is shared, so that another process may wake as well. */
static struct shared {
	sem_t sem;
	pthread_mutex_t mutex, robust;
	pthread_cond_t cond;
	pthread_barrier_t barrier;
	bool is_so;
	_Atomic bool holds;
} *shared;

/* Watches every word of an object, private and shared. */
static int watch_all(const void *object, size_t size)
{
	static const uint32_t scopes[] = { 0, FUTEX2_PRIVATE };
	int set = afutex_set_open(O_CLOEXEC | O_NONBLOCK, 0);

	EXPECT(set >= 0);
	for (size_t i = 0; i < size / 4; i++) {
		const uint32_t *word = (const uint32_t *)object + i;

		for (int j = 0; j < 2; j++) {
			uint32_t flags = FUTEX2_SIZE_U32 | scopes[j] | AFUTEX_NATIVE |
					 AFUTEX_PERSISTENT;
			struct afutex_watch watch = afutex_watch_for(word, 0, flags, i);
			uint32_t id;

			EXPECT(!afutex_set_add(set, &watch, &id));
		}
	}
	return set;
}

static bool comes(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 10000) == 1;
}

static bool is_there(int fd)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };

	return poll(&pfd, 1, 0) == 1;
}

static _Atomic int sleeper_tid;

static char state_of(int tid)
{
	char path[64], line[256];
	FILE *file;
	char *end;

	snprintf(path, sizeof(path), "/proc/self/task/%d/stat", tid);
	file = fopen(path, "r");
	if (!file)
		return 0;
	end = fgets(line, sizeof(line), file) ? strrchr(line, ')') : NULL;
	fclose(file);
	return end ? end[2] : 0;
}

/* Starts a thread that comes to sleep in main. */
static pthread_t sleeper(void *(*main)(void *))
{
	struct timespec moment = { 0, 1000000 };
	pthread_t thread;

	sleeper_tid = 0;
	EXPECT(!pthread_create(&thread, NULL, main, NULL));
	while (!sleeper_tid || state_of(sleeper_tid) != 'S')
		nanosleep(&moment, NULL);
	return thread;
}

static void here_i_am(void)
{
	sleeper_tid = (int)syscall(SYS_gettid);
}

static void *take_token(void *arg)
{
	here_i_am();
	while (sem_wait(&shared->sem))
		;
	return arg;
}

static void semaphore(int pshared)
{
	struct afutex_sem watch;
	pthread_t thread;
	int set;

	EXPECT(!sem_init(&shared->sem, pshared, 0));
	thread = sleeper(take_token);
	set = watch_all(&shared->sem, sizeof(shared->sem));
	EXPECT(!is_there(set));
	EXPECT(!sem_post(&shared->sem));
	EXPECT(comes(set));
	pthread_join(thread, NULL);
	close(set);

	/* And for a descriptor alone. */
	EXPECT(!afutex_sem_open(&watch, &shared->sem));
	for (int i = 0; i < 1000; i++) {
		pid_t pid = -1;

		EXPECT(afutex_sem_trywait(&watch) && errno == EAGAIN);
		EXPECT(!is_there(watch.fd));
		if (pshared && i % 100 == 0)
			pid = fork();
		if (pid <= 0) {
			EXPECT(!sem_post(&shared->sem));
			EXPECT(!sem_post(&shared->sem));
		}
		if (!pid)
			_exit(0);
		if (pid > 0)
			waitpid(pid, NULL, 0);
		EXPECT(comes(watch.fd));
		EXPECT(!afutex_sem_trywait(&watch));
		EXPECT(!afutex_sem_trywait(&watch));
	}
	EXPECT(afutex_sem_trywait(&watch) && errno == EAGAIN);

	/* Beside a thread that sleeps: each token goes to one of them. */
	thread = sleeper(take_token);
	EXPECT(!sem_post(&shared->sem));
	EXPECT(!sem_post(&shared->sem));
	pthread_join(thread, NULL);
	EXPECT(comes(watch.fd));
	EXPECT(!afutex_sem_trywait(&watch));
	EXPECT(afutex_sem_trywait(&watch) && errno == EAGAIN);
	EXPECT(!afutex_sem_close(&watch));
	EXPECT(!sem_destroy(&shared->sem));
}

static void *lock(void *arg)
{
	here_i_am();
	pthread_mutex_lock(&shared->mutex);
	pthread_mutex_unlock(&shared->mutex);
	return arg;
}

static void mutex(int pshared)
{
	struct afutex_mutex watch;
	pthread_mutexattr_t attr;
	pthread_t thread;
	int set;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, pshared);
	EXPECT(!pthread_mutex_init(&shared->mutex, &attr));
	EXPECT(!pthread_mutex_lock(&shared->mutex));
	thread = sleeper(lock);
	set = watch_all(&shared->mutex, sizeof(shared->mutex));
	EXPECT(!pthread_mutex_unlock(&shared->mutex));
	EXPECT(comes(set));
	pthread_join(thread, NULL);
	close(set);
#ifdef __GLIBC__
	EXPECT(!afutex_mutex_open(&watch, &shared->mutex));
	EXPECT(!afutex_mutex_trylock(&watch));
	EXPECT(!pthread_mutex_unlock(&shared->mutex));
	EXPECT(!afutex_mutex_close(&watch));
#else
	EXPECT(afutex_mutex_open(&watch, &shared->mutex) && errno == ENOTSUP);
#endif
}

static void *wait_for_it(void *arg)
{
	pthread_mutex_lock(&shared->mutex);
	here_i_am();
	while (!shared->is_so)
		pthread_cond_wait(&shared->cond, &shared->mutex);
	pthread_mutex_unlock(&shared->mutex);
	return arg;
}

static void condition_variable(int pshared)
{
	pthread_condattr_t attr;
	pthread_t thread;
	int set;

	pthread_condattr_init(&attr);
	pthread_condattr_setpshared(&attr, pshared);
	for (int all = 0; all < 2; all++) {
		EXPECT(!pthread_cond_init(&shared->cond, &attr));
		shared->is_so = false;
		thread = sleeper(wait_for_it);
		pthread_mutex_lock(&shared->mutex);
		set = watch_all(&shared->cond, sizeof(shared->cond));
		shared->is_so = true;
		pthread_mutex_unlock(&shared->mutex);
		EXPECT(!is_there(set));
		EXPECT(!(all ? pthread_cond_broadcast : pthread_cond_signal)(&shared->cond));
		EXPECT(comes(set));
		pthread_join(thread, NULL);
		close(set);
	}
}

static void *arrive(void *arg)
{
	here_i_am();
	pthread_barrier_wait(&shared->barrier);
	return arg;
}

static void barrier(int pshared)
{
	pthread_barrierattr_t attr;
	pthread_t thread;
	int set;

	pthread_barrierattr_init(&attr);
	pthread_barrierattr_setpshared(&attr, pshared);
	EXPECT(!pthread_barrier_init(&shared->barrier, &attr, 2));
	thread = sleeper(arrive);
	set = watch_all(&shared->barrier, sizeof(shared->barrier));
	EXPECT(!is_there(set));
	pthread_barrier_wait(&shared->barrier);
	EXPECT(comes(set));
	pthread_join(thread, NULL);
	close(set);
}

static void *lock_robust(void *arg)
{
	here_i_am();
	EXPECT(pthread_mutex_lock(&shared->robust) == EOWNERDEAD);
	EXPECT(!pthread_mutex_consistent(&shared->robust));
	EXPECT(!pthread_mutex_unlock(&shared->robust));
	return arg;
}

static void death_of_an_owner(void)
{
	pthread_mutexattr_t attr;
	pthread_t thread;
	pid_t pid;
	int set;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	EXPECT(!pthread_mutexattr_setrobust(&attr, PTHREAD_MUTEX_ROBUST));
	EXPECT(!pthread_mutex_init(&shared->robust, &attr));
	pid = fork();
	if (!pid) {
		pthread_mutex_lock(&shared->robust);
		shared->holds = true;
		for (;;)
			pause();
	}
	while (!shared->holds)
		sched_yield();
	thread = sleeper(lock_robust);
	set = watch_all(&shared->robust, sizeof(shared->robust));
	EXPECT(!is_there(set));
	EXPECT(!kill(pid, SIGKILL));
	EXPECT(comes(set));
	waitpid(pid, NULL, 0);
	pthread_join(thread, NULL);
	close(set);
}

static void *open_own_end(void *fd)
{
	*(int *)fd = afutex_thread_open();
	return NULL;
}

static void end_of_a_thread(void)
{
	pthread_t thread;
	int fd;

	EXPECT(!pthread_create(&thread, NULL, open_own_end, &fd));
	pthread_join(thread, NULL);
#ifdef __GLIBC__
	EXPECT(fd >= 0);
	EXPECT(comes(fd));
	close(fd);
#else
	EXPECT(fd < 0);
#endif
}

int main(void)
{
	shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
		      -1, 0);
	EXPECT(shared != MAP_FAILED);
	for (int pshared = 0; pshared < 2; pshared++) {
		now = pshared ? "shared semaphore" : "private semaphore";
		semaphore(pshared);
		now = pshared ? "shared mutex" : "private mutex";
		mutex(pshared);
#ifndef __GLIBC__
		/* Those of musl, if private, have their words on the stacks of the sleepers. */
		if (!pshared)
			continue;
#endif
		now = pshared ? "shared condition variable" : "private condition variable";
		condition_variable(pshared);
		now = pshared ? "shared barrier" : "private barrier";
		barrier(pshared);
	}
	now = "robust mutex";
	death_of_an_owner();
	now = "end of a thread";
	end_of_a_thread();
	printf("all wakes were seen\n");
	return 0;
}
