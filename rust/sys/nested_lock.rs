// SPDX-License-Identifier: GPL-2.0

//! Two spinlocks of one class, taken in the order of their addresses.
//!
//! C header: [`include/linux/spinlock.h`](srctree/include/linux/spinlock.h).

use super::bindings;
use core::ptr;
use kernel::sync::lock::spinlock::SpinLockBackend;
use kernel::sync::lock::Guard;
use kernel::sync::SpinLock;

/// Both locks, or the one that they are.
pub(crate) enum Pair<'a, T> {
    /// They are the same lock.
    Same(Guard<'a, T, SpinLockBackend>),
    /// They are two.
    Two(Guard<'a, T, SpinLockBackend>, Guard<'a, T, SpinLockBackend>),
}

/// Takes `first` and `second`, which are of one class, in the order of their addresses.
pub(crate) fn lock_pair<'a, T>(first: &'a SpinLock<T>, second: &'a SpinLock<T>) -> Pair<'a, T> {
    if ptr::eq(first, second) {
        return Pair::Same(first.lock());
    }
    if ptr::from_ref(first) < ptr::from_ref(second) {
        let outer = first.lock();
        Pair::Two(outer, lock_nested(second))
    } else {
        let outer = second.lock();
        Pair::Two(lock_nested(first), outer)
    }
}

/// Takes `lock` while one other of its class is held, telling lockdep that this is meant.
fn lock_nested<T>(lock: &SpinLock<T>) -> Guard<'_, T, SpinLockBackend> {
    // SAFETY: A `Lock` begins with the lock itself, as `Lock::from_raw` relies on too, and a
    // reference to it means that it is initialised. The guard owns what is taken here.
    unsafe {
        bindings::afutex_spin_lock_nested(ptr::from_ref(lock).cast_mut().cast());
        Guard::new(lock, ())
    }
}
