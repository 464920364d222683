// SPDX-License-Identifier: GPL-2.0
/*
 * include/afutex.h on the waking side of the C library as it is: semaphores, mutexes and
 * threads that nobody told of afutex.
 */
#include <poll.h>
#include <semaphore.h>
#include <stddef.h>
#include <sys/epoll.h>
#include <sys/ioctl.h>

/* What happens right before the next ioctl that arms a watch, once. */
static void (*before_next)(void *arg);
static void *before_next_arg;
static int hooked_ioctl(int fd, unsigned long cmd, unsigned long arg);
#define ioctl(fd, cmd, arg)	hooked_ioctl(fd, cmd, (unsigned long)(arg))
/* A C library that is another one than it looks. */
static int hooked_sem_post(sem_t *sem);
#define sem_post(sem)		hooked_sem_post(sem)
static int hooked_poll(struct pollfd *fds, nfds_t nr, int timeout);
#define poll(fds, nr, timeout)	hooked_poll(fds, nr, timeout)
/* What happens before a waiter says that it was the last, and before it goes, once. */
static void (*before_last)(void), (*before_it_goes)(void);
static void happens(void (**what)(void))
{
	void (*hook)(void) = *what;

	*what = NULL;
	if (hook)
		hook();
}
#define __atomic_fetch_and(word, val, order)				\
	(happens(&before_last), __atomic_fetch_and(word, val, order))
#define __atomic_fetch_sub(word, val, order)				\
	(happens(&before_it_goes), __atomic_fetch_sub(word, val, order))
#include "afutex.h"
#undef __atomic_fetch_and
#undef __atomic_fetch_sub
#undef ioctl
#undef sem_post
#undef poll

#include "native.h"

static int hooked_ioctl(int fd, unsigned long cmd, unsigned long arg)
{
	void (*hook)(void *) = before_next;

	if (hook && cmd == AFUTEX_IOC_NEXT) {
		before_next = NULL;
		hook(before_next_arg);
	}
	return ioctl(fd, cmd, arg);
}

static enum { LIKE_ITSELF, WITHOUT_A_WAKE, LEAVES_SOMETHING } posts;

static int hooked_sem_post(sem_t *sem)
{
	sem_t other;

	if (posts == WITHOUT_A_WAKE) {
		/* As if it had no waiters. */
		memset(&other, 0, sizeof(other));
		sem_init(&other, 0, 1);
		*(volatile uint32_t *)sem = *(uint32_t *)&other;
		return 0;
	}
	if (posts == LEAVES_SOMETHING)
		((volatile char *)sem)[sizeof(sem_t) - 1]++;
	return sem_post(sem);
}

static int hooked_poll(struct pollfd *fds, nfds_t nr, int timeout)
{
	return poll(fds, nr, posts == LIKE_ITSELF ? timeout : 100);
}

static bool readable(int fd)
{
	return poll_ms(fd, 0) == READABLE;
}

/* Where waiters are counted, by the layout of this C library. */
static uint32_t waiters_of(sem_t *sem)
{
	return ((volatile uint32_t *)sem)[sizeof(long) == 8 ? 1 : 3];
}

FIXTURE(semaphore)
{
	sem_t *sem, fresh;
	struct afutex_sem watch;
	char name[32];
};

FIXTURE_VARIANT(semaphore)
{
	enum { UNSHARED, IN_SHARED_MEMORY, NAMED } kind;
};

FIXTURE_VARIANT_ADD(semaphore, private) { .kind = UNSHARED };
FIXTURE_VARIANT_ADD(semaphore, shared) { .kind = IN_SHARED_MEMORY };
FIXTURE_VARIANT_ADD(semaphore, named) { .kind = NAMED };

FIXTURE_SETUP(semaphore)
{
	if (variant->kind == NAMED) {
		snprintf(self->name, sizeof(self->name), "/afutex-%d", getpid());
		self->sem = sem_open(self->name, O_CREAT | O_EXCL, 0600, 0);
		ASSERT_TRUE(self->sem != SEM_FAILED);
	} else {
		self->sem = mmap(NULL, 4096, PROT_READ | PROT_WRITE,
				 MAP_ANONYMOUS | (variant->kind == UNSHARED ? MAP_PRIVATE :
						  MAP_SHARED), -1, 0);
		ASSERT_TRUE(self->sem != MAP_FAILED);
		ASSERT_EQ(0, sem_init(self->sem, variant->kind == IN_SHARED_MEMORY, 0));
	}
	self->fresh = *self->sem;
	ASSERT_EQ(0, afutex_sem_open(&self->watch, self->sem));
}

