// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAIT`.

use super::entry::{
    Entry,
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

/// Why an entry was not queued.
enum Refusal {
    /// The word holds another value.
    Differs,
    /// The word cannot be read without a page fault.
    Absent,
}

/// Compares `word`, under the bucket's lock.
fn compare(word: UserWord, expected: u32) -> Result<(), Refusal> {
    match word.read_nofault() {
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(Refusal::Differs),
        None => Err(Refusal::Absent),
    }
}

/// Sleeps until `word` is woken, if it holds `expected`.
///
/// # Errors
///
/// - `EAGAIN`: the word holds another value.
/// - `ETIMEDOUT`: `deadline` has passed.
/// - `ERESTARTSYS`: a signal came, and there is no deadline.
/// - `EINTR`: a signal came, and there is one: the time already slept would be lost.
/// - `EFAULT`: the word cannot be read.
/// - Those of [`Key::for_waiter`].
pub(crate) fn wait(
    futexes: &Futexes,
    word: UserWord,
    scope: Scope,
    expected: u32,
    deadline: Option<Deadline>,
) -> Result {
    let table = &futexes.table;
    let entry = loop {
        // Faults the word in, and spares the pin if it differs already.
        if word.read()? != expected {
            return Err(EAGAIN);
        }

        let key = Key::for_waiter(table, word, scope)?;
        let queued = Entry::new()?;
        let entry = queued.clone_arc();
        let sleeper: &Task = current!();
        match table.enqueue(key, queued, Target::Task(sleeper.into()), || {
            compare(word, expected)
        }) {
            Ok(()) => break entry,
            Err(Refusal::Differs) => return Err(EAGAIN),
            Err(Refusal::Absent) if task::fatal_signal_pending() => return Err(EINTR),
            Err(Refusal::Absent) => (),
        }
    };

    let slept = task::sleep_until(deadline, || !entry.is_queued());
    if table.dequeue(&entry).is_none() {
        // Woken, whatever else happened.
        return Ok(());
    }
    match slept {
        Sleep::TimedOut => Err(ETIMEDOUT),
        _ if deadline.is_some() => Err(EINTR),
        _ => Err(ERESTARTSYS),
    }
}
