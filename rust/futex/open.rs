// SPDX-License-Identifier: GPL-2.0

//! Making descriptors: `FUTEX_FD`, `AFUTEX_IOC_OPEN`, `AFUTEX_IOC_SET`.

use super::bucket::Waiter;
use super::domain::{
    Domain,
    FutexFs, //
};
use super::fd::FutexFd;
use super::quota::{
    Charge,
    Charges,
    Quotas, //
};
use super::set::ring::Ring;
use super::set::Set;
use super::wakee::Wakee;
use super::watch::Watch;
use super::word::{
    Request,
    Scope,
    ANY, //
};
use crate::sys::bindings::{
    self,
    afutex_open,
    afutex_set,
    afutex_set_mapped, //
};
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::sigio;
use crate::sys::user_word::UserWord;
use kernel::fs::file::{
    flags,
    FileDescriptorReservation, //
};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Checks the flags and the signal of a descriptor; `EINVAL`.
fn check(fd_flags: u32, signal: u32) -> Result {
    if fd_flags & !(flags::O_CLOEXEC | flags::O_NONBLOCK) != 0 || !sigio::valid_signal(signal) {
        return Err(EINVAL);
    }
    Ok(())
}

/// Makes a file of what `init` initialises, arms it, and installs it as a new descriptor.
///
/// Its owner is the current process, to be sent `signal` if that is not 0. Both are set before
/// `arm` is called: no wake comes unsignalled. A wake between `arm` and the installation sends the
/// signal, with the `si_fd` that is about to be valid.
///
/// # Errors
///
/// `EMFILE`, `ENFILE`: too many files are open, in the process or the system. `ENOMEM`. Those of
/// `arm`. Each leaves nothing behind.
#[inline]
pub(crate) fn install<F: PseudoFile>(
    mount: &Mount<FutexFs>,
    fd_flags: u32,
    signal: u32,
    init: impl PinInit<F>,
    arm: impl FnOnce(&Arc<Pollable<F>>) -> Result,
) -> Result<u32> {
    let reservation = FileDescriptorReservation::get_unused_fd_flags(fd_flags & flags::O_CLOEXEC)?;
    let fd = reservation.reserved_fd();
    let data = Arc::pin_init(Pollable::new(init), GFP_KERNEL_ACCOUNT)?;
    let file = mount.create(&data, fd_flags & flags::O_NONBLOCK, fd, signal)?;

    arm(&data)?;
    reservation.fd_install(file);
    Ok(fd)
}

/// `FUTEX_FD`: a descriptor that waits on `word`, whatever it holds. Returns its number.
///
/// # Errors
///
/// - `EINVAL`: `signal` is no signal's number.
/// - `EFAULT`: the word cannot be read.
/// - `ENOSPC`: the user has as many watches as it may have.
/// - Those of [`install`] and of [`Table::key_for`](super::table::Table::key_for).
pub(crate) fn futex_fd(
    domain: &Arc<Domain<Wakee>>,
    mount: &Mount<FutexFs>,
    quotas: &Quotas,
    word: UserWord,
    scope: Scope,
    signal: u32,
    native: bool,
) -> Result<u32> {
    check(0, signal)?;
    let (domain, hooks) = Domain::select(domain, native)?;
    word.read()?;

    let charge = Charge::new(quotas.current()?)?;
    let key = domain.table.key_for(word, scope)?;
    let kind = key.key().kind();
    let init = FutexFd::new(domain.clone(), charge, word, kind, signal, hooks);

    install(mount, 0, signal, init, |fd| {
        let waiter = Waiter::new(key, Wakee::Fd(fd.clone()), ANY);

        domain
            .table
            .queue(&fd.entry, waiter, || Ok(()))
            .map_err(|_| EBUSY)
    })
}

/// `AFUTEX_IOC_OPEN`: a descriptor for a watch. Returns its number.
///
/// # Errors
///
/// - `EINVAL`: unknown flags, a cookie, a signal that is none; those of [`Request::check`].
/// - `EAGAIN`: the word holds another value, and `AFUTEX_READY` was not given.
/// - `EFAULT`: the word cannot be read.
/// - `ENOSPC`: the user has as many watches as it may have.
/// - Those of [`install`] and of [`Table::key_for`](super::table::Table::key_for).
pub(crate) fn watch(
    domain: &Arc<Domain<Wakee>>,
    mount: &Mount<FutexFs>,
    quotas: &Quotas,
    args: afutex_open,
) -> Result<u32> {
    let request = Request::check(&args.watch)?;

    check(args.fd_flags, args.signal)?;
    if args.watch.cookie != 0 {
        return Err(EINVAL);
    }
    let (domain, hooks) = Domain::select(domain, request.is_native())?;
    // Before anything is made: a word that differs costs nothing.
    let value = request.word.read()?;
    if request.compares() && !request.has(bindings::AFUTEX_READY) && value != request.value {
        return Err(EAGAIN);
    }

    let charge = Charge::new(quotas.current()?)?;
    let init = Watch::new(domain.clone(), charge, request, args.signal, hooks)?;
    install(mount, args.fd_flags, args.signal, init, |watch| {
        Watch::arm_first(watch.as_arc_borrow())
    })
}

/// `AFUTEX_IOC_SET`: a descriptor for a set without members. Returns its number.
///
/// # Errors
///
/// `EINVAL` for unknown flags or a signal that is none; those of [`install`].
pub(crate) fn set(
    domain: &Arc<Domain<Wakee>>,
    mount: &Mount<FutexFs>,
    quotas: &Quotas,
    args: afutex_set,
) -> Result<u32> {
    check(args.fd_flags, args.signal)?;

    let init = Set::new(domain.clone(), quotas.current()?, None);
    install(mount, args.fd_flags, args.signal, init, |_| Ok(()))
}

/// `AFUTEX_IOC_SET_MAPPED`: a descriptor for a set whose events are in memory. Returns its number.
///
/// # Errors
///
/// `EINVAL` for unknown flags, a signal that is none, padding, a number of members that is no power
/// of two or too large; `ENOSPC` if its ring takes more watches than the user may have; those of
/// [`install`].
pub(crate) fn mapped_set(
    domain: &Arc<Domain<Wakee>>,
    mount: &Mount<FutexFs>,
    quotas: &Quotas,
    args: afutex_set_mapped,
) -> Result<u32> {
    check(args.fd_flags, args.signal)?;
    if args.pad != 0 {
        return Err(EINVAL);
    }
    let memory = Ring::memory(args.members)?;
    let quota = quotas.current()?;
    let charge = Charges::for_memory(quota.clone(), memory)?;
    let init = Set::new(
        domain.clone(),
        quota,
        Some((Ring::new(args.members)?, charge)),
    );

    install(mount, args.fd_flags, args.signal, init, |_| Ok(()))
}
