// SPDX-License-Identifier: GPL-2.0

//! What a user can do with a watch: arm it again, read it, close it.

use super::super::arm::queue_if;
use super::super::bucket::Waiter;
use super::super::key::{
    Key,
    Kind, //
};
use super::super::unread::Unread;
use super::super::wakee::Wakee;
use super::super::word::{
    Request,
    Scope, //
};
use super::{
    Seen,
    Watch, //
};
use crate::sys::bindings::{
    self,
    afutex_rearm, //
};
use crate::sys::mm::{
    MmId,
    MmSeq, //
};
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::user_mem::{
    self,
    Dest, //
};
use kernel::fs::File;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::ArcBorrow;

/// What was taken off a watch.
struct Taken {
    unread: Unread,
    /// Of a one-shot watch that was woken: it holds the word that `unread` is for.
    waiter: Option<Waiter<Wakee>>,
}

impl Watch<Wakee> {
    /// What a read returns: a `__u64`.
    const READ_LEN: usize = size_of::<u64>();

    /// Reads a one-shot watch, whose waiter is not needed any more.
    #[inline(never)]
    fn read_one_shot(this: &Pollable<Self>, mut out: impl Dest) -> Result<usize> {
        let taken = {
            let mut disarmed = this.disarmed.lock();

            Taken {
                unread: this.unread.take(),
                waiter: this.entry.take_disarmed(disarmed.as_mut()),
            }
        };

        if taken.unread.is_empty() {
            return Ok(0);
        }
        if out.put(&taken.unread.as_read()).is_err() {
            Self::put_back(this, taken);
            return Err(EFAULT);
        }
        Ok(Self::READ_LEN)
    }

    /// Puts back what was taken and did not reach the reader.
    #[cold]
    #[inline(never)]
    fn put_back(this: &Pollable<Self>, taken: Taken) {
        let mut disarmed = this.disarmed.lock();
        // If it was armed concurrently, that waiter is of the same word, and serves.
        let spare = taken
            .waiter
            .and_then(|waiter| this.entry.disarm(disarmed.as_mut(), waiter).err());

        this.unread.merge(taken.unread);
        drop(disarmed);
        drop(spare);
        // Another reader may have found nothing in between.
        this.notify_readable();
    }

    /// Dequeues the watch, and takes all there is to read.
    #[inline]
    fn withdraw(&self) -> Taken {
        let queued = self.domain.table.dequeue(&self.entry);
        let mut disarmed = self.disarmed.lock();
        let kept = self.entry.take_disarmed(disarmed.as_mut());

        Taken {
            unread: self.unread.take(),
            waiter: queued.or(kept),
        }
    }

    /// The key of the disarmed waiter, if the address of the watch is known to lead to it still.
    fn unmoved(&self) -> Option<Key> {
        let mut disarmed = self.disarmed.lock();
        let seen = disarmed.seen.take()?;
        let key = self
            .entry
            .disarmed(disarmed.as_mut())
            .filter(|waiter| *waiter.key.key() == seen.key && waiter.key.is_unmoved(&seen.at))
            .map(|_| seen.key);

        disarmed.seen = Some(seen);
        key
    }

    /// Notes where the address of the watch led to.
    fn note_seen(&self, seen: Option<Seen>) {
        let mut disarmed = self.disarmed.lock();
        // Dropped after the lock.
        let _old = core::mem::replace(&mut disarmed.seen, seen);

        drop(disarmed);
    }

    /// Queues the watch for `request`. Returns whether it did: `false` means that the word holds
    /// another value.
    ///
    /// `waiter` is what the watch had before, if it had one: its key is used again if the address
    /// still leads to the same word. It is left there if it is not queued.
    fn arm(
        this: ArcBorrow<'_, Pollable<Self>>,
        request: &Request,
        waiter: &mut Option<Waiter<Wakee>>,
    ) -> Result<bool> {
        let table = &this.domain.table;
        let is_new = !waiter
            .as_ref()
            .is_some_and(|waiter| waiter.key.is_of(request.word, request.scope));
        let mut at = None;

        if is_new {
            // Spares the pin if the word differs already.
            if request.compares() && request.word.read()? != request.value {
                return Ok(false);
            }
            if request.scope == Scope::Shared {
                at = MmSeq::now();
            }
            let key = table.key_for(request.word, request.scope)?;
            *waiter = Some(Waiter::new(key, Wakee::Watch(this.into()), request.bitset));
        }
        let queued = queue_if(
            table,
            &this.entry,
            waiter,
            request.word,
            request.scope,
            || request.validate(),
        )?;

        if let (true, Some(key)) = (is_new, queued) {
            this.disarmed.lock().kind = Some(key.kind());
            this.note_seen(at.map(|at| Seen { key, at }));
        }
        Ok(queued.is_some())
    }

