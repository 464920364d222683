// SPDX-License-Identifier: GPL-2.0
/* What a user may have: watches of every kind, whoever adds them, and pinned pages. */
#include <limits.h>
#include <sys/klog.h>

#include "domain.h"
#include "pass_fd.h"
#include "set.h"

#define LIMIT	10

#define PARAMETERS	"/sys/module/afutex/parameters/"

/* Users who are nobody's else. */
#define ALICE	12345
#define BOB	12346

static const uint32_t private = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;

FIXTURE(limit)
{
	int dev;
	word_t *word;
};

FIXTURE_SETUP(limit)
{
	ASSERT_TRUE(reload("max_user_watches=10"));
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	ASSERT_TRUE(self->word != MAP_FAILED);
}

FIXTURE_TEARDOWN(limit)
{
	munmap((void *)self->word, 4096);
	close(self->dev);
	EXPECT_IDLE();
	EXPECT_TRUE(reload(""));
}

/* Adds watches until one is refused. How many there were, or the errno if it is another. */
static int fill(int set, const word_t *word)
{
	for (int i = 0; i < 2 * LIMIT; i++) {
		int ret = add(set, word, private, 0, 0);

		if (ret < 0)
			return ret == -ENOSPC ? i : ret;
	}
	return 2 * LIMIT;
}

/* What fdinfo says that the creator has. */
static int usage(int set)
{
	char path[64], text[4096] = "", *at;
	int fd, ret = -1;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", set);
	fd = open(path, O_RDONLY);
	if (read(fd, text, sizeof(text) - 1) > 0) {
		at = strstr(text, "afutex-user-watches:");
		if (at)
			ret = atoi(at + strlen("afutex-user-watches:"));
	}
	close(fd);
	return ret;
}

/* A child of that user; in the child 0. */
static pid_t fork_as(uid_t uid)
{
	pid_t pid = fork();

	if (!pid && setresuid(uid, uid, uid))
		_exit(99);
	return pid;
}

static bool set_limit(const char *limit)
{
	int fd = open(PARAMETERS "max_user_watches", O_WRONLY | O_CLOEXEC);
	bool ok = write(fd, limit, strlen(limit)) == (ssize_t)strlen(limit);

	close(fd);
	return ok;
}

/* A domain counts as the watches that would fill its memory, for as long as it is held. */
TEST_F(limit, domains_count_as_watches)
{
	/* 64 bytes a bucket and a page, in watches of 224. */
	const int small = (64 + 4096 + 223) / 224, usual = (256 * 64 + 4096 + 223) / 224;
	int set = new_set(self->dev, 0, 0), domain, other, watch;
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(self->word), .mask = 1, .flags = private },
	};

	ASSERT_GE(set, 0);
	EXPECT_EQ(-ENOSPC, new_domain(self->dev, 0));
	EXPECT_EQ(-ENOSPC, new_domain(self->dev, 1));
	EXPECT_EQ(0, usage(set));
	ASSERT_TRUE(set_limit("120"));
	domain = new_domain(self->dev, 0);
	ASSERT_GE(domain, 0);
	EXPECT_EQ(usual, usage(set));
	EXPECT_EQ(-ENOSPC, new_domain(self->dev, 0));
	/* One that is made through it is as any other. */
	other = new_domain(domain, 1);
	ASSERT_GE(other, 0);
	EXPECT_EQ(usual + small, usage(set));
	EXPECT_EQ(-ENOSPC, new_domain(other, 1));
	close(other);
	EXPECT_TRUE(eventually(usage(set) == usual));
	/* What waits in it holds it. */
	watch = ioctl(domain, AFUTEX_IOC_OPEN, &args);
	ASSERT_GE(watch, 0);
	close(domain);
	EXPECT_EQ(usual + 1, usage(set));
	EXPECT_EQ(-ENOSPC, new_domain(self->dev, 0));
	close(watch);
	EXPECT_TRUE(eventually(!usage(set)));
	ASSERT_TRUE(set_limit("95"));
	domain = new_domain(self->dev, 0);
	ASSERT_GE(domain, 0);
	EXPECT_EQ(95 - usual, fill(set, self->word));
	close(domain);
	close(set);
}

