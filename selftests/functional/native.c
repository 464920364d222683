// SPDX-License-Identifier: GPL-2.0
/*
 * Wakes of futex(2): each of its calls, and each of the kernel's and the C
 * library's own uses of it, fires the watches of its word.
 */
#include "native.h"

#include <linux/mman.h>
#include <linux/userfaultfd.h>
#include <semaphore.h>
#if __SIZEOF_POINTER__ == 8
#include <liburing.h>
#endif
#include <sys/mount.h>

#define PERSISTENT AFUTEX_PERSISTENT

FIXTURE(native)
{
	int dev, file;
	word_t *word, *word2;
	void *map;
};

FIXTURE_VARIANT(native)
{
	enum memory memory;
	int scope;
};

#define MEMORY(name, kind, how)						\
FIXTURE_VARIANT_ADD(native, name)					\
{									\
	.memory = kind,							\
	.scope = how,							\
}

MEMORY(private, ANON_PRIVATE, PRIVATE);
MEMORY(anon, ANON_PRIVATE, SHARED);
MEMORY(anon_shared, ANON_SHARED, SHARED);
MEMORY(memfd, MEMFD, SHARED);
MEMORY(memfd_private, MEMFD, PRIVATE);
MEMORY(ext4, EXT4, SHARED);
MEMORY(thp, THP, SHARED);
MEMORY(hugetlb, HUGETLB_SHARED, SHARED);

FIXTURE_SETUP(native)
{
	struct afutex_info info = {};

	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	ASSERT_EQ(0, ioctl(self->dev, AFUTEX_IOC_INFO, &info));
	ASSERT_TRUE(info.features & AFUTEX_FEATURE_NATIVE);
	self->map = memory_map(variant->memory, &self->file);
	if (!self->map)
		SKIP(return, "this kernel has no such memory");
	self->word = (word_t *)((char *)self->map + 64);
	self->word2 = (word_t *)((char *)self->map + 128);
	*self->word = 0;
}

FIXTURE_TEARDOWN(native)
{
	if (self->map)
		munmap(self->map, memory_size(variant->memory));
	if (self->file >= 0)
		close(self->file);
	close(self->dev);
	EXPECT_IDLE();
}

#define watch(word, flags) native_watch(self->dev, word, variant->scope, flags, 0)
#define OP(op) ((op) | variant->scope)

/* A thread that waits as futex(2) has it. */
struct native_sleeper {
	word_t *word;
	int op;
	pthread_t thread;
	_Atomic pid_t tid;
};

static void *native_sleeper_main(void *arg)
{
	struct native_sleeper *sleeper = arg;

	sleeper->tid = syscall(SYS_gettid);
	futex(sleeper->word, sleeper->op, 0, 0, NULL, 0);
	return NULL;
}

static bool native_sleeper_start(struct native_sleeper *sleeper)
{
	return !pthread_create(&sleeper->thread, NULL, native_sleeper_main, sleeper) &&
	       eventually(sleeper->tid && task_state(sleeper->tid) == 'S');
}

/* It is counted by nobody, and woken whatever number is to be woken. */
TEST_F(native, observes)
{
	struct native_sleeper sleeper = { .word = self->word, .op = OP(FUTEX_WAIT) };
	int first = watch(self->word, PERSISTENT), second = watch(self->word, PERSISTENT);
	int once = watch(self->word, 0), other = watch(self->word2, PERSISTENT);

	ASSERT_GE(first, 0);
	ASSERT_GE(second, 0);
	ASSERT_GE(once, 0);
	ASSERT_GE(other, 0);
	ASSERT_EQ(0, poll_ms(first, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(woken(first, 1));
	ASSERT_TRUE(woken(second, 1));
	ASSERT_TRUE(woken(once, 1));

	ASSERT_TRUE(native_sleeper_start(&sleeper));
	ASSERT_EQ(1, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	pthread_join(sleeper.thread, NULL);
	EXPECT_TRUE(woken(first, 1));
	EXPECT_TRUE(woken(second, 1));
	EXPECT_EQ(0, poll_ms(once, 0));

	close(first);
	close(once);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), INT32_MAX, 0, NULL, 0));
	EXPECT_TRUE(woken(second, 1));
	EXPECT_EQ(0, poll_ms(other, 0));
	close(second);
	close(other);
}

