// SPDX-License-Identifier: GPL-2.0

//! Sets, as a waker meets them: one descriptor from `AFUTEX_IOC_SET` for very many words.
//!
//! A set has members, each a watch on a word with a cookie of the user's. A wake puts its members
//! on the set's ready list, and a reader goes through that list: so the cost of waiting does not
//! depend on how many members there are. What a user can do with a set is in [`ctl`] and [`read`].
//!
//! # Locks
//!
//! `Set::members` has a lock of its own; nothing else is locked under it.
//! `Set::ready`, a spinlock, comes below a bucket's lock: the order is in
//! [`bucket`](super::bucket).
//!
//! | field                                 | protected by                                     |
//! |---------------------------------------|--------------------------------------------------|
//! | `Set::members`                        | its own lock                                     |
//! | the ready list, [`State`] of a member | `Set::ready`                                     |
//! | the waiter in `Member::entry`         | the bucket's lock while queued, `Set::ready`     |
//! |                                       | while disarmed, its taker after it was taken     |
//! | `Set::quota`                          | atomic                                           |
//!
//! # States of a member
//!
//! Where its waiter is, and what [`State`] says besides:
//!
//! | state       | waiter   | `arming` | `dead` | on the ready list | comes from                 |
//! |-------------|----------|----------|--------|-------------------|----------------------------|
//! | new, idle   | none     | no       | no     | if it has news    | ADD, failed MOD, read      |
//! | being armed | any      | yes      | no     | if it has news    | ADD, MOD                   |
//! | armed       | queued   | no       | no     | if it has news    | arming, wake if persistent |
//! | disarmed    | disarmed | no       | no     | yes, until read   | wake of a one-shot         |
//! | dead        | any      | any      | yes    | no                | DEL, close, failed ADD     |
//!
//! News are `count` wakes and `changed`. Additionally `unsettled` is set from the wake of a
//! one-shot member that pins a page until that wake is read: only then may the page go. `unread`
//! are the wakes to pass on if the member goes. It is not `count`: MOD passes on what is unread, as
//! it is for the old word, and keeps the count, as it still has to be reported.
//!
//! # Removal
//!
//! A member goes by DEL, by an ADD that fails, or with the set. Each
//!
//! 1. `retire`s it: marks it dead, which no concurrent arming or wake puts on the ready list again,
//!    and, in a mapped set, takes what its count has, so that the next member of its number begins
//!    at 0;
//! 2. takes it out of `Set::members`, so exactly one caller gets to
//! 3. `unqueue` it: dequeues its waiter, and keeps that disarmed; a concurrent arming that queues
//!    the waiter after this sees that it is dead, and does this itself;
//! 4. `pass_on_unread`: takes the waiter, and passes on what is unread. When a set is closed, this
//!    follows after step 3 was done for all members, so that none gets what another passes on.

pub(crate) mod ctl;
pub(crate) mod read;
pub(crate) mod ring;

use super::bucket::{
    Entry,
    Wake, //
};
use super::count::{
    Counted,
    FDS, //
};
use super::domain::Domain;
use super::key::KeyRef;
use super::opener::Opener;
use super::quota::{
    Charges,
    Quota, //
};
use super::table::Table;
use super::unread::Unread;
use super::word::Request;
use crate::sys::bindings::{
    self,
    afutex_event, //
};
use crate::sys::fifo::{
    Fifo,
    Link, //
};
use crate::sys::futex_hook::InPlace;
use crate::sys::pseudo_file::Pollable;
use crate::sys::read_once::{
    read_once,
    write_once, //
};
use crate::sys::shared_pages::SharedPages;
use crate::sys::slots::Slots;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::sync::atomic::Atomic;
use kernel::sync::{
    Arc,
    ArcBorrow,
    SpinLock, //
};
use ring::Ring;

/// What a set's lock protects.
///
/// The waiters of one-shot members that were woken are disarmed under it.
#[pin_data]
pub(crate) struct Ready<W: Wake> {
    /// Members with news, first come first; and the state of all.
    #[pin]
    list: Fifo<State<W>>,
    /// Where members with news go instead, in a mapped set.
    ring: Option<Ring>,
}

impl<W: Wake> Ready<W> {
    /// The ready list.
    #[inline]
    fn list(self: Pin<&mut Self>) -> Pin<&mut Fifo<State<W>>> {
        self.project().list
    }

    /// To be called after wakes were counted, under the same lock.
    #[inline]
    pub(crate) fn publish(self: Pin<&mut Self>) {
        if let Some(ring) = self.project().ring {
            ring.publish();
        }
    }

