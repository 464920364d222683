// SPDX-License-Identifier: GPL-2.0

//! A waiter, of whatever kind: what futex(2) calls a `futex_q`.
//!
//! # Who owns an entry
//!
//! An [`Entry`] is a place in memory of its owner's: on the stack of a task that sleeps, or in the
//! object behind a descriptor. [`Table::enqueue`] puts a [`Waiter`] in it, under the lock of the
//! word's bucket; from there on the waiter belongs to that lock, and whoever holds it may take the
//! waiter away: a waker, who then has_unread the notification, or the waiter himself, who then was not
//! woken. The waiter is taken exactly once, so exactly one of the two happens. What the waiter holds
//! (the key, with the pin; the task; the object) is dropped by who took it, after the lock.
//!
//! A requeue moves the waiter to another word, under both locks. A wake of a watch that stays armed
//! leaves the waiter, and sends it to the end of the queue. A wake of a one-shot watch *parks* the
//! waiter, under the lock of the watch's own state: the key is needed until the wake was read.
//!
//! [`Table::enqueue`]: super::table::Table::enqueue

use super::fd::FutexFd;
use super::key::{
    Key, //
    KeyRef,
};
use super::member::Member;
use super::waitv::Sleeper;
use super::wake::ANY;
use super::watch::Watch;
use crate::sys::pseudo_file::Pollable;
use crate::sys::queues::{
    Item,
    Node, //
};
use kernel::sync::aref::ARef;
use kernel::sync::Arc;
use kernel::task::Task;

/// Whom to tell of a wake.
#[derive(Clone)]
pub(crate) enum Wakee {
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

impl Wakee {
    /// Tells of the wake. No lock may be held.
    pub(super) fn notify(&self) {
        match self {
            Wakee::Task(task) => task.wake_up(),
            Wakee::Fd(fd) => fd.notify_readable(),
            Wakee::Watch(watch) => watch.notify_readable(),
            Wakee::Member(member) => member.set.notify_readable(),
            Wakee::Sleeper(sleeper) => sleeper.notify(),
        }
    }

    /// Whether it was woken and does not know yet: a requeue leaves it where it is, since that wake
    /// belongs to its word. Under the bucket's lock.
    pub(super) fn has_unread(&self) -> bool {
        match self {
            Wakee::Task(_) | Wakee::Fd(_) | Wakee::Sleeper(_) => false,
            Wakee::Watch(watch) => watch.has_unread(),
            Wakee::Member(member) => member.has_unread(),
        }
    }
}

/// What is queued: who waits for what.
pub(crate) struct Waiter {
    /// The word that is waited on.
    pub(super) key: KeyRef,
    /// Whom to tell.
    pub(super) wakee: Wakee,
    /// The number that the bucket gave to the entry.
    pub(super) ticket: u64,
    /// The wakes that are waited for: those that have a bit in common.
    pub(super) mask: u32,
}

impl Waiter {
    /// The waiter of somebody who is not queued yet.
    pub(crate) fn new(key: KeyRef, wakee: Wakee, mask: u32) -> Self {
        Self {
            key,
            wakee,
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

impl Item for Waiter {
    type Id = Key;

    #[inline]
    fn id(&self) -> &Key {
        self.key.id()
    }
}

/// A place for a waiter on a futex word.
pub(crate) type Entry = Node<Waiter>;
