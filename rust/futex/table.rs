// SPDX-License-Identifier: GPL-2.0

//! The futex table: buckets of keys, keys of entries.
//!
//! # Locks
//!
//! A bucket's `inner` lock protects its queues of entries, one for each word, and the waiters in
//! them. The order is
//!
//! 1. a bucket's `inner`;
//! 2. of a requeue or `FUTEX_WAKE_OP`, the other bucket's, the one at the lower address first;
//! 3. the lock of a watch's state, or of a set's queue and the states of its members.
//!
//! The mutexes of watches and sets (`arming`, `members`) are not held when a bucket is locked, but
//! for `arming`, which is only ever tried. Under a bucket's lock
//!
//! - user memory is read, and by `FUTEX_WAKE_OP` changed, with page faults off, never faulted in;
//! - nothing is allocated;
//! - no reference is dropped that may be the last to a key, a task or a file: what was taken off
//!   is carried out of the lock, and notified and dropped there.
//!
//! # Nobody misses a wake
//!
//! A waker that finds a bucket without waiters takes no lock. That is safe since a waiter counts
//! itself before it looks at the word, and a waker changes the word before it looks at the count:
//!
//! ```text
//!   waiter                                waker
//!
//!   enqueue()                             *word = new;          (in user space)
//!     waiters += 1;         (A)           wake()
//!     smp_mb;               (implied)       smp_mb;
//!     lock(inner);                          if waiters == 0     (C)
//!     if *word != expected  (B)                 return 0;
//!         unlock; waiters -= 1;             lock(inner);
//!         return EAGAIN;                    take the entries off
//!     queue the entry;                      unlock(inner);
//!     unlock(inner);                        notify them
//!   sleep until the waiter is gone
//! ```
//!
//! With a full barrier on both sides, B sees the new word or C sees the count. In the first case
//! the waiter does not wait. In the second the waker takes the lock: if it does so after the waiter
//! it finds the entry; if before, its unlock orders the store to the word before the waiter's B,
//! which then sees it. This is the pattern of store buffering, and the argument of
//! `kernel/futex/waitwake.c`.
//!
//! The count comes down after the entry is off its queue, by who took it off.
//!
//! Shared words are counted once more, by their offset in the page, which is the same in every
//! mapping: a waker who finds that nobody waits at such an offset need not look up the page.
//!
//! # No waker starves a waiter, no waiter a waker
//!
//! Each bucket numbers its entries as they come. A waker notes the number that is next when it
//! first holds the lock, and leaves entries from there on alone. A watch that stays armed gets a new
//! number, and with it the last place, if there are others on its queue. The lock is dropped whenever
//! there are [`CAPACITY`] to be notified, or a few times as many were woken who need not be.

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    Key,
    KeyRef,
    Kind, //
};
use super::member::Member;
use super::wait::Refusal;
use super::wake::{
    Notice,
    WakeQ,
    ANY,
    CAPACITY, //
};
use super::watch::Watch;
use crate::sys::counter::Counter;
use crate::sys::nested_lock::{
    lock_pair,
    Pair, //
};
use crate::sys::queues::{
    Cursor,
    Queues, //
};
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::new_spinlock;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::{
    SpinLock,
    SpinLockGuard, //
};

/// What a bucket's lock protects.
#[pin_data]
pub(crate) struct BucketInner {
    /// Who waits, by word.
    #[pin]
    pub(super) queues: Queues<Waiter>,
    /// The number for the next entry.
    pub(super) ticket: Ticket,
}

/// The number that a bucket gives to the next entry.
#[derive(Clone, Copy)]
pub(super) struct Ticket(u64);

impl Ticket {
    /// Gives it away.
    pub(super) fn take(&mut self) -> u64 {
        let number = self.0;

        self.0 = number.wrapping_add(1);
        number
    }

    /// The number that is next.
    pub(super) fn next(self) -> u64 {
        self.0
    }
}

/// Whether an entry with that `ticket` was queued when `limit` was next, or later.
///
/// Numbers wrap around, if only after centuries: distances are compared.
pub(super) fn is_late(ticket: u64, limit: u64) -> bool {
    ticket.wrapping_sub(limit) as i64 >= 0
}

