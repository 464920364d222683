// SPDX-License-Identifier: GPL-2.0

//! The futex table: a hash of buckets, the counts of waiters, queueing and dequeueing.
//!
//! The locks are described in [`bucket`](super::bucket), the ordering between a waiter and a waker
//! in [`wake`](super::wake).

use super::barrier::Barriers;
use super::bucket::{
    Bucket,
    BucketInner,
    Entry,
    Guard,
    Waiter,
    Wake, //
};
use super::count::Waiters;
use super::hash::Hash;
use super::key::{
    Key,
    KeyRef,
    Kind, //
};
use super::pins::Pins;
use super::word::{
    Refusal,
    Scope, //
};
use crate::sys::bindings;
use crate::sys::fence::Fenced;
use crate::sys::futex_hook;
use crate::sys::machine;
use crate::sys::nested_lock::{
    lock_pair,
    Pair, //
};
use crate::sys::shared_pages::{
    Access,
    SharedPages,
    WORDS, //
};
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::alloc::Flags;
use kernel::mm::virt::VmaNew;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::{
    Arc,
    SpinLock, //
};

/// Offsets of words are told apart up to here: the smallest page that there is.
const OFFSETS: usize = bindings::AFUTEX_BELL_SIZE as usize;

/// The size of the smallest word that has a count of its own in [`Table::by_offset`].
const OFFSET_STEP: usize = 4;

/// The size of a bucket, where locks are not debugged.
const BUCKET_BYTES: usize = 64;

/// Whose wakes the waiters of a table wait for.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Use {
    /// Those of the whole machine.
    Machine,
    /// Those of futex(2): see `native.rs`.
    Native,
    /// Those of whoever has a descriptor of a domain. It has a bell page.
    Domain,
}

/// The futex table.
#[pin_data]
pub(crate) struct Table<W> {
    hash: Hash,
    /// A power of two of them.
    buckets: Pin<KVBox<[Bucket<W>]>>,
    /// How many wait on shared words, or are about to, by their offset in the page. It is the same
    /// in every mapping: a waker that finds 0 need not look up the page.
    ///
    /// In a domain it counts those on private words as well: it is the bell page, by which wakers
    /// in user space find out.
    by_offset: SharedPages,
    /// For wakers that wait for a requeue.
    pub(crate) barriers: Pin<KBox<Barriers>>,
    pins: Arc<Pins>,
    used_for: Use,
}

impl<W> Table<W> {
    /// Creates a table without waiters, of `buckets`, or, if that is 0, of as many as suit the
    /// machine: 256 for each possible CPU, as futex(2) has, so that wakers do not meet; but, since
    /// here a task can wait on very many words, at least a thousandth of the memory, up to 4 MiB.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two, `ENOMEM`.
    pub(crate) fn new(buckets: usize) -> Result<Self> {
        const PER_CPU: usize = 256;
        const MEMORY_PER_BUCKET: usize = 1024 * BUCKET_BYTES;
        const MANY: usize = 1 << 16;

        let count = match buckets {
            0 => (machine::memory_bytes() / MEMORY_PER_BUCKET)
                .min(MANY)
                .max(machine::possible_cpus().saturating_mul(PER_CPU))
                .checked_next_power_of_two()
                .ok_or(ENOMEM)?,
            count => count,
        };

        Self::new_for(Use::Machine, count, Pins::new()?, GFP_KERNEL)
    }

