// SPDX-License-Identifier: GPL-2.0

//! A waiter, of whatever kind: what futex(2) calls a `futex_q`.
//!
//! # Who owns an entry
//!
//! An [`Entry`] is a place in memory of its owner's: on the stack of a task that sleeps, or in the
//! object behind a descriptor. [`Table::enqueue`] puts a [`Seat`] in it, under the lock of the
//! word's bucket; from there on the seat belongs to that lock, and whoever holds it may take the
//! seat away: a waker, who then owes the notification, or the waiter himself, who then was not
//! woken. The seat is taken exactly once, so exactly one of the two happens. What the seat holds
//! (the key, with the pin; the task; the object) is dropped by who took it, after the lock.
//!
//! A requeue moves the seat to another word, under both locks. A wake of a watch that stays armed
//! leaves the seat, and sends it to the end of the queue. A wake of a one-shot watch *parks* the
//! seat, under the lock of the watch's own state: the key is needed until the wake was read.
//!
//! [`Table::enqueue`]: super::table::Table::enqueue

use super::fd::FutexFd;
use super::key::{
    Key,
    KeyId, //
};
use super::member::Member;
use super::waitv::Sleeper;
use super::wake::ANY;
use super::watch::Watch;
use crate::sys::pseudo_file::Pollable;
use crate::sys::rings::{
    Item,
    Node, //
};
use kernel::sync::aref::ARef;
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

impl Target {
    /// Tells of the wake. No lock may be held.
    pub(super) fn notify(&self) {
        match self {
            Target::Task(task) => task.wake_up(),
            Target::Fd(fd) => fd.notify_readable(),
            Target::Watch(watch) => watch.notify_readable(),
            Target::Member(member) => member.set.notify_readable(),
            Target::Sleeper(sleeper) => sleeper.notify(),
        }
    }

    /// Whether it was woken and does not know yet: a requeue leaves it where it is, since that wake
    /// belongs to its word. Under the bucket's lock.
    pub(super) fn owes(&self) -> bool {
        match self {
            Target::Task(_) | Target::Fd(_) | Target::Sleeper(_) => false,
            Target::Watch(watch) => watch.owes(),
            Target::Member(member) => member.owes(),
        }
    }
}

/// What is queued: who waits for what.
pub(crate) struct Seat {
    /// The word that is waited on.
    pub(super) key: Key,
    /// Whom to tell.
    pub(super) target: Target,
    /// The number that the bucket gave to the entry.
    pub(super) ticket: u64,
    /// The wakes that are waited for: those that have a bit in common.
    pub(super) mask: u32,
}

impl Seat {
    /// The seat of somebody who is not queued yet.
    pub(crate) fn new(key: Key, target: Target, mask: u32) -> Self {
        Self {
            key,
            target,
            ticket: 0,
            mask,
        }
    }

    /// Whether a wake for the bits of `mask` is waited for.
    #[inline]
    pub(super) fn matches(&self, mask: u32) -> bool {
        // No mask is 0.
        mask == ANY || self.mask & mask != 0
    }
}

impl Item for Seat {
    type Id = KeyId;

    #[inline]
    fn id(&self) -> &KeyId {
        self.key.id()
    }
}

/// A place for a waiter on a futex word.
pub(crate) type Entry = Node<Seat>;
