// SPDX-License-Identifier: GPL-2.0

//! The futex table: buckets of keys, keys of entries.
//!
//! # Locks
//!
//! A bucket's `chain` lock protects its list of keys, the list of entries of each key on it, and
//! the seat of each of those entries. The order is
//!
//! 1. a bucket's `chain`;
//! 2. of a requeue or `FUTEX_WAKE_OP`, the other bucket's, the one at the lower address first;
//! 3. the lock of a watch's state, or of a set's list of those that have something to tell.
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
//!     lock(chain);                          if waiters == 0     (C)
//!     if *word != expected  (B)                 return 0;
//!         unlock; waiters -= 1;             lock(chain);
//!         return EAGAIN;                    take the entries off
//!     queue the entry;                      unlock(chain);
//!     unlock(chain);                        notify them
//!   sleep until the seat is gone
//! ```
//!
//! With a full barrier on both sides, B sees the new word or C sees the count. In the first case
//! the waiter does not wait. In the second the waker takes the lock: if it does so after the waiter
//! it finds the entry; if before, its unlock orders the store to the word before the waiter's B,
//! which then sees it. This is the pattern of store buffering, and the argument of
//! `kernel/futex/waitwake.c`.
//!
//! The count comes down after the entry is off its list, by who took it off.
//!
//! # No waker starves a waiter, no waiter a waker
//!
//! Each bucket numbers its entries as they come. A waker notes the number that is next when it
//! first holds the lock, and leaves entries from there on alone. A watch that stays armed gets a new
//! number, and with it the last place. The lock is dropped after every [`CAPACITY`] entries, to
//! notify them.

use super::entry::{
    After,
    Entry,
    Seat,
    Target, //
};
use super::key::{
    Key,
    KeyId, //
};
use super::wake::{
    Batch,
    CAPACITY, //
};
use crate::sys::nested_lock::{
    lock_pair,
    Pair, //
};
use crate::sys::roaming::Home;
use crate::sys::task;
use kernel::list::{
    List,
    ListArc, //
};
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::barrier::smp_mb;
use kernel::sync::{
    Arc,
    SpinLock, //
};

/// What a bucket's lock protects.
pub(crate) struct Chain {
    /// The keys that have entries.
    keys: List<Key>,
    /// The number for the next entry.
    ticket: u64,
}

impl Home for Chain {}

impl Chain {
    /// The key of that identity, if anybody waits on it.
    pub(super) fn find(&self, id: &KeyId) -> Option<Arc<Key>> {
        self.keys
            .iter()
            .find(|key| key.id() == id)
            .map(|key| key.into())
    }

    /// Takes `key`, which must be of this bucket, off the list if nobody waits on it any more.
    pub(super) fn prune(&mut self, key: &Key) {
        if key.entries.access(self).is_empty() {
            #[expect(unsafe_code)]
            // SAFETY: Keys are only ever put on the list of their own bucket, which is this one.
            unsafe {
                self.keys.remove(key)
            };
        }
    }

    /// Takes `entry` off the table, if it is queued in this bucket.
    ///
    /// The caller must hold a reference to it, and keep the seat until the lock is dropped.
    fn remove(&mut self, entry: &Entry) -> Option<Seat> {
        let seat = entry.seat.evict(self)?;

        #[expect(unsafe_code)]
        // SAFETY: By the type invariants of `Entry`, one with a seat is on the list of its key,
        // and `evict` has shown that the seat is of this bucket.
        unsafe {
            seat.key.entries.access_mut(self).remove(entry)
        };
        self.prune(&seat.key);
        Some(seat)
    }

    /// Wakes up to `want` entries that wait on `id` for a bit of `mask` and are older than `limit`,
    /// as many as `batch` has room for. Returns whether there may be more.
    fn take(
        &mut self,
        id: &KeyId,
        want: u32,
        limit: u64,
        mask: u32,
        batch: &mut Batch<'_>,
    ) -> bool {
        let Some(key) = self.find(id) else {
            return false;
        };
        let more = self.take_from(&key, want, limit, mask, batch);

        self.prune(&key);
        more
    }

