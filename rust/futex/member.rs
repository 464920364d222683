// SPDX-License-Identifier: GPL-2.0

//! A watch in a set.

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    KeyRef,
    Kind, //
};
use super::set::Set;
use super::table::{
    is_late,
    rotate,
    Ticket, //
};
use super::unread::Unread;
use super::wait::{
    fault_in,
    Refusal, //
};
use super::watch::Request;
use crate::sys::bindings::{
    self,
    afutex_event, //
};
use crate::sys::fifo::{
    Fifo, //
    Link,
};
use crate::sys::pseudo_file::Pollable;
use crate::sys::queues::Cursor;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};

/// What a set's lock protects.
///
/// The waiters of one-shot members that were woken are disarmed with it.
#[pin_data]
pub(super) struct Ready {
    /// Those that have something to tell, first come first; and the state of all.
    #[pin]
    pub(super) queue: Fifo<State>,
}

impl Ready {
    /// Creates an initialiser for nobody with anything to tell.
    pub(super) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            queue <- Fifo::new(),
        })
    }

    /// The queue, and the state of all.
    #[inline]
    pub(super) fn queue(self: Pin<&mut Self>) -> Pin<&mut Fifo<State>> {
        self.project().queue
    }
}

/// What a member waits for, and what it has to tell.
pub(super) struct State {
    cookie: u64,
    /// The address of the word.
    uaddr: usize,
    /// Wakes to tell of.
    count: u32,
    unread: Unread,
    /// The member itself, if it was woken and left the table, and pins a page: it has to
    /// [`settle`](Member::settle) once that was told.
    unsettled: Option<Arc<Member>>,
    /// Somebody is about to queue the member.
    arming: bool,
    /// It stays armed when it is woken.
    persistent: bool,
    /// The word held another value when the member was to be armed.
    changed: bool,
    /// It is no longer in the set.
    gone: bool,
}

impl State {
    /// What there is to tell.
    #[inline]
    pub(super) fn event(&self) -> afutex_event {
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

    /// It was told. Returns the member, if it has to settle: without the lock.
    #[inline]
    pub(super) fn told(&mut self) -> Option<Arc<Member>> {
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
/// It is on its set's queue if it has something to tell and is not gone.
#[pin_data]
pub(crate) struct Member {
    pub(super) set: Arc<Pollable<Set>>,
    #[pin]
    entry: Entry,
    #[pin]
    link: Link<State>,
}

// With its reference count, and what accounting takes, 192 bytes of memory at most.
#[cfg(not(CONFIG_LOCKDEP))]
const _: () = assert!(size_of::<Member>() <= 184);

/// The right to arm a member; given up on drop.
///
/// # Invariants
///
/// `arming` of the member's state was set for this.
pub(super) struct Arming<'a>(&'a Arc<Member>);

impl Arming<'_> {
    /// Takes the member off the table and changes what it waits for. What it has to tell stays;
    /// what it has_unread is passed on, since it may be for another word. Returns the waiter that it had,
    /// if it had one.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the member was removed meanwhile: who does that may have the waiter in hand, and
    /// passes on what is unread for it.
    pub(super) fn change(&self, request: &Request, cookie: u64) -> Result<Option<Waiter>> {
        let member = self.0;
        let queued = member.set.domain.table.dequeue(&member.entry);
        let mut ready = member.set.ready.lock();
        let waiter = queued.or(member.entry.take_disarmed(ready.as_mut()));
        let state = member.state(ready.as_mut());
        let gone = state.gone;

        if !gone {
            state.cookie = cookie;
            state.uaddr = request.word.addr();
            state.persistent = request.has(bindings::AFUTEX_PERSISTENT);
        }
        let unread = match waiter {
            Some(_) => core::mem::take(&mut state.unread),
            None => Unread::default(),
        };
        let unsettled = state.unsettled.take();
        drop(ready);
        drop(unsettled);

        if let Some(waiter) = &waiter {
            unread.pass_on(waiter, &member.set.domain);
        }
        if gone {
            return Err(ENOENT);
        }
        Ok(waiter)
    }

    /// Queues the entry for `request`. `waiter` is what the member had before, if it had one: it is
    /// used again if it is of the same word.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value, `ENOENT` if the member was removed meanwhile;
    /// those of reading the word and of [`KeyRef::for_waiter`].
    pub(super) fn arm(self, request: &Request, waiter: Option<Waiter>) -> Result {
        let member = self.0;
        let table = &member.set.domain.table;
        // Spares the pin if the word differs already. And a word that cannot be read cannot be
        // waited for.
        let value = request.word.read()?;
        if request.has(bindings::AFUTEX_COMPARE) && value != request.value {
            return Member::changed(member, request);
        }

        let mut waiter = match waiter {
            Some(waiter) if waiter.key.is_of(request.word, request.scope) => Waiter {
                mask: request.mask,
                ..waiter
            },
            _ => Waiter::new(
                KeyRef::for_waiter(table, request.word, request.scope)?,
                Wakee::Member(member.clone()),
                request.mask,
            ),
        };
        loop {
            let queued = table.enqueue(&member.entry, waiter, || request.validate());
            let Err((refusal, refused)) = queued else {
                // Who removed it meanwhile has seen it queued, or we see that it is gone.
                if member.state(member.set.ready.lock().as_mut()).gone {
                    member.retire();
                    member.settle();
                    return Err(ENOENT);
                }
                return Ok(());
            };

            match refusal {
                Refusal::Mismatch => return Member::changed(member, request),
                Refusal::Fault => fault_in(request.word)?,
                Refusal::Busy => return Err(EBUSY),
            }
            waiter = refused;
            waiter.key = KeyRef::for_waiter(table, request.word, request.scope)?;
        }
    }
}

impl Drop for Arming<'_> {
    fn drop(&mut self) {
        let mut ready = self.0.set.ready.lock();

        self.0.state(ready.as_mut()).arming = false;
    }
}

