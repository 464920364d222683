/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A member of a set that is added, changed, woken, told of and removed by different
 * tasks at once (rust/futex/member.rs, set.rs).
 *
 * As in watch.pml the word holds tokens, and a reader takes one for each wake that he
 * is told of. The member may be removed while it is still being armed, or changed to
 * wait on another word, by somebody who knows its number. When nothing moves any more, nobody waits for a
 * token that is there, and of a member that was removed nothing is left in the table.
 *
 * variant: PERSISTENT
 * variant: ONE_SHOT
 * mutant: GONE_LATE
 * mutant: ARM_DOES_NOT_LOOK
 * mutant: RETIRE_KEEPS_SEAT PERSISTENT
 * mutant: SETTLE_PASSES_NOTHING_ON
 * mutant: CHANGE_PASSES_NOTHING_ON PERSISTENT
 * mutant: CHANGE_TAKES_WITHOUT_SEAT PERSISTENT
 * mutant: CHANGE_ARMS_WHAT_IS_GONE PERSISTENT
 * mutant: TOLD_BEFORE_WRITTEN
 */
/* No more than the member can swallow: the next wake would mend what was lost. */
#ifdef PERSISTENT
#define WAKERS 2
#else
#define WAKERS 1
#endif
#define MEMBER 0
#define SLEEPER 1

byte word;			/* tokens in it */

bit bucket;			/* the bucket's chain lock */
chan ring = [3] of { byte };	/* who waits, first come first: the bucket's */
bit other;			/* the member waits on the other word, where nobody else does */

/* A seat, and the word that it is of. */
#define NONE 0
#define THIS 1
#define OTHER 2

/* What the set's lock protects; what is done under it is one step. */
byte count;			/* wakes to tell of */
byte owed;			/* wakes to pass on */
byte parked;			/* the member's seat, if it is here */
bit listed;			/* the member is on the queue of those with something to tell */
bit gone;
bit arming;

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

/* Takes the member off the table. */
inline dequeue(seat)
{
	lock();
	if
	:: ring??[MEMBER] -> ring??MEMBER; seat = THIS
	:: other -> other = 0; seat = OTHER
	:: else -> seat = NONE
	fi;
	unlock()
}

inline wake_one()
{
	lock();
	if
	:: empty(ring) -> unlock()
	:: nempty(ring) ->
		ring?who;
		if
		:: who == MEMBER ->
			atomic {
				count++;
				owed++;
#ifdef PERSISTENT
				ring!MEMBER;
#else
				parked = THIS;
#endif
				if
				:: !gone -> listed = 1
				:: else
				fi
			};
			unlock()
		:: else ->
			unlock();
			woken = 1
		fi;
		who = 0
	fi
}

/* Owed::pass_on(), for the word of the seat. */
inline pass_on(seat)
{
	do
	:: got > 0 && seat == THIS -> got--; wake_one()
	:: else -> got = 0; break
	od
}

active [WAKERS] proctype waker()
{
	byte who;

	word++;
	wake_one()
}

/* A wake of the other word, for which there are no tokens. */
active proctype other_waker()
{
	lock();
	if
	:: other ->
		atomic {
			count++;
			owed++;
#ifndef PERSISTENT
			other = 0;
			parked = OTHER;
#endif
			if
			:: !gone -> listed = 1
			:: else
			fi
		}
	:: else
	fi;
	unlock()
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

/* Set::turn(): written to the user, and told, in one step. */
active proctype reader()
{
	byte got;

	do
	:: atomic {
		listed ->
		got = count;
#ifndef TOLD_BEFORE_WRITTEN
		if
		/* The user's memory is not there: all stays as it is. */
		:: true -> got = 0
		/* It is. */
		:: true -> count = 0; owed = 0; listed = 0
		fi
#else
		count = 0;
		owed = 0;
		listed = 0
#endif
	   };
#ifdef TOLD_BEFORE_WRITTEN
	   if
	   /* Too late: it is put back, if the member is still there. */
	   :: true ->
		atomic {
			if
			:: !gone -> count = count + got; owed = owed + got; listed = 1
			:: else
			fi;
			got = 0
		}
	   :: true
	   fi;
#endif
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
	od
}

/* Member::retire() */
inline retire(seat)
{
#ifndef GONE_LATE
	gone = 1;
#endif
	dequeue(seat);
	atomic {
#ifdef GONE_LATE
		gone = 1;
#endif
#ifndef RETIRE_KEEPS_SEAT
		if
		:: seat && !parked -> parked = seat
		:: else
		fi;
#endif
		seat = NONE;
		listed = 0
	}
}

/* Member::settle(), of a member that is gone. */
inline settle(seat)
{
	atomic {
		got = 0;
		if
		:: parked -> seat = parked; parked = NONE; got = owed; owed = 0
		:: else
		fi
	};
#ifndef SETTLE_PASSES_NOTHING_ON
	pass_on(seat);
#endif
	seat = NONE
}

/* What follows when it is queued: Arming::arm(). */
inline look_whether_gone(seat)
{
#ifndef ARM_DOES_NOT_LOOK
	if
	:: gone -> retire(seat); settle(seat)
	:: else
	fi;
#endif
	skip
}

/* AFUTEX_CTL_ADD, and perhaps AFUTEX_CTL_MOD. */
active proctype armer()
{
	byte who, got, seat;
	bit was_gone;

	/* Compares under the bucket's lock, for a word without a token. */
	lock();
	if
	:: word == 0 ->
		ring!MEMBER;
		unlock();
		look_whether_gone(seat)
	:: else -> unlock()
	fi;

	/* Perhaps it is left at that. */
	if
	:: true -> goto out
	:: true
	fi;

	/* Arming::change() */
	dequeue(seat);
	atomic {
		if
		:: !seat -> seat = parked; parked = NONE
		:: else
		fi;
		if
		/* Whoever has the seat knows whom to wake instead. */
#ifndef CHANGE_TAKES_WITHOUT_SEAT
		:: seat -> got = owed; owed = 0
		:: !seat -> got = 0
#else
		:: true -> got = owed; owed = 0
#endif
		fi;
		was_gone = gone
	};
#ifndef CHANGE_PASSES_NOTHING_ON
	pass_on(seat);
#endif
	seat = NONE;
#ifndef CHANGE_ARMS_WHAT_IS_GONE
	if
	:: was_gone -> goto out
	:: else
	fi;
#endif
	lock();
	other = 1;
	unlock();
	look_whether_gone(seat);
out:
	skip
}

/* AFUTEX_CTL_DEL. */
active proctype remover()
{
	byte who, got, seat;

	retire(seat);
	settle(seat)
}

active proctype monitor()
{
	timeout ->
		assert(!(word > 0 && asleep && !woken));
		assert(gone && !ring??[MEMBER] && !other && !parked && !listed)
}
