// SPDX-License-Identifier: GPL-2.0

//! Full memory barriers, and a proof that one was passed.
//!
//! C header: [`include/asm-generic/barrier.h`](srctree/include/asm-generic/barrier.h), `smp_mb()`.

use super::bindings;
use super::mm::MmId;
use kernel::sync::atomic::{
    Atomic,
    Full, //
};
use kernel::sync::barrier::smp_mb;

/// A full barrier lies between the stores that the caller made before it got this and the loads
/// that it makes with it.
///
/// It has no size: to pass it on costs nothing, and a path without the barrier does not compile.
#[derive(Clone, Copy)]
pub(crate) struct Fenced(());

impl Fenced {
    /// Passes a full barrier.
    #[inline]
    pub(crate) fn now() -> Self {
        smp_mb(Full);
        Self(())
    }

    /// The hooks of futex(2) pass one before they call back.
    pub(super) fn by_hook() -> Self {
        Self(())
    }

    /// Passes a full barrier, and gets the identity of the current task's mm, if it has one: in one
    /// call.
    #[inline]
    pub(crate) fn now_and_mm() -> (Self, MmId) {
        // SAFETY: Reads a field of the current task that only the task itself changes, and one that
        // does not change, of an mm that is in use.
        let mm = unsafe { bindings::afutex_mm_id_after_mb() };

        (Self(()), MmId::from_raw(mm))
    }

    /// `xchg()`: stores `new`, and returns what was there. A full barrier.
    #[inline(always)]
    pub(crate) fn xchg(atomic: &Atomic<u64>, new: u64) -> (u64, Self) {
        (atomic.xchg(new, Full), Self(()))
    }

    /// Replaces what is in `atomic` by what `f` makes of it. A full barrier.
    pub(crate) fn update(atomic: &Atomic<u64>, f: impl Fn(u64) -> u64) -> Self {
        let mut old = 0;

        while let Err(now) = atomic.cmpxchg(old, f(old), Full) {
            old = now;
        }
        Self(())
    }
}