/* Private and shared operations do not meet, here as there. */
TEST_F(native, scopes_do_not_meet)
{
	int fd = watch(self->word, PERSISTENT);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, futex(self->word, FUTEX_WAKE | (variant->scope ^ PRIVATE), 1, 0, NULL, 0));
	ASSERT_EQ(0, futex(self->word2, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

TEST_F(native, wake_bitset)
{
	int fd = watch(self->word, PERSISTENT);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE_BITSET), 1, 0, NULL, 4));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

TEST_F(native, wake_op)
{
	int first = watch(self->word, PERSISTENT), second = watch(self->word2, PERSISTENT);

	ASSERT_GE(first, 0);
	ASSERT_GE(second, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE_OP), 1, 1, self->word2,
			   FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
	EXPECT_EQ(3, *self->word2);
	EXPECT_TRUE(woken(first, 1));
	EXPECT_TRUE(woken(second, 1));
	close(first);
	close(second);
}

/* Those on the first word are woken; those on the second are not, and nobody is moved. */
TEST_F(native, requeue)
{
	int first = watch(self->word, PERSISTENT), second = watch(self->word2, PERSISTENT);
	struct native_sleeper sleeper = { .word = self->word, .op = OP(FUTEX_WAIT) };

	ASSERT_GE(first, 0);
	ASSERT_GE(second, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_REQUEUE), 1, 1, self->word2, 0));
	EXPECT_TRUE(woken(first, 1));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_CMP_REQUEUE), 1, 1, self->word2, 0));
	EXPECT_TRUE(woken(first, 1));

	ASSERT_TRUE(native_sleeper_start(&sleeper));
	ASSERT_EQ(1, futex(self->word, OP(FUTEX_CMP_REQUEUE), 0, 1, self->word2, 0));
	EXPECT_TRUE(woken(first, 1));
	EXPECT_EQ(0, poll_ms(second, 0));
	ASSERT_EQ(1, futex(self->word2, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	pthread_join(sleeper.thread, NULL);
	EXPECT_TRUE(woken(second, 1));
	EXPECT_EQ(0, poll_ms(first, 0));
	close(first);
	close(second);
}

TEST_F(native, futex2)
{
	unsigned int flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);
	struct futex_waitv words[2] = {
		{ .uaddr = addr_of(self->word), .flags = flags },
		{ .uaddr = addr_of(self->word2), .flags = flags },
	};
	int fd = watch(self->word, PERSISTENT);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, syscall(SYS_futex_wake, self->word, 0xfffffffful, 1, flags));
	EXPECT_TRUE(woken(fd, 1));
	ASSERT_EQ(0, syscall(SYS_futex_requeue, words, 0, 1, 1));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

#if __SIZEOF_POINTER__ == 8
/* Of a ring whose kernel thread submits, too: it has the memory of its owner. */
TEST_F(native, io_uring)
{
	unsigned int flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0);
	int fd = watch(self->word, PERSISTENT);

	ASSERT_GE(fd, 0);
	for (int polled = 0; polled < 2; polled++) {
		struct io_uring_params params = {
			.flags = polled ? IORING_SETUP_SQPOLL : 0, .sq_thread_idle = 1000,
		};
		struct io_uring ring;
		struct io_uring_sqe *sqe;
		struct io_uring_cqe *cqe;

		ASSERT_EQ(0, io_uring_queue_init_params(4, &ring, &params));
		for (int async = 0; async < 2; async++) {
			sqe = io_uring_get_sqe(&ring);
			io_uring_prep_futex_wake(sqe, (uint32_t *)self->word, 1, ~0u, flags, 0);
			if (async)
				sqe->flags |= IOSQE_ASYNC;
			io_uring_submit(&ring);
			ASSERT_EQ(0, io_uring_wait_cqe(&ring, &cqe));
			EXPECT_EQ(0, cqe->res);
			io_uring_cqe_seen(&ring, cqe);
			EXPECT_TRUE(woken(fd, 1));
		}
		io_uring_queue_exit(&ring);
	}
	close(fd);
}
#endif

static void *thread_with_tid_word(void *word)
{
	syscall(SYS_set_tid_address, word);
	syscall(SYS_exit, 0);
	return NULL;
}

