// SPDX-License-Identifier: GPL-2.0

//! A count of waiters that wakers look at without a lock.

use super::bindings;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// How many wait, or are about to.
///
/// Counting up and looking are ordered as the two sides of a store buffer: either who looks sees the
/// count, or who counted sees all that the other stored before he looked.
#[repr(transparent)]
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
        // SAFETY: An `Atomic<i32>` is an `atomic_t`.
        unsafe { bindings::afutex_is_zero(core::ptr::from_ref(&self.0).cast()) }
    }

    /// As `is_zero`, where a full barrier was passed before.
    #[inline]
    pub(crate) fn is_zero_after_fence(&self) -> bool {
        self.0.load(Relaxed) == 0
    }

    /// The count, for statistics.
    pub(crate) fn get(&self) -> i32 {
        self.0.load(Relaxed)
    }
}
