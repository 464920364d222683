// SPDX-License-Identifier: GPL-2.0

//! A watch in a set.

use super::entry::{
    After,
    Entry,
    Target, //
};
use super::key::Key;
use super::owed::Owed;
use super::set::Set;
use super::wait::Refusal;
use super::watch::Request;
use crate::sys::bindings::{
    self,
    afutex_event, //
};
use crate::sys::pseudo_file::Pollable;
use crate::sys::task;
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
use kernel::sync::atomic::Relaxed;
use kernel::sync::{
    Arc,
    LockedBy,
    SpinLock, //
};

/// Those of a set that have something to tell, first come first.
pub(super) struct Ready {
    pub(super) list: List<Member>,
}

/// What a member waits for, and what it has to tell.
pub(super) struct State {
    pub(super) request: Request,
    pub(super) cookie: u64,
    /// Wakes to tell of.
    count: u32,
    /// The word held another value when the member was to be armed.
    changed: bool,
    owed: Owed,
    /// It is no longer in the set.
    gone: bool,
}

/// A watch in a set.
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
    entry: Arc<Entry>,
    pub(super) state: LockedBy<State, Ready>,
}

impl_list_arc_safe! {
    impl ListArcSafe<0> for Member { tracked_by tracker: AtomicTracker; }
}
impl_list_item! {
    impl ListItem<0> for Member { using ListLinks { self.links }; }
}

/// A member that was taken off the list, with what it told.
pub(super) struct Told {
    member: Arc<Member>,
    pub(super) event: afutex_event,
    owed: Owed,
}