/* The end of a thread is a shared wake: the word is watched as one, whatever it is in. */
TEST_F(native, clear_child_tid)
{
	pthread_t thread;
	int fd;

	*self->word = 1;
	fd = native_watch(self->dev, self->word, SHARED, PERSISTENT | AFUTEX_COMPARE, 1);
	ASSERT_GE(fd, 0);
	/* It is never joined: the C library does not hear of its end. */
	ASSERT_EQ(0, pthread_create(&thread, NULL, thread_with_tid_word, self->word));
	EXPECT_TRUE(woken(fd, 1));
	EXPECT_EQ(0, *self->word);
	close(fd);
}

struct robust {
	struct robust_list_head head;
	struct robust_list entry;
	word_t word;
};

/* Holds a robust lock, with a waiter on it, until it is killed. */
static void robust_owner(struct robust *robust)
{

	robust->head.list.next = &robust->entry;
	robust->entry.next = &robust->head.list;
	robust->head.futex_offset = (char *)&robust->word - (char *)&robust->entry;
	syscall(SYS_set_robust_list, &robust->head, sizeof(robust->head));
	robust->word = syscall(SYS_gettid) | FUTEX_WAITERS;
	for (;;)
		pause();
}

/* Many watches, since the owner that is killed has a fatal signal pending while it wakes. */
TEST_F(native, robust_owner_dies)
{
	struct robust *robust = (struct robust *)((char *)self->map + 1024);
	int fds[100];
	pid_t pid;

	if (memory_is_private(variant->memory))
		return;
	pid = fork();
	if (!pid)
		robust_owner(robust);
	ASSERT_TRUE(eventually(robust->word & FUTEX_WAITERS));
	for (int i = 0; i < 100; i++) {
		fds[i] = native_watch(self->dev, &robust->word, SHARED,
				      AFUTEX_COMPARE | PERSISTENT, pid | FUTEX_WAITERS);
		ASSERT_GE(fds[i], 0);
	}
	kill(pid, SIGKILL);
	ASSERT_EQ(128 + SIGKILL, child_status(pid));
	EXPECT_EQ(FUTEX_OWNER_DIED | FUTEX_WAITERS, robust->word);
	for (int i = 0; i < 100; i++) {
		EXPECT_TRUE(woken(fds[i], 1));
		close(fds[i]);
	}
}

