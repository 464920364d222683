/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A waker that finds no waiters takes no lock, and no wake is missed:
 * the argument at the top of rust/futex/wake.rs.
 *
 * Memory is weak: what a task stores stays in a buffer of its own, and comes out
 * at any moment; at a full barrier, and before a lock is released, at the latest.
 *
 * When nothing moves any more, no task sleeps.
 *
 * mutant: NO_BARRIER_IN_INC
 * mutant: NO_BARRIER_IN_WAKE
 * mutant: COMPARE_BEFORE_INC
 */
#define WAITERS 2

bit word;			/* in memory: 1 is the new value */
bit counted[WAITERS];		/* in memory: the bucket's count */
bit word_buffered;		/* the waker's store of 1 is in its buffer */
bit count_buffered[WAITERS];	/* so is a waiter's count of itself */

bit locked;			/* the bucket's lock */
bit queued[WAITERS];		/* what it protects */
bit woken[WAITERS];

inline lock()
{
	atomic { !locked -> locked = 1 }
}

/* Buffers empty themselves. */
active proctype memory()
{
	do
	:: atomic { word_buffered -> word = 1; word_buffered = 0 }
	:: atomic { count_buffered[0] -> counted[0] = 1; count_buffered[0] = 0 }
	:: atomic { count_buffered[1] -> counted[1] = 1; count_buffered[1] = 0 }
	od
}

active [WAITERS] proctype waiter()
{
	byte self = _pid - 1;
	bit seen;

#ifdef COMPARE_BEFORE_INC
	seen = word;
#endif
	/* Table::waiters_inc() */
	count_buffered[self] = 1;
#ifndef NO_BARRIER_IN_INC
	!count_buffered[self];
#endif
	lock();
#ifndef COMPARE_BEFORE_INC
	seen = word;
#endif
	if
	:: seen ->
		!count_buffered[self];
		locked = 0
	:: !seen ->
		queued[self] = 1;
		!count_buffered[self];
		locked = 0;
		woken[self]
	fi;
	/* Table::waiters_dec(): the waker counts off what it dequeued. */
	counted[self] = 0
}

active proctype waker()
{
	byte n;

	word_buffered = 1;
#ifndef NO_BARRIER_IN_WAKE
	!word_buffered;
#endif
	if
	:: !counted[0] && !counted[1] -> skip
	:: else ->
		lock();
		for (n : 0 .. WAITERS - 1) {
			if
			:: queued[n] -> queued[n] = 0; woken[n] = 1
			:: else
			fi
		}
		!word_buffered;
		locked = 0
	fi
}

active proctype monitor()
{
	timeout -> assert(!queued[0] && !queued[1])
}
