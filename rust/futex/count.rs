// SPDX-License-Identifier: GPL-2.0

//! Counts: of waiters, which wakers look at without a lock, and of objects, for the statistics.

use crate::sys::fence::Fenced;
use crate::sys::read_once::read_once;
use core::borrow::Borrow;
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};

/// A count of tasks and descriptors that wait, or are about to.
///
/// Counting up and looking are the two sides of a store buffer: either the waker sees the count, or
/// the waiter sees all that the waker stored before its barrier. The essay is in `wake.rs`.
pub(crate) struct Waiters<A = Atomic<i32>>(A);

impl Waiters {
    /// Creates a count of 0.
    pub(crate) const fn new() -> Self {
        Self(Atomic::new(0))
    }
}

impl<'a> Waiters<&'a Atomic<i32>> {
    /// The count that is kept there.
    #[inline]
    pub(crate) fn at(cell: &'a Atomic<i32>) -> Self {
        Self(cell)
    }
}

impl<A: Borrow<Atomic<i32>>> Waiters<A> {
    /// Counts up. A full barrier.
    #[inline]
    pub(crate) fn inc(&self, count: i32) {
        self.0.borrow().fetch_add(count, Full);
    }

    /// Counts down. No barrier.
    #[inline]
    pub(crate) fn dec(&self, count: i32) {
        self.0.borrow().add(count.wrapping_neg(), Relaxed);
    }

    /// Whether there are none. The caller passed a full barrier after its stores.
    #[inline]
    pub(crate) fn none(&self, _: Fenced) -> bool {
        self.get() == 0
    }

    /// The count at some moment.
    #[inline]
    pub(crate) fn get(&self) -> i32 {
        read_once(self.0.borrow())
    }
}

/// Waiters on shared words in private mappings of files, or tasks that are about to be. Where there
/// is none, a waker need not ask how a page of a file is mapped.
pub(crate) static PRIVATE_FILES: Waiters = Waiters::new();

/// Folios that are pinned, for each user.
pub(crate) static PINNED: Atomic<i64> = Atomic::new(0);
/// File descriptors, except those of `/dev/afutex` itself.
pub(crate) static FDS: Atomic<i64> = Atomic::new(0);

/// Counts an object for as long as it exists.
pub(crate) struct Counted(&'static Atomic<i64>);

impl Counted {
    /// Counts one up.
    pub(crate) fn new(counter: &'static Atomic<i64>) -> Self {
        counter.add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1, Relaxed);
    }
}