FIXTURE_TEARDOWN(semaphore)
{
	EXPECT_EQ(0, afutex_sem_close(&self->watch));
	/* It is as if nobody had waited. */
	EXPECT_EQ(0, memcmp(self->sem, &self->fresh, sizeof(self->fresh)));
	if (variant->kind == NAMED) {
		sem_close(self->sem);
		sem_unlink(self->name);
	}
	EXPECT_IDLE();
}

#define EXPECT_EMPTY(watch) do {					\
	EXPECT_EQ(-1, afutex_sem_trywait(watch));			\
	EXPECT_EQ(EAGAIN, errno);					\
} while (0)

TEST_F(semaphore, takes_what_is_posted)
{
	EXPECT_EMPTY(&self->watch);
	EXPECT_FALSE(readable(self->watch.fd));
	for (int i = 0; i < 3; i++)
		ASSERT_EQ(0, sem_post(self->sem));
	ASSERT_TRUE(eventually(readable(self->watch.fd)));
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
	EXPECT_EMPTY(&self->watch);
	EXPECT_FALSE(readable(self->watch.fd));
	ASSERT_EQ(0, sem_post(self->sem));
	ASSERT_TRUE(eventually(readable(self->watch.fd)));
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
}

/* It takes what was there before it came. */
TEST_F(semaphore, takes_what_is_there)
{
	ASSERT_EQ(0, sem_post(self->sem));
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
	EXPECT_EMPTY(&self->watch);
}

TEST_F(semaphore, another_process_posts)
{
	pid_t pid;

	if (variant->kind == UNSHARED)
		return;
	EXPECT_EMPTY(&self->watch);
	pid = fork();
	if (!pid)
		_exit(sem_post(self->sem));
	ASSERT_EQ(0, child_status(pid));
	ASSERT_TRUE(eventually(readable(self->watch.fd)));
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
}

static void post_one(void *sem)
{
	sem_post(sem);
}

/* A token that comes between the look and the arming is taken. */
TEST_F(semaphore, takes_what_comes_while_it_arms)
{
	before_next_arg = self->sem;
	before_next = post_one;
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
	EXPECT_EMPTY(&self->watch);
}

/* A semaphore that counts no waiters is posted to without a system call. */
TEST_F(semaphore, is_a_waiter_while_it_is_armed)
{
	EXPECT_EQ(0, waiters_of(self->sem));
	EXPECT_EMPTY(&self->watch);
	EXPECT_EMPTY(&self->watch);
	EXPECT_EQ(1, waiters_of(self->sem));
	ASSERT_EQ(0, sem_post(self->sem));
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
	EXPECT_EQ(0, memcmp(self->sem, &self->fresh, sizeof(self->fresh)));
	EXPECT_EMPTY(&self->watch);
	EXPECT_EQ(1, waiters_of(self->sem));
	afutex_sem_disarm(&self->watch);
	afutex_sem_disarm(&self->watch);
	EXPECT_EQ(0, memcmp(self->sem, &self->fresh, sizeof(self->fresh)));
	EXPECT_EMPTY(&self->watch);
}

static struct afutex_sem latecomer;
static int latecomer_found;

static void latecomer_comes(void)
{
	latecomer_found = afutex_sem_trywait(&latecomer) ? errno : 0;
}

static void post_to_latecomer(void)
{
	sem_post(latecomer.sem);
}

/*
 * On 32 bits a waiter that believes to be the last one takes back that there are any, and puts
 * that right, and wakes for the tokens that came meanwhile.
 */
TEST_F(semaphore, was_not_the_last)
{
	if (sizeof(long) == 8)
		return;
	ASSERT_EQ(0, afutex_sem_open(&latecomer, self->sem));
	EXPECT_EMPTY(&self->watch);
	before_last = latecomer_comes;
	before_it_goes = post_to_latecomer;
	afutex_sem_disarm(&self->watch);
	ASSERT_TRUE(!before_last && !before_it_goes);
	ASSERT_EQ(EAGAIN, latecomer_found);
	ASSERT_TRUE(eventually(readable(latecomer.fd)));
	EXPECT_EQ(0, afutex_sem_trywait(&latecomer));
	EXPECT_EQ(0, afutex_sem_close(&latecomer));
}

