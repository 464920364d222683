// SPDX-License-Identifier: GPL-2.0
/*
 * How words spread over the buckets of the table, measured by wakes: the time of a wake
 * on a word without waiters depends on how many words its bucket holds. The time for
 * each is measured with a table of one bucket.
 *
 * Prints "spread: PATTERN WORDS PROBES": how many of the wakes found a bucket of so
 * many words. SHARE words are the mean. Each load of the module has another seed.
 */
#include <signal.h>
#include <sys/prctl.h>

#include "bench.h"

enum { SHARE = 16, LOADS = 4, PROBES = 500, FEW = 64, LONGEST = 200 };

static int dev, count;
static int *histogram;

/* Has n words watched, by this process, until it ends. */
static void watch_words(int n, long step, int scope)
{
	char *words = scope ? private_pages(n * step / 4096 + 1) :
			      shared_pages(n * step / 4096 + 1);

	for (int i = 0; i < n; i++)
		new_watch(dev, (word_t *)(words + i * step), scope, AFUTEX_PERSISTENT);
}

static void neighbours(int n) { watch_words(n, 4, PRIVATE); }
static void cache_lines(int n) { watch_words(n, 64, PRIVATE); }
static void pages(int n) { watch_words(n, 4096, PRIVATE); }
static void shared_file_pages(int n) { watch_words(n, 4096, SHARED); }

/* The same number of processes, and the same address in each. */
static void processes(int n)
{
	word_t *word = private_pages(1);
	int ready[2];
	char byte;

	must(!pipe(ready));
	for (int i = 0; i < n; i++) {
		if (fork())
			continue;
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		new_watch(dev, word, PRIVATE, AFUTEX_PERSISTENT);
		must(write(ready[1], "", 1) == 1);
		for (;;)
			pause();
	}
	for (int i = 0; i < n; i++)
		must(read(ready[0], &byte, 1) == 1);
}

static const struct {
	const char *name;
	void (*watch)(int n);
	int buckets;
} patterns[] = {
	{ "neighbours", neighbours, 256 },
	{ "cache-lines", cache_lines, 256 },
	{ "pages", pages, 256 },
	{ "pages-of-a-file", shared_file_pages, 256 },
	{ "one-address-of-many-processes", processes, 32 },
};

static int which;

/* One wake; the least of some, since ticks come between. */
static double probe(word_t *word)
{
	int64_t least = INT64_MAX;

	for (int i = 0; i < 4; i++) {
		int64_t start = now(), took;

		must(!wake_one(dev, word, PRIVATE));
		took = now() - start;
		if (took < least)
			least = took;
	}
	return least;
}

/* Nothing is there, and need not be: private words are known by their address. */
static char *probed(void)
{
	char *region = mmap(NULL, 1L << 30, PROT_READ, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE,
			    -1, 0);

	must(region != MAP_FAILED);
	return region;
}

static double cost_of_count(void)
{
	dev = device();
	patterns[which].watch(count);
	return probe((word_t *)probed());
}

static double none, one, each;

static double spread_over_buckets(void)
{
	char *region = probed();
	uint32_t seed = 1;

	dev = device();
	patterns[which].watch(patterns[which].buckets * SHARE);
	for (int i = 0; i < PROBES; i++) {
		double cost = probe((word_t *)(region + some(&seed, 1 << 28) * 4L));
		int length = cost < (none + one) / 2 ? 0 : (cost - one) / each + 1.5;

		histogram[length < LONGEST ? length : LONGEST - 1]++;
	}
	return 1;
}

void spread(void)
{
	char params[64];

	histogram = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(histogram != MAP_FAILED);
	for (which = 0; which < sizeof(patterns) / sizeof(patterns[0]); which++) {
		reload("buckets=1");
		count = 0;
		none = run_side(cost_of_count);
		count = 1;
		one = run_side(cost_of_count);
		count = FEW;
		each = (run_side(cost_of_count) - one) / (FEW - 1);
		snprintf(params, sizeof(params), "buckets=%d", patterns[which].buckets);
		memset(histogram, 0, LONGEST * sizeof(*histogram));
		for (int i = 0; i < LOADS; i++) {
			reload(params);
			must(run_side(spread_over_buckets) > 0);
		}
		for (int i = 0; i < LONGEST; i++)
			if (histogram[i])
				printf("spread: %s %d %d\n", patterns[which].name, i, histogram[i]);
	}
	reload("");
}
