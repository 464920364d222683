// SPDX-License-Identifier: GPL-2.0

//! A 32-bit word in the current task's memory, read in one load.

use super::bindings;
use kernel::prelude::*;

/// The address of an aligned word in user memory.
///
/// # Invariants
///
/// `addr` is a multiple of the word's size, and it and the word lie in user space. Whether anything
/// is mapped there is not known.
#[derive(Clone, Copy)]
pub(crate) struct UserWord {
    addr: usize,
}

impl UserWord {
    /// The size of the word, in bytes.
    pub(crate) const SIZE: usize = size_of::<u32>();

    /// Checks `addr`.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is misaligned, `EFAULT` if it is not in user space.
    pub(crate) fn new(addr: u64) -> Result<Self> {
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        if addr % Self::SIZE != 0 {
            return Err(EINVAL);
        }
        // SAFETY: A comparison.
        if !unsafe { bindings::afutex_access_ok(addr, Self::SIZE) } {
            return Err(EFAULT);
        }
        // INVARIANT: Just checked.
        Ok(Self { addr })
    }

    /// The address.
    pub(crate) fn addr(self) -> usize {
        self.addr
    }

    /// Reads the word; may fault and sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn read(self) -> Result<u32> {
        let mut val = 0;
        // SAFETY: `val` is valid for writing; any user address may be tried.
        kernel::error::to_result(unsafe { bindings::afutex_get_user_u32(&mut val, self.addr) })?;
        Ok(val)
    }

    /// Reads the word without faulting it in: `None` if it is not there. Never sleeps.
    pub(crate) fn read_nofault(self) -> Option<u32> {
        let mut val = 0;
        // SAFETY: `val` is valid for writing, and by the type invariants the address is in user
        // space, as `__get_user` asks.
        let ret = unsafe { bindings::afutex_get_user_u32_nofault(&mut val, self.addr) };
        (ret == 0).then_some(val)
    }
}
