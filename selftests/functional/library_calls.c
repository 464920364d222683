// SPDX-License-Identifier: GPL-2.0
/* include/afutex.h: the device of a process, and a function for each ioctl. */
#include <sys/epoll.h>
#include <sys/eventfd.h>

/* What happens right before an ioctl of the library, and how many there were. */
#include <sys/ioctl.h>
static void (*before_ioctl)(void);
static _Atomic long ioctls;
static int hooked_ioctl(int fd, unsigned long cmd, unsigned long arg)
{
	ioctls++;
	if (before_ioctl)
		before_ioctl();
	return ioctl(fd, cmd, arg);
}
#define ioctl(fd, cmd, arg)	hooked_ioctl(fd, cmd, (unsigned long)(arg))
#include "afutex.h"
#undef ioctl

#include "memory.h"

#define U32	FUTEX2_SIZE_U32
#define ANY	FUTEX_BITSET_MATCH_ANY

/* In other files of this program: in C and in C++. */
void *c_file(int *device);
void *cxx_file(int *device);

FIXTURE(library_calls)
{
	int file;
	word_t *words;
};

FIXTURE_SETUP(library_calls)
{
	before_ioctl = NULL;
	self->words = memory_map(ANON_SHARED, &self->file);
	ASSERT_TRUE(self->words != NULL);
}

FIXTURE_TEARDOWN(library_calls)
{
	/* The program's own descriptor is no waiter. */
	EXPECT_IDLE();
}

TEST_F(library_calls, all_files_share_a_device)
{
	int c, cxx;

	EXPECT_EQ(&_afutex_device_fd, c_file(&c));
	EXPECT_EQ(&_afutex_device_fd, cxx_file(&cxx));
	EXPECT_GE(c, 0);
	EXPECT_EQ(c, cxx);
	EXPECT_EQ(c, afutex_device());
	EXPECT_EQ(FD_CLOEXEC, fcntl(c, F_GETFD));
}

/* Threads that open the device at once keep one descriptor. */
static void *open_device(void *arg)
{
	pthread_barrier_wait(arg);
	return (void *)(intptr_t)afutex_device();
}

static int open_descriptors(void)
{
	int n = 0;

	for (int fd = 0; fd < 256; fd++)
		n += fcntl(fd, F_GETFD) >= 0;
	return n;
}

TEST_F(library_calls, threads_open_one_device)
{
	int before = open_descriptors();

	for (int i = 0; i < rounds(200); i++) {
		pthread_barrier_t barrier;
		pthread_t threads[4];
		void *fd;

		pthread_barrier_init(&barrier, NULL, 4);
		for (int j = 0; j < 4; j++)
			ASSERT_EQ(0, pthread_create(&threads[j], NULL, open_device, &barrier));
		for (int j = 0; j < 4; j++) {
			pthread_join(threads[j], &fd);
			EXPECT_EQ(_afutex_device_fd, (int)(intptr_t)fd);
		}
		EXPECT_EQ(before + 1, open_descriptors());
		close(_afutex_device_fd);
		_afutex_device_fd = -1;
	}
}

/* Makes the number of the device's descriptor that of another file. */
static int nothing(int fd)
{
	return 0;
}

static int dev_null(int fd)
{
	return dup2(open("/dev/null", O_RDWR), fd);
}

static int regular_file(int fd)
{
	return dup2(open("/dev/shm", O_TMPFILE | O_RDWR, 0600), fd);
}

static int directory(int fd)
{
	return dup2(open("/", O_RDONLY), fd);
}

static int terminal(int fd)
{
	return dup2(open("/dev/ptmx", O_RDWR | O_NOCTTY), fd);
}

static int stream_socket(int fd)
{
	return dup2(socket(AF_UNIX, SOCK_STREAM, 0), fd);
}

static int an_eventfd(int fd)
{
	return dup2(eventfd(0, 0), fd);
}

static int an_epoll(int fd)
{
	return dup2(epoll_create1(0), fd);
}

static int a_pipe(int fd)
{
	int p[2];

	return pipe(p) ? -1 : dup2(p[0], fd);
}

static int a_set(int fd)
{
	struct afutex_set args = { 0 };
	int dev = afutex_open(), set = ioctl(dev, AFUTEX_IOC_SET, &args);

	close(dev);
	return dup2(set, fd);
}

