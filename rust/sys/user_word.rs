// SPDX-License-Identifier: GPL-2.0

//! A word in the current task's memory, of 1, 2, 4 or 8 bytes, read in one load.

use super::bindings;
use kernel::error::to_result;
use kernel::prelude::*;

/// The address of an aligned word in user memory.
///
/// # Invariants
///
/// `size` is 1, 2, 4 or 8, `addr` is a multiple of it, and the word lies in user space. Whether
/// anything is mapped there is not known.
#[derive(Clone, Copy)]
pub(crate) struct UserWord {
    addr: usize,
    size: u8,
}

/// What [`UserWord::atomic_op`] does, and with what: the operation and argument of
/// `FUTEX_WAKE_OP`.
#[derive(Clone, Copy)]
pub(crate) struct AtomicOp {
    /// `FUTEX_OP_SET` and so on.
    pub(crate) op: u32,
    /// The argument.
    pub(crate) arg: i32,
}

impl UserWord {
    /// Checks the address of a word of 32 bits.
    ///
    /// # Errors
    ///
    /// `EINVAL` if it is misaligned, `EFAULT` if it is not in user space.
    #[inline]
    pub(crate) fn new(addr: u64) -> Result<Self> {
        Self::sized(addr, 2)
    }

    /// Checks the address of a word of 1, 2, 4 or 8 bytes, of which `log2` is the logarithm; only
    /// its two lowest bits are looked at.
    ///
    /// # Errors
    ///
    /// Those of [`Self::new`].
    #[inline]
    pub(crate) fn sized(addr: u64, log2: u32) -> Result<Self> {
        let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
        let size = 1usize << (log2 & 3);

        if addr & size.wrapping_sub(1) != 0 {
            return Err(EINVAL);
        }
        // SAFETY: Nobody writes to it any more once `init` has run, before anybody can get here.
        // An aligned word that begins before the end ends before it.
        if addr >= unsafe { bindings::afutex_user_end } {
            return Err(EFAULT);
        }
        // INVARIANT: Just checked.
        Ok(Self {
            addr,
            size: size as u8,
        })
    }

    /// Finds out where user space ends. To be called as the module is loaded, before anything else
    /// of this.
    pub(crate) fn init() {
        // SAFETY: The module is being loaded.
        unsafe { bindings::afutex_find_user_end() };
    }

    /// The address.
    pub(crate) fn addr(self) -> usize {
        self.addr
    }

    /// Whether `value` fits in the word.
    pub(crate) fn holds(self, value: u64) -> bool {
        self.size == 8 || value >> (u32::from(self.size) * 8) == 0
    }

    /// Reads the word; may fault and sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT`.
    pub(crate) fn read(self) -> Result<u64> {
        let mut val = 0;
        // SAFETY: `val` is valid for writing; any user address may be tried.
        to_result(unsafe { bindings::afutex_get_user(&mut val, self.addr, u32::from(self.size)) })?;
        Ok(val)
    }

    /// Reads the word without faulting it in: `None` if it is not there. Never sleeps.
    pub(crate) fn read_nofault(self) -> Option<u64> {
        let mut val = 0;
        // SAFETY: `val` is valid for writing, and by the type invariants the address is in user
        // space, as `__get_user` asks.
        let ret =
            unsafe { bindings::afutex_get_user_nofault(&mut val, self.addr, u32::from(self.size)) };
        (ret == 0).then_some(val)
    }

    /// Changes a word of 32 bits atomically, without faulting it in, and returns what it held.
    /// Never sleeps.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it is not there or not writable, `ENOSYS` for an unknown operation.
    pub(crate) fn atomic_op(self, op: AtomicOp) -> Result<i32> {
        let mut old = 0;
        // SAFETY: `old` is valid for writing, and the function checks the address.
        to_result(unsafe {
            bindings::afutex_atomic_op_nofault(op.op as i32, op.arg, &mut old, self.addr)
        })?;
        Ok(old)
    }

    /// Makes a word of 32 bits present and writable; may fault and sleep.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be written.
    pub(crate) fn fault_in_writeable(self) -> Result {
        // SAFETY: Any user address may be tried.
        to_result(unsafe { bindings::afutex_fault_in_writeable(self.addr) })
    }
}
