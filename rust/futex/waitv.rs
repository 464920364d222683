// SPDX-License-Identifier: GPL-2.0

//! Sleeping on many words at once: futex_waitv(2).

use super::arm::queue_if;
use super::bucket::{
    Entry,
    Waiter, //
};
use super::sleeper::Sleeper;
use super::table::Table;
use super::wakee::Wakee;
use super::word::{
    compare,
    Scope,
    ANY, //
};
use crate::sys::sleep::{
    sleep_until,
    Sleep, //
};
use crate::sys::task;
use crate::sys::time::Deadline;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;
use kernel::sync::Arc;

/// One of the words: a checked `struct futex_waitv`.
#[derive(Clone, Copy)]
pub(crate) struct WaitSpec {
    /// The word.
    pub(crate) word: UserWord,
    /// How it is known.
    pub(crate) scope: Scope,
    /// The value it must hold.
    pub(crate) expected: u64,
}

/// A place to wait for one of them: what `struct futex_vector` is to futex(2).
#[pin_data]
struct Vector {
    #[pin]
    entry: Entry<Wakee>,
}

/// The places for the words; dequeued on drop.
struct Queued<'a> {
    table: &'a Table<Wakee>,
    vectors: Pin<KVBox<[Vector]>>,
}

impl Queued<'_> {
    /// Dequeues all, and returns the number of one of the first `count` that was woken before.
    fn dequeue(&self, count: usize) -> Option<usize> {
        let mut woken = None;

        for (number, vector) in self.vectors.iter().enumerate().take(count) {
            if number % 64 == 63 {
                task::cond_resched();
            }
            if self.table.dequeue(&vector.entry).is_none() {
                woken = Some(number);
            }
        }
        woken
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.dequeue(self.vectors.len());
    }
}

/// Sleeps until one of the words is woken, if all of them hold what they should. Returns the number
/// of one that was woken.
///
/// # Errors
///
/// - `EAGAIN`: a word holds another value.
/// - `ETIMEDOUT`: `deadline` has passed.
/// - `ERESTARTSYS`: a signal came.
/// - `EINTR`: the task was killed.
/// - `ENOMEM`.
/// - Those of [`Table::key_for`].
pub(crate) fn waitv(
    table: &Table<Wakee>,
    specs: &[WaitSpec],
    deadline: Option<Deadline>,
) -> Result<usize> {
    let sleeper = Sleeper::of_current()?;
    let queued = Queued {
        table,
        vectors: KVBox::pin_slice(
            |_| try_pin_init!(Vector { entry <- Entry::new() }? Error),
            specs.len(),
            GFP_KERNEL_ACCOUNT,
        )?,
    };

    for (number, (spec, vector)) in specs.iter().zip(queued.vectors.iter()).enumerate() {
        let killed = number % 64 == 63 && task::fatal_signal_pending();
        let queued_one = match killed {
            true => Err(EINTR),
            false => queue(table, spec, &sleeper, &vector.entry),
        };

        if let Err(err) = queued_one {
            // A wake of one that was queued before must not be lost.
            return queued.dequeue(number).ok_or(err);
        }
    }

    let slept = sleep_until(deadline, || sleeper.is_woken());
    match (queued.dequeue(specs.len()), slept) {
        (Some(number), _) => Ok(number),
        (None, Sleep::TimedOut) => Err(ETIMEDOUT),
        (None, _) => Err(ERESTARTSYS),
    }
}

/// Queues one more.
///
/// # Errors
///
/// `EAGAIN` if the word holds another value; those of reading it and of [`Table::key_for`].
fn queue(
    table: &Table<Wakee>,
    spec: &WaitSpec,
    sleeper: &Arc<Sleeper>,
    entry: &Entry<Wakee>,
) -> Result {
    let WaitSpec {
        word,
        scope,
        expected,
    } = *spec;

    if word.read()? != expected {
        return Err(EAGAIN);
    }
    let key = table.key_for(word, scope)?;
    let mut waiter = Some(Waiter::new(key, Wakee::Sleeper(sleeper.clone()), ANY));
    let queued = queue_if(table, entry, &mut waiter, word, scope, || {
        compare(word, expected)
    })?;

    queued.map(|_| ()).ok_or(EAGAIN)
}
