// SPDX-License-Identifier: GPL-2.0

//! A waiter on a futex word: a `futex_q`.
//!
//! # The life of an entry
//!
//! An entry is made by who wants to wait, and is then nobody's but his. [`Table::enqueue`] gives it
//! a [`Seat`] under the lock of the word's bucket; from there on the seat belongs to that lock, and
//! whoever holds it may take the seat away: a waker, who then owes the notification, or the waiter
//! himself, who then was not woken. The seat is taken exactly once, so exactly one of the two
//! happens. What the seat holds (the key, with the pin; the task; the file) is dropped by who took
//! it, after the lock.
//!
//! [`Table::enqueue`]: super::table::Table::enqueue

use super::fd::FutexFd;
use super::key::Key;
use super::table::Chain;
use crate::sys::pseudo_file::Pollable;
use crate::sys::roaming::Roaming;
use kernel::list::{
    impl_list_arc_safe,
    impl_list_item,
    ListArc,
    ListLinks, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;
use kernel::task::Task;

/// Whom to tell of a wake.
pub(crate) enum Target {
    /// A task that sleeps in [`wait`](super::wait::wait).
    Task(ARef<Task>),
    /// A file descriptor from `FUTEX_FD`.
    Fd(Arc<Pollable<FutexFd>>),
}

impl Target {
    /// Tells of the wake. No lock may be held, and the seat must have been taken before.
    pub(super) fn notify(&self) {
        match self {
            Target::Task(task) => task.wake_up(),
            Target::Fd(fd) => fd.notify_readable(),
        }
    }
}

/// An entry's place in the table.
pub(crate) struct Seat {
    /// The word that is waited on.
    pub(super) key: Arc<Key>,
    /// Whom to tell.
    pub(super) target: Target,
    /// The number the bucket gave out when the entry was queued.
    pub(super) ticket: u64,
}

/// A waiter on a futex word.
///
/// # Invariants
///
/// While the entry has a seat, and only then, it is on the list of the seat's key, and the seat
/// lives under the lock of the bucket that the key is in, whose number is `bucket`.
#[pin_data]
pub(crate) struct Entry {
    #[pin]
    links: ListLinks,
    pub(super) seat: Roaming<Seat, Chain>,
    /// Written under the lock of the bucket it names; without a seat it means nothing.
    pub(super) bucket: Atomic<usize>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Entry { untracked; }
}
impl_list_item! {
    impl ListItem<0> for Entry { using ListLinks { self.links }; }
}

impl Entry {
    /// Makes an entry that waits for nothing yet.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<ListArc<Self>> {
        // INVARIANT: There is no seat, and the entry is on no list.
        ListArc::pin_init(
            try_pin_init!(Self {
                links <- ListLinks::new(),
                seat: Roaming::new(),
                bucket: Atomic::new(0),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Whether nobody has woken the entry since it was queued, and it has not been dequeued.
    ///
    /// May be asked without a lock. `false` is final, and everything that the waker did before is
    /// visible.
    pub(crate) fn is_queued(&self) -> bool {
        self.seat.is_settled()
    }
}
