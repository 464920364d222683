// SPDX-License-Identifier: GPL-2.0

//! A bucket of the futex table: waiters, their queues, and how they are woken.
//!
//! # Locks
//!
//! A bucket's lock protects its queues of entries, one for each word, and the waiters in them. The
//! order of locks is
//!
//! 1. a bucket's lock;
//! 2. for a requeue or `FUTEX_WAKE_OP`, the other bucket's, the one at the lower address first;
//! 3. the lock of what a watch or a set keeps disarmed: `Watch::disarmed`, `Set::ready`.
//!
//! The mutexes `Watch::arming` and `Set::members` are not held when a bucket is locked, except
//! `arming`, which is only ever tried. Under a bucket's lock
//!
//! - user memory is read, and by `FUTEX_WAKE_OP` changed, with page faults disabled, never faulted
//!   in;
//! - nothing is allocated;
//! - no reference is dropped that may be the last to a key, a task or a file: what is dequeued is
//!   carried out of the lock in a [`WakeQ`], and notified and dropped there.
//!
//! # Ownership of an entry
//!
//! An [`Entry`] is a place in its owner's memory: on the stack of a sleeping task, or in the object
//! behind a descriptor. `Table::queue` puts a [`Waiter`] into it under the lock of the word's
//! bucket. From there on the waiter belongs to that lock, and the holder of the lock may take it: a
//! waker, which then has to notify it, or its owner, which then was not woken. A waiter is taken
//! exactly once, so exactly one of the two happens. What the waiter holds (the key, with the pin;
//! the task; the object) is dropped by the taker, after the lock.
//!
//! A requeue moves the waiter to another word, under both locks. The wake of a watch that stays
//! armed leaves the waiter in place, and sends it to the end of the queue. The wake of a one-shot
//! watch *disarms* it: the waiter stays in its entry, under the lock of the watch, since the key is
//! needed until the wake is read.
//!
//! # No waker starves a waiter, no waiter a waker
//!
//! Each bucket numbers the waiters as they are queued. A waker notes the next number when it first
//! holds the lock, and leaves waiters from there on alone. A watch that stays armed gets a new
//! number, and with it the last place, if there are others in its queue. The lock is dropped
//! whenever [`CAPACITY`] are to be notified, or [`BURST`] were woken.

use super::count::Waiters;
use super::key::{
    Key,
    KeyRef, //
};
use super::word::ANY;
use crate::sys::queues::{
    Cursor,
    Item,
    Node,
    Queues, //
};
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::{
    SpinLock,
    SpinLockGuard, //
};

/// How a waiter is woken: what `futex_wake_fn` is to a `futex_q`, by static dispatch.
///
/// The table asks this of its waiters, and knows nothing else of them.
pub(crate) trait Wake: Sized {
    /// What is to be notified of a wake. Owns what must not be dropped under a bucket's lock.
    type Notice: Notify;
    /// A wakee that stays queued, and has listeners.
    type Listener: Notify + Clone;

    /// Counts a wake in place, if the wakee stays queued when it is woken. Under the bucket's lock.
    fn count(&self, bitset: u32) -> Counted<'_, Self::Listener>;

    /// Wakes the first waiter on `key` that matches `bitset`, whatever it is, and returns how many
    /// were woken: 0 or 1.
    ///
    /// Drops the lock, calls `unqueued` if the waiter left the table, and then notifies.
    fn wake_first(
        guard: Guard<'_, Self>,
        key: &Key,
        bitset: u32,
        unqueued: impl FnOnce(i32),
    ) -> u32;

    /// Wakes the waiter at the cursor, and those behind it that are woken along with it, and goes
    /// on. Under the bucket's lock. There is room in the queue of `wanted`.
    fn wake_at<'a>(
        at: Cursor<'a, Waiter<Self>>,
        wanted: &mut Wanted<'_, '_, Self>,
    ) -> Option<Cursor<'a, Waiter<Self>>>;

    /// Whether there are wakes that the wakee has not read: a requeue leaves it where it is, since
    /// they belong to its word. Under the bucket's lock.
    fn has_unread(&self) -> bool;
}

/// What can be notified. No lock may be held.
pub(crate) trait Notify {
    /// Notifies it.
    fn notify(&self);
}

/// The result of [`Wake::count`].
pub(crate) enum Counted<'a, L> {
    /// The wakee does not stay queued: nothing was counted.
    No,
    /// Counted, and there is nobody to notify.
    Quietly,
    /// Counted, and to be notified after the lock.
    Listened(&'a L),
}

