// SPDX-License-Identifier: GPL-2.0

//! Waking: `FUTEX_WAKE`, `FUTEX_WAKE_BITSET`, and what all other wakes are made of.
//!
//! # No wake is missed
//!
//! A waker that finds no waiters in a bucket takes no lock. That is safe because a waiter counts
//! itself before it looks at the word, and a waker changes the word before it looks at the count:
//!
//! ```text
//!   waiter                                waker
//!
//!   Table::queue()                        *word = new;          (in user space)
//!     waiters += 1;         (A)           Waker::new()
//!     smp_mb;               (implied)       smp_mb;             (gives a Fenced)
//!     lock(bucket);                       wake()
//!     if *word != expected  (B)             if waiters == 0     (C, takes the Fenced)
//!         unlock; waiters -= 1;                 return 0;
//!         return EAGAIN;                    lock(bucket);
//!     queue the waiter;                     dequeue waiters
//!     unlock(bucket);                       unlock(bucket);
//!   sleep until dequeued                    notify them
//! ```
//!
//! With a full barrier on both sides, B sees the new word or C sees the count. In the first case
//! the waiter does not wait. In the second the waker takes the lock: if it does so after the waiter
//! it finds the waiter queued; if before, its unlock orders the store to the word before the
//! waiter's B, which then sees it. This is the pattern of store buffering, and the argument of
//! `kernel/futex/waitwake.c`.
//!
//! Whoever dequeues a waiter then decrements the count. Shared words are counted once more, by
//! their offset in the page, in the same way.
//!
//! # Nor is a wake that need not be made
//!
//! The counts of a domain by offset are its bell page, which its users map. There they count
//! private words as well, and the waker's half of the argument is in user space:
//!
//! ```text
//!   waiter                                waker
//!
//!   Table::waiters_inc()                  *word = new;
//!     bell[offset] += 1;    (A)           atomic_thread_fence(memory_order_seq_cst);
//!     smp_mb;               (implied)     if bell[offset] == 0      (C)
//!   lock(bucket);                             return;               (no call)
//!   if *word != expected    (B)           ioctl(domain, AFUTEX_IOC_WAKE_ONE, word);
//!     ...
//! ```
//!
//! What differs is that C may find a count that is not 0 though nobody waits on this word: then the
//! call is made, and all is as above. If C finds 0, A is not before C, so B is after the store, by
//! the barriers on both sides. The offset is the same wherever the word is mapped, and the page is
//! one for all: nothing is looked up. The counts go up before a waiter can be found and down after
//! it cannot: a requeue counts its waiters on the new word before it takes them off the old one, so
//! one that is being moved is in the count of both.
//!
//! Stores of the waker that are not atomic, or made by another thread and only known of, are
//! ordered by the fence as any others. `Documentation/models/bell.pml` is the model of this.

use super::bucket::{
    is_late,
    rotate,
    Bucket,
    Counted,
    Entry,
    Place,
    Wake,
    WakeQ,
    CAPACITY, //
};
use super::key::Key;
use super::table::Table;
use super::unread::Unread;
use super::word::{
    Scope,
    ANY, //
};
use crate::sys::fence::Fenced;
use crate::sys::mm::MmId;
use crate::sys::page::PageRef;
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;
use pin_init::stack_pin_init;

/// A task that wakes one word or many.
///
/// Creating one is a full barrier: a waiter that it fails to find sees all stores made before.
pub(crate) struct Waker<'a, W> {
    table: &'a Table<W>,
    mm: MmId,
    fenced: Fenced,
}

impl<'a, W: Wake> Waker<'a, W> {
    /// Makes the current task one. A full barrier.
    #[inline]
    pub(crate) fn new(table: &'a Table<W>) -> Self {
        let (fenced, mm) = Fenced::now_and_mm();

        Self { table, mm, fenced }
    }

