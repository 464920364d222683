/* SPDX-License-Identifier: GPL-2.0 */
/*
 * A requeue that drops its locks between steps is one step for wakers of both words:
 * the argument at the top of rust/futex/requeue.rs.
 *
 * Two waiters are on the old word when the requeue compares it. One may give up at any
 * moment; another comes to the old word, and one to the new word, at any moment. Wakers
 * of one begin at any moment; one of them began before and goes on at its place.
 *
 * A wake that begins after the comparison takes none of the two from the old word, and
 * finds those that are left of them on the new word, before one that came later. When
 * nothing moves any more, none of them is on the old word, and the one that came to it
 * after the comparison is still there, or was woken there.
 *
 * Each hold of the locks is a step here.
 *
 * mutant: NO_BARRIER_ON_OLD
 * mutant: NO_BARRIER_ON_NEW
 * mutant: BARRIER_IN_THE_SECOND_STEP
 * mutant: MOVED_GO_TO_THE_END
 * mutant: NO_CUTOFF
 */
#define EARLY 2			/* waiters 0 and 1 */
#define LATE 2			/* comes to the old word */
#define OTHER 3			/* comes to the new word */
#define NONE 4

chan old = [4] of { byte };	/* the queue of the old word, without its marks */
chan new = [4] of { byte };	/* that of the new word, before the mark at its end */
chan behind = [4] of { byte };	/* and behind it */

bit begin_with;			/* the two are queued */
bit begun;			/* the comparison was made */
bit barred;
bit was_late;			/* LATE came after it */
bit was_first;			/* OTHER came before it */
bit gone[4];			/* gave up, or was woken */
bit woken_on_new[4];

#ifdef NO_CUTOFF
#define movable (nempty(old))
#define unmovable (empty(old))
#else
#define movable (old?[0] || old?[1] || (old?[LATE] && !was_late))
#define unmovable (!(old?[0]) && !(old?[1]) && (was_late || !(old?[LATE])))
#endif

/* A step of the requeue. */
inline move_one(x)
{
	if
	:: movable ->
		old?x;
#ifdef MOVED_GO_TO_THE_END
		behind!x
#else
		new!x
#endif
	:: unmovable
	fi;
	x = NONE
}

active proctype requeue()
{
	byte x = NONE;

	atomic { begin_with -> begin_with = 0 };

	atomic {
		begun = 1;
#ifndef BARRIER_IN_THE_SECOND_STEP
		barred = 1;
#endif
		move_one(x)
	}
	atomic {
		barred = 1;
		move_one(x)
	}
	atomic { move_one(x) }
	atomic { barred = 0 }
}

/* A wake of the old word that began before the comparison goes on wherever it is. */
active proctype waker_before()
{
	byte x = NONE;

	if
	:: !begun ->
		atomic {
			if
			:: old?x -> gone[x] = 1
			:: empty(old)
			fi;
			x = NONE
		}
	:: begun
	fi
}

/* Waiter 1 is dequeued from wherever it is. */
active proctype give_up()
{
	atomic {
		if
		:: old??[1] -> old??1; gone[1] = 1
		:: new??[1] -> new??1; gone[1] = 1
		:: behind??[1] -> behind??1; gone[1] = 1
		:: gone[1]
		fi
	}
}

active proctype comes_to_old()
{
	atomic { was_late = begun; old!LATE }
}

active proctype comes_to_new()
{
	atomic { if :: begun -> behind!OTHER :: else -> was_first = 1; new!OTHER fi }
}

active [2] proctype waker_of_old()
{
	byte x = NONE;

	atomic {
#ifndef NO_BARRIER_ON_OLD
		!barred;
#endif
		if
		:: old?x ->
			gone[x] = 1;
			assert(!(begun && x < EARLY))
		:: empty(old)
		fi;
		x = NONE
	}
}

active [2] proctype waker_of_new()
{
	byte x = NONE;

	atomic {
#ifndef NO_BARRIER_ON_NEW
		!barred;
#endif
		if
		:: new?x
		:: empty(new) && nempty(behind) -> behind?x
		:: empty(new) && empty(behind)
		fi;
		if
		:: x != NONE -> gone[x] = 1; woken_on_new[x] = 1
		:: else
		fi;
		/* It was the turn of one of the two, if any was there. */
		assert(!begun || x < EARLY || x == LATE || (gone[0] && gone[1]) ||
		       (x == OTHER && was_first));
		x = NONE
	}
}

init
{
	atomic { old!0; old!1; begin_with = 1 }
}

active proctype monitor()
{
	timeout ->
	assert(!barred && !old??[0] && !old??[1]);
	assert(!was_late || (!new??[LATE] && !behind??[LATE] && !woken_on_new[LATE]))
}