    /// As `take`, without taking the key off the list if nobody is left.
    pub(super) fn take_from(
        &mut self,
        key: &Arc<Key>,
        want: u32,
        limit: u64,
        mask: u32,
        batch: &mut Batch<'_>,
    ) -> bool {
        let mut left = want;

        loop {
            if left == 0 {
                return false;
            }
            if batch.room() == 0 {
                return true;
            }

            // Those that the mask does not match are passed over, as futex(2) does.
            let mut cursor = key.entries.access_mut(self).cursor_front();
            let entry = loop {
                let Some(next) = cursor.peek_next() else {
                    return false;
                };
                // Numbers wrap around, if only after centuries: compare distances.
                if next.ticket.load(Relaxed).wrapping_sub(limit) as i64 >= 0 {
                    return false;
                }
                if next.mask.load(Relaxed) & mask != 0 {
                    break next.remove();
                }
                cursor.move_next();
            };

            self.hit(key, entry, mask, batch);
            left = left.wrapping_sub(1);
        }
    }

    /// Wakes an entry that was just taken off the list of `key`.
    fn hit(&mut self, key: &Arc<Key>, entry: ListArc<Entry>, mask: u32, batch: &mut Batch<'_>) {
        let Some(seat) = entry.seat.access(self) else {
            return;
        };

        match seat.target.hit(mask, key) {
            After::Leave => {
                // Whoever sees that the seat is gone may queue the entry again.
                let entry = entry.into_arc();
                // It is not the last reference: the waiter has one.
                if let Some(seat) = entry.seat.evict(self) {
                    batch.push_seat(seat);
                }
            }
            After::Stay => {
                batch.push_target(seat.target.clone());
                entry.ticket.store(self.number(), Relaxed);
                key.entries.access_mut(self).push_back(entry);
            }
        }
    }

    /// The number for the next entry.
    pub(super) fn number(&mut self) -> u64 {
        let number = self.ticket;

        self.ticket = number.wrapping_add(1);
        number
    }

    /// The number that the next entry will get.
    pub(super) fn limit(&self) -> u64 {
        self.ticket
    }

    /// The key on the list that is the same word as `key`, which is put there if there is none.
    ///
    /// Returns also what was not needed, to be dropped after the lock.
    pub(super) fn key_for(&mut self, key: ListArc<Key>) -> (Arc<Key>, Option<ListArc<Key>>) {
        match self.find(key.id()) {
            Some(found) => (found, Some(key)),
            None => {
                let new = key.clone_arc();
                self.keys.push_back(key);
                (new, None)
            }
        }
    }
}

/// A bucket: one cache line.
#[repr(align(64))]
#[pin_data]
pub(super) struct Bucket {
    /// How many wait in this bucket, or are about to.
    pub(super) waiters: Atomic<i32>,
    #[pin]
    pub(super) chain: SpinLock<Chain>,
}

impl Bucket {
    fn new() -> impl PinInit<Self, Error> {
        try_pin_init!(Self {
            waiters: Atomic::new(0),
            chain <- new_spinlock!(
                Chain {
                    keys: List::new(),
                    ticket: 0,
                },
                "afutex_bucket"
            ),
        }? Error)
    }
}

#[cfg(not(CONFIG_LOCKDEP))]
const _: () = assert!(size_of::<Bucket>() == 64);

/// The futex table.
pub(crate) struct Table {
    seed: [u64; 2],
    /// A power of two of them.
    buckets: Pin<KVBox<[Bucket]>>,
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

