// SPDX-License-Identifier: GPL-2.0

//! `AFUTEX_IOC_SET`: one file descriptor for very many words.
//!
//! A set has members, each a watch on a word with a cookie of the user's. A wake puts its members on
//! the set's queue of those that have something to tell; `read` goes through that queue. So the cost
//! of waiting does not depend on how many members there are.
//!
//! # Locks
//!
//! `members` is held only to find, add and take out members. `ready` comes below a bucket's lock,
//! and protects the queue and each member's state.

use super::member::{
    Member,
    Ready, //
};
use super::quota::Quota;
use super::stats;
use super::watch::Request;
use super::{
    futex2,
    Domain, //
    FutexFs,
};
use crate::sys::bindings::{
    self,
    afutex_ctl,
    afutex_ctlv,
    afutex_event,
    afutex_set,
    afutex_set_wait, //
};
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::sigio;
use crate::sys::task::{
    self,
    Deadline, //
};
use crate::sys::user_mem::{
    self,
    Dest,
    UserDest, //
};
use kernel::fs::file::{
    flags,
    FileDescriptorReservation, //
};
use kernel::fs::File;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::sync::{
    Arc,
    ArcBorrow,
    Mutex,
    SpinLock, //
};
use kernel::task::Kuid;
use kernel::transmute::AsBytes;
use kernel::{
    new_mutex,
    new_spinlock,
    seq_print, //
};

/// A place for a member, found by its number.
enum Slot {
    Member(Arc<Member>),
    /// Free; the number of the next free one, or of the first that there is not.
    Free(usize),
}

/// The members of a set, by number.
#[derive(Default)]
struct Members {
    slots: KVVec<Slot>,
    /// The number of the first free one.
    free: usize,
    count: usize,
}

impl Members {
    /// Adds a member and returns its number; `ENOMEM`.
    fn insert(&mut self, member: Arc<Member>) -> Result<u32> {
        let number = self.free;
        let id = u32::try_from(number).map_err(|_| ENOSPC)?;

        match self.slots.get_mut(number) {
            Some(slot) => {
                if let Slot::Free(next) = *slot {
                    self.free = next;
                }
                *slot = Slot::Member(member);
            }
            None => {
                self.slots.push(Slot::Member(member), GFP_KERNEL_ACCOUNT)?;
                self.free = self.slots.len();
            }
        }
        self.count += 1;
        Ok(id)
    }

    fn get(&self, id: u32) -> Result<Arc<Member>> {
        match self.slots.get(id as usize) {
            Some(Slot::Member(member)) => Ok(member.clone()),
            _ => Err(ENOENT),
        }
    }

    /// Takes out a member, if it is `expected`, where that is given; `ENOENT`.
    fn remove(&mut self, id: u32, expected: Option<&Arc<Member>>) -> Result<Arc<Member>> {
        if expected.is_some_and(
            |expected| !matches!(self.get(id), Ok(found) if Arc::ptr_eq(&found, expected)),
        ) {
            return Err(ENOENT);
        }
        match self.slots.get_mut(id as usize) {
            Some(slot @ Slot::Member(_)) => {
                let old = core::mem::replace(slot, Slot::Free(self.free));
                self.free = id as usize;
                self.count -= 1;
                match old {
                    Slot::Member(member) => Ok(member),
                    Slot::Free(_) => Err(ENOENT),
                }
            }
            _ => Err(ENOENT),
        }
    }
}

/// How many events are told under one hold of the lock at most.
const TURN: usize = 64;

/// How many of them may be of members that have more to do.
const FEW: usize = 8;

/// What was told under one hold of the lock.
struct Pass {
    told: usize,
    /// Members that are to settle now.
    unsettled: [Option<Arc<Member>>; FEW],
    end: PassEnd,
}

/// Why it was not more.
enum PassEnd {
    /// There is no more, or no room for it.
    Done,
    /// Others may want the lock.
    Pause,
    /// The memory is not there, for this event.
    Absent(afutex_event),
}

/// The file.
#[pin_data]
pub(crate) struct Set {
    pub(super) domain: Arc<Domain>,
    #[pin]
    pub(super) ready: SpinLock<Ready>,
    #[pin]
    members: Mutex<Members>,
    quota: Quota,
    opener: Kuid,
    _count: stats::Counted,
}

