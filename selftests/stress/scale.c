// SPDX-License-Identifier: GPL-2.0
/* Sets of a hundred thousand members and more. */
#include <sys/mount.h>

#include "set.h"

#define BATCH	1000

static const uint32_t private = FUTEX2_SIZE_U32 | FUTEX2_PRIVATE;

FIXTURE(crowd)
{
	int dev, set, n;
	word_t *words;
	size_t size;
};

/* As many as that, or fewer where each takes far longer. */
static int crowd_size(int n)
{
	return rounds(2) < 2 ? n / 50 : n;
}

FIXTURE_SETUP(crowd)
{
	ASSERT_TRUE(reload("max_user_watches=1000000"));
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->set = new_set(self->dev, O_NONBLOCK, 0);
	ASSERT_GE(self->set, 0);
	self->n = crowd_size(100000);
	self->size = crowd_size(1000000) * sizeof(word_t);
	self->words = mmap(NULL, self->size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			   -1, 0);
	ASSERT_TRUE(self->words != MAP_FAILED);
	memset((void *)self->words, 0, self->size);
}

FIXTURE_TEARDOWN(crowd)
{
	close(self->set);
	close(self->dev);
	munmap((void *)self->words, self->size);
	EXPECT_IDLE();
	EXPECT_TRUE(reload(""));
}

/* Adds n members that stay, each on a word of its own or all on one; whether all are there. */
static bool add_many(int set, word_t *words, int n, bool apart)
{
	static struct afutex_ctl items[BATCH];

	for (int at = 0; at < n; at += BATCH) {
		for (int i = 0; i < BATCH; i++)
			items[i] = (struct afutex_ctl) {
				.op = AFUTEX_CTL_ADD,
				.watch = { .uaddr = addr_of(&words[apart ? at + i : 0]), .mask = 1,
					   .cookie = at + i, .flags = private | AFUTEX_PERSISTENT },
			};
		if (ctl(set, items, BATCH) != BATCH)
			return false;
		for (int i = 0; i < BATCH; i++)
			if (items[i].result || items[i].id != at + i)
				return false;
	}
	return true;
}

/* Someone who wakes the other word, and someone who reads, while all are woken. */
struct watcher {
	int dev, set, n;
	word_t *other;
	_Atomic long given, told, told_other;
	/* The waker ends first, so that the reader knows how many there are. */
	_Atomic bool stop, all_given;
	long bad;
};

static void *wake_the_other(void *arg)
{
	struct watcher *w = arg;

	while (!w->stop) {
		if (do_wake(w->dev, w->other, PRIVATE, 1) != 1)
			w->bad++;
		w->given++;
	}
	return NULL;
}

static void *read_in_order(void *arg)
{
	struct watcher *w = arg;
	struct afutex_event ev[16];

	while (!w->all_given || w->told_other < w->given) {
		int n = poll_ms(w->set, 10) ? events(w->set, ev, 16) : 0;

		for (int i = 0; i < n; i++) {
			if (ev[i].cookie == w->n) {
				w->told_other += ev[i].count;
				continue;
			}
			/* Each once, in the order in which they were added. */
			w->bad += ev[i].cookie != w->told % w->n || ev[i].count != 1;
			w->told++;
		}
	}
	return NULL;
}

TEST_F_TIMEOUT(crowd, one_wake_of_all_beside_wakes_of_another, 900)
{
	struct watcher w = {
		.dev = self->dev, .set = self->set, .n = self->n, .other = &self->words[100],
	};
	pthread_t waker, reader;
	long during = 0;

	ASSERT_TRUE(add_many(self->set, self->words, self->n, false));
	ASSERT_EQ(self->n, add(self->set, w.other, private | AFUTEX_PERSISTENT, 0, self->n));
	ASSERT_EQ(0, pthread_create(&waker, NULL, wake_the_other, &w));
	ASSERT_EQ(0, pthread_create(&reader, NULL, read_in_order, &w));
	/* The other word's wakes do not wait for the end: seen at once, or the next time. */
	for (int i = 1; i <= 2 || (!during && i < 20); i++) {
		long before = w.given;

		ASSERT_TRUE(eventually(w.given > before));
		before = w.given;
		ASSERT_EQ(self->n, do_wake(self->dev, self->words, PRIVATE, INT32_MAX));
		/* One was perhaps under way before. */
		if (w.given > before + 2)
			during += w.given - before;
		ASSERT_TRUE(eventually(w.told == (long)i * self->n));
	}
	EXPECT_GT(during, 0);
	w.stop = true;
	pthread_join(waker, NULL);
	w.all_given = true;
	pthread_join(reader, NULL);
	EXPECT_EQ(0, w.bad);
	EXPECT_EQ(w.given, w.told_other);
}