/* Its maker pays for it, wherever the descriptor goes; others pay for what they add to it. */
TEST_F(limit, domains_are_of_who_made_them)
{
	int set = new_set(self->dev, 0, 0), domain;
	pid_t pid;

	ASSERT_GE(set, 0);
	ASSERT_TRUE(set_limit("100"));
	domain = new_domain(self->dev, 0);
	ASSERT_GE(domain, 0);
	pid = fork_as(ALICE);
	if (!pid) {
		int own = new_domain(domain, 0), mine = new_set(domain, 0, 0);

		if (own < 0 || usage(mine) != (256 * 64 + 4096 + 223) / 224)
			_exit(1);
		_exit(fill(mine, self->word) != 100 - (256 * 64 + 4096 + 223) / 224);
	}
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ((256 * 64 + 4096 + 223) / 224, usage(set));
	close(domain);
	close(set);
}

TEST_F(limit, over_all_sets_of_a_user)
{
	int a = new_set(self->dev, 0, 0), b = new_set(self->dev, 0, 0);

	for (int i = 0; i < LIMIT; i++)
		ASSERT_GE(add(i % 2 ? a : b, self->word, private, 0, 0), 0);
	EXPECT_EQ(-ENOSPC, add(a, self->word, private, 0, 0));
	EXPECT_EQ(-ENOSPC, add(b, self->word, private, 0, 0));
	EXPECT_EQ(LIMIT, usage(a));
	EXPECT_EQ(10, counter("queued"));
	EXPECT_EQ(0, del(a, 0));
	EXPECT_EQ(9, usage(b));
	EXPECT_EQ(0, add(a, self->word, private, 0, 0));
	close(b);
	ASSERT_TRUE(counter_becomes("queued", 5));
	EXPECT_EQ(5, add(a, self->word, private, 0, 0));
	close(a);
}

/* What was not added does not count, and what was woken and is not armed does. */
TEST_F(limit, counts_members)
{
	int set = new_set(self->dev, O_NONBLOCK, 0);
	struct afutex_event ev[LIMIT];

	for (int i = 0; i < 3 * LIMIT; i++) {
		ASSERT_EQ(-EAGAIN, add(set, self->word, private | AFUTEX_COMPARE, 1, 0));
		ASSERT_EQ(-EINVAL, add(set, (char *)self->word + 1, private, 0, 0));
		ASSERT_EQ(-EFAULT, add(set, (void *)8, private, 0, 0));
	}
	EXPECT_EQ(0, usage(set));
	EXPECT_EQ(LIMIT, fill(set, self->word));
	EXPECT_EQ(LIMIT, do_wake(self->dev, self->word, PRIVATE, INT32_MAX));
	EXPECT_EQ(LIMIT, events(set, ev, LIMIT));
	EXPECT_EQ(0, counter("queued"));
	EXPECT_EQ(-ENOSPC, add(set, self->word, private, 0, 0));
	/* Those can be armed again. */
	for (int i = 0; i < LIMIT; i++)
		EXPECT_EQ(0, mod(set, i, self->word, private, 0, 0));
	EXPECT_EQ(LIMIT, usage(set));
	for (int i = 0; i < LIMIT; i++)
		EXPECT_EQ(0, del(set, i));
	EXPECT_EQ(0, usage(set));
	EXPECT_EQ(LIMIT, fill(set, self->word));
	close(set);
}

/* In a batch, as far as it goes; the others are told. */
TEST_F(limit, in_the_middle_of_a_batch)
{
	int set = new_set(self->dev, 0, 0);
	struct afutex_ctl items[LIMIT + 5];

	for (int i = 0; i < LIMIT + 5; i++)
		items[i] = (struct afutex_ctl) {
			.op = AFUTEX_CTL_ADD,
			.watch = { .uaddr = addr_of(self->word), .mask = 1, .flags = private },
		};
	/* One of them makes room for the last. */
	items[LIMIT + 3] = (struct afutex_ctl) { .op = AFUTEX_CTL_DEL, .id = 3 };
	EXPECT_EQ(LIMIT + 5, ctl(set, items, LIMIT + 5));
	for (int i = 0; i < LIMIT + 5; i++)
		EXPECT_EQ(i < LIMIT || i > LIMIT + 2 ? 0 : -ENOSPC, items[i].result);
	EXPECT_EQ(3, items[LIMIT + 4].id);
	EXPECT_EQ(LIMIT, do_wake(self->dev, self->word, PRIVATE, INT32_MAX));
	close(set);
}

