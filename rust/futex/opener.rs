// SPDX-License-Identifier: GPL-2.0

//! The user that opened a descriptor, and which other users may see addresses of its words.

use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::page::PAGE_SIZE;
use kernel::seq_file::SeqFile;
use kernel::seq_print;
use kernel::task::Kuid;

/// The user that opened a descriptor.
pub(crate) struct Opener(Kuid);

impl Opener {
    /// That user.
    pub(crate) fn new(user: Kuid) -> Self {
        Self(user)
    }

    /// Whether the current task may see addresses of the opener's memory: it is the same user's, or
    /// has `CAP_SYS_PTRACE`. The descriptor may have been passed to another user.
    pub(crate) fn is_visible(&self) -> bool {
        self.0 == Kuid::current_euid() || task::may_ptrace()
    }

    /// Shows the address of `word` in fdinfo, or, if the reader may not see it, its offset in the
    /// page.
    pub(crate) fn show_word(&self, out: &SeqFile, word: UserWord) {
        if self.is_visible() {
            seq_print!(out, "afutex-uaddr:\t{:#x}\n", word.addr());
        } else {
            seq_print!(out, "afutex-offset:\t{:#x}\n", word.addr() % PAGE_SIZE);
        }
    }
}