/* It stores 0 to the word, clears what it is told to clear, and wakes. */
TEST_F(native, robust_unlock)
{
	unsigned long pending = 1;
	int fd;

	*self->word = 5;
	if (futex(self->word, OP(FUTEX_UNLOCK_WAKE), 1, 0, &pending, 0) < 0 &&
	    errno == ENOSYS)
		SKIP(return, "this kernel, or its 32-bit ABI, has no FUTEX_ROBUST_UNLOCK");
	*self->word = 5;
	fd = native_watch(self->dev, self->word, variant->scope, PERSISTENT | AFUTEX_COMPARE, 5);
	ASSERT_GE(fd, 0);
	for (int i = 1; i <= 3; i++) {
		*self->word = 5;
		ASSERT_EQ(0, futex(self->word, OP(FUTEX_UNLOCK_WAKE), 1, 0,
				   &pending, 0));
		EXPECT_EQ(0, *self->word);
		EXPECT_TRUE(woken(fd, 1));
	}
	/* One that fails leaves nothing that hurts the next. */
	ASSERT_EQ(-1, futex((void *)4096, OP(FUTEX_UNLOCK_WAKE), 1, 0,
			    &pending, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_UNLOCK_WAKE), 1, 0, &pending, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

/* A PI lock is handed over inside the kernel: nobody is woken by futex_wake(). */
TEST_F(native, unlock_pi_is_not_seen)
{
	int fd = watch(self->word, PERSISTENT);

	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_LOCK_PI), 0, 0, NULL, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_UNLOCK_PI), 0, 0, NULL, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

/* Another process, that maps the memory elsewhere. */
TEST_F(native, another_process)
{
	int fd = watch(self->word, PERSISTENT);
	pid_t pid;

	if (memory_is_private(variant->memory) || variant->scope == PRIVATE) {
		close(fd);
		return;
	}
	ASSERT_GE(fd, 0);
	pid = fork();
	if (!pid) {
		char *map = mremap(self->map, 0, memory_size(variant->memory),
				   MREMAP_MAYMOVE);
		word_t *word = map == MAP_FAILED ? self->word : (word_t *)(map + 64);

		*word = 1;
		_exit(futex(word, FUTEX_WAKE, 1, 0, NULL, 0));
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

/*
 * The waker has not touched the page, so that the hook does not find it: all words
 * at that offset count as woken.
 */
TEST_F(native, page_that_is_not_found)
{
	long before = counter("native_unknown");
	int fd, other;
	pid_t pid;

	if (!memory_has_file(variant->memory) || variant->scope == PRIVATE)
		return;
	fd = watch(self->word, PERSISTENT);
	other = watch(self->word2, PERSISTENT);
	ASSERT_GE(fd, 0);
	ASSERT_GE(other, 0);
	pid = fork();
	if (!pid) {
		char *map = mmap(NULL, memory_size(variant->memory), PROT_READ | PROT_WRITE,
				 MAP_SHARED, self->file, 0);

		_exit(futex(map + 64, FUTEX_WAKE, 1, 0, NULL, 0));
	}
	ASSERT_EQ(0, child_status(pid));
	EXPECT_TRUE(woken(fd, 1));
	EXPECT_EQ(0, poll_ms(other, 0));
	EXPECT_EQ(before + 1, counter("native_unknown"));
	close(fd);
	close(other);
}

TEST_F(native, compare_and_arm)
{
	int fd;

	*self->word = 1;
	ASSERT_EQ(-EAGAIN, watch(self->word, AFUTEX_COMPARE));
	*self->word = 0;
	fd = watch(self->word, AFUTEX_COMPARE);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	ASSERT_EQ(1, ioctl(fd, AFUTEX_IOC_NEXT, 0ul));
	ASSERT_EQ(0, poll_ms(fd, 0));
	*self->word = 2;
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	ASSERT_EQ(-1, ioctl(fd, AFUTEX_IOC_NEXT, 0ul));
	ASSERT_EQ(EAGAIN, errno);
	ASSERT_EQ(0, ioctl(fd, AFUTEX_IOC_NEXT, 2ul));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

/* FUTEX_FD, as it was in 2002. */
TEST_F(native, futex_fd)
{
	siginfo_t info;
	sigset_t set;
	struct timespec ten = { 10, 0 };
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGRTMIN);
	ASSERT_EQ(0, sigprocmask(SIG_BLOCK, &set, NULL));
	ASSERT_EQ(-1, do_fd(self->dev, self->word, variant->scope, AFUTEX_NATIVE | 65));
	ASSERT_EQ(EINVAL, errno);
	fd = do_fd(self->dev, self->word, variant->scope, AFUTEX_NATIVE | SIGRTMIN);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, do_wake(self->dev, self->word, variant->scope, 1));
	ASSERT_EQ(0, poll_ms(fd, 0));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	ASSERT_EQ(SIGRTMIN, sigtimedwait(&set, &info, &ten));
	EXPECT_EQ(fd, info.si_fd);
	close(fd);
}

/* In a set, members for either kind of wakes are told apart. */
TEST_F(native, members_of_sets)
{
	uint32_t flags = FUTEX2_SIZE_U32 | PERSISTENT | (variant->scope ? FUTEX2_PRIVATE : 0);
	int set = new_set(self->dev, O_CLOEXEC | O_NONBLOCK, 0);
	int native, own;
	struct afutex_event ev[3];

	ASSERT_GE(set, 0);
	native = add(set, self->word, flags | AFUTEX_NATIVE, 0, 7);
	own = add(set, self->word, flags, 0, 8);
	ASSERT_GE(native, 0);
	ASSERT_GE(own, 0);
	ASSERT_EQ(-EINVAL, mod(set, native, self->word, flags, 0, 7));
	ASSERT_EQ(-EINVAL, mod(set, own, self->word, flags | AFUTEX_NATIVE, 0, 8));

	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(set, 0) == READABLE));
	ASSERT_EQ(1, events(set, ev, 3));
	EXPECT_EQ(7, ev[0].cookie);
	EXPECT_EQ(1, ev[0].count);
	ASSERT_EQ(1, do_wake(self->dev, self->word, variant->scope, 9));
	ASSERT_EQ(1, events(set, ev, 3));
	EXPECT_EQ(8, ev[0].cookie);

	ASSERT_EQ(0, mod(set, native, self->word2, flags | AFUTEX_NATIVE, 0, 9));
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_EQ(0, futex(self->word2, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(set, 0) == READABLE));
	ASSERT_EQ(1, events(set, ev, 3));
	EXPECT_EQ(9, ev[0].cookie);
	ASSERT_EQ(0, del(set, native));
	close(set);
}

