/* SPDX-License-Identifier: GPL-2.0 */
/* The calls of sets, for their tests. */
#ifndef SET_H
#define SET_H

#include "memory.h"

static inline int new_set(int dev, int fd_flags, int sig)
{
	struct afutex_set args = { .fd_flags = fd_flags, .signal = sig };

	return ioctl(dev, AFUTEX_IOC_SET, &args);
}

static inline int ctl(int set, struct afutex_ctl *items, int nr)
{
	struct afutex_ctlv args = { .items = addr_of(items), .nr = nr };

	return ioctl(set, AFUTEX_IOC_CTL, &args);
}

/* Adds one member; its number, or -errno. */
static inline int add(int set, const volatile void *word, uint32_t flags, uint32_t val,
		      uint64_t cookie)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_ADD,
		.watch = { .uaddr = addr_of(word), .val = val, .mask = ~0u, .flags = flags,
			   .cookie = cookie },
	};

	if (ctl(set, &item, 1) != 1)
		return -errno;
	return item.result ? item.result : (int)item.id;
}

static inline int del(int set, uint32_t id)
{
	struct afutex_ctl item = { .op = AFUTEX_CTL_DEL, .id = id };

	return ctl(set, &item, 1) == 1 ? item.result : -errno;
}

static inline int mod(int set, uint32_t id, const volatile void *word, uint32_t flags,
		      uint32_t val, uint64_t cookie)
{
	struct afutex_ctl item = {
		.op = AFUTEX_CTL_MOD, .id = id,
		.watch = { .uaddr = addr_of(word), .val = val, .mask = ~0u, .flags = flags,
			   .cookie = cookie },
	};

	return ctl(set, &item, 1) == 1 ? item.result : -errno;
}

/* How many events there were, or -errno. */
static inline int events(int set, struct afutex_event *ev, int room)
{
	ssize_t n = read(set, ev, room * sizeof(*ev));

	return n < 0 ? -errno : n % sizeof(*ev) ? -EIO : (int)(n / sizeof(*ev));
}

/* Reloads the module, with parameters. */
static inline bool reload(const char *params)
{
	int ko = open("/afutex.ko", O_RDONLY | O_CLOEXEC);
	bool ok = eventually(!syscall(SYS_delete_module, "afutex", O_NONBLOCK)) &&
		  !syscall(SYS_finit_module, ko, params, 0);

	close(ko);
	return ok;
}

#endif /* SET_H */