/* Threads that wait as everybody does, and take tokens until they are told to stop. */
struct consumer {
	sem_t *sem;
	pthread_t thread;
	_Atomic pid_t tid;
	_Atomic bool stop;
	_Atomic long taken;
};

static void *consume(void *arg)
{
	struct consumer *consumer = arg;

	consumer->tid = syscall(SYS_gettid);
	for (;;) {
		while (sem_wait(consumer->sem))
			;
		if (consumer->stop)
			return NULL;
		consumer->taken++;
	}
}

/* All descriptors hear of a token, and one task of those that sleep. */
TEST_F(semaphore, has_other_waiters)
{
	struct consumer consumer = { .sem = self->sem };
	struct afutex_sem second;

	ASSERT_EQ(0, afutex_sem_open(&second, self->sem));
	EXPECT_EMPTY(&self->watch);
	EXPECT_EMPTY(&second);
	ASSERT_EQ(0, pthread_create(&consumer.thread, NULL, consume, &consumer));
	ASSERT_TRUE(eventually(consumer.tid && task_state(consumer.tid) == 'S' &&
			       waiters_of(self->sem) == 3));
	ASSERT_EQ(0, sem_post(self->sem));
	EXPECT_TRUE(eventually(consumer.taken == 1));
	EXPECT_TRUE(eventually(readable(self->watch.fd) && readable(second.fd)));
	EXPECT_EMPTY(&self->watch);
	EXPECT_EMPTY(&second);
	EXPECT_FALSE(readable(self->watch.fd) || readable(second.fd));
	ASSERT_TRUE(eventually(waiters_of(self->sem) == 3));

	/* One that goes leaves the others. */
	EXPECT_EQ(0, afutex_sem_close(&second));
	EXPECT_EQ(2, waiters_of(self->sem));
	consumer.stop = true;
	ASSERT_EQ(0, sem_post(self->sem));
	pthread_join(consumer.thread, NULL);
	EXPECT_EMPTY(&self->watch);
	EXPECT_EQ(1, waiters_of(self->sem));
}

/* Kills a child once it has counted itself as a waiter; what it leaves is in *sem. */
static bool kill_waiter(sem_t *sem, bool watches)
{
	pid_t pid = fork();

	if (!pid) {
		struct afutex_sem watch;

		if (!watches)
			for (;;)
				sem_wait(sem);
		if (afutex_sem_open(&watch, sem) || !afutex_sem_trywait(&watch))
			_exit(1);
		for (;;)
			pause();
	}
	return eventually(waiters_of(sem)) && eventually(task_state(pid) == 'S') &&
	       !kill(pid, SIGKILL) && child_status(pid) == 128 + SIGKILL;
}

TEST_F(semaphore, leaves_what_a_killed_sem_wait_leaves)
{
	sem_t left, as_usual;

	if (variant->kind == UNSHARED)
		return;
	ASSERT_TRUE(kill_waiter(self->sem, false));
	as_usual = *self->sem;
	*self->sem = self->fresh;
	ASSERT_TRUE(kill_waiter(self->sem, true));
	left = *self->sem;
	EXPECT_EQ(0, memcmp(&as_usual, &left, sizeof(left)));

	/* It goes on from there. */
	EXPECT_EMPTY(&self->watch);
	EXPECT_EQ(2, waiters_of(self->sem));
	ASSERT_EQ(0, sem_post(self->sem));
	ASSERT_TRUE(eventually(readable(self->watch.fd)));
	EXPECT_EQ(0, afutex_sem_trywait(&self->watch));
	EXPECT_EQ(0, memcmp(self->sem, &left, sizeof(left)));
	*self->sem = self->fresh;
}

struct producer {
	sem_t *sem;
	pthread_t thread;
	int tokens;
};

