// SPDX-License-Identifier: GPL-2.0

//! Wakes that were counted for a watch, alone or in a set, and that nobody has read.
//!
//! If the watch goes before, they are passed on to others who wait on the word. Wakes are hints to
//! look at the word again: one too many does no harm, one too few does. Where wakes with different
//! masks are owed, all who wait for any of the bits are woken.

use super::key::Key;
use super::Futexes;
use kernel::sync::Arc;

/// Wakes that nobody has read.
#[derive(Default)]
pub(super) struct Owed {
    count: u64,
    /// The bits that they were for.
    mask: u32,
    /// Whether they were for different bits.
    mixed: bool,
    /// The word they were for, if the entry has left it.
    key: Option<Arc<Key>>,
}

impl Owed {
    /// How many.
    pub(super) fn count(&self) -> u64 {
        self.count
    }

    /// Counts one more, for the bits of `mask`.
    pub(super) fn add(&mut self, mask: u32) {
        self.mixed |= self.count != 0 && self.mask != mask;
        self.count = self.count.saturating_add(1);
        self.mask |= mask;
    }

    /// Remembers the word, which the entry leaves.
    pub(super) fn keep(&mut self, key: &Arc<Key>) {
        self.key.get_or_insert_with(|| key.clone());
    }

    /// Takes over what `other` has. Returns what is left of it, to be dropped after the lock.
    #[must_use]
    pub(super) fn merge(&mut self, mut other: Self) -> Self {
        self.mixed |= other.mixed || self.count != 0 && other.count != 0 && self.mask != other.mask;
        self.count = self.count.saturating_add(core::mem::take(&mut other.count));
        self.mask |= other.mask;
        if self.key.is_none() {
            self.key = other.key.take();
        }
        other
    }

    /// Wakes others instead. No lock may be held.
    pub(super) fn pass_on(self, futexes: &Futexes) {
        if let (1.., Some(key)) = (self.count, &self.key) {
            let count = if self.mixed {
                u32::MAX
            } else {
                u32::try_from(self.count).unwrap_or(u32::MAX)
            };
            futexes.table.wake(key.id(), count, self.mask);
        }
    }
}
