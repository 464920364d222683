// SPDX-License-Identifier: GPL-2.0

//! Sleeping on many words at once: futex_waitv(2).

use super::entry::{
    Entry,
    Target, //
};
use super::key::{
    Key,
    Scope, //
};
use super::wait::{
    compare,
    Refusal, //
};
use super::wake::ANY;
use super::Futexes;
use crate::sys::task::{
    self,
    Deadline,
    Sleep, //
};
use crate::sys::user_word::UserWord;
use kernel::current;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::sync::Arc;
use kernel::task::Task;

/// A task that sleeps on many words.
pub(crate) struct Sleeper {
    task: ARef<Task>,
    woken: Atomic<bool>,
}

impl Sleeper {
    /// Wakes the task, whichever word was woken.
    pub(super) fn notify(&self) {
        self.woken.store(true, Release);
        self.task.wake_up();
    }
}

/// One of the words.
#[derive(Clone, Copy)]
pub(crate) struct Waiter {
    /// The word.
    pub(crate) word: UserWord,
    /// How it is known.
    pub(crate) scope: Scope,
    /// The value it must hold.
    pub(crate) expected: u64,
}

/// The entries that are queued; taken off the table on drop.
struct Queued<'a> {
    futexes: &'a Futexes,
    entries: KVVec<Arc<Entry>>,
}

impl Queued<'_> {
    /// Takes all off the table, and returns the number of one that was woken before.
    fn dequeue(&mut self) -> Option<usize> {
        let mut woken = None;

        for (number, entry) in self.entries.iter().enumerate() {
            if self.futexes.table.dequeue(entry).is_none() {
                woken = Some(number);
            }
        }
        self.entries.clear();
        woken
    }
}

impl Drop for Queued<'_> {
    fn drop(&mut self) {
        self.dequeue();
    }
}

/// Sleeps until one of `waiters` is woken, if all of them hold what they should. Returns the number
/// of one that was woken.
///
/// # Errors
///
/// - `EAGAIN`: a word holds another value.
/// - `ETIMEDOUT`: `deadline` has passed.
/// - `ERESTARTSYS`: a signal came.
/// - `ENOMEM`.
/// - Those of [`Key::for_waiter`].
pub(crate) fn waitv(
    futexes: &Futexes,
    waiters: &[Waiter],
    deadline: Option<Deadline>,
) -> Result<usize> {
    let current: &Task = current!();
    let sleeper = Arc::new(
        Sleeper {
            task: current.into(),
            woken: Atomic::new(false),
        },
        GFP_KERNEL_ACCOUNT,
    )?;
    let mut queued = Queued {
        futexes,
        entries: KVVec::with_capacity(waiters.len(), GFP_KERNEL_ACCOUNT)?,
    };

    for waiter in waiters {
        let failed = loop {
            match queue(futexes, waiter, &sleeper, &mut queued.entries) {
                Ok(Some(Refusal::Absent)) if task::fatal_signal_pending() => break Some(EINTR),
                Ok(Some(Refusal::Absent)) => (),
                Ok(Some(Refusal::Differs)) => break Some(EAGAIN),
                Ok(None) => break None,
                Err(err) => break Some(err),
            }
        };
        if let Some(err) = failed {
            // A wake that came meanwhile must not be lost.
            return queued.dequeue().ok_or(err);
        }
    }

    let slept = task::sleep_until(deadline, || sleeper.woken.load(Acquire));
    match (queued.dequeue(), slept) {
        (Some(number), _) => Ok(number),
        (None, Sleep::TimedOut) => Err(ETIMEDOUT),
        (None, _) => Err(ERESTARTSYS),
    }
}

/// Queues one more; or says why it may not be.
fn queue(
    futexes: &Futexes,
    waiter: &Waiter,
    sleeper: &Arc<Sleeper>,
    entries: &mut KVVec<Arc<Entry>>,
) -> Result<Option<Refusal>> {
    if waiter.word.read()? != waiter.expected {
        return Ok(Some(Refusal::Differs));
    }

    let key = Key::for_waiter(&futexes.table, waiter.word, waiter.scope)?;
    let queued = Entry::new()?;
    let entry = queued.clone_arc();
    let target = Target::Sleeper(sleeper.clone());
    let refused = futexes
        .table
        .enqueue(key, queued, target, ANY, || {
            compare(waiter.word, waiter.expected)
        })
        .err();

    if refused.is_none() {
        // There is room: the caller made it.
        drop(entries.push_within_capacity(entry));
    }
    Ok(refused)
}