/* A user's processes share his limit; another user has one of his own. */
TEST_F(limit, over_all_processes_of_a_user)
{
	int go[2], ready[2], set;
	pid_t pids[2];
	char c;

	ASSERT_EQ(0, pipe(go));
	ASSERT_EQ(0, pipe(ready));
	for (int i = 0; i < 2; i++) {
		pids[i] = fork_as(ALICE);
		if (!pids[i]) {
			set = new_set(self->dev, 0, 0);
			for (int j = 0; j < LIMIT / 2; j++)
				if (add(set, self->word, private, 0, 0) < 0)
					_exit(1);
			if (write(ready[1], "", 1) != 1 || read(go[0], &c, 1) != 1)
				_exit(2);
			_exit(0);
		}
	}
	for (int i = 0; i < 2; i++)
		ASSERT_EQ(1, read(ready[0], &c, 1));
	for (int i = 0; i < 2; i++) {
		/* ALICE has what she may have, BOB and root have nothing. */
		pid_t pid = fork_as(i ? BOB : ALICE);

		if (!pid)
			_exit(fill(new_set(self->dev, 0, 0), self->word));
		EXPECT_EQ(i ? LIMIT : 0, child_status(pid));
	}
	set = new_set(self->dev, 0, 0);
	EXPECT_EQ(LIMIT, fill(set, self->word));
	close(set);

	/* One of hers goes; and with it what it had. */
	ASSERT_EQ(1, write(go[1], "", 1));
	ASSERT_TRUE(counter_becomes("queued", LIMIT / 2));
	pids[0] = fork_as(ALICE);
	if (!pids[0])
		_exit(fill(new_set(self->dev, 0, 0), self->word));
	EXPECT_EQ(LIMIT / 2, child_status(pids[0]));
	ASSERT_EQ(1, write(go[1], "", 1));
	while (wait(NULL) > 0)
		;
	for (int i = 0; i < 2; i++) {
		close(go[i]);
		close(ready[i]);
	}
}

/* A set that travels is charged to who made it, also for what others add, and after he is gone. */
TEST_F(limit, of_the_creator_wherever_the_set_goes)
{
	int pair[2], set, own;
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork_as(ALICE);
	if (!pid) {
		set = new_set(self->dev, 0, 0);
		for (int i = 0; i < 4; i++)
			if (add(set, self->word, private, 0, 0) < 0)
				_exit(1);
		_exit(send_fd(pair[1], set) ? 2 : 0);
	}
	close(pair[1]);
	ASSERT_EQ(0, child_status(pid));
	set = receive_fd(pair[0]);
	ASSERT_GE(set, 0);
	own = new_set(self->dev, 0, 0);
	EXPECT_EQ(4, usage(set));
	EXPECT_EQ(0, usage(own));
	EXPECT_EQ(LIMIT - 4, fill(set, self->word));
	EXPECT_EQ(LIMIT, usage(set));
	EXPECT_EQ(0, usage(own));
	pid = fork_as(ALICE);
	if (!pid)
		_exit(fill(new_set(self->dev, 0, 0), self->word));
	EXPECT_EQ(0, child_status(pid));
	EXPECT_EQ(LIMIT, fill(own, self->word));

	close(set);
	ASSERT_TRUE(counter_becomes("queued", LIMIT));
	pid = fork_as(ALICE);
	if (!pid)
		_exit(fill(new_set(self->dev, 0, 0), self->word));
	EXPECT_EQ(LIMIT, child_status(pid));
	close(own);
	close(pair[0]);
}

