// SPDX-License-Identifier: GPL-2.0
/*
 * Watches of the wakes of futex(2) that are armed while their word is changed and
 * woken: none is missed.
 */
#include "native.h"

#include <sys/prctl.h>

enum kind {
	WAKE,
	WAKE_OP,
	REQUEUE,
	ROBUST_UNLOCK,
};

/* In memory that the waker shares, whatever it is. */
struct race {
	word_t word, other;
	/* The round that the waker may begin, and its pause. */
	_Atomic uint32_t turn;
	_Atomic bool stop;
	_Atomic uint32_t failed;
};

FIXTURE(native_race)
{
	int dev, file, fd;
	struct race *race;
	pthread_t sleeper;
};

FIXTURE_VARIANT(native_race)
{
	enum kind kind;
	enum memory memory;
	int scope;
	bool forks, sleeps;
};

#define RACE(name, what, mem, how, other_process, beside)		\
FIXTURE_VARIANT_ADD(native_race, name)					\
{									\
	.kind = what,							\
	.memory = mem,							\
	.scope = how,							\
	.forks = other_process,						\
	.sleeps = beside,						\
}

#define RACES(name, what)						\
RACE(name##_private, what, ANON_PRIVATE, PRIVATE, false, false);	\
RACE(name##_private_and_sleeper, what, ANON_PRIVATE, PRIVATE, false, true);	\
RACE(name##_shared, what, MEMFD, SHARED, false, false);		\
RACE(name##_process, what, MEMFD, SHARED, true, false);		\
RACE(name##_process_and_sleeper, what, MEMFD, SHARED, true, true)

RACES(wake, WAKE);
RACES(wake_op, WAKE_OP);
RACES(requeue, REQUEUE);
RACES(robust_unlock, ROBUST_UNLOCK);

/* Changes the word, and wakes, as one of the calls has it. */
static bool change(struct race *race, enum kind kind, int scope)
{
	unsigned long pending = 1;

	switch (kind) {
	case WAKE:
		race->word++;
		return futex(&race->word, FUTEX_WAKE | scope, 1, 0, NULL, 0) >= 0;
	case WAKE_OP:
		return futex(&race->other, FUTEX_WAKE_OP | scope, 1, 1, &race->word,
			     FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0)) >= 0;
	case REQUEUE:
		race->word++;
		return futex(&race->word, FUTEX_REQUEUE | scope, 1, 0, &race->other, 0) >= 0;
	case ROBUST_UNLOCK:
		return futex(&race->word, FUTEX_UNLOCK_WAKE | scope, 1, 0,
			     &pending, 0) >= 0;
	}
	return false;
}

struct waker {
	struct race *race;
	enum kind kind;
	int scope;
};

static void pause_for(unsigned int *seed)
{
	for (volatile int i = rand_r(seed) % 3000; i > 0; i--)
		;
}

static void *waker_main(void *arg)
{
	struct waker *waker = arg;
	struct race *race = waker->race;
	unsigned int seed = 1;

	for (uint32_t round = 1;; round++) {
		while (race->turn != round) {
			if (race->stop)
				return NULL;
			sched_yield();
		}
		pause_for(&seed);
		if (!change(race, waker->kind, waker->scope))
			race->failed++;
	}
}

/* Waits for the same wakes, as futex(2) has it. */
static void *sleeper_beside(void *arg)
{
	struct waker *waker = arg;
	struct race *race = waker->race;
	struct timespec tick = { 0, 10000000 };

	while (!race->stop)
		futex(&race->word, FUTEX_WAIT | waker->scope, race->word, (unsigned long)&tick,
		      NULL, 0);
	return NULL;
}

FIXTURE_SETUP(native_race)
{
	void *map = memory_map(variant->memory, &self->file);

	ASSERT_NE(NULL, map);
	self->race = map;
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
}

FIXTURE_TEARDOWN(native_race)
{
	munmap(self->race, memory_size(variant->memory));
	if (self->file >= 0)
		close(self->file);
	close(self->dev);
	EXPECT_IDLE();
}

TEST_F_TIMEOUT(native_race, no_wake_is_missed, 1800)
{
	struct race *race = self->race;
	struct waker waker = { race, variant->kind, variant->scope };
	pthread_t thread, sleeper;
	int armed = 0, fired = 0;
	unsigned int seed = 2;
	pid_t pid = 0;
	int fd;

	race->word = 1;
	if (!change(race, variant->kind, variant->scope))
		SKIP(return, "this kernel has no such call");
	if (variant->forks) {
		pid = fork();
		if (!pid) {
			waker_main(&waker);
			_exit(0);
		}
	} else {
		ASSERT_EQ(0, pthread_create(&thread, NULL, waker_main, &waker));
	}
	if (variant->sleeps)
		ASSERT_EQ(0, pthread_create(&sleeper, NULL, sleeper_beside, &waker));

	fd = native_watch(self->dev, &race->word, variant->scope, 0, 0);
	ASSERT_GE(fd, 0);
	for (int round = 1; round <= rounds(5000); round++) {
		uint32_t before;
		bool timely = true;

		if (variant->kind == ROBUST_UNLOCK)
			race->word = 1;
		before = race->word;
		race->turn = round;
		pause_for(&seed);
		/* One that is still under way from the last round may come, too. */
		do {
			int ret = ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)before);

			if (ret < 0) {
				ASSERT_EQ(EAGAIN, errno);
				break;
			}
			armed++;
			timely = poll_ms(fd, 60000) == READABLE;
			fired += timely;
		} while (timely && race->word == before);
		ASSERT_TRUE(timely);
		ASSERT_NE(before, race->word);
	}
	race->stop = true;
	if (variant->forks) {
		EXPECT_EQ(0, child_status(pid));
	} else {
		pthread_join(thread, NULL);
	}
	if (variant->sleeps)
		pthread_join(sleeper, NULL);
	EXPECT_EQ(0, race->failed);
	EXPECT_EQ(armed, fired);
	TH_LOG("armed %d times in %d rounds", armed, rounds(5000));
	close(fd);
}

/* Wakes of all kinds without end, in a thread of each of two processes. */
static void wake_without_end(struct race *race)
{
	for (unsigned int i = 0; !race->stop; i++)
		change(race, i % 4, i % 8 < 4 ? SHARED : PRIVATE);
}

/*
 * The module is loaded and removed while wakes run on all CPUs. The first watch is
 * missed by none of them: not by one that was under way when the hooks came.
 */
TEST_F_TIMEOUT(native_race, first_watch_of_many, 1800)
{
	int64_t loading = 0, placing = 0, waiting = 0, start;
	struct race *race = self->race;
	int times = thorough(rounds(50));
	pid_t pids[2];

	/* Once is enough. */
	if (variant->kind != WAKE_OP || !variant->forks || !variant->sleeps)
		return;
	for (int i = 0; i < 2; i++) {
		pids[i] = fork();
		if (!pids[i]) {
			/* It keeps nothing of the module, and nothing of it stays. */
			prctl(PR_SET_PDEATHSIG, SIGKILL);
			close(self->dev);
			wake_without_end(race);
			_exit(0);
		}
	}
	close(self->dev);
	for (int round = 0; round < times; round++) {
		uint32_t seen;
		int fd;

		start = now_ns();
		ASSERT_TRUE(reload(""));
		loading += now_ns() - start;
		self->dev = afutex_open();
		ASSERT_GE(self->dev, 0);
		start = now_ns();
		do {
			seen = race->word;
			fd = native_watch(self->dev, &race->word, SHARED, AFUTEX_COMPARE, seen);
		} while (fd == -EAGAIN);
		ASSERT_GE(fd, 0);
		placing += now_ns() - start;
		start = now_ns();
		ASSERT_EQ(READABLE, poll_ms(fd, 60000));
		waiting += now_ns() - start;
		close(fd);
		close(self->dev);
	}
	race->stop = true;
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, child_status(pids[i]));
	TH_LOG("%d times: %lld ms to remove and load, %lld to place the hooks, %lld to wait", times,
	       loading / 1000000ll, placing / 1000000ll, waiting / 1000000ll);
	self->dev = afutex_open();
}

int main(int argc, char **argv)
{
	/* Of each kind those that are the most different. */
	static const char * const dear[] = {
		"wake_private_and_sleeper", "wake_shared", "wake_process",
		"wake_op_private_and_sleeper", "wake_op_shared", "wake_op_process",
		"requeue_private_and_sleeper", "requeue_shared", "requeue_process",
		"robust_unlock_private_and_sleeper", "robust_unlock_shared",
		"robust_unlock_process", NULL,
	};

	return run_but(argc, argv, dear);
}
