// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.

use super::key::{
    Key,
    KeyRef,
    Scope, //
};
use super::table::{
    is_late,
    BucketInner,
    Table, //
};
use super::wait::{
    compare,
    Refusal, //
};
use super::wake::{
    WakeQ,
    ANY,
    CAPACITY, //
};
use super::Domain;
use crate::sys::nested_lock::{
    lock_pair,
    Pair, //
};
use crate::sys::queues::Transfer;
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;

/// How many to wake, and of the next how many to move.
#[derive(Clone, Copy)]
pub(crate) struct Counts {
    /// To be woken.
    pub(crate) wake: u32,
    /// To be moved.
    pub(crate) requeue: u32,
}

/// Why nothing was requeued.
enum Failure {
    Refused(Refusal),
    /// There are that many to wake, and the wake_q has not so much room.
    Room(usize),
}

/// Moves up to `count` of those who wait on `from` to the end of the queue of `to`, which is another
/// word, and returns how many.
///
/// Those from the number `limit` on are left alone: they came back to the end when they were woken.
/// `inner` is that of `from`; `other` that of `to`, if it is not the same. A key of `from` must
/// be held by the caller, so that none that is dropped here is the last.
fn move_entries(
    inner: Pin<&mut BucketInner>,
    other: Option<Pin<&mut BucketInner>>,
    from: &Key,
    to: &KeyRef,
    count: u32,
    limit: u64,
) -> u32 {
    let inner = inner.project();
    let mut moved = 0u32;
    let (queues, ticket) = match other {
        Some(other) => {
            let other = other.project();
            (Some(other.queues), other.ticket)
        }
        None => (None, inner.ticket),
    };

    inner.queues.transfer(queues, from, |waiter| {
        if moved == count || is_late(waiter.ticket, limit) {
            return Transfer::Stop;
        }
        if waiter.wakee.has_unread() {
            return Transfer::Stay;
        }
        waiter.key = to.clone();
        waiter.ticket = ticket.take();
        moved = moved.wrapping_add(1);
        Transfer::Move
    });
    moved
}

impl Table {
    /// Wakes some who wait on `from` and moves others to the word of `to`, if `validate` does not
    /// refuse. All of it is one step. Returns how many were woken or moved.
    fn requeue(
        &self,
        from: &Key,
        mut to: KeyRef,
        counts: Counts,
        wake_q: &mut WakeQ<'_>,
        validate: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u32, Failure> {
        let to_id = *to.id();
        let source = self.bucket_of(from);
        let target = self.bucket_of(&to_id);

        // Who wakes `to` from here on looks for those who are being moved.
        self.waiters_inc(&to_id, target, 1);
        let mut pair = lock_pair(&source.inner, &target.inner);
        let (mut inner, mut other) = match &mut pair {
            Pair::Same(inner) => (inner.as_mut(), None),
            Pair::Two(first, second) => (first.as_mut(), Some(second.as_mut())),
        };

        let to_wake = inner.as_mut().count_up_to(from, counts.wake);
        let refused = match validate() {
            Err(refusal) => Some(Failure::Refused(refusal)),
            Ok(()) if to_wake as usize > wake_q.capacity() => Some(Failure::Room(to_wake as usize)),
            Ok(()) => None,
        };
        if let Some(failure) = refused {
            drop(pair);
            self.waiters_dec(&to_id, target, 1);
            return Err(failure);
        }

        let limit = inner.ticket.next();
        inner.as_mut().take(from, to_wake, limit, ANY, wake_q);

        let mut spare = None;
        let mut moved = 0;
        let mut waiting = None;
        let first = inner.as_mut().first_key(from);
        if *from == to_id {
            // They are where they are to go, and keep their order. Watches that were woken and
            // stay are behind them now.
            let stayed = wake_q.woken().wrapping_sub(wake_q.left() as u32);
            moved = inner
                .count_up_to(from, counts.requeue.saturating_add(stayed))
                .saturating_sub(stayed);
        } else if first.is_some() {
            waiting = match &mut other {
                Some(other) => other.as_mut().first_key(&to_id),
                None => inner.as_mut().first_key(&to_id),
            };
            // One pin for all who wait on the word.
            spare = waiting.as_ref().and_then(|waiting| to.share(waiting));
            moved = move_entries(inner, other, from, &to, counts.requeue, limit);
        }
        let across = if *from == to_id { 0 } else { moved as i32 };
        // Before anybody can take them off again.
        self.waiters_inc(&to_id, target, across);
        drop(pair);

        self.waiters_dec(from, source, wake_q.left().wrapping_add(across));
        self.waiters_dec(&to_id, target, 1);
        drop((first, waiting, spare, to));
        Ok(wake_q.woken().saturating_add(moved))
    }
}

/// Wakes `counts.wake` of those who wait on `from` and moves the next `counts.requeue` to `to`, if
/// `from` holds `expected`, where there is one. Returns how many were woken or moved.
///
/// # Errors
///
/// `EAGAIN` if `from` holds another value, `EFAULT` if it cannot be read, `EINTR` when killed
/// meanwhile; those of [`Key::with`] for `from`, and of [`KeyRef::for_waiter`] for `to`.
pub(crate) fn requeue(
    domain: &Domain,
    from: (UserWord, Scope),
    to: (UserWord, Scope),
    counts: Counts,
    expected: Option<u64>,
) -> Result<u32> {
    let table = &domain.table;
    let mut room = 0;

    loop {
        if let Some(expected) = expected {
            if from.0.read()? != expected {
                return Err(EAGAIN);
            }
        }

        let mut few = [const { None }; CAPACITY];
        let mut wake_q = WakeQ::new(&mut few);
        wake_q.reserve(room)?;
        let target = KeyRef::for_waiter(table, to.0, to.1)?;
        let done = Key::with(from.0, from.1, |id| {
            table.requeue(id, target, counts, &mut wake_q, || match expected {
                Some(expected) => compare(from.0, expected),
                None => Ok(()),
            })
        })?;

        wake_q.notify();
        match done {
            Ok(count) => return Ok(count),
            Err(Failure::Room(needed)) => room = needed,
            Err(Failure::Refused(Refusal::Fault)) => (),
            Err(Failure::Refused(_)) => return Err(EAGAIN),
        }
        if task::fatal_signal_pending() {
            return Err(EINTR);
        }
    }
}
