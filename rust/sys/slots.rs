// SPDX-License-Identifier: GPL-2.0

//! Objects by number: for each the smallest that is free.
//!
//! C header: [`include/linux/xarray.h`](srctree/include/linux/xarray.h).
//!
//! [`kernel::xarray`] can neither find a free index nor have its nodes accounted to the memory
//! cgroup of the task that stores.

use super::read_once::read_once;
use core::marker::PhantomData;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::types::{
    ForeignOwnable,
    Opaque, //
};

/// Objects by number.
///
/// A tree of nodes of 64 numbers, of which those go that nothing is in: memory follows the number
/// of objects, not the highest number that there was. It has a lock of its own.
///
/// # Invariants
///
/// `xa` is an initialised `xarray` that allocates numbers. Its entries come from
/// [`Arc::into_foreign`], and each owns a reference.
#[pin_data(PinnedDrop)]
pub(crate) struct Slots<T: 'static> {
    #[pin]
    xa: Opaque<bindings::xarray>,
    len: Atomic<usize>,
    _objects: PhantomData<Arc<T>>,
}

// SAFETY: It owns references, which may be sent if `Arc<T>` may be.
unsafe impl<T: Send + Sync> Send for Slots<T> {}
// SAFETY: All access is under the lock of the `xarray`, and gives out nothing but `Arc<T>`.
unsafe impl<T: Send + Sync> Sync for Slots<T> {}

/// The lock of an `xarray`, held.
struct Locked<'a>(&'a Opaque<bindings::xarray>);

impl<'a> Locked<'a> {
    fn new<T>(slots: &'a Slots<T>) -> Self {
        // SAFETY: `xa` is initialised by the type invariants.
        unsafe { bindings::xa_lock(slots.xa.get()) };
        Self(&slots.xa)
    }
}

impl Drop for Locked<'_> {
    fn drop(&mut self) {
        // SAFETY: The lock was taken in `new`.
        unsafe { bindings::xa_unlock(self.0.get()) };
    }
}

impl<T> Slots<T> {
    /// Creates an initialiser for no objects.
    pub(crate) fn new() -> impl PinInit<Self> {
        /// `XA_FLAGS_ACCOUNT`, which the kernel's bindings leave out.
        const ACCOUNT: u32 = 32;

        pin_init!(Self {
            // SAFETY: `xa` is valid for writes.
            // INVARIANT: An empty `xarray` is initialised there.
            xa <- Opaque::ffi_init(|xa| unsafe {
                bindings::xa_init_flags(xa, bindings::XA_FLAGS_ALLOC | ACCOUNT);
            }),
            len: Atomic::new(0),
            _objects: PhantomData,
        })
    }

    /// Adds an object, and returns its number, the lowest that is free.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if there are 2^31 of them.
    pub(crate) fn insert(&self, object: Arc<T>) -> Result<u32> {
        self.insert_up_to(object, i32::MAX as u32)
    }

    /// Adds an object with a number of at most `max`, and returns its number.
    ///
    /// # Errors
    ///
    /// `ENOMEM`; `EBUSY` if all numbers are taken.
    pub(crate) fn insert_up_to(&self, object: Arc<T>, max: u32) -> Result<u32> {
        let limit = bindings::xa_limit { min: 0, max };
        let entry = object.into_foreign();
        let mut number = 0;
        let ret = {
            let _lock = Locked::new(self);

            // SAFETY: The lock is held, and the pointer to a counted object has its lowest two bits
            // clear. The lock may be dropped for an allocation; nothing here depends on it.
            // INVARIANT: On success the entry is owned by the array.
            unsafe {
                bindings::__xa_alloc(
                    self.xa.get(),
                    &mut number,
                    entry.cast(),
                    limit,
                    bindings::GFP_KERNEL,
                )
            }
        };

        to_result(ret).inspect_err(|_| {
            // SAFETY: It comes from `into_foreign`, and was not stored.
            drop(unsafe { Arc::<T>::from_foreign(entry) });
        })?;
        self.len.fetch_add(1, Relaxed);
        Ok(number)
    }

    /// How many objects there are.
    pub(crate) fn len(&self) -> usize {
        read_once(&self.len)
    }

    /// The object of that number.
    pub(crate) fn get(&self, number: u32) -> Option<Arc<T>> {
        let _lock = Locked::new(self);

        // SAFETY: `xa` is initialised by the type invariants.
        self.borrow(unsafe { bindings::xa_load(self.xa.get(), number as usize) }.cast())
    }

