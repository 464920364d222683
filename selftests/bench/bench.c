// SPDX-License-Identifier: GPL-2.0
/*
 * Measures afutex and its peers. usage: bench [--brief] PART...
 *
 * --brief leaves out what is measured beside the rows.
 *
 * Prints a line for each row, "bench: NAME afutex=N peer=PEER:N ratio=R", and others
 * that scripts/bench reads. Where instructions are counted, a loop of known length is
 * counted first: "bench: calibration" is its length as it appears here, and a run in
 * which that is off by more than 1 % ends there.
 */
#include <signal.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include "bench.h"

static double *result;
static bool brief;

void broken(const char *file, int line, const char *what)
{
	fprintf(stderr, "%s:%d: this does not hold: %s\n", file, line, what);
	_exit(1);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

double median(double *values, int n)
{
	qsort(values, n, sizeof(*values), compare);
	return values[n / 2];
}

int device(void)
{
	int dev = open("/dev/afutex", O_RDWR | O_CLOEXEC);

	must(dev >= 0);
	return dev;
}

static void *touched(void *pages, long n)
{
	must(pages != MAP_FAILED);
	for (long i = 0; i < n; i++)
		((volatile char *)pages)[i * 4096] = 0;
	return pages;
}

void *private_pages(long n)
{
	return touched(mmap(NULL, n * 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS,
			    -1, 0), n);
}

void *shared_pages(long n)
{
	int file = memfd_create("bench", MFD_CLOEXEC);

	must(file >= 0 && !ftruncate(file, n * 4096));
	return touched(mmap(NULL, n * 4096, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0), n);
}

int new_watch(int dev, word_t *word, int scope, uint32_t flags)
{
	struct afutex_open args = {
		.watch = {
			.uaddr = (uintptr_t)word, .mask = ~0u,
			.flags = word_flags(scope) | flags,
		},
		.fd_flags = O_CLOEXEC | O_NONBLOCK,
	};
	long fd = ioctl3(dev, AFUTEX_IOC_OPEN, (long)&args);

	must(fd >= 0);
	return fd;
}

int new_set(int dev)
{
	struct afutex_set args = { .fd_flags = O_CLOEXEC | O_NONBLOCK };
	long set = ioctl3(dev, AFUTEX_IOC_SET, (long)&args);

	must(set >= 0);
	return set;
}

int new_epoll(int fd)
{
	struct epoll_event ev = { .events = EPOLLIN };
	int ep = epoll_create1(EPOLL_CLOEXEC);

	must(ep >= 0 && !epoll_ctl(ep, EPOLL_CTL_ADD, fd, &ev));
	return ep;
}

void reload(const char *params)
{
	int ko = open("/afutex.ko", O_RDONLY | O_CLOEXEC), tries = 1000;

	/* Files are released a moment after their last close. */
	while (syscall(SYS_delete_module, "afutex", O_NONBLOCK) && tries--)
		usleep(10000);
	must(!syscall(SYS_finit_module, ko, params, 0));
	close(ko);
}

double run_side(side_t *side)
{
	pid_t pid;

	*result = -1;
	fflush(NULL);
	pid = fork();
	if (!pid) {
		alarm(300);
		*result = side();
		_exit(0);
	}
	waitpid(pid, NULL, 0);
	/* What it left to RCU and to workers is not to be counted with the next. */
	usleep(100000);
	return *result;
}

static void print_row(const char *name, const char *how, double own, const char *peer, double other)
{
	if (own < 0 || other < 0)
		printf("bench: %s%s%s failed\n", name, *how ? "/" : "", how);
	else
		printf("bench: %s%s%s afutex=%.1f peer=%s:%.1f ratio=%.3f\n", name,
		       *how ? "/" : "", how, own, peer, other, own / other);
}

void run_rows(const struct row *rows, int n)
{
	for (const struct row *row = rows; row < rows + n; row++) {
		double other = run_side(row->other), own = run_side(row->afutex);

		print_row(row->name, "", own, row->peer, other);
		for (int i = 0; !brief && row->beside[i].how; i++) {
			typeof(row->beside[0]) *it = &row->beside[i];

			print_row(row->name, it->how,
				  it->afutex ? run_side(it->afutex) : own,
				  it->peer ? it->peer : row->peer,
				  it->other ? run_side(it->other) : other);
		}
	}
}

/* 10^7 times two instructions must be 2 * 10^7, or nothing else that is said is true. */
static double calibration(void)
{
	return measure_after(, {
		long left = 10000000;

		asm volatile("1: dec %0; jnz 1b" : "+r" (left) : : "cc");
	});
}

static const struct {
	const char *name;
	void (*run)(void);
	bool counts;
} parts[] = {
	{ "floors", floors, true },
	{ "wakes", wakes, true },
	{ "watches", watches, true },
	{ "sets", sets, true },
	{ "mapped", mapped, true },
	{ "sleepers", sleepers, true },
	{ "scale", scale, true },
	{ "spread", spread, true },
	{ "native", native, true },
	{ "memory", memory, false },
	{ "throughput", throughput, false },
};

enum { PARTS = sizeof(parts) / sizeof(parts[0]) };

static int part_of(const char *name)
{
	for (int i = 0; i < PARTS; i++)
		if (!strcmp(name, parts[i].name))
			return i;
	fprintf(stderr, "there is no part %s\n", name);
	exit(1);
}

int main(int argc, char **argv)
{
	/* The largest limit: what is compared is not what a user is allowed. */
	struct rlimit many = { 1 << 20, 1 << 20 }, all = { RLIM_INFINITY, RLIM_INFINITY };
	bool counts = false;

	setvbuf(stdout, NULL, _IOLBF, 0);
	setrlimit(RLIMIT_NOFILE, &many);
	setrlimit(RLIMIT_MEMLOCK, &all);
	setrlimit(RLIMIT_NPROC, &all);
	result = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	must(result != MAP_FAILED);

	if (argc > 1 && !strcmp(argv[1], "--brief")) {
		brief = true;
		argc--;
		argv++;
	}
	for (int i = 1; i < argc; i++)
		counts |= parts[part_of(argv[i])].counts;
	if (counts) {
		double count = run_side(calibration);

		printf("bench: calibration %.0f\n", count);
		if (count < 1.98e7 || count > 2.02e7) {
			fprintf(stderr, "2.00e7 instructions counted as %.3g: no figure holds\n",
				count);
			return 1;
		}
	}
	for (int i = 1; i < argc; i++)
		parts[part_of(argv[i])].run();
	return 0;
}