    /// Creates one of as many buckets as this has, for wakes of futex(2). Both have the same pins.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new_native(&self) -> Result<Self> {
        Self::new_for(Use::Native, self.buckets(), self.pins.clone(), GFP_KERNEL)
    }

    /// Creates one for a domain of `buckets`. Both have the same pins.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `buckets` is not a power of two, `ENOMEM`.
    pub(crate) fn new_domain(&self, buckets: usize) -> Result<Self> {
        Self::new_for(Use::Domain, buckets, self.pins.clone(), GFP_KERNEL_ACCOUNT)
    }

    fn new_for(used_for: Use, buckets: usize, pins: Arc<Pins>, gfp: Flags) -> Result<Self> {
        if !buckets.is_power_of_two() {
            return Err(EINVAL);
        }
        Ok(Self {
            hash: Hash::new(buckets),
            buckets: KVBox::pin_slice(|_| Bucket::new(), buckets, gfp)?,
            by_offset: SharedPages::new(1, Access::Read, gfp)?,
            barriers: KBox::pin_init(Barriers::new(), gfp)?,
            pins,
            used_for,
        })
    }

    /// The memory that one of `buckets` takes, in bytes.
    pub(crate) fn memory(buckets: usize) -> usize {
        buckets
            .saturating_mul(BUCKET_BYTES)
            .saturating_add(PAGE_SIZE)
    }

    /// Maps the counts by offset, those of a domain, for whoever has a descriptor of it.
    ///
    /// # Errors
    ///
    /// Those of [`SharedPages::map`].
    pub(crate) fn map_bell(&self, vma: &VmaNew) -> Result {
        self.by_offset.map(vma)
    }

    /// The bucket of `key`.
    #[inline]
    pub(crate) fn bucket_of(&self, key: &Key) -> &Bucket<W> {
        &self.buckets[self.hash.bucket(key)]
    }

    /// Whether its wakes are those of futex(2).
    #[inline]
    pub(crate) fn is_native(&self) -> bool {
        self.used_for == Use::Native
    }

    /// All buckets.
    pub(crate) fn all_buckets(&self) -> &[Bucket<W>] {
        &self.buckets
    }

    /// The number of buckets.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    #[inline]
    fn at_offset(&self, offset: usize) -> Waiters<&Atomic<i32>> {
        // An index that is in range whatever the offset is, as the compiler sees.
        const { assert!(OFFSETS / OFFSET_STEP <= WORDS) };

        Waiters::at(&self.by_offset.first_words()[offset % OFFSETS / OFFSET_STEP])
    }

    /// Whether waiters on `key` are counted by the offset of their word.
    #[inline]
    fn counts_by_offset(&self, key: &Key) -> bool {
        key.kind() != Kind::Private || self.used_for == Use::Domain
    }

    /// Whether there is no waiter on a shared word at that offset of any page.
    #[inline]
    pub(crate) fn is_unshared(&self, word: UserWord, fenced: Fenced) -> bool {
        self.at_offset(word.addr()).none(fenced)
    }

    /// Counts waiters that are about to be queued for `key`: before wakers can look for them, and
    /// before they can be dequeued. A full barrier.
    pub(crate) fn waiters_inc(&self, key: &Key, bucket: &Bucket<W>, count: i32) {
        if self.counts_by_offset(key) {
            self.at_offset(key.page_offset()).inc(count);
        }
        bucket.waiters.inc(count);
        if self.is_native() {
            // Last: a waker that finds it finds the others.
            let (mm, addr) = key.hook_count();

            futex_hook::count(mm, addr, count);
        }
    }

    /// Counts waiters on `key` that were dequeued.
    #[inline]
    pub(crate) fn waiters_dec(&self, key: &Key, bucket: &Bucket<W>, count: i32) {
        if count == 0 {
            return;
        }
        if self.counts_by_offset(key) {
            self.at_offset(key.page_offset()).dec(count);
        }
        bucket.waiters.dec(count);
        if self.is_native() {
            let (mm, addr) = key.hook_count();

            futex_hook::count(mm, addr, count.wrapping_neg());
        }
    }
}

impl<W: Wake> Table<W> {
    /// The key of `word` for a waiter in the current task, held. May sleep, and fault.
    ///
    /// # Errors
    ///
    /// Those of [`KeyRef::get`].
    pub(crate) fn key_for(&self, word: UserWord, scope: Scope) -> Result<KeyRef> {
        KeyRef::get(&self.pins, word, scope)
    }

