/* SPDX-License-Identifier: GPL-2.0 WITH Linux-syscall-note OR MIT */
/*
 * afutex: futex words behind file descriptors.
 *
 * The only statement of the ABI of /dev/afutex: C programs include it, and the
 * module generates its own view of it with bindgen. Every structure has the
 * same layout for 32- and 64-bit callers and holds no pointers; an address is
 * a __u64. Fields called "pad" or "reserved" must be zero.
 *
 * Wakes of afutex do not reach waiters of futex(2), nor the other way round: afutex
 * has a table of its own. A descriptor may wait for the wakes of futex(2) instead:
 * see AFUTEX_NATIVE.
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
 * @val:     expected value (WAIT), number to wake (WAKE), signal or 0, and
 *	     AFUTEX_NATIVE (FD)
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
 * @buckets: number of buckets in the futex table, or in that of the domain
 * @ops:     bit N is set when AFUTEX_IOC_CALL carries out FUTEX_* command N
 * @features: AFUTEX_FEATURE_* bits
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

/* struct afutex_info.features */
#define AFUTEX_FEATURE_WATCH	0x1	/* AFUTEX_IOC_OPEN, _REARM, _NEXT */
#define AFUTEX_FEATURE_FUTEX2	0x2	/* AFUTEX_IOC_WAIT, _WAKE, _REQUEUE, _WAITV */
#define AFUTEX_FEATURE_WAKES	0x4	/* AFUTEX_IOC_WAKEV, _WAKE_ONE, _WAKE_ALL */
#define AFUTEX_FEATURE_SET	0x8	/* AFUTEX_IOC_SET, _CTL, _SET_WAIT */
#define AFUTEX_FEATURE_NATIVE	0x10	/* AFUTEX_NATIVE */
#define AFUTEX_FEATURE_DOMAIN	0x20	/* AFUTEX_IOC_DOMAIN */
#define AFUTEX_FEATURE_MAPPED	0x40	/* AFUTEX_IOC_SET_MAPPED */

/*
 * How a word is described: FUTEX2_SIZE_* and FUTEX2_PRIVATE of <linux/futex.h>.
 * All four sizes work. The size governs what is compared, and the alignment.
 */

/* How a watch waits, in struct afutex_watch.flags, beside the word's flags. */
#define AFUTEX_COMPARE		0x0100	/* be armed only if the word holds val */
#define AFUTEX_READY		0x0200	/* ... else be readable at once, not EAGAIN */
#define AFUTEX_PERSISTENT	0x0400	/* stay armed, and count wakes */
/*
 * Wait for wakes of futex(2), not of afutex. Such a watch is an observer: futex(2)
 * does not count it, each call that wakes the word counts one wake in it, whatever
 * number and bits the call has, and it passes none on. There may be more wakes than
 * calls, not fewer. Fixed for a member of a set.
 */
#define AFUTEX_NATIVE		0x0800

/**
 * struct afutex_watch - what to wait for
 * @uaddr:  address of the word
 * @val:    expected value, with AFUTEX_COMPARE; otherwise 0
 * @mask:   the wakes to wait for, as FUTEX_WAIT_BITSET has it; not 0
 * @flags:  FUTEX2_SIZE_*, FUTEX2_PRIVATE, AFUTEX_COMPARE, _READY, _PERSISTENT,
 *	    _NATIVE
 * @cookie: in a set, the user's own, given back with events; otherwise 0
 */
struct afutex_watch {
	__u64 uaddr;
	__u64 val;
	__u32 mask;
	__u32 flags;
	__u64 cookie;
};

/**
 * struct afutex_open - AFUTEX_IOC_OPEN: make a file descriptor for a watch
 * @watch:    what to wait for
 * @fd_flags: O_CLOEXEC, O_NONBLOCK
 * @signal:   signal to send to the calling process, or 0, as FUTEX_FD has it
 *
 * Returns the descriptor. read(2) gives a __u64: the wakes since it was read last,
 * and AFUTEX_CHANGED if it was not armed because the word held another value.
 */
struct afutex_open {
	struct afutex_watch watch;
	__u32 fd_flags;
	__u32 signal;
};

#define AFUTEX_CHANGED		(1ULL << 63)

/**
 * struct afutex_rearm - AFUTEX_IOC_REARM, on a watch: read it and arm it again
 * @val:   expected value, with AFUTEX_COMPARE; otherwise 0
 * @flags: AFUTEX_COMPARE, AFUTEX_READY
 * @pad:   must be 0
 * @count: set to the wakes since it was read last
 */