        Ok(Self {
            seed: [task::random_u64(), task::random_u64()],
            buckets: KVBox::pin_slice(|_| Bucket::new(), count, GFP_KERNEL)?,
        })
    }

    pub(super) fn index_of(&self, id: &KeyId) -> usize {
        id.bucket(&self.seed, self.buckets.len().wrapping_sub(1))
    }

    /// The lock of the bucket that `id` belongs in.
    pub(super) fn lock_of(&self, id: &KeyId) -> &SpinLock<Chain> {
        &self.buckets[self.index_of(id)].chain
    }

    /// The bucket of that number.
    pub(super) fn bucket(&self, index: usize) -> &Bucket {
        &self.buckets[index]
    }

    /// The number of buckets.
    pub(crate) fn buckets(&self) -> usize {
        self.buckets.len()
    }

    /// Queues `entry`, which has no seat, behind all others that wait on the word of `key`, if
    /// `admit` does not refuse.
    ///
    /// `admit` runs under the bucket's lock, after the point from which no wake is missed. `key`
    /// is used if nobody waits on the word yet.
    pub(crate) fn enqueue<E>(
        &self,
        key: ListArc<Key>,
        entry: ListArc<Entry>,
        target: Target,
        mask: u32,
        admit: impl FnOnce() -> Result<(), E>,
    ) -> Result<(), E> {
        let index = self.index_of(key.id());
        let bucket = &self.buckets[index];

        bucket.waiters.fetch_add(1, Full);
        let mut guard = bucket.chain.lock();
        if let Err(err) = admit() {
            drop(guard);
            bucket.waiters.fetch_sub(1, Relaxed);
            return Err(err);
        }

        let chain = &mut *guard;
        let (key, spare) = chain.key_for(key);
        entry.bucket.store(index, Relaxed);
        entry.ticket.store(chain.number(), Relaxed);
        entry.mask.store(mask, Relaxed);
        let seat = Seat {
            key: key.clone(),
            target,
        };
        let refused = entry.seat.settle(chain, seat);
        // INVARIANT: The entry has a seat, is on the key's list, and the key is on the bucket's.
        key.entries.access_mut(chain).push_back(entry);
        drop(guard);

        // An entry in a `ListArc` has no seat.
        debug_assert!(refused.is_ok());
        drop((refused, spare));
        Ok(())
    }

    /// Takes `entry` off the table. `None` if it has been woken, or was never queued.
    pub(crate) fn dequeue(&self, entry: &Entry) -> Option<Seat> {
        while entry.is_queued() {
            let bucket = &self.buckets[entry.bucket.load(Relaxed)];
            let mut guard = bucket.chain.lock();
            let seat = guard.remove(entry);
            drop(guard);

            if seat.is_some() {
                bucket.waiters.fetch_sub(1, Relaxed);
                return seat;
            }
        }
        None
    }

    /// Wakes up to `count` of those who wait on `id` for a bit of `mask`, in the order in which they
    /// came.
    ///
    /// Those who come after it began are left alone. Returns how many were woken.
    pub(crate) fn wake(&self, id: &KeyId, count: u32, mask: u32) -> u32 {
        let bucket = &self.buckets[self.index_of(id)];

        smp_mb(Full);
        if bucket.waiters.load(Relaxed) == 0 {
            return 0;
        }
        self.wake_up_to(bucket, id, None, count, mask)
    }

    /// As `wake`, for those who were queued before the moment that [`Self::atomically`] gave.
    pub(crate) fn wake_before(&self, id: &KeyId, limit: u64, count: u32, mask: u32) -> u32 {
        self.wake_up_to(
            &self.buckets[self.index_of(id)],
            id,
            Some(limit),
            count,
            mask,
        )
    }

    fn wake_up_to(
        &self,
        bucket: &Bucket,
        id: &KeyId,
        mut limit: Option<u64>,
        count: u32,
        mask: u32,
    ) -> u32 {
        let mut woken = 0u32;
        let mut few = [const { None }; CAPACITY];
        let mut batch = Batch::new(&mut few);

        loop {
            let mut chain = bucket.chain.lock();
            let limit = *limit.get_or_insert(chain.limit());
            let more = chain.take(id, count.saturating_sub(woken), limit, mask, &mut batch);
            drop(chain);

            bucket.waiters.fetch_sub(batch.left(), Relaxed);
            woken = woken.saturating_add(batch.len() as u32);
            batch.notify();
            if !more {
                return woken;
            }
        }
    }

    /// Runs `f` under the locks of both words' buckets. Returns also the moment at which it ran, in
    /// the one and in the other.
    pub(crate) fn atomically<R>(
        &self,
        id: &KeyId,
        id2: &KeyId,
        f: impl FnOnce() -> R,
    ) -> (R, (u64, u64)) {
        let pair = lock_pair(self.lock_of(id), self.lock_of(id2));
        let ret = f();

        match pair {
            Pair::Same(chain) => (ret, (chain.limit(), chain.limit())),
            Pair::Two(first, second) => (ret, (first.limit(), second.limit())),
        }
    }

    /// Counts keys and entries, for the statistics.
    pub(crate) fn census(&self) -> Census {
        let mut census = Census::default();

        for bucket in self.buckets.iter() {
            if bucket.waiters.load(Relaxed) == 0 {
                continue;
            }
            let chain = bucket.chain.lock();
            for key in chain.keys.iter() {
                census.keys += 1;
                census.entries += key.entries.access(&chain).iter().count();
            }
            drop(chain);
            census.waiters += i64::from(bucket.waiters.load(Relaxed));
        }
        census
    }
}

