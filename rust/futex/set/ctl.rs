// SPDX-License-Identifier: GPL-2.0

//! `AFUTEX_IOC_CTL`: adding, changing and removing members of a set.

use super::super::arm::queue_if;
use super::super::bucket::Waiter;
use super::super::domain::Domain;
use super::super::unread::Unread;
use super::super::wakee::Wakee;
use super::super::word::Request;
use super::{
    Member,
    Set, //
};
use crate::sys::bindings::{
    self,
    afutex_ctl, //
};
use crate::sys::pseudo_file::Pollable;
use crate::sys::task;
use crate::sys::user_mem;
use kernel::prelude::*;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::transmute::AsBytes;

/// The right to arm a member; given up on drop.
///
/// # Invariants
///
/// `arming` of the member's state was set for this.
struct Arming<'a>(&'a Arc<Member<Wakee>>);

impl<'a> Arming<'a> {
    /// Gets the right.
    ///
    /// # Errors
    ///
    /// `EBUSY` if another task has it.
    fn begin(member: &'a Arc<Member<Wakee>>) -> Result<Self> {
        let mut ready = member.set.ready.lock();
        let state = member.state(ready.as_mut());

        if core::mem::replace(&mut state.arming, true) {
            return Err(EBUSY);
        }
        // INVARIANT: Just set.
        Ok(Self(member))
    }

    /// Dequeues the member and changes what it waits for. What it has to report stays; what is
    /// unread is passed on, since it may be for another word. Returns the waiter that it had, if it
    /// had one.
    ///
    /// # Errors
    ///
    /// `ENOENT` if the member was removed concurrently. The remover may hold the waiter already,
    /// and passes on its unread wakes.
    fn change(&self, request: &Request, cookie: u64) -> Result<Option<Waiter<Wakee>>> {
        let member = self.0;
        let table = member.table();
        let queued = table.dequeue(&member.entry);
        let mut ready = member.set.ready.lock();
        let waiter = queued.or(member.entry.take_disarmed(ready.as_mut()));
        let state = member.state(ready.as_mut());
        let dead = state.dead;

        if !dead {
            state.cookie = cookie;
            state.uaddr = request.word.addr();
            state.persistent = request.has(bindings::AFUTEX_PERSISTENT);
        }
        let unsettled = state.unsettled.take();
        let unread = match waiter {
            Some(_) => member.take_unread(ready.as_mut()),
            None => Unread::default(),
        };
        drop(ready);
        drop(unsettled);

        if let Some(waiter) = &waiter {
            table.pass_on(waiter.key.key(), unread);
        }
        if dead {
            return Err(ENOENT);
        }
        Ok(waiter)
    }

    /// Queues the member for `request`. `waiter` is what it had before, if it had one: its key is
    /// used again if it is of the same word.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value, `ENOENT` if the member was removed concurrently;
    /// those of reading the word and of [`Table::key_for`](super::super::table::Table::key_for).
    fn arm(self, request: &Request, waiter: Option<Waiter<Wakee>>) -> Result {
        let member = self.0;
        let table = member.table();
        // Spares the pin if the word differs already. And a word that cannot be read cannot be
        // waited for.
        let value = request.word.read()?;
        if request.compares() && value != request.value {
            return Member::changed(member, request);
        }

        let waiter = match waiter {
            Some(waiter) if waiter.key.is_of(request.word, request.scope) => Waiter {
                bitset: request.bitset,
                ..waiter
            },
            _ => Waiter::new(
                table.key_for(request.word, request.scope)?,
                Wakee::Member(member.clone()),
                request.bitset,
            ),
        };
        let queued = queue_if(
            table,
            &member.entry,
            &mut Some(waiter),
            request.word,
            request.scope,
            || request.validate(),
        )?;

        if queued.is_none() {
            return Member::changed(member, request);
        }
        // A concurrent remover has seen it queued, or it is seen to be dead here.
        if member.state(member.set.ready.lock().as_mut()).dead {
            member.unqueue();
            member.pass_on_unread();
            return Err(ENOENT);
        }
        Ok(())
    }
}

impl Drop for Arming<'_> {
    fn drop(&mut self) {
        let mut ready = self.0.set.ready.lock();

        self.0.state(ready.as_mut()).arming = false;
    }
}

impl Member<Wakee> {
    /// What follows when the word has changed: an error, or something to report.
    fn changed(this: &Arc<Self>, request: &Request) -> Result {
        if !request.has(bindings::AFUTEX_READY) {
            return Err(EAGAIN);
        }
        {
            let mut ready = this.set.ready.lock();
            let ready = ready.as_mut().project();
            let ring = ready.ring;
            let mut link = ready.list.at(&this.link);
            let state = link.state();
            if state.dead {
                return Err(ENOENT);
            }
            match ring {
                Some(ring) => ring.add_change(this.number()),
                None => {
                    state.changed = true;
                    link.push();
                }
            }
        }
        this.set.notify_readable();
        Ok(())
    }

    /// Dequeues a dead member, and takes it off the ready list. It keeps what is unread. May be
    /// done again, if it was queued concurrently: a task that queues it after this sees that it is
    /// dead.
    pub(crate) fn unqueue(&self) {
        let queued = self.table().dequeue(&self.entry);
        let mut ready = self.set.ready.lock();
        let spare = queued.and_then(|waiter| self.entry.disarm(ready.as_mut(), waiter).err());
        ready.as_mut().list().at(&self.link).remove();
        let unsettled = self.state(ready.as_mut()).unsettled.take();
        drop(ready);
        drop((unsettled, spare));
    }