/* Posts one by one, now and then only after all are taken: then some sleep. */
static void *produce(void *arg)
{
	struct producer *producer = arg;
	int value;

	for (int i = 0; i < producer->tokens; i++) {
		while (i % 3 == 0 && !sem_getvalue(producer->sem, &value) && value)
			sched_yield();
		sem_post(producer->sem);
	}
	return NULL;
}

static void lose_no_token(struct __test_metadata *_metadata, sem_t *sem, struct afutex_sem *watch,
			  uint32_t events, bool has_consumer)
{
	struct producer producers[2] = { { .sem = sem, .tokens = rounds(4000) },
					 { .sem = sem, .tokens = rounds(4000) } };
	struct consumer consumer = { .sem = sem };
	long sum = producers[0].tokens + producers[1].tokens, taken = 0;
	struct epoll_event ev = { .events = events };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	ASSERT_EQ(0, epoll_ctl(ep, EPOLL_CTL_ADD, watch->fd, &ev));
	EXPECT_EMPTY(watch);
	if (has_consumer)
		ASSERT_EQ(0, pthread_create(&consumer.thread, NULL, consume, &consumer));
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(0, pthread_create(&producers[i].thread, NULL, produce, &producers[i]));
	/* A token that nobody hears of is never taken. Only the sum is looked at now and then. */
	while (taken + consumer.taken != sum) {
		if (epoll_wait(ep, &ev, 1, has_consumer ? 10 : -1) <= 0)
			continue;
		while (!afutex_sem_trywait(watch))
			taken++;
		ASSERT_EQ(EAGAIN, errno);
	}
	for (int i = 0; i < 2; i++)
		pthread_join(producers[i].thread, NULL);
	if (has_consumer) {
		consumer.stop = true;
		sem_post(sem);
		pthread_join(consumer.thread, NULL);
	}
	EXPECT_EQ(sum, taken + consumer.taken);
	EXPECT_EMPTY(watch);
	close(ep);
}

TEST_F_TIMEOUT(semaphore, loses_no_token, 600)
{
	lose_no_token(_metadata, self->sem, &self->watch, EPOLLIN, false);
}

TEST_F_TIMEOUT(semaphore, loses_no_token_edge_triggered, 600)
{
	lose_no_token(_metadata, self->sem, &self->watch, EPOLLIN | EPOLLET, false);
}

TEST_F_TIMEOUT(semaphore, loses_no_token_beside_a_sleeper, 600)
{
	lose_no_token(_metadata, self->sem, &self->watch, EPOLLIN, true);
}

/* What the C library does is tried, and not guessed. */
TEST(unknown_semaphores)
{
	struct afutex_sem watch;
	sem_t sem;

	ASSERT_EQ(0, sem_init(&sem, 0, 0));
	for (posts = WITHOUT_A_WAKE; posts <= LEAVES_SOMETHING; posts++)
		EXPECT_EQ(0, _afutex_sem_trial());
	posts = WITHOUT_A_WAKE;
	EXPECT_EQ(-1, afutex_sem_open(&watch, &sem));
	EXPECT_EQ(ENOTSUP, errno);
	EXPECT_EQ(-1, watch.fd);
	/* Once and for all. */
	posts = LIKE_ITSELF;
	EXPECT_EQ(1, _afutex_sem_trial());
	EXPECT_EQ(-1, afutex_sem_open(&watch, &sem));
	EXPECT_EQ(ENOTSUP, errno);
	EXPECT_IDLE();
}

FIXTURE(mutex)
{
	pthread_mutex_t *mutex;
	struct afutex_mutex watch;
};

FIXTURE_VARIANT(mutex)
{
	int type, pshared, robust;
};

#define MUTEX(name, how, scope, strength)				\
FIXTURE_VARIANT_ADD(mutex, name)					\
{									\
	.type = PTHREAD_MUTEX_##how,					\
	.pshared = PTHREAD_PROCESS_##scope,				\
	.robust = PTHREAD_MUTEX_##strength,				\
}

MUTEX(normal, NORMAL, PRIVATE, STALLED);
MUTEX(errorcheck, ERRORCHECK, PRIVATE, STALLED);
MUTEX(recursive, RECURSIVE, PRIVATE, STALLED);
MUTEX(adaptive, ADAPTIVE_NP, PRIVATE, STALLED);
MUTEX(shared, NORMAL, SHARED, STALLED);
MUTEX(shared_recursive, RECURSIVE, SHARED, STALLED);
MUTEX(robust, NORMAL, SHARED, ROBUST);
MUTEX(robust_recursive, RECURSIVE, SHARED, ROBUST);
MUTEX(robust_private, ERRORCHECK, PRIVATE, ROBUST);