impl BucketInner {
    /// How many wait on `id`, if they are not more than `most`.
    pub(super) fn count_up_to(self: Pin<&mut Self>, id: &Key, most: u32) -> u32 {
        let mut at = self.project().queues.find(id);
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

    /// The key of `id`, as the first who waits on it holds it. It is not to be dropped under a lock.
    pub(super) fn first_key(self: Pin<&mut Self>, id: &Key) -> Option<KeyRef> {
        let first = self.project().queues.find(id)?;

        Some(first.item().key.clone())
    }

    /// Wakes up to `want` entries that wait on `id` for a bit of `mask` and are older than `limit`,
    /// as many as `wake_q` has room for. Returns whether there may be more.
    #[inline]
    pub(super) fn take(
        self: Pin<&mut Self>,
        id: &Key,
        want: u32,
        limit: u64,
        mask: u32,
        wake_q: &mut WakeQ<'_>,
    ) -> bool {
        let this = self.project();
        let mut at = this.queues.find(id);
        let mut left = want;

        while let Some(cursor) = at {
            let waiter = cursor.item();

            if left == 0 || is_late(waiter.ticket, limit) {
                return false;
            }
            // Those that the mask does not match are passed over, as futex(2) does.
            if !waiter.matches(mask) {
                at = cursor.next();
                continue;
            }
            if !wake_q.has_room() {
                return true;
            }
            if let Wakee::Member(member) = &waiter.wakee {
                wake_q.push_set(&member.set);
                // There was room, so it is there.
                let Some(set) = wake_q.last_set() else {
                    return false;
                };
                let most = left.min(wake_q.room());
                let run = Member::hit_run(set, cursor, most, limit, mask, this.ticket);
                wake_q.count(run.woken, run.left);
                left = left.wrapping_sub(run.woken);
                at = run.next;
            } else {
                at = hit(cursor, mask, this.ticket, wake_q);
                left = left.wrapping_sub(1);
            }
        }
        false
    }
}

/// Wakes the entry at the cursor, which is no member of a set, and goes on.
#[inline]
fn hit<'a>(
    cursor: Cursor<'a, Waiter>,
    mask: u32,
    ticket: &mut Ticket,
    wake_q: &mut WakeQ<'_>,
) -> Option<Cursor<'a, Waiter>> {
    match &cursor.item().wakee {
        // Those that stay go to the end. Those that are woken once are disarmed: from then on their
        // owner may drop the waiter, and it is the wake_q that keeps whose lock is held.
        Wakee::Watch(watch) if watch.is_persistent() => {
            if Watch::count(watch, mask) {
                wake_q.push(Notice::Watch(watch.clone()));
            }
            wake_q.count(1, 0);
            rotate(cursor, ticket)
        }
        Wakee::Watch(watch) => {
            let watch = watch.clone();
            let next = watch.disarm(cursor, mask);
            wake_q.push(Notice::Watch(watch));
            wake_q.count(1, 1);
            next
        }
        // They are woken in runs.
        Wakee::Member(_) => cursor.next(),
        // Whoever sees that the waiter is gone may use the entry again, or end it.
        Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => {
            let (waiter, next) = cursor.remove();
            wake_q.push(Notice::Waiter(waiter));
            wake_q.count(1, 1);
            next
        }
    }
}

/// Sends an entry that was woken to the end of the queue, and goes on.
#[inline]
pub(super) fn rotate<'a>(
    cursor: Cursor<'a, Waiter>,
    ticket: &mut Ticket,
) -> Option<Cursor<'a, Waiter>> {
    cursor.rotate(|waiter| waiter.ticket = ticket.take())
}

/// A bucket: one cache line.
#[repr(align(64))]
#[pin_data]
pub(super) struct Bucket {
    /// How many wait in this bucket, or are about to.
    waiters: Counter,
    #[pin]
    pub(super) inner: SpinLock<BucketInner>,
}