    /// Checks that the current task may arm the watch again for `request`.
    ///
    /// A word that is known by an mm cannot be armed from another one: that would be another word,
    /// and the watch would be lost to those that opened it.
    ///
    /// # Errors
    ///
    /// `EXDEV` if it cannot; `EFAULT` if the word cannot be read.
    fn check_again(&self, request: &Request) -> Result {
        // Compared or not, what cannot be read cannot be waited for.
        request.word.read()?;
        if MmId::current()? != self.mm
            && Key::with(request.word, request.scope, |key| key.kind() != Kind::Page)?
        {
            return Err(EXDEV);
        }
        Ok(())
    }

    /// What follows when the word has changed: an error, or something to read.
    fn changed(this: &Pollable<Self>, request: &Request) -> Result {
        if !request.has(bindings::AFUTEX_READY) {
            return Err(EAGAIN);
        }
        this.unread.merge(Unread::changed_word());
        this.notify_readable();
        Ok(())
    }

    /// Arms a watch that was just opened.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value and `AFUTEX_READY` was not given; those of reading
    /// it and of [`Table::key_for`](super::super::table::Table::key_for).
    pub(crate) fn arm_first(this: ArcBorrow<'_, Pollable<Self>>) -> Result {
        let request = this.request;

        if !Self::arm(this, &request, &mut None)? {
            Self::changed(&this, &request)?;
        }
        Ok(())
    }

    /// `AFUTEX_IOC_REARM`: reads and arms, in one call.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value: the wakes were read, and the count is in the
    /// structure. After all others they can still be read: `EINVAL` for unknown flags, or a value
    /// that does not fit; `EBUSY` if another thread arms it at this moment; `EFAULT` if the
    /// structure cannot be accessed; those of [`Self::check_again`] and of
    /// [`Table::key_for`](super::super::table::Table::key_for).
    fn rearm(this: ArcBorrow<'_, Pollable<Self>>, arg: usize) -> Result {
        let mut args: afutex_rearm = user_mem::read(arg)?;

        // Nothing has happened yet if it cannot be written.
        args.count = 0;
        user_mem::write(arg, &args)?;
        let wanted = this.request.with_comparison(args.val, args.flags)?;
        if args.pad != 0 {
            return Err(EINVAL);
        }
        this.check_again(&wanted)?;
        let _arming = this.arming.try_lock().ok_or(EBUSY)?;
        // Dequeued first, so that what is taken is all there was.
        let mut taken = this.withdraw();
        args.count = taken.unread.count().into();
        let armed =
            user_mem::write(arg, &args).and_then(|()| Self::arm(this, &wanted, &mut taken.waiter));
        match armed {
            // The caller has the wakes now: they are not passed on.
            Ok(true) => Ok(()),
            Ok(false) => Self::changed(&this, &wanted),
            Err(err) => {
                args.count = 0;
                // If it was unmapped, the caller has no count either.
                let _ = user_mem::write(arg, &args);
                Self::put_back(&this, taken);
                Err(err)
            }
        }
    }

