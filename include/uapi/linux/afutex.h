/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * afutex: futex words behind file descriptors.
 *
 * The only statement of the ABI of /dev/afutex: C programs include it, and the
 * module generates its own view of it with bindgen. Every structure has the
 * same layout for 32- and 64-bit callers and holds no pointers; an address is
 * a __u64. Fields called "pad" or "reserved" must be zero.
 *
 * Wakes here and wakes of futex(2) never meet: afutex has a table of its own.
 */
#ifndef _UAPI_LINUX_AFUTEX_H
#define _UAPI_LINUX_AFUTEX_H

#include <linux/ioctl.h>
#include <linux/types.h>

/* f_type that statfs(2) reports for every afutex file descriptor. */
#define AFUTEX_FS_MAGIC		0xBAD1DEA

/*
 * FUTEX_FD as it was numbered from 2.5.7 to 2.6.25. <linux/futex.h> still has
 * it; this is for the C libraries whose copy does not.
 */
#ifndef FUTEX_FD
#define FUTEX_FD		2
#endif

/**
 * struct afutex_call - the arguments of futex(2), as one structure
 * @uaddr:   address of the futex word
 * @op:      FUTEX_* command and flags of <linux/futex.h>
 * @val:     expected value (WAIT), number to wake (WAKE), signal or 0 (FD)
 * @timeout: address of a struct __kernel_timespec or 0, or val2, as in futex(2)
 * @uaddr2:  address of the second word, for the commands that have one
 * @val3:    bitset, expected value or operation, as in futex(2)
 * @pad:     must be 0
 */
struct afutex_call {
	__u64 uaddr;
	__u32 op;
	__u32 val;
	__u64 timeout;
	__u64 uaddr2;
	__u32 val3;
	__u32 pad;
};

/* struct afutex_info.version: goes up when the meaning of a call changes. */
#define AFUTEX_VERSION		1

/**
 * struct afutex_info - what this module can do
 * @version: AFUTEX_VERSION of the running module
 * @buckets: number of buckets in the futex table
 * @ops:     bit N is set when AFUTEX_IOC_CALL carries out FUTEX_* command N
 * @features: AFUTEX_FEATURE_* bits; none are defined yet
 *
 * Grows at its end. The size is part of the ioctl number: a caller built with
 * an older header gets as much as it knows, one built with a newer header gets
 * zeros in what this module does not know.
 */
struct afutex_info {
	__u32 version;
	__u32 buckets;
	__u64 ops;
	__u64 features;
};

#define AFUTEX_IOC_MAGIC	0xF7

#define AFUTEX_IOC_CALL		_IOW(AFUTEX_IOC_MAGIC, 0x01, struct afutex_call)
#define AFUTEX_IOC_INFO		_IOR(AFUTEX_IOC_MAGIC, 0x02, struct afutex_info)

#endif /* _UAPI_LINUX_AFUTEX_H */
