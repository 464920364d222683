// SPDX-License-Identifier: GPL-2.0

//! Relaxed loads and stores, without a call.
//!
//! Without `CONFIG_RUST_INLINE_HELPERS` (Debian's kernels), [`Atomic::load`] calls a C helper for
//! what is one instruction on every machine. Where a load decides whether there is anything to do
//! at all, that call is most of it. With that option this file is not needed.

use kernel::sync::atomic::Atomic;

/// Types whose atomic read is `READ_ONCE()` and whose atomic store is `WRITE_ONCE()`:
/// `atomic_read()` and `atomic64_set()` and so on, on 64 bits.
pub(crate) trait ReadOnce: Copy {}

impl ReadOnce for i32 {}
impl ReadOnce for u64 {}
impl ReadOnce for usize {}

/// `atomic.load(Relaxed)`.
#[inline(always)]
pub(crate) fn read_once<T>(atomic: &Atomic<T>) -> T
where
    T: ReadOnce + kernel::sync::atomic::AtomicType,
{
    // SAFETY: The pointer is valid and aligned. A volatile read is what READ_ONCE() is, for which
    // the memory model of the kernel allows concurrent atomic writes.
    unsafe { atomic.as_ptr().read_volatile() }
}

/// `atomic.store(value, Relaxed)`.
#[inline(always)]
pub(crate) fn write_once<T>(atomic: &Atomic<T>, value: T)
where
    T: ReadOnce + kernel::sync::atomic::AtomicType,
{
    // SAFETY: The pointer is valid and aligned. A volatile write is what WRITE_ONCE() is, for which
    // the memory model of the kernel allows concurrent atomic accesses.
    unsafe { atomic.as_ptr().write_volatile(value) }
}