struct afutex_rearm {
	__u64 val;
	__u32 flags;
	__u32 pad;
	__u64 count;
};

/**
 * struct afutex_wait - AFUTEX_IOC_WAIT: futex_wait(2), for words of every size
 * @uaddr:   address of the word
 * @val:     expected value
 * @mask:    the wakes to wait for, not 0, 32 bits
 * @flags:   FUTEX2_SIZE_*, FUTEX2_PRIVATE
 * @clockid: CLOCK_MONOTONIC or CLOCK_REALTIME
 * @timeout: address of an absolute struct __kernel_timespec, or 0
 */
struct afutex_wait {
	__u64 uaddr;
	__u64 val;
	__u64 mask;
	__u32 flags;
	__s32 clockid;
	__u64 timeout;
};

/**
 * struct afutex_wake - AFUTEX_IOC_WAKE: futex_wake(2)
 * @uaddr: address of the word
 * @mask:  which waiters to wake, not 0, 32 bits
 * @count: how many at most; 0 wakes none
 * @flags: FUTEX2_SIZE_*, FUTEX2_PRIVATE
 */
struct afutex_wake {
	__u64 uaddr;
	__u64 mask;
	__u32 count;
	__u32 flags;
};

/**
 * struct afutex_requeue - AFUTEX_IOC_REQUEUE: futex_requeue(2)
 * @uaddr:   address of the word whose waiters are woken and moved
 * @val:     value it must hold
 * @uaddr2:  address of the word they are moved to
 * @flags:   of both words: FUTEX2_SIZE_*, FUTEX2_PRIVATE
 * @wake:    how many to wake at most
 * @requeue: how many of the next to move at most
 * @pad:     must be 0
 */
struct afutex_requeue {
	__u64 uaddr;
	__u64 val;
	__u64 uaddr2;
	__u32 flags;
	__u32 wake;
	__u32 requeue;
	__u32 pad;
};

/**
 * struct afutex_waitv - AFUTEX_IOC_WAITV: futex_waitv(2), for any number of words
 * @waiters: address of an array of struct futex_waitv
 * @nr:      how many there are: 1 to AFUTEX_WAITV_MAX; more than 128 count as watches
 * @clockid: CLOCK_MONOTONIC or CLOCK_REALTIME
 * @timeout: address of an absolute struct __kernel_timespec, or 0
 *
 * Returns the number of one that was woken.
 */
struct afutex_waitv {
	__u64 waiters;
	__u32 nr;
	__s32 clockid;
	__u64 timeout;
};

/**
 * struct afutex_wakev_word - one word of AFUTEX_IOC_WAKEV
 * @uaddr:  address of the word
 * @mask:   which waiters to wake, not 0
 * @flags:  FUTEX2_SIZE_*, FUTEX2_PRIVATE
 * @count:  how many at most; 0 wakes none
 * @result: set to how many were woken, or to a negative errno
 */
struct afutex_wakev_word {
	__u64 uaddr;
	__u32 mask;
	__u32 flags;
	__u32 count;
	__s32 result;
};

/**
 * struct afutex_wakev - AFUTEX_IOC_WAKEV: wake on many words
 * @words: address of an array of struct afutex_wakev_word
 * @nr:    how many there are, up to AFUTEX_WAKEV_MAX
 * @pad:   must be 0
 *
 * Each word is woken by itself, in order; one that fails does not stop the others.
 * Returns how many words were processed: less than @nr if a fatal signal came.
 */
struct afutex_wakev {
	__u64 words;
	__u32 nr;
	__u32 pad;
};

#define AFUTEX_WAKEV_MAX	(1 << 16)

/**
 * struct afutex_set - AFUTEX_IOC_SET: make a file descriptor for many watches
 * @fd_flags: O_CLOEXEC, O_NONBLOCK
 * @signal:   signal to send to the calling process, or 0, as FUTEX_FD has it
 *
 * Returns the descriptor. read(2) gives an array of struct afutex_event.
 */
struct afutex_set {
	__u32 fd_flags;
	__u32 signal;
};

/**
 * struct afutex_set_mapped - AFUTEX_IOC_SET_MAPPED: make a set whose events are in memory
 * @fd_flags: O_CLOEXEC, O_NONBLOCK
 * @signal:   signal to send to the calling process, or 0, as FUTEX_FD has it
 * @members:  how many members there may be: a power of two, AFUTEX_RING_MAX at most
 * @pad:      must be 0
 *
 * Returns the descriptor. mmap(2) of AFUTEX_RING_SIZE(@members) bytes at offset 0, shared,
 * gives a struct afutex_ring. read(2) is EINVAL.
 */