/* RLIMIT_MEMLOCK refuses some of a batch; the others are armed, and fire. */
TEST_F(limit, pinned_pages_in_a_batch)
{
	struct rlimit limit = { 3 * 4096, 3 * 4096 };
	int file = memfd_create("words", MFD_CLOEXEC), pair[2], set;
	struct afutex_event ev[LIMIT];
	pid_t pid;
	char *map;

	ASSERT_EQ(0, ftruncate(file, 8 * 4096));
	map = mmap(NULL, 8 * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork();
	if (!pid) {
		static const int page[8] = { 0, 1, 0, 2, 3, 5, 6, 7 };
		struct afutex_ctl items[8];

		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(ALICE, ALICE, ALICE))
			_exit(1);
		set = new_set(self->dev, O_NONBLOCK, 0);
		for (int i = 0; i < 8; i++)
			items[i] = (struct afutex_ctl) {
				.op = AFUTEX_CTL_ADD,
				.watch = { .uaddr = addr_of(map + page[i] * 4096), .mask = 1,
					   .flags = FUTEX2_SIZE_U32, .cookie = i },
			};
		/* Private words pin nothing, and a word has one pin, for all who wait on it. */
		items[5].watch.flags |= FUTEX2_PRIVATE;
		if (ctl(set, items, 8) != 8)
			_exit(2);
		for (int i = 0; i < 8; i++)
			if (items[i].result != (i < 4 || i == 5 ? 0 : -ENOMEM))
				_exit(10 + i);
		/* One that goes makes room for another. */
		if (del(set, items[1].id))
			_exit(3);
		if (add(set, map + 4 * 4096, FUTEX2_SIZE_U32, 0, 9) < 0)
			_exit(4);
		if (add(set, map + 1 * 4096, FUTEX2_SIZE_U32, 0, 1) != -ENOMEM)
			_exit(5);
		_exit(send_fd(pair[1], set) ? 6 : 0);
	}
	close(pair[1]);
	ASSERT_EQ(0, child_status(pid));
	set = receive_fd(pair[0]);
	ASSERT_GE(set, 0);
	EXPECT_EQ(3, counter("pinned"));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(i == 0 ? 2 : i == 2 || i == 4,
			  do_wake(self->dev, (word_t *)(map + i * 4096), SHARED, INT32_MAX));
	ASSERT_EQ(4, events(set, ev, LIMIT));
	EXPECT_EQ(0, ev[0].cookie);
	EXPECT_EQ(2, ev[1].cookie);
	EXPECT_EQ(3, ev[2].cookie);
	EXPECT_EQ(9, ev[3].cookie);
	close(set);
	close(file);
	close(pair[0]);
	munmap(map, 8 * 4096);
}

/* A user who has a page pinned needs no room for another word of it. */
TEST_F(limit, page_is_charged_once)
{
	struct rlimit limit = { 4096, 4096 };
	pid_t pid = fork();

	if (!pid) {
		int set = new_set(self->dev, 0, 0);

		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(ALICE, ALICE, ALICE))
			_exit(1);
		for (int i = 0; i < 3; i++)
			if (add(set, self->word + i / 2, FUTEX2_SIZE_U32, 0, 0) != i)
				_exit(2 + i);
		if (do_wake(self->dev, self->word, SHARED, INT32_MAX) != 2)
			_exit(7);
		/* Those that were woken and not read hold it too. */
		_exit(add(set, self->word + 2, FUTEX2_SIZE_U32, 0, 0) != 3);
	}
	EXPECT_EQ(0, child_status(pid));
}

static int new_watch(int dev, const word_t *word, uint32_t how)
{
	struct afutex_open args = {
		.watch = { .uaddr = addr_of(word), .mask = 1, .flags = private | how },
		.fd_flags = O_CLOEXEC,
	};
	int fd = ioctl(dev, AFUTEX_IOC_OPEN, &args);

	return fd < 0 ? -errno : fd;
}

static int new_futex_fd(int dev, word_t *word)
{
	int fd = do_fd(dev, word, PRIVATE, 0);

	return fd < 0 ? -errno : fd;
}