impl Member {
    /// Makes a member of `set` that is not armed.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn new(
        set: &Arc<Pollable<Set>>,
        request: Request,
        cookie: u64,
    ) -> Result<Arc<Self>> {
        let entry = Entry::new()?.into_arc();
        let lock: &SpinLock<Ready> = &set.ready;

        Arc::pin_init(
            try_pin_init!(Self {
                links <- ListLinks::new(),
                tracker <- AtomicTracker::new(),
                set: set.clone(),
                entry,
                state: LockedBy::new(
                    lock,
                    State {
                        request,
                        cookie,
                        count: 0,
                        changed: false,
                        owed: Owed::default(),
                        gone: false,
                    },
                ),
            }? Error),
            GFP_KERNEL_ACCOUNT,
        )
    }

    /// Puts the member on the list of those that have something to tell.
    fn list(self: &Arc<Self>, ready: &mut Ready) {
        // If there is a `ListArc` it is on the list already.
        if let Ok(item) = ListArc::try_from_arc(self.clone()) {
            ready.list.push_back(item);
        }
    }

    /// Counts a wake. Under the bucket's lock.
    pub(super) fn hit(self: &Arc<Self>, mask: u32, key: &Arc<Key>) -> After {
        let mut ready = self.set.ready.lock();
        let state = self.state.access_mut(&mut ready);

        state.count = state.count.saturating_add(1);
        state.owed.add(mask);
        self.entry.owes.store(true, Relaxed);
        let after = if state.request.has(bindings::AFUTEX_PERSISTENT) {
            After::Stay
        } else {
            // What was owed for another word was passed on when the member was changed.
            state.owed.keep(key);
            After::Leave
        };
        self.list(&mut ready);
        after
    }

    /// Queues the entry for what the member waits for.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value, `EBUSY` if another thread arms it at this moment,
    /// `ENOENT` if it was removed meanwhile; those of reading the word and of [`Key::for_waiter`].
    pub(super) fn arm(self: &Arc<Self>) -> Result {
        let table = &self.set.futexes.table;

        loop {
            let request = {
                let ready = self.set.ready.lock();
                self.state.access(&ready).request
            };
            let value = request.word.read()?;
            if request.has(bindings::AFUTEX_COMPARE) && value != request.value {
                return self.changed(&request);
            }

            let key = Key::for_waiter(table, request.word, request.scope)?;
            let entry = ListArc::try_from_arc(self.entry.clone()).map_err(|_| EBUSY)?;
            let mut gone = false;
            let refused = table
                .enqueue(
                    key,
                    entry,
                    Target::Member(self.clone()),
                    request.mask,
                    || {
                        let ready = self.set.ready.lock();
                        gone = self.state.access(&ready).gone;
                        drop(ready);
                        if gone {
                            return Err(Refusal::Differs);
                        }
                        request.admit()
                    },
                )
                .err();

            match refused {
                None => return Ok(()),
                Some(Refusal::Differs) if gone => return Err(ENOENT),
                Some(Refusal::Differs) => return self.changed(&request),
                Some(Refusal::Absent) if task::fatal_signal_pending() => return Err(EINTR),
                Some(Refusal::Absent) => (),
            }
        }
    }

    /// What follows when the word has changed: an error, or something to tell.
    fn changed(self: &Arc<Self>, request: &Request) -> Result {
        if !request.has(bindings::AFUTEX_READY) {
            return Err(EAGAIN);
        }
        {
            let mut ready = self.set.ready.lock();
            let state = self.state.access_mut(&mut ready);
            if state.gone {
                return Err(ENOENT);
            }
            state.changed = true;
            self.list(&mut ready);
        }
        self.set.notify_readable();
        Ok(())
    }

    /// Takes the member off the table and changes what it waits for. What it has to tell stays;
    /// what it owes is passed on, since it may be for another word.
    pub(super) fn change(&self, request: Request, cookie: u64) {
        self.withdraw(|state| {
            state.request = request;
            state.cookie = cookie;
        });
        self.take_owed().pass_on(&self.set.futexes);
    }

    /// Takes the member off the table and off the list, for good. It keeps what it owes.
    pub(super) fn retire(&self) {
        {
            // Before it is dequeued, so that nobody queues it afterwards.
            let mut ready = self.set.ready.lock();
            self.state.access_mut(&mut ready).gone = true;
        }
        self.withdraw(|_| ());
        let listed = {
            let mut ready = self.set.ready.lock();
            #[expect(unsafe_code)]
            // SAFETY: By the type invariants it is on no other list.
            unsafe {
                ready.list.remove(self)
            }
        };
        drop(listed);
    }

    /// What the member owes, which is no longer its own.
    pub(super) fn take_owed(&self) -> Owed {
        let mut ready = self.set.ready.lock();

        self.entry.owes.store(false, Relaxed);
        core::mem::take(&mut self.state.access_mut(&mut ready).owed)
    }

    /// Takes the member off the table, and keeps the key if it owes.
    fn withdraw(&self, f: impl FnOnce(&mut State)) {
        let seat = self.set.futexes.table.dequeue(&self.entry);
        let mut ready = self.set.ready.lock();
        let state = self.state.access_mut(&mut ready);

        if let Some(seat) = &seat {
            state.owed.keep(&seat.key);
        }
        f(state);
        // The seat goes after the lock.
        drop(ready);
        drop(seat);
    }

    /// Takes the first member off the list, and what it has to tell.
    pub(super) fn tell(ready: &mut Ready) -> Option<Told> {
        // From here on it can be listed again.
        let member = ready.list.pop_front()?.into_arc();
        let state = member.state.access_mut(ready);
        let mut event = afutex_event {
            cookie: state.cookie,
            why: 0,
            count: core::mem::take(&mut state.count),
        };

        if event.count != 0 {
            event.why |= bindings::AFUTEX_WOKEN;
        }
        if core::mem::take(&mut state.changed) {
            event.why |= bindings::AFUTEX_VALUE_CHANGED;
        }
        let owed = core::mem::take(&mut state.owed);
        member.entry.owes.store(false, Relaxed);
        Some(Told {
            member,
            event,
            owed,
        })
    }

    /// Whether the member is queued, its wakes not told, and its word's address.
    pub(super) fn describe(&self) -> (bool, u32, u64, Request) {
        let ready = self.set.ready.lock();
        let state = self.state.access(&ready);

        (
            self.entry.is_queued(),
            state.count,
            state.cookie,
            state.request,
        )
    }
}

impl Told {
    /// Puts back what did not reach the reader: at the head, unless it was listed again meanwhile.
    ///
    /// Returns what is to be passed on after the lock: what is owed, if the member is gone.
    pub(super) fn put_back(self, ready: &mut Ready) -> Owed {
        let state = self.member.state.access_mut(ready);

        if state.gone {
            return self.owed;
        }
        state.count = state.count.saturating_add(self.event.count);
        state.changed |= self.event.why & bindings::AFUTEX_VALUE_CHANGED != 0;
        let left = state.owed.merge(self.owed);
        self.member
            .entry
            .owes
            .store(state.owed.count() != 0, Relaxed);
        if let Ok(item) = ListArc::try_from_arc(self.member) {
            ready.list.push_front(item);
        }
        left
    }
}