    /// Wakes up to `count` waiters on `word` that match `bitset`, and returns how many.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `bitset` is 0; those of [`PageRef::lookup`], if there is a waiter on a shared
    /// word at that offset of any page: else no page is looked up.
    #[inline(always)]
    pub(crate) fn wake(
        &self,
        word: UserWord,
        scope: Scope,
        count: u32,
        bitset: u32,
    ) -> Result<u32> {
        if bitset == 0 {
            return Err(EINVAL);
        }
        match scope {
            Scope::Private => {
                let key = Key::private(self.mm, word);

                Ok(self.table.wake(&key, count, bitset, self.fenced))
            }
            Scope::Shared if self.table.is_unshared(word, self.fenced) => Ok(0),
            Scope::Shared => self.wake_shared(word, count, bitset),
        }
    }

    #[inline(never)]
    fn wake_shared(&self, word: UserWord, count: u32, bitset: u32) -> Result<u32> {
        let mm = self.mm.check()?;
        let page = PageRef::lookup(word.addr())?;

        match Key::by_page(mm, word, &page, self.fenced) {
            Some(key) => Ok(self.table.wake(&key, count, bitset, self.fenced)),
            None => Ok(self.wake_by_mapping(word, &page, count, bitset)),
        }
    }

    /// Wakes on a shared word whose page does not tell how it is mapped.
    #[cold]
    #[inline(never)]
    fn wake_by_mapping(&self, word: UserWord, page: &PageRef, count: u32, bitset: u32) -> u32 {
        let (key, file) = Key::by_mapping(self.mm, word, page);
        let woken = self.table.wake(&key, count, bitset, self.fenced);
        let remaining = count.saturating_sub(woken);

        match file {
            Some(file) if remaining != 0 => {
                woken.saturating_add(self.table.wake(&file, remaining, bitset, self.fenced))
            }
            _ => woken,
        }
    }

    /// Like [`Self::wake`], but wakes at most one waiter and ignores bitsets; for the ioctls that
    /// only do this.
    #[inline(always)]
    pub(crate) fn wake_one(&self, word: UserWord, scope: Scope) -> Result<u32> {
        match scope {
            Scope::Private => {
                let key = Key::private(self.mm, word);

                Ok(self.table.wake_one(&key, self.fenced))
            }
            Scope::Shared if self.table.is_unshared(word, self.fenced) => Ok(0),
            Scope::Shared => {
                let mm = self.mm.check()?;
                let page = PageRef::lookup(word.addr())?;

                match Key::by_page(mm, word, &page, self.fenced) {
                    Some(key) => Ok(self.table.wake_one(&key, self.fenced)),
                    None => Ok(self.wake_by_mapping(word, &page, 1, ANY)),
                }
            }
        }
    }
}

/// Wakes up to `count` waiters on `word` that match `bitset`, and returns how many; the errors of
/// [`Waker::wake`].
#[inline]
pub(crate) fn wake<W: Wake>(
    table: &Table<W>,
    word: UserWord,
    scope: Scope,
    count: u32,
    bitset: u32,
) -> Result<u32> {
    Waker::new(table).wake(word, scope, count, bitset)
}

impl<W: Wake> Table<W> {
    /// Wakes up to `count` waiters on `key` that match `bitset`, in the order in which they came.
    ///
    /// Those that come after it began are left alone. Returns how many were woken.
    #[inline]
    pub(crate) fn wake(&self, key: &Key, count: u32, bitset: u32, fenced: Fenced) -> u32 {
        let bucket = self.bucket_of(key);

        if bucket.waiters.none(fenced) {
            return 0;
        }
        self.wake_found(bucket, key, count, bitset)
    }

    /// Wakes the first waiter on `key`.
    #[inline(always)]
    fn wake_one(&self, key: &Key, fenced: Fenced) -> u32 {
        let bucket = self.bucket_of(key);

        if bucket.waiters.none(fenced) {
            return 0;
        }
        self.wake_first(bucket, key, ANY)
    }

    /// Like [`Self::wake`], but leaves those alone that were queued at the number `cutoff` of the
    /// bucket, or later.
    pub(crate) fn wake_before(&self, key: &Key, cutoff: u64, count: u32, bitset: u32) -> u32 {
        self.wake_many(
            self.bucket_of(key),
            key,
            Some(cutoff),
            count,
            bitset,
            task::fatal_signal_pending,
        )
    }