/// How full a table is.
#[derive(Default)]
pub(crate) struct Census {
    /// Words that are waited on.
    pub(crate) keys: usize,
    /// Entries that are queued.
    pub(crate) entries: usize,
    /// The sum of the buckets' counts of waiters.
    pub(crate) waiters: i64,
}

#[kunit_tests(afutex_table)]
mod tests {
    use super::*;
    use crate::futex::wake::ANY;
    use kernel::current;
    use kernel::task::Task;

    /// Queues one more that waits on the word at `offset`.
    fn queue(table: &Table, offset: usize) -> Result<Arc<Entry>> {
        let queued = Entry::new()?;
        let entry = queued.clone_arc();
        let task: &Task = current!();

        table.enqueue(
            Key::of_nothing(table, offset)?,
            queued,
            Target::Task(task.into()),
            ANY,
            || Ok::<_, Error>(()),
        )?;
        Ok(entry)
    }

    fn is_empty(table: &Table) -> bool {
        let census = table.census();
        census.keys == 0 && census.entries == 0 && census.waiters == 0
    }

    #[test]
    fn buckets_are_a_power_of_two() -> Result {
        assert!(Table::new(0)?.buckets().is_power_of_two());
        assert_eq!(Table::new(64)?.buckets(), 64);
        assert!(Table::new(65).is_err());
        Ok(())
    }

    #[test]
    fn nobody_waits() -> Result {
        let table = Table::new(256)?;

        assert_eq!(table.wake(&KeyId::of_nothing(0), u32::MAX, ANY), 0);
        assert!(table.dequeue(&*Entry::new()?).is_none());
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn refused_entry_leaves_nothing() -> Result {
        let table = Table::new(256)?;
        let task: &Task = current!();
        let queued = Entry::new()?;
        let entry = queued.clone_arc();
        let key = Key::of_nothing(&table, 0)?;
        let kept = key.clone_arc();

        let ret = table.enqueue(key, queued, Target::Task(task.into()), ANY, || Err(EAGAIN));
        assert_eq!(ret, Err(EAGAIN));
        assert!(!entry.is_queued());
        assert!(is_empty(&table));
        // Ours are the last references.
        assert!(Arc::into_unique_or_drop(kept).is_some());
        assert!(Arc::into_unique_or_drop(entry).is_some());
        Ok(())
    }

    #[test]
    fn first_come_first_woken() -> Result {
        let table = Table::new(256)?;
        let mut entries = KVec::new();

        for _ in 0..40 {
            entries.push(queue(&table, 0)?, GFP_KERNEL)?;
        }
        assert_eq!(table.census().keys, 1);
        assert_eq!(table.census().entries, 40);

        // More than a batch holds.
        assert_eq!(table.wake(&KeyId::of_nothing(0), 23, ANY), 23);
        for (i, entry) in entries.iter().enumerate() {
            assert_eq!(entry.is_queued(), i >= 23);
        }
        assert_eq!(table.wake(&KeyId::of_nothing(4), u32::MAX, ANY), 0);
        assert_eq!(table.wake(&KeyId::of_nothing(0), u32::MAX, ANY), 17);
        assert!(is_empty(&table));
        Ok(())
    }

    #[test]
    fn count_of_zero_wakes_nobody() -> Result {
        let table = Table::new(256)?;
        let entry = queue(&table, 0)?;

        assert_eq!(table.wake(&KeyId::of_nothing(0), 0, ANY), 0);
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
        assert_eq!(table.wake(&KeyId::of_nothing(0), 2, ANY), 1);
        assert!(!woken.is_queued());
        assert!(table.dequeue(&woken).is_none());
        assert!(is_empty(&table));
        Ok(())
    }

    /// A key lives as long as somebody waits on it, and no longer.
    #[test]
    fn key_goes_with_its_last_entry() -> Result {
        let table = Table::new(256)?;
        let first = queue(&table, 0)?;
        let second = queue(&table, 0)?;

        drop(table.dequeue(&first));
        assert_eq!(table.census().keys, 1);
        let seat = table.dequeue(&second).ok_or(EINVAL)?;
        assert_eq!(table.census().keys, 0);
        assert!(Arc::into_unique_or_drop(seat.key).is_some());
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
        assert_eq!(table.census().keys, count);
        for (n, entry) in entries.iter().enumerate() {
            assert!(entry.is_queued());
            assert_eq!(table.wake(&KeyId::of_nothing(n * 4), u32::MAX, ANY), 1);
            assert!(!entry.is_queued());
        }
        assert!(is_empty(&table));
        Ok(())
    }
}