/// A waiter on a futex word: what kernel/futex calls a `futex_q`.
pub(crate) struct Waiter<W> {
    /// The word.
    pub(crate) key: KeyRef,
    /// What is woken.
    pub(crate) wakee: W,
    /// The number that the bucket gave to it.
    pub(crate) ticket: u64,
    /// The wakes that it waits for: those that have a bit in common. Not 0.
    pub(crate) bitset: u32,
}

impl<W> Waiter<W> {
    /// Creates a waiter that is not queued.
    pub(crate) fn new(key: KeyRef, wakee: W, bitset: u32) -> Self {
        Self {
            key,
            wakee,
            ticket: 0,
            bitset,
        }
    }

    /// Whether it waits for a wake with `bitset`.
    #[inline]
    pub(crate) fn matches(&self, bitset: u32) -> bool {
        bitset == ANY || self.bitset & bitset != 0
    }
}

impl<W> Item for Waiter<W> {
    type Id = Key;

    #[inline]
    fn id(&self) -> &Key {
        self.key.key()
    }
}

/// A place for a waiter.
pub(crate) type Entry<W> = Node<Waiter<W>>;

/// The number for the next waiter of a bucket.
#[derive(Clone, Copy)]
pub(crate) struct Ticket(u64);

impl Ticket {
    /// Gives it away.
    pub(crate) fn take(&mut self) -> u64 {
        let number = self.0;

        self.0 = number.wrapping_add(1);
        number
    }

    /// The number that is next.
    pub(crate) fn next(self) -> u64 {
        self.0
    }
}

/// Whether a waiter with `ticket` was queued when `cutoff` was next, or later.
///
/// Numbers wrap around after centuries, so distances are compared.
pub(crate) fn is_late(ticket: u64, cutoff: u64) -> bool {
    ticket.wrapping_sub(cutoff) as i64 >= 0
}

/// Sends a waiter that was woken to the end of its queue, and goes on.
#[inline]
pub(crate) fn rotate<'a, W>(
    at: Cursor<'a, Waiter<W>>,
    ticket: &mut Ticket,
) -> Option<Cursor<'a, Waiter<W>>> {
    at.rotate(|waiter| waiter.ticket = ticket.take())
}

/// What a bucket's lock protects.
#[pin_data]
pub(crate) struct BucketInner<W> {
    /// The waiters, by word.
    #[pin]
    pub(crate) queues: Queues<Waiter<W>>,
    /// The number for the next one.
    pub(crate) ticket: Ticket,
}

/// A bucket that is locked.
pub(crate) type Guard<'a, W> = SpinLockGuard<'a, BucketInner<W>>;

impl<W: Wake> BucketInner<W> {
    /// How many wait on `key`, up to `most`.
    pub(crate) fn count_up_to(self: Pin<&mut Self>, key: &Key, most: u32) -> u32 {
        let mut at = self.project().queues.find(key);
        let mut count = 0;

        while count < most {
            let Some(cursor) = at else {
                break;
            };
            count += 1;
            at = cursor.next();
        }
        count
    }

    /// The key of the first waiter on `key`. Not to be dropped under a lock.
    pub(crate) fn first_key(self: Pin<&mut Self>, key: &Key) -> Option<KeyRef> {
        let first = self.project().queues.find(key)?;

        Some(first.item().key.clone())
    }

    /// Wakes up to `count` waiters on `key` that match `bitset` and are older than `cutoff`, as many
    /// as `wake_q` has room for. Returns whether there may be more.
    #[inline]
    pub(crate) fn wake(
        self: Pin<&mut Self>,
        key: &Key,
        count: u32,
        cutoff: u64,
        bitset: u32,
        wake_q: &mut WakeQ<'_, W>,
    ) -> bool {
        let this = self.project();
        let mut at = this.queues.find(key);
        let mut wanted = Wanted {
            remaining: count,
            cutoff,
            bitset,
            ticket: this.ticket,
            wake_q,
        };

        while let Some(cursor) = at {
            let waiter = cursor.item();

            if wanted.remaining == 0 || is_late(waiter.ticket, cutoff) {
                return false;
            }
            if !waiter.matches(bitset) {
                at = cursor.next();
                continue;
            }
            if !wanted.wake_q.has_room() {
                return true;
            }
            at = W::wake_at(cursor, &mut wanted);
        }
        false
    }
}

/// A bucket: one cache line.
#[repr(align(64))]
#[pin_data]
pub(crate) struct Bucket<W> {
    /// How many wait in this bucket, or are about to.
    pub(crate) waiters: Waiters,
    #[pin]
    pub(crate) inner: SpinLock<BucketInner<W>>,
}