    /// Whether there is nothing to report.
    fn is_empty(&self) -> bool {
        match &self.ring {
            Some(ring) => ring.is_empty(),
            None => self.list.is_empty(),
        }
    }
}

/// What a member waits for, and its news.
pub(crate) struct State<W: Wake> {
    cookie: u64,
    /// The address of the word.
    uaddr: usize,
    /// Wakes to report; in a mapped set they are in the ring.
    count: u32,
    /// Wakes to pass on if the member goes; in a mapped set, those of them that were not taken.
    unread: Unread,
    /// The member itself, if it was woken and dequeued, and pins a page: it has to be
    /// [settled](Member::settle) once that was reported.
    unsettled: Option<Arc<Member<W>>>,
    /// A task is about to queue the member.
    arming: bool,
    /// It stays armed when it is woken.
    persistent: bool,
    /// The word held another value when the member was to be armed.
    changed: bool,
    /// It is no longer in the set.
    dead: bool,
}

impl<W: Wake> State<W> {
    /// What there is to report.
    #[inline]
    fn event(&self) -> afutex_event {
        let woken = match self.count {
            0 => 0,
            _ => bindings::AFUTEX_WOKEN,
        };
        let changed = match self.changed {
            false => 0,
            true => bindings::AFUTEX_VALUE_CHANGED,
        };

        afutex_event {
            cookie: self.cookie,
            why: woken | changed,
            count: self.count,
        }
    }

    /// Notes that it was reported. Returns the member if it is to be settled, after the lock.
    #[inline]
    fn delivered(&mut self) -> Option<Arc<Member<W>>> {
        self.count = 0;
        self.changed = false;
        self.unread = Unread::default();
        self.unsettled.take()
    }
}

/// A watch in a set.
///
/// There may be very many: its size counts.
///
/// # Invariants
///
/// It is on its set's ready list if it has news and is not dead.
#[pin_data]
pub(crate) struct Member<W: Wake> {
    pub(crate) set: Arc<Pollable<Set<W>>>,
    /// Of one for wakes of futex(2).
    hooks: Option<InPlace>,
    /// Its number in a mapped set; [`Self::NO_NUMBER`] in others, and before it is given one, under
    /// the set's lock and before it is armed.
    number: Atomic<i32>,
    #[pin]
    entry: Entry<W>,
    #[pin]
    link: Link<State<W>>,
}

