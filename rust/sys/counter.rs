// SPDX-License-Identifier: GPL-2.0

//! A count of waiters that wakers look at without a lock.

use super::read_once::read_once;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::barrier::smp_mb;

/// How many wait, or are about to.
///
/// Counting up and looking are ordered as the two sides of a store buffer: either who looks sees the
/// count, or who counted sees all that the other stored before he looked.
pub(crate) struct Counter(Atomic<i32>);

impl Counter {
    /// Creates a count of 0.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }

    /// Counts up: a full barrier.
    pub(crate) fn add(&self, count: i32) {
        self.0.fetch_add(count, Full);
    }

    /// Counts down. No barrier.
    pub(crate) fn sub(&self, count: i32) {
        self.0.add(count.wrapping_neg(), Relaxed);
    }

    /// Whether nobody is counted: a full barrier, and then a look.
    #[inline]
    pub(crate) fn is_zero(&self) -> bool {
        smp_mb(Full);
        self.is_zero_after_fence()
    }

    /// As `is_zero`, where a full barrier was passed before.
    #[inline]
    pub(crate) fn is_zero_after_fence(&self) -> bool {
        self.get() == 0
    }

    /// The count.
    #[inline]
    pub(crate) fn get(&self) -> i32 {
        read_once(&self.0)
    }
}
