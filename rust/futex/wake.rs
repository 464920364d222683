// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAKE`.

use super::entry::Seat;
use super::key::{
    KeyId,
    Scope, //
};
use super::Futexes;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;

/// The seats that a waker has taken and whose owners it has not told yet.
///
/// Filled under a bucket's lock, told and dropped after it.
pub(super) struct Batch {
    seats: [Option<Seat>; Self::CAPACITY],
    len: usize,
}

impl Batch {
    /// How many entries are taken in one go: bounds the time a lock is held, and the stack.
    pub(super) const CAPACITY: usize = 16;

    /// Makes an empty batch.
    pub(super) fn new() -> Self {
        Self {
            seats: [const { None }; Self::CAPACITY],
            len: 0,
        }
    }

    /// Whether there is no room for one more.
    pub(super) fn is_full(&self) -> bool {
        self.len >= Self::CAPACITY
    }

    /// How many there are.
    pub(super) fn len(&self) -> usize {
        self.len
    }

    /// Adds a seat; there must be room.
    pub(super) fn push(&mut self, seat: Seat) {
        if let Some(slot) = self.seats.get_mut(self.len) {
            *slot = Some(seat);
            self.len = self.len.wrapping_add(1);
        }
    }

    /// Tells the owners, in order, and drops what the seats hold. No lock may be held.
    pub(super) fn notify(self) {
        for seat in self.seats.into_iter().take(self.len).flatten() {
            seat.target.notify();
        }
    }
}

/// Wakes up to `count` of those who wait on `word`, and returns how many.
///
/// # Errors
///
/// Those of [`KeyId::with`].
pub(crate) fn wake(futexes: &Futexes, word: UserWord, scope: Scope, count: u32) -> Result<u32> {
    KeyId::with(word, scope, |id| futexes.table.wake(id, count))
}