static int another_device(int fd)
{
	return dup2(afutex_open(), fd);
}

FIXTURE(closed)
{
	int file;
	word_t *word;
};

FIXTURE_VARIANT(closed)
{
	int (*reuse)(int fd);
};

FIXTURE_VARIANT_ADD(closed, and_not_reused) { .reuse = nothing };
FIXTURE_VARIANT_ADD(closed, dev_null) { .reuse = dev_null };
FIXTURE_VARIANT_ADD(closed, regular_file) { .reuse = regular_file };
FIXTURE_VARIANT_ADD(closed, directory) { .reuse = directory };
FIXTURE_VARIANT_ADD(closed, terminal) { .reuse = terminal };
FIXTURE_VARIANT_ADD(closed, stream_socket) { .reuse = stream_socket };
FIXTURE_VARIANT_ADD(closed, eventfd) { .reuse = an_eventfd };
FIXTURE_VARIANT_ADD(closed, epoll) { .reuse = an_epoll };
FIXTURE_VARIANT_ADD(closed, pipe) { .reuse = a_pipe };
FIXTURE_VARIANT_ADD(closed, set) { .reuse = a_set };
FIXTURE_VARIANT_ADD(closed, another_device) { .reuse = another_device };

FIXTURE_SETUP(closed)
{
	self->word = memory_map(ANON_SHARED, &self->file);
	ASSERT_TRUE(self->word != NULL);
}

FIXTURE_TEARDOWN(closed)
{
	EXPECT_IDLE();
}

/* A wait and a wake after all descriptors were closed; 0 if they work. */
static int calls_after_closing(word_t *word, int (*reuse)(int fd))
{
	struct timespec now = { 0, 0 };
	struct futex *f = (struct futex *)(word + 1);
	int device = afutex_device();

	close_range(3, ~0u, 0);
	if (reuse(device) < 0)
		return 1;
	if (afutex_wake_one(word) != 0)
		return 2;
	reuse(_afutex_device_fd);
	if (afutex_word_wait(word, 1, ANY, U32, NULL) != -1 || errno != EAGAIN)
		return 3;
	close(_afutex_device_fd);
	reuse(_afutex_device_fd);
	if (afutex_word_wait(word, 0, ANY, U32, &now) != -1 || errno != ETIMEDOUT)
		return 4;
	close(_afutex_device_fd);
	reuse(_afutex_device_fd);
	/* What is wrong with a call is still said. */
	if (afutex_word_wake(word, 1, 0, U32) != -1 || errno != EINVAL)
		return 5;
	close(_afutex_device_fd);
	reuse(_afutex_device_fd);
	/* The parent waits for it. */
	return futex_up(f) ? 6 : 0;
}

TEST_F(closed, is_opened_again)
{
	struct futex *f = (struct futex *)(self->word + 1);
	pid_t pid;

	ASSERT_GE(afutex_device(), 0);
	pid = fork();
	if (!pid)
		_exit(calls_after_closing(self->word, variant->reuse));
	EXPECT_EQ(0, futex_down(f));
	EXPECT_EQ(0, child_status(pid));
}

/* What a daemon does before it opens its standard streams anew. */
static int device_above_streams(void)
{
	close_range(0, ~0u, 0);
	return afutex_device() > STDERR_FILENO && fcntl(0, F_GETFD) < 0 ? 0 : 1;
}

TEST_F(library_calls, leaves_the_standard_streams_alone)
{
	pid_t pid = fork();

	if (!pid)
		_exit(device_above_streams());
	EXPECT_EQ(0, child_status(pid));
}

/* Goes where no device can be opened. */
static int lock_in(void)
{
	return mkdir("/dev/shm/empty", 0700) && errno != EEXIST ? -1 : chroot("/dev/shm/empty");
}

