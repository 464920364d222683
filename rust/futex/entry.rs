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
//! A requeue moves the seat to another key, and its entry to that key's list, under both locks. A
//! wake of a watch that stays armed leaves the seat, and moves the entry to the end of its list.
//!
//! [`Table::enqueue`]: super::table::Table::enqueue

use super::fd::FutexFd;
use super::key::Key;
use super::member::Member;
use super::table::Chain;
use super::waitv::Sleeper;
use super::watch::Watch;
use crate::sys::pseudo_file::Pollable;
use crate::sys::roaming::Roaming;
use kernel::list::{
    impl_list_arc_safe,
    impl_list_item,
    AtomicTracker,
    ListArc,
    ListLinks,
    TryNewListArc, //
};
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::Atomic;
use kernel::sync::Arc;
use kernel::task::Task;

/// Whom to tell of a wake.
#[derive(Clone)]
pub(crate) enum Target {
    /// A task that sleeps in [`wait`](super::wait::wait).
    Task(ARef<Task>),
    /// A file descriptor from `FUTEX_FD`.
    Fd(Arc<Pollable<FutexFd>>),
    /// A file descriptor from `AFUTEX_IOC_OPEN`.
    Watch(Arc<Pollable<Watch>>),
    /// A member of a set.
    Member(Arc<Member>),
    /// A task that sleeps on many words.
    Sleeper(Arc<Sleeper>),
}

/// What becomes of an entry that is woken.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum After {
    /// It leaves the table.
    Leave,
    /// It goes to the end of the queue.
    Stay,
}

impl Target {
    /// Counts a wake with `mask` on `key`. Under the bucket's lock.
    pub(super) fn hit(&self, mask: u32, key: &Arc<Key>) -> After {
        match self {
            Target::Task(_) | Target::Fd(_) | Target::Sleeper(_) => After::Leave,
            Target::Watch(watch) => watch.hit(mask, key),
            Target::Member(member) => member.hit(mask, key),
        }
    }

    /// Tells of the wake. No lock may be held, and `hit` must have been called before.
    pub(super) fn notify(&self) {
        match self {
            Target::Task(task) => task.wake_up(),
            Target::Fd(fd) => fd.notify_readable(),
            Target::Watch(watch) => watch.notify_readable(),
            Target::Member(member) => member.set.notify_readable(),
            Target::Sleeper(sleeper) => sleeper.notify(),
        }
    }
}

/// An entry's place in the table.
pub(crate) struct Seat {
    /// The word that is waited on.
    pub(super) key: Arc<Key>,
    /// Whom to tell.
    pub(super) target: Target,
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
    #[pin]
    tracker: AtomicTracker,
    pub(super) seat: Roaming<Seat, Chain>,
    // Written under the lock of the bucket that the entry is in then; without a seat they mean
    // nothing. `bucket` is read without it, to find it.
    /// The number of that bucket.
    pub(super) bucket: Atomic<usize>,
    /// The number that the bucket gave to the entry.
    pub(super) ticket: Atomic<u64>,
    /// The wakes that the entry waits for: those that have a bit in common.
    pub(super) mask: Atomic<u32>,
    /// Whether it was woken and its owner does not know yet: a requeue leaves it where it is, for
    /// that wake belongs to its word. Set under the bucket's lock, cleared without it.
    pub(super) owes: Atomic<bool>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Entry { tracked_by tracker: AtomicTracker; }
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
                tracker <- AtomicTracker::new(),
                seat: Roaming::new(),
                bucket: Atomic::new(0),
                ticket: Atomic::new(0),
                mask: Atomic::new(0),
                owes: Atomic::new(false),
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
