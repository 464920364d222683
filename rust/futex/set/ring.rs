// SPDX-License-Identifier: GPL-2.0

//! Events in memory: the ring of a set that user space maps.
//!
//! # Layout
//!
//! ```text
//!   0     head           u64, how many numbers were taken: the readers'
//!   64    tail           u64, how many were put there: the kernel's
//!   128   counts         u64 for each member, by its number: wakes since they were taken, and
//!                        AFUTEX_CHANGED
//!   ...   numbers        u32 for each member: the ring
//! ```
//!
//! # Protocol
//!
//! A wake counts in the member, and if there was nothing, puts the member's number on the ring. A
//! reader takes a number, and then what was counted for it:
//!
//! ```text
//!   kernel                                 reader
//!
//!   old = xadd(counts[n], 1)               n = numbers[head]
//!   if old == 0 and                        head = head + 1
//!      n is not between head and tail      count = xchg(counts[n], 0)
//!           numbers[tail] = n
//!           tail = tail + 1
//! ```
//!
//! `xadd` and `xchg` are full barriers, and the reader advances `head` before it takes the count.
//! So if the kernel sees an old `head`, and leaves the number where it is, the reader's exchange
//! comes after its addition, and gets it: no wake is lost. And a number is between `head` and
//! `tail` once at most, so there is room for all. A reader may find a count of 0, of a wake that
//! was taken with the one before, or of a member that was removed. `mapped.pml` is a model of it.
//!
//! # Trust
//!
//! User space may write anything anywhere at any time. The kernel reads `head`, to see whether a
//! number is still on the ring and whether there is anything to read, and the counts, to pass on
//! what is left in them; it passes on no more than it counted. Where a number goes and what the
//! next is it knows itself.

use super::super::unread::Unread;
use crate::sys::bindings;
use crate::sys::fence::Fenced;
use crate::sys::read_once::{
    read_once,
    write_once, //
};
use crate::sys::shared_pages::{
    Access,
    SharedPages, //
};
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full, //
};
use kernel::sync::Arc;

/// What is said of a member in its count, beside wakes.
const CHANGED: u64 = bindings::AFUTEX_CHANGED as u64;

/// Where things are, in units of 64 bits.
const HEAD: usize = 0;
const TAIL: usize = 8;
const COUNTS: usize = 16;

const _: () = assert!(COUNTS * size_of::<u64>() == size_of::<bindings::afutex_ring>());

/// The ring of a set. Its owner has it under a lock.
pub(crate) struct Ring {
    pages: Arc<SharedPages>,
    /// One less than the members that there is room for.
    mask: usize,
    /// Where the ring is in the pages, in units of 32 bits.
    numbers: usize,
    /// The kernel's own: how many numbers were put on the ring.
    tail: u64,
    /// How many of them readers can see.
    published: u64,
    /// For each number, what `tail` was when it was put there last.
    places: KVVec<u64>,
}

impl Ring {
    /// The memory of a ring for `members` that user space maps, and all of it, in bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no power of two, or too large.
    fn sizes(members: u32) -> Result<(usize, usize)> {
        if !members.is_power_of_two() || members > bindings::AFUTEX_RING_MAX {
            return Err(EINVAL);
        }
        let count = members as usize;
        let shared = COUNTS * size_of::<u64>() + count * (size_of::<u64>() + size_of::<u32>());

        Ok((shared, shared + count * size_of::<u64>()))
    }

    /// The memory that a ring for `members` takes, in bytes.
    ///
    /// # Errors
    ///
    /// `EINVAL` for a number that is no power of two, or too large.
    pub(crate) fn memory(members: u32) -> Result<usize> {
        Self::sizes(members).map(|(_, all)| all)
    }

    /// Creates a ring for `members`, without events.
    ///
    /// # Errors
    ///
    /// `EINVAL` as for [`Self::memory`], `ENOMEM`.
    pub(crate) fn new(members: u32) -> Result<Self> {
        let (bytes, _) = Self::sizes(members)?;
        let count = members as usize;
        let mut places = KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?;

        for _ in 0..count {
            // Not between any head and tail that may be.
            places.push(u64::MAX, GFP_KERNEL_ACCOUNT)?;
        }
        let pages = SharedPages::new(
            bytes.div_ceil(PAGE_SIZE),
            Access::ReadAndWrite,
            GFP_KERNEL_ACCOUNT,
        )?;
        Ok(Self {
            pages: Arc::new(pages, GFP_KERNEL_ACCOUNT)?,
            mask: count.wrapping_sub(1),
            numbers: (COUNTS + count) * 2,
            tail: 0,
            published: 0,
            places,
        })
    }

    /// How many members it has room for.
    pub(crate) fn members(&self) -> u32 {
        self.places.len() as u32
    }

    /// What user space maps.
    pub(crate) fn pages(&self) -> &Arc<SharedPages> {
        &self.pages
    }

    #[inline]
    fn head(&self) -> u64 {
        read_once(&self.pages.longs()[HEAD])
    }

    /// The count of a member. One without a number has none.
    #[inline]
    fn count_of(&self, number: u32) -> Option<&Atomic<u64>> {
        self.pages.longs().get(COUNTS.wrapping_add(number as usize))
    }

