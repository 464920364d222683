// SPDX-License-Identifier: GPL-2.0

//! Reading a set: `read`, `AFUTEX_IOC_SET_WAIT`, poll, fdinfo, and the last close.

use super::super::wakee::Wakee;
use super::{
    Member,
    Set, //
};
use crate::sys::bindings::{
    self,
    afutex_ctlv,
    afutex_event,
    afutex_set_wait, //
};
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::task;
use crate::sys::time::Deadline;
use crate::sys::user_mem::{
    self,
    Dest,
    UserDest, //
};
use core::mem::offset_of;
use kernel::fs::File;
use kernel::mm::virt::VmaNew;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::{
    Arc,
    ArcBorrow, //
};
use kernel::uaccess::{
    UserPtr,
    UserSlice, //
};

/// How many events are delivered under one hold of the lock at most.
const BURST: usize = 64;

/// How many of them may be of members that are to be settled.
const FEW: usize = 8;

/// What was delivered under one hold of the lock.
struct Pass {
    delivered: usize,
    /// Members that are to be settled now.
    unsettled: [Option<Arc<Member<Wakee>>>; FEW],
    end: PassEnd,
}

/// Why it was not more.
enum PassEnd {
    /// There is no more, or no room for it.
    Done,
    /// Others may want the lock.
    Pause,
    /// The memory for this event is not present.
    Fault(afutex_event),
}

/// What a member shows of itself.
struct Description {
    armed: bool,
    wakes: u64,
    cookie: u64,
    uaddr: usize,
}

impl Member<Wakee> {
    /// Unpins the page of a member whose wake was delivered, unless it was woken or armed again.
    fn settle(&self) {
        let mut ready = self.set.ready.lock();
        let pins = match self.entry.disarmed(ready.as_mut()) {
            Some(waiter) => waiter.key.pins(),
            None => false,
        };
        let state = self.state(ready.as_mut());

        if state.dead {
            drop(ready);
            self.pass_on_unread();
        } else if pins && state.unread.count() == 0 {
            let waiter = self.entry.take_disarmed(ready.as_mut());
            drop(ready);
            drop(waiter);
        }
    }

    fn describe(&self) -> Description {
        let mut ready = self.set.ready.lock();
        let ready = ready.as_mut().project();
        let state = ready.list.at(&self.link).into_state();

        Description {
            armed: self.entry.is_queued(),
            wakes: match ready.ring {
                Some(ring) => ring.wakes(self.number()),
                None => state.count.into(),
            },
            cookie: state.cookie,
            uaddr: state.uaddr,
        }
    }
}

impl Set<Wakee> {
    /// Delivers events to a reader, as many as there are and fit. Returns how many.
    ///
    /// An event is written under the lock, and only then is it delivered: one that cannot be
    /// written stays the first.
    ///
    /// # Errors
    ///
    /// `EFAULT` if none can be written though there is one, `EINTR` if the task is killed.
    fn deliver(this: &Pollable<Self>, out: &mut impl Dest) -> Result<usize> {
        let mut count = 0;

        loop {
            let pass = this.pass(out);

            count += pass.delivered;
            for member in pass.unsettled.into_iter().flatten() {
                member.settle();
            }
            match pass.end {
                PassEnd::Done => return Ok(count),
                PassEnd::Pause => (),
                PassEnd::Fault(event) => match out.fault_in(&event) {
                    Err(_) if count != 0 => return Ok(count),
                    ret => ret?,
                },
            }
            if task::fatal_signal_pending() {
                return if count == 0 { Err(EINTR) } else { Ok(count) };
            }
        }
    }

    /// Delivers events under one hold of the lock.
    #[inline]
    fn pass(&self, out: &mut impl Dest) -> Pass {
        let mut pass = Pass {
            delivered: 0,
            unsettled: [const { None }; FEW],
            end: PassEnd::Pause,
        };
        let mut unsettled = pass.unsettled.iter_mut();
        let mut ready = self.ready.lock();

        while pass.delivered < BURST {
            let Some(mut first) = ready.as_mut().list().first() else {
                pass.end = PassEnd::Done;
                break;
            };
            if out.room() < size_of::<afutex_event>() {
                pass.end = PassEnd::Done;
                break;
            }
            let event = first.state().event();
            if out.put_pair_nofault(&event).is_err() {
                pass.end = PassEnd::Fault(event);
                break;
            }
            pass.delivered += 1;
            let member = first.state().delivered();
            first.remove();
            if let Some(member) = member {
                if let Some(slot) = unsettled.next() {
                    *slot = Some(member);
                }
                if unsettled.len() == 0 {
                    break;
                }
            }
        }
        pass
    }