impl<W> Bucket<W> {
    /// Creates an initialiser for a bucket without waiters.
    pub(crate) fn new() -> impl PinInit<Self, Error> {
        const { assert!(cfg!(CONFIG_LOCKDEP) || size_of::<Self>() == 64) };

        try_pin_init!(Self {
            waiters: Waiters::new(),
            inner <- new_spinlock!(
                pin_init!(BucketInner {
                    queues <- Queues::new(),
                    ticket: Ticket(0),
                }),
                "afutex_bucket"
            ),
        }? Error)
    }
}

/// How many notices a waker holds at most, on its stack: bounds the time a lock is held.
pub(crate) const CAPACITY: usize = 16;

/// How many are woken under one hold of a lock at most, if few of them are to be notified.
const BURST: u32 = 64;

/// What a waker is about to wake.
pub(crate) struct Wanted<'a, 'q, W: Wake> {
    /// How many more.
    pub(crate) remaining: u32,
    /// The number of the first waiter that is left alone.
    pub(crate) cutoff: u64,
    /// The bits of the wake.
    pub(crate) bitset: u32,
    /// The bucket's numbers, for those that go to the end of the queue.
    pub(crate) ticket: &'a mut Ticket,
    /// Where notices go.
    pub(crate) wake_q: &'a mut WakeQ<'q, W>,
}

impl<W: Wake> Wanted<'_, '_, W> {
    /// Counts waiters that were woken, and how many of them have left the table.
    #[inline]
    pub(crate) fn count(&mut self, woken: u32, unqueued: i32) {
        self.remaining = self.remaining.wrapping_sub(woken);
        self.wake_q.woken = self.wake_q.woken.wrapping_add(woken);
        self.wake_q.unqueued = self.wake_q.unqueued.wrapping_add(unqueued);
    }
}

/// What was woken and is not notified yet: the `wake_q` of kernel/sched.
///
/// Filled under a bucket's lock, notified and dropped after it.
pub(crate) struct WakeQ<'a, W: Wake> {
    /// On the caller's stack: too large to be moved.
    few: &'a mut [Option<W::Notice>; CAPACITY],
    len: usize,
    /// Room for more, if the caller made it before it took the lock.
    many: Option<KVVec<W::Notice>>,
    woken: u32,
    unqueued: i32,
}

impl<'a, W: Wake> WakeQ<'a, W> {
    /// Creates an empty queue in `few`, which is empty too.
    pub(crate) fn new(few: &'a mut [Option<W::Notice>; CAPACITY]) -> Self {
        Self {
            few,
            len: 0,
            many: None,
            woken: 0,
            unqueued: 0,
        }
    }

    /// Whether there is room for one more.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        match &self.many {
            None => self.len < CAPACITY && self.room() != 0,
            Some(many) => self.len < CAPACITY || many.len() < many.capacity(),
        }
    }

    /// How many more may be woken under this hold of the lock, if none of them is to be notified.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        match &self.many {
            None => BURST.saturating_sub(self.woken),
            Some(_) => BURST,
        }
    }

    /// How many notices there is room for in all.
    pub(crate) fn capacity(&self) -> usize {
        CAPACITY.saturating_add(self.many.as_ref().map_or(0, KVVec::capacity))
    }

    /// Makes room for `count` notices under one hold of the lock. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn reserve(&mut self, count: usize) -> Result {
        if count > CAPACITY {
            self.many = Some(KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?);
        }
        Ok(())
    }

    /// How many waiters were woken.
    pub(crate) fn woken(&self) -> u32 {
        self.woken
    }

    /// How many of them have left the table.
    pub(crate) fn unqueued(&self) -> i32 {
        self.unqueued
    }

    /// Adds a notice. There must be room.
    #[inline]
    pub(crate) fn push(&mut self, notice: W::Notice) {
        match (self.few.get_mut(self.len), &mut self.many) {
            (Some(slot), _) => {
                *slot = Some(notice);
                self.len = self.len.wrapping_add(1);
            }
            (None, Some(many)) => drop(many.push_within_capacity(notice)),
            (None, None) => (),
        }
    }

    /// The last notice.
    #[inline]
    pub(crate) fn last(&self) -> Option<&W::Notice> {
        match &self.many {
            Some(many) if !many.is_empty() => many.last(),
            _ => self.few.get(self.len.wrapping_sub(1))?.as_ref(),
        }
    }

    /// Notifies all, in order, drops what was dequeued, and empties the queue. No lock may be held.
    pub(crate) fn notify(&mut self) {
        for slot in self.few.iter_mut().take(self.len) {
            if let Some(notice) = slot.take() {
                notice.notify();
            }
        }
        if let Some(many) = &mut self.many {
            for notice in many.drain_all() {
                notice.notify();
            }
        }
        self.len = 0;
        self.woken = 0;
        self.unqueued = 0;
    }
}
