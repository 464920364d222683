// SPDX-License-Identifier: GPL-2.0

//! `AFUTEX_IOC_OPEN`: a file descriptor that is armed only while a word holds a value, that can be
//! armed again or stay armed, and that counts wakes until they are read.
//!
//! # No wake is swallowed
//!
//! A wake that was counted for a watch, and that nobody has read when it is closed, is passed on to
//! the next who waits on that word at that moment. A watch that was woken therefore *has_unread*: it
//! keeps the key, and the masks of the wakes, until they are read: see [`unread`](super::unread).

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    CurrentMm,
    Key,
    KeyRef,
    Kind,
    Scope, //
};
use super::stats;
use super::unread::{
    AtomicUnread,
    Unread, //
};
use super::wait::{
    compare,
    fault_in,
    Refusal, //
};
use super::{
    Domain, //
    FutexFs,
};
use crate::sys::bindings::{
    self,
    afutex_open,
    afutex_rearm,
    afutex_watch, //
};
use crate::sys::page::MmSeq;
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::queues::Cursor;
use crate::sys::sigio;
use crate::sys::task;
use crate::sys::user_mem::{
    self,
    Dest, //
};
use crate::sys::user_word::UserWord;
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
use kernel::{
    new_mutex,
    new_spinlock,
    seq_print, //
};

/// Which word to wait on, for which wakes, and how: a checked `struct afutex_watch`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) word: UserWord,
    pub(crate) scope: Scope,
    pub(crate) mask: u32,
    pub(crate) value: u64,
    pub(crate) flags: u32,
}

/// `FUTEX2_SIZE_MASK` and `FUTEX2_PRIVATE`: how a word is described.
pub(crate) const WORD_FLAGS: u32 = bindings::FUTEX2_SIZE_MASK | bindings::FUTEX2_PRIVATE;

/// Checks the address and the flags of a word.
///
/// # Errors
///
/// `EINVAL` for a flag not in [`WORD_FLAGS`] or a misaligned address, `EFAULT` for one that is not
/// in user space.
#[inline]
pub(crate) fn word(addr: u64, flags: u32) -> Result<(UserWord, Scope)> {
    if flags & !WORD_FLAGS != 0 {
        return Err(EINVAL);
    }
    let scope = if flags & bindings::FUTEX2_PRIVATE != 0 {
        Scope::Private
    } else {
        Scope::Shared
    };

    Ok((
        UserWord::sized(addr, flags & bindings::FUTEX2_SIZE_MASK)?,
        scope,
    ))
}

impl Request {
    /// How it may be asked to wait.
    const HOW: u32 =
        bindings::AFUTEX_COMPARE | bindings::AFUTEX_READY | bindings::AFUTEX_PERSISTENT;

    /// Checks what a user asks for.
    ///
    /// # Errors
    ///
    /// `EINVAL`: unknown flags, `AFUTEX_READY` without `AFUTEX_COMPARE`, a mask of 0, a value that
    /// does not fit the word or is given without `AFUTEX_COMPARE`, a misaligned address. `EFAULT`:
    /// an address outside user space.
    pub(crate) fn check(watch: &afutex_watch) -> Result<Self> {
        let (word, scope) = word(watch.uaddr, watch.flags & !Self::HOW)?;
        let this = Self {
            word,
            scope,
            mask: watch.mask,
            value: watch.val,
            flags: watch.flags & Self::HOW,
        };

        if this.mask == 0 || !word.holds(this.value) {
            return Err(EINVAL);
        }
        if !this.has(bindings::AFUTEX_COMPARE)
            && (this.has(bindings::AFUTEX_READY) || this.value != 0)
        {
            return Err(EINVAL);
        }
        Ok(this)
    }

    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Compares the word, if that is asked for. Under the bucket's lock.
    pub(super) fn validate(&self) -> Result<(), Refusal> {
        if self.has(bindings::AFUTEX_COMPARE) {
            compare(self.word, self.value)
        } else {
            Ok(())
        }
    }
}