struct afutex_set_mapped {
	__u32 fd_flags;
	__u32 signal;
	__u32 members;
	__u32 pad;
};

#define AFUTEX_RING_MAX		(1 << 20)

/**
 * struct afutex_ring - the events of a mapped set
 * @head: how many numbers were taken from the ring: the readers'
 * @tail: how many the kernel put there
 *
 * Behind it are the counts: a __u64 for each member, by its number, of the wakes since
 * they were taken, and AFUTEX_CHANGED if it was not armed because the word held
 * another value. Behind the counts is the ring, a __u32 for each member: the numbers of
 * those that have something to tell. The entry of head is at head modulo members. A
 * reader, while head is not tail (which it loads with acquire semantics):
 *
 * - loads the number at head,
 * - advances head by 1; where there are several readers, by compare-and-exchange,
 *   and begins again if it fails,
 * - then, not before, exchanges the count of that member for 0, with a full barrier.
 *   If there was 0 it has nothing to tell.
 *
 * A member is on the ring once at most. The descriptor is readable while head is not
 * tail. What is written here otherwise harms only those who use this set.
 */
struct afutex_ring {
	__aligned_u64 head;
	__u64 pad[7];
	__aligned_u64 tail;
	__u64 pad2[7];
};

/* How much there is to map, in bytes; mmap(2) rounds it up. */
#define AFUTEX_RING_SIZE(members)	(sizeof(struct afutex_ring) + 12UL * (members))

/* What to do with a member of a set. */
#define AFUTEX_CTL_ADD		1	/* add it, and set @id to its number */
#define AFUTEX_CTL_MOD		2	/* make it wait for @watch, and arm it */
#define AFUTEX_CTL_DEL		3	/* remove it; @watch must be all 0 */

/**
 * struct afutex_ctl - add, change, arm again or remove one member of a set
 * @op:     AFUTEX_CTL_*
 * @result: set to 0 or a negative errno
 * @id:     the member's number
 * @pad:    must be 0
 * @watch:  what to wait for
 */
struct afutex_ctl {
	__u32 op;
	__s32 result;
	__u32 id;
	__u32 pad;
	struct afutex_watch watch;
};

/**
 * struct afutex_ctlv - AFUTEX_IOC_CTL, on a set: a batch of struct afutex_ctl
 * @items: address of the array
 * @nr:    how many there are
 * @pad:   must be 0
 *
 * Each by itself, in order. Returns how many were processed.
 */
struct afutex_ctlv {
	__u64 items;
	__u32 nr;
	__u32 pad;
};

/* Why there is an event. */
#define AFUTEX_WOKEN		0x1	/* @count wakes came */
#define AFUTEX_VALUE_CHANGED	0x2	/* not armed: the word held another value */

/**
 * struct afutex_event - an event of a member of a set
 * @cookie: the member's
 * @why:    AFUTEX_WOKEN, AFUTEX_VALUE_CHANGED
 * @count:  wakes since the last event of the member
 */
struct afutex_event {
	__u64 cookie;
	__u32 why;
	__u32 count;
};

/**
 * struct afutex_set_wait - AFUTEX_IOC_SET_WAIT, on a set: a loop's whole turn
 * @items:     address of an array of struct afutex_ctl to process first
 * @nr_items:  how many there are; may be 0
 * @nr_events: how many events there is room for; not 0, but 0 for a mapped set
 * @events:    address of an array of struct afutex_event to fill
 * @timeout:   address of an absolute struct __kernel_timespec, or 0
 * @clockid:   CLOCK_MONOTONIC or CLOCK_REALTIME
 * @pad:       must be 0
 *
 * Waits for the first event. Returns how many there are. If the wait is interrupted,
 * @nr_items is set to 0 once the items have been processed: a call with the same
 * structure continues to wait.
 */
struct afutex_set_wait {
	__u64 items;
	__u32 nr_items;
	__u32 nr_events;
	__u64 events;
	__u64 timeout;
	__s32 clockid;
	__u32 pad;
};