impl<W: Wake> Member<W> {
    /// Creates a member of `set` that is not armed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn new(
        set: ArcBorrow<'_, Pollable<Set<W>>>,
        request: &Request,
        cookie: u64,
        hooks: Option<InPlace>,
    ) -> Result<Arc<Self>> {
        // With its reference count, and what accounting takes, 192 bytes of memory at most.
        const { assert!(cfg!(CONFIG_LOCKDEP) || size_of::<Self>() <= 184) };

        let state = State {
            cookie,
            uaddr: request.word.addr(),
            count: 0,
            unread: Unread::default(),
            unsettled: None,
            arming: false,
            persistent: request.has(bindings::AFUTEX_PERSISTENT),
            changed: false,
            dead: false,
        };

        Arc::pin_init(
            try_pin_init!(Self {
                set: set.into(),
                hooks,
                number: Atomic::new(Self::NO_NUMBER),
                entry <- Entry::new(),
                link <- Link::new(set.ready.lock().as_mut().list().as_ref(), state),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    const NO_NUMBER: i32 = -1;

    /// Its number in a mapped set, once it has one.
    #[inline]
    fn number(&self) -> u32 {
        read_once(&self.number) as u32
    }

    /// Gives it one.
    fn set_number(&self, number: u32) {
        let _ready = self.set.ready.lock();

        write_once(&self.number, number as i32);
    }

    /// Whether it waits for wakes of futex(2).
    fn is_native(&self) -> bool {
        self.hooks.is_some()
    }

    /// The table that it waits in.
    fn table(&self) -> &Table<W> {
        match self.set.domain.native() {
            Some(native) if self.is_native() => &native.table,
            _ => &self.set.domain.table,
        }
    }

    /// The member's state, by the lock of its set.
    #[inline]
    fn state<'a>(&'a self, ready: Pin<&'a mut Ready<W>>) -> &'a mut State<W> {
        ready.list().at(&self.link).into_state()
    }

    /// Counts a wake of its waiter on `key`. Returns whether the member stays armed. Under the
    /// bucket's lock.
    #[inline(always)]
    pub(crate) fn add_wake(
        this: &Arc<Self>,
        ready: Pin<&mut Ready<W>>,
        key: &KeyRef,
        bitset: u32,
    ) -> bool {
        let ready = ready.project();
        let mut link = ready.list.at(&this.link);
        let state = link.state();
        let persistent = state.persistent;

        if let (Some(ring), false) = (ready.ring, state.dead) {
            ring.add_wake(this.number(), &mut state.unread, bitset);
            return persistent;
        }
        state.count = state.count.saturating_add(1);
        state.unread = state.unread.and(Unread::one(bitset));
        if !persistent && key.pins() {
            Self::note_unsettled(this, state);
        }
        if !state.dead {
            link.push();
        }
        persistent
    }

    /// Counts a wake of a member of a mapped set, if it stays armed. Returns whether there is
    /// anybody to notify. Under the bucket's lock.
    pub(crate) fn add_wake_alone(&self, bitset: u32) -> Option<bool> {
        let mut ready = self.set.ready.lock();
        let ready = ready.as_mut().project();
        let state = ready.list.at(&self.link).into_state();
        let ring = ready.ring.as_mut()?;

        if !state.persistent || state.dead {
            return None;
        }
        ring.add_wake(self.number(), &mut state.unread, bitset);
        Some(match ring.publish() {
            Some(fenced) => self.set.has_listeners(fenced),
            None => false,
        })
    }

    #[cold]
    #[inline(never)]
    fn note_unsettled(this: &Arc<Self>, state: &mut State<W>) {
        state.unsettled.get_or_insert_with(|| this.clone());
    }

    /// Whether there are wakes that were not reported. Under the bucket's lock.
    pub(crate) fn has_unread(&self) -> bool {
        let mut ready = self.set.ready.lock();

        self.unread(ready.as_mut()).count() != 0
    }

    /// The wakes that were not reported.
    fn unread(&self, ready: Pin<&mut Ready<W>>) -> Unread {
        let ready = ready.project();
        let state = ready.list.at(&self.link).into_state();

        match ready.ring {
            Some(ring) if !state.dead => state.unread.at_most(ring.wakes(self.number())),
            _ => state.unread,
        }
    }

    /// Takes the wakes that were not reported, to pass them on.
    fn take_unread(&self, mut ready: Pin<&mut Ready<W>>) -> Unread {
        let unread = self.unread(ready.as_mut());

        self.state(ready).unread = Unread::default();
        unread
    }

    /// Marks the member dead: nothing is put on the ready list for it any more, and what is unread
    /// is in its state. Before that, its number must not be given again.
    fn retire(&self) {
        let mut ready = self.set.ready.lock();
        let ready = ready.as_mut().project();
        let state = ready.list.at(&self.link).into_state();

        if core::mem::replace(&mut state.dead, true) {
            return;
        }
        if let Some(ring) = ready.ring {
            state.unread = state.unread.at_most(ring.take(self.number()));
        }
    }
}

/// The file.
#[pin_data]
pub(crate) struct Set<W: Wake> {
    domain: Arc<Domain<W>>,
    #[pin]
    pub(crate) ready: SpinLock<Ready<W>>,
    /// The members, by number.
    #[pin]
    members: Slots<Member<W>>,
    /// Of a set whose events are in memory.
    mapped: Option<Mapped>,
    quota: Arc<Quota>,
    opener: Opener,
    _count: Counted,
}

/// What a mapped set has besides.
struct Mapped {
    pages: Arc<SharedPages>,
    /// How many members there may be.
    members: u32,
    _charge: Charges,
}

impl<W: Wake> Set<W> {
    /// Whether its events are in memory.
    #[inline]
    pub(crate) fn is_mapped(&self) -> bool {
        self.mapped.is_some()
    }

    /// Creates an initialiser for a set without members; a mapped one, if it has a `ring`.
    pub(crate) fn new(
        domain: Arc<Domain<W>>,
        quota: Arc<Quota>,
        ring: Option<(Ring, Charges)>,
    ) -> impl PinInit<Self> {
        let (ring, mapped) = ring
            .map(|(ring, charge)| {
                let mapped = Mapped {
                    pages: ring.pages().clone(),
                    members: ring.members(),
                    _charge: charge,
                };
                (ring, mapped)
            })
            .unzip();

        pin_init!(Self {
            domain,
            ready <- new_spinlock!(
                pin_init!(Ready {
                    list <- Fifo::new(),
                    ring,
                }),
                "afutex_ready"
            ),
            members <- Slots::new(),
            mapped,
            opener: Opener::new(quota.user()),
            quota,
            _count: Counted::new(&FDS),
        })
    }
}
