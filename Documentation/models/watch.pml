/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A watch that is read, armed again and closed while others wake its word: no wake
 * is swallowed (rust/futex/watch.rs, unread.rs, and pseudo_file.rs for polling).
 *
 * The word holds tokens. A waker adds one and wakes one waiter; a sleeper wants one
 * token; the owner of the watch takes a token for each wake that it reads, if there
 * is one, and closes it at some moment. When nothing moves any more, nobody waits
 * for a token that is there.
 *
 * REQUEUED is ONE_SHOT with a second word. At some moment one waiter is moved to its
 * queue and keeps waiting there; a wake of the second word comes at some moment, too.
 * What is armed again waits for the first word again: what NEXT remembers of where it
 * saw the word carries the key.
 *
 * Memory is strong here: wake.pml is about what is not.
 *
 * variant: PERSISTENT
 * variant: ONE_SHOT
 * variant: REQUEUED
 * mutant: CLOSE_READS_FIRST
 * mutant: CLOSE_PASSES_NOTHING_ON
 * mutant: POLL_LOOKS_FIRST PERSISTENT
 * mutant: NEXT_COMPARES_FIRST ONE_SHOT
 * mutant: COUNT_FORGETS PERSISTENT
 * mutant: SEEN_FORGETS_KEY REQUEUED
 */
#ifdef REQUEUED
#define WAKERS 2
#else
#define WAKERS 3
#endif
#define WATCH 0
#define SLEEPER 1

byte word;			/* tokens in it */

bit bucket;			/* the lock of the bucket, which both words share */
chan queue = [3] of { byte };	/* the waiters of the word, in order of arrival */
chan other = [3] of { byte };	/* those of the second word */

byte unread;			/* wakes that were not read: atomic */
bit disarmed;			/* the watch's waiter belongs to the watch's own lock */
bit key;			/* its key: 1 for the second word */
bit listening;			/* there is a task on the watch's wait queue */
bit notified;			/* and it was woken */
bit closed;

bit woken;			/* the sleeper's waiter was taken */
bit asleep;

bit moved[2];			/* by a requeue, after it was queued */

inline lock()
{
	atomic { !bucket -> bucket = 1 }
}

inline unlock()
{
	bucket = 0
}

/* Takes who off its queue, if it is on one. The bucket's lock is held. */
inline dequeue(who, was)
{
	if
	:: queue??[eval(who)] -> queue??eval(who); was = 1
	:: other??[eval(who)] -> other??eval(who); was = 1
	:: else -> was = 0
	fi
}

/* Queues who for the first word. The bucket's lock is held. */
inline enqueue(who)
{
	atomic { moved[who] = 0; queue!who }
}

/* A wake of one; AtomicUnread::add() is an exchange, and puts back what it took. */
inline wake_one(waiters)
{
	lock();
	if
	:: empty(waiters) -> unlock()
	:: nempty(waiters) ->
		waiters?who;
		if
		:: who == WATCH ->
#ifdef PERSISTENT
			atomic { old = unread; unread = 1 };
#ifndef COUNT_FORGETS
			if
			:: old -> unread = unread + old
			:: else
			fi;
#endif
			waiters!WATCH;
#else
			/* Under the watch's lock, too. */
			atomic { unread++; disarmed = 1 };
#endif
			unlock();
			if
			:: listening -> notified = 1
			:: else
			fi
		:: else ->
			unlock();
			woken = 1
		fi;
		who = 0;
		old = 0
	fi
}

active [WAKERS] proctype waker()
{
	byte who, old;

	word++;
	wake_one(queue)
}

#ifdef REQUEUED
active proctype waker_of_other()
{
	byte who, old;

	wake_one(other)
}

/* FUTEX_REQUEUE of one, with both locks held. A watch that is queued has nothing unread. */
active proctype requeuer()
{
	byte who;

	lock();
	if
	:: queue?[who] ->
		atomic {
			queue?who;
			other!who;
			moved[who] = 1;
			if
			:: who == WATCH -> key = 1
			:: else
			fi
		}
	:: empty(queue)
	fi;
	unlock()
}
#endif