impl Bucket {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            waiters: Counter::new(),
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

#[cfg(not(CONFIG_LOCKDEP))]
const _: () = assert!(size_of::<Bucket>() == 64);

/// The size of the smallest word that has a counter of its own in `Table.shared`.
const SHARED_STEP: usize = 4;

/// The futex table.
#[pin_data]
pub(crate) struct Table {
    seed: [u64; 2],
    /// What is left of 63 bits by a bucket's number.
    shift: u32,
    /// A power of two of them.
    buckets: Pin<KVBox<[Bucket]>>,
    /// How many wait on shared words, or are about to, by their offset in the page.
    shared: KVec<Counter>,
}

impl Table {
    /// Makes a table with nobody in it, of `buckets`, or, for 0, of as many as this machine wants:
    /// 256 for each possible CPU, as futex(2) has, so that wakers do not meet; but, since here a
    /// task can wait on very many words, at least a thousandth of the memory, up to 4 MiB.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two, `ENOMEM`.
    pub(crate) fn new(buckets: usize) -> Result<Self> {
        const PER_CPU: usize = 256;
        const MEMORY_PER_BUCKET: usize = 1024 * size_of::<Bucket>();
        const MANY: usize = 1 << 16;

        let count = match buckets {
            0 => (task::memory_bytes() / MEMORY_PER_BUCKET)
                .min(MANY)
                .max(task::possible_cpus().saturating_mul(PER_CPU))
                .checked_next_power_of_two()
                .ok_or(ENOMEM)?,
            count if count.is_power_of_two() => count,
            _ => return Err(EINVAL),
        };
        let mut shared = KVec::with_capacity(PAGE_SIZE / SHARED_STEP, GFP_KERNEL)?;

        for _ in 0..PAGE_SIZE / SHARED_STEP {
            shared.push(Counter::new(), GFP_KERNEL)?;
        }
        Ok(Self {
            seed: [task::random_u64(), task::random_u64()],
            shift: 63u32.wrapping_sub(count.trailing_zeros()),
            buckets: KVBox::pin_slice(|_| Bucket::new(), count, GFP_KERNEL)?,
            shared,
        })
    }

    /// The bucket that `id` belongs in.
    #[inline]
    pub(super) fn bucket_of(&self, id: &Key) -> &Bucket {
        &self.buckets[id.bucket(&self.seed, self.shift)]
    }

    /// The number of buckets.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    fn shared_at(&self, offset: usize) -> &Counter {
        &self.shared[offset % PAGE_SIZE / SHARED_STEP]
    }

    /// Whether nobody waits on the shared `word`, as far as may be known without a look at its page.
    ///
    /// A full barrier was passed before.
    #[inline]
    pub(super) fn is_unshared(&self, word: UserWord) -> bool {
        self.shared_at(word.addr()).is_zero_after_fence()
    }

    /// Counts `count` who are about to wait on `id`: before who wakes can look for them, and before
    /// they can be taken off again.
    pub(super) fn waiters_inc(&self, id: &Key, bucket: &Bucket, count: i32) {
        if id.kind() != Kind::Private {
            self.shared_at(id.page_offset()).add(count);
        }
        bucket.waiters.add(count);
    }

    /// Counts `count` who no longer wait on `id`, after they were taken off.
    #[inline]
    pub(super) fn waiters_dec(&self, id: &Key, bucket: &Bucket, count: i32) {
        if count == 0 {
            return;
        }
        if id.kind() != Kind::Private {
            self.shared_at(id.page_offset()).sub(count);
        }
        bucket.waiters.sub(count);
    }

    /// Queues `waiter` in `entry`, behind all others that wait on the word, if `validate` does not refuse.
    ///
    /// `validate` runs under the bucket's lock, after the point from which no wake is missed.
    ///
    /// # Errors
    ///
    /// What `validate` says, or [`Refusal::Busy`] if the entry has a waiter. It is given back.
    pub(crate) fn enqueue(
        &self,
        entry: &Entry,
        mut waiter: Waiter,
        validate: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), (Refusal, Waiter)> {
        let id = *waiter.key.id();
        let bucket = self.bucket_of(&id);
        let mut spare = None;

        self.waiters_inc(&id, bucket, 1);
        let mut guard = bucket.inner.lock();
        let refused = match validate() {
            Err(refusal) => Some((refusal, waiter)),
            Ok(()) => {
                let inner = guard.as_mut().project();

                waiter.ticket = inner.ticket.take();
                inner
                    .queues
                    .push(entry, waiter, |first, waiter| {
                        spare = waiter.key.share(&first.key)
                    })
                    .err()
                    .map(|waiter| (Refusal::Busy, waiter))
            }
        };
        drop(guard);
        drop(spare);
        match refused {
            None => Ok(()),
            Some(refused) => {
                self.waiters_dec(&id, bucket, 1);
                Err(refused)
            }
        }
    }

