// SPDX-License-Identifier: GPL-2.0

//! Data that is protected now by one lock, now by another of the same kind.
//!
//! [`kernel::sync::LockedBy`] ties data to one lock for ever. A futex entry moves: it belongs to no
//! lock, then to the lock of the bucket it is queued in, and a requeue takes it to another bucket.

use core::cell::UnsafeCell;
use core::marker::PhantomData;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Relaxed,
    Release, //
};

/// The data of a lock that [`Roaming`] data may live under.
///
/// Implementors must not be zero-sized, so that the address tells one lock's data from another's.
pub(crate) trait Home {}

/// A `T` that lives under a lock of the caller's choice, or nowhere.
///
/// Whoever holds the lock proves it with a mutable reference to the data the lock protects.
///
/// # Invariants
///
/// - `home` is 0, or the address of the `H` whose exclusive borrow gives access to `data`.
/// - `data` is `Some` exactly when `home` is not 0, but for the time between the two stores in
///   `settle` and `evict`, both made by the thread that borrows that `H`.
pub(crate) struct Roaming<T, H: Home> {
    home: Atomic<usize>,
    data: UnsafeCell<Option<T>>,
    _home: PhantomData<fn(&mut H)>,
}

// SAFETY: `Roaming` can be transferred across thread boundaries iff the data it protects can.
unsafe impl<T: Send, H: Home> Send for Roaming<T, H> {}

// SAFETY: `&T` and `&mut T` are only handed out for as long as the caller borrows the one `H`
// at `home` exclusively, so at most one thread at a time has access.
unsafe impl<T: Send, H: Home> Sync for Roaming<T, H> {}

impl<T, H: Home> Roaming<T, H> {
    /// Creates a `Roaming` that lives nowhere.
    pub(crate) const fn new() -> Self {
        const { assert!(size_of::<H>() > 0) };
        // INVARIANT: `home` is 0 and `data` is `None`.
        Self {
            home: Atomic::new(0),
            data: UnsafeCell::new(None),
            _home: PhantomData,
        }
    }

    /// Whether the data lives under some lock at this moment.
    ///
    /// Without that lock the answer may be stale; `false` then still means that everything done
    /// before the data was taken away is visible here.
    pub(crate) fn is_settled(&self) -> bool {
        self.home.load(Acquire) != 0
    }

    /// Puts `data` under the lock that protects `home`; gives it back if it lives somewhere.
    pub(crate) fn settle(&self, home: &mut H, data: T) -> Result<(), T> {
        if self
            .home
            .cmpxchg(0, ptr::from_mut(home).addr(), Acquire)
            .is_err()
        {
            return Err(data);
        }

        // SAFETY: `self.home` is the address of `home`, which we borrow exclusively, and it was 0
        // before, so by the type invariants nobody else may touch `data`.
        // INVARIANT: `home` is not 0 and `data` is `Some`.
        unsafe { *self.data.get() = Some(data) };
        Ok(())
    }

    /// The data, if it lives under the lock that protects `home`.
    pub(crate) fn access<'a>(&'a self, home: &'a mut H) -> Option<&'a mut T> {
        if self.home.load(Relaxed) != ptr::from_mut(home).addr() {
            return None;
        }

        // SAFETY: By the type invariants the exclusive borrow of the `H` at `self.home` gives
        // access to `data`, and it lasts as long as the reference returned.
        unsafe { (*self.data.get()).as_mut() }
    }

    /// Moves the data from under the lock that protects `from`, if it lives there, to under that of
    /// `to`. At no time it seems to live nowhere.
    pub(crate) fn relocate(&self, from: &mut H, to: &mut H) -> bool {
        if self.home.load(Relaxed) != ptr::from_mut(from).addr() {
            return false;
        }

        // INVARIANT: Both are borrowed exclusively, so nobody has access to `data` now, and from
        // here on who borrows `to` has. Who locks it next is ordered after us by its lock.
        self.home.store(ptr::from_mut(to).addr(), Release);
        true
    }

    /// Takes the data away, if it lives under the lock that protects `home`.
    pub(crate) fn evict(&self, home: &mut H) -> Option<T> {
        if self.home.load(Relaxed) != ptr::from_mut(home).addr() {
            return None;
        }

        // SAFETY: As in `access`.
        let data = unsafe { (*self.data.get()).take() };
        // INVARIANT: `data` is `None` and `home` is 0. The release orders the former, and all that
        // the caller did under the lock before, before the latter.
        self.home.store(0, Release);
        data
    }
}
