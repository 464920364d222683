/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A watch that is read, armed again and closed while others wake its word: no wake
 * is swallowed (rust/futex/watch.rs, owed.rs, and pseudo_file.rs for who polls).
 *
 * The word holds tokens. A waker adds one and wakes one who waits; a sleeper wants
 * one token; the owner of the watch takes a token for each wake that it reads, if
 * there is one, and closes it at some moment. When nothing moves any more, nobody
 * waits for a token that is there.
 *
 * Memory is strong here: wake.pml is about what is not.
 *
 * variant: PERSISTENT
 * variant: ONE_SHOT
 * mutant: CLOSE_READS_FIRST
 * mutant: CLOSE_PASSES_NOTHING_ON
 * mutant: POLL_LOOKS_FIRST PERSISTENT
 * mutant: NEXT_COMPARES_FIRST ONE_SHOT
 * mutant: COUNT_FORGETS PERSISTENT
 */
#define WAKERS 3
#define WATCH 0
#define SLEEPER 1

byte word;			/* tokens in it */

bit bucket;			/* the bucket's chain lock */
chan ring = [3] of { byte };	/* who waits, first come first: the bucket's */

byte owed;			/* wakes that nobody has read: atomic */
bit parked;			/* the seat is parked with the watch's own lock */
bit listening;			/* somebody is on the watch's wait queue */
bit told;			/* and was woken */
bit closed;

bit woken;			/* the sleeper's seat was taken */
bit asleep;

inline lock()
{
	atomic { !bucket -> bucket = 1 }
}

inline unlock()
{
	bucket = 0
}

/* Takes who off the ring, if it is there. The bucket's lock is held. */
inline dequeue(who, was)
{
	if
	:: ring??[eval(who)] -> ring??eval(who); was = 1
	:: else -> was = 0
	fi
}

/* Table::wake() of one; AtomicOwed::add() is an exchange, and puts back what it took. */
inline wake_one()
{
	lock();
	if
	:: empty(ring) -> unlock()
	:: nempty(ring) ->
		ring?who;
		if
		:: who == WATCH ->
#ifdef PERSISTENT
			atomic { old = owed; owed = 1 };
#ifndef COUNT_FORGETS
			if
			:: old -> owed = owed + old
			:: else
			fi;
#endif
			ring!WATCH;
#else
			/* Under the watch's lock, too. */
			atomic { owed++; parked = 1 };
#endif
			unlock();
			if
			:: listening -> told = 1
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
	wake_one()
}

active proctype sleeper()
{
	do
	:: atomic { word > 0 -> word-- }; break
	:: word == 0 ->
		lock();
		if
		:: word > 0 -> unlock()
		:: else ->
			ring!SLEEPER;
			asleep = 1;
			unlock();
			/* There may be no token for it. */
			atomic { woken -> woken = 0; asleep = 0 }
		fi
	od
}

/* What the owner does of a wake that it was told of. */
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
		:: owed -> break
		:: else
		fi;
		listening = 1;
#else
		listening = 1;
		if
		:: owed -> break
		:: else
		fi;
#endif
		told;
		told = 0
	od;
	listening = 0;
	told = 0
}

/* ->release(), in whatever task drops the file last. */
inline close()
{
#ifdef CLOSE_READS_FIRST
	atomic { got = owed; owed = 0 };
#endif
	lock();
	dequeue(WATCH, was);
	unlock();
#ifndef CLOSE_READS_FIRST
	atomic { got = owed; owed = 0; parked = 0 };
#endif
	closed = 1;
#ifndef CLOSE_PASSES_NOTHING_ON
	do
	:: got > 0 -> got--; wake_one()
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
	:: word == 0 -> ring!WATCH; unlock()
	:: else -> unlock(); goto out
	fi;

	do
	:: true ->
		wait_ready();
#ifdef PERSISTENT
		/* read(2) */
		atomic { got = owed; owed = 0 };
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
		:: was && parked ->
			/* Both locks are held. */
			atomic { parked = 0; ring!WATCH; got = owed; owed = 0 };
			unlock();
			/* There was none when it was armed. */
			got = 0
		:: else ->
			unlock();
			/* It is taken off, and not armed again: EAGAIN. */
			lock();
			dequeue(WATCH, was);
			unlock();
			atomic { got = owed; owed = 0; parked = 0 };
			take_tokens();
			lock();
			if
			:: word == 0 -> ring!WATCH; unlock()
			:: else -> unlock(); atomic { if :: word > 0 -> word-- :: else fi }; break
			fi
		fi
#endif
	:: true -> break
	od;
out:
	close()
}

/* The owner waits, for what he was not told of or for what may still come. */
#define WATCHES (listening && !told && (owed || ring??[WATCH]))

active proctype monitor()
{
	timeout -> assert(!(word > 0 && ((asleep && !woken) || WATCHES)))
}
