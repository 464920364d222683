// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.

use super::key::{
    Key,
    KeyId,
    Scope, //
};
use super::table::{
    is_late,
    Chain,
    Table, //
};
use super::wait::{
    compare,
    Refusal, //
};
use super::wake::{
    Batch,
    ANY,
    CAPACITY, //
};
use super::Futexes;
use crate::sys::nested_lock::{
    lock_pair,
    Pair, //
};
use crate::sys::rings::Transfer;
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
    /// There are that many to wake, and the batch has not so much room.
    Room(usize),
}

/// Moves up to `count` of those who wait on `from` to the end of the queue of `to`, which is another
/// word, and returns how many.
///
/// Those from the number `limit` on are left alone: they came back to the end when they were woken.
/// `chain` is that of `from`; `other` that of `to`, if it is not the same. A key of `from` must
/// be held by the caller, so that none that is dropped here is the last.
fn move_entries(
    chain: Pin<&mut Chain>,
    other: Option<Pin<&mut Chain>>,
    from: &KeyId,
    to: &Key,
    count: u32,
    limit: u64,
) -> u32 {
    let chain = chain.project();
    let mut moved = 0u32;
    let (rings, ticket) = match other {
        Some(other) => {
            let other = other.project();
            (Some(other.rings), other.ticket)
        }
        None => (None, chain.ticket),
    };

    chain.rings.transfer(rings, from, |seat| {
        if moved == count || is_late(seat.ticket, limit) {
            return Transfer::Stop;
        }
        if seat.target.owes() {
            return Transfer::Stay;
        }
        seat.key = to.clone();
        seat.ticket = ticket.take();
        moved = moved.wrapping_add(1);
        Transfer::Move
    });
    moved
}

impl Table {
    /// Wakes some who wait on `from` and moves others to the word of `to`, if `admit` does not
    /// refuse. All of it is one step. Returns how many were woken or moved.
    fn requeue(
        &self,
        from: &KeyId,
        mut to: Key,
        counts: Counts,
        batch: &mut Batch<'_>,
        admit: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u32, Failure> {
        let to_id = *to.id();
        let source = self.bucket_of(from);
        let target = self.bucket_of(&to_id);

        // Who wakes `to` from here on looks for those who are being moved.
        self.arrive(&to_id, target, 1);
        let mut pair = lock_pair(&source.chain, &target.chain);
        let (mut chain, mut other) = match &mut pair {
            Pair::Same(chain) => (chain.as_mut(), None),
            Pair::Two(first, second) => (first.as_mut(), Some(second.as_mut())),
        };

        let to_wake = chain.as_mut().count_up_to(from, counts.wake);
        let refused = match admit() {
            Err(refusal) => Some(Failure::Refused(refusal)),
            Ok(()) if to_wake as usize > batch.capacity() => Some(Failure::Room(to_wake as usize)),
            Ok(()) => None,
        };
        if let Some(failure) = refused {
            drop(pair);
            self.leave(&to_id, target, 1);
            return Err(failure);
        }

        let limit = chain.ticket.next();
        chain.as_mut().take(from, to_wake, limit, ANY, batch);

        let mut spare = None;
        let mut moved = 0;
        let mut waiting = None;
        let first = chain.as_mut().first_key(from);
        if *from == to_id {
            // They are where they are to go, and keep their order. Watches that were woken and
            // stay are behind them now.
            let stayed = batch.woken().wrapping_sub(batch.left() as u32);
            moved = chain
                .count_up_to(from, counts.requeue.saturating_add(stayed))
                .saturating_sub(stayed);
        } else if first.is_some() {
            waiting = match &mut other {
                Some(other) => other.as_mut().first_key(&to_id),
                None => chain.as_mut().first_key(&to_id),
            };
            // One pin for all who wait on the word.
            spare = waiting.as_ref().and_then(|waiting| to.share(waiting));
            moved = move_entries(chain, other, from, &to, counts.requeue, limit);
        }
        let across = if *from == to_id { 0 } else { moved as i32 };
        // Before anybody can take them off again.
        self.arrive(&to_id, target, across);
        drop(pair);

        self.leave(from, source, batch.left().wrapping_add(across));
        self.leave(&to_id, target, 1);
        drop((first, waiting, spare, to));
        Ok(batch.woken().saturating_add(moved))
    }
}

/// Wakes `counts.wake` of those who wait on `from` and moves the next `counts.requeue` to `to`, if
/// `from` holds `expected`, where there is one. Returns how many were woken or moved.
///
/// # Errors
///
/// `EAGAIN` if `from` holds another value, `EFAULT` if it cannot be read, `EINTR` when killed
/// meanwhile; those of [`KeyId::with`] for `from`, and of [`Key::for_waiter`] for `to`.
pub(crate) fn requeue(
    futexes: &Futexes,
    from: (UserWord, Scope),
    to: (UserWord, Scope),
    counts: Counts,
    expected: Option<u64>,
) -> Result<u32> {
    let table = &futexes.table;
    let mut room = 0;

    loop {
        if let Some(expected) = expected {
            if from.0.read()? != expected {
                return Err(EAGAIN);
            }
        }

        let mut few = [const { None }; CAPACITY];
        let mut batch = Batch::new(&mut few);
        batch.reserve(room)?;
        let target = Key::for_waiter(table, to.0, to.1)?;
        let done = KeyId::with(from.0, from.1, |id| {
            table.requeue(id, target, counts, &mut batch, || match expected {
                Some(expected) => compare(from.0, expected),
                None => Ok(()),
            })
        })?;

        batch.notify();
        match done {
            Ok(count) => return Ok(count),
            Err(Failure::Room(needed)) => room = needed,
            Err(Failure::Refused(Refusal::Absent)) => (),
            Err(Failure::Refused(_)) => return Err(EAGAIN),
        }
        if task::fatal_signal_pending() {
            return Err(EINTR);
        }
    }
}