impl Set {
    /// Adds, changes or removes one member.
    fn control(this: ArcBorrow<'_, Pollable<Self>>, item: &mut afutex_ctl) -> Result {
        if item.pad != 0 {
            return Err(EINVAL);
        }
        match item.op {
            bindings::AFUTEX_CTL_ADD => {
                let request = Request::check(&item.watch)?;
                this.quota.charge()?;
                let member = Member::new(this, &request, item.watch.cookie)
                    .inspect_err(|_| this.quota.uncharge(1))?;
                let arming = Member::begin(&member)?;
                let id = this
                    .members
                    .lock()
                    .insert(member.clone())
                    .inspect_err(|_| this.quota.uncharge(1))?;

                item.id = id;
                arming.arm(&request, None).inspect_err(|_| {
                    // It may have been removed already, by somebody who guessed its number, and
                    // that number given again.
                    let _ = this.discard(id, Some(&member));
                })
            }
            bindings::AFUTEX_CTL_MOD => {
                let request = Request::check(&item.watch)?;
                let member = this.members.lock().get(item.id)?;

                let arming = Member::begin(&member)?;
                let waiter = arming.change(&request, item.watch.cookie)?;
                arming.arm(&request, waiter)
            }
            bindings::AFUTEX_CTL_DEL => {
                if item.watch.as_bytes().iter().any(|&byte| byte != 0) {
                    return Err(EINVAL);
                }
                this.discard(item.id, None)
            }
            _ => Err(EINVAL),
        }
    }

    /// Removes the member of that number, if it is `expected`, where that is given.
    fn discard(&self, id: u32, expected: Option<&Arc<Member>>) -> Result {
        let member = self.members.lock().remove(id, expected)?;

        member.retire();
        member.settle();
        self.quota.uncharge(1);
        Ok(())
    }

    /// Goes through a wake_q of `struct afutex_ctl`, and returns how many it went through.
    ///
    /// # Errors
    ///
    /// `EFAULT` if the array cannot be accessed. Errors of single members go to them.
    fn control_all(this: ArcBorrow<'_, Pollable<Self>>, items: u64, nr: u32) -> Result<usize> {
        let mut addr = usize::try_from(items).map_err(|_| EFAULT)?;
        let nr = nr as usize;

        for done in 0..nr {
            if task::fatal_signal_pending() {
                return Ok(done);
            }
            let mut item: afutex_ctl = user_mem::read(addr)?;
            item.result = match Self::control(this, &mut item) {
                Ok(()) => 0,
                Err(err) => err.to_errno(),
            };
            user_mem::write(addr, &item)?;
            addr = addr.wrapping_add(size_of::<afutex_ctl>());
        }
        Ok(nr)
    }

    /// Tells events to a reader, as many as there are and fit. Returns how many.
    ///
    /// An event is written under the lock, and only then is it told: one that cannot be written
    /// stays the first.
    ///
    /// # Errors
    ///
    /// `EFAULT` if none can be written though there is one, `EINTR` when killed meanwhile.
    fn drain(this: &Pollable<Self>, out: &mut impl Dest) -> Result<usize> {
        let mut count = 0;

        loop {
            let pass = this.pass(out);

            count += pass.told;
            for member in pass.unsettled.into_iter().flatten() {
                member.settle();
            }
            match pass.end {
                PassEnd::Done => return Ok(count),
                PassEnd::Pause => (),
                PassEnd::Absent(event) => match out.fault_in(&event) {
                    Err(_) if count != 0 => return Ok(count),
                    ret => ret?,
                },
            }
            if task::fatal_signal_pending() {
                return if count == 0 { Err(EINTR) } else { Ok(count) };
            }
        }
    }

    /// Tells events under one hold of the lock.
    #[inline]
    fn pass(&self, out: &mut impl Dest) -> Pass {
        let mut pass = Pass {
            told: 0,
            unsettled: [const { None }; FEW],
            end: PassEnd::Pause,
        };
        let mut unsettled = pass.unsettled.iter_mut();
        let mut ready = self.ready.lock();

        while pass.told < TURN {
            let Some(mut first) = ready.as_mut().queue().first() else {
                pass.end = PassEnd::Done;
                break;
            };
            if out.room() < size_of::<afutex_event>() {
                pass.end = PassEnd::Done;
                break;
            }
            let event = first.state().event();
            if out.put_pair_nofault(&event).is_err() {
                pass.end = PassEnd::Absent(event);
                break;
            }
            pass.told += 1;
            let member = first.state().told();
            first.remove();
            if member.is_some() {
                if let Some(slot) = unsettled.next() {
                    *slot = member;
                }
                if unsettled.len() == 0 {
                    break;
                }
            }
        }
        pass
    }

    /// `AFUTEX_IOC_SET_WAIT`: a wake_q of controls, then up to `nr_events` events, waiting for the
    /// first.
    ///
    /// # Errors
    ///
    /// `EINVAL` for padding, no room for events, another clock; `EFAULT`; `ETIMEDOUT`; if a signal
    /// comes first, `EINTR` if there were controls, which are not to be done again, and
    /// `ERESTARTNOHAND` if not.
    fn wait(this: ArcBorrow<'_, Pollable<Self>>, args: &afutex_set_wait) -> Result<usize> {
        if args.pad != 0 || args.nr_events == 0 {
            return Err(EINVAL);
        }
        let deadline: Option<Deadline> = futex2::deadline(args.timeout, args.clockid)?;
        if args.nr_items != 0 {
            Self::control_all(this, args.items, args.nr_items)?;
        }

        let addr = usize::try_from(args.events).map_err(|_| EFAULT)?;
        let len = (args.nr_events as usize).saturating_mul(size_of::<afutex_event>());
        let mut out = UserDest::new(addr, len);
        loop {
            // Another reader may be first.
            match Self::drain(&this, &mut out)? {
                0 => this.wait_until(deadline).map_err(|err| {
                    if err == ERESTARTNOHAND && args.nr_items != 0 {
                        EINTR
                    } else {
                        err
                    }
                })?,
                count => return Ok(count),
            }
        }
    }
}

