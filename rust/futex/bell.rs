// SPDX-License-Identifier: GPL-2.0

//! A wakee made for tests: the table is tested without tasks and files.

use super::bucket::{
    rotate,
    Counted,
    Entry,
    Guard,
    Mark,
    Notify,
    Waiter,
    Wake,
    Wanted,
    STEP, //
};
use super::key::{
    Key,
    KeyRef, //
};
use super::table::Table;
use super::word::ANY;
use crate::sys::queues::Cursor;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Arc;

pub(crate) struct State {
    persistent: bool,
    listened: Atomic<bool>,
    count: Atomic<u32>,
    notified: Atomic<u32>,
}

/// Counts its wakes, and how often it is notified.
#[derive(Clone)]
pub(crate) enum Bell {
    /// A wakee.
    Bell(Arc<State>),
    /// What stands in a queue.
    Mark(Mark),
}

impl Bell {
    fn new(persistent: bool) -> Result<Self> {
        Ok(Self::Bell(Arc::new(
            State {
                persistent,
                listened: Atomic::new(!persistent),
                count: Atomic::new(0),
                notified: Atomic::new(0),
            },
            GFP_KERNEL,
        )?))
    }

    fn state(&self) -> &State {
        match self {
            Bell::Bell(state) => state,
            Bell::Mark(_) => panic!("a mark was woken"),
        }
    }

    /// One that is dequeued when it is woken.
    pub(crate) fn once() -> Result<Self> {
        Self::new(false)
    }

    /// One that stays queued.
    pub(crate) fn persistent() -> Result<Self> {
        Self::new(true)
    }

    /// From now on it is to be notified.
    pub(crate) fn listen(&self) {
        self.state().listened.store(true, Relaxed);
    }

    pub(crate) fn count(&self) -> u32 {
        self.state().count.load(Relaxed)
    }

    pub(crate) fn notified(&self) -> u32 {
        self.state().notified.load(Relaxed)
    }

    fn add_wake(&self) {
        self.state().count.fetch_add(1, Relaxed);
    }
}

impl Notify for Bell {
    fn notify(&self) {
        self.state().notified.fetch_add(1, Relaxed);
    }
}

impl Wake for Bell {
    type Notice = Bell;
    type Listener = Bell;

    fn count(&self, _bitset: u32) -> Counted {
        if self.as_mark().is_some() || !self.state().persistent {
            return Counted::No;
        }
        self.add_wake();
        match self.state().listened.load(Relaxed) {
            true => Counted::Listened,
            false => Counted::Quietly,
        }
    }

    fn listener(&self) -> Option<Bell> {
        Some(self.clone())
    }

    fn notify_listener(listener: Option<Bell>) {
        if let Some(bell) = listener {
            bell.notify();
        }
    }

    fn wake_first(
        mut guard: Guard<'_, Self>,
        key: &Key,
        bitset: u32,
        unqueued: impl FnOnce(i32),
    ) -> Option<u32> {
        let mut steps = STEP;
        let inner = guard.as_mut().project();
        let mut at = inner.queues.find(key);

        while let Some(cursor) = at {
            if cursor.item().wakee.as_mark() == Some(Mark::Barrier) {
                return None;
            }
            if !cursor.item().matches(bitset) || cursor.item().is_mark() {
                steps = steps.checked_sub(1)?;
                at = cursor.next();
                continue;
            }
            let bell = cursor.item().wakee.clone();
            bell.add_wake();
            if bell.state().persistent {
                rotate(cursor, inner.ticket);
                drop(guard);
            } else {
                let (waiter, _) = cursor.remove();
                drop(guard);
                drop(waiter);
                unqueued(1);
            }
            if bell.state().listened.load(Relaxed) {
                bell.notify();
            }
            return Some(1);
        }
        Some(0)
    }

    fn wake_at<'a>(
        at: Cursor<'a, Waiter<Self>>,
        wanted: &mut Wanted<'_, '_, Self>,
    ) -> Option<Cursor<'a, Waiter<Self>>> {
        let bell = at.item().wakee.clone();

        bell.add_wake();
        if bell.state().listened.load(Relaxed) {
            wanted.wake_q.push(bell.clone());
        }
        if bell.state().persistent {
            wanted.count(1, 0);
            rotate(at, wanted.ticket)
        } else {
            let (waiter, next) = at.remove();
            // It has a key of no object, and a bell that is held: nothing is freed here.
            drop(waiter);
            wanted.count(1, 1);
            next
        }
    }

    fn stays(&self) -> bool {
        match self {
            Bell::Mark(_) => true,
            Bell::Bell(state) => state.persistent && self.count() != 0,
        }
    }

    fn from_mark(mark: Mark) -> Self {
        Bell::Mark(mark)
    }

    fn as_mark(&self) -> Option<Mark> {
        match self {
            Bell::Mark(mark) => Some(*mark),
            Bell::Bell(_) => None,
        }
    }
}

/// An entry of its own.
pub(crate) type TestEntry = Pin<KBox<Entry<Bell>>>;

/// A waiter on the word at `offset` of no object.
pub(crate) fn waiter(offset: usize, bell: Bell, bitset: u32) -> Waiter<Bell> {
    Waiter::new(KeyRef::of_nothing(offset), bell, bitset)
}

/// Queues a bell on the word at `offset`, for some bits.
pub(crate) fn queue_for(
    table: &Table<Bell>,
    offset: usize,
    bell: Bell,
    bitset: u32,
) -> Result<(TestEntry, Bell)> {
    let entry = KBox::pin_init(Entry::new(), GFP_KERNEL)?;

    table
        .queue(&entry, waiter(offset, bell.clone(), bitset), || Ok(()))
        .map_err(|_| EBUSY)?;
    Ok((entry, bell))
}

/// Queues a bell on the word at `offset`.
pub(crate) fn queue(table: &Table<Bell>, offset: usize, bell: Bell) -> Result<(TestEntry, Bell)> {
    queue_for(table, offset, bell, ANY)
}

/// Whether all counts of the table are 0.
pub(crate) fn is_empty(table: &Table<Bell>) -> bool {
    let totals = table.totals();

    totals.keys == 0 && totals.queued == 0 && totals.waiters == 0 && totals.by_offset == 0
}
