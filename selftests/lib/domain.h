/* SPDX-License-Identifier: GPL-2.0 */
/* The calls of domains, for their tests. */
#ifndef DOMAIN_H
#define DOMAIN_H

#include "afutex_test.h"

/* Its descriptor, or -errno. */
static inline int new_domain(int dev, uint32_t buckets)
{
	struct afutex_domain_args args = { .buckets = buckets, .fd_flags = O_CLOEXEC };
	int fd = ioctl(dev, AFUTEX_IOC_DOMAIN, &args);

	return fd < 0 ? -errno : fd;
}

/* Its bell page, or NULL. */
static inline const word_t *map_bell(int domain)
{
	void *bell = mmap(NULL, AFUTEX_BELL_SIZE, PROT_READ, MAP_SHARED, domain, 0);

	return bell == MAP_FAILED ? NULL : bell;
}

/* How many wait on words at the offset of this one, as the bell page says. */
static inline uint32_t bell_of(const word_t *bell, const volatile void *word)
{
	return bell[addr_of(word) % AFUTEX_BELL_SIZE / sizeof(*bell)];
}

#endif /* DOMAIN_H */