    /// Queues `waiter` in `entry`, behind all others on its word, if `validate` lets it.
    ///
    /// `validate` runs under the bucket's lock, after the point from which no wake is missed.
    ///
    /// # Errors
    ///
    /// That of `validate`, or [`Refusal::Busy`] if the entry has a waiter. `waiter` is given back.
    pub(crate) fn queue(
        &self,
        entry: &Entry<W>,
        mut waiter: Waiter<W>,
        validate: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<(), (Refusal, Waiter<W>)> {
        let key = *waiter.key.key();
        let bucket = self.bucket_of(&key);

        self.waiters_inc(&key, bucket, 1);
        let mut guard = bucket.inner.lock();
        let refused = match validate() {
            Err(refusal) => Some((refusal, waiter)),
            Ok(()) => {
                let inner = guard.as_mut().project();

                waiter.ticket = inner.ticket.take();
                inner
                    .queues
                    .push(entry, waiter, |_, _| ())
                    .err()
                    .map(|waiter| (Refusal::Busy, waiter))
            }
        };
        drop(guard);
        match refused {
            None => Ok(()),
            Some(refused) => {
                self.waiters_dec(&key, bucket, 1);
                Err(refused)
            }
        }
    }

    /// Queues the waiter in `entry` that is disarmed under the lock of `owner`, behind all others
    /// on `key`, if that is its word and `validate` lets it. Returns whether it did.
    ///
    /// `validate`, and `accept` if it is queued, run under both locks, after the point from which
    /// no wake is missed.
    #[inline]
    pub(crate) fn queue_disarmed<H>(
        &self,
        entry: &Entry<W>,
        key: &Key,
        owner: &SpinLock<H>,
        validate: impl FnOnce() -> Result<(), Refusal>,
        accept: impl FnOnce(),
    ) -> bool {
        let bucket = self.bucket_of(key);

        self.waiters_inc(key, bucket, 1);
        let mut guard = bucket.inner.lock();
        let inner = guard.as_mut().project();
        let mut disarmed = owner.lock();
        let queued = validate().is_ok()
            && inner
                .queues
                .push_disarmed(entry, disarmed.as_mut(), key, |_, waiter| {
                    waiter.ticket = inner.ticket.take();
                    accept();
                });
        drop(disarmed);
        drop(guard);
        if !queued {
            self.waiters_dec(key, bucket, 1);
        }
        queued
    }

    /// Dequeues the waiter in `entry`. `None` if it was woken, or never queued.
    pub(crate) fn dequeue(&self, entry: &Entry<W>) -> Option<Waiter<W>> {
        // A concurrent requeue may move it from bucket to bucket.
        while let Some(addr) = entry.queues_addr() {
            let base = self.buckets.as_ptr().addr();
            let bucket = self
                .buckets
                .get(addr.wrapping_sub(base) / size_of::<Bucket<W>>())?;
            let mut guard = bucket.inner.lock();
            let waiter = guard.as_mut().project().queues.remove(entry);
            drop(guard);

            if let Some(waiter) = &waiter {
                self.waiters_dec(waiter.key.key(), bucket, 1);
            }
            if waiter.is_some() {
                return waiter;
            }
        }
        None
    }

    /// Locks the buckets of both keys, in the order of their addresses.
    pub(crate) fn lock_both<'a>(&'a self, key: &Key, key2: &Key) -> Pair<'a, BucketInner<W>> {
        lock_pair(&self.bucket_of(key).inner, &self.bucket_of(key2).inner)
    }

    /// Locks a bucket at a moment at which no requeue moves waiters from or to `key`. `None` if
    /// `stop` says so first.
    pub(crate) fn lock_unbarred<'a>(
        &self,
        bucket: &'a Bucket<W>,
        key: &Key,
        stop: impl Fn() -> bool,
    ) -> Option<Guard<'a, W>> {
        loop {
            let mut guard = bucket.inner.lock();

            if !guard.as_mut().is_barred(key) {
                return Some(guard);
            }
            let seen = self.barriers.seen();
            drop(guard);
            self.barriers.wait(seen);
            if stop() {
                return None;
            }
        }
    }

    /// Like [`Self::lock_both`], at a moment at which no requeue moves waiters from or to either
    /// key. `None` if the task is killed first.
    pub(crate) fn lock_both_unbarred<'a>(
        &'a self,
        key: &Key,
        key2: &Key,
    ) -> Option<Pair<'a, BucketInner<W>>> {
        loop {
            let mut pair = self.lock_both(key, key2);
            let barred = match &mut pair {
                Pair::Same(inner) => {
                    inner.as_mut().is_barred(key) || inner.as_mut().is_barred(key2)
                }
                Pair::Two(first, second) => {
                    first.as_mut().is_barred(key) || second.as_mut().is_barred(key2)
                }
            };

            if !barred {
                return Some(pair);
            }
            let seen = self.barriers.seen();
            drop(pair);
            self.barriers.wait(seen);
            if task::fatal_signal_pending() {
                return None;
            }
        }
    }

    /// Counts words and waiters, for the statistics.
    pub(crate) fn totals(&self) -> Totals {
        let mut totals = Totals::default();

        for bucket in self.buckets.iter() {
            if bucket.waiters.none(Fenced::now()) {
                continue;
            }
            let (keys, queued) = bucket.inner.lock().queues.totals();
            totals.keys += keys;
            totals.queued += queued;
            totals.waiters += i64::from(bucket.waiters.get());
        }
        totals.by_offset = self
            .by_offset
            .first_words()
            .iter()
            .map(|cell| i64::from(Waiters::at(cell).get()))
            .sum();
        totals
    }
}

/// How full a table is.
#[derive(Default)]
pub(crate) struct Totals {
    /// Words with waiters.
    pub(crate) keys: usize,
    /// Waiters that are queued.
    pub(crate) queued: usize,
    /// The sum of the buckets' counts of waiters.
    pub(crate) waiters: i64,
    /// The sum of the counts of waiters by offset: those on shared words, and all of a domain.
    pub(crate) by_offset: i64,
}

impl Totals {
    /// Those of two tables.
    pub(crate) fn and(self, other: Self) -> Self {
        Self {
            keys: self.keys.saturating_add(other.keys),
            queued: self.queued.saturating_add(other.queued),
            waiters: self.waiters.saturating_add(other.waiters),
            by_offset: self.by_offset.saturating_add(other.by_offset),
        }
    }
}

