// SPDX-License-Identifier: GPL-2.0

//! Wakes that were counted for a watch, alone or in a set, and that nobody has read.
//!
//! If the watch goes before, they are passed on to others who wait on the word. Wakes are hints to
//! look at the word again: one too many does no harm, one too few does. Where wakes with different
//! masks are unread, all who wait for any of the bits are woken.

use super::entry::Waiter;
use super::Domain;
use crate::sys::bindings;
use crate::sys::read_once::read_once;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Full, //
};

/// Wakes that nobody has read, in one word:
///
/// ```text
///     63      62         31    30    29                 0
///   +---------+------------+-------+---------------------+
///   | changed | mask       | mixed | count, at most COUNT |
///   +---------+------------+-------+---------------------+
/// ```
///
/// `mask` has the bits that they were for, `mixed` is set if they were for different ones, and
/// `changed` if the word held another value when the watch was to be armed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Unread(u64);

impl Unread {
    const COUNT: u32 = (1 << 30) - 1;
    const MIXED: u64 = 1 << 30;
    const MASK_SHIFT: u32 = 31;
    const CHANGED: u64 = 1 << 63;

    /// No wake, but a word that has changed.
    pub(super) const fn changed_word() -> Self {
        Self(Self::CHANGED)
    }

    /// One wake for the bits of `mask`.
    #[inline]
    pub(super) const fn one(mask: u32) -> Self {
        Self((mask as u64) << Self::MASK_SHIFT | 1)
    }

    /// How many. Does not go beyond 2^30 - 1.
    #[inline]
    pub(super) const fn count(self) -> u32 {
        self.0 as u32 & Self::COUNT
    }

    const fn mask(self) -> u32 {
        (self.0 >> Self::MASK_SHIFT) as u32
    }

    /// What read(2) of a watch returns: the count, and `AFUTEX_CHANGED`.
    #[inline]
    pub(super) const fn as_read(self) -> u64 {
        const _: () = assert!(Unread::CHANGED == bindings::AFUTEX_CHANGED as u64);

        self.0 & (Self::CHANGED | Self::COUNT as u64)
    }

    /// Whether there is nothing.
    #[inline]
    pub(super) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// All that is in the one or the other.
    #[inline]
    pub(super) const fn and(self, other: Self) -> Self {
        // Most often there was nothing.
        if self.is_empty() {
            return other;
        }

        let both = self.count() != 0 && other.count() != 0;
        let mixed = both && self.mask() != other.mask();
        // Two of 30 bits make 31.
        let sum = self.count() + other.count();
        let count = if sum > Self::COUNT { Self::COUNT } else { sum };
        let rest = (self.0 | other.0) & !(Self::COUNT as u64);

        Self(rest | (mixed as u64) << 30 | count as u64)
    }

    /// Wakes others who wait on the word of `waiter` instead. No lock may be held.
    pub(super) fn pass_on(self, waiter: &Waiter, domain: &Domain) {
        if self.count() != 0 {
            let mixed = self.0 & Self::MIXED != 0;
            let count = if mixed { u32::MAX } else { self.count() };

            domain.table.wake(waiter.key.id(), count, self.mask());
        }
    }
}

/// [`Unread`], counted and read without a lock.
pub(super) struct AtomicUnread(Atomic<u64>);

impl AtomicUnread {
    /// Creates one with nothing.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds a wake to what there is. A full barrier.
    ///
    /// Between two steps of it, what there was cannot be seen, but the wake.
    #[inline(always)]
    pub(super) fn add(&self, more: Unread) {
        // Most often there is nothing, and an exchange is the shortest.
        let old = self.0.xchg(more.0, Full);

        if old != 0 {
            self.merge(Unread(old));
        }
    }

    /// As `add`, of anything, in one step.
    #[cold]
    pub(super) fn merge(&self, more: Unread) {
        let mut old = 0;

        while let Err(now) = self.0.cmpxchg(old, Unread(old).and(more).0, Full) {
            old = now;
        }
    }

    /// Takes all there is. A full barrier.
    #[inline]
    pub(super) fn take(&self) -> Unread {
        Unread(self.0.xchg(0, Full))
    }

    /// What there is at this moment.
    #[inline]
    pub(super) fn get(&self) -> Unread {
        Unread(read_once(&self.0))
    }
}

#[kunit_tests(afutex_unread)]
mod tests {
    use super::*;

    #[test]
    fn wakes_add_up() {
        let two = Unread::one(6).and(Unread::one(6));

        assert_eq!(two.count(), 2);
        assert_eq!(two.mask(), 6);
        assert!(two.0 & Unread::MIXED == 0);
        assert_eq!(two.as_read(), 2);
        assert!(Unread::default().is_empty());
        assert!(Unread::default().and(two) == two);
        assert!(two.and(Unread::default()) == two);
    }

    #[test]
    fn different_masks_are_told_apart() {
        let two = Unread::one(1).and(Unread::one(8));

        assert_eq!(two.mask(), 9);
        assert!(two.0 & Unread::MIXED != 0);
        assert!(two.and(Unread::one(9)).0 & Unread::MIXED != 0);
    }

    #[test]
    fn a_changed_word_is_no_wake() {
        let changed = Unread::changed_word().and(Unread::one(3));

        assert_eq!(changed.as_read(), bindings::AFUTEX_CHANGED as u64 | 1);
        assert_eq!(changed.count(), 1);
        assert!(changed.0 & Unread::MIXED == 0);
        assert_eq!(Unread::changed_word().count(), 0);
    }

    #[test]
    fn count_has_an_end() {
        let most = Unread(Unread::one(1).0 | Unread::COUNT as u64);

        assert_eq!(most.and(Unread::one(1)).count(), Unread::COUNT);
        assert_eq!(most.and(most), most);
    }

    #[test]
    fn atomically() {
        let unread = AtomicUnread::new();

        unread.add(Unread::one(1));
        unread.add(Unread::one(1));
        assert_eq!(unread.get().count(), 2);
        assert_eq!(unread.take().count(), 2);
        assert!(unread.get().is_empty());
    }
}
