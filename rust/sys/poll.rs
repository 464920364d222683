// SPDX-License-Identifier: GPL-2.0

//! A wait queue for `->poll`, with the events as key.
//!
//! C header: [`include/linux/poll.h`](srctree/include/linux/poll.h).
//!
//! [`kernel::sync::poll::PollCondVar`] waits for an RCU grace period when dropped, since it may go
//! while epoll still holds it, and wakes without a key. A [`PollHead`] belongs to a file's private
//! data: epoll, poll, select and io_uring all let go of it before `->release`, so it needs neither.
//! [`kernel::sync::poll::PollTable`] registers with a `PollCondVar` only, hence [`PollRequest`].

use super::fence::Fenced;
use super::sigio::FasyncList;
use super::sleep::{
    schedule_until,
    SLEEPING, //
};
use super::time::Deadline;
use kernel::bindings;
use kernel::c_str;
use kernel::fs::File;
use kernel::prelude::*;
use kernel::sync::LockClassKey;
use kernel::types::Opaque;

/// Data may be read: what poll(2) calls `POLLIN | POLLRDNORM`.
pub(crate) const READABLE: u32 = bindings::POLLIN | bindings::POLLRDNORM;

/// Borrowed `struct poll_table` of a `->poll` call.
///
/// # Invariants
///
/// `table` is null or a valid `poll_table`, and `file` the file that is polled.
pub(crate) struct PollRequest<'a> {
    file: &'a File,
    table: *mut bindings::poll_table,
}

impl<'a> PollRequest<'a> {
    /// Wraps the arguments of `->poll`.
    ///
    /// # Safety
    ///
    /// `table` must be null or valid for `'a`, and belong to a `->poll` call for `file`.
    pub(crate) unsafe fn from_raw(file: &'a File, table: *mut bindings::poll_table) -> Self {
        // INVARIANT: By the safety requirements.
        Self { file, table }
    }
}

/// A wait queue that pollers of one file wait on.
#[pin_data]
pub(crate) struct PollHead {
    #[pin]
    head: Opaque<bindings::wait_queue_head_t>,
}

// SAFETY: A wait queue is made to be used from any task.
unsafe impl Send for PollHead {}
// SAFETY: A wait queue has a lock of its own.
unsafe impl Sync for PollHead {}

impl PollHead {
    /// Creates an initialiser for an empty wait queue.
    ///
    /// # Safety
    ///
    /// The head may be given to [`PollHead::register`] only by `->poll` of a file that holds a
    /// reference to what the head is part of until its `->release`.
    pub(crate) unsafe fn new(key: Pin<&'static LockClassKey>) -> impl PinInit<Self> {
        pin_init!(Self {
            head <- Opaque::ffi_init(|slot| {
                // SAFETY: `slot` is valid and pinned, name and key are static.
                unsafe {
                    bindings::__init_waitqueue_head(
                        slot,
                        c_str!("poll_head").as_char_ptr(),
                        key.as_ptr(),
                    )
                }
            }),
        })
    }

    /// Registers the poller for [`PollHead::wake_readers`]. To be called before the state is read.
    #[inline]
    pub(crate) fn register(&self, request: &PollRequest<'_>) {
        // A caller that only looks again need not be registered: most calls of epoll.
        //
        // SAFETY: `table` is null or valid by the type invariants of `PollRequest`.
        if unsafe { request.table.as_ref() }.is_none_or(|table| table._qproc.is_none()) {
            return;
        }
        // SAFETY: `file` and `table` are valid by the type invariants of `PollRequest`. The head
        // lives until `->release` by the safety requirements of `new`, and all pollers are off
        // it by then: poll and io_uring hold the file, epoll leaves in `eventpoll_release`.
        unsafe { bindings::poll_wait(request.file.as_ptr(), self.head.get(), request.table) };
    }

    /// Sleeps until `ready()` holds, after [`PollHead::wake_readers`].
    ///
    /// # Errors
    ///
    /// `ERESTARTSYS` if the task is interrupted first, `ETIMEDOUT` if the deadline passes.
    pub(crate) fn wait(&self, deadline: Option<Deadline>, ready: impl Fn() -> bool) -> Result {
        let entry = Opaque::<bindings::wait_queue_entry>::uninit();

        // SAFETY: `entry` is initialised before it is queued, and `finish_wait` takes it off the
        // queue before it goes. The head lives as long as `self`, and we may sleep, as readers do.
        unsafe {
            bindings::init_wait_entry(entry.get(), 0);
            let ret = loop {
                let interrupted =
                    bindings::prepare_to_wait_event(self.head.get(), entry.get(), SLEEPING);
                if ready() {
                    break Ok(());
                }
                if interrupted != 0 {
                    break Err(ERESTARTSYS);
                }
                if schedule_until(deadline) {
                    break if ready() { Ok(()) } else { Err(ETIMEDOUT) };
                }
            };
            bindings::finish_wait(self.head.get(), entry.get());
            ret
        }
    }

    /// Whether `wake_readers` would find a listener. A full barrier must have been passed since the
    /// state changed.
    ///
    /// It pairs with the one that `poll_wait` and `prepare_to_wait_event` pass after they have put
    /// a task on the queue, and before the state is read.
    #[inline]
    pub(crate) fn has_listeners(&self, fasync: &FasyncList, _: Fenced) -> bool {
        // SAFETY: The head is valid. The pointer may change at any time, as a whole.
        let is_empty = unsafe {
            let head = &raw const (*self.head.get()).head;
            (&raw const (*head).next)
                .read_volatile()
                .cast_const()
                .eq(&head)
        };

        !is_empty || !fasync.is_empty()
    }

    /// Like `wake_readers`, if there are listeners.
    #[inline]
    pub(crate) fn wake_listeners(&self, fasync: &FasyncList) {
        // SAFETY: Head and list are initialised, and have locks of their own.
        unsafe { super::bindings::afutex_wake_listeners(self.head.get(), fasync.as_ptr()) };
    }

    /// Wakes readers and pollers that are interested in [`READABLE`], and signals the owners on
    /// `fasync`. To be called after the state changed.
    ///
    /// A full barrier is passed before listeners are looked for, as `register` passes one after the
    /// poller can be found: a poller either is found here, or looks at the state after it changed.
    /// No lock of the caller's may be held.
    pub(crate) fn wake_readers(&self, fasync: &FasyncList) {
        // SAFETY: Head and list are initialised, and have locks of their own.
        unsafe { super::bindings::afutex_wake_readers(self.head.get(), fasync.as_ptr()) };
    }
}
