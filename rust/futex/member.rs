// SPDX-License-Identifier: GPL-2.0

//! A watch in a set.

use super::entry::{
    Entry,
    Seat,
    Target, //
};
use super::key::{
    Key,
    Kind, //
};
use super::owed::Owed;
use super::set::Set;
use super::table::{
    rotate,
    Ticket, //
};
use super::wait::{
    fault_in,
    Refusal, //
};
use super::watch::Request;
use crate::sys::bindings::{
    self,
    afutex_event, //
};
use crate::sys::pinned;
use crate::sys::pseudo_file::Pollable;
use crate::sys::rings::Cursor;
use kernel::list::{
    impl_list_arc_safe,
    impl_list_item,
    AtomicTracker,
    List,
    ListArc,
    ListLinks,
    TryNewListArc, //
};
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    ArcBorrow,
    LockedBy,
    SpinLock, //
};

/// Those of a set that have something to tell, first come first.
///
/// The seats of one-shot members that were woken are parked with it.
pub(super) struct Ready {
    pub(super) list: List<Member>,
}

/// What a member waits for, and what it has to tell.
struct State {
    cookie: u64,
    /// The address of the word.
    uaddr: usize,
    /// Wakes to tell of.
    count: u32,
    owed: Owed,
    /// How many readers are about to tell of it. What they tell may come back, and then is owed
    /// for the word that the seat has: until they are done, it is left parked.
    telling: u32,
    /// Somebody is about to queue the member.
    arming: bool,
    /// Its seat pins a page.
    pinned: bool,
    /// It stays armed when it is woken.
    persistent: bool,
    /// The word held another value when the member was to be armed.
    changed: bool,
    /// It is no longer in the set.
    gone: bool,
}

/// A watch in a set.
///
/// There may be very many: its size counts.
///
/// # Invariants
///
/// A member is only ever put on the list of its own set's [`Ready`], and is on it if it has
/// something to tell and is not gone.
#[pin_data]
pub(crate) struct Member {
    #[pin]
    links: ListLinks,
    #[pin]
    tracker: AtomicTracker,
    pub(super) set: Arc<Pollable<Set>>,
    #[pin]
    entry: Entry,
    state: LockedBy<State, Ready>,
}

// With its reference count, and what accounting takes, 192 bytes of memory at most.
#[cfg(not(CONFIG_LOCKDEP))]
const _: () = assert!(size_of::<Member>() <= 184);

impl_list_arc_safe! {
    impl ListArcSafe<0> for Member { tracked_by tracker: AtomicTracker; }
}
impl_list_item! {
    impl ListItem<0> for Member { using ListLinks { self.links }; }
}

/// A member that was taken off the list, without what its event tells.
pub(super) struct Told {
    member: Arc<Member>,
    owed: Owed,
    /// There may be more to do about it, after the lock.
    settle: bool,
}

/// The right to arm a member; given up on drop.
///
/// # Invariants
///
/// `arming` of the member's state was set for this.
pub(super) struct Arming<'a>(&'a Arc<Member>);