/* What is unread when it is closed was taken from nobody, and is passed to nobody. */
TEST_F(native, nothing_is_passed_on)
{
	int first = watch(self->word, 0), second;

	ASSERT_GE(first, 0);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	ASSERT_TRUE(eventually(poll_ms(first, 0) == READABLE));
	second = watch(self->word, 0);
	ASSERT_GE(second, 0);
	close(first);
	ASSERT_TRUE(counter_becomes("fds", 1));
	EXPECT_EQ(0, poll_ms(second, 0));
	close(second);
}

/* The C library's own, as it is. */
TEST_F(native, sem_post)
{
	sem_t *sem = (sem_t *)((char *)self->map + 256);
	word_t *word = (word_t *)sem;
	int fd;

	ASSERT_EQ(0, sem_init(sem, variant->scope == SHARED, 0));
	fd = native_watch(self->dev, sem, variant->scope, PERSISTENT, 0);
	ASSERT_GE(fd, 0);
	/* That there is a waiter, without which no call is made, as glibc has it. */
	if (sizeof(long) == 8)
		word[1]++;
	else
		word[0] |= 1;
	ASSERT_EQ(0, sem_post(sem));
	EXPECT_TRUE(woken(fd, 1));
	ASSERT_EQ(0, sem_trywait(sem));
	close(fd);
}

static void *lock_it(void *mutex)
{
	pthread_mutex_lock(mutex);
	pthread_mutex_unlock(mutex);
	return NULL;
}

TEST_F(native, mutex)
{
	pthread_mutex_t *mutex = (pthread_mutex_t *)((char *)self->map + 512);
	pthread_mutexattr_t attr;
	pthread_t thread;
	word_t *word = (word_t *)mutex;
	int fd;

	pthread_mutexattr_init(&attr);
	pthread_mutexattr_setpshared(&attr, variant->scope == SHARED ? PTHREAD_PROCESS_SHARED :
				     PTHREAD_PROCESS_PRIVATE);
	ASSERT_EQ(0, pthread_mutex_init(mutex, &attr));
	ASSERT_EQ(0, pthread_mutex_lock(mutex));
	ASSERT_EQ(0, pthread_create(&thread, NULL, lock_it, mutex));
	ASSERT_TRUE(eventually(*word == 2));
	fd = native_watch(self->dev, word, variant->scope, AFUTEX_COMPARE, 2);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(0, pthread_mutex_unlock(mutex));
	EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	pthread_join(thread, NULL);
	close(fd);
}

struct condition {
	pthread_mutex_t mutex;
	pthread_cond_t cond;
	bool is_so;
	_Atomic bool waits;
};

static void *wait_for_it(void *arg)
{
	struct condition *condition = arg;

	pthread_mutex_lock(&condition->mutex);
	condition->waits = true;
	while (!condition->is_so)
		pthread_cond_wait(&condition->cond, &condition->mutex);
	pthread_mutex_unlock(&condition->mutex);
	return NULL;
}

/* It wakes one of the words in it: all are watched. */
TEST_F(native, condition_variable)
{
	struct condition *condition = (struct condition *)((char *)self->map + 1024);
	uint32_t flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0) | AFUTEX_NATIVE;
	int set = new_set(self->dev, O_CLOEXEC | O_NONBLOCK, 0);
	pthread_mutexattr_t mutex_attr;
	pthread_condattr_t attr;
	pthread_t thread;

	pthread_mutexattr_init(&mutex_attr);
	pthread_condattr_init(&attr);
	if (variant->scope == SHARED) {
		pthread_mutexattr_setpshared(&mutex_attr, PTHREAD_PROCESS_SHARED);
		pthread_condattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	}
	ASSERT_EQ(0, pthread_mutex_init(&condition->mutex, &mutex_attr));
	ASSERT_EQ(0, pthread_cond_init(&condition->cond, &attr));
	ASSERT_EQ(0, pthread_create(&thread, NULL, wait_for_it, condition));
	ASSERT_TRUE(eventually(condition->waits));
	pthread_mutex_lock(&condition->mutex);
	for (size_t i = 0; i < sizeof(pthread_cond_t) / sizeof(word_t); i++)
		ASSERT_GE(add(set, (word_t *)&condition->cond + i, flags, 0, i), 0);
	condition->is_so = true;
	ASSERT_EQ(0, pthread_cond_signal(&condition->cond));
	pthread_mutex_unlock(&condition->mutex);
	EXPECT_TRUE(eventually(poll_ms(set, 0) == READABLE));
	pthread_join(thread, NULL);
	close(set);
}

