// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.

use super::bucket::{
    is_late,
    BucketInner,
    Wake,
    WakeQ,
    CAPACITY, //
};
use super::key::{
    Key,
    KeyRef, //
};
use super::table::Table;
use super::word::{
    compare,
    Refusal,
    Scope,
    ANY, //
};
use crate::sys::nested_lock::Pair;
use crate::sys::queues::Transfer;
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;

/// How many waiters to wake, and how many of the next to move.
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
    /// There are that many to wake, and the `wake_q` lacks room for them.
    Room(usize),
}

/// Moves up to `count` waiters on `from` to the end of the queue of `to`, which is another word, and
/// returns how many.
///
/// Those from the number `cutoff` on are left alone: they went to the end when they were woken.
/// `inner` is the bucket of `from`; `other` that of `to`, if it is not the same. The caller holds a
/// [`KeyRef`] of `from`, so that none that is dropped here is the last.
fn move_waiters<W: Wake>(
    inner: Pin<&mut BucketInner<W>>,
    other: Option<Pin<&mut BucketInner<W>>>,
    from: &Key,
    to: &KeyRef,
    count: u32,
    cutoff: u64,
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
        if moved == count || is_late(waiter.ticket, cutoff) {
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

impl<W: Wake> Table<W> {
    /// Wakes some waiters on `from` and moves others to the word of `to`, if `validate` lets it.
    /// All of it is one step. Returns how many were woken or moved.
    fn requeue(
        &self,
        from: &Key,
        mut to: KeyRef,
        counts: Counts,
        wake_q: &mut WakeQ<'_, W>,
        validate: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u32, Failure> {
        let to_key = *to.key();
        let source = self.bucket_of(from);
        let target = self.bucket_of(&to_key);

        // From here on a waker of `to` looks for those that are being moved.
        self.waiters_inc(&to_key, target, 1);
        let mut pair = self.lock_both(from, &to_key);
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
            self.waiters_dec(&to_key, target, 1);
            return Err(failure);
        }

        let cutoff = inner.ticket.next();
        inner.as_mut().wake(from, to_wake, cutoff, ANY, wake_q);

        let mut spare = None;
        let mut moved = 0;
        let mut waiting = None;
        let first = inner.as_mut().first_key(from);
        if *from == to_key {
            // They are in the right queue, and keep their order. Watches that were woken and stay
            // are behind them now.
            let stayed = wake_q.woken().wrapping_sub(wake_q.unqueued() as u32);
            moved = inner
                .count_up_to(from, counts.requeue.saturating_add(stayed))
                .saturating_sub(stayed);
        } else if first.is_some() {
            waiting = match &mut other {
                Some(other) => other.as_mut().first_key(&to_key),
                None => inner.as_mut().first_key(&to_key),
            };
            // One pin for all waiters on the word.
            spare = waiting.as_ref().and_then(|waiting| to.share(waiting));
            moved = move_waiters(inner, other, from, &to, counts.requeue, cutoff);
        }
        let across = if *from == to_key { 0 } else { moved as i32 };
        // Before they can be dequeued.
        self.waiters_inc(&to_key, target, across);
        drop(pair);

        self.waiters_dec(from, source, wake_q.unqueued().wrapping_add(across));
        self.waiters_dec(&to_key, target, 1);
        drop((first, waiting, spare, to));
        Ok(wake_q.woken().saturating_add(moved))
    }
}

/// Wakes `counts.wake` waiters on `from` and moves the next `counts.requeue` to `to`, if `from`
/// holds `expected`, where that is given. Returns how many were woken or moved.
///
/// # Errors
///
/// `EAGAIN` if `from` holds another value, `EFAULT` if it cannot be read, `EINTR` if the task is
/// killed; those of [`Key::with`] for `from`, and of [`Table::key_for`] for `to`.
pub(crate) fn requeue<W: Wake>(
    table: &Table<W>,
    from: (UserWord, Scope),
    to: (UserWord, Scope),
    counts: Counts,
    expected: Option<u64>,
) -> Result<u32> {
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
        let target = table.key_for(to.0, to.1)?;
        let done = Key::with(from.0, from.1, |key| {
            table.requeue(key, target, counts, &mut wake_q, || match expected {
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