/// What a member shows of itself.
pub(super) struct Description {
    pub(super) armed: bool,
    pub(super) wakes: u32,
    pub(super) cookie: u64,
    pub(super) uaddr: usize,
}

impl Member {
    /// Makes a member of `set` that is not armed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        set: ArcBorrow<'_, Pollable<Set>>,
        request: &Request,
        cookie: u64,
    ) -> Result<Arc<Self>> {
        let state = State {
            cookie,
            uaddr: request.word.addr(),
            count: 0,
            unread: Unread::default(),
            unsettled: None,
            arming: false,
            persistent: request.has(bindings::AFUTEX_PERSISTENT),
            changed: false,
            gone: false,
        };

        Arc::pin_init(
            try_pin_init!(Self {
                set: set.into(),
                entry <- Entry::new(),
                link <- Link::new(set.ready.lock().as_mut().queue().as_ref(), state),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// The member's state, by the lock of its set.
    #[inline]
    fn state<'a>(&'a self, ready: Pin<&'a mut Ready>) -> &'a mut State {
        ready.queue().state(&self.link)
    }

    /// Counts a wake. Returns whether the member stays armed. Under the bucket's lock.
    #[inline(always)]
    fn count(this: &Arc<Self>, ready: Pin<&mut Ready>, waiter: &Waiter, mask: u32) -> bool {
        let mut queue = ready.queue();
        let state = queue.as_mut().state(&this.link);
        let persistent = state.persistent;

        state.count = state.count.saturating_add(1);
        state.unread = state.unread.and(Unread::one(mask));
        if !persistent && waiter.key.id().kind() == Kind::Page {
            Self::keep(this, state);
        }
        // Those that are gone are not told of.
        if !state.gone {
            queue.push(&this.link);
        }
        persistent
    }

    /// Notes that the member is to settle.
    #[cold]
    #[inline(never)]
    fn keep(this: &Arc<Self>, state: &mut State) {
        state.unsettled.get_or_insert_with(|| this.clone());
    }

    /// Counts a wake of the member whose waiter is at the cursor, and goes on. Returns also whether
    /// the waiter left the table.
    #[inline(always)]
    fn hit_one<'a>(
        mut ready: Pin<&mut Ready>,
        cursor: Cursor<'a, Waiter>,
        mask: u32,
        ticket: &mut Ticket,
    ) -> (Option<Cursor<'a, Waiter>>, bool) {
        let waiter = cursor.item();
        let Wakee::Member(member) = &waiter.wakee else {
            return (cursor.next(), false);
        };

        if Self::count(member, ready.as_mut(), waiter, mask) {
            (rotate(cursor, ticket), false)
        } else {
            (cursor.disarm(ready), true)
        }
    }

    /// Counts a wake of the member of `set` whose waiter is at the cursor. Returns whether the waiter
    /// left the table. Under the bucket's lock.
    #[inline]
    pub(super) fn hit(
        set: &Pollable<Set>,
        cursor: Cursor<'_, Waiter>,
        mask: u32,
        ticket: &mut Ticket,
    ) -> bool {
        Self::hit_one(set.ready.lock().as_mut(), cursor, mask, ticket).1
    }

    /// As `hit`, of it and those behind it, as long as they are members of the set, match, and came
    /// before `limit`; `most` at most.
    #[inline]
    pub(super) fn hit_run<'a>(
        set: &Pollable<Set>,
        mut cursor: Cursor<'a, Waiter>,
        most: u32,
        limit: u64,
        mask: u32,
        ticket: &mut Ticket,
    ) -> Run<'a> {
        let mut ready = set.ready.lock();
        let mut woken = 0u32;
        let mut left = 0i32;

        loop {
            let (next, is_gone) = Self::hit_one(ready.as_mut(), cursor, mask, ticket);
            woken = woken.wrapping_add(1);
            left = left.wrapping_add(is_gone.into());

            let Some(at) = next else {
                return Run { next, woken, left };
            };
            let waiter = at.item();
            let goes_on = woken < most
                && !is_late(waiter.ticket, limit)
                && waiter.matches(mask)
                && matches!(&waiter.wakee, Wakee::Member(member) if ptr::eq(&*member.set, set));
            if !goes_on {
                let next = Some(at);
                return Run { next, woken, left };
            }
            cursor = at;
        }
    }

    /// Whether there are wakes that were not told. Under the bucket's lock.
    pub(super) fn has_unread(&self) -> bool {
        let mut ready = self.set.ready.lock();

        self.state(ready.as_mut()).unread.count() != 0
    }

    /// Begins to arm the member: nobody else can meanwhile.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody does.
    pub(super) fn begin(this: &Arc<Self>) -> Result<Arming<'_>> {
        let mut ready = this.set.ready.lock();
        let state = this.state(ready.as_mut());

        if core::mem::replace(&mut state.arming, true) {
            return Err(EBUSY);
        }
        // INVARIANT: Just set.
        Ok(Arming(this))
    }

    /// What follows when the word has changed: an error, or something to tell.
    fn changed(this: &Arc<Self>, request: &Request) -> Result {
        if !request.has(bindings::AFUTEX_READY) {
            return Err(EAGAIN);
        }
        {
            let mut ready = this.set.ready.lock();
            let state = this.state(ready.as_mut());
            if state.gone {
                return Err(ENOENT);
            }
            state.changed = true;
            ready.as_mut().queue().push(&this.link);
        }
        this.set.notify_readable();
        Ok(())
    }

    /// Takes the member off the table and off the queue, for good. It keeps what it has_unread. May be
    /// done again, if somebody queued it meanwhile.
    pub(super) fn retire(&self) {
        // Before it is dequeued: who queues it afterwards sees it.
        self.state(self.set.ready.lock().as_mut()).gone = true;

        let queued = self.set.domain.table.dequeue(&self.entry);
        let mut ready = self.set.ready.lock();
        let spare = queued.and_then(|waiter| self.entry.disarm(ready.as_mut(), waiter).err());
        ready.as_mut().queue().remove(&self.link);
        let unsettled = self.state(ready.as_mut()).unsettled.take();
        drop(ready);
        drop((unsettled, spare));
    }

    /// Passes on what a retired member has_unread.
    ///
    /// Of a member that is not retired, lets go of a page that it pins and does not need.
    pub(super) fn settle(&self) {
        let mut ready = self.set.ready.lock();
        let pins = match self.entry.disarmed(ready.as_mut()) {
            Some(waiter) => waiter.key.id().kind() == Kind::Page,
            None => false,
        };
        let state = self.state(ready.as_mut());

        if !state.gone && (!pins || state.unread.count() != 0) {
            return;
        }
        // Without the waiter there is no telling whom to wake: who has it in hand will do this again.
        let Some(waiter) = self.entry.take_disarmed(ready.as_mut()) else {
            return;
        };
        let unread = core::mem::take(&mut self.state(ready.as_mut()).unread);
        drop(ready);

        unread.pass_on(&waiter, &self.set.domain);
    }

    /// What the member shows of itself.
    pub(super) fn describe(&self) -> Description {
        let mut ready = self.set.ready.lock();
        let state = self.state(ready.as_mut());

        Description {
            armed: self.entry.is_queued(),
            wakes: state.count,
            cookie: state.cookie,
            uaddr: state.uaddr,
        }
    }
}

/// What came of [`Member::hit_run`].
pub(super) struct Run<'a> {
    /// Who is next on the queue, unless the last was the last.
    pub(super) next: Option<Cursor<'a, Waiter>>,
    /// How many were woken.
    pub(super) woken: u32,
    /// How many of them left the table.
    pub(super) left: i32,
}