FIXTURE_SETUP(mutex)
{
	pthread_mutexattr_t attr;

	self->mutex = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->mutex != MAP_FAILED);
	pthread_mutexattr_init(&attr);
	pthread_mutexattr_settype(&attr, variant->type);
	pthread_mutexattr_setpshared(&attr, variant->pshared);
	pthread_mutexattr_setrobust(&attr, variant->robust);
	ASSERT_EQ(0, pthread_mutex_init(self->mutex, &attr));
	ASSERT_EQ(0, afutex_mutex_open(&self->watch, self->mutex));
}

FIXTURE_TEARDOWN(mutex)
{
	EXPECT_EQ(0, afutex_mutex_close(&self->watch));
	EXPECT_EQ(0, pthread_mutex_destroy(self->mutex));
	EXPECT_IDLE();
}

/* A thread that holds a mutex until it is told to unlock it. */
struct holder {
	pthread_mutex_t *mutex;
	pthread_t thread;
	_Atomic bool holds, go;
};

static void *hold(void *arg)
{
	struct holder *holder = arg;

	pthread_mutex_lock(holder->mutex);
	holder->holds = true;
	while (!holder->go)
		sched_yield();
	pthread_mutex_unlock(holder->mutex);
	return NULL;
}

static void let_go(void *arg)
{
	struct holder *holder = arg;

	holder->go = true;
	pthread_join(holder->thread, NULL);
}

#define HOLD(holder) do {						\
	ASSERT_EQ(0, pthread_create(&(holder)->thread, NULL, hold, holder)); \
	ASSERT_TRUE(eventually((holder)->holds));			\
} while (0)

TEST_F(mutex, takes_what_is_unlocked)
{
	for (int i = 0; i < 3; i++) {
		struct holder holder = { .mutex = self->mutex };

		HOLD(&holder);
		ASSERT_EQ(EBUSY, afutex_mutex_trylock(&self->watch));
		EXPECT_FALSE(readable(self->watch.fd));
		let_go(&holder);
		ASSERT_TRUE(eventually(readable(self->watch.fd)));
		ASSERT_EQ(0, afutex_mutex_trylock(&self->watch));
		ASSERT_EQ(0, pthread_mutex_unlock(self->mutex));
	}
	EXPECT_EQ(0, afutex_mutex_trylock(&self->watch));
	ASSERT_EQ(0, pthread_mutex_unlock(self->mutex));
}

TEST_F(mutex, takes_what_is_unlocked_while_it_arms)
{
	struct holder holder = { .mutex = self->mutex };

	HOLD(&holder);
	before_next_arg = &holder;
	before_next = let_go;
	EXPECT_EQ(0, afutex_mutex_trylock(&self->watch));
	EXPECT_TRUE(!before_next);
	EXPECT_EQ(0, pthread_mutex_unlock(self->mutex));
}

struct locker {
	pthread_mutex_t *mutex;
	long *sum;
	pthread_t thread;
	int rounds;
};

static void *lock_often(void *arg)
{
	struct locker *locker = arg;

	for (int i = 0; i < locker->rounds; i++) {
		long sum;

		pthread_mutex_lock(locker->mutex);
		sum = *locker->sum;
		if (i % 8 == 0)
			sched_yield();
		*locker->sum = sum + 1;
		pthread_mutex_unlock(locker->mutex);
	}
	return NULL;
}

/* A descriptor beside threads that sleep: nobody sleeps forever, and one holds it at a time. */
TEST_F_TIMEOUT(mutex, beside_others, 600)
{
	struct locker lockers[3];
	long sum = 0, mine = rounds(1000);

	for (int i = 0; i < 3; i++) {
		lockers[i] = (struct locker) { .mutex = self->mutex, .sum = &sum,
					       .rounds = rounds(3000) };
		ASSERT_EQ(0, pthread_create(&lockers[i].thread, NULL, lock_often, &lockers[i]));
	}
	for (int i = 0; i < mine; i++) {
		int ret;

		while ((ret = afutex_mutex_trylock(&self->watch)) == EBUSY)
			ASSERT_EQ(READABLE, poll_ms(self->watch.fd, -1));
		ASSERT_EQ(0, ret);
		sum++;
		if (i % 8 == 0)
			sched_yield();
		ASSERT_EQ(0, pthread_mutex_unlock(self->mutex));
	}
	for (int i = 0; i < 3; i++)
		pthread_join(lockers[i].thread, NULL);
	EXPECT_EQ(mine + 3 * lockers[0].rounds, sum);
}