/* Descriptors and members are of one limit; also one that was woken. */
TEST_F(limit, counts_descriptors)
{
	int set = new_set(self->dev, 0, 0), fds[LIMIT];

	for (int i = 0; i < LIMIT - 1; i++) {
		fds[i] = i % 2 ? new_watch(self->dev, self->word, 0) :
				 new_futex_fd(self->dev, self->word);
		ASSERT_GE(fds[i], 0);
	}
	EXPECT_EQ(LIMIT - 1, usage(set));
	EXPECT_EQ(0, add(set, self->word, private, 0, 0));
	EXPECT_EQ(-ENOSPC, add(set, self->word, private, 0, 0));
	EXPECT_EQ(-ENOSPC, new_watch(self->dev, self->word, 0));
	EXPECT_EQ(-ENOSPC, new_futex_fd(self->dev, self->word));
	/* What was not opened does not count. */
	EXPECT_EQ(0, del(set, 0));
	for (int i = 0; i < 2 * LIMIT; i++) {
		EXPECT_EQ(-EFAULT, new_watch(self->dev, (void *)8, 0));
		EXPECT_EQ(-EINVAL, new_watch(self->dev, self->word, AFUTEX_READY));
	}
	EXPECT_EQ(LIMIT - 1, usage(set));
	EXPECT_EQ(LIMIT - 1, do_wake(self->dev, self->word, PRIVATE, INT32_MAX));
	EXPECT_EQ(LIMIT - 1, usage(set));
	for (int i = 0; i < LIMIT - 1; i++)
		close(fds[i]);
	ASSERT_TRUE(eventually(usage(set) == 0));
	EXPECT_EQ(LIMIT, fill(set, self->word));
	close(set);
}

/* A descriptor that travels is charged to who opened it; by whose device does not matter. */
TEST_F(limit, of_the_opener_wherever_a_descriptor_goes)
{
	int pair[2], fd, set = new_set(self->dev, 0, 0);
	pid_t pid;

	ASSERT_EQ(0, socketpair(AF_UNIX, SOCK_STREAM, 0, pair));
	pid = fork_as(ALICE);
	if (!pid) {
		fd = new_watch(self->dev, self->word, 0);
		_exit(fd < 0 || send_fd(pair[1], fd));
	}
	close(pair[1]);
	ASSERT_EQ(0, child_status(pid));
	fd = receive_fd(pair[0]);
	ASSERT_GE(fd, 0);
	EXPECT_EQ(0, usage(set));
	for (int i = 0; i < 2; i++) {
		pid = fork_as(ALICE);
		if (!pid)
			_exit(fill(new_set(afutex_open(), 0, 0), self->word));
		EXPECT_EQ(i ? LIMIT : LIMIT - 1, child_status(pid));
		if (!i)
			close(fd);
		ASSERT_TRUE(counter_becomes("queued", 0));
	}
	close(set);
	close(pair[0]);
}

/* What a wait for many words, whose time is over, comes to. */
static int wait_for(int dev, word_t *word, int nr, const struct timespec64 *deadline)
{
	static struct futex_waitv words[1000];
	struct afutex_waitv args = {
		.waiters = addr_of(words), .nr = nr, .clockid = CLOCK_MONOTONIC,
		.timeout = addr_of(deadline),
	};

	for (int i = 0; i < nr; i++)
		words[i] = (struct futex_waitv) {
			.uaddr = addr_of(word), .val = *word, .flags = private,
		};
	return ioctl(dev, AFUTEX_IOC_WAITV, &args) < 0 ? -errno : 0;
}

static const struct timespec64 past = { 0, 1 };

struct many_words {
	int dev, ret;
	word_t *word;
	pthread_t thread;
};

static void *wait_for_many(void *arg)
{
	struct many_words *w = arg;

	w->ret = wait_for(w->dev, w->word, 600, NULL);
	return NULL;
}

/* A task may wait for some words as it is; for more than that they count. */
TEST_F(limit, counts_the_words_of_a_wait)
{
	struct many_words w = { .dev = self->dev, .word = self->word };
	int set = new_set(self->dev, 0, 0);

	EXPECT_EQ(-ETIMEDOUT, wait_for(self->dev, self->word, 128, &past));
	EXPECT_EQ(-ENOSPC, wait_for(self->dev, self->word, 129, &past));
	EXPECT_EQ(-ENOSPC, wait_for(self->dev, self->word, 1000, &past));
	EXPECT_EQ(0, usage(set));
	write_string(PARAMETERS "max_user_watches", "1000");
	EXPECT_EQ(-ETIMEDOUT, wait_for(self->dev, self->word, 1000, &past));
	EXPECT_EQ(0, usage(set));

	/* And with whatever else there is. */
	ASSERT_EQ(0, pthread_create(&w.thread, NULL, wait_for_many, &w));
	ASSERT_TRUE(counter_becomes("queued", 600));
	EXPECT_EQ(600, usage(set));
	EXPECT_EQ(-ENOSPC, wait_for(self->dev, self->word, 401, &past));
	EXPECT_EQ(-ETIMEDOUT, wait_for(self->dev, self->word, 400, &past));
	EXPECT_EQ(1, do_wake(self->dev, self->word, PRIVATE, 1));
	pthread_join(w.thread, NULL);
	EXPECT_EQ(0, w.ret);
	EXPECT_EQ(0, usage(set));
	close(set);
}

