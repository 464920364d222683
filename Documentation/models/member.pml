/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A member of a set that is added, changed, woken, reported and removed by different
 * tasks at once (rust/futex/set.rs and its children).
 *
 * As in watch.pml the word holds tokens, and a reader takes one for each wake that is
 * reported to it. The member may be removed while it is still being armed, or changed to
 * wait on another word, by a task that knows its number. When nothing moves any more, no
 * task waits for a token that is there, and nothing of a removed member is in the table.
 *
 * variant: PERSISTENT
 * variant: ONE_SHOT
 * mutant: DEAD_LATE
 * mutant: ARM_DOES_NOT_LOOK
 * mutant: UNQUEUE_KEEPS_WAITER PERSISTENT
 * mutant: REMOVAL_PASSES_NOTHING_ON
 * mutant: CHANGE_PASSES_NOTHING_ON PERSISTENT
 * mutant: CHANGE_TAKES_WITHOUT_WAITER PERSISTENT
 * mutant: CHANGE_ARMS_WHAT_IS_DEAD PERSISTENT
 * mutant: DELIVERED_BEFORE_WRITTEN
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

bit bucket;			/* the bucket's lock */
chan queue = [3] of { byte };	/* the waiters, first come first: the bucket's */
bit other;			/* the member waits on the other word, alone */

/* A waiter, and the word that it is of. */
#define NONE 0
#define THIS 1
#define OTHER 2

/* What the set's lock protects; what is done under it is one step. */
byte count;			/* wakes to report */
byte unread;			/* wakes to pass on */
byte disarmed;			/* the member's waiter, if it is here */
bit listed;			/* the member is on the ready list */
bit dead;
bit arming;

bit woken;			/* the sleeper's waiter was taken */
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
inline dequeue(waiter)
{
	lock();
	if
	:: queue??[MEMBER] -> queue??MEMBER; waiter = THIS
	:: other -> other = 0; waiter = OTHER
	:: else -> waiter = NONE
	fi;
	unlock()
}

inline wake_one()
{
	lock();
	if
	:: empty(queue) -> unlock()
	:: nempty(queue) ->
		queue?who;
		if
		:: who == MEMBER ->
			atomic {
				count++;
				unread++;
#ifdef PERSISTENT
				queue!MEMBER;
#else
				disarmed = THIS;
#endif
				if
				:: !dead -> listed = 1
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

/* Table::pass_on(), for the word of the waiter. */
inline pass_on(waiter)
{
	do
	:: got > 0 && waiter == THIS -> got--; wake_one()
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
			unread++;
#ifndef PERSISTENT
			other = 0;
			disarmed = OTHER;
#endif
			if
			:: !dead -> listed = 1
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
			queue!SLEEPER;
			asleep = 1;
			unlock();
			/* There may be no token for it. */
			atomic { woken -> woken = 0; asleep = 0 }
		fi
	od
}

/* Set::pass(): written to the user, and delivered, in one step. */
active proctype reader()
{
	byte got;

	do
	:: atomic {
		listed ->
		got = count;
#ifndef DELIVERED_BEFORE_WRITTEN
		if
		/* The user's memory is not there: all stays as it is. */
		:: true -> got = 0
		/* It is. */
		:: true -> count = 0; unread = 0; listed = 0
		fi
#else
		count = 0;
		unread = 0;
		listed = 0
#endif
	   };
#ifdef DELIVERED_BEFORE_WRITTEN
	   if
	   /* Too late: it is put back, if the member is still there. */
	   :: true ->
		atomic {
			if
			:: !dead -> count = count + got; unread = unread + got; listed = 1
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

/* Member::unqueue() */
inline unqueue(waiter)
{
#ifndef DEAD_LATE
	dead = 1;
#endif
	dequeue(waiter);
	atomic {
#ifdef DEAD_LATE
		dead = 1;
#endif
#ifndef UNQUEUE_KEEPS_WAITER
		if
		:: waiter && !disarmed -> disarmed = waiter
		:: else
		fi;
#endif
		waiter = NONE;
		listed = 0
	}
}

/* Member::pass_on_unread(), of a member that is dead. */
inline pass_on_unread(waiter)
{
	atomic {
		got = 0;
		if
		:: disarmed -> waiter = disarmed; disarmed = NONE; got = unread; unread = 0
		:: else
		fi
	};
#ifndef REMOVAL_PASSES_NOTHING_ON
	pass_on(waiter);
#endif
	waiter = NONE
}

/* What follows when it is queued: Arming::arm(). */
inline look_whether_dead(waiter)
{
#ifndef ARM_DOES_NOT_LOOK
	if
	:: dead -> unqueue(waiter); pass_on_unread(waiter)
	:: else
	fi;
#endif
	skip
}

/* AFUTEX_CTL_ADD, and perhaps AFUTEX_CTL_MOD. */
active proctype armer()
{
	byte who, got, waiter;
	bit was_gone;

	/* Compares under the bucket's lock, for a word without a token. */
	lock();
	if
	:: word == 0 ->
		queue!MEMBER;
		unlock();
		look_whether_dead(waiter)
	:: else -> unlock()
	fi;

	/* Perhaps it is left at that. */
	if
	:: true -> goto out
	:: true
	fi;

	/* Arming::change() */
	dequeue(waiter);
	atomic {
		if
		:: !waiter -> waiter = disarmed; disarmed = NONE
		:: else
		fi;
		if
		/* The holder of the waiter knows the word to pass on to. */
#ifndef CHANGE_TAKES_WITHOUT_WAITER
		:: waiter -> got = unread; unread = 0
		:: !waiter -> got = 0
#else
		:: true -> got = unread; unread = 0
#endif
		fi;
		was_gone = dead
	};
#ifndef CHANGE_PASSES_NOTHING_ON
	pass_on(waiter);
#endif
	waiter = NONE;
#ifndef CHANGE_ARMS_WHAT_IS_DEAD
	if
	:: was_gone -> goto out
	:: else
	fi;
#endif
	lock();
	other = 1;
	unlock();
	look_whether_dead(waiter);
out:
	skip
}

/* AFUTEX_CTL_DEL. */
active proctype remover()
{
	byte who, got, waiter;

	unqueue(waiter);
	pass_on_unread(waiter)
}

active proctype monitor()
{
	timeout ->
		assert(!(word > 0 && asleep && !woken));
		assert(dead && !queue??[MEMBER] && !other && !disarmed && !listed)
}