/// What was taken off a watch.
struct Taken {
    unread: Unread,
    /// That of a one-shot watch that was woken: the word that `unread` is for.
    waiter: Option<Waiter>,
}

/// With whom the waiter of a one-shot watch that was woken is disarmed.
struct Disarmed {
    /// How the word was known when the watch was armed last.
    kind: Option<Kind>,
    /// When a shared word was looked for last, and found where the waiter has it.
    found: Option<MmSeq>,
}

/// The file.
///
/// Locks: a bucket's is taken before `disarmed`, under which a one-shot watch counts its wake and
/// parks its waiter in one step. A persistent one counts under the bucket's alone. `arming` is only ever tried, since its holder may be
/// kept waiting by a page fault that a user answers.
#[pin_data]
pub(crate) struct Watch {
    domain: Arc<Domain>,
    #[pin]
    entry: Entry,
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
    opener: Kuid,
    _count: stats::Counted,
}

impl Watch {
    /// Whether it stays armed when it is woken.
    #[inline]
    pub(super) fn is_persistent(&self) -> bool {
        self.request.has(bindings::AFUTEX_PERSISTENT)
    }

    /// Counts a wake of a persistent watch. Tells whether anybody is to be told. Under the bucket's
    /// lock.
    #[inline(always)]
    pub(super) fn count(this: &Pollable<Self>, mask: u32) -> bool {
        // A full barrier.
        this.unread.add(Unread::one(mask));
        this.has_listeners_after_fence()
    }