/**
 * struct afutex_domain_args - AFUTEX_IOC_DOMAIN: make a wait domain
 * @buckets:  of its table: a power of two, at most AFUTEX_DOMAIN_BUCKETS_MAX, or 0 for
 *	      AFUTEX_DOMAIN_BUCKETS
 * @fd_flags: O_CLOEXEC
 * @reserved: must be 0
 *
 * Returns a descriptor that is used as the device is: for all its ioctls. Words meet
 * only those who wait and wake through the same domain; whoever has the descriptor, by
 * fork(2) or by SCM_RIGHTS, can.
 *
 * mmap(2) of AFUTEX_BELL_SIZE bytes at offset 0, MAP_SHARED and PROT_READ, gives its
 * bell page: an array of __u32. Number ((addr % AFUTEX_BELL_SIZE) / 4) is how many wait,
 * or are about to, on words at such addresses, private or shared. A waker may do without
 * the call where it is 0: it stores to the word, passes a full memory barrier, and then
 * looks at the bell.
 */
struct afutex_domain_args {
	__u32 buckets;
	__u32 fd_flags;
	__u64 reserved;
};

#define AFUTEX_DOMAIN_BUCKETS		256
#define AFUTEX_DOMAIN_BUCKETS_MAX	(1 << 16)
#define AFUTEX_BELL_SIZE		4096

/* A bound for the kernel memory that one call takes. */
#define AFUTEX_WAITV_MAX	(1 << 20)

#define AFUTEX_IOC_MAGIC	0xF7

#define AFUTEX_IOC_CALL		_IOW(AFUTEX_IOC_MAGIC, 0x01, struct afutex_call)
#define AFUTEX_IOC_INFO		_IOR(AFUTEX_IOC_MAGIC, 0x02, struct afutex_info)
#define AFUTEX_IOC_OPEN		_IOW(AFUTEX_IOC_MAGIC, 0x03, struct afutex_open)
#define AFUTEX_IOC_REARM	_IOWR(AFUTEX_IOC_MAGIC, 0x04, struct afutex_rearm)
#define AFUTEX_IOC_WAIT		_IOW(AFUTEX_IOC_MAGIC, 0x05, struct afutex_wait)
#define AFUTEX_IOC_WAKE		_IOW(AFUTEX_IOC_MAGIC, 0x06, struct afutex_wake)
#define AFUTEX_IOC_REQUEUE	_IOW(AFUTEX_IOC_MAGIC, 0x07, struct afutex_requeue)
#define AFUTEX_IOC_WAITV	_IOW(AFUTEX_IOC_MAGIC, 0x08, struct afutex_waitv)
#define AFUTEX_IOC_WAKEV	_IOW(AFUTEX_IOC_MAGIC, 0x09, struct afutex_wakev)
#define AFUTEX_IOC_SET		_IOW(AFUTEX_IOC_MAGIC, 0x0a, struct afutex_set)
#define AFUTEX_IOC_CTL		_IOW(AFUTEX_IOC_MAGIC, 0x0b, struct afutex_ctlv)
#define AFUTEX_IOC_SET_MAPPED	_IOW(AFUTEX_IOC_MAGIC, 0x0e, struct afutex_set_mapped)
#define AFUTEX_IOC_SET_WAIT	_IOWR(AFUTEX_IOC_MAGIC, 0x0c, struct afutex_set_wait)
#define AFUTEX_IOC_DOMAIN	_IOW(AFUTEX_IOC_MAGIC, 0x0d, struct afutex_domain_args)

/*
 * Wakes of one word of 32 bits, whose address is the argument itself: nothing is
 * copied. They return how many were woken.
 */
#define AFUTEX_IOC_WAKE_ONE		_IO(AFUTEX_IOC_MAGIC, 0x10)
#define AFUTEX_IOC_WAKE_ALL		_IO(AFUTEX_IOC_MAGIC, 0x11)
#define AFUTEX_IOC_WAKE_ONE_PRIVATE	_IO(AFUTEX_IOC_MAGIC, 0x12)
#define AFUTEX_IOC_WAKE_ALL_PRIVATE	_IO(AFUTEX_IOC_MAGIC, 0x13)

/*
 * On a watch: AFUTEX_IOC_REARM with AFUTEX_COMPARE. The argument is the expected
 * value itself: nothing is copied. Returns the wakes since it was read last, at
 * most INT_MAX.
 *
 * EAGAIN: the word holds another value; the watch was read and is NOT armed. This is
 * the reverse of a read's EAGAIN: look again at once, do not wait for an event:
 *
 *	do {
 *		seen = atomic_load(word);
 *		ret = ioctl(fd, AFUTEX_IOC_NEXT, (unsigned long)seen);
 *	} while (ret < 0 && errno == EAGAIN);
 */
#define AFUTEX_IOC_NEXT			_IO(AFUTEX_IOC_MAGIC, 0x14)

#endif /* _UAPI_LINUX_AFUTEX_H */
