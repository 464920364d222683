// SPDX-License-Identifier: GPL-2.0
/*
 * Words in memory that has to stay movable (ZONE_MOVABLE), whose pages others hold too:
 * as futex(2), they can be waited on. Boot with kernelcore=500M.
 */
#include <sys/uio.h>

#include "memory.h"
#include "race.h"

/* Whether there is a zone of such memory. */
static bool has_movable_zone(void)
{
	FILE *f = fopen("/proc/zoneinfo", "r");
	char line[256];
	bool in_zone = false, found = false;
	long pages;

	while (f && fgets(line, sizeof(line), f)) {
		if (strstr(line, "zone"))
			in_zone = strstr(line, "Movable");
		if (in_zone && sscanf(line, " managed %ld", &pages) == 1 && pages > 1000)
			found = true;
	}
	if (f)
		fclose(f);
	return found;
}

FIXTURE(movable)
{
	int dev, file, pipe[2];
	char *map;
	word_t *word;
};

FIXTURE_VARIANT(movable)
{
	enum memory memory;
};

FIXTURE_VARIANT_ADD(movable, anonymous) { ANON_PRIVATE };
FIXTURE_VARIANT_ADD(movable, shared_anonymous) { ANON_SHARED };
FIXTURE_VARIANT_ADD(movable, memfd) { MEMFD };
FIXTURE_VARIANT_ADD(movable, ext4) { EXT4 };
FIXTURE_VARIANT_ADD(movable, hugetlb_shared) { HUGETLB_SHARED };

FIXTURE_SETUP(movable)
{
	if (!has_movable_zone())
		SKIP(return, "no ZONE_MOVABLE: boot with kernelcore=500M");
	self->dev = afutex_open();
	ASSERT_GE(self->dev, 0);
	self->map = memory_map(variant->memory, &self->file);
	ASSERT_TRUE(self->map != NULL);
	self->word = (word_t *)self->map;
	*self->word = 0;
	ASSERT_EQ(0, pipe(self->pipe));
}

FIXTURE_TEARDOWN(movable)
{
	munmap(self->map, memory_size(variant->memory));
	close(self->file);
	close(self->dev);
	close(self->pipe[0]);
	close(self->pipe[1]);
	write_string("/proc/sys/vm/nr_hugepages", "0");
	EXPECT_IDLE();
}

static void expect_wait(struct __test_metadata *_metadata, int dev, word_t *word)
{
	struct sleeper s = { .dev = dev, .scope = SHARED, .word = word };
	int fd = do_fd(dev, word, SHARED, 0);

	EXPECT_GE(fd, 0);
	EXPECT_EQ(0, sleeper_start(&s));
	EXPECT_FALSE(s.done);
	*word = 1;
	EXPECT_EQ(2, do_wake(dev, word, SHARED, INT32_MAX));
	sleeper_join(&s);
	EXPECT_EQ(0, s.ret);
	*word = 0;
	close(fd);
}

/* A pipe holds the page, for as long as it is not read. */
TEST_F(movable, held_by_a_pipe)
{
	struct iovec iov = { self->map, 4096 };

	ASSERT_EQ(4096, vmsplice(self->pipe[1], &iov, 1, 0));
	expect_wait(_metadata, self->dev, self->word);
	/* And while one waits, another comes who could have the page moved. */
	close(self->pipe[1]);
	close(self->pipe[0]);
	expect_wait(_metadata, self->dev, self->word);
}

TEST_F(movable, many_pages)
{
	enum { N = 200 };
	char *map = mmap(NULL, N * 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	int fds[N];

	memset(map, 0, N * 4096);
	for (int i = 0; i < N; i++) {
		fds[i] = do_fd(self->dev, (word_t *)(map + i * 4096), SHARED, 0);
		EXPECT_GE(fds[i], 0);
	}
	for (int i = 0; i < N; i++) {
		EXPECT_EQ(1, do_wake(self->dev, (word_t *)(map + i * 4096), SHARED, 1));
		close(fds[i]);
	}
	munmap(map, N * 4096);
}

/* Anonymous memory is waited on without a pin, which would make later forks slower. */
TEST_F(movable, pins_what_is_shared)
{
	int fd = do_fd(self->dev, self->word, SHARED, 0);

	ASSERT_GE(fd, 0);
	EXPECT_EQ(memory_is_private(variant->memory) ? 0 : 1, counter("pinned"));
	EXPECT_EQ(1, do_wake(self->dev, self->word, SHARED, 1));
	close(fd);
}

struct match {
	int dev, fds[RACERS_MAX];
	char *page;
	long woken;
};

static void watch_nth(struct match *m, int n)
{
	m->fds[n] = do_fd(m->dev, (word_t *)m->page + n, SHARED, 0);
	/* To wake looks at the page too, and holds it while it does. */
	if (m->fds[n] >= 0)
		do_wake(m->dev, (word_t *)m->page + 8, SHARED, 1);
}

static void first(void *arg) { watch_nth(arg, 0); }
static void second(void *arg) { watch_nth(arg, 1); }
static void third(void *arg) { watch_nth(arg, 2); }

/* Those who begin to wait on a new page at once are in each other's way, for a moment. */
TEST_F_TIMEOUT(movable, at_once, 900)
{
	struct match match = { .dev = self->dev };
	struct race race;
	int decoy = do_fd(self->dev, self->word + 8, SHARED, 0);

	if (variant->memory != ANON_SHARED)
		goto out;
	ASSERT_TRUE(race_start(&race, &match, first, second, third));
	for (int n = rounds(300); n > 0; n--) {
		match.page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS,
				  -1, 0);
		*match.page = 0;
		race_meet(&race);
		for (int i = 0; i < 3; i++) {
			ASSERT_GE(match.fds[i], 0);
			ASSERT_EQ(1, do_wake(self->dev, (word_t *)match.page + i, SHARED, 9));
			close(match.fds[i]);
		}
		munmap(match.page, 4096);
	}
	race_stop(&race);
out:
	close(decoy);
}

TEST_HARNESS_MAIN