/* What a parameter is; -1 if it cannot be read. */
static long parameter(const char *name)
{
	char path[96], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		return -1;
	close(fd);
	return atol(text);
}

static int set_parameter(const char *name, const char *value)
{
	char path[96];
	int fd, ret;

	snprintf(path, sizeof(path), PARAMETERS "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0)
		return -errno;
	ret = write(fd, value, strlen(value)) < 0 ? -errno : 0;
	close(fd);
	return ret;
}

TEST_F(limit, can_be_read_and_changed)
{
	int set = new_set(self->dev, 0, 0);
	struct afutex_info info;
	pid_t pid;

	EXPECT_EQ(LIMIT, parameter("max_user_watches"));
	ASSERT_EQ(0, ioctl(self->dev, AFUTEX_IOC_INFO, &info));
	EXPECT_EQ(info.buckets, parameter("buckets"));
	EXPECT_EQ(LIMIT, fill(set, self->word));
	/* More, at once, for sets that are there. */
	ASSERT_EQ(0, set_parameter("max_user_watches", "12\n"));
	EXPECT_EQ(12, parameter("max_user_watches"));
	EXPECT_EQ(2, fill(set, self->word));
	/* Fewer: what there is stays. */
	ASSERT_EQ(0, set_parameter("max_user_watches", "5"));
	EXPECT_EQ(12, usage(set));
	EXPECT_EQ(0, fill(set, self->word));
	for (int i = 0; i < 8; i++)
		EXPECT_EQ(0, del(set, i));
	EXPECT_EQ(1, fill(set, self->word));
	/* Nonsense changes nothing, and another user may not. */
	EXPECT_EQ(-EINVAL, set_parameter("max_user_watches", "many"));
	EXPECT_EQ(-EINVAL, set_parameter("max_user_watches", "-1"));
	EXPECT_LT(set_parameter("buckets", "16"), 0);
	pid = fork_as(ALICE);
	if (!pid)
		_exit(-set_parameter("max_user_watches", "100"));
	EXPECT_EQ(EACCES, child_status(pid));
	EXPECT_EQ(5, parameter("max_user_watches"));
	/* 0 is what it is by itself. */
	ASSERT_EQ(0, set_parameter("max_user_watches", "0"));
	EXPECT_GT(parameter("max_user_watches"), 1000);
	close(set);
}

/* How often the kernel's log says that. */
static int logged(const char *text)
{
	static char log[1 << 20];
	int len = klogctl(3, log, sizeof(log) - 1), count = 0;

	log[len > 0 ? len : 0] = 0;
	for (const char *at = log; (at = strstr(at, text)); at++)
		count++;
	return count;
}

/* A module that is not loaded says why. */
TEST(bad_parameters)
{
	static const struct {
		const char *params, *why;
	} bad[] = {
		{ "buckets=3", "buckets must be a power of two" },
		{ "buckets=-4", "buckets must be a power of two" },
		{ "buckets=x", "buckets must be a power of two" },
		{ "max_user_watches=x", "max_user_watches must be a number" },
		{ "max_user_watches=-1", "max_user_watches must be a number" },
		{ "max_user_watches=99999999999999999999", "max_user_watches must be a number" },
	};
	int ko = open("/afutex.ko", O_RDONLY | O_CLOEXEC);

	ASSERT_TRUE(eventually(!syscall(SYS_delete_module, "afutex", O_NONBLOCK)));
	for (int i = 0; i < sizeof(bad) / sizeof(*bad); i++) {
		int before = logged(bad[i].why);

		EXPECT_EQ(-1, syscall(SYS_finit_module, ko, bad[i].params, 0));
		EXPECT_EQ(EINVAL, errno);
		EXPECT_EQ(before + 1, logged(bad[i].why));
	}
	ASSERT_EQ(0, syscall(SYS_finit_module, ko, "buckets=16 max_user_watches=0", 0));
	EXPECT_EQ(16, parameter("buckets"));
	EXPECT_GT(parameter("max_user_watches"), 1000);
	close(ko);
	EXPECT_TRUE(reload(""));
}

/* A member whose number cannot be told is not there. */
TEST_F(limit, no_member_without_a_number)
{
	int set = new_set(self->dev, O_NONBLOCK, 0);
	struct afutex_ctl *items = mmap(NULL, 2 * 4096, PROT_READ | PROT_WRITE,
					MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(self->word), .mask = 1, .flags = private },
	};

	ASSERT_TRUE(items != MAP_FAILED);
	/* The last of the first page, which can be written, and the first of the second. */
	items = (void *)((char *)items + 4096 - sizeof(item));
	items[0] = item;
	items[1] = item;
	ASSERT_EQ(0, mprotect(items + 1, 4096, PROT_READ));
	ASSERT_EQ(-1, ctl(set, items, 2));
	ASSERT_EQ(EFAULT, errno);
	EXPECT_EQ(0, items[0].result);
	EXPECT_EQ(0, items[0].id);
	EXPECT_EQ(1, usage(set));
	EXPECT_EQ(1, counter("queued"));
	EXPECT_EQ(1, add(set, self->word, private, 0, 0));
	EXPECT_EQ(2, do_wake(self->dev, self->word, PRIVATE, INT32_MAX));
	close(set);
	munmap((char *)items + sizeof(item) - 4096, 2 * 4096);
}

