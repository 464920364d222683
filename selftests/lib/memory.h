/* SPDX-License-Identifier: GPL-2.0 */
/* Memory of every kind that a futex word can be in. */
#ifndef MEMORY_H
#define MEMORY_H

#include "afutex_test.h"

enum memory {
	ANON_PRIVATE,
	ANON_SHARED,
	MEMFD,
	TMPFS,
	EXT4,
	THP,
	SHMEM_THP,
	HUGETLB,
	HUGETLB_SHARED,
};

/* The size of the mapping: one page of the kind. */
static inline size_t memory_size(enum memory kind)
{
	return kind >= THP ? 2UL << 20 : 4096;
}

/* Whether a second mapping of the same memory can be made through its file. */
static inline bool memory_has_file(enum memory kind)
{
	return kind != ANON_PRIVATE && kind != ANON_SHARED && kind != THP && kind != HUGETLB;
}

static inline bool memory_is_private(enum memory kind)
{
	return kind == ANON_PRIVATE || kind == THP || kind == HUGETLB;
}

static inline void write_string(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY);

	if (fd >= 0) {
		if (write(fd, text, strlen(text)) < 0)
			perror(path);
		close(fd);
	}
}

/*
 * Maps memory of that kind, never touched, and puts its file, if it has one, in
 * *file. NULL where this kernel has none.
 */
static inline void *memory_map(enum memory kind, int *file)
{
	size_t size = memory_size(kind);
	int flags = memory_is_private(kind) ? MAP_PRIVATE : MAP_SHARED;
	char *p, *aligned;

	*file = -1;
	switch (kind) {
	case ANON_PRIVATE:
	case ANON_SHARED:
		flags |= MAP_ANONYMOUS;
		break;
	case MEMFD:
		*file = memfd_create("word", MFD_ALLOW_SEALING | MFD_CLOEXEC);
		break;
	case SHMEM_THP:
		write_string("/sys/kernel/mm/transparent_hugepage/shmem_enabled", "force");
		*file = memfd_create("word", MFD_CLOEXEC);
		break;
	case TMPFS:
		*file = open("/dev/shm", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		break;
	case EXT4:
		*file = open("/mnt/ext4", O_TMPFILE | O_RDWR | O_CLOEXEC, 0600);
		break;
	case HUGETLB_SHARED:
		write_string("/proc/sys/vm/nr_hugepages", "8");
		*file = memfd_create("word", MFD_HUGETLB | MFD_CLOEXEC);
		break;
	case HUGETLB:
		write_string("/proc/sys/vm/nr_hugepages", "8");
		flags |= MAP_ANONYMOUS | MAP_HUGETLB;
		break;
	case THP:
		flags |= MAP_ANONYMOUS;
		break;
	}
	if (memory_has_file(kind)) {
		if (*file < 0)
			return NULL;
		if (ftruncate(*file, size))
			return NULL;
	}
	if (kind != THP) {
		p = mmap(NULL, size, PROT_READ | PROT_WRITE, flags, *file, 0);
		return p == MAP_FAILED ? NULL : p;
	}

	p = mmap(NULL, 2 * size, PROT_READ | PROT_WRITE, flags, -1, 0);
	if (p == MAP_FAILED)
		return NULL;
	aligned = (char *)(((uintptr_t)p + size - 1) & ~(size - 1));
	if (aligned > p)
		munmap(p, aligned - p);
	munmap(aligned + size, p + size - aligned);
	madvise(aligned, size, MADV_HUGEPAGE);
	return aligned;
}

#endif /* MEMORY_H */