    /// What is at an entry, if anything is. To be called under the lock.
    fn borrow(&self, entry: *mut kernel::ffi::c_void) -> Option<Arc<T>> {
        if entry.is_null() {
            return None;
        }
        // SAFETY: By the type invariants it comes from `into_foreign`, and its reference is not
        // dropped before the lock is.
        let object: ArcBorrow<'_, T> = unsafe { Arc::<T>::borrow(entry.cast()) };
        Some(object.into())
    }

    /// Takes out the object of that number, if it is `expected`, where that is given.
    pub(crate) fn remove(&self, number: u32, expected: Option<&Arc<T>>) -> Option<Arc<T>> {
        let _lock = Locked::new(self);

        if let Some(expected) = expected {
            // SAFETY: `xa` is initialised by the type invariants.
            let entry = unsafe { bindings::xa_load(self.xa.get(), number as usize) };
            // Not the last reference: `expected` is another.
            if !self
                .borrow(entry.cast())
                .is_some_and(|found| Arc::ptr_eq(&found, expected))
            {
                return None;
            }
        }
        // SAFETY: The lock is held.
        let entry = unsafe { bindings::__xa_erase(self.xa.get(), number as usize) };
        if !entry.is_null() {
            self.len.fetch_sub(1, Relaxed);
        }
        // SAFETY: By the type invariants it comes from `into_foreign`, if it is not null, and the
        // array has given up its reference.
        unsafe { Arc::<T>::try_from_foreign(entry.cast()) }
    }

    /// The first object whose number is not below `number`, and its number.
    pub(crate) fn next(&self, number: u32) -> Option<(u32, Arc<T>)> {
        let _lock = Locked::new(self);
        let mut index = number as usize;

        // SAFETY: `xa` is initialised by the type invariants.
        let entry = unsafe {
            bindings::xa_find(
                self.xa.get(),
                &mut index,
                i32::MAX as usize,
                bindings::XA_PRESENT,
            )
        };
        Some((index as u32, self.borrow(entry.cast())?))
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Slots<T> {
    fn drop(self: Pin<&mut Self>) {
        let this = self.as_ref().get_ref();

        while let Some((number, object)) = this.next(0) {
            drop(this.remove(number, Some(&object)));
        }
        // SAFETY: `xa` is initialised by the type invariants, and nothing uses it any more.
        unsafe { bindings::xa_destroy(this.xa.get()) };
    }
}

#[kunit_tests(afutex_slots)]
mod tests {
    use super::*;

    #[test]
    fn free_numbers_are_given_again() -> Result {
        let slots = KBox::pin_init(Slots::new(), GFP_KERNEL)?;

        for n in 0..200u32 {
            assert_eq!(slots.insert(Arc::new(n, GFP_KERNEL)?)?, n);
        }
        assert_eq!(slots.len(), 200);
        for n in [70, 1, 130] {
            assert_eq!(slots.remove(n, None).map(|object| *object), Some(n));
            assert!(slots.remove(n, None).is_none());
            assert!(slots.get(n).is_none());
        }
        for n in [1, 70, 130, 200] {
            assert_eq!(slots.insert(Arc::new(n + 1000, GFP_KERNEL)?)?, n);
            assert_eq!(slots.get(n).map(|object| *object), Some(n + 1000));
        }
        Ok(())
    }

    #[test]
    fn the_object_expected_is_removed() -> Result {
        let slots = KBox::pin_init(Slots::new(), GFP_KERNEL)?;
        let (one, other) = (Arc::new(1u32, GFP_KERNEL)?, Arc::new(1u32, GFP_KERNEL)?);

        assert_eq!(slots.insert(one.clone())?, 0);
        assert!(slots.remove(0, Some(&other)).is_none());
        assert!(slots.remove(1, Some(&one)).is_none());
        assert!(slots.remove(0, Some(&one)).is_some());
        assert!(slots.next(0).is_none());
        Ok(())
    }

    /// What is left is found in order, and given up on drop.
    #[test]
    fn objects_in_order() -> Result {
        let slots = KBox::pin_init(Slots::new(), GFP_KERNEL)?;
        let object = Arc::new(5u32, GFP_KERNEL)?;
        let mut found = 0;
        let mut from = 0;

        for _ in 0..5000 {
            slots.insert(object.clone())?;
        }
        for n in (0..5000).filter(|n| n % 1000 != 7) {
            slots.remove(n, None);
        }
        while let Some((number, _)) = slots.next(from) {
            assert_eq!(number, found * 1000 + 7);
            found += 1;
            from = number + 1;
        }
        assert_eq!(found, 5);
        drop(slots);
        // The only one.
        assert!(Arc::into_unique_or_drop(object).is_some());
        Ok(())
    }
}