    /// Passes on wakes that were counted for a waiter on `key` and not read, even if the task is
    /// killed. No lock may be held.
    ///
    /// A watch of wakes of futex(2) observes: it took none from a waiter, and has none to pass on.
    pub(crate) fn pass_on(&self, key: &Key, unread: Unread) {
        let bucket = self.bucket_of(key);

        if unread.count() != 0 && !self.is_native() && !bucket.waiters.none(Fenced::now()) {
            let count = if unread.is_mixed() {
                u32::MAX
            } else {
                unread.count()
            };

            self.wake_many(bucket, key, None, count, unread.bitset(), || false);
        }
    }

    /// Wakes all waiters on `key` that were there when it began.
    #[inline]
    pub(crate) fn wake_all(&self, key: &Key, fenced: Fenced) {
        let bucket = self.bucket_of(key);

        if !bucket.waiters.none(fenced) {
            self.wake_all_found(bucket, key);
        }
    }

    #[inline(never)]
    fn wake_all_found(&self, bucket: &Bucket<W>, key: &Key) {
        let mut guard = bucket.inner.lock();
        let Some(cursor) = guard.as_mut().project().queues.find(key) else {
            return;
        };

        if !cursor.is_alone() {
            drop(guard);
            self.wake_many(bucket, key, None, u32::MAX, ANY, || false);
            return;
        }
        // Mostly there is one.
        match cursor.item().wakee.count(ANY) {
            Counted::Quietly => (),
            Counted::Listened => {
                let listener = cursor.item().wakee.listener();

                drop(guard);
                W::notify_listener(listener);
            }
            Counted::No => {
                W::wake_first(guard, key, ANY, |unqueued| {
                    self.waiters_dec(key, bucket, unqueued)
                });
            }
        }
    }

    /// Wakes all waiters whose key `matches`, whatever it is, and that were there when it came to
    /// their bucket.
    pub(crate) fn wake_where(&self, matches: impl Fn(&Key) -> bool) {
        for bucket in self.all_buckets() {
            if !bucket.waiters.none(Fenced::now()) {
                self.wake_bucket(bucket, &matches);
            }
        }
    }

    fn wake_bucket(&self, bucket: &Bucket<W>, matches: impl Fn(&Key) -> bool) {
        let mut cutoff = None;

        loop {
            let mut guard = bucket.inner.lock();
            let cutoff = *cutoff.get_or_insert(guard.ticket.next());
            // The first of a queue is its oldest: those that were woken and stay are late.
            let found = guard.as_mut().project().queues.find_first(
                |waiter| !waiter.is_mark(),
                |waiter| matches(waiter.key.key()) && !is_late(waiter.ticket, cutoff),
            );
            drop(guard);

            let Some(key) = found else {
                return;
            };
            self.wake_many(bucket, &key, Some(cutoff), u32::MAX, ANY, || false);
        }
    }

    /// Wakes in a bucket with waiters.
    #[inline(never)]
    fn wake_found(&self, bucket: &Bucket<W>, key: &Key, count: u32, bitset: u32) -> u32 {
        match count {
            // Most wakes are of one.
            1 => self.wake_first(bucket, key, bitset),
            _ => self.wake_all_of(bucket, key, count, bitset),
        }
    }

    /// Wakes the first waiter on `key` that matches `bitset`.
    ///
    /// The wake of a watch that stays armed is written out here: a descriptor that is woken and
    /// read again and again is the case that counts.
    #[inline(always)]
    fn wake_first(&self, bucket: &Bucket<W>, key: &Key, bitset: u32) -> u32 {
        let mut guard = bucket.inner.lock();
        let inner = guard.as_mut().project();
        let Some(cursor) = inner.queues.find(key) else {
            return 0;
        };
        let waiter = cursor.item();
        let counted = if waiter.matches(bitset) {
            waiter.wakee.count(bitset)
        } else {
            Counted::No
        };

        match counted {
            Counted::Quietly => {
                // A sole waiter keeps its ticket: a new one would only stop a concurrent wake of
                // many, which is a wake of its own.
                if !cursor.is_alone() {
                    rotate(cursor, inner.ticket);
                }
                1
            }
            Counted::Listened => {
                let listener = cursor.item().wakee.listener();

                if !cursor.is_alone() {
                    rotate(cursor, inner.ticket);
                }
                drop(guard);
                W::notify_listener(listener);
                1
            }
            Counted::No => W::wake_first(guard, key, bitset, |unqueued| {
                self.waiters_dec(key, bucket, unqueued)
            })
            .unwrap_or_else(|| self.wake_all_of(bucket, key, 1, bitset)),
        }
    }

