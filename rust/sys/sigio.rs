// SPDX-License-Identifier: GPL-2.0

//! Signal-driven I/O: the processes that are signalled when a file becomes ready.
//!
//! C header: [`include/linux/fs.h`](srctree/include/linux/fs.h), `struct fasync_struct`.

use core::cell::UnsafeCell;
use core::ptr;
use kernel::bindings;
use kernel::error::to_result;
use kernel::fs::File;
use kernel::prelude::*;

/// The `fasync_struct` list of one file.
///
/// # Invariants
///
/// The list is only changed by `fasync_helper`, which has locks of its own, and is empty again when
/// the file is gone: `__fput` takes the entry off when the file has `O_ASYNC`, and an entry exists
/// exactly while it has.
pub(crate) struct FasyncList {
    list: UnsafeCell<*mut bindings::fasync_struct>,
}

// SAFETY: `fasync_helper` and `kill_fasync` may be called from any task.
unsafe impl Send for FasyncList {}
// SAFETY: `fasync_helper` and `kill_fasync` synchronise among themselves.
unsafe impl Sync for FasyncList {}

impl FasyncList {
    /// Creates an empty list.
    pub(crate) const fn new() -> Self {
        Self {
            list: UnsafeCell::new(ptr::null_mut()),
        }
    }

    /// Turns signals for `file` on or off, with `fd` as their `si_fd`: what `->fasync` is to do.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn update(&self, fd: i32, file: &File, on: bool) -> Result {
        // SAFETY: `file` is valid, and the list is only ever handed to `fasync_helper` and
        // `kill_fasync`.
        to_result(unsafe { bindings::fasync_helper(fd, file.as_ptr(), on.into(), self.list.get()) })
    }

    /// Whether there is no process to be signalled at this moment.
    #[inline]
    pub(super) fn is_empty(&self) -> bool {
        // SAFETY: A pointer, which may change at any time, as a whole.
        unsafe { self.list.get().read_volatile() }.is_null()
    }

    /// The list, for `kill_fasync`.
    pub(super) fn as_ptr(&self) -> *mut *mut bindings::fasync_struct {
        self.list.get()
    }
}

/// Whether `sig` is 0 or the number of a signal.
pub(crate) fn valid_signal(sig: u32) -> bool {
    // SAFETY: A comparison.
    unsafe { super::bindings::afutex_valid_signal(sig as usize) }
}

/// Makes the current process the owner of `file`, to be sent `sig`.
///
/// What `F_SETOWN` and `F_SETSIG` do. For a file that is not installed yet, with `sig` valid.
///
/// # Errors
///
/// `ENOMEM`.
pub(super) fn own(file: &File, sig: u32) -> Result {
    // SAFETY: `file` is valid; its owner is allocated before it is set.
    to_result(unsafe { super::bindings::afutex_file_async_on(file.as_ptr(), sig as i32) })
}