TEST_F(mutex, owner_dies)
{
	bool *holds = (bool *)(self->mutex + 1);
	pid_t pid;

	if (variant->robust != PTHREAD_MUTEX_ROBUST || variant->pshared != PTHREAD_PROCESS_SHARED)
		return;
	pid = fork();
	if (!pid) {
		pthread_mutex_lock(self->mutex);
		__atomic_store_n(holds, true, __ATOMIC_SEQ_CST);
		for (;;)
			pause();
	}
	ASSERT_TRUE(eventually(__atomic_load_n(holds, __ATOMIC_SEQ_CST)));
	ASSERT_EQ(EBUSY, afutex_mutex_trylock(&self->watch));
	kill(pid, SIGKILL);
	ASSERT_EQ(128 + SIGKILL, child_status(pid));
	ASSERT_TRUE(eventually(readable(self->watch.fd)));
	ASSERT_EQ(EOWNERDEAD, afutex_mutex_trylock(&self->watch));
	EXPECT_EQ(0, pthread_mutex_consistent(self->mutex));
	EXPECT_EQ(0, pthread_mutex_unlock(self->mutex));
}

/* Their unlock hands over inside the kernel, or has other bits in the word. */
TEST(mutexes_with_a_protocol)
{
	static const int protocols[] = { PTHREAD_PRIO_INHERIT, PTHREAD_PRIO_PROTECT };

	for (int i = 0; i < 2; i++) {
		pthread_mutexattr_t attr;
		struct afutex_mutex watch;
		pthread_mutex_t mutex;

		pthread_mutexattr_init(&attr);
		ASSERT_EQ(0, pthread_mutexattr_setprotocol(&attr, protocols[i]));
		ASSERT_EQ(0, pthread_mutex_init(&mutex, &attr));
		EXPECT_EQ(-1, afutex_mutex_open(&watch, &mutex));
		EXPECT_EQ(ENOTSUP, errno);
	}
	EXPECT_IDLE();
}

/* A thread that ends when it is told to, and what it says of itself. */
struct mortal {
	pthread_t thread;
	const volatile uint32_t *word;
	uint32_t tid;
	int fd;
	_Atomic bool ready, end;
};

static void *live(void *arg)
{
	struct mortal *mortal = arg;

	mortal->word = afutex_thread_word();
	mortal->tid = mortal->word ? *mortal->word : 0;
	mortal->fd = afutex_thread_open();
	mortal->ready = true;
	while (!mortal->end)
		sched_yield();
	return NULL;
}

TEST(end_of_a_thread)
{
	for (int detached = 0; detached < 2; detached++) {
		struct mortal mortal = {};
		pthread_attr_t attr;

		pthread_attr_init(&attr);
		pthread_attr_setdetachstate(&attr, detached ? PTHREAD_CREATE_DETACHED :
					    PTHREAD_CREATE_JOINABLE);
		ASSERT_EQ(0, pthread_create(&mortal.thread, &attr, live, &mortal));
		ASSERT_TRUE(eventually(mortal.ready));
		ASSERT_GE(mortal.fd, 0);
		EXPECT_FALSE(readable(mortal.fd));
		mortal.end = true;
		EXPECT_TRUE(eventually(readable(mortal.fd)));
		if (!detached) {
			int late;

			/* It is not joined yet: its word is still its own. */
			EXPECT_EQ(0, *mortal.word);
			late = afutex_native_open(mortal.word, mortal.tid, 0);
			EXPECT_TRUE(readable(late));
			close(late);
			EXPECT_EQ(0, pthread_join(mortal.thread, NULL));
		}
		close(mortal.fd);
	}
	EXPECT_IDLE();
}

#define MORTALS	32

