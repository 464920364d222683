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
//! The lock of `Set::members` is not held when a bucket is locked, and the mutex `Watch::arming` is
//! only ever tried. Under a bucket's lock
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
//! number, and with it the last place, if there are others in its queue.
//!
//! No hold of a bucket's lock grows with what users queued. A waker drops it when [`CAPACITY`] are
//! to be notified, or [`BURST`] were woken, or it went past [`STEP`] waiters, and leaves a mark at
//! the [`Place`] where it goes on. A requeue goes in such steps too. It is one step for all others
//! on either word, since from the first step to the last a [barrier](Mark::Barrier) is first in
//! both queues, at which a task that begins a wake or a requeue waits.

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
pub(crate) trait Wake: Sized + 'static {
    /// What is to be notified of a wake. Owns what must not be dropped under a bucket's lock.
    type Notice: Notify;
    /// A wakee that stays queued, and has listeners.
    type Listener;

    /// Counts a wake in place, if the wakee stays queued when it is woken. Under the bucket's lock.
    fn count(&self, bitset: u32) -> Counted;

    /// What is to be notified of a wake that was counted, where there are listeners. Under the
    /// bucket's lock.
    fn listener(&self) -> Option<Self::Listener>;

    /// Notifies it. No lock may be held.
    fn notify_listener(listener: Option<Self::Listener>);

    /// Wakes the first waiter on `key` that matches `bitset`, whatever it is, and returns how many
    /// were woken: 0 or 1.
    ///
    /// Drops the lock, calls `unqueued` if the waiter left the table, and then notifies. `None` if
    /// there is a barrier, or the first [`STEP`] do not match: nothing is done then.
    fn wake_first(
        guard: Guard<'_, Self>,
        key: &Key,
        bitset: u32,
        unqueued: impl FnOnce(i32),
    ) -> Option<u32>;

    /// Wakes the waiter at the cursor, and those behind it that are woken along with it, and goes
    /// on. Under the bucket's lock. There is room in the queue of `wanted`.
    fn wake_at<'a>(
        at: Cursor<'a, Waiter<Self>>,
        wanted: &mut Wanted<'_, '_, Self>,
    ) -> Option<Cursor<'a, Waiter<Self>>>;

    /// Whether a requeue leaves it where it is: a mark, or a wakee with wakes that it has not read,
    /// since they belong to its word. Under the bucket's lock.
    fn stays(&self) -> bool;

    /// Creates what stands in a queue in place of a wakee.
    fn from_mark(mark: Mark) -> Self;

    /// Whether it is that.
    fn as_mark(&self) -> Option<Mark>;
}

/// What stands in a queue and is no waiter.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mark {
    /// Where a walk through the queue goes on, or where what a requeue moves goes.
    Place,
    /// First in the queue of a word that a requeue moves waiters from, or to, in steps.
    Barrier,
}

/// What can be notified. No lock may be held.
pub(crate) trait Notify {
    /// Notifies it.
    fn notify(&self);
}

/// The result of [`Wake::count`].
pub(crate) enum Counted {
    /// The wakee does not stay queued: nothing was counted.
    No,
    /// Counted, and there is nothing to notify.
    Quietly,
    /// Counted, and to be notified after the lock.
    Listened,
}

/// A waiter on a futex word: what kernel/futex calls a `futex_q`.
pub(crate) struct Waiter<W> {
    /// The word.
    pub(crate) key: KeyRef,
    /// What is woken.
    pub(crate) wakee: W,
    /// The number that the bucket gave to it.
    pub(crate) ticket: u64,
    /// The wakes that it waits for: those that have a bit in common. Not 0, but for a mark.
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

impl<W: Wake> Waiter<W> {
    /// Creates a mark in the queue of `key`.
    pub(crate) fn mark(key: KeyRef, mark: Mark, ticket: u64) -> Self {
        Self {
            key,
            wakee: W::from_mark(mark),
            ticket,
            bitset: 0,
        }
    }

