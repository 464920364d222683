// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`.

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    KeyRef,
    Scope, //
};
use super::Domain;
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
    Mismatch,
    /// The word cannot be read without a page fault.
    Fault,
    /// The entry is queued already.
    Busy,
}

/// Compares `word`, under the bucket's lock.
pub(crate) fn compare(word: UserWord, expected: u64) -> Result<(), Refusal> {
    match word.read_nofault() {
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(Refusal::Mismatch),
        None => Err(Refusal::Fault),
    }
}

/// Faults in a word that was [`Refusal::Fault`].
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

/// Until when to wait, and what an interruption by a signal returns.
#[derive(Clone, Copy)]
pub(crate) enum Timeout {
    /// No timeout: `ERESTARTSYS`.
    None,
    /// Relative, hence `EINTR`: a restart would wait the full time again.
    Relative(Deadline),
    /// Absolute: `ERESTARTNOHAND`.
    Absolute(Deadline),
}

impl Timeout {
    fn deadline(self) -> Option<Deadline> {
        match self {
            Timeout::None => None,
            Timeout::Relative(deadline) | Timeout::Absolute(deadline) => Some(deadline),
        }
    }

    fn interrupted(self) -> Error {
        match self {
            Timeout::None => ERESTARTSYS,
            Timeout::Relative(_) => EINTR,
            Timeout::Absolute(_) => ERESTARTNOHAND,
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
/// - `ERESTARTSYS`, `EINTR`, `ERESTARTNOHAND`: a signal came; see [`Timeout`].
/// - `EFAULT`: the word cannot be read.
/// - Those of [`KeyRef::for_waiter`].
pub(crate) fn wait(
    domain: &Domain,
    word: UserWord,
    scope: Scope,
    expected: u64,
    mask: u32,
    timeout: Timeout,
) -> Result {
    if mask == 0 {
        return Err(EINVAL);
    }

    // Faults the word in, and spares the pin if it differs already.
    if word.read()? != expected {
        return Err(EAGAIN);
    }

    let table = &domain.table;
    let sleeper: &Task = current!();
    let mut waiter = Waiter::new(
        KeyRef::for_waiter(table, word, scope)?,
        Wakee::Task(sleeper.into()),
        mask,
    );
    stack_pin_init!(let entry = Entry::new());
    while let Err((refusal, refused)) = table.enqueue(&entry, waiter, || compare(word, expected)) {
        match refusal {
            Refusal::Fault => fault_in(word)?,
            _ => return Err(EAGAIN),
        }
        // What is mapped there may be another page now.
        waiter = refused;
        waiter.key = KeyRef::for_waiter(table, word, scope)?;
    }

    // Nothing returns from here on until the entry is off the table.
    let slept = task::sleep_until(timeout.deadline(), || !entry.is_queued());
    if table.dequeue(&entry).is_none() {
        // Notice, whatever else happened.
        return Ok(());
    }
    match slept {
        Sleep::TimedOut => Err(ETIMEDOUT),
        _ => Err(timeout.interrupted()),
    }
}