#[kunit_tests(afutex_table)]
mod tests {
    use super::super::bell::*;
    use super::super::word::ANY;
    use super::*;

    #[test]
    fn buckets_are_a_power_of_two() -> Result {
        assert!(Table::<Bell>::new(0)?.buckets().is_power_of_two());
        assert_eq!(Table::<Bell>::new(64)?.buckets(), 64);
        assert_eq!(Table::<Bell>::new(1)?.buckets(), 1);
        assert!(Table::<Bell>::new(65).is_err());
        Ok(())
    }

    /// Private words have a count by offset in a domain, and in no other table.
    #[test]
    fn private_words_ring_in_a_domain() -> Result {
        let machine = Table::new(64)?;
        let domain = machine.new_domain(1)?;
        let fenced = Fenced::now();

        for (table, counts) in [(&machine, 0), (&domain, 1)] {
            let (entry, _) = queue(table, 8, Bell::once()?)?;

            assert_eq!(table.totals().by_offset, counts);
            assert_eq!(table.at_offset(OFFSETS + 8).get(), counts as i32);
            assert!(table.at_offset(12).none(fenced));
            assert!(table.dequeue(&entry).is_some());
            assert!(is_empty(table));
        }
        assert_eq!(domain.buckets(), 1);
        assert!(machine.new_domain(3).is_err());
        Ok(())
    }

    #[test]
    fn a_refused_waiter_leaves_nothing() -> Result {
        let table = Table::new(256)?;
        let entry: TestEntry = KBox::pin_init(Entry::new(), GFP_KERNEL)?;

        assert!(table.dequeue(&entry).is_none());
        let ret = table.queue(&entry, waiter(0, Bell::once()?, ANY), || {
            Err(Refusal::Mismatch)
        });
        assert!(matches!(ret, Err((Refusal::Mismatch, _))));
        assert!(!entry.is_queued());
        assert!(is_empty(&table));

        let (entry, _) = queue(&table, 0, Bell::once()?)?;
        let ret = table.queue(&entry, waiter(4, Bell::once()?, ANY), || Ok(()));
        assert!(matches!(ret, Err((Refusal::Busy, _))));
        assert_eq!(table.totals().queued, 1);
        assert!(table.dequeue(&entry).is_some());
        assert!(is_empty(&table));
        Ok(())
    }

    /// The life of a waiter: queued, and then either woken or dequeued, once.
    #[test]
    fn a_waiter_is_taken_once() -> Result {
        let table = Table::new(256)?;
        let (woken, _) = queue(&table, 0, Bell::once()?)?;
        let (dequeued, _) = queue(&table, 0, Bell::once()?)?;

        assert!(table.dequeue(&dequeued).is_some());
        assert!(table.dequeue(&dequeued).is_none());
        let key = Key::of_nothing(0);
        assert_eq!(table.wake(&key, 2, ANY, Fenced::now()), 1);
        assert!(!woken.is_queued());
        assert!(table.dequeue(&woken).is_none());
        assert!(is_empty(&table));
        Ok(())
    }

    /// A disarmed waiter is queued again only on its own word, and only under its owner's lock.
    #[test]
    fn a_disarmed_waiter_is_of_its_word() -> Result {
        let table = Table::new(256)?;
        let owner = KBox::pin_init(kernel::new_spinlock!(0u64, "afutex_test_owner"), GFP_KERNEL)?;
        let entry: TestEntry = KBox::pin_init(Entry::new(), GFP_KERNEL)?;
        let again = |offset| {
            let key = Key::of_nothing(offset);
            table.queue_disarmed(&entry, &key, &owner, || Ok(()), || ())
        };

        assert!(!again(0));
        let one = waiter(0, Bell::once()?, ANY);
        assert!(entry.disarm(Pin::new(&mut *owner.lock()), one).is_ok());
        assert!(!again(4));
        assert!(again(0));
        assert!(!again(0));
        assert_eq!(table.totals().queued, 1);
        assert!(table.dequeue(&entry).is_some());
        assert!(is_empty(&table));
        Ok(())
    }

    /// More words than buckets, so that buckets are shared.
    #[test]
    fn words_of_one_bucket_are_apart() -> Result {
        let table = Table::new(256)?;
        let count = table.buckets() * 2;
        let mut queued = KVVec::new();

        for n in 0..count {
            queued.push(queue(&table, n * 4, Bell::once()?)?, GFP_KERNEL)?;
        }
        assert_eq!(table.totals().keys, count);
        for (n, (entry, _)) in queued.iter().enumerate() {
            let key = Key::of_nothing(n * 4);

            assert!(entry.is_queued());
            assert_eq!(table.wake(&key, u32::MAX, ANY, Fenced::now()), 1);
            assert!(!entry.is_queued());
        }
        assert!(is_empty(&table));
        Ok(())
    }
}
