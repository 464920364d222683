// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.
//!
//! # One step for all others
//!
//! The comparison, the wakes and the moves are one step, but no hold of a lock grows with the
//! number of waiters. A requeue that has more to do than [`STEP`] waiters, or more to notify than a
//! waker holds, drops its locks between steps. From the first step to the last
//!
//! - a [`Mark::Barrier`] is first in the queues of both words. A wake of either word, and another
//!   requeue, begin at the first, so they meet it, and wait: none sees waiters that are still on
//!   the old word, or are not yet on the new one;
//! - a waiter that is queued on the old word has a later number than the comparison, and stays;
//! - one that is queued on the new word stands behind a mark, and what is moved goes before that;
//! - a wake that began before, and goes on at a [`Place`] behind the barrier, may still wake
//!   waiters on the old word, as if it had done so before the comparison. Waiters that are moved to
//!   the new word have later numbers than such a wake of that word, which leaves them alone;
//! - a waiter that gives up is dequeued from wherever it is.
//!
//! If the task is killed, the waiters that were not moved yet stay where they are.
//! `Documentation/models/requeue.pml` is the model of this.

use super::bucket::{
    is_late,
    wake_from,
    BucketInner,
    Entry,
    Mark,
    Place,
    Reached,
    Waiter,
    Wake,
    WakeQ,
    Wanted,
    CAPACITY,
    STEP, //
};
use super::key::{
    Key,
    KeyRef, //
};
use super::table::Table;
use super::word::{
    compare,
    Refusal,
    Scope,
    ANY, //
};
use crate::sys::nested_lock::Pair;
use crate::sys::queues::Transfer;
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;
use pin_init::stack_pin_init;

/// How many waiters to wake, and how many of the next to move.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// To be woken.
    pub(crate) wake: u32,
    /// To be moved.
    pub(crate) requeue: u32,
}

/// The buckets of both words, locked: that of the first, and of the second if it is another.
type Buckets<'a, W> = (
    Pin<&'a mut BucketInner<W>>,
    Option<Pin<&'a mut BucketInner<W>>>,
);

/// Both buckets of a pair.
fn buckets<'a, W: Wake>(pair: &'a mut Pair<'_, BucketInner<W>>) -> Buckets<'a, W> {
    match pair {
        Pair::Same(inner) => (inner.as_mut(), None),
        Pair::Two(first, second) => (first.as_mut(), Some(second.as_mut())),
    }
}

/// A requeue under way.
struct Requeue<'a, W: Wake> {
    from: &'a Key,
    to: &'a KeyRef,
    /// What is left to do.
    counts: Counts,
    /// The number of the first waiter that is left alone.
    cutoff: u64,
    /// Where it goes on among the waiters on `from`.
    place: Place<'a, W>,
    /// For the mark before which moved waiters go.
    end: &'a Entry<W>,
    /// For the barriers, in the queue of `from` and of `to`.
    barriers: [&'a Entry<W>; 2],
}

/// What came of a step.
struct Stepped {
    /// How many were moved, or would have been if `from` and `to` were not the same word.
    moved: u32,
    /// Whether there is more to do.
    paused: bool,
}

