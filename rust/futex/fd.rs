// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_FD`: a file descriptor that becomes readable when a word is woken.

use super::entry::{
    Entry,
    Waiter,
    Wakee, //
};
use super::key::{
    Key,
    KeyRef,
    Scope, //
};
use super::stats;
use super::wake::ANY;
use super::{
    Domain, //
    FutexFs,
};
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::{
    Pollable,
    PseudoFile, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::sigio;
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::fs::file::FileDescriptorReservation;
use kernel::fs::File;
use kernel::page::PAGE_SIZE;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::Arc;
use kernel::task::Kuid;

/// The file: armed while its entry is queued, fired from then on.
#[pin_data]
pub(crate) struct FutexFd {
    domain: Arc<Domain>,
    #[pin]
    entry: Entry,
    word: UserWord,
    id: Key,
    signal: u32,
    opener: Kuid,
    _count: stats::Counted,
}

impl PseudoFile for FutexFd {
    fn ready(&self) -> u32 {
        if self.entry.is_queued() {
            0
        } else {
            READABLE
        }
    }

    fn release(&self) {
        drop(self.domain.table.dequeue(&self.entry));
    }

    fn show_fdinfo(&self, _file: &File, out: &SeqFile) {
        let state = if self.entry.is_queued() {
            "armed"
        } else {
            "fired"
        };

        seq_print!(out, "afutex-kind:\t{}\n", self.id.kind().name());
        seq_print!(out, "afutex-state:\t{}\n", state);
        seq_print!(out, "afutex-signal:\t{}\n", self.signal);
        // The file may have come to another user, whom the opener's addresses do not concern.
        if self.opener == Kuid::current_euid() || task::may_ptrace() {
            seq_print!(out, "afutex-uaddr:\t{:#x}\n", self.word.addr());
        } else {
            seq_print!(out, "afutex-offset:\t{:#x}\n", self.word.addr() % PAGE_SIZE);
        }
    }
}

/// Makes a file descriptor that waits on `word`, and returns its number.
///
/// Its owner is the current process, to be sent `signal` if that is not 0. Both are set before the
/// word is queued; a wake between that and the installation of the descriptor sends the signal,
/// with the `si_fd` that is about to be valid.
///
/// # Errors
///
/// - `EINVAL`: `signal` is no signal's number.
/// - `EFAULT`: the word cannot be read.
/// - `EMFILE`, `ENFILE`: too many files are open, in the process or the system.
/// - `ENOMEM`.
/// - Those of [`KeyRef::for_waiter`].
pub(crate) fn open(
    domain: &Arc<Domain>,
    mount: &Mount<FutexFs>,
    word: UserWord,
    scope: Scope,
    signal: u32,
) -> Result<u32> {
    if !sigio::valid_signal(signal) {
        return Err(EINVAL);
    }
    word.read()?;

    let reservation = FileDescriptorReservation::get_unused_fd_flags(0)?;
    let fd = reservation.reserved_fd();
    let key = KeyRef::for_waiter(&domain.table, word, scope)?;
    let id = *key.id();
    let data = Arc::pin_init(
        Pollable::new(pin_init!(FutexFd {
            domain: domain.clone(),
            entry <- Entry::new(),
            word,
            id,
            signal,
            opener: Kuid::current_euid(),
            _count: stats::Counted::new(&stats::FDS),
        })),
        GFP_KERNEL_ACCOUNT,
    )?;
    let file = mount.create(&data, 0, fd, signal)?;

    let waiter = Waiter::new(key, Wakee::Fd(data.clone()), ANY);
    domain
        .table
        .enqueue(&data.entry, waiter, || Ok(()))
        .map_err(|_| EBUSY)?;
    reservation.fd_install(file);
    Ok(fd)
}