    /// Passes on what a dead member has unread.
    ///
    /// Without the waiter the word is not known: the task that holds the waiter does this again.
    pub(crate) fn pass_on_unread(&self) {
        let mut ready = self.set.ready.lock();
        let Some(waiter) = self.entry.take_disarmed(ready.as_mut()) else {
            return;
        };
        let unread = self.take_unread(ready.as_mut());
        drop(ready);

        let table = self.table();
        table.pass_on(waiter.key.key(), unread);
    }
}

impl Set<Wakee> {
    /// Adds, changes or removes one member. Returns the one that was added.
    fn control(
        this: ArcBorrow<'_, Pollable<Self>>,
        item: &mut afutex_ctl,
    ) -> Result<Option<Arc<Member<Wakee>>>> {
        if item.pad != 0 {
            return Err(EINVAL);
        }
        match item.op {
            bindings::AFUTEX_CTL_ADD => {
                let request = Request::check(&item.watch)?;
                let hooks = Domain::select(&this.domain, request.is_native())?.1;
                this.quota.charge_one()?;
                let member = Member::new(this, &request, item.watch.cookie, hooks)
                    .inspect_err(|_| this.quota.uncharge(1))?;
                let arming = Arming::begin(&member)?;
                let id = this
                    .insert(&member)
                    .inspect_err(|_| this.quota.uncharge(1))?;

                item.id = id;
                arming.arm(&request, None).inspect_err(|_| {
                    // It may have been removed already, by a task that guessed its number, and
                    // that number given again.
                    let _ = this.remove(id, Some(&member));
                })?;
                return Ok(Some(member));
            }
            bindings::AFUTEX_CTL_MOD => {
                let request = Request::check(&item.watch)?;
                let member = this.members.get(item.id).ok_or(ENOENT)?;
                if request.is_native() != member.is_native() {
                    return Err(EINVAL);
                }

                let arming = Arming::begin(&member)?;
                let waiter = arming.change(&request, item.watch.cookie)?;
                arming.arm(&request, waiter)?;
            }
            bindings::AFUTEX_CTL_DEL => {
                if item.watch.as_bytes().iter().any(|&byte| byte != 0) {
                    return Err(EINVAL);
                }
                this.remove(item.id, None)?;
            }
            _ => return Err(EINVAL),
        }
        Ok(None)
    }

    /// Gives a member its number.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if a mapped set has as many as fit; `ENOMEM`, `EBUSY`.
    fn insert(&self, member: &Arc<Member<Wakee>>) -> Result<u32> {
        let Some(mapped) = &self.mapped else {
            return self.members.insert(member.clone());
        };
        let id = self
            .members
            .insert_up_to(member.clone(), mapped.members.wrapping_sub(1))
            .map_err(|err| if err == EBUSY { ENOSPC } else { err })?;

        member.set_number(id);
        Ok(id)
    }

    /// Removes the member of that number, if it is `expected`, where that is given; `ENOENT`.
    fn remove(&self, id: u32, expected: Option<&Arc<Member<Wakee>>>) -> Result {
        let member = match expected {
            Some(member) => member.clone(),
            None => self.members.get(id).ok_or(ENOENT)?,
        };

        member.retire();
        // Exactly one task gets to.
        self.members.remove(id, Some(&member)).ok_or(ENOENT)?;
        member.unqueue();
        member.pass_on_unread();
        self.quota.uncharge(1);
        Ok(())
    }

    /// Goes through a batch of `struct afutex_ctl`, and returns how many it went through.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the array cannot be accessed: a member whose number cannot be stored was not
    /// added. The error of a single member is stored in its `result`.
    pub(crate) fn control_all(
        this: ArcBorrow<'_, Pollable<Self>>,
        items: u64,
        nr: u32,
    ) -> Result<usize> {
        let mut addr = usize::try_from(items).map_err(|_| EFAULT)?;
        let nr = nr as usize;

        for done in 0..nr {
            if task::fatal_signal_pending() {
                return Ok(done);
            }
            let mut item: afutex_ctl = user_mem::read(addr)?;
            let (added, result) = match Self::control(this, &mut item) {
                Ok(added) => (added, 0),
                Err(err) => (None, err.to_errno()),
            };
            item.result = result;
            user_mem::write(addr, &item).inspect_err(|_| {
                // Its number is not known. It may have been removed already.
                if let Some(member) = &added {
                    let _ = this.remove(item.id, Some(member));
                }
            })?;
            addr = addr.wrapping_add(size_of::<afutex_ctl>());
        }
        Ok(nr)
    }

    /// Removes all members: dequeues all, and passes on what they have unread after that.
    pub(crate) fn remove_all(&self) {
        let mut from = 0;

        while let Some((id, member)) = self.members.next(from) {
            member.retire();
            member.unqueue();
            task::cond_resched();
            from = id.wrapping_add(1);
        }
        // Each goes here, so the first is another one each time.
        while let Some((id, member)) = self.members.next(0) {
            self.members.remove(id, Some(&member));
            member.pass_on_unread();
            self.quota.uncharge(1);
            task::cond_resched();
        }
    }
}
