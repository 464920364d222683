// SPDX-License-Identifier: GPL-2.0

//! Pages charged to a user against `RLIMIT_MEMLOCK`.
//!
//! As io_uring charges its registered buffers: to `user_struct.locked_vm`, the user remembered
//! since the pages may be released from another user's context.

use super::bindings;
use core::ptr::NonNull;
use kernel::prelude::*;

/// A number of pages charged to a user.
///
/// # Invariants
///
/// `user` is a counted reference, and `pages` are charged to it.
pub(crate) struct LockedPages {
    user: NonNull<kernel::bindings::user_struct>,
    pages: usize,
}

// SAFETY: A `user_struct` is shared by all of a user's tasks: its counters are atomic.
unsafe impl Send for LockedPages {}
// SAFETY: There are no `&self` methods.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// Charges `pages` to the current user; `ENOMEM` over `RLIMIT_MEMLOCK`.
    ///
    /// A task with `CAP_IPC_LOCK` is charged too, but never refused.
    pub(crate) fn charge(pages: usize) -> Result<Self> {
        // SAFETY: `capable` may be called from any task.
        let unlimited = unsafe { kernel::bindings::capable(kernel::bindings::CAP_IPC_LOCK as i32) };
        // SAFETY: We are in the context of a task, which has a user.
        let user = NonNull::new(unsafe { bindings::afutex_get_current_user() }).ok_or(ENOMEM)?;

        // SAFETY: `user` is valid: we hold a reference.
        if !unsafe { bindings::afutex_locked_vm_charge(user.as_ptr(), pages, unlimited) } {
            // SAFETY: We own the reference and give it up.
            unsafe { kernel::bindings::free_uid(user.as_ptr()) };
            return Err(ENOMEM);
        }

        // INVARIANT: We own a reference, and `pages` were charged.
        Ok(Self { user, pages })
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        // SAFETY: By the type invariants we own a reference and `pages` are charged.
        unsafe {
            bindings::afutex_locked_vm_uncharge(self.user.as_ptr(), self.pages);
            kernel::bindings::free_uid(self.user.as_ptr());
        }
    }
}
