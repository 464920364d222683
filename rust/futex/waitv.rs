// SPDX-License-Identifier: GPL-2.0

//! Sleeping on many words at once: futex_waitv(2).

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    KeyRef,
    Scope, //
};
use super::wait::{
    compare,
    fault_in,
    Refusal, //
};
use super::wake::ANY;
use super::Domain;
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
pub(crate) struct WaitSpec {
    /// The word.
    pub(crate) word: UserWord,
    /// How it is known.
    pub(crate) scope: Scope,
    /// The value it must hold.
    pub(crate) expected: u64,
}

/// A place to wait for one of them.
#[pin_data]
struct Vector {
    #[pin]
    entry: Entry,
}

/// The vectors for the words; taken off the table on drop.
struct Queued<'a> {
    domain: &'a Domain,
    vectors: Pin<KVBox<[Vector]>>,
}

impl Queued<'_> {
    /// Takes all off the table, and returns the number of one of the first `count` that was woken
    /// before.
    fn dequeue(&self, count: usize) -> Option<usize> {
        let mut woken = None;

        for (number, vector) in self.vectors.iter().enumerate().take(count) {
            if self.domain.table.dequeue(&vector.entry).is_none() {
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

/// Sleeps until one of `waiters` is woken, if all of them hold what they should. Returns the number
/// of one that was woken.
///
/// # Errors
///
/// - `EAGAIN`: a word holds another value.
/// - `ETIMEDOUT`: `deadline` has passed.
/// - `ERESTARTSYS`: a signal came.
/// - `ENOMEM`.
/// - Those of [`KeyRef::for_waiter`].
pub(crate) fn waitv(
    domain: &Domain,
    waiters: &[WaitSpec],
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
    let queued = Queued {
        domain,
        vectors: KVBox::pin_slice(
            |_| try_pin_init!(Vector { entry <- Entry::new() }? Error),
            waiters.len(),
            GFP_KERNEL_ACCOUNT,
        )?,
    };

    for (number, (waiter, vector)) in waiters.iter().zip(queued.vectors.iter()).enumerate() {
        if let Err(err) = queue(domain, waiter, &sleeper, &vector.entry) {
            // A wake that came meanwhile must not be lost.
            return queued.dequeue(number).ok_or(err);
        }
    }

    let slept = task::sleep_until(deadline, || sleeper.woken.load(Acquire));
    match (queued.dequeue(waiters.len()), slept) {
        (Some(number), _) => Ok(number),
        (None, Sleep::TimedOut) => Err(ETIMEDOUT),
        (None, _) => Err(ERESTARTSYS),
    }
}

/// Queues one more.
///
/// # Errors
///
/// `EAGAIN` if the word holds another value; those of reading it and of [`KeyRef::for_waiter`].
fn queue(domain: &Domain, spec: &WaitSpec, sleeper: &Arc<Sleeper>, entry: &Entry) -> Result {
    if spec.word.read()? != spec.expected {
        return Err(EAGAIN);
    }

    loop {
        let waiter = Waiter::new(
            KeyRef::for_waiter(&domain.table, spec.word, spec.scope)?,
            Wakee::Sleeper(sleeper.clone()),
            ANY,
        );
        match domain
            .table
            .enqueue(entry, waiter, || compare(spec.word, spec.expected))
        {
            Ok(()) => return Ok(()),
            Err((Refusal::Fault, _)) => fault_in(spec.word)?,
            Err(_) => return Err(EAGAIN),
        }
    }
}