static void *arrive(void *barrier)
{
	pthread_barrier_wait(barrier);
	return NULL;
}

/* The last one to arrive wakes the others by one of the words in it. */
TEST_F(native, barrier)
{
	pthread_barrier_t *barrier = (pthread_barrier_t *)((char *)self->map + 2048);
	uint32_t flags = FUTEX2_SIZE_U32 | (variant->scope ? FUTEX2_PRIVATE : 0) | AFUTEX_NATIVE;
	int set = new_set(self->dev, O_CLOEXEC | O_NONBLOCK, 0);
	word_t *arrived = (word_t *)barrier;
	pthread_barrierattr_t attr;
	pthread_t thread;

	pthread_barrierattr_init(&attr);
	if (variant->scope == SHARED)
		pthread_barrierattr_setpshared(&attr, PTHREAD_PROCESS_SHARED);
	ASSERT_EQ(0, pthread_barrier_init(barrier, &attr, 2));
	for (size_t i = 0; i < sizeof(*barrier) / sizeof(word_t); i++)
		ASSERT_GE(add(set, (word_t *)barrier + i, flags, 0, i), 0);
	ASSERT_EQ(0, pthread_create(&thread, NULL, arrive, barrier));
	ASSERT_TRUE(eventually(*arrived == 1));
	ASSERT_EQ(0, poll_ms(set, 0));
	pthread_barrier_wait(barrier);
	EXPECT_TRUE(eventually(poll_ms(set, 0) == READABLE));
	pthread_join(thread, NULL);
	close(set);
}

/* Text is patched for the first watch, and stays so for a while after the last. */
TEST(hooks_linger)
{
	int dev = afutex_open();
	word_t word = 0;
	long before;

	ASSERT_GE(dev, 0);
	close(native_watch(dev, &word, PRIVATE, 0, 0));
	before = counter("native_hooked");
	for (int i = 0; i < rounds(1000); i++) {
		int fd = native_watch(dev, &word, PRIVATE, 0, 0);

		ASSERT_GE(fd, 0);
		close(fd);
	}
	EXPECT_LE(counter("native_hooked"), before + 1);
	close(dev);
	ASSERT_TRUE(counter_becomes("fds", 0));
	EXPECT_TRUE(eventually(!counter("native_in_place")) ||
		    eventually(!counter("native_in_place")));

	/* And it comes back. */
	dev = afutex_open();
	before = counter("native_hooked");
	int fd = native_watch(dev, &word, PRIVATE, PERSISTENT, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(1, counter("native_in_place"));
	EXPECT_EQ(before + 1, counter("native_hooked"));
	ASSERT_EQ(0, futex(&word, FUTEX_WAKE | PRIVATE, 1, 0, NULL, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
	close(dev);
	EXPECT_IDLE();
}

/* Writes words, each by itself, as set_ftrace_filter wants them. */
static bool trace(const char *file, const char *words)
{
	char path[64];
	bool ok = true;
	int fd;

	snprintf(path, sizeof(path), "/sys/kernel/tracing/%s", file);
	fd = open(path, O_WRONLY | O_TRUNC);
	if (fd < 0)
		return false;
	for (const char *word = words; ok && *word; word += strspn(word, " ")) {
		int len = strcspn(word, " ");

		ok = dprintf(fd, "%.*s\n", len, word) == len + 1;
		word += len;
	}
	close(fd);
	return ok;
}

/* Hooks run with preemption off when there is another tracer, and leave wakes to the worker. */
TEST_F(native, beside_the_function_tracer)
{
	long before = counter("native_handed_on") + counter("native_unknown");
	unsigned long pending = 1;
	uint64_t sum = 0;
	bool has_unlock;
	int fd;

	mount("tracefs", "/sys/kernel/tracing", "tracefs", 0, NULL);
	if (!trace("set_ftrace_filter", "futex_wake futex_requeue futex_wake_op"))
		SKIP(return, "this kernel has no function tracer");
	has_unlock = trace("set_ftrace_filter", "futex_wake futex_requeue futex_wake_op "
			   "futex_robust_list_clear_pending");
	ASSERT_TRUE(trace("current_tracer", "function"));
	fd = watch(self->word, PERSISTENT);
	ASSERT_GE(fd, 0);
	for (int i = 0; i < 200; i++)
		ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	EXPECT_TRUE(eventually(counter("native_handed_on") + counter("native_unknown") ==
			       before + 200));
	/* All are told of, but those that found the ring full: they are one, of any word. */
	EXPECT_TRUE(eventually((sum += wakes_of(fd)) >= 64));
	wakes_of(fd);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_REQUEUE), 1, 1, self->word2, 0));
	EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	wakes_of(fd);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE_OP), 1, 1, self->word2,
			   FUTEX_OP(FUTEX_OP_ADD, 3, FUTEX_OP_CMP_EQ, 0)));
	EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	wakes_of(fd);
	if (has_unlock) {
		ASSERT_EQ(0, futex(self->word, OP(FUTEX_UNLOCK_WAKE), 1, 0,
				   &pending, 0));
		EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	}
	ASSERT_TRUE(trace("current_tracer", "nop"));
	/* Once it is gone, they are told at once again. */
	wakes_of(fd);
	ASSERT_EQ(0, futex(self->word, OP(FUTEX_WAKE), 1, 0, NULL, 0));
	EXPECT_TRUE(woken(fd, 1));
	close(fd);
}