/*
 * How many words of a wait were queued at most from the moment on at which the waiter was
 * killed; -1 if something failed.
 */
static long queued_when_killed(int dev, int nr)
{
	long most = 0, now;
	int status;
	pid_t pid = fork();

	if (!pid) {
		struct futex_waitv *words = malloc(nr * sizeof(*words));
		static word_t word;
		struct afutex_waitv args = {
			.waiters = addr_of(words), .nr = nr, .clockid = CLOCK_MONOTONIC,
		};

		for (int i = 0; i < nr; i++)
			words[i] = (struct futex_waitv) {
				.uaddr = addr_of(&word), .flags = private,
			};
		_exit(ioctl(dev, AFUTEX_IOC_WAITV, &args) < 0);
	}
	while (!counter("queued"))
		if (waitpid(pid, &status, WNOHANG))
			return -1;
	kill(pid, SIGKILL);
	while (!waitpid(pid, &status, WNOHANG)) {
		now = counter("queued");
		if (now > most)
			most = now;
	}
	return WIFSIGNALED(status) ? most : -1;
}

/*
 * A task that is killed while it queues very many words queues no more. The signal may
 * come late where this task has no CPU for a while, but not every time.
 */
TEST_F_TIMEOUT(limit, killed_while_it_queues, 300)
{
	int nr = rounds(2) < 2 ? 50000 : 1000000;
	long most = nr;

	ASSERT_EQ(0, set_parameter("max_user_watches", "1000000"));
	for (int i = 0; i < 20 && most > nr / 2; i++) {
		most = queued_when_killed(self->dev, nr);
		ASSERT_GE(most, 0);
		TH_LOG("%ld of %d were queued", most, nr);
	}
	EXPECT_LE(most, nr / 2);
}

/* A huge page is charged as a whole, and once. */
TEST_F(limit, huge_page_is_charged_once)
{
	struct rlimit limit = { 2 << 20, 2 << 20 };
	int file;
	char *map = memory_map(HUGETLB_SHARED, &file);
	pid_t pid;

	if (!map)
		SKIP(return, "no huge pages");
	*map = 0;
	pid = fork();
	if (!pid) {
		int set = new_set(self->dev, 0, 0);

		if (setrlimit(RLIMIT_MEMLOCK, &limit) || setresuid(ALICE, ALICE, ALICE))
			_exit(1);
		for (int i = 0; i < LIMIT - 1; i++)
			if (add(set, map + i * 4096, FUTEX2_SIZE_U32, 0, 0) != i)
				_exit(2 + i);
		/* There is no room for anything else. */
		_exit(add(set, self->word, FUTEX2_SIZE_U32, 0, 0) != -ENOMEM);
	}
	EXPECT_EQ(0, child_status(pid));
	munmap(map, 2 << 20);
	close(file);
	write_string("/proc/sys/vm/nr_hugepages", "0");
}

