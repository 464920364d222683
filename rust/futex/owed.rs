// SPDX-License-Identifier: GPL-2.0

//! Wakes that were counted for a watch, alone or in a set, and that nobody has read.
//!
//! If the watch goes before, they are passed on to others who wait on the word. Wakes are hints to
//! look at the word again: one too many does no harm, one too few does. Where wakes with different
//! masks are owed, all who wait for any of the bits are woken.

use super::entry::Seat;
use super::Futexes;
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
pub(super) struct Owed(u64);

impl Owed {
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
        const _: () = assert!(Owed::CHANGED == bindings::AFUTEX_CHANGED as u64);

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

    /// Wakes others who wait on the word of `seat` instead. No lock may be held.
    pub(super) fn pass_on(self, seat: &Seat, futexes: &Futexes) {
        if self.count() != 0 {
            let mixed = self.0 & Self::MIXED != 0;
            let count = if mixed { u32::MAX } else { self.count() };

            futexes.table.wake(seat.key.id(), count, self.mask());
        }
    }
}

/// [`Owed`], counted and read without a lock.
pub(super) struct AtomicOwed(Atomic<u64>);

impl AtomicOwed {
    /// Creates one with nothing.
    pub(super) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds a wake to what there is. A full barrier.
    ///
    /// Between two steps of it, what there was cannot be seen, but the wake.
    #[inline(always)]
    pub(super) fn add(&self, more: Owed) {
        // Most often there is nothing, and an exchange is the shortest.
        let old = self.0.xchg(more.0, Full);

        if old != 0 {
            self.merge(Owed(old));
        }
    }

    /// As `add`, of anything, in one step.
    #[cold]
    pub(super) fn merge(&self, more: Owed) {
        let mut old = 0;

        while let Err(now) = self.0.cmpxchg(old, Owed(old).and(more).0, Full) {
            old = now;
        }
    }

    /// Takes all there is. A full barrier.
    #[inline]
    pub(super) fn take(&self) -> Owed {
        Owed(self.0.xchg(0, Full))
    }

    /// What there is at this moment.
    #[inline]
    pub(super) fn get(&self) -> Owed {
        Owed(read_once(&self.0))
    }
}

#[kunit_tests(afutex_owed)]
mod tests {
    use super::*;

    #[test]
    fn wakes_add_up() {
        let two = Owed::one(6).and(Owed::one(6));

        assert_eq!(two.count(), 2);
        assert_eq!(two.mask(), 6);
        assert!(two.0 & Owed::MIXED == 0);
        assert_eq!(two.as_read(), 2);
        assert!(Owed::default().is_empty());
        assert!(Owed::default().and(two) == two);
        assert!(two.and(Owed::default()) == two);
    }

    #[test]
    fn different_masks_are_told_apart() {
        let two = Owed::one(1).and(Owed::one(8));

        assert_eq!(two.mask(), 9);
        assert!(two.0 & Owed::MIXED != 0);
        assert!(two.and(Owed::one(9)).0 & Owed::MIXED != 0);
    }

    #[test]
    fn a_changed_word_is_no_wake() {
        let changed = Owed::changed_word().and(Owed::one(3));

        assert_eq!(changed.as_read(), bindings::AFUTEX_CHANGED as u64 | 1);
        assert_eq!(changed.count(), 1);
        assert!(changed.0 & Owed::MIXED == 0);
        assert_eq!(Owed::changed_word().count(), 0);
    }

    #[test]
    fn count_has_an_end() {
        let most = Owed(Owed::one(1).0 | Owed::COUNT as u64);

        assert_eq!(most.and(Owed::one(1)).count(), Owed::COUNT);
        assert_eq!(most.and(most), most);
    }

    #[test]
    fn atomically() {
        let owed = AtomicOwed::new();

        owed.add(Owed::one(1));
        owed.add(Owed::one(1));
        assert_eq!(owed.get().count(), 2);
        assert_eq!(owed.take().count(), 2);
        assert!(owed.get().is_empty());
    }
}