struct late_call {
	word_t *word, *word2;
	pthread_t thread;
	_Atomic pid_t tid;
};

static void *call_late(void *arg)
{
	struct late_call *call = arg;

	call->tid = syscall(SYS_gettid);
	/* As a shared one, which looks up the page that it may write. */
	futex(call->word, FUTEX_WAKE_OP, 1, 1, call->word2,
	      FUTEX_OP(FUTEX_OP_ADD, 1, FUTEX_OP_CMP_GE, 0));
	return NULL;
}

/*
 * A call that began before the hooks were there, and that waits for a page it may
 * write before it stores, is not seen by them: when it returns, all count as woken.
 */
TEST(call_that_began_before_the_hooks)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), fd, dev;
	struct late_call call = {};
	word_t first = 0;
	char *map;

	/* No hooks. */
	ASSERT_TRUE(reload(""));
	map = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	map[0] = 0;
	reg.range.start = wp.range.start = addr_of(map);
	reg.range.len = wp.range.len = 4096;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		SKIP(return, "this kernel does not write-protect for userfaultfd");
	call.word = &first;
	call.word2 = (word_t *)map;
	ASSERT_EQ(0, pthread_create(&call.thread, NULL, call_late, &call));
	ASSERT_EQ(POLLIN, poll_ms(uffd, 60000) & POLLIN);

	dev = afutex_open();
	ASSERT_GE(dev, 0);
	fd = native_watch(dev, call.word2, SHARED, AFUTEX_COMPARE, 0);
	ASSERT_GE(fd, 0);
	ASSERT_EQ(1, counter("native_in_place"));
	ASSERT_EQ(0, poll_ms(fd, 0));
	wp.mode = 0;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	EXPECT_TRUE(eventually(poll_ms(fd, 0) == READABLE));
	pthread_join(call.thread, NULL);
	EXPECT_EQ(1, *call.word2);
	EXPECT_EQ(1, counter("native_unknown"));
	close(fd);
	close(dev);
	close(uffd);
	munmap(map, 4096);
	EXPECT_IDLE();
}

#define UNLOCKERS 300

struct unlocker {
	word_t *word;
	pthread_t thread;
	int ret;
};

static void *unlock_word(void *arg)
{
	struct unlocker *unlocker = arg;
	unsigned long pending = 1;

	unlocker->ret = futex(unlocker->word, FUTEX_UNLOCK_WAKE | PRIVATE, 1, 0, &pending, 0);
	return NULL;
}

/*
 * More tasks than there are places for notes are about to unlock a word, and wait for
 * a page that they may write. Those that lost their place are found: no wake is missed.
 */