/* Asks a child that waits at its end of a pair of pipes to do a step, and gets what it says. */
static int step(int to[2], int from[2])
{
	char c = 0;

	return write(to[1], &c, 1) == 1 && read(from[0], &c, 1) == 1 ? c : -1;
}

static void answer(int to[2], int from[2], char c)
{
	if (write(from[1], &c, 1) != 1 || read(to[0], &c, 1) != 1)
		_exit(90);
}

/*
 * Each user pays for what it keeps pinned. One who comes second and stays pays for it, not
 * the one who came first and went.
 */
TEST_F(limit, each_user_pays)
{
	enum { PAGES = 4 };
	struct rlimit limit = { PAGES * 4096, PAGES * 4096 };
	int file = memfd_create("words", MFD_CLOEXEC), to[2][2], from[2][2];
	pid_t pids[2];
	char *map;

	ASSERT_EQ(0, ftruncate(file, 2 * PAGES * 4096));
	map = mmap(NULL, 2 * PAGES * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
	ASSERT_TRUE(map != MAP_FAILED);
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(0, pipe(to[i]));
		ASSERT_EQ(0, pipe(from[i]));
		pids[i] = fork_as(i ? BOB : ALICE);
		if (pids[i])
			continue;
		if (setrlimit(RLIMIT_MEMLOCK, &limit) || read(to[i][0], &(char){ 0 }, 1) != 1)
			_exit(91);
		for (int page = 0; page < 2 * PAGES; page++) {
			int fd = do_fd(self->dev, (word_t *)(map + page * 4096), SHARED, 0);

			answer(to[i], from[i], fd >= 0);
			/* ALICE goes when BOB has come. */
			if (!i)
				close(fd);
		}
		_exit(0);
	}
	for (int page = 0; page < 2 * PAGES; page++) {
		EXPECT_EQ(1, step(to[0], from[0]));
		EXPECT_EQ(page < PAGES, step(to[1], from[1]));
		EXPECT_EQ(1 + (page < PAGES ? page + 1 : PAGES), counter("pinned"));
	}
	for (int i = 0; i < 2; i++) {
		ASSERT_EQ(1, write(to[i][1], "", 1));
		EXPECT_EQ(0, child_status(pids[i]));
		for (int j = 0; j < 2; j++) {
			close(to[i][j]);
			close(from[i][j]);
		}
	}
	munmap(map, 2 * PAGES * 4096);
	close(file);
}

/* A line of /proc/meminfo, in kB, as it is now. */
static long meminfo(const char *name)
{
	char line[128];
	long kb = -1;
	FILE *f;

	write_string("/proc/sys/vm/stat_refresh", "1");
	f = fopen("/proc/meminfo", "r");
	while (f && fgets(line, sizeof(line), f))
		if (!strncmp(line, name, strlen(name)))
			kb = atol(line + strlen(name));
	if (f)
		fclose(f);
	return kb;
}

/* What waits for words of processes that are gone holds nothing of them. */
TEST(processes_that_are_gone)
{
	int dev = afutex_open(), set = new_set(dev, 0, 0), nr = rounds(2000);
	long before = meminfo("PageTables:"), after;
	word_t *word = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	ASSERT_GE(set, 0);
	for (int i = 0; i < nr; i++) {
		pid_t pid = fork();

		if (!pid)
			_exit(add(set, word, i % 2 ? private : FUTEX2_SIZE_U32, 0, 0) < 0);
		ASSERT_EQ(0, child_status(pid));
	}
	EXPECT_EQ(nr, counter("queued"));
	/* Each had a page directory, of a page at least. */
	EXPECT_TRUE(eventually((after = meminfo("PageTables:")) < before + nr));
	EXPECT_GT(before, 0);
	/* And none of them is taken for another. */
	EXPECT_EQ(0, do_wake(dev, word, PRIVATE, INT32_MAX));
	EXPECT_EQ(0, do_wake(dev, word, SHARED, INT32_MAX));
	close(set);
	close(dev);
	EXPECT_IDLE();
}

TEST_HARNESS_MAIN
