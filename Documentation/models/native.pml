/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The first watch of a word puts the hooks into futex(2), and misses no wake: the
 * argument at the top of rust/futex_hook.c.
 *
 * Memory is weak: what a task stores stays in a buffer of its own, and comes out
 * at any moment; at a full barrier, and before a lock is released, at the latest.
 * So is text: a CPU may run what was there before it was patched, until it has
 * taken the interrupt that follows.
 *
 * The waker stores before the call, as for FUTEX_WAKE, or inside, as FUTEX_WAKE_OP
 * and FUTEX_ROBUST_UNLOCK do. When nothing moves any more, the watch is not armed.
 *
 * variant: STORE_BEFORE
 * variant: STORE_INSIDE
 * mutant: LOOK_BEFORE_HOOK
 * mutant: NO_FENCE STORE_BEFORE
 * mutant: NO_BARRIER_IN_COUNT
 * mutant: NO_BARRIER_IN_HOOK
 * mutant: NO_SUSPECTS STORE_INSIDE
 * mutant: SUSPECTS_BEFORE_HOOK STORE_INSIDE
 * mutant: HOOK_AT_ENTRY STORE_INSIDE
 */

bit word;			/* in memory: 1 is the new value */
bit word_buffered;		/* the waker's store of 1 is in its buffer */
bit counted;			/* in memory: the watch is counted */
bit count_buffered;

bit patched;			/* the text has the hook */
bit interrupt, fenced;		/* sent to the waker's CPU, and taken */

bit in_call;			/* what the waker's registers say of it, in memory */
bit in_call_buffered;
bit scanned, suspect;		/* the watch has looked at them; and what it thinks */

bit locked;			/* the bucket's lock, and what it protects */
bit queued;
bit woken;

inline lock()
{
	atomic { !locked -> locked = 1 }
}

active proctype memory()
{
	do
	:: atomic { word_buffered -> word = 1; word_buffered = 0 }
	:: atomic { count_buffered -> counted = 1; count_buffered = 0 }
	:: atomic { in_call_buffered -> in_call = 1; in_call_buffered = 0 }
	:: atomic { interrupt && !fenced && !word_buffered && !in_call_buffered -> fenced = 1 }
	od
}

inline look_for_suspects()
{
	atomic {
#if defined(STORE_INSIDE) && !defined(NO_SUSPECTS)
		suspect = in_call;
#endif
		scanned = 1
	}
}

active proctype watch()
{
	bit seen;

#ifdef LOOK_BEFORE_HOOK
	seen = word;
#endif
#ifdef SUSPECTS_BEFORE_HOOK
	look_for_suspects();
#endif
	/* afutex_hook_get() */
	patched = 1;
#ifndef NO_FENCE
	interrupt = 1;
	fenced;
#endif
#ifndef SUSPECTS_BEFORE_HOOK
	look_for_suspects();
#endif
	/* Table::queue() */
	count_buffered = 1;
#ifndef NO_BARRIER_IN_COUNT
	!count_buffered;
#endif
	lock();
#ifndef LOOK_BEFORE_HOOK
	seen = word;
#endif
	if
	:: seen ->
		!count_buffered;
		locked = 0
	:: !seen ->
		queued = 1;
		!count_buffered;
		locked = 0;
		woken
	fi
}

/* Of what is counted, or, for a suspect, of all. */
inline wake(if_counted)
{
#ifndef NO_BARRIER_IN_HOOK
	!word_buffered;
#endif
	if
	:: if_counted && !counted -> skip
	:: else ->
		lock();
		if
		:: queued -> queued = 0; woken = 1
		:: else
		fi;
		!word_buffered;
		locked = 0
	fi
}

active proctype waker()
{
	bit hooked;

#ifdef STORE_BEFORE
	word_buffered = 1;
#endif
	in_call_buffered = 1;
	/* Where the hook is, or is not. */
	if
	:: patched -> hooked = 1
	:: !fenced -> hooked = 0
	fi;
#ifdef HOOK_AT_ENTRY
	if
	:: hooked -> wake(1)
	:: else
	fi;
#endif
#ifdef STORE_INSIDE
	word_buffered = 1;
#endif
#ifndef HOOK_AT_ENTRY
	if
	:: hooked -> wake(1)
	:: else
	fi;
#endif
	/* What is to be done on the way to user space, now or when it is found out. */
	scanned;
	if
	:: suspect -> wake(0)
	:: else
	fi
}

active proctype monitor()
{
	timeout -> assert(!queued)
}