    /// Queues the waiter that is disarmed with what `home` protects in `entry`, behind all others that
    /// wait on `id`, if it is of that word and `validate` does not refuse. Tells whether it did.
    ///
    /// `validate`, and `accept` if it is queued, run under both locks, after the point from which no
    /// wake is missed.
    #[inline]
    pub(crate) fn queue_disarmed<H>(
        &self,
        entry: &Entry,
        id: &Key,
        home: &SpinLock<H>,
        validate: impl FnOnce() -> Result<(), Refusal>,
        accept: impl FnOnce(),
    ) -> bool {
        let bucket = self.bucket_of(id);

        self.waiters_inc(id, bucket, 1);
        let mut guard = bucket.inner.lock();
        let inner = guard.as_mut().project();
        let mut disarmed = home.lock();
        let mut spare = None;
        let queued = validate().is_ok()
            && inner
                .queues
                .push_disarmed(entry, disarmed.as_mut(), id, |first, waiter| {
                    waiter.ticket = inner.ticket.take();
                    spare = first.and_then(|first| waiter.key.share(&first.key));
                    accept();
                });
        drop(disarmed);
        drop(guard);
        drop(spare);
        if !queued {
            self.waiters_dec(id, bucket, 1);
        }
        queued
    }

    /// The key of `id`, if anybody waits on it.
    pub(super) fn key_of(&self, id: &Key) -> Option<KeyRef> {
        let bucket = self.bucket_of(id);

        if bucket.waiters.is_zero() {
            return None;
        }
        bucket.inner.lock().as_mut().first_key(id)
    }

    /// Takes `entry` off the table. `None` if it has been woken, or was never queued.
    pub(crate) fn dequeue(&self, entry: &Entry) -> Option<Waiter> {
        // A requeue may move it from bucket to bucket meanwhile.
        while let Some(addr) = entry.queues_addr() {
            let base = self.buckets.as_ptr().addr();
            let bucket = self
                .buckets
                .get(addr.wrapping_sub(base) / size_of::<Bucket>())?;
            let mut guard = bucket.inner.lock();
            let waiter = guard.as_mut().project().queues.remove(entry);
            drop(guard);

            if let Some(waiter) = &waiter {
                self.waiters_dec(waiter.key.id(), bucket, 1);
            }
            if waiter.is_some() {
                return waiter;
            }
        }
        None
    }

    /// Wakes up to `count` of those who wait on `id` for a bit of `mask`, in the order in which they
    /// came.
    ///
    /// Those who come after it began are left alone. Returns how many were woken.
    #[inline]
    pub(crate) fn wake(&self, id: &Key, count: u32, mask: u32) -> u32 {
        let bucket = self.bucket_of(id);

        if bucket.waiters.is_zero() {
            return 0;
        }
        self.wake_found(bucket, id, count, mask)
    }

    /// As `wake`, where a full barrier was passed before.
    #[inline]
    pub(super) fn wake_after_fence(&self, id: &Key, count: u32, mask: u32) -> u32 {
        let bucket = self.bucket_of(id);

        if bucket.waiters.is_zero_after_fence() {
            return 0;
        }
        self.wake_found(bucket, id, count, mask)
    }

    /// Wakes the first of those who wait on `id`, where a full barrier was passed before.
    #[inline(always)]
    pub(super) fn wake_one_after_fence(&self, id: &Key) -> u32 {
        let bucket = self.bucket_of(id);

        if bucket.waiters.is_zero_after_fence() {
            return 0;
        }
        self.wake_first(bucket, id, ANY)
    }

    /// As `wake`, for those who were queued before the moment that [`Self::atomically`] gave.
    pub(crate) fn wake_before(&self, id: &Key, limit: u64, count: u32, mask: u32) -> u32 {
        self.wake_many(self.bucket_of(id), id, Some(limit), count, mask)
    }

    /// Wakes in a bucket where somebody waits.
    #[inline(never)]
    fn wake_found(&self, bucket: &Bucket, id: &Key, count: u32, mask: u32) -> u32 {
        match count {
            // Most wakes are of one.
            1 => self.wake_first(bucket, id, mask),
            _ => self.wake_many(bucket, id, None, count, mask),
        }
    }

    /// Wakes the first.
    ///
    /// What [`BucketInner::take`] does to a watch that stays armed is written out here: a descriptor that
    /// is woken and read again and again is the case that counts.
    #[inline(always)]
    fn wake_first(&self, bucket: &Bucket, id: &Key, mask: u32) -> u32 {
        let mut guard = bucket.inner.lock();
        let inner = guard.as_mut().project();
        let Some(cursor) = inner.queues.find(id) else {
            return 0;
        };

        match &cursor.item().wakee {
            Wakee::Watch(watch) if watch.is_persistent() && cursor.item().matches(mask) => {
                if !Watch::count(watch, mask) {
                    // For one that is alone, its number would say only whether a waker of many was
                    // here before it.
                    if !cursor.is_alone() {
                        rotate(cursor, inner.ticket);
                    }
                    return 1;
                }
                let watch = watch.clone();
                rotate(cursor, inner.ticket);
                drop(guard);
                watch.notify_listeners();
                1
            }
            _ => self.wake_first_of(guard, bucket, *id, mask),
        }
    }