    /// Wakes many, unless the task is killed.
    #[inline(never)]
    fn wake_all_of(&self, bucket: &Bucket<W>, key: &Key, count: u32, bitset: u32) -> u32 {
        self.wake_many(bucket, key, None, count, bitset, task::fatal_signal_pending)
    }

    /// Wakes waiters until there are no more, or `stop` says so. The lock is dropped between steps.
    #[inline]
    fn wake_many(
        &self,
        bucket: &Bucket<W>,
        key: &Key,
        cutoff: Option<u64>,
        count: u32,
        bitset: u32,
        stop: impl Fn() -> bool,
    ) -> u32 {
        let mut total = 0u32;
        let mut few = [const { None }; CAPACITY];
        let mut wake_q = WakeQ::new(&mut few);
        stack_pin_init!(let entry = Entry::new());
        let mut place = Place::new(&entry);
        let Some(mut guard) = self.lock_unbarred(bucket, key, &stop) else {
            return 0;
        };
        let cutoff = cutoff.unwrap_or(guard.ticket.next());

        loop {
            let remaining = count.wrapping_sub(total);
            let inner = guard.as_mut();
            let more = inner.wake(key, &mut place, remaining, cutoff, bitset, &mut wake_q);
            drop(guard);

            self.waiters_dec(key, bucket, wake_q.unqueued());
            total = total.wrapping_add(wake_q.woken());
            wake_q.notify();
            if !more {
                return total;
            }
            task::cond_resched();
            guard = bucket.inner.lock();
            if stop() {
                place.give_up(guard.as_mut().project().queues);
                drop(guard);
                return total;
            }
        }
    }
}

#[kunit_tests(afutex_wake)]
mod tests {
    use super::super::bell::*;
    use super::super::bucket::STEP;
    use super::*;

    fn wake(table: &Table<Bell>, offset: usize, count: u32) -> u32 {
        table.wake(&Key::of_nothing(offset), count, ANY, Fenced::now())
    }

