// SPDX-License-Identifier: GPL-2.0

//! Wakes that were counted for a watch, alone or in a set, and that nobody has read.
//!
//! If the watch goes before, they are passed on to others who wait on the word. Wakes are hints to
//! look at the word again: one too many does no harm, one too few does. Where wakes with different
//! masks are owed, all who wait for any of the bits are woken.

use super::entry::Seat;
use super::Futexes;

/// Wakes that nobody has read.
#[derive(Default)]
pub(super) struct Owed {
    count: u32,
    /// The bits that they were for.
    mask: u32,
    /// Whether they were for different bits.
    mixed: bool,
}

impl Owed {
    /// How many. Does not go beyond 2^32 - 1.
    #[inline]
    pub(super) fn count(&self) -> u32 {
        self.count
    }

    /// Counts one more, for the bits of `mask`.
    #[inline]
    pub(super) fn add(&mut self, mask: u32) {
        self.merge(&Self {
            count: 1,
            mask,
            mixed: false,
        });
    }

    /// Counts those of `other` too.
    #[inline]
    pub(super) fn merge(&mut self, other: &Self) {
        self.mixed |= other.mixed || self.count != 0 && other.count != 0 && self.mask != other.mask;
        self.count = self.count.saturating_add(other.count);
        self.mask |= other.mask;
    }

    /// Wakes others who wait on the word of `seat` instead. No lock may be held.
    pub(super) fn pass_on(self, seat: &Seat, futexes: &Futexes) {
        if self.count != 0 {
            let count = if self.mixed { u32::MAX } else { self.count };
            futexes.table.wake(seat.key.id(), count, self.mask);
        }
    }
}