impl Arming<'_> {
    /// Takes the member off the table and changes what it waits for. What it has to tell stays;
    /// what it owes is passed on, since it may be for another word. Returns the seat that it had,
    /// if it had one.
    pub(super) fn change(&self, request: &Request, cookie: u64) -> Option<Seat> {
        let member = self.0;
        let queued = member.set.futexes.table.dequeue(&member.entry);
        let mut ready = member.set.ready.lock();
        let parked = member.entry.unpark(&mut *ready);
        let state = member.state.access_mut(&mut ready);

        state.cookie = cookie;
        state.uaddr = request.word.addr();
        state.persistent = request.has(bindings::AFUTEX_PERSISTENT);
        let owed = core::mem::take(&mut state.owed);
        let telling = state.telling != 0;
        drop(ready);

        let seat = queued.or(parked)?;
        if telling {
            // If it comes back, it is for this word: let all of it look.
            member
                .set
                .futexes
                .table
                .wake(seat.key.id(), u32::MAX, u32::MAX);
        } else {
            owed.pass_on(&seat, &member.set.futexes);
        }
        Some(seat)
    }

    /// Queues the entry for `request`. `seat` is what the member had before, if it had one: it is
    /// used again if it is of the same word.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value, `ENOENT` if the member was removed meanwhile;
    /// those of reading the word and of [`Key::for_waiter`].
    pub(super) fn arm(self, request: &Request, seat: Option<Seat>) -> Result {
        let member = self.0;
        let table = &member.set.futexes.table;
        // Spares the pin if the word differs already. And a word that cannot be read cannot be
        // waited for.
        let value = request.word.read()?;
        if request.has(bindings::AFUTEX_COMPARE) && value != request.value {
            return Member::changed(member, request);
        }

        let mut seat = match seat {
            Some(seat) if seat.key.is_of(request.word, request.scope) => Seat {
                mask: request.mask,
                ..seat
            },
            _ => Seat::new(
                Key::for_waiter(table, request.word, request.scope)?,
                Target::Member(member.clone()),
                request.mask,
            ),
        };
        loop {
            // A wake may come at once.
            let pinned = seat.key.id().kind() == Kind::Page;
            member.state.access_mut(&mut member.set.ready.lock()).pinned = pinned;

            let queued = table.enqueue(Member::entry(member), seat, || request.admit());
            let Err((refusal, refused)) = queued else {
                // Who removed it meanwhile has seen it queued, or we see that it is gone.
                if member.state.access(&member.set.ready.lock()).gone {
                    member.retire();
                    member.settle();
                    return Err(ENOENT);
                }
                return Ok(());
            };

            match refusal {
                Refusal::Differs => return Member::changed(member, request),
                Refusal::Absent => fault_in(request.word)?,
                Refusal::Busy => return Err(EBUSY),
            }
            seat = refused;
            seat.key = Key::for_waiter(table, request.word, request.scope)?;
        }
    }
}