    #[test]
    fn without_waiters() -> Result {
        let table = Table::<Bell>::new(256)?;

        assert_eq!(wake(&table, 0, u32::MAX), 0);
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn first_come_first_woken() -> Result {
        let table = Table::new(256)?;
        let mut queued = KVec::new();

        for _ in 0..40 {
            queued.push(queue(&table, 0, Bell::once()?)?, GFP_KERNEL)?;
        }
        // More than the queue of a waker holds.
        assert_eq!(wake(&table, 0, 23), 23);
        for (i, (entry, bell)) in queued.iter().enumerate() {
            assert_eq!(entry.is_queued(), i >= 23);
            assert_eq!(bell.notified(), u32::from(i < 23));
        }
        assert_eq!(wake(&table, 4, u32::MAX), 0);
        assert_eq!(wake(&table, 0, u32::MAX), 17);
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn count_of_zero_wakes_none() -> Result {
        let table = Table::new(256)?;
        let (entry, bell) = queue(&table, 0, Bell::once()?)?;

        assert_eq!(wake(&table, 0, 0), 0);
        assert!(entry.is_queued());
        assert_eq!(bell.notified(), 0);
        assert!(table.dequeue(&entry).is_some());
        Ok(())
    }

    #[test]
    fn a_waiter_is_woken_for_its_bits() -> Result {
        let table = Table::new(256)?;
        let key = Key::of_nothing(0);
        let (first, _) = queue_for(&table, 0, Bell::once()?, 1)?;
        let (second, _) = queue_for(&table, 0, Bell::once()?, 2)?;
        let (third, bell) = queue_for(&table, 0, Bell::persistent()?, 4)?;

        assert_eq!(table.wake(&key, u32::MAX, 8, Fenced::now()), 0);
        assert_eq!(table.wake(&key, 1, 6, Fenced::now()), 1);
        assert!(first.is_queued() && !second.is_queued());
        assert_eq!(table.wake(&key, 1, 4, Fenced::now()), 1);
        assert_eq!(bell.count(), 1);
        assert_eq!(table.wake(&key, 2, 5, Fenced::now()), 2);
        assert!(!first.is_queued());
        assert!(table.dequeue(&third).is_some());
        assert!(is_empty(&table));
        Ok(())
    }

    /// Behind more than are gone past in one step.
    #[test]
    fn the_last_is_found() -> Result {
        let table = Table::new(256)?;
        let key = Key::of_nothing(0);
        let mut queued = KVec::new();

        for n in 0..=4 * STEP {
            let bits = if n % STEP == STEP - 1 { 3 } else { 1 };
            queued.push(queue_for(&table, 0, Bell::persistent()?, bits)?, GFP_KERNEL)?;
        }
        let (last, bell) = queue_for(&table, 0, Bell::once()?, 4)?;
        assert_eq!(table.wake(&key, u32::MAX, 2, Fenced::now()), 4);
        assert_eq!(table.wake(&key, 1, 4, Fenced::now()), 1);
        assert_eq!((last.is_queued(), bell.notified()), (false, 1));
        assert_eq!(table.wake(&key, u32::MAX, 4, Fenced::now()), 0);
        assert_eq!(table.wake(&key, 1, 4, Fenced::now()), 0);
        assert_eq!(wake(&table, 0, u32::MAX), 4 * STEP + 1);
        for (n, (entry, bell)) in (0..).zip(queued.iter()) {
            assert_eq!(bell.count(), if n % STEP == STEP - 1 { 2 } else { 1 });
            assert!(table.dequeue(entry).is_some());
        }
        assert!(is_empty(&table));
        Ok(())
    }

    /// What stays queued is woken once by a wake of many, and then stands behind the others.
    #[test]
    fn persistent_waiters_go_to_the_end() -> Result {
        let table = Table::new(256)?;
        let (first, bell) = queue(&table, 0, Bell::persistent()?)?;
        let (second, other) = queue(&table, 0, Bell::persistent()?)?;

        assert_eq!(wake(&table, 0, 1), 1);
        assert_eq!((bell.count(), other.count()), (1, 0));
        assert_eq!(wake(&table, 0, 1), 1);
        assert_eq!((bell.count(), other.count()), (1, 1));
        assert_eq!(wake(&table, 0, u32::MAX), 2);
        assert_eq!((bell.count(), other.count()), (2, 2));
        assert!(first.is_queued() && second.is_queued());
        for entry in [&first, &second] {
            assert!(table.dequeue(entry).is_some());
        }
        assert!(is_empty(&table));
        Ok(())
    }

    /// A listener is notified, and a wake in place of a wakee without one is only counted.
    #[test]
    fn only_listeners_are_notified() -> Result {
        let table = Table::new(256)?;
        let (entry, bell) = queue(&table, 0, Bell::persistent()?)?;

        assert_eq!(wake(&table, 0, 1), 1);
        assert_eq!((bell.count(), bell.notified()), (1, 0));
        bell.listen();
        assert_eq!(wake(&table, 0, 1), 1);
        assert_eq!(wake(&table, 0, 2), 1);
        assert_eq!((bell.count(), bell.notified()), (3, 2));
        assert!(table.dequeue(&entry).is_some());
        Ok(())
    }

    #[test]
    fn unread_wakes_are_passed_on() -> Result {
        let table = Table::new(256)?;
        let key = Key::of_nothing(0);
        let (first, bell) = queue_for(&table, 0, Bell::persistent()?, 1)?;
        let (second, other) = queue_for(&table, 0, Bell::persistent()?, 6)?;

        table.pass_on(&key, Unread::changed_word());
        assert_eq!((bell.count(), other.count()), (0, 0));
        table.pass_on(&key, Unread::one(1).and(Unread::one(1)));
        assert_eq!((bell.count(), other.count()), (1, 0));
        // For different bits: to all that match any of them.
        table.pass_on(&key, Unread::one(1).and(Unread::one(2)));
        assert_eq!((bell.count(), other.count()), (2, 1));
        for entry in [&first, &second] {
            assert!(table.dequeue(entry).is_some());
        }
        Ok(())
    }
}