    /// As `wake_first`, whoever it is.
    #[inline(never)]
    fn wake_first_of(
        &self,
        mut guard: SpinLockGuard<'_, BucketInner>,
        bucket: &Bucket,
        id: Key,
        mask: u32,
    ) -> u32 {
        let inner = guard.as_mut().project();
        let mut at = inner.queues.find(&id);

        while let Some(cursor) = at {
            if !cursor.item().matches(mask) {
                at = cursor.next();
                continue;
            }
            match &cursor.item().wakee {
                Wakee::Watch(watch) if watch.is_persistent() => {
                    let listener = Watch::count(watch, mask).then(|| watch.clone());
                    rotate(cursor, inner.ticket);
                    drop(guard);
                    if let Some(watch) = listener {
                        watch.notify_listeners();
                    }
                }
                Wakee::Watch(watch) => {
                    let watch = watch.clone();
                    watch.disarm(cursor, mask);
                    drop(guard);
                    self.waiters_dec(&id, bucket, 1);
                    watch.notify_readable();
                }
                Wakee::Member(member) => {
                    let set = member.set.clone();
                    let left = Member::hit(&set, cursor, mask, inner.ticket);
                    drop(guard);
                    self.waiters_dec(&id, bucket, left.into());
                    set.notify_readable();
                }
                Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => {
                    let (waiter, _) = cursor.remove();
                    drop(guard);
                    self.waiters_dec(&id, bucket, 1);
                    waiter.wakee.notify();
                }
            }
            return 1;
        }
        0
    }

    #[inline(never)]
    fn wake_many(
        &self,
        bucket: &Bucket,
        id: &Key,
        mut limit: Option<u64>,
        count: u32,
        mask: u32,
    ) -> u32 {
        let mut total = 0u32;
        let mut few = [const { None }; CAPACITY];
        let mut wake_q = WakeQ::new(&mut few);

        loop {
            let mut guard = bucket.inner.lock();
            let inner = guard.as_mut();
            let limit = *limit.get_or_insert(inner.ticket.next());
            let more = inner.take(id, count.wrapping_sub(total), limit, mask, &mut wake_q);
            drop(guard);

            self.waiters_dec(id, bucket, wake_q.left());
            total = total.wrapping_add(wake_q.woken());
            wake_q.notify();
            // There may be very many, and those that the mask does not match are passed over again.
            if !more || task::fatal_signal_pending() {
                return total;
            }
        }
    }

    /// Runs `f` under the locks of both words' buckets. Returns also the moment at which it ran, in
    /// the one and in the other.
    pub(crate) fn atomically<R>(
        &self,
        id: &Key,
        id2: &Key,
        f: impl FnOnce() -> R,
    ) -> (R, (u64, u64)) {
        let pair = lock_pair(&self.bucket_of(id).inner, &self.bucket_of(id2).inner);
        let ret = f();

        match pair {
            Pair::Same(inner) => (ret, (inner.ticket.next(), inner.ticket.next())),
            Pair::Two(first, second) => (ret, (first.ticket.next(), second.ticket.next())),
        }
    }

    /// Counts words and entries, for the statistics.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();

        for bucket in self.buckets.iter() {
            if bucket.waiters.is_zero() {
                continue;
            }
            let mut guard = bucket.inner.lock();
            let (keys, entries) = guard.as_mut().project().queues.totals();
            drop(guard);
            totals.keys += keys;
            totals.entries += entries;
            totals.waiters += i64::from(bucket.waiters.get());
        }
        totals.shared = self.shared.iter().map(|count| i64::from(count.get())).sum();
        totals
    }
}

/// How full a table is.
#[derive(Default)]
pub(crate) struct Totals {
    /// Words that are waited on.
    pub(crate) keys: usize,
    /// Entries that are queued.
    pub(crate) entries: usize,
    /// The sum of the buckets' counts of waiters.
    pub(crate) waiters: i64,
    /// The sum of the counts of those who wait on shared words.
    pub(crate) shared: i64,
}

#[kunit_tests(afutex_table)]
mod tests {
    use super::*;
    use kernel::current;
    use kernel::task::Task;

    type TestEntry = Pin<KBox<Entry>>;