impl<W: Wake> Requeue<'_, W> {
    /// Whether both words are the same: then all stay where they are.
    fn is_same_word(&self) -> bool {
        self.from == self.to.key()
    }

    /// Wakes and moves as many as may be under one hold of the locks.
    ///
    /// The caller holds a [`KeyRef`] of `from`, so that none that is dropped here is the last.
    fn step(&mut self, (inner, other): Buckets<'_, W>, wake_q: &mut WakeQ<'_, W>) -> Stepped {
        let inner = inner.project();
        let mut steps = STEP;
        let at = self.place.resume(inner.queues, self.from);
        let mut wanted = Wanted {
            remaining: self.counts.wake,
            cutoff: self.cutoff,
            bitset: ANY,
            ticket: inner.ticket,
            wake_q,
        };
        let reached = wake_from(at, &mut wanted, &mut steps);
        let mut stepped = Stepped {
            moved: 0,
            paused: false,
        };

        self.counts.wake = wanted.remaining;
        let mut at = match reached {
            Reached::End => return stepped,
            Reached::Pause(at) => {
                self.place.pause(at);
                stepped.paused = true;
                return stepped;
            }
            Reached::Enough(at) => at,
        };

        let (cutoff, count) = (self.cutoff, self.counts.requeue);
        let stopped = if self.is_same_word() {
            // They are in the right queue, and keep their order. Watches that were woken and stay
            // are behind them now.
            loop {
                let waiter = at.item();

                if is_late(waiter.ticket, cutoff) || stepped.moved == count {
                    break Some(at);
                }
                let Some(left) = steps.checked_sub(1) else {
                    stepped.paused = true;
                    break Some(at);
                };
                steps = left;
                if !waiter.is_mark() {
                    stepped.moved = stepped.moved.wrapping_add(1);
                }
                match at.next() {
                    Some(next) => at = next,
                    None => break None,
                }
            }
        } else {
            let (queues, ticket) = match other {
                Some(other) => {
                    let other = other.project();
                    (Some(other.queues), other.ticket)
                }
                None => (None, inner.ticket),
            };

            at.transfer(queues, Some(self.end), |waiter| {
                if is_late(waiter.ticket, cutoff) || stepped.moved == count {
                    return Transfer::Stop;
                }
                let Some(left) = steps.checked_sub(1) else {
                    stepped.paused = true;
                    return Transfer::Stop;
                };
                steps = left;
                if waiter.wakee.stays() {
                    return Transfer::Stay;
                }
                waiter.key = self.to.clone();
                waiter.ticket = ticket.take();
                stepped.moved = stepped.moved.wrapping_add(1);
                Transfer::Move
            })
        };

        self.counts.requeue = count.wrapping_sub(stepped.moved);
        match stopped {
            Some(at) if stepped.paused => self.place.pause(at),
            _ => stepped.paused = false,
        }
        stepped
    }

    /// Whether there are barriers.
    fn is_barred(&self) -> bool {
        self.barriers[0].is_queued()
    }

    /// Puts barriers into the queues of both words, and a mark at the end of that of `to`. `held`
    /// is of `from`.
    fn bar(&self, (inner, mut other): Buckets<'_, W>, held: &KeyRef) {
        let mut inner = inner.project();
        let mark = |key: &KeyRef, mark| Waiter::mark(key.clone(), mark, self.cutoff);

        // The place of this is in the queue, so there is one, and the marks are new: nothing of
        // this fails.
        if let Some(first) = inner.queues.as_mut().find(self.from) {
            drop(first.insert(self.barriers[0], mark(held, Mark::Barrier)));
        }
        if self.is_same_word() {
            return;
        }
        let mut queues = match &mut other {
            Some(other) => other.as_mut().project().queues,
            None => inner.queues.as_mut(),
        };
        let barrier = mark(self.to, Mark::Barrier);
        match queues.as_mut().find(self.to.key()) {
            Some(first) => drop(first.insert(self.barriers[1], barrier)),
            None => drop(queues.as_mut().push(self.barriers[1], barrier, |_, _| ())),
        }
        drop(queues.push(self.end, mark(self.to, Mark::Place), |_, _| ()));
    }

    /// Takes barriers and marks away again. They are returned, to be dropped after the locks.
    fn unbar(&mut self, (inner, mut other): Buckets<'_, W>) -> [Option<Waiter<W>>; 3] {
        let mut inner = inner.project();
        let first = inner.queues.as_mut().remove(self.barriers[0]);

        self.place.give_up(inner.queues.as_mut());
        let mut queues = match &mut other {
            Some(other) => other.as_mut().project().queues,
            None => inner.queues.as_mut(),
        };
        let second = queues.as_mut().remove(self.barriers[1]);
        let end = queues.as_mut().remove(self.end);
        [first, second, end]
    }
}

