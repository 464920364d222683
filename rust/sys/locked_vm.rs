// SPDX-License-Identifier: GPL-2.0

//! Pages charged to a user against `RLIMIT_MEMLOCK`.
//!
//! As io_uring charges its registered buffers: to `user_struct.locked_vm`, the user remembered
//! since the pages may be released from another user's context.

use super::bindings;
use core::ptr::NonNull;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};

/// Which user: no other has the same while it is charged for anything.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct UserId(usize);

impl UserId {
    /// The user that the current task is charged as.
    pub(crate) fn current() -> Self {
        // SAFETY: We are in the context of a task, which has a user.
        Self(unsafe { bindings::afutex_current_user() }.addr())
    }
}

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
// SAFETY: The `&self` methods read what does not change.
unsafe impl Sync for LockedPages {}

impl LockedPages {
    /// Charges `pages` to the current user; `ENOMEM` over `RLIMIT_MEMLOCK`.
    ///
    /// A task with `CAP_IPC_LOCK` is charged too, but never refused.
    pub(crate) fn charge(pages: usize) -> Result<Self> {
        // SAFETY: `capable` may be called from any task.
        let unlimited = unsafe { kernel::bindings::capable(kernel::bindings::CAP_IPC_LOCK as i32) };
        // SAFETY: Reads a limit of the current task.
        let limit = unsafe { bindings::afutex_memlock_limit() } as usize / PAGE_SIZE;
        // SAFETY: We are in the context of a task, which has a user.
        let user = NonNull::new(unsafe { bindings::afutex_get_current_user() }).ok_or(ENOMEM)?;

        // INVARIANT: We own a reference, and nothing is charged to it.
        let mut this = Self { user, pages: 0 };
        let locked = this.locked_vm();
        let mut old = locked.load(Relaxed);

        loop {
            let new = usize::try_from(old)
                .ok()
                .and_then(|old| old.checked_add(pages))
                .filter(|&new| unlimited || new <= limit)
                .and_then(|new| i64::try_from(new).ok())
                .ok_or(ENOMEM)?;

            match locked.cmpxchg(old, new, Relaxed) {
                Ok(_) => break,
                Err(now) => old = now,
            }
        }
        // INVARIANT: `pages` were charged.
        this.pages = pages;
        Ok(this)
    }

    /// Who is charged.
    pub(crate) fn user(&self) -> UserId {
        UserId(self.user.as_ptr().addr())
    }

    fn locked_vm(&self) -> &Atomic<i64> {
        // SAFETY: By the type invariants the user is valid as long as this is. Its counter is an
        // `atomic_long_t`, which is only ever accessed atomically.
        unsafe { Atomic::from_ptr(&raw mut (*self.user.as_ptr()).locked_vm.counter) }
    }
}

impl Drop for LockedPages {
    fn drop(&mut self) {
        // No more than was added, which fitted.
        self.locked_vm().fetch_sub(self.pages as i64, Relaxed);
        // SAFETY: By the type invariants we own a reference.
        unsafe { kernel::bindings::free_uid(self.user.as_ptr()) };
    }
}
