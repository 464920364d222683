// SPDX-License-Identifier: GPL-2.0

//! Wakes that were counted for a watch, alone or in a set, and not read yet.
//!
//! If the watch goes before they are read, they are passed on to other waiters on the word. Wakes
//! are hints to look at the word again: one too many does no harm, one too few does. Where wakes
//! with different bitsets are unread, all waiters for any of the bits are woken.

use crate::sys::bindings;
use crate::sys::fence::Fenced;
use crate::sys::read_once::read_once;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;

/// Unread wakes, in one word:
///
/// ```text
///     63      62         31    30    29                 0
///   +---------+------------+-------+---------------------+
///   | changed | bitset     | mixed | count, at most COUNT |
///   +---------+------------+-------+---------------------+
/// ```
///
/// `bitset` has the bits that they were for, `mixed` is set if they were for different ones, and
/// `changed` if the word held another value when the watch was to be armed.
#[derive(Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Unread(u64);

impl Unread {
    const COUNT: u32 = (1 << 30) - 1;
    const MIXED_SHIFT: u32 = 30;
    const MIXED: u64 = 1 << Self::MIXED_SHIFT;
    const BITSET_SHIFT: u32 = 31;
    const CHANGED: u64 = 1 << 63;

    /// No wake, but a word that has changed.
    pub(crate) const fn changed_word() -> Self {
        Self(Self::CHANGED)
    }

    /// One wake for the bits of `bitset`.
    #[inline]
    pub(crate) const fn one(bitset: u32) -> Self {
        Self((bitset as u64) << Self::BITSET_SHIFT | 1)
    }

    /// How many; saturates at 2^30 - 1.
    #[inline]
    pub(crate) const fn count(self) -> u32 {
        self.0 as u32 & Self::COUNT
    }

    /// The bits that they were for.
    pub(crate) const fn bitset(self) -> u32 {
        (self.0 >> Self::BITSET_SHIFT) as u32
    }

    /// What read(2) of a watch returns: the count, and `AFUTEX_CHANGED`.
    #[inline]
    pub(crate) const fn as_read(self) -> u64 {
        const _: () = assert!(Unread::CHANGED == bindings::AFUTEX_CHANGED as u64);

        self.0 & (Self::CHANGED | Self::COUNT as u64)
    }

    /// Whether there is nothing to read.
    #[inline]
    pub(crate) const fn is_empty(self) -> bool {
        self.0 == 0
    }

    /// What is in either.
    #[inline]
    pub(crate) const fn and(self, other: Self) -> Self {
        // The common case.
        if self.is_empty() {
            return other;
        }

        let both = self.count() != 0 && other.count() != 0;
        let mixed = both && self.bitset() != other.bitset();
        // Two of 30 bits make 31.
        let sum = self.count() + other.count();
        let count = if sum > Self::COUNT { Self::COUNT } else { sum };
        let rest = (self.0 | other.0) & !(Self::COUNT as u64);

        Self(rest | (mixed as u64) << Self::MIXED_SHIFT | count as u64)
    }

    /// Those of them that are left if no more than `count` are.
    pub(crate) fn at_most(self, count: u64) -> Self {
        match count {
            0 => Self::default(),
            count if count < u64::from(self.count()) => {
                Self(self.0 & !u64::from(Self::COUNT) | count)
            }
            _ => self,
        }
    }

    /// Whether the wakes were for different bits.
    pub(crate) const fn is_mixed(self) -> bool {
        self.0 & Self::MIXED != 0
    }
}

/// [`Unread`], counted and read without a lock.
pub(crate) struct AtomicUnread(Atomic<u64>);

impl AtomicUnread {
    /// Creates one with nothing to read.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Adds a wake. A full barrier.
    ///
    /// Takes two steps if there is something already; between them only the new wake is visible.
    #[inline(always)]
    pub(crate) fn add(&self, more: Unread) -> Fenced {
        // Most often there is nothing, and an exchange is the shortest.
        let (old, fenced) = Fenced::xchg(&self.0, more.0);

        if old != 0 {
            return self.merge(Unread(old));
        }
        fenced
    }

    /// Adds anything, in one step. A full barrier.
    #[cold]
    pub(crate) fn merge(&self, more: Unread) -> Fenced {
        Fenced::update(&self.0, |old| Unread(old).and(more).0)
    }

    /// Takes all there is. A full barrier.
    #[inline]
    pub(crate) fn take(&self) -> Unread {
        Unread(Fenced::xchg(&self.0, 0).0)
    }

    /// What there is at this moment.
    #[inline]
    pub(crate) fn get(&self) -> Unread {
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
        assert_eq!(two.bitset(), 6);
        assert!(two.0 & Unread::MIXED == 0);
        assert_eq!(two.as_read(), 2);
        assert!(Unread::default().is_empty());
        assert!(Unread::default().and(two) == two);
        assert!(two.and(Unread::default()) == two);
    }

    #[test]
    fn different_bitsets_are_mixed() {
        let two = Unread::one(1).and(Unread::one(8));

        assert_eq!(two.bitset(), 9);
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
    fn count_saturates() {
        let most = Unread(Unread::one(1).0 | Unread::COUNT as u64);

        assert_eq!(most.and(Unread::one(1)).count(), Unread::COUNT);
        assert_eq!(most.and(most), most);
    }

    #[test]
    fn some_were_taken() {
        let two = Unread::one(6).and(Unread::one(6));

        assert!(two.at_most(0).is_empty());
        assert!(two.at_most(1) == Unread::one(6));
        assert!(two.at_most(2) == two);
        assert!(two.at_most(u64::MAX) == two);
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