impl<W: Wake> Table<W> {
    /// Wakes some waiters on `from` and moves others to the word of `to`, if `validate` lets it.
    /// All of it is one step for others. Returns how many were woken or moved.
    fn requeue(
        &self,
        from: &Key,
        to: KeyRef,
        counts: Counts,
        validate: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u32, Refusal> {
        let to_key = *to.key();
        let source = self.bucket_of(from);
        let target = self.bucket_of(&to_key);
        let mut few = [const { None }; CAPACITY];
        let mut wake_q = WakeQ::new(&mut few);

        // From here on a waker of `to` looks for those that are being moved.
        self.waiters_inc(&to_key, target, 1);
        let locked = match self.lock_both_unbarred(from, &to_key) {
            Some(pair) => validate().map(|()| pair),
            // The caller looks whether the task was killed.
            None => Err(Refusal::Fault),
        };
        let mut pair = match locked {
            Ok(pair) => pair,
            Err(refusal) => {
                self.waiters_dec(&to_key, target, 1);
                return Err(refusal);
            }
        };

        stack_pin_init!(let place = Entry::new());
        stack_pin_init!(let end = Entry::new());
        stack_pin_init!(let first = Entry::new());
        stack_pin_init!(let second = Entry::new());
        let cutoff = buckets(&mut pair).0.ticket.next();
        let mut requeue = Requeue {
            from,
            to: &to,
            counts,
            cutoff,
            place: Place::new(&place),
            end: &end,
            barriers: [&first, &second],
        };
        let mut total = 0u32;

        loop {
            let held = buckets(&mut pair).0.first_key(from);
            let stepped = requeue.step(buckets(&mut pair), &mut wake_q);
            let across = match requeue.is_same_word() {
                true => 0,
                false => stepped.moved as i32,
            };

            if let (Some(held), true, false) = (&held, stepped.paused, requeue.is_barred()) {
                requeue.bar(buckets(&mut pair), held);
            }
            // Before they can be dequeued.
            self.waiters_inc(&to_key, target, across);
            drop(pair);

            self.waiters_dec(from, source, wake_q.unqueued().wrapping_add(across));
            total = total
                .saturating_add(wake_q.woken())
                .saturating_add(stepped.moved);
            wake_q.notify();
            drop(held);
            if !stepped.paused || task::fatal_signal_pending() {
                break;
            }
            task::cond_resched();
            pair = self.lock_both(from, &to_key);
        }

        if requeue.is_barred() {
            let mut pair = self.lock_both(from, &to_key);
            let marks = requeue.unbar(buckets(&mut pair));

            drop(pair);
            self.barriers.end();
            drop(marks);
        }
        self.waiters_dec(&to_key, target, 1);
        Ok(total)
    }
}

/// Wakes `counts.wake` waiters on `from` and moves the next `counts.requeue` to `to`, if `from`
/// holds `expected`, where that is given. Returns how many were woken or moved.
///
/// # Errors
///
/// `EAGAIN` if `from` holds another value, `EFAULT` if it cannot be read, `EINTR` if the task is
/// killed; those of [`Key::with`] for `from`, and of [`Table::key_for`] for `to`.
pub(crate) fn requeue<W: Wake>(
    table: &Table<W>,
    from: (UserWord, Scope),
    to: (UserWord, Scope),
    counts: Counts,
    expected: Option<u64>,
) -> Result<u32> {
    loop {
        if let Some(expected) = expected {
            if from.0.read()? != expected {
                return Err(EAGAIN);
            }
        }

        let target = table.key_for(to.0, to.1)?;
        let done = Key::with(from.0, from.1, |key| {
            table.requeue(key, target, counts, || match expected {
                Some(expected) => compare(from.0, expected),
                None => Ok(()),
            })
        })?;

        match done {
            Ok(count) => return Ok(count),
            Err(Refusal::Fault) => (),
            Err(_) => return Err(EAGAIN),
        }
        if task::fatal_signal_pending() {
            return Err(EINTR);
        }
    }
}

#[kunit_tests(afutex_requeue)]
mod tests {
    use super::super::bell::*;
    use super::*;
    use crate::sys::fence::Fenced;

    const FROM: usize = 0;
    const TO: usize = 4;