/* A member that stays goes to the end of the queue: whoever came last has his turn. */
TEST_F_TIMEOUT(crowd, all_take_turns, 900)
{
	struct afutex_event ev[64];
	int last, told = 0, n;

	ASSERT_TRUE(add_many(self->set, self->words, self->n, false));
	last = do_fd(self->dev, self->words, PRIVATE, 0);
	for (int i = 0; i < self->n; i++)
		ASSERT_EQ(1, do_wake(self->dev, self->words, PRIVATE, 1));
	EXPECT_EQ(0, poll_ms(last, 0));
	EXPECT_EQ(1, do_wake(self->dev, self->words, PRIVATE, 1));
	EXPECT_EQ(READABLE, poll_ms(last, 0));
	while ((n = events(self->set, ev, 64)) > 0) {
		for (int i = 0; i < n; i++) {
			ASSERT_EQ(told++, (int)ev[i].cookie);
			ASSERT_EQ(1, ev[i].count);
		}
	}
	EXPECT_EQ(self->n, told);
	/* And from the start. */
	EXPECT_EQ(2, do_wake(self->dev, self->words, PRIVATE, 2));
	ASSERT_EQ(2, events(self->set, ev, 64));
	EXPECT_EQ(0, ev[0].cookie);
	EXPECT_EQ(1, ev[1].cookie);
	close(last);
}

/* What fdinfo says of a set; its length. */
static int read_fdinfo(int set, char *text, int room)
{
	char path[64];
	int fd, len = 0, n;

	snprintf(path, sizeof(path), "/proc/self/fdinfo/%d", set);
	fd = open(path, O_RDONLY);
	while ((n = read(fd, text + len, room - 1 - len)) > 0)
		len += n;
	close(fd);
	text[len] = 0;
	return len;
}

TEST_F_TIMEOUT(crowd, fdinfo_stays_readable, 900)
{
	static char text[65536];
	char expected[64];

	ASSERT_TRUE(add_many(self->set, self->words, self->n, true));
	EXPECT_LT(read_fdinfo(self->set, text, sizeof(text)), 8192);
	snprintf(expected, sizeof(expected), "afutex-members:\t%d\n", self->n);
	EXPECT_TRUE(strstr(text, expected) != NULL);
	snprintf(expected, sizeof(expected), "afutex-user-watches:\t%d of 1000000\n", self->n);
	EXPECT_TRUE(strstr(text, expected) != NULL);

	/* Those that are left are found, however far from each other they are. */
	for (int i = 0; i < self->n; i++)
		if (i % (self->n / 2) != 7)
			ASSERT_EQ(0, del(self->set, i));
	EXPECT_LT(read_fdinfo(self->set, text, sizeof(text)), 8192);
	EXPECT_TRUE(strstr(text, "afutex-members:\t2\n") != NULL);
	EXPECT_TRUE(strstr(text, "afutex-user-watches:\t2 of 1000000\n") != NULL);
	EXPECT_TRUE(strstr(text, "afutex-watch:\t7 armed") != NULL);
	snprintf(expected, sizeof(expected), "afutex-watch:\t%d armed", self->n / 2 + 7);
	EXPECT_TRUE(strstr(text, expected) != NULL);
}

/* What a line of a file says, in bytes if it is in kB; -1 if there is none. */
static long value_of(const char *path, const char *name)
{
	FILE *f = fopen(path, "r");
	char line[128], unit[8];
	long value, found = -1;

	while (f && fgets(line, sizeof(line), f)) {
		if (!strncmp(line, name, strlen(name)) && strchr(": ", line[strlen(name)])) {
			unit[0] = 0;
			if (sscanf(line + strlen(name) + 1, "%ld %7s", &value, unit) >= 1)
				found = strcmp(unit, "kB") ? value : value * 1024;
		}
	}
	if (f)
		fclose(f);
	return found;
}

