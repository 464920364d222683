// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_REQUEUE` and `FUTEX_CMP_REQUEUE`.

use super::key::{
    Key,
    KeyId,
    Scope, //
};
use super::table::{
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
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::list::ListArc;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Full,
    Relaxed, //
};
use kernel::sync::Arc;

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

/// Moves entries of `from` to the end of the queue of `to`, and returns how many.
///
/// `chain` holds `from`; `other` is the chain of `to`, if it is not the same.
fn move_entries(
    from: &Arc<Key>,
    to: &Arc<Key>,
    chain: &mut Chain,
    mut other: Option<&mut Chain>,
    index: usize,
    count: u32,
) -> u32 {
    let mut moved = 0u32;
    let limit = chain.limit();

    while moved < count {
        let mut cursor = from.entries.access_mut(chain).cursor_front();
        // The first that may be moved and was not moved by us: in the same bucket they get
        // numbers from `limit` on.
        let entry = loop {
            let Some(next) = cursor.peek_next() else {
                return moved;
            };
            if next.ticket.load(Relaxed).wrapping_sub(limit) as i64 >= 0 {
                return moved;
            }
            if !next.owes.load(Relaxed) {
                break next.remove();
            }
            cursor.move_next();
        };

        let target = match other.as_deref_mut() {
            Some(other) => {
                entry.seat.relocate(chain, other);
                other
            }
            None => &mut *chain,
        };
        if let Some(seat) = entry.seat.access(target) {
            // Not the last reference to the old key: our caller has one.
            seat.key = to.clone();
        }
        entry.bucket.store(index, Relaxed);
        entry.ticket.store(target.number(), Relaxed);
        to.entries.access_mut(target).push_back(entry);
        moved = moved.wrapping_add(1);
    }
    moved
}

impl Table {
    /// Wakes some who wait on `from` and moves others to the word of `to`, if `admit` does not
    /// refuse. All of it is one step. Returns how many were woken or moved.
    fn requeue(
        &self,
        from: &KeyId,
        to: ListArc<Key>,
        counts: Counts,
        batch: &mut Batch<'_>,
        admit: impl FnOnce() -> Result<(), Refusal>,
    ) -> Result<u32, Failure> {
        let to_index = self.index_of(to.id());
        let source = self.bucket(self.index_of(from));
        let target = self.bucket(to_index);
        let same_word = from == to.id();

        // Who wakes `to` from here on looks for those who are being moved.
        target.waiters.fetch_add(1, Full);
        let mut pair = lock_pair(&source.chain, &target.chain);
        let (chain, mut other) = match &mut pair {
            Pair::Same(chain) => (&mut **chain, None),
            Pair::Two(first, second) => (&mut **first, Some(&mut **second)),
        };

        let found = chain.find(from);
        let waiting = found.as_ref().map_or(0, |key| {
            let wanted = counts.wake.saturating_add(counts.requeue) as usize;
            key.entries.access(chain).iter().take(wanted).count()
        });
        let to_wake = waiting.min(counts.wake as usize);

        let refused = match admit() {
            Err(refusal) => Some(Failure::Refused(refusal)),
            Ok(()) if to_wake > batch.room() => Some(Failure::Room(to_wake)),
            Ok(()) => None,
        };
        if let Some(failure) = refused {
            drop(pair);
            target.waiters.fetch_sub(1, Relaxed);
            return Err(failure);
        }

        let mut moved = 0;
        let mut spare = None;
        let mut unused = Some(to);
        if let Some(key) = &found {
            chain.take_from(key, to_wake as u32, chain.limit(), ANY, batch);
            let left = waiting.saturating_sub(batch.len()) as u32;
            if same_word {
                // They are where they are to go, and keep their order.
                moved = left.min(counts.requeue);
            } else if left > 0 && counts.requeue > 0 {
                if let Some(to) = unused.take() {
                    let (to, not_needed) = match other.as_deref_mut() {
                        Some(other) => other.key_for(to),
                        None => chain.key_for(to),
                    };
                    spare = not_needed;
                    moved = move_entries(
                        key,
                        &to,
                        chain,
                        other.as_deref_mut(),
                        to_index,
                        counts.requeue,
                    );
                    // Perhaps none could be moved.
                    match other {
                        Some(other) => other.prune(&to),
                        None => chain.prune(&to),
                    }
                }
            }
            chain.prune(key);
        }
        drop(pair);

        let across = if same_word { 0 } else { moved as i32 };
        source
            .waiters
            .fetch_sub(batch.left().wrapping_add(across), Relaxed);
        target.waiters.fetch_add(across.wrapping_sub(1), Relaxed);
        drop((found, spare, unused));
        Ok((batch.len() as u32).saturating_add(moved))
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
            Err(Failure::Refused(Refusal::Differs)) => return Err(EAGAIN),
            Err(Failure::Refused(Refusal::Absent)) => (),
        }
        if task::fatal_signal_pending() {
            return Err(EINTR);
        }
    }
}
