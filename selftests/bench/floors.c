// SPDX-License-Identifier: GPL-2.0
/* What system calls take that do next to nothing: below them nothing can be. */
#include <sys/eventfd.h>

#include "bench.h"

#define N 10000

static double getppid_floor(void)
{
	return measure(N, must(sys3(SYS_getppid, 0, 0, 0) > 0));
}

static double ioctl_floor(void)
{
	int dev = device();

	return measure(N, must(ioctl3(dev, _IO(AFUTEX_IOC_MAGIC, 0xff), 0) == -ENOTTY));
}

static double read_null(void)
{
	int fd = open("/dev/null", O_RDONLY);
	char buf[8];

	must(fd >= 0);
	return measure(N, must(!sys3(SYS_read, fd, (long)buf, sizeof(buf))));
}

static double read_empty_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t count;

	must(fd >= 0);
	return measure(N, must(sys3(SYS_read, fd, (long)&count, sizeof(count)) == -EAGAIN));
}

static double write_eventfd(void)
{
	int fd = eventfd(0, EFD_NONBLOCK);
	uint64_t one = 1;

	must(fd >= 0);
	return measure(N, must(sys3(SYS_write, fd, (long)&one, sizeof(one)) == sizeof(one)));
}

void floors(void)
{
	static const struct {
		const char *what;
		side_t *side;
	} calls[] = {
		{ "getppid", getppid_floor },
		{ "unknown ioctl of /dev/afutex (ENOTTY)", ioctl_floor },
		{ "read of /dev/null", read_null },
		{ "read of an empty eventfd (EAGAIN)", read_empty_eventfd },
		{ "write to an eventfd", write_eventfd },
	};

	for (int i = 0; i < sizeof(calls) / sizeof(calls[0]); i++)
		printf("floor: %.1f %s\n", run_side(calls[i].side), calls[i].what);
}
