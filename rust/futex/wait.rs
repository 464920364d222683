// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`.

use super::entry::{
    Entry,
    Seat,
    Target, //
};
use super::key::{
    Key,
    Scope, //
};
use super::Futexes;
use crate::sys::task::{
    self,
    Deadline,
    Sleep, //
};
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::prelude::*;
use kernel::task::Task;
use pin_init::stack_pin_init;

/// Why an entry was not queued.
pub(crate) enum Refusal {
    /// The word holds another value.
    Differs,
    /// The word cannot be read without a page fault.
    Absent,
    /// The entry is queued already.
    Busy,
}

/// Compares `word`, under the bucket's lock.
pub(crate) fn compare(word: UserWord, expected: u64) -> Result<(), Refusal> {
    match word.read_nofault() {
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(Refusal::Differs),
        None => Err(Refusal::Absent),
    }
}

/// Faults in a word that was [`Refusal::Absent`].
///
/// # Errors
///
/// `EFAULT`, `EINTR` when killed meanwhile.
pub(crate) fn fault_in(word: UserWord) -> Result {
    if task::fatal_signal_pending() {
        return Err(EINTR);
    }
    word.read().map(|_| ())
}

/// Until when to wait, and what a signal does.
#[derive(Clone, Copy)]
pub(crate) enum Until {
    /// For ever: a signal restarts the call, if its handler says so.
    Woken,
    /// A moment that was given as a distance: a signal ends the call, as it would begin anew.
    After(Deadline),
    /// A moment that was given as such: the call is made again if no handler ran.
    At(Deadline),
}

impl Until {
    fn deadline(self) -> Option<Deadline> {
        match self {
            Until::Woken => None,
            Until::After(deadline) | Until::At(deadline) => Some(deadline),
        }
    }

    fn interrupted(self) -> Error {
        match self {
            Until::Woken => ERESTARTSYS,
            Until::After(_) => EINTR,
            Until::At(_) => ERESTARTNOHAND,
        }
    }
}

/// Sleeps until `word` is woken for a bit of `mask`, if it holds `expected`.
///
/// # Errors
///
/// - `EINVAL`: `mask` is 0.
/// - `EAGAIN`: the word holds another value.
/// - `ETIMEDOUT`: the deadline has passed.
/// - `ERESTARTSYS`, `EINTR`, `ERESTARTNOHAND`: a signal came; see [`Until`].
/// - `EFAULT`: the word cannot be read.
/// - Those of [`Key::for_waiter`].
pub(crate) fn wait(
    futexes: &Futexes,
    word: UserWord,
    scope: Scope,
    expected: u64,
    mask: u32,
    until: Until,
) -> Result {
    if mask == 0 {
        return Err(EINVAL);
    }

    // Faults the word in, and spares the pin if it differs already.
    if word.read()? != expected {
        return Err(EAGAIN);
    }

    let table = &futexes.table;
    let sleeper: &Task = current!();
    let mut seat = Seat::new(
        Key::for_waiter(table, word, scope)?,
        Target::Task(sleeper.into()),
        mask,
    );
    stack_pin_init!(let entry = Entry::new());
    while let Err((refusal, refused)) = table.enqueue(&entry, seat, || compare(word, expected)) {
        match refusal {
            Refusal::Absent => fault_in(word)?,
            _ => return Err(EAGAIN),
        }
        // What is mapped there may be another page now.
        seat = refused;
        seat.key = Key::for_waiter(table, word, scope)?;
    }

    // Nothing returns from here on until the entry is off the table.
    let slept = task::sleep_until(until.deadline(), || !entry.is_queued());
    if table.dequeue(&entry).is_none() {
        // Woken, whatever else happened.
        return Ok(());
    }
    match slept {
        Sleep::TimedOut => Err(ETIMEDOUT),
        _ => Err(until.interrupted()),
    }
}