    fn new_entry() -> Result<TestEntry> {
        KBox::pin_init(Entry::new(), GFP_KERNEL)
    }

    fn waiter(offset: usize) -> Waiter {
        let task: &Task = current!();

        Waiter::new(KeyRef::of_nothing(offset), Wakee::Task(task.into()), ANY)
    }

    /// Queues one more that waits on the word at `offset`.
    fn queue(table: &Table, offset: usize) -> Result<TestEntry> {
        let entry = new_entry()?;

        table
            .enqueue(&entry, waiter(offset), || Ok(()))
            .map_err(|_| EBUSY)?;
        Ok(entry)
    }

    fn is_empty(table: &Table) -> bool {
        let totals = table.totals();
        totals.keys == 0 && totals.entries == 0 && totals.waiters == 0 && totals.shared == 0
    }

    #[test]
    fn buckets_are_a_power_of_two() -> Result {
        assert!(Table::new(0)?.buckets().is_power_of_two());
        assert_eq!(Table::new(64)?.buckets(), 64);
        assert_eq!(Table::new(1)?.buckets(), 1);
        assert!(Table::new(65).is_err());
        Ok(())
    }

    #[test]
    fn nobody_waits() -> Result {
        let table = Table::new(256)?;

        assert_eq!(table.wake(&Key::of_nothing(0), u32::MAX, ANY), 0);
        assert!(table.dequeue(&*new_entry()?).is_none());
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn refused_entry_leaves_nothing() -> Result {
        let table = Table::new(256)?;
        let entry = new_entry()?;

        let ret = table.enqueue(&entry, waiter(0), || Err(Refusal::Mismatch));
        assert!(matches!(ret, Err((Refusal::Mismatch, _))));
        assert!(!entry.is_queued());
        assert!(is_empty(&table));

        let entry = queue(&table, 0)?;
        let ret = table.enqueue(&entry, waiter(4), || Ok(()));
        assert!(matches!(ret, Err((Refusal::Busy, _))));
        assert_eq!(table.totals().entries, 1);
        assert!(table.dequeue(&entry).is_some());
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn first_come_first_woken() -> Result {
        let table = Table::new(256)?;
        let mut entries = KVec::new();

        for _ in 0..40 {
            entries.push(queue(&table, 0)?, GFP_KERNEL)?;
        }
        assert_eq!(table.totals().keys, 1);
        assert_eq!(table.totals().entries, 40);

        // More than a wake_q holds.
        assert_eq!(table.wake(&Key::of_nothing(0), 23, ANY), 23);
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(entry.is_queued(), i >= 23);
        }
        assert_eq!(table.wake(&Key::of_nothing(4), u32::MAX, ANY), 0);
        assert_eq!(table.wake(&Key::of_nothing(0), u32::MAX, ANY), 17);
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn count_of_zero_wakes_nobody() -> Result {
        let table = Table::new(256)?;
        let entry = queue(&table, 0)?;

        assert_eq!(table.wake(&Key::of_nothing(0), 0, ANY), 0);
        assert!(entry.is_queued());
        assert!(table.dequeue(&entry).is_some());
        Ok(())
    }

    /// The life of an entry: queued, and then either woken or dequeued, once.
    #[test]
    fn seat_is_taken_once() -> Result {
        let table = Table::new(256)?;
        let woken = queue(&table, 0)?;
        let dequeued = queue(&table, 0)?;

        assert!(table.dequeue(&dequeued).is_some());
        assert!(table.dequeue(&dequeued).is_none());
        assert_eq!(table.wake(&Key::of_nothing(0), 2, ANY), 1);
        assert!(!woken.is_queued());
        assert!(table.dequeue(&woken).is_none());
        assert!(is_empty(&table));
        Ok(())
    }

    /// More words than buckets, so that buckets are shared.
    #[test]
    fn words_of_one_bucket_are_apart() -> Result {
        let table = Table::new(256)?;
        let count = table.buckets() * 2;
        let mut entries = KVVec::new();

        for n in 0..count {
            entries.push(queue(&table, n * 4)?, GFP_KERNEL)?;
        }
        assert_eq!(table.totals().keys, count);
        for (n, entry) in entries.iter().enumerate() {
            assert!(entry.is_queued());
            assert_eq!(table.wake(&Key::of_nothing(n * 4), u32::MAX, ANY), 1);
            assert!(!entry.is_queued());
        }
        assert!(is_empty(&table));
        Ok(())
    }
}