    /// `AFUTEX_IOC_SET_WAIT`: a batch of controls, then up to `nr_events` events, waiting for the
    /// first.
    ///
    /// # Errors
    ///
    /// `EINVAL` for padding, no room for events, or, in a mapped set, for any, and another clock;
    /// `EFAULT`; `ETIMEDOUT`; if it is interrupted, `ERESTARTNOHAND`. If there were controls,
    /// `nr_items` at `arg` is set to 0 then, so that they are not repeated; `EINTR` if it cannot be
    /// written.
    fn wait(this: ArcBorrow<'_, Pollable<Self>>, arg: usize) -> Result<usize> {
        let args: afutex_set_wait = user_mem::read(arg)?;

        if args.pad != 0 || (args.nr_events == 0) != this.mapped.is_some() {
            return Err(EINVAL);
        }
        let deadline = Deadline::from_user(args.timeout, args.clockid)?;
        if args.nr_items != 0 {
            Self::control_all(this, args.items, args.nr_items)?;
        }

        let interrupted = |err| match err {
            ERESTARTNOHAND if args.nr_items != 0 => forget_items(arg),
            err => err,
        };
        if this.mapped.is_some() {
            // The events are in memory.
            return this.wait_until(deadline).map(|()| 0).map_err(interrupted);
        }

        let addr = usize::try_from(args.events).map_err(|_| EFAULT)?;
        let len = (args.nr_events as usize).saturating_mul(size_of::<afutex_event>());
        let mut out = UserDest::new(addr, len);
        loop {
            // Another reader may be first.
            match Self::deliver(&this, &mut out)? {
                0 => this.wait_until(deadline).map_err(interrupted)?,
                count => return Ok(count),
            }
        }
    }
}

/// Sets `nr_items` of the `struct afutex_set_wait` at `arg` to 0. Returns the error that an
/// interrupted wait ends with.
#[cold]
fn forget_items(arg: usize) -> Error {
    let field = arg.wrapping_add(offset_of!(afutex_set_wait, nr_items));
    let mut nr_items = UserSlice::new(UserPtr::from_addr(field), size_of::<u32>()).writer();

    match nr_items.write(&0u32) {
        Ok(()) => ERESTARTNOHAND,
        Err(_) => EINTR,
    }
}

#[vtable]
impl PseudoFile for Set<Wakee> {
    fn ready(&self) -> u32 {
        if self.ready.lock().is_empty() {
            0
        } else {
            READABLE
        }
    }

    /// Returns events, as many as there are and fit.
    fn read(this: &Pollable<Self>, mut out: impl Dest) -> Result<usize> {
        const LEN: usize = size_of::<afutex_event>();

        if out.room() < LEN || this.mapped.is_some() {
            return Err(EINVAL);
        }
        Ok(Self::deliver(this, &mut out)?.saturating_mul(LEN))
    }

    fn ioctl(this: ArcBorrow<'_, Pollable<Self>>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            bindings::AFUTEX_IOC_CTL => {
                let args: afutex_ctlv = user_mem::read(arg)?;
                if args.pad != 0 {
                    return Err(EINVAL);
                }
                Self::control_all(this, args.items, args.nr).map(|n| n as isize)
            }
            bindings::AFUTEX_IOC_SET_WAIT => Self::wait(this, arg).map(|n| n as isize),
            _ => Err(ENOTTY),
        }
    }

    fn mmap(this: &Pollable<Self>, vma: &VmaNew) -> Result {
        this.mapped.as_ref().ok_or(ENODEV)?.pages.map(vma)
    }

    fn release(&self) {
        self.remove_all();
    }

    fn show_fdinfo(&self, _file: &File, out: &SeqFile) {
        // The first few: a set may have very many.
        const SHOWN: usize = 32;
        let (usage, limit) = self.quota.usage();

        seq_print!(out, "afutex-members:\t{}\n", self.members.len());
        seq_print!(out, "afutex-user-watches:\t{} of {}\n", usage, limit);
        let mut from = 0;
        for _ in 0..SHOWN {
            let Some((id, member)) = self.members.next(from) else {
                break;
            };
            from = id.wrapping_add(1);
            let shown = member.describe();
            let state = if shown.armed { "armed" } else { "idle" };

            seq_print!(
                out,
                "afutex-watch:\t{} {} wakes {} ",
                id,
                state,
                shown.wakes
            );
            if self.opener.is_visible() {
                // A cookie is an address, more often than not.
                seq_print!(out, "cookie {:#x} uaddr {:#x}\n", shown.cookie, shown.uaddr);
            } else {
                seq_print!(out, "offset {:#x}\n", shown.uaddr % PAGE_SIZE);
            }
        }
    }
}