impl PseudoFile for Set {
    const READABLE: bool = true;

    fn ready(&self) -> u32 {
        if self.ready.lock().queue.is_empty() {
            0
        } else {
            READABLE
        }
    }

    /// Returns events, as many as there are and fit.
    fn read(this: &Pollable<Self>, mut out: impl Dest) -> Result<usize> {
        const LEN: usize = size_of::<afutex_event>();

        if out.room() < LEN {
            return Err(EINVAL);
        }
        Ok(Self::drain(this, &mut out)?.saturating_mul(LEN))
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
            bindings::AFUTEX_IOC_SET_WAIT => {
                Self::wait(this, &user_mem::read(arg)?).map(|n| n as isize)
            }
            _ => Err(ENOTTY),
        }
    }

    /// Takes all members off the table, and passes on what they owe after that.
    fn release(&self) {
        let members = core::mem::take(&mut *self.members.lock());
        let each = || {
            members.slots.iter().filter_map(|slot| match slot {
                Slot::Member(member) => Some(member),
                Slot::Free(_) => None,
            })
        };

        each().for_each(|member| member.retire());
        each().for_each(|member| member.settle());
        self.quota.uncharge(members.count);
    }

    fn show_fdinfo(&self, _file: &File, out: &SeqFile) {
        const SHOWN: usize = 32;
        let (usage, limit) = self.quota.usage();
        let may_see = self.opener == Kuid::current_euid() || task::may_ptrace();
        let (count, first) = {
            let members = self.members.lock();
            let mut first: [Option<(usize, Arc<Member>)>; SHOWN] = [const { None }; SHOWN];
            let shown = members
                .slots
                .iter()
                .enumerate()
                .filter_map(|(id, slot)| match slot {
                    Slot::Member(member) => Some((id, member.clone())),
                    Slot::Free(_) => None,
                });
            for (slot, member) in first.iter_mut().zip(shown) {
                *slot = Some(member);
            }
            (members.count, first)
        };

        seq_print!(out, "afutex-members:\t{}\n", count);
        seq_print!(out, "afutex-user-watches:\t{} of {}\n", usage, limit);
        for (id, member) in first.into_iter().flatten() {
            let shown = member.describe();
            let state = if shown.armed { "armed" } else { "idle" };

            // The first few: a set may have very many.
            seq_print!(
                out,
                "afutex-watch:\t{} {} wakes {} ",
                id,
                state,
                shown.wakes
            );
            if may_see {
                // A cookie is an address, as often as not.
                seq_print!(out, "cookie {:#x} uaddr {:#x}\n", shown.cookie, shown.uaddr);
            } else {
                seq_print!(out, "offset {:#x}\n", shown.uaddr % PAGE_SIZE);
            }
        }
    }
}

/// `AFUTEX_IOC_SET`: makes a set without members, and returns its file descriptor.
///
/// # Errors
///
/// `EINVAL` for unknown flags or a signal that is none; `EMFILE`, `ENFILE`, `ENOMEM`.
pub(crate) fn open(domain: &Arc<Domain>, mount: &Mount<FutexFs>, args: afutex_set) -> Result<u32> {
    if args.fd_flags & !(flags::O_CLOEXEC | flags::O_NONBLOCK) != 0
        || !sigio::valid_signal(args.signal)
    {
        return Err(EINVAL);
    }

    let reservation =
        FileDescriptorReservation::get_unused_fd_flags(args.fd_flags & flags::O_CLOEXEC)?;
    let fd = reservation.reserved_fd();
    let quota = Quota::of_current(&domain.users)?;
    let data = Arc::pin_init(
        Pollable::new(pin_init!(Set {
            domain: domain.clone(),
            ready <- new_spinlock!(Ready::new(), "afutex_ready"),
            members <- new_mutex!(Members::default(), "afutex_members"),
            quota,
            opener: Kuid::current_euid(),
            _count: stats::Counted::new(&stats::FDS),
        })),
        GFP_KERNEL_ACCOUNT,
    )?;
    let file = mount.create(&data, args.fd_flags & flags::O_NONBLOCK, fd, args.signal)?;
    reservation.fd_install(file);
    Ok(fd)
}