impl Drop for Arming<'_> {
    fn drop(&mut self) {
        let mut ready = self.0.set.ready.lock();

        self.0.state.access_mut(&mut ready).arming = false;
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
        let lock: &SpinLock<Ready> = &set.ready;

        Arc::pin_init(
            try_pin_init!(Self {
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
                set: set.into(),
                entry <- Entry::new(),
                state: LockedBy::new(
                    lock,
                    State {
                        cookie,
                        uaddr: request.word.addr(),
                        count: 0,
                        owed: Owed::default(),
                        telling: 0,
                        arming: false,
                        pinned: false,
                        persistent: request.has(bindings::AFUTEX_PERSISTENT),
                        changed: false,
                        gone: false,
                    },
                ),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    fn entry(this: &Arc<Self>) -> Pin<&Entry> {
        #[expect(unsafe_code)]
        // SAFETY: The field is structurally pinned, as `#[pin]` says.
        unsafe {
            pinned::in_arc(this).map_unchecked(|this| &this.entry)
        }
    }

    /// Puts the member on the list of those that have something to tell.
    fn list(this: &Arc<Self>, ready: &mut Ready) {
        // If there is a `ListArc` it is on the list already.
        if let Ok(item) = ListArc::try_from_arc(this.clone()) {
            ready.list.push_back(item);
        }
    }

    /// Counts a wake of the member of `set` whose seat is at the cursor, and goes on. Under the
    /// bucket's lock.
    ///
    /// Returns also whether the seat left the table.
    #[inline(always)]
    pub(super) fn hit<'a>(
        set: &Pollable<Set>,
        cursor: Cursor<'a, Seat>,
        mask: u32,
        ticket: &mut Ticket,
    ) -> (Option<Cursor<'a, Seat>>, bool) {
        let Target::Member(member) = &cursor.item().target else {
            return (cursor.next(), false);
        };
        let mut ready = set.ready.lock();
        let state = member.state.access_mut(&mut ready);
        let persistent = state.persistent;
        // Those that are gone are not told of.
        let is_listed = state.count != 0 || state.changed || state.gone;

        state.count = state.count.saturating_add(1);
        state.owed = state.owed.and(Owed::one(mask));
        if !is_listed {
            Self::list(member, &mut ready);
        }
        if persistent {
            drop(ready);
            (rotate(cursor, ticket), false)
        } else {
            (cursor.park(&mut *ready), true)
        }
    }

    /// Whether there are wakes that were not told. Under the bucket's lock.
    pub(super) fn owes(&self) -> bool {
        let ready = self.set.ready.lock();

        let state = self.state.access(&ready);
        state.owed.count() != 0 || state.telling != 0
    }

    /// Begins to arm the member: nobody else can meanwhile.
    ///
    /// # Errors
    ///
    /// `EBUSY` if somebody does.
    pub(super) fn begin(this: &Arc<Self>) -> Result<Arming<'_>> {
        let mut ready = this.set.ready.lock();
        let state = this.state.access_mut(&mut ready);

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
            let state = this.state.access_mut(&mut ready);
            if state.gone {
                return Err(ENOENT);
            }
            state.changed = true;
            Self::list(this, &mut ready);
        }
        this.set.notify_readable();
        Ok(())
    }

    /// Takes the member off the table and off the list, for good. It keeps what it owes. May be done
    /// again, if somebody queued it meanwhile.
    pub(super) fn retire(&self) {
        {
            // Before it is dequeued: who queues it afterwards sees it.
            let mut ready = self.set.ready.lock();
            self.state.access_mut(&mut ready).gone = true;
        }
        let queued = self.set.futexes.table.dequeue(&self.entry);
        let mut ready = self.set.ready.lock();
        let spare = queued.and_then(|seat| self.entry.park(&mut *ready, seat).err());
        #[expect(unsafe_code)]
        // SAFETY: By the type invariants it is on no other list.
        let listed = unsafe { ready.list.remove(self) };
        drop(ready);
        drop((listed, spare));
    }

    /// Passes on what a retired member owes; or leaves that to who is telling of it.
    ///
    /// Of a member that is not retired, lets go of a page that it pins and does not need.
    pub(super) fn settle(&self) {
        let mut ready = self.set.ready.lock();
        let state = self.state.access_mut(&mut ready);

        if state.telling != 0 || !state.gone && (!state.pinned || state.owed.count() != 0) {
            return;
        }
        // Without the seat there is no telling whom to wake: who retires the member brings it.
        let Some(seat) = self.entry.unpark(&mut *ready) else {
            return;
        };
        let owed = core::mem::take(&mut self.state.access_mut(&mut ready).owed);
        drop(ready);

        owed.pass_on(&seat, &self.set.futexes);
    }

    /// Takes the first member off the list, and what it has to tell.
    #[inline]
    pub(super) fn tell(ready: &mut Ready) -> Option<(Told, afutex_event)> {
        // From here on it can be listed again.
        let member = ready.list.pop_front()?.into_arc();
        let state = member.state.access_mut(ready);
        let woken = if state.count != 0 {
            bindings::AFUTEX_WOKEN
        } else {
            0
        };
        let changed = if core::mem::take(&mut state.changed) {
            bindings::AFUTEX_VALUE_CHANGED
        } else {
            0
        };

        let event = afutex_event {
            cookie: state.cookie,
            why: woken | changed,
            count: core::mem::take(&mut state.count),
        };
        state.telling = state.telling.wrapping_add(1);
        let owed = core::mem::take(&mut state.owed);
        let told = Told {
            member,
            owed,
            settle: false,
        };
        Some((told, event))
    }

    /// What the member shows of itself.
    pub(super) fn describe(&self) -> Description {
        let ready = self.set.ready.lock();
        let state = self.state.access(&ready);

        Description {
            armed: self.entry.is_queued(),
            wakes: state.count,
            cookie: state.cookie,
            uaddr: state.uaddr,
        }
    }
}

impl Told {
    /// The event has reached the reader, or not: then it is put back, at the head, unless the
    /// member was listed again meanwhile.
    #[inline]
    pub(super) fn end(&mut self, ready: &mut Ready, refused: Option<&afutex_event>) {
        let state = self.member.state.access_mut(ready);

        state.telling = state.telling.wrapping_sub(1);
        if let Some(event) = refused {
            state.owed = state.owed.and(self.owed);
            state.count = state.count.saturating_add(event.count);
            state.changed |= event.why & bindings::AFUTEX_VALUE_CHANGED != 0;
        }
        self.settle = state.telling == 0 && (state.gone || state.pinned);
        if refused.is_some() && !state.gone {
            if let Ok(item) = ListArc::try_from_arc(self.member.clone()) {
                ready.list.push_front(item);
            }
        }
    }

    /// What there is to do after `end`, without the lock.
    #[inline]
    pub(super) fn settle(self) {
        if self.settle {
            self.member.settle();
        }
    }
}