static int errors_without_device(word_t *word, int error)
{
	struct futex f = FUTEX_INITIALIZER(-1);
	struct afutex_info info;

	/* Each fails as open() does, and not with EBADF. */
	if (afutex_device() != -1 || errno != error)
		return 1;
	if (afutex_wake_one(word) != -1 || errno != error)
		return 2;
	if (afutex_word_wait(word, 0, ANY, U32, NULL) != -1 || errno != error)
		return 3;
	if (afutex_device_info(&info) != -1 || errno != error)
		return 4;
	if (afutex_device_reopen() != -1 || errno != error)
		return 5;
	if (afutex_watch_open(word, 0, ANY, U32, 0, 0) != -1 || errno != error)
		return 6;
	if (futex_down(&f) != -1 || errno != error)
		return 7;
	/* No token is put back that nothing can be woken for. */
	if (futex_up(&f) != -1 || errno != error || f.count != -1)
		return 8;
	return 0;
}

TEST_F(library_calls, errors_are_those_of_open)
{
	pid_t pid = fork();

	if (!pid)
		_exit(lock_in() ? 99 : errors_without_device(self->words, ENOENT));
	EXPECT_EQ(0, child_status(pid));

	/* The same if it was open once. */
	ASSERT_GE(afutex_device(), 0);
	pid = fork();
	if (!pid) {
		int fd = afutex_device();

		if (lock_in())
			_exit(99);
		close(fd);
		if (afutex_wake_one(self->words) != -1 || errno != ENOENT)
			_exit(98);
		_afutex_device_fd = -1;
		_exit(errors_without_device(self->words, ENOENT));
	}
	EXPECT_EQ(0, child_status(pid));
}

static int use_what_is_handed_in(word_t *word)
{
	int fd = afutex_open();

	if (lock_in() || afutex_wake_one(word) != -1)
		return 1;
	if (afutex_device_set(1 << 20) != -1 || errno != EBADF)
		return 2;
	if (afutex_device_set(STDERR_FILENO) != -1 || errno != ENOTTY)
		return 3;
	if (afutex_device_set(fd) || afutex_device() != fd || afutex_device_reopen() != fd)
		return 4;
	return afutex_wake_one(word);
}

TEST_F(library_calls, takes_a_descriptor)
{
	pid_t pid = fork();

	if (!pid)
		_exit(use_what_is_handed_in(self->words));
	EXPECT_EQ(0, child_status(pid));
}

TEST_F(library_calls, reopens_what_is_not_the_device)
{
	int fd = afutex_device(), again;

	ASSERT_GE(fd, 0);
	EXPECT_EQ(fd, afutex_device_reopen());
	dev_null(fd);
	again = afutex_device_reopen();
	EXPECT_GE(again, 0);
	EXPECT_NE(fd, again);
	EXPECT_EQ(again, afutex_device());
	EXPECT_EQ(again, afutex_device_reopen());
}

TEST_F(library_calls, tells_what_the_module_can_do)
{
	struct afutex_info info = { 0 };

	EXPECT_EQ(0, afutex_device_info(&info));
	EXPECT_EQ(AFUTEX_VERSION, info.version);
	EXPECT_NE(0, info.features & AFUTEX_FEATURE_SET);
}

/* A thread that waits by a function of the library, and what it returned. */
struct waiter {
	int (*wait)(word_t *word);
	word_t *word;
	pthread_t thread;
	int ret;
};

static void *waiter_main(void *arg)
{
	struct waiter *w = arg;

	w->ret = w->wait(w->word);
	return NULL;
}

/* Starts it, and waits until it sleeps. */
static bool waiter_start(struct waiter *w, word_t *word, int (*wait)(word_t *word))
{
	long before = counter("queued");

	w->word = word;
	w->wait = wait;
	return !pthread_create(&w->thread, NULL, waiter_main, w) &&
	       eventually(counter("queued") > before);
}

static int waiter_end(struct waiter *w)
{
	pthread_join(w->thread, NULL);
	return w->ret;
}

static int wait_shared(word_t *word)
{
	return afutex_word_wait(word, 0, ANY, U32, NULL);
}

static int wait_private(word_t *word)
{
	return afutex_word_wait(word, 0, ANY, U32 | FUTEX2_PRIVATE, NULL);
}

static int wait_masked(word_t *word)
{
	return afutex_word_wait(word, 0, 2, U32, NULL);
}

static int wait_futex(word_t *word)
{
	return afutex_futex(word, FUTEX_WAIT, 0, 0, NULL, 0);
}