TEST(notes_that_are_taken)
{
	struct uffdio_api api = { .api = UFFD_API };
	struct uffdio_register reg = { .mode = UFFDIO_REGISTER_MODE_WP };
	struct uffdio_writeprotect wp = { .mode = UFFDIO_WRITEPROTECT_MODE_WP };
	int uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK), dev = afutex_open();
	static struct unlocker unlockers[UNLOCKERS];
	static int fds[UNLOCKERS];
	unsigned long pending = 1;
	struct uffd_msg message;
	pthread_attr_t attr;
	long unknown;
	word_t *words;

	words = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(words != MAP_FAILED);
	if (futex(words, FUTEX_UNLOCK_WAKE | PRIVATE, 1, 0, &pending, 0) < 0)
		SKIP(return, "this kernel, or its 32-bit ABI, has no FUTEX_ROBUST_UNLOCK");
	for (int i = 0; i < UNLOCKERS; i++)
		words[i] = 1;
	reg.range.start = wp.range.start = addr_of(words);
	reg.range.len = wp.range.len = 4096;
	if (uffd < 0 || ioctl(uffd, UFFDIO_API, &api) || ioctl(uffd, UFFDIO_REGISTER, &reg) ||
	    ioctl(uffd, UFFDIO_WRITEPROTECT, &wp))
		SKIP(return, "this kernel does not write-protect for userfaultfd");

	ASSERT_GE(dev, 0);
	for (int i = 0; i < UNLOCKERS; i++) {
		fds[i] = native_watch(dev, &words[i], PRIVATE, AFUTEX_COMPARE, 1);
		ASSERT_GE(fds[i], 0);
	}
	unknown = counter("native_unknown");
	pthread_attr_init(&attr);
	pthread_attr_setstacksize(&attr, 65536);
	for (int i = 0; i < UNLOCKERS; i++) {
		unlockers[i].word = &words[i];
		ASSERT_EQ(0, pthread_create(&unlockers[i].thread, &attr, unlock_word,
					    &unlockers[i]));
	}
	for (int i = 0; i < UNLOCKERS; i++) {
		ASSERT_EQ(POLLIN, poll_ms(uffd, 60000) & POLLIN);
		ASSERT_EQ(sizeof(message), read(uffd, &message, sizeof(message)));
	}
	EXPECT_GE(counter("native_unknown"), unknown + UNLOCKERS - 256);
	wp.mode = 0;
	ASSERT_EQ(0, ioctl(uffd, UFFDIO_WRITEPROTECT, &wp));
	for (int i = 0; i < UNLOCKERS; i++) {
		pthread_join(unlockers[i].thread, NULL);
		EXPECT_EQ(0, unlockers[i].ret);
		EXPECT_EQ(0, words[i]);
		EXPECT_TRUE(eventually(poll_ms(fds[i], 0) == READABLE));
		close(fds[i]);
	}
	close(uffd);

	/* Nothing of it stays: the next unlock is told of as what it is. */
	fds[0] = native_watch(dev, words, PRIVATE, PERSISTENT, 0);
	ASSERT_GE(fds[0], 0);
	ASSERT_EQ(0, futex(words, FUTEX_UNLOCK_WAKE | PRIVATE, 1, 0, &pending, 0));
	EXPECT_TRUE(eventually(poll_ms(fds[0], 0) == READABLE));
	ASSERT_TRUE(eventually(!wakes_of(fds[0])));
	unknown = counter("native_unknown");
	for (int i = 0; i < 10; i++) {
		ASSERT_EQ(0, futex(words, FUTEX_UNLOCK_WAKE | PRIVATE, 1, 0, &pending, 0));
		EXPECT_TRUE(woken(fds[0], 1));
	}
	EXPECT_EQ(unknown, counter("native_unknown"));
	close(fds[0]);
	close(dev);
	munmap(words, 4096);
	EXPECT_IDLE();
}

/* Switched off. */
TEST(parameter)
{
	struct afutex_info info = {};
	word_t word = 0;
	int dev;

	ASSERT_TRUE(reload("native=0"));
	dev = afutex_open();
	ASSERT_GE(dev, 0);
	EXPECT_EQ(0, ioctl(dev, AFUTEX_IOC_INFO, &info));
	EXPECT_FALSE(info.features & AFUTEX_FEATURE_NATIVE);
	EXPECT_EQ(-EOPNOTSUPP, native_watch(dev, &word, PRIVATE, 0, 0));
	EXPECT_EQ(-1, do_fd(dev, &word, PRIVATE, AFUTEX_NATIVE));
	EXPECT_EQ(EOPNOTSUPP, errno);
	close(dev);
	ASSERT_TRUE(reload(""));
}

int main(int argc, char **argv)
{
	/* One kind of memory for each scope: the others differ in what is beneath. */
	static const char * const dear[] = {
		"anon", "anon_shared", "memfd_private", "ext4", "thp", "hugetlb", NULL,
	};

	return run_but(argc, argv, dear);
}