#define CROWD_GROUP	"/tmp/cgroup/crowd"

/* A memory cgroup of our own: it counts what the kernel takes for us, wherever from. */
static bool join_cgroup(void)
{
	mkdir("/tmp/cgroup", 0700);
	if (mount("none", "/tmp/cgroup", "cgroup2", 0, NULL) && errno != EBUSY)
		return false;
	write_string("/tmp/cgroup/cgroup.subtree_control", "+memory");
	mkdir(CROWD_GROUP, 0700);
	write_string(CROWD_GROUP "/cgroup.procs", "0");
	return value_of(CROWD_GROUP "/memory.stat", "kernel") >= 0;
}

static bool leave_cgroup(void)
{
	write_string("/tmp/cgroup/cgroup.procs", "0");
	return eventually(!rmdir(CROWD_GROUP));
}

static long charged_memory(void)
{
	return value_of(CROWD_GROUP "/memory.stat", "kernel");
}

static long kernel_memory(void)
{
	return value_of("/proc/meminfo", "Slab") + value_of("/proc/meminfo", "VmallocUsed");
}

/*
 * As many as a loop may want, through one descriptor; and what each takes: at most 256
 * bytes, all of them charged to who takes them.
 */
TEST_F_TIMEOUT(crowd, very_many_words, 900)
{
	struct afutex_event ev[100];
	unsigned int seed = 1;

	ASSERT_TRUE(join_cgroup());
	for (int n = self->n; n <= 10 * self->n; n *= 10) {
		int set = new_set(self->dev, O_NONBLOCK, 0);
		long before = kernel_memory(), charged_before = charged_memory();
		long each, charged;

		ASSERT_TRUE(add_many(set, self->words, n, true));
		each = (kernel_memory() - before) / n;
		charged = (charged_memory() - charged_before) / n;
		EXPECT_EQ(n, counter("queued"));
		EXPECT_EQ(0, counter("pinned"));
		TH_LOG("%d watches, %ld bytes of kernel memory for each, %ld charged", n, each,
		       charged);
		/* A kernel that checks itself has more about each object. */
		if (self->n == 100000) {
			EXPECT_LE(each, 256);
			EXPECT_LE(charged, 256);
			EXPECT_GE(charged, 64);
		}

		for (int i = 0; i < 5000; i++) {
			int which = rand_r(&seed) % n;

			ASSERT_EQ(1, do_wake(self->dev, &self->words[which], PRIVATE, 1));
			ASSERT_EQ(1, events(set, ev, 100));
			ASSERT_EQ(which, (int)ev[0].cookie);
		}
		close(set);
		ASSERT_TRUE(counter_becomes("queued", 0));
	}
	EXPECT_TRUE(leave_cgroup());
}

/* What a set of very many members took goes with them, but for those that stay. */
TEST_F_TIMEOUT(crowd, memory_follows_the_members, 900)
{
	static struct afutex_ctl items[BATCH];
	long before, full, empty;

	ASSERT_TRUE(join_cgroup());
	before = charged_memory();
	ASSERT_TRUE(add_many(self->set, self->words, self->n, true));
	full = charged_memory() - before;
	/* The first and the last stay. */
	for (int at = 0; at < self->n; at += BATCH) {
		int nr = 0;

		for (int i = at; i < at + BATCH; i++)
			if (i != 0 && i != self->n - 1)
				items[nr++] = (struct afutex_ctl) {
					.op = AFUTEX_CTL_DEL, .id = i,
				};
		ASSERT_EQ(nr, ctl(self->set, items, nr));
		for (int i = 0; i < nr; i++)
			ASSERT_EQ(0, items[i].result);
	}
	EXPECT_EQ(2, counter("queued"));
	/* What RCU has to free is free a moment later. */
	EXPECT_TRUE(eventually((empty = charged_memory() - before) < full / 50));
	TH_LOG("%d members took %ld bytes, two of them %ld", self->n, full, empty);
	EXPECT_EQ(1, do_wake(self->dev, &self->words[self->n - 1], PRIVATE, 1));
	EXPECT_EQ(1, add(self->set, self->words, private, 0, 0));
	EXPECT_TRUE(leave_cgroup());
}

TEST_HARNESS_MAIN