TEST_F(library_calls, waits_and_wakes)
{
	word_t *word = self->words;
	struct waiter w[2];

	EXPECT_EQ(0, afutex_wake_one(word));
	ASSERT_TRUE(waiter_start(&w[0], word, wait_shared));
	EXPECT_EQ(0, afutex_wake_one_private(word));
	EXPECT_EQ(1, afutex_wake_one(word));
	EXPECT_EQ(0, waiter_end(&w[0]));

	for (int i = 0; i < 2; i++)
		ASSERT_TRUE(waiter_start(&w[i], word, wait_shared));
	EXPECT_EQ(2, afutex_wake_all(word));
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, waiter_end(&w[i]));

	ASSERT_TRUE(waiter_start(&w[0], word, wait_private));
	EXPECT_EQ(0, afutex_wake_all(word));
	EXPECT_EQ(1, afutex_wake_one_private(word));
	EXPECT_EQ(0, waiter_end(&w[0]));

	ASSERT_TRUE(waiter_start(&w[0], word, wait_private));
	EXPECT_EQ(1, afutex_wake_all_private(word));
	EXPECT_EQ(0, waiter_end(&w[0]));

	ASSERT_TRUE(waiter_start(&w[0], word, wait_masked));
	EXPECT_EQ(0, afutex_word_wake(word, 1, 1, U32));
	EXPECT_EQ(1, afutex_word_wake(word, 1, 2, U32));
	EXPECT_EQ(0, waiter_end(&w[0]));

	ASSERT_TRUE(waiter_start(&w[0], word, wait_futex));
	EXPECT_EQ(1, afutex_futex(word, FUTEX_WAKE, 1, 0, NULL, 0));
	EXPECT_EQ(0, waiter_end(&w[0]));
}

TEST_F(library_calls, wait_compares_and_times_out)
{
	struct timespec past = { 0, 1 };

	EXPECT_EQ(-1, afutex_word_wait(self->words, 1, ANY, U32, NULL));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(-1, afutex_word_wait(self->words, 0, ANY, U32, &past));
	EXPECT_EQ(ETIMEDOUT, errno);
	EXPECT_EQ(-1, afutex_word_wait(self->words, 0, 0, U32, NULL));
	EXPECT_EQ(EINVAL, errno);
}

TEST_F(library_calls, requeues)
{
	word_t *word = self->words;
	struct waiter w[2];

	for (int i = 0; i < 2; i++)
		ASSERT_TRUE(waiter_start(&w[i], word, wait_shared));
	EXPECT_EQ(-1, afutex_word_requeue(word, 1, word + 1, U32, 1, 1));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(2, afutex_word_requeue(word, 0, word + 1, U32, 1, 1));
	EXPECT_EQ(0, afutex_wake_all(word));
	EXPECT_EQ(1, afutex_wake_all(word + 1));
	for (int i = 0; i < 2; i++)
		EXPECT_EQ(0, waiter_end(&w[i]));
}

static int wait_for_two(word_t *word)
{
	struct futex_waitv words[] = {
		{ .uaddr = addr_of(word), .flags = U32 },
		{ .uaddr = addr_of(word + 1), .flags = U32 },
	};

	return afutex_words_wait(words, 2, NULL);
}

TEST_F(library_calls, waits_and_wakes_on_many_words)
{
	word_t *word = self->words;
	struct afutex_wakev_word words[] = {
		{ .uaddr = addr_of(word + 2), .mask = ANY, .flags = U32, .count = 1 },
		{ .uaddr = addr_of(word + 1), .mask = ANY, .flags = U32, .count = 1 },
		{ .uaddr = addr_of(word) + 1, .mask = ANY, .flags = U32, .count = 1 },
	};
	struct futex_waitv differs = { .uaddr = addr_of(word), .val = 1, .flags = U32 };
	struct waiter w;

	ASSERT_TRUE(waiter_start(&w, word, wait_for_two));
	EXPECT_EQ(3, afutex_words_wake(words, 3));
	EXPECT_EQ(0, words[0].result);
	EXPECT_EQ(1, words[1].result);
	EXPECT_EQ(-EINVAL, words[2].result);
	EXPECT_EQ(1, waiter_end(&w));
	EXPECT_EQ(-1, afutex_words_wait(&differs, 1, NULL));
	EXPECT_EQ(EAGAIN, errno);
}

