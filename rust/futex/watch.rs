// SPDX-License-Identifier: GPL-2.0

//! A watch, as a waker meets it: the object behind a descriptor from `AFUTEX_IOC_OPEN`.
//!
//! What a user can do with it is in [`file`].
//!
//! # No wake is swallowed
//!
//! A wake that was counted for a watch and not read when the watch is closed is passed on to the
//! next waiter on that word at that moment. A watch that was woken therefore has the wake *unread*:
//! it keeps the key, and the bitsets of the wakes, until they are read: see
//! [`unread`](super::unread).

pub(crate) mod file;

use super::bucket::{
    Entry,
    Waiter,
    Wake, //
};
use super::count::{
    Counted,
    FDS, //
};
use super::domain::Domain;
use super::key::{
    Key,
    Kind, //
};
use super::opener::Opener;
use super::quota::Charge;
use super::unread::{
    AtomicUnread,
    Unread, //
};
use super::word::Request;
use crate::sys::bindings;
use crate::sys::futex_hook::InPlace;
use crate::sys::mm::{
    MmHold,
    MmId,
    MmSeq, //
};
use crate::sys::pseudo_file::Pollable;
use crate::sys::queues::Cursor;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    Mutex,
    SpinLock, //
};
use kernel::{
    new_mutex,
    new_spinlock, //
};

/// What the lock under which a one-shot watch is disarmed protects, besides its waiter.
pub(crate) struct Disarmed {
    /// How the word was known when the watch was armed last.
    kind: Option<Kind>,
    /// Where the address of a shared word led to when it was looked up last.
    seen: Option<Seen>,
}

/// A key, and a moment after which the address of the watch led to it.
///
/// Both belong together: a requeue gives the waiter another key.
struct Seen {
    key: Key,
    at: MmSeq,
}

/// The file.
///
/// The waiter of a one-shot watch that is woken is disarmed, and its wake counted, in one step
/// under `disarmed`. A persistent watch counts under the bucket's lock alone. `arming` is only ever
/// tried, since its holder may be kept waiting by a page fault that a user serves. The order of
/// locks is in [`bucket`](super::bucket).
#[pin_data]
pub(crate) struct Watch<W: Wake> {
    domain: Arc<Domain<W>>,
    #[pin]
    entry: Entry<W>,
    /// Wakes, and whether the word had changed.
    unread: AtomicUnread,
    #[pin]
    disarmed: SpinLock<Disarmed>,
    /// Held while the entry is queued anew.
    #[pin]
    arming: Mutex<()>,
    /// What the watch was opened with.
    request: Request,
    signal: u32,
    opener: Opener,
    /// Whose address `request` has.
    mm: MmId,
    _hold: MmHold,
    /// Of one for wakes of futex(2).
    hooks: Option<InPlace>,
    _count: Counted,
    _charge: Charge,
}

impl<W: Wake> Watch<W> {
    /// Creates an initialiser for one that is not armed. `charge` is for it.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the current task has no memory.
    pub(crate) fn new(
        domain: Arc<Domain<W>>,
        charge: Charge,
        request: Request,
        signal: u32,
        hooks: Option<InPlace>,
    ) -> Result<impl PinInit<Self>> {
        let (mm, hold) = MmHold::current()?;

        Ok(pin_init!(Self {
            domain,
            entry <- Entry::new(),
            unread: AtomicUnread::new(),
            disarmed <- new_spinlock!(Disarmed { kind: None, seen: None }, "afutex_disarmed"),
            arming <- new_mutex!((), "afutex_arming"),
            request,
            signal,
            opener: Opener::new(charge.user()),
            mm,
            _hold: hold,
            hooks,
            _count: Counted::new(&FDS),
            _charge: charge,
        }))
    }

    /// Whether it stays armed when it is woken.
    #[inline]
    pub(crate) fn is_persistent(&self) -> bool {
        self.request.has(bindings::AFUTEX_PERSISTENT)
    }

    /// Counts a wake of a persistent watch. Returns whether there is anybody to notify. Under the
    /// bucket's lock.
    #[inline(always)]
    pub(crate) fn add_wake(this: &Pollable<Self>, bitset: u32) -> bool {
        let fenced = this.unread.add(Unread::one(bitset));

        this.has_listeners(fenced)
    }

    /// Counts a wake of a one-shot watch, disarms its waiter, which is at the cursor, and goes on.
    /// Under the bucket's lock.
    #[inline]
    pub(crate) fn disarm<'a>(
        &self,
        at: Cursor<'a, Waiter<W>>,
        bitset: u32,
    ) -> Option<Cursor<'a, Waiter<W>>> {
        let mut disarmed = self.disarmed.lock();
        let next = at.disarm(disarmed.as_mut());

        self.unread.add(Unread::one(bitset));
        next
    }

    /// Whether there are unread wakes.
    pub(crate) fn has_unread(&self) -> bool {
        self.unread.get().count() != 0
    }
}
