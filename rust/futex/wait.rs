// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAIT` and `FUTEX_WAIT_BITSET`.

use super::arm::queue_if;
use super::bucket::{
    Entry,
    Waiter, //
};
use super::table::Table;
use super::wakee::Wakee;
use super::word::{
    compare,
    Scope, //
};
use crate::sys::sleep::{
    sleep_until,
    Sleep, //
};
use crate::sys::time::Deadline;
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::prelude::*;
use kernel::task::Task;
use pin_init::stack_pin_init;

/// Until when to wait, and what an interruption returns.
#[derive(Clone, Copy)]
pub(crate) enum Timeout {
    /// No timeout: `ERESTARTSYS`.
    None,
    /// Relative: `ERESTART_RESTARTBLOCK`, which is not for user space. A mere restart would wait
    /// the full time again: see [`Restarts`](crate::sys::restart::Restarts).
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
            Timeout::Relative(_) => ERESTART_RESTARTBLOCK,
            Timeout::Absolute(_) => ERESTARTNOHAND,
        }
    }
}

/// Sleeps until `word` is woken for a bit of `bitset`, if it holds `expected`.
///
/// # Errors
///
/// - `EINVAL`: `bitset` is 0.
/// - `EAGAIN`: the word holds another value.
/// - `ETIMEDOUT`: the deadline has passed.
/// - `ERESTARTSYS`, `ERESTART_RESTARTBLOCK`, `ERESTARTNOHAND`: interrupted; see [`Timeout`].
/// - `EFAULT`: the word cannot be read.
/// - Those of [`Table::key_for`].
pub(crate) fn wait(
    table: &Table<Wakee>,
    word: UserWord,
    scope: Scope,
    expected: u64,
    bitset: u32,
    timeout: Timeout,
) -> Result {
    if bitset == 0 {
        return Err(EINVAL);
    }
    // Faults the word in, and spares the pin if it differs already.
    if word.read()? != expected {
        return Err(EAGAIN);
    }

    let task: &Task = current!();
    let key = table.key_for(word, scope)?;
    let mut waiter = Some(Waiter::new(key, Wakee::Task(task.into()), bitset));
    stack_pin_init!(let entry = Entry::new());
    let queued = queue_if(table, &entry, &mut waiter, word, scope, || {
        compare(word, expected)
    })?;
    if queued.is_none() {
        return Err(EAGAIN);
    }

    // Nothing returns from here on before the entry is off the table.
    let slept = sleep_until(timeout.deadline(), || !entry.is_queued());
    if table.dequeue(&entry).is_none() {
        // Woken, whatever else happened.
        return Ok(());
    }
    match slept {
        Sleep::TimedOut => Err(ETIMEDOUT),
        _ => Err(timeout.interrupted()),
    }
}