active proctype sleeper()
{
	do
	:: atomic { word > 0 -> word-- }; break
	:: word == 0 ->
		lock();
		if
		:: word > 0 -> unlock()
		:: else ->
			enqueue(SLEEPER);
			asleep = 1;
			unlock();
			/* There may be no token for it. */
			atomic { woken -> woken = 0; asleep = 0 }
		fi
	od
}

/* What the owner does about the wakes that it has read. */
inline take_tokens()
{
	do
	:: got > 0 ->
		atomic {
			got--;
			if
			:: word > 0 -> word--
			:: else
			fi
		}
	:: else -> break
	od
}

/* poll(2) until there is something to read. It may be that nothing comes. */
inline wait_ready()
{
	do
	:: true ->
#ifdef POLL_LOOKS_FIRST
		if
		:: unread -> break
		:: else
		fi;
		listening = 1;
#else
		listening = 1;
		if
		:: unread -> break
		:: else
		fi;
#endif
		notified;
		notified = 0
	od;
	listening = 0;
	notified = 0
}

/* ->release(), in whatever task drops the file last. */
inline close()
{
#ifdef CLOSE_READS_FIRST
	atomic { got = unread; unread = 0 };
#endif
	lock();
	dequeue(WATCH, was);
	unlock();
#ifndef CLOSE_READS_FIRST
	atomic { got = unread; unread = 0; disarmed = 0 };
#endif
	closed = 1;
#ifndef CLOSE_PASSES_NOTHING_ON
	do
	:: got > 0 && key -> got--; wake_one(other)
	:: got > 0 && !key -> got--; wake_one(queue)
	:: else -> break
	od
#endif
}

active proctype owner()
{
	byte who, old, got;
	bit was;

	/* Opened while there is no token. */
	lock();
	if
	:: word == 0 -> enqueue(WATCH); unlock()
	:: else -> unlock(); goto out
	fi;

	do
	:: true ->
		wait_ready();
#ifdef PERSISTENT
		/* read(2) */
		atomic { got = unread; unread = 0 };
		take_tokens()
#else
		/* AFUTEX_IOC_NEXT, where the word is to hold no token. */
#ifdef NEXT_COMPARES_FIRST
		was = word == 0;
		lock();
#else
		lock();
		was = word == 0;
#endif
		if
#ifdef SEEN_FORGETS_KEY
		:: was && disarmed && key ->
			/* It was seen at its address, but with which key? */
			atomic { disarmed = 0; moved[WATCH] = 0; other!WATCH; got = unread; unread = 0 };
			unlock();
			got = 0
#endif
		:: was && disarmed && !key ->
			/* Both locks are held. */
			atomic { disarmed = 0; enqueue(WATCH); got = unread; unread = 0 };
			unlock();
			/* There was none when it was armed. */
			got = 0
		:: else ->
			unlock();
			/* It is taken off, and not armed again: EAGAIN. */
			lock();
			dequeue(WATCH, was);
			unlock();
			atomic { got = unread; unread = 0; disarmed = 0; key = 0 };
			take_tokens();
			lock();
			if
			:: word == 0 -> enqueue(WATCH); unlock()
			:: else -> unlock(); atomic { if :: word > 0 -> word-- :: else fi }; break
			fi
		fi
#endif
	:: true -> break
	od;
out:
	close()
}

/* A sleeper that was moved waits for the second word. */
#define SLEEPS (asleep && !woken && !moved[SLEEPER])

/* The owner waits: for what it was not notified of, or for what may still come. */
#define IS_QUEUED (queue??[WATCH] || other??[WATCH])
#define WATCHES (listening && !notified && (unread || (IS_QUEUED && !moved[WATCH])))

active proctype monitor()
{
	timeout -> assert(!(word > 0 && (SLEEPS || WATCHES)))
}
