/* SPDX-License-Identifier: GPL-2.0 */
/*
 * What <linux/futex.h> had before Linux 5.16, as far as include/afutex.h needs it; with
 * OLD_HAS_WAITV, before 6.7.
 */
#ifndef OLD_LINUX_FUTEX_H
#define OLD_LINUX_FUTEX_H

#include <linux/types.h>

#define FUTEX_WAIT		0
#define FUTEX_WAKE		1
#define FUTEX_FD		2
#define FUTEX_PRIVATE_FLAG	128
#define FUTEX_BITSET_MATCH_ANY	0xffffffff

#ifdef OLD_HAS_WAITV
#define FUTEX_32		2
#define FUTEX_WAITV_MAX		128

struct futex_waitv {
	__u64 val;
	__u64 uaddr;
	__u32 flags;
	__u32 __reserved;
};
#endif

#endif /* OLD_LINUX_FUTEX_H */