/* The next ioctls of the library find the word changed behind its back. */
static word_t *changing;
static int changes_left;

static void change_the_word(void)
{
	if (changes_left > 0) {
		changes_left--;
		(*changing)++;
	}
}

TEST_F(library_calls, next_looks_again_when_the_word_changed)
{
	word_t *word = self->words;
	uint32_t seen = 99;
	int fd;

	fd = afutex_watch_open(word, 0, ANY, U32 | AFUTEX_COMPARE | AFUTEX_READY,
			       O_CLOEXEC | O_NONBLOCK, 0);
	ASSERT_GE(fd, 0);
	changing = word;
	changes_left = 3;
	ioctls = 0;
	before_ioctl = change_the_word;
	EXPECT_EQ(0, afutex_watch_next(fd, word, &seen));
	before_ioctl = NULL;
	/* Three were refused, the fourth armed it. */
	EXPECT_EQ(4, ioctls);
	EXPECT_EQ(3, seen);
	EXPECT_EQ(0, poll_ms(fd, 0));
	(*word)++;
	EXPECT_EQ(1, afutex_wake_all(word));
	EXPECT_EQ(READABLE, poll_ms(fd, 0));
	EXPECT_EQ(0, afutex_watch_next(fd, word, &seen));
	EXPECT_EQ(4, seen);
	/* A wake without a change. */
	EXPECT_EQ(1, afutex_wake_all(word));
	EXPECT_EQ(0, afutex_watch_next(fd, word, &seen));
	EXPECT_EQ(4, seen);
	EXPECT_EQ(0, poll_ms(fd, 0));
	close(fd);
	EXPECT_EQ(-1, afutex_watch_next(fd, word, &seen));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(library_calls, opens_a_watch_that_is_ready)
{
	uint64_t wakes;
	int fd;

	EXPECT_EQ(-1, afutex_watch_open(self->words, 1, ANY, U32 | AFUTEX_COMPARE, O_CLOEXEC, 0));
	EXPECT_EQ(EAGAIN, errno);
	fd = afutex_watch_open(self->words, 1, ANY, U32 | AFUTEX_COMPARE | AFUTEX_READY,
			       O_CLOEXEC | O_NONBLOCK, 0);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(fd, F_GETFD));
	EXPECT_EQ(0, afutex_watch_read(fd, &wakes));
	EXPECT_EQ(AFUTEX_CHANGED, wakes);
	EXPECT_EQ(-1, afutex_watch_read(fd, &wakes));
	EXPECT_EQ(EAGAIN, errno);
	close(fd);
}

/* No wake is dropped, whatever becomes of the arming. */
TEST_F(library_calls, rearm_reports_the_wakes_also_when_it_fails)
{
	uint64_t wakes;
	int fd;

	fd = afutex_watch_open(self->words, 0, ANY, U32 | AFUTEX_PERSISTENT, O_CLOEXEC, 0);
	ASSERT_GE(fd, 0);
	for (int i = 0; i < 3; i++)
		EXPECT_EQ(1, afutex_wake_one(self->words));
	wakes = 99;
	EXPECT_EQ(-1, afutex_watch_rearm(fd, 0, 1, &wakes));
	EXPECT_EQ(EINVAL, errno);
	EXPECT_EQ(0, wakes);
	EXPECT_EQ(-1, afutex_watch_rearm(fd, 1, AFUTEX_COMPARE, &wakes));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(3, wakes);
	EXPECT_EQ(0, afutex_watch_rearm(fd, 0, AFUTEX_COMPARE, &wakes));
	EXPECT_EQ(0, wakes);
	EXPECT_EQ(1, afutex_wake_one(self->words));
	EXPECT_EQ(0, afutex_watch_rearm(fd, 0, 0, &wakes));
	EXPECT_EQ(1, wakes);
	close(fd);
	wakes = 99;
	EXPECT_EQ(-1, afutex_watch_rearm(fd, 0, 0, &wakes));
	EXPECT_EQ(0, wakes);
}