/* One descriptor for many threads, and the cookie says which it was. */
TEST(ends_of_threads_by_a_set)
{
	struct mortal mortals[MORTALS] = {};
	int set = afutex_set_open(O_CLOEXEC | O_NONBLOCK, 0);

	ASSERT_GE(set, 0);
	for (int i = 0; i < MORTALS; i++) {
		struct afutex_watch watch;
		uint32_t id;

		ASSERT_EQ(0, pthread_create(&mortals[i].thread, NULL, live, &mortals[i]));
		ASSERT_TRUE(eventually(mortals[i].ready));
		watch = afutex_watch_for(mortals[i].word, mortals[i].tid, FUTEX2_SIZE_U32 |
					 AFUTEX_NATIVE | AFUTEX_COMPARE | AFUTEX_READY, i);
		ASSERT_EQ(0, afutex_set_add(set, &watch, &id));
	}
	for (int i = MORTALS - 1; i >= 0; i--) {
		struct afutex_event event;

		mortals[i].end = true;
		ASSERT_TRUE(eventually(readable(set)));
		ASSERT_EQ(1, afutex_set_read(set, &event, 1));
		EXPECT_EQ(i, event.cookie);
		EXPECT_EQ(0, pthread_join(mortals[i].thread, NULL));
		close(mortals[i].fd);
	}
	close(set);
	EXPECT_IDLE();
}

static void *live_with_another_word(void *arg)
{
	static word_t other;
	void *own = (void *)afutex_thread_word();
	bool *refused = arg;

	syscall(SYS_set_tid_address, &other);
	*refused = !afutex_thread_word() && errno == ENOTSUP && afutex_thread_open() < 0 &&
		   errno == ENOTSUP;
	syscall(SYS_set_tid_address, own);
	return NULL;
}

TEST(thread_with_another_word)
{
	bool refused = false;
	pthread_t thread;

	ASSERT_EQ(0, pthread_create(&thread, NULL, live_with_another_word, &refused));
	pthread_join(thread, NULL);
	EXPECT_TRUE(refused);
	EXPECT_IDLE();
}

/* Any word, in the loop that words of afutex have. */
TEST(any_word)
{
	word_t word = 1;
	uint32_t seen = 0;
	int fd;

	for (int scope = SHARED; scope <= PRIVATE; scope += PRIVATE) {
		uint32_t flags = scope ? FUTEX2_PRIVATE : 0;

		fd = afutex_native_open(&word, 0, flags);
		ASSERT_GE(fd, 0);
		EXPECT_TRUE(readable(fd));
		ASSERT_EQ(0, afutex_watch_next(fd, &word, &seen));
		EXPECT_EQ(word, seen);
		EXPECT_FALSE(readable(fd));
		word++;
		ASSERT_EQ(0, futex(&word, FUTEX_WAKE | scope, 1, 0, NULL, 0));
		ASSERT_TRUE(eventually(readable(fd)));
		ASSERT_EQ(0, afutex_watch_next(fd, &word, &seen));
		EXPECT_EQ(word, seen);
		EXPECT_FALSE(readable(fd));
		close(fd);
	}
	EXPECT_IDLE();
}

/* A module that is told not to: that is not what is known of the C library from then on. */
TEST(switched_off)
{
	struct afutex_mutex lock;
	struct afutex_sem watch;
	pthread_mutex_t mutex = PTHREAD_MUTEX_INITIALIZER;
	sem_t sem;

	ASSERT_EQ(0, sem_init(&sem, 0, 0));
	ASSERT_TRUE(reload("native=0"));
	EXPECT_EQ(-1, afutex_sem_open(&watch, &sem));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, afutex_mutex_open(&lock, &mutex));
	EXPECT_EQ(EOPNOTSUPP, errno);
	EXPECT_EQ(-1, afutex_thread_open());
	EXPECT_EQ(EOPNOTSUPP, errno);
	close(_afutex_device_fd);
	_afutex_device_fd = -1;
	ASSERT_TRUE(reload(""));
	EXPECT_EQ(0, afutex_sem_open(&watch, &sem));
	EXPECT_EQ(0, afutex_mutex_open(&lock, &mutex));
	afutex_sem_close(&watch);
	afutex_mutex_close(&lock);
	EXPECT_IDLE();
}

TEST_HARNESS_MAIN