    /// Whether readers have taken all numbers.
    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.head() == self.tail
    }

    /// Counts a wake of a member, also in `unread`. To be [published](Self::publish).
    #[inline(always)]
    pub(crate) fn add_wake(&mut self, number: u32, unread: &mut Unread, bitset: u32) {
        // `count_of` and `head` look for the memory again, which is 10 instructions for each wake.
        let longs = self.pages.longs();
        let Some(count) = longs.get(COUNTS.wrapping_add(number as usize)) else {
            return;
        };
        let old = count.fetch_add(1, Full);

        if old == 0 {
            self.put(number, read_once(&longs[HEAD]));
        }
        // What was unread before was taken, if the count says so.
        *unread = match old & !CHANGED {
            0 => Unread::one(bitset),
            _ => unread.and(Unread::one(bitset)),
        };
    }

    /// Notes that the word of a member has changed.
    pub(crate) fn add_change(&mut self, number: u32) {
        let Some(count) = self.count_of(number) else {
            return;
        };

        // Only this sets it, and readers only take it away.
        if read_once(count) & CHANGED == 0 && count.fetch_add(CHANGED, Full) == 0 {
            self.put(number, self.head());
            self.publish();
        }
    }

    /// How many wakes of a member were not taken: as many as user space says.
    pub(crate) fn wakes(&self, number: u32) -> u64 {
        self.count_of(number).map_or(0, read_once) & !CHANGED
    }

    /// Takes what was counted for a member. Its number may stay on the ring.
    pub(crate) fn take(&mut self, number: u32) -> u64 {
        self.count_of(number)
            .map_or(0, |count| count.xchg(0, Full) & !CHANGED)
    }

    /// Shows readers what was put on the ring. If it was anything, a full barrier.
    #[inline]
    pub(crate) fn publish(&mut self) -> Option<Fenced> {
        if self.published == self.tail {
            return None;
        }
        self.published = self.tail;
        // Pairs with the acquire of a reader.
        Some(Fenced::xchg(&self.pages.longs()[TAIL], self.tail).1)
    }

    /// Puts a number on the ring, unless it is there.
    ///
    /// `head` was read after a full barrier: the addition.
    #[inline(always)]
    fn put(&mut self, number: u32, head: u64) {
        let tail = self.tail;
        let Some(place) = self.places.get_mut(number as usize) else {
            return;
        };

        if place.wrapping_sub(head) < tail.wrapping_sub(head) {
            return;
        }
        *place = tail;
        let at = tail as usize & self.mask;

        if let Some(entry) = self.pages.words().get(self.numbers.wrapping_add(at)) {
            write_once(entry, number as i32);
        }
        self.tail = tail.wrapping_add(1);
    }
}

#[kunit_tests(afutex_ring)]
mod tests {
    use super::*;

    /// What a waker does. Returns whether what was there before was taken.
    fn add_wake(ring: &mut Ring, number: u32) -> bool {
        let mut unread = Unread::one(2);

        ring.add_wake(number, &mut unread, 1);
        ring.publish();
        unread == Unread::one(1)
    }

    /// What a reader does.
    fn take(ring: &mut Ring) -> Option<(u32, u64)> {
        let longs = ring.pages.longs();
        let head = read_once(&longs[HEAD]);

        if head == read_once(&longs[TAIL]) {
            return None;
        }
        let at = ring.numbers + (head as usize & ring.mask);
        let number = read_once(&ring.pages.words()[at]) as u32;

        write_once(&longs[HEAD], head.wrapping_add(1));
        Some((number, ring.count_of(number)?.xchg(0, Full)))
    }

    #[test]
    fn members_are_a_power_of_two() -> Result {
        const MAX: u32 = bindings::AFUTEX_RING_MAX;

        for wrong in [0, 3, MAX + 1, MAX * 2, u32::MAX] {
            assert!(Ring::new(wrong).is_err());
        }
        for right in [1, 2, 1024] {
            assert!(Ring::new(right)?.is_empty());
        }
        Ok(())
    }

    #[test]
    fn a_member_is_there_once() -> Result {
        let mut ring = Ring::new(4)?;

        assert!(add_wake(&mut ring, 2));
        assert!(!add_wake(&mut ring, 2));
        assert!(add_wake(&mut ring, 1));
        ring.add_change(2);
        ring.add_change(2);
        assert_eq!(ring.wakes(2), 2);
        assert_eq!(take(&mut ring), Some((2, CHANGED | 2)));
        assert_eq!(take(&mut ring), Some((1, 1)));
        assert_eq!(take(&mut ring), None);
        ring.add_change(3);
        assert!(add_wake(&mut ring, 3));
        assert_eq!(take(&mut ring), Some((3, CHANGED | 1)));
        Ok(())
    }

    /// A member that is removed and whose number is given again may still be on the ring.
    #[test]
    fn a_number_that_stayed_is_not_put_again() -> Result {
        let mut ring = Ring::new(2)?;

        add_wake(&mut ring, 1);
        for _ in 0..10 {
            assert!(add_wake(&mut ring, 0));
            assert_eq!(ring.take(0), 1);
        }
        assert!(add_wake(&mut ring, 0));
        assert_eq!(take(&mut ring), Some((1, 1)));
        assert_eq!(take(&mut ring), Some((0, 1)));
        assert_eq!(take(&mut ring), None);
        Ok(())
    }

    /// Whatever user space writes, the kernel stays within the ring.
    #[test]
    fn garbage_does_no_harm() -> Result {
        let mut ring = Ring::new(2)?;

        for head in [u64::MAX, 1 << 63, 1, u64::MAX - 1, 0] {
            write_once(&ring.pages.longs()[HEAD], head);
            write_once(&ring.pages.longs()[TAIL], head);
            if let Some(count) = ring.count_of(1) {
                write_once(count, u64::MAX);
            }
            for _ in 0..5 {
                add_wake(&mut ring, 0);
                add_wake(&mut ring, 1);
                ring.add_change(1);
                ring.take(0);
            }
        }
        Ok(())
    }
}