TEST_F(library_calls, watches_many_words_by_a_set)
{
	word_t *word = self->words;
	struct afutex_watch watch = afutex_watch_for(word, 0, U32, 7);
	struct afutex_event events[4];
	uint32_t id, other;
	int set = afutex_set_open(O_CLOEXEC | O_NONBLOCK, 0);

	ASSERT_GE(set, 0);
	EXPECT_EQ(FD_CLOEXEC, fcntl(set, F_GETFD));
	EXPECT_EQ(-1, afutex_set_read(set, events, 4));
	EXPECT_EQ(EAGAIN, errno);
	EXPECT_EQ(0, afutex_set_add(set, &watch, &id));
	watch = afutex_watch_for(word + 1, 0, U32 | AFUTEX_PERSISTENT, 8);
	EXPECT_EQ(0, afutex_set_add(set, &watch, &other));
	EXPECT_NE(id, other);

	EXPECT_EQ(1, afutex_wake_one(word + 1));
	EXPECT_EQ(1, afutex_wake_one(word));
	EXPECT_EQ(1, afutex_wake_one(word + 1));
	EXPECT_EQ(2, afutex_set_read(set, events, 4));
	EXPECT_EQ(8, events[0].cookie);
	EXPECT_EQ(AFUTEX_WOKEN, events[0].why);
	EXPECT_EQ(2, events[0].count);
	EXPECT_EQ(7, events[1].cookie);
	EXPECT_EQ(1, events[1].count);

	/* The first was one-shot: it waits for another word now. */
	watch = afutex_watch_for(word + 2, 0, U32 | AFUTEX_COMPARE, 9);
	EXPECT_EQ(0, afutex_set_change(set, id, &watch));
	EXPECT_EQ(0, afutex_wake_one(word));
	EXPECT_EQ(1, afutex_wake_one(word + 2));
	EXPECT_EQ(1, afutex_set_read(set, events, 4));
	EXPECT_EQ(9, events[0].cookie);

	EXPECT_EQ(0, afutex_set_remove(set, other));
	EXPECT_EQ(0, afutex_wake_one(word + 1));
	EXPECT_EQ(-1, afutex_set_remove(set, other));
	EXPECT_EQ(ENOENT, errno);
	EXPECT_EQ(-1, afutex_set_change(set, other, &watch));
	EXPECT_EQ(ENOENT, errno);
	watch.val = 1;
	EXPECT_EQ(-1, afutex_set_add(set, &watch, &other));
	EXPECT_EQ(EAGAIN, errno);
	close(set);
	EXPECT_EQ(-1, afutex_set_remove(set, id));
	EXPECT_EQ(EBADF, errno);
}

TEST_F(library_calls, has_a_whole_turn_of_a_loop)
{
	word_t *word = self->words;
	struct afutex_ctl items[] = {
		{ .op = AFUTEX_CTL_ADD, .watch = afutex_watch_for(word, 0, U32, 1) },
		{ .op = AFUTEX_CTL_ADD, .watch = afutex_watch_for(word, 1, U32, 2) },
		{ .op = AFUTEX_CTL_ADD,
		  .watch = afutex_watch_for(word, 1, U32 | AFUTEX_COMPARE | AFUTEX_READY, 3) },
	};
	struct timespec past = { 0, 1 };
	struct afutex_event events[4];
	int set = afutex_set_open(O_CLOEXEC, 0);

	ASSERT_GE(set, 0);
	EXPECT_EQ(1, afutex_set_ctl_wait(set, items, 3, events, 4, NULL));
	EXPECT_EQ(0, items[0].result);
	EXPECT_EQ(-EINVAL, items[1].result);
	EXPECT_EQ(0, items[2].result);
	EXPECT_EQ(3, events[0].cookie);
	EXPECT_EQ(AFUTEX_VALUE_CHANGED, events[0].why);
	EXPECT_EQ(-1, afutex_set_ctl_wait(set, NULL, 0, events, 4, &past));
	EXPECT_EQ(ETIMEDOUT, errno);

	items[0].op = items[2].op = AFUTEX_CTL_DEL;
	memset(&items[0].watch, 0, sizeof(items[0].watch));
	memset(&items[2].watch, 0, sizeof(items[2].watch));
	EXPECT_EQ(3, afutex_set_ctl(set, items, 3));
	EXPECT_EQ(0, items[0].result);
	EXPECT_EQ(-EINVAL, items[1].result);
	EXPECT_EQ(0, items[2].result);
	close(set);
}

TEST_HARNESS_MAIN
