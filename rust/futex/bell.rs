// SPDX-License-Identifier: GPL-2.0

//! A wakee made for tests: the table is tested without tasks and files.

use super::bucket::{
    rotate,
    Counted,
    Entry,
    Guard,
    Notify,
    Waiter,
    Wake,
    Wanted, //
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

struct State {
    persistent: bool,
    listened: Atomic<bool>,
    count: Atomic<u32>,
    notified: Atomic<u32>,
}

/// Counts its wakes, and how often it is notified.
#[derive(Clone)]
pub(crate) struct Bell(Arc<State>);

impl Bell {
    fn new(persistent: bool) -> Result<Self> {
        Ok(Self(Arc::new(
            State {
                persistent,
                listened: Atomic::new(!persistent),
                count: Atomic::new(0),
                notified: Atomic::new(0),
            },
            GFP_KERNEL,
        )?))
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
        self.0.listened.store(true, Relaxed);
    }

    pub(crate) fn count(&self) -> u32 {
        self.0.count.load(Relaxed)
    }

    pub(crate) fn notified(&self) -> u32 {
        self.0.notified.load(Relaxed)
    }

    fn add_wake(&self) {
        self.0.count.fetch_add(1, Relaxed);
    }
}

impl Notify for Bell {
    fn notify(&self) {
        self.0.notified.fetch_add(1, Relaxed);
    }
}

impl Wake for Bell {
    type Notice = Bell;
    type Listener = Bell;

    fn count(&self, _bitset: u32) -> Counted<'_, Bell> {
        if !self.0.persistent {
            return Counted::No;
        }
        self.add_wake();
        match self.0.listened.load(Relaxed) {
            true => Counted::Listened(self),
            false => Counted::Quietly,
        }
    }

    fn wake_first(
        mut guard: Guard<'_, Self>,
        key: &Key,
        bitset: u32,
        unqueued: impl FnOnce(i32),
    ) -> u32 {
        let inner = guard.as_mut().project();
        let mut at = inner.queues.find(key);

        while let Some(cursor) = at {
            if !cursor.item().matches(bitset) {
                at = cursor.next();
                continue;
            }
            let bell = cursor.item().wakee.clone();
            bell.add_wake();
            if bell.0.persistent {
                rotate(cursor, inner.ticket);
                drop(guard);
            } else {
                let (waiter, _) = cursor.remove();
                drop(guard);
                drop(waiter);
                unqueued(1);
            }
            if bell.0.listened.load(Relaxed) {
                bell.notify();
            }
            return 1;
        }
        0
    }

    fn wake_at<'a>(
        at: Cursor<'a, Waiter<Self>>,
        wanted: &mut Wanted<'_, '_, Self>,
    ) -> Option<Cursor<'a, Waiter<Self>>> {
        let bell = at.item().wakee.clone();

        bell.add_wake();
        if bell.0.listened.load(Relaxed) {
            wanted.wake_q.push(bell.clone());
        }
        if bell.0.persistent {
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

    fn has_unread(&self) -> bool {
        self.0.persistent && self.count() != 0
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

    totals.keys == 0 && totals.queued == 0 && totals.waiters == 0 && totals.shared == 0
}
