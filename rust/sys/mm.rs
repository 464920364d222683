// SPDX-License-Identifier: GPL-2.0

//! Address spaces, by number.
//!
//! C header: [`include/linux/mm_types.h`](srctree/include/linux/mm_types.h).

use super::bindings;
use kernel::current;
#[cfg(not(CONFIG_X86))]
use kernel::mm::Mm;
use kernel::prelude::*;
#[cfg(not(CONFIG_X86))]
use kernel::sync::aref::ARef;

/// The identity of an mm.
///
/// On x86 it is `mm->context.ctx_id`, which is never used again. Elsewhere it is the address, which
/// is not used again as long as there is an [`MmHold`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MmId(u64);

impl MmId {
    /// That of the current task.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it has none.
    #[inline]
    pub(crate) fn current() -> Result<Self> {
        // SAFETY: Reads a field of the current task that only the task itself changes, and one that
        // does not change, of an mm that is in use.
        Self(unsafe { bindings::afutex_mm_id() }).check()
    }

    /// Makes one of what a helper returned.
    #[inline]
    pub(super) fn from_raw(id: u64) -> Self {
        Self(id)
    }

    /// `EFAULT` if it is that of a task without an mm, which is the identity of no mm.
    #[inline]
    pub(crate) fn check(self) -> Result<Self> {
        match self.0 {
            0 => Err(EFAULT),
            _ => Ok(self),
        }
    }

    /// As a number.
    #[inline]
    pub(crate) fn as_usize(self) -> usize {
        self.0 as usize
    }
}

/// Keeps the identity of an mm from becoming that of another one.
#[derive(Clone)]
pub(crate) struct MmHold {
    #[cfg(not(CONFIG_X86))]
    _mm: ARef<Mm>,
}

impl MmHold {
    /// Holds that of the current task.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it has none.
    #[cfg(CONFIG_X86)]
    pub(crate) fn current() -> Result<(MmId, Self)> {
        Ok((MmId::current()?, Self {}))
    }

    /// Holds that of the current task.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it has none.
    #[cfg(not(CONFIG_X86))]
    pub(crate) fn current() -> Result<(MmId, Self)> {
        let current = current!();
        let mm: &Mm = current.mm().ok_or(EFAULT)?;

        Ok((MmId::current()?, Self { _mm: mm.into() }))
    }
}

/// The sequence number of the current task's address space, at some moment.
///
/// As long as it is the same, nothing was mapped or unmapped: what mapped a pinned page then still
/// does, if the page is [attached](super::page::PinnedFolio::is_attached). Reclaim and migration
/// leave pinned pages in place, and what removes pages from a file detaches them.
///
/// It has 32 bits: `mm_lock_seq`.
pub(crate) struct MmSeq {
    mm: MmId,
    _hold: MmHold,
    seq: u32,
}

impl MmSeq {
    /// That of this moment; `None` if the address space is being changed, or has no numbers.
    pub(crate) fn now() -> Option<Self> {
        let current = current!();
        let raw = current.mm()?.as_raw();
        let (mm, hold) = MmHold::current().ok()?;
        let mut seq = 0;

        // SAFETY: The mm is valid.
        unsafe { bindings::afutex_mm_seq(raw, &mut seq) }.then_some(Self {
            mm,
            _hold: hold,
            seq,
        })
    }

    /// Whether nothing was mapped or unmapped since, in what is the current task's address space.
    pub(crate) fn unchanged(&self) -> bool {
        let current = current!();
        let Some(now) = current.mm() else {
            return false;
        };

        if MmId::current() != Ok(self.mm) {
            return false;
        }
        // SAFETY: The mm is valid.
        !unsafe { bindings::afutex_mm_seq_changed(now.as_raw(), self.seq) }
    }
}
