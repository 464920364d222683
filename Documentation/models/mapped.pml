/* SPDX-License-Identifier: GPL-2.0 */
/*
 * The ring of a mapped set: wakes that are counted and put on it, and readers that take
 * them without a lock (rust/futex/set/ring.rs).
 *
 * The kernel wakes members, and removes one, whose number is given again, under the set's
 * lock: one process. What a member had left is passed on. When nothing moves any more,
 * each wake was taken by a reader, or passed on; and the ring never ran over.
 *
 * Memory is strong here: between the two accesses of each side that matter, to a count
 * and to head, one is an exchange or an addition, which are full barriers.
 *
 * variant: ONE_READER
 * variant: TWO_READERS
 * mutant: HEAD_AFTER_EXCHANGE
 * mutant: KERNEL_LOOKS_FIRST
 * mutant: ALWAYS_PUTS ONE_READER
 * mutant: NEVER_PUTS_AGAIN
 * mutant: ADVANCES_ANYWAY TWO_READERS
 */
#ifdef TWO_READERS
#define READERS 2
#define STEPS 4
#else
#define READERS 1
#define STEPS 6
#endif

#define ROOM 2
#define NOWHERE 255

byte head;			/* how many numbers were taken */
byte tail;			/* and how many were put there */
byte numbers[ROOM];
byte counts[ROOM];
byte places[ROOM] = NOWHERE;	/* where each number was put last */

byte given;
byte taken;
byte passed;

bit ended;
byte readers_ended;

active proctype kernel()
{
	byte left = STEPS, n, old, seen;

	do
	:: left > 0 ->
		left--;
		if
		:: n = 0
		:: n = 1
		fi;
#ifdef KERNEL_LOOKS_FIRST
		seen = head;
#endif
		atomic {
			old = counts[n];
			counts[n] = old + 1;
			given++
		}
		if
		:: old == 0 ->
#ifndef KERNEL_LOOKS_FIRST
			seen = head;
#endif
			if
#ifdef NEVER_PUTS_AGAIN
			:: places[n] != NOWHERE
#endif
#ifndef ALWAYS_PUTS
			:: places[n] != NOWHERE && places[n] >= seen && places[n] < tail
#endif
			:: else ->
				assert(tail - head < ROOM);
				numbers[tail % ROOM] = n;
				places[n] = tail;
				tail++
			fi
		:: else
		fi
	:: left > 0 ->
		/* A member goes, and another one gets its number. */
		left--;
		atomic {
			passed = passed + counts[1];
			counts[1] = 0
		}
	:: left == 0 -> break
	od;
	ended = 1
}

inline exchange()
{
	atomic {
		taken = taken + counts[n];
		counts[n] = 0
	}
}

active [READERS] proctype reader()
{
	byte at, n;
	bit mine;

	do
	:: head != tail ->
		at = head;
		if
		:: at != tail ->
			n = numbers[at % ROOM];
#ifdef HEAD_AFTER_EXCHANGE
			exchange();
#endif
			atomic {
#ifdef ADVANCES_ANYWAY
				mine = 1;
				head++
#else
				mine = (head == at);
				if
				:: mine -> head = at + 1
				:: else
				fi
#endif
			}
#ifndef HEAD_AFTER_EXCHANGE
			if
			:: mine -> exchange()
			:: else
			fi
#endif
		:: else
		fi
	:: ended && head == tail -> break
	od;
	readers_ended++
}

active proctype check()
{
	ended && readers_ended == READERS;
	assert(given == taken + passed)
}