    /// Counts a wake of the one-shot watch whose waiter is at the cursor, parks the waiter, and goes
    /// on. Under the bucket's lock.
    #[inline]
    pub(super) fn disarm<'a>(
        &self,
        cursor: Cursor<'a, Waiter>,
        mask: u32,
    ) -> Option<Cursor<'a, Waiter>> {
        let mut disarmed = self.disarmed.lock();
        let next = cursor.disarm(disarmed.as_mut());

        self.unread.add(Unread::one(mask));
        next
    }

    /// Whether there are wakes that nobody has read.
    pub(super) fn has_unread(&self) -> bool {
        self.unread.get().count() != 0
    }

    /// As `read`, of a one-shot watch, whose waiter goes as well.
    #[inline(never)]
    fn read_once_woken(this: &Pollable<Self>, mut out: impl Dest) -> Result<usize> {
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
        // If it was armed meanwhile, the word is the same, and its waiter does.
        let spare = taken
            .waiter
            .and_then(|waiter| this.entry.disarm(disarmed.as_mut(), waiter).err());

        this.unread.merge(taken.unread);
        drop(disarmed);
        drop(spare);
        // Another may have looked meanwhile.
        this.notify_readable();
    }

    /// What a read returns: a `__u64`.
    const READ_LEN: usize = size_of::<u64>();

    /// Takes the watch off the table, and all there is to read.
    #[inline]
    fn withdraw(&self) -> Taken {
        let queued = self.domain.table.dequeue(&self.entry);
        let mut disarmed = self.disarmed.lock();
        let disarmed = self.entry.take_disarmed(disarmed.as_mut());

        Taken {
            unread: self.unread.take(),
            waiter: queued.or(disarmed),
        }
    }

    /// The word of the waiter that is disarmed, if it is known to be at its address still.
    fn unmoved(&self) -> Option<Key> {
        let mut disarmed = self.disarmed.lock();
        let found = disarmed.found.take()?;
        let id = self
            .entry
            .disarmed(disarmed.as_mut())
            .filter(|waiter| waiter.key.is_unmoved(&found))
            .map(|waiter| *waiter.key.id());

        disarmed.found = Some(found);
        id
    }

    /// Notes when the word was found.
    fn found(&self, when: Option<MmSeq>) {
        let old = core::mem::replace(&mut self.disarmed.lock().found, when);
        // Not under the lock.
        drop(old);
    }

    /// Queues the entry for `request`, or says that the word has changed.
    ///
    /// `waiter` is what the watch had before, if it had one: its key is used again if the address
    /// still leads to the same word. It is left there on error.
    fn arm(
        this: ArcBorrow<'_, Pollable<Self>>,
        request: &Request,
        waiter: &mut Option<Waiter>,
    ) -> Result<bool> {
        let table = &this.domain.table;
        let mut found = None;
        let is_new = !waiter
            .as_ref()
            .is_some_and(|waiter| waiter.key.is_of(request.word, request.scope));

        if is_new {
            // Spares the pin if the word differs already.
            if request.has(bindings::AFUTEX_COMPARE) && request.word.read()? != request.value {
                return Ok(false);
            }
            if request.scope == Scope::Shared {
                found = MmSeq::now();
            }
            let key = KeyRef::for_waiter(table, request.word, request.scope)?;
            *waiter = Some(Waiter::new(key, Wakee::Watch(this.into()), request.mask));
        }

        while let Some(one) = waiter.take() {
            let kind = one.key.id().kind();
            match table.enqueue(&this.entry, one, || request.validate()) {
                Ok(()) => {
                    if is_new {
                        this.disarmed.lock().kind = Some(kind);
                        this.found(found);
                    }
                    return Ok(true);
                }
                Err((Refusal::Fault, refused)) => {
                    let one = waiter.insert(refused);
                    fault_in(request.word)?;
                    found = None;
                    one.key = KeyRef::for_waiter(table, request.word, request.scope)?;
                }
                Err((Refusal::Busy, _)) => return Err(EBUSY),
                Err(_) => return Ok(false),
            }
        }
        Ok(false)
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

    /// `AFUTEX_IOC_REARM`: reads and arms, in one call.
    ///
    /// # Errors
    ///
    /// `EINVAL` for unknown flags, or a value that does not fit; `EBUSY` if another rearms it at
    /// this moment; `EFAULT` if the structure cannot be accessed. After any other error the wakes
    /// were read, the count is in the structure, and the watch is not armed: `EAGAIN` if the word
    /// holds another value; those of reading it and of [`KeyRef::for_waiter`].
    fn rearm(this: ArcBorrow<'_, Pollable<Self>>, arg: usize) -> Result {
        let mut args: afutex_rearm = user_mem::read(arg)?;
        let how = bindings::AFUTEX_COMPARE | bindings::AFUTEX_READY;
        let wanted = Request {
            value: args.val,
            flags: this.request.flags & !how | args.flags & how,
            ..this.request
        };

        if args.flags & !how != 0
            || args.pad != 0
            || !wanted.word.holds(wanted.value)
            || !wanted.has(bindings::AFUTEX_COMPARE)
                && (wanted.has(bindings::AFUTEX_READY) || wanted.value != 0)
        {
            return Err(EINVAL);
        }

        let _arming = this.arming.try_lock().ok_or(EBUSY)?;
        // Nothing has happened yet if it cannot be written.
        user_mem::write(arg, &args)?;
        // Off the table first, so that what is taken is all there was.
        let mut taken = this.withdraw();
        args.count = taken.unread.count().into();
        if let Err(err) = user_mem::write(arg, &args) {
            // It was unmapped meanwhile.
            Self::put_back(&this, taken);
            return Err(err);
        }
        // Their owner knows of them now: they are passed to nobody.
        if !Self::arm(this, &wanted, &mut taken.waiter)? {
            Self::changed(&this, &wanted)?;
        }
        Ok(())
    }

    /// `AFUTEX_IOC_NEXT`: reads, and arms if the word holds `value`. Returns the wakes that were
    /// read.
    ///
    /// # Errors
    ///
    /// `EINVAL` if the value does not fit the word, `EBUSY` if another rearms it at this moment.
    /// After any other error the watch is not armed: `EAGAIN` if the word holds another value, and
    /// then the wakes were read; those of reading it and of [`KeyRef::for_waiter`].
    fn next(this: ArcBorrow<'_, Pollable<Self>>, value: u64) -> Result<isize> {
        let wanted = Request {
            value,
            flags: this.request.flags & !bindings::AFUTEX_READY | bindings::AFUTEX_COMPARE,
            ..this.request
        };

        if !wanted.word.holds(value) {
            return Err(EINVAL);
        }
        // Most often it was woken, and the word is where it was: its waiter is still good.
        let mut unread = Unread::default();
        let mut enqueue = |id: &Key| {
            this.domain.table.queue_disarmed(
                &this.entry,
                id,
                &this.disarmed,
                || wanted.validate(),
                || unread = this.unread.take(),
            )
        };
        let again = match wanted.scope {
            Scope::Private => enqueue(&Key::private(CurrentMm::get()?, wanted.word)),
            Scope::Shared => match this.unmoved() {
                Some(id) => enqueue(&id),
                None => {
                    let found = MmSeq::now();
                    let again = Key::with(wanted.word, wanted.scope, enqueue) == Ok(true);
                    if again {
                        this.found(found);
                    }
                    again
                }
            },
        };
        if again {
            return Ok(unread.count() as isize);
        }

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

impl PseudoFile for Watch {
    const READABLE: bool = true;

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
            return Self::read_once_woken(this, out);
        }
        let unread = this.unread.take();

        if unread.is_empty() {
            return Ok(0);
        }
        if out.put(&unread.as_read()).is_err() {
            Self::put_back(
                this,
                Taken {
                    unread,
                    waiter: None,
                },
            );
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

    /// Passes on what nobody has read.
    fn release(&self) {
        // Off the table first, so that it gets nothing back.
        let taken = self.withdraw();

        if let Some(waiter) = &taken.waiter {
            taken.unread.pass_on(waiter, &self.domain);
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
        seq_print!(out, "afutex-signal:\t{}\n", self.signal);
        let word = self.request.word;
        if self.opener == Kuid::current_euid() || task::may_ptrace() {
            seq_print!(out, "afutex-uaddr:\t{:#x}\n", word.addr());
        } else {
            seq_print!(out, "afutex-offset:\t{:#x}\n", word.addr() % PAGE_SIZE);
        }
    }
}

/// `AFUTEX_IOC_OPEN`: makes a watch, and returns its file descriptor.
///
/// # Errors
///
/// - `EINVAL`: unknown flags, a cookie, a signal that is none; those of [`Request::check`].
/// - `EAGAIN`: the word holds another value, and `AFUTEX_READY` was not given.
/// - `EFAULT`: the word cannot be read.
/// - `EMFILE`, `ENFILE`: too many files are open, in the process or the system.
/// - `ENOMEM`; those of [`KeyRef::for_waiter`].
pub(crate) fn open(domain: &Arc<Domain>, mount: &Mount<FutexFs>, args: afutex_open) -> Result<u32> {
    let request = Request::check(&args.watch)?;

    if args.watch.cookie != 0
        || args.fd_flags & !(flags::O_CLOEXEC | flags::O_NONBLOCK) != 0
        || !sigio::valid_signal(args.signal)
    {
        return Err(EINVAL);
    }
    // Before anything is made: a word that differs costs nothing.
    let value = request.word.read()?;
    if request.has(bindings::AFUTEX_COMPARE)
        && !request.has(bindings::AFUTEX_READY)
        && value != request.value
    {
        return Err(EAGAIN);
    }

    let reservation =
        FileDescriptorReservation::get_unused_fd_flags(args.fd_flags & flags::O_CLOEXEC)?;
    let fd = reservation.reserved_fd();
    let data = Arc::pin_init(
        Pollable::new(pin_init!(Watch {
            domain: domain.clone(),
            entry <- Entry::new(),
            unread: AtomicUnread::new(),
            disarmed <- new_spinlock!(Disarmed { kind: None, found: None }, "afutex_disarmed"),
            arming <- new_mutex!((), "afutex_arming"),
            request,
            signal: args.signal,
            opener: Kuid::current_euid(),
            _count: stats::Counted::new(&stats::FDS),
        })),
        GFP_KERNEL_ACCOUNT,
    )?;
    let file = mount.create(&data, args.fd_flags & flags::O_NONBLOCK, fd, args.signal)?;

    if !Watch::arm(data.as_arc_borrow(), &request, &mut None)? {
        Watch::changed(&data, &request)?;
    }
    reservation.fd_install(file);
    Ok(fd)
}
