// SPDX-License-Identifier: GPL-2.0 OR MIT
/*
 * A program that knows nothing of afutex: makes a POSIX semaphore, says its name, and posts to
 * it when it is told to, a millisecond apart. selftests/demo/native.c watches the semaphore.
 *
 * usage: post COUNT
 */
#include <fcntl.h>
#include <semaphore.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

int main(int argc, char **argv)
{
	struct timespec pause = { 0, 1000000 };
	int count = argc > 1 ? atoi(argv[1]) : 1;
	char name[32];
	sem_t *sem;

	snprintf(name, sizeof(name), "/post-%d", (int)getpid());
	sem = sem_open(name, O_CREAT | O_EXCL, 0600, 0);
	if (sem == SEM_FAILED) {
		perror(name);
		return 1;
	}
	puts(name);
	fflush(stdout);
	getchar();
	for (int i = 0; i < count; i++) {
		sem_post(sem);
		nanosleep(&pause, NULL);
	}
	return sem_unlink(name) != 0;
}