    /// `AFUTEX_IOC_NEXT`: reads, and arms if the word holds `value`. Returns the wakes that were
    /// read.
    ///
    /// # Errors
    ///
    /// `EAGAIN` if the word holds another value: the wakes were read. After all others they can
    /// still be read: `EINVAL` if the value does not fit the word, `EBUSY` if another thread arms
    /// it at this moment; those of [`Self::check_again`] and of
    /// [`Table::key_for`](super::super::table::Table::key_for).
    fn next(this: ArcBorrow<'_, Pollable<Self>>, value: u64) -> Result<isize> {
        let wanted = this
            .request
            .with_comparison(value, bindings::AFUTEX_COMPARE)?;

        // In the common case it was woken, and the word is where it was: its waiter is still good.
        let mut unread = Unread::default();
        let mut queue_again = |key: &Key| {
            this.domain.table.queue_disarmed(
                &this.entry,
                key,
                &this.disarmed,
                || wanted.validate(),
                || unread = this.unread.take(),
            )
        };
        let mm = MmId::current()?;
        // A requeue may have given it a word of another mm: that is refused below.
        let is_ours = mm == this.mm;
        let again = match wanted.scope {
            Scope::Private => is_ours && queue_again(&Key::private(mm, wanted.word)),
            Scope::Shared => match this.unmoved() {
                Some(key) => queue_again(&key),
                None => {
                    let at = MmSeq::now();
                    let mut found = None;
                    let again = Key::with(wanted.word, wanted.scope, |key| {
                        found = Some(*key);
                        (is_ours || key.kind() == Kind::Page) && queue_again(key)
                    }) == Ok(true);

                    if let (true, Some(at), Some(key)) = (again, at, found) {
                        this.note_seen(Some(Seen { key, at }));
                    }
                    again
                }
            },
        };
        if again {
            return Ok(unread.count() as isize);
        }

        this.check_again(&wanted)?;
        let _arming = this.arming.try_lock().ok_or(EBUSY)?;
        let mut taken = this.withdraw();
        match Self::arm(this, &wanted, &mut taken.waiter) {
            Ok(true) => Ok(taken.unread.count() as isize),
            Ok(false) => Err(EAGAIN),
            Err(err) => {
                Self::put_back(&this, taken);
                Err(err)
            }
        }
    }
}

#[vtable]
impl PseudoFile for Watch<Wakee> {
    fn ready(&self) -> u32 {
        if self.unread.get().is_empty() {
            0
        } else {
            READABLE
        }
    }

    /// Returns the number of wakes, and `AFUTEX_CHANGED`, and clears them.
    #[inline(always)]
    fn read(this: &Pollable<Self>, mut out: impl Dest) -> Result<usize> {
        if out.room() < Self::READ_LEN {
            return Err(EINVAL);
        }
        if !this.is_persistent() {
            return Self::read_one_shot(this, out);
        }
        let unread = this.unread.take();

        if unread.is_empty() {
            return Ok(0);
        }
        if out.put(&unread.as_read()).is_err() {
            let waiter = None;
            Self::put_back(this, Taken { unread, waiter });
            return Err(EFAULT);
        }
        Ok(Self::READ_LEN)
    }

    fn ioctl(this: ArcBorrow<'_, Pollable<Self>>, cmd: u32, arg: usize) -> Result<isize> {
        match cmd {
            bindings::AFUTEX_IOC_NEXT => Self::next(this, arg as u64),
            bindings::AFUTEX_IOC_REARM => Self::rearm(this, arg).map(|()| 0),
            _ => Err(ENOTTY),
        }
    }

    /// Passes on what was not read.
    fn release(&self) {
        // Dequeued first, so that nothing comes back to it.
        let taken = self.withdraw();

        if let Some(waiter) = &taken.waiter {
            self.domain.table.pass_on(waiter.key.key(), taken.unread);
        }
    }

    fn show_fdinfo(&self, _file: &File, out: &SeqFile) {
        let unread = self.unread.get();
        let kind = self.disarmed.lock().kind;
        let state = if self.entry.is_queued() {
            "armed"
        } else if !unread.is_empty() {
            "fired"
        } else {
            "idle"
        };

        seq_print!(out, "afutex-kind:\t{}\n", kind.map_or("none", Kind::name));
        seq_print!(out, "afutex-state:\t{}\n", state);
        seq_print!(out, "afutex-wakes:\t{}\n", unread.count());
        seq_print!(out, "afutex-native:\t{}\n", u8::from(self.hooks.is_some()));
        seq_print!(out, "afutex-signal:\t{}\n", self.signal);
        self.opener.show_word(out, self.request.word);
    }
}
