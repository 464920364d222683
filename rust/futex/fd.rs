// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_FD`: a file descriptor that becomes readable when a word is woken.

use super::bucket::{
    Entry,
    Wake, //
};
use super::count::{
    Counted,
    FDS, //
};
use super::domain::Domain;
use super::key::Kind;
use super::opener::Opener;
use super::quota::Charge;
use crate::sys::futex_hook::InPlace;
use crate::sys::poll::READABLE;
use crate::sys::pseudo_file::PseudoFile;
use crate::sys::user_word::UserWord;
use kernel::fs::File;
use kernel::prelude::*;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::sync::Arc;

/// The file: armed while its entry is queued, fired from then on.
#[pin_data]
pub(crate) struct FutexFd<W: Wake> {
    domain: Arc<Domain<W>>,
    #[pin]
    pub(crate) entry: Entry<W>,
    word: UserWord,
    kind: Kind,
    signal: u32,
    opener: Opener,
    hooks: Option<InPlace>,
    _count: Counted,
    _charge: Charge,
}

impl<W: Wake> FutexFd<W> {
    /// Creates an initialiser for one that waits on `word`, and is not queued. `charge` is for it.
    pub(crate) fn new(
        domain: Arc<Domain<W>>,
        charge: Charge,
        word: UserWord,
        kind: Kind,
        signal: u32,
        hooks: Option<InPlace>,
    ) -> impl PinInit<Self> {
        pin_init!(Self {
            domain,
            entry <- Entry::new(),
            word,
            kind,
            signal,
            opener: Opener::new(charge.user()),
            hooks,
            _count: Counted::new(&FDS),
            _charge: charge,
        })
    }
}

#[vtable]
impl<W: Wake + Send + Sync + 'static> PseudoFile for FutexFd<W> {
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

        seq_print!(out, "afutex-kind:\t{}\n", self.kind.name());
        seq_print!(out, "afutex-state:\t{}\n", state);
        seq_print!(out, "afutex-native:\t{}\n", u8::from(self.hooks.is_some()));
        seq_print!(out, "afutex-signal:\t{}\n", self.signal);
        self.opener.show_word(out, self.word);
    }
}