    /// As many bells on a word as take several steps.
    fn queue_many(table: &Table<Bell>, bits: u32) -> Result<KVec<(TestEntry, Bell)>> {
        let mut queued = KVec::new();

        for _ in 0..4 * STEP {
            queued.push(queue_for(table, FROM, Bell::once()?, bits)?, GFP_KERNEL)?;
        }
        Ok(queued)
    }

    fn requeue(table: &Table<Bell>, to: usize, wake: u32, requeue: u32) -> Result<u32> {
        let counts = Counts { wake, requeue };

        table
            .requeue(
                &Key::of_nothing(FROM),
                KeyRef::of_nothing(to),
                counts,
                || Ok(()),
            )
            .map_err(|_| EINVAL)
    }

    fn wake(table: &Table<Bell>, offset: usize, count: u32) -> u32 {
        table.wake(&Key::of_nothing(offset), count, ANY, Fenced::now())
    }

    /// In a table of one bucket, and of several.
    #[test]
    fn many_are_woken_and_moved_in_order() -> Result {
        for buckets in [1, 256] {
            let table = Table::new(buckets)?;
            let queued = queue_many(&table, 1)?;
            let waiting = queue(&table, TO, Bell::once()?)?;

            assert_eq!(requeue(&table, TO, STEP + 5, 2 * STEP)?, 3 * STEP + 5);
            for (n, (_, bell)) in (0..).zip(queued.iter()) {
                assert_eq!(bell.notified(), u32::from(n < STEP + 5));
            }
            assert_eq!(wake(&table, FROM, u32::MAX), STEP - 5);
            assert_eq!(wake(&table, TO, 3), 3);
            assert_eq!(waiting.1.notified(), 1);
            for (n, (_, bell)) in (0..).zip(queued.iter()) {
                let left = n >= STEP + 7 && n < 3 * STEP + 5;
                assert_eq!(bell.notified(), u32::from(!left));
            }
            assert_eq!(wake(&table, TO, u32::MAX), 2 * STEP - 2);
            assert!(is_empty(&table));
        }
        Ok(())
    }

    #[test]
    fn many_on_the_same_word_stay() -> Result {
        let table = Table::new(256)?;
        let queued = queue_many(&table, 1)?;

        assert_eq!(requeue(&table, FROM, 1, u32::MAX)?, 4 * STEP);
        assert_eq!(requeue(&table, FROM, 0, 3 * STEP)?, 3 * STEP);
        assert_eq!(wake(&table, FROM, 1), 1);
        assert_eq!(queued[1].1.notified(), 1);
        assert_eq!(wake(&table, FROM, u32::MAX), 4 * STEP - 2);
        assert!(is_empty(&table));
        Ok(())
    }

    /// Those with wakes that were not read stay.
    #[test]
    fn unread_ones_stay() -> Result {
        let table = Table::new(256)?;
        let mut queued = KVec::new();

        for _ in 0..3 * STEP {
            queued.push(queue(&table, FROM, Bell::persistent()?)?, GFP_KERNEL)?;
        }
        // The first go to the end.
        assert_eq!(wake(&table, FROM, STEP), STEP);
        assert_eq!(requeue(&table, TO, 0, u32::MAX)?, 2 * STEP);
        assert_eq!(requeue(&table, TO, 0, u32::MAX)?, 0);
        assert_eq!(wake(&table, FROM, u32::MAX), STEP);
        assert_eq!(wake(&table, TO, u32::MAX), 2 * STEP);
        for (entry, _) in &queued {
            assert!(table.dequeue(entry).is_some());
        }
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn no_mark_stays_behind() -> Result {
        let table = Table::new(1)?;
        let queued = queue_many(&table, 1)?;

        assert_eq!(requeue(&table, TO, 0, u32::MAX)?, 4 * STEP);
        assert_eq!(table.totals().keys, 1);
        assert_eq!(table.totals().queued, queued.len());
        assert_eq!(requeue(&table, TO, 9, 9)?, 0);
        assert_eq!(wake(&table, TO, u32::MAX), 4 * STEP);
        assert!(is_empty(&table));
        Ok(())
    }
}