    /// Whether it is a mark.
    #[inline]
    pub(crate) fn is_mark(&self) -> bool {
        self.wakee.as_mark().is_some()
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
    /// The key of the first waiter on `key`. Not to be dropped under a lock.
    pub(crate) fn first_key(self: Pin<&mut Self>, key: &Key) -> Option<KeyRef> {
        let first = self.project().queues.find(key)?;

        Some(first.item().key.clone())
    }

    /// Whether a requeue is moving waiters from or to `key`.
    pub(crate) fn is_barred(self: Pin<&mut Self>, key: &Key) -> bool {
        let first = self.project().queues.find(key);

        first.is_some_and(|first| first.item().wakee.as_mark() == Some(Mark::Barrier))
    }

    /// Wakes up to `count` waiters on `key` that match `bitset` and are older than `cutoff`, as
    /// many as may be under one hold of the lock. Returns whether there may be more: then it goes
    /// on at `place`.
    #[inline]
    pub(crate) fn wake(
        self: Pin<&mut Self>,
        key: &Key,
        place: &mut Place<'_, W>,
        count: u32,
        cutoff: u64,
        bitset: u32,
        wake_q: &mut WakeQ<'_, W>,
    ) -> bool {
        let this = self.project();
        let at = place.resume(this.queues, key);
        let mut wanted = Wanted {
            remaining: count,
            cutoff,
            bitset,
            ticket: this.ticket,
            wake_q,
        };

        let mut steps = STEP;

        match wake_from(at, &mut wanted, &mut steps) {
            Reached::Pause(at) => {
                place.pause(at);
                true
            }
            Reached::Enough(_) | Reached::End => false,
        }
    }
}

/// How many waiters a walk goes past under one hold of a bucket's lock.
pub(crate) const STEP: u32 = 128;

/// How far [`wake_from`] came.
pub(crate) enum Reached<'a, W> {
    /// The end of the queue, or the first waiter that is left alone.
    End,
    /// All that were wanted were woken; the next waiter.
    Enough(Cursor<'a, Waiter<W>>),
    /// The lock is to be dropped before the next waiter.
    Pause(Cursor<'a, Waiter<W>>),
}

/// Wakes what is `wanted`, from the cursor on, and goes past `steps` waiters at most.
#[inline]
pub(crate) fn wake_from<'a, W: Wake>(
    mut at: Option<Cursor<'a, Waiter<W>>>,
    wanted: &mut Wanted<'_, '_, W>,
    steps: &mut u32,
) -> Reached<'a, W> {
    while let Some(cursor) = at {
        let waiter = cursor.item();

        if is_late(waiter.ticket, wanted.cutoff) {
            return Reached::End;
        }
        if wanted.remaining == 0 {
            return Reached::Enough(cursor);
        }
        let Some(left) = steps.checked_sub(1) else {
            return Reached::Pause(cursor);
        };
        if !waiter.matches(wanted.bitset) || waiter.is_mark() {
            *steps = left;
            at = cursor.next();
            continue;
        }
        if !wanted.wake_q.has_room() {
            return Reached::Pause(cursor);
        }
        *steps = left;
        at = W::wake_at(cursor, wanted);
    }
    Reached::End
}

/// A place in the queue of a word where a walk goes on after it dropped the lock.
///
/// A mark that is queued there keeps it, whatever happens to the waiters around it. No other task
/// dequeues it, and no requeue moves it.
pub(crate) struct Place<'a, W> {
    /// The mark is queued in it while the lock is not held.
    entry: &'a Entry<W>,
    /// The mark while it is not queued, if it was.
    mark: Option<Waiter<W>>,
}

impl<'a, W: Wake> Place<'a, W> {
    /// Creates one that is at the start. `entry` has no waiter, and no other use.
    pub(crate) fn new(entry: &'a Entry<W>) -> Self {
        Self { entry, mark: None }
    }

    /// Where the walk through the queue of `key` goes on. `None` if there is no more.
    pub(crate) fn resume<'q>(
        &mut self,
        queues: Pin<&'q mut Queues<Waiter<W>>>,
        key: &Key,
    ) -> Option<Cursor<'q, Waiter<W>>> {
        if !self.entry.is_queued() {
            return queues.find(key);
        }
        let (mark, next) = queues.at(self.entry)?.remove();

        self.mark = Some(mark);
        next
    }

    /// Has the walk go on at the cursor.
    pub(crate) fn pause(&mut self, at: Cursor<'_, Waiter<W>>) {
        let waiter = at.item();
        let ticket = waiter.ticket;
        let mark = match self.mark.take() {
            Some(mark) => Waiter { ticket, ..mark },
            None => Waiter::mark(waiter.key.clone(), Mark::Place, ticket),
        };

        self.mark = at.insert(self.entry, mark).err();
    }

    /// Gives up the place.
    pub(crate) fn give_up(&mut self, queues: Pin<&mut Queues<Waiter<W>>>) {
        if let Some(mark) = queues.remove(self.entry) {
            self.mark = Some(mark);
        }
    }
}

/// A bucket: one cache line, or two where a spinlock sleeps or is checked, and is larger.
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
        const { assert!(cfg!(any(CONFIG_LOCKDEP, CONFIG_PREEMPT_RT)) || size_of::<Self>() == 64) };

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
    woken: u32,
    unqueued: i32,
}

impl<'a, W: Wake> WakeQ<'a, W> {
    /// Creates an empty queue in `few`, which is empty too.
    pub(crate) fn new(few: &'a mut [Option<W::Notice>; CAPACITY]) -> Self {
        Self {
            few,
            len: 0,
            woken: 0,
            unqueued: 0,
        }
    }

    /// Whether there is room for one more.
    #[inline]
    pub(crate) fn has_room(&self) -> bool {
        self.len < CAPACITY && self.room() != 0
    }

    /// How many more may be woken under this hold of the lock, if none of them is to be notified.
    #[inline]
    pub(crate) fn room(&self) -> u32 {
        BURST.saturating_sub(self.woken)
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
        if let Some(slot) = self.few.get_mut(self.len) {
            *slot = Some(notice);
            self.len = self.len.wrapping_add(1);
        }
    }

    /// The last notice.
    #[inline]
    pub(crate) fn last(&self) -> Option<&W::Notice> {
        self.few.get(self.len.wrapping_sub(1))?.as_ref()
    }

    /// Notifies all, in order, drops what was dequeued, and empties the queue. No lock may be held.
    pub(crate) fn notify(&mut self) {
        for slot in self.few.iter_mut().take(self.len) {
            if let Some(notice) = slot.take() {
                notice.notify();
            }
        }
        self.len = 0;
        self.woken = 0;
        self.unqueued = 0;
    }
}
