/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A waker of a domain looks at the bell in user space, and makes no call if it does
 * not ring; and no wake is missed, neither by a waiter that comes, nor by one that a
 * requeue moves meanwhile: the argument at the top of rust/futex/wake.rs.
 *
 * Two words, at different offsets. One waiter waits on a shared word, the other on a
 * private one; a requeue may move either from the first word to the second. Two wakers
 * change a word each, and wake it: what is moved to the second word before its waker
 * stores is to be woken by that waker.
 *
 * Memory is weak: what a task stores stays in a buffer of its own, and comes out at any
 * moment; at a full barrier, and before a lock is released, at the latest. Counts are
 * changed by atomic operations, which act on memory; a waiter's count of itself may be
 * late where it passes no barrier.
 *
 * When nothing moves any more, no task sleeps on a word that was changed after it came
 * there.
 *
 * mutant: NO_FENCE
 * mutant: NO_BARRIER_IN_INC
 * mutant: COMPARE_BEFORE_COUNT
 * mutant: SHARED_WORDS_ONLY
 * mutant: REQUEUE_COUNTS_LATE
 */
#define FROM	0
#define TO	1
#define NONE	2

bit word[2];			/* in memory: 1 is the new value */
bit stored[2];			/* the store of 1 is in the buffer of its waker */
byte bell[2];			/* in memory */
bit counting[2];		/* the waiter's count of itself is in its buffer */

bit locked;			/* the lock of the bucket of both words */
byte queued[2] = NONE;		/* what it protects: where each waiter is */
bit woken[2];
bit due[2];			/* it was on the second word when that was stored to */

#define PRIVATE(waiter)	((waiter) == 1)

#ifdef SHARED_WORDS_ONLY
#define COUNTS(waiter)	(!PRIVATE(waiter))
#else
#define COUNTS(waiter)	true
#endif

inline lock()
{
	atomic { !locked -> locked = 1 }
}

/* Buffers empty themselves. */
active proctype memory()
{
	do
	:: atomic { stored[FROM] -> word[FROM] = 1; stored[FROM] = 0 }
	:: atomic { stored[TO] -> word[TO] = 1; stored[TO] = 0 }
	:: atomic { counting[0] -> bell[FROM]++; counting[0] = 0 }
	:: atomic { counting[1] -> bell[FROM]++; counting[1] = 0 }
	od
}

inline count(waiter)
{
	/* Table::waiters_inc() */
	if
	:: COUNTS(waiter) ->
		counting[waiter] = 1;
#ifndef NO_BARRIER_IN_INC
		!counting[waiter]
#endif
	:: else
	fi
}

active [2] proctype waiter()
{
	byte self = _pid - 1;
	bit seen;

#ifdef COMPARE_BEFORE_COUNT
	seen = word[FROM];
#endif
	count(self);
	lock();
#ifndef COMPARE_BEFORE_COUNT
	seen = word[FROM];
#endif
	if
	:: seen ->
		!counting[self];
		locked = 0;
		/* Table::waiters_dec() */
		if
		:: COUNTS(self) -> bell[FROM]--
		:: else
		fi
	:: !seen ->
		queued[self] = FROM;
		!counting[self];
		locked = 0;
		woken[self]
	fi
}

/* Moves what waits, once. */
active proctype requeue()
{
	byte n, moved;

	/* From here on a waker of the second word looks for those that are being moved. */
#ifndef REQUEUE_COUNTS_LATE
	bell[TO]++;
#endif
	lock();
	for (n : 0 .. 1) {
		if
		:: queued[n] == FROM && !word[FROM] ->
			atomic {
				queued[n] = TO;
				/* A store to the new word that comes later is for this one too. */
				if
				:: COUNTS(n) -> moved++
				:: else
				fi
			}
		:: else
		fi
	}
#ifndef REQUEUE_COUNTS_LATE
	bell[TO] = bell[TO] + moved;
#endif
	locked = 0;
	bell[FROM] = bell[FROM] - moved;
#ifdef REQUEUE_COUNTS_LATE
	bell[TO] = bell[TO] + moved
#else
	bell[TO]--
#endif
}

proctype waker(byte at)
{
	byte n, taken;

	atomic {
		stored[at] = 1;
		if
		:: at == TO ->
			due[0] = (queued[0] == TO);
			due[1] = (queued[1] == TO)
		:: else
		fi
	}
#ifndef NO_FENCE
	!stored[at];
#endif
	if
	:: bell[at] == 0 -> skip
	:: else ->
		/* The call. */
		!stored[at];
		lock();
		for (n : 0 .. 1) {
			if
			:: queued[n] == at ->
				queued[n] = NONE;
				woken[n] = 1;
				if
				:: COUNTS(n) -> taken++
				:: else
				fi
			:: else
			fi
		}
		locked = 0;
		bell[at] = bell[at] - taken
	fi
}

init
{
	atomic {
		run waker(FROM);
		run waker(TO)
	}
}

active proctype monitor()
{
	timeout ->
	/* Who came to the first word and stayed there sees the store, or is woken. */
	assert(queued[0] != FROM && queued[1] != FROM);
	/* Who was at the second one when that was stored to is woken. */
	assert(!(due[0] && queued[0] == TO) && !(due[1] && queued[1] == TO))
}
