// SPDX-License-Identifier: GPL-2.0

//! A futex word as a caller names it: address, size, scope; and what it is to hold.

use crate::sys::bindings::{
    self,
    afutex_watch, //
};
use crate::sys::task;
use crate::sys::user_word::UserWord;
use kernel::prelude::*;

/// The bitset that matches every waiter: `FUTEX_BITSET_MATCH_ANY`.
pub(crate) const ANY: u32 = bindings::FUTEX_BITSET_MATCH_ANY;

/// Whether a word may be shared with other processes: `FUTEX_PRIVATE_FLAG` says it is not.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Scope {
    /// Identified by mm and address, whatever is mapped there.
    Private,
    /// Identified by what is mapped there.
    Shared,
}

/// `FUTEX2_SIZE_MASK` and `FUTEX2_PRIVATE`: how a word is described.
pub(crate) const WORD_FLAGS: u32 = bindings::FUTEX2_SIZE_MASK | bindings::FUTEX2_PRIVATE;

/// Checks the address and the flags of a word.
///
/// # Errors
///
/// `EINVAL` for a flag not in [`WORD_FLAGS`] or a misaligned address, `EFAULT` for an address that
/// is not in user space.
#[inline]
pub(crate) fn parse_word(addr: u64, flags: u32) -> Result<(UserWord, Scope)> {
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

/// Why a waiter was not queued.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The word holds another value: `EWOULDBLOCK` of futex(2).
    Mismatch,
    /// The word cannot be read without a page fault: `EFAULT` under the bucket's lock.
    Fault,
    /// The entry has a waiter already: `EBUSY`.
    Busy,
}

/// Compares `word`. Under the bucket's lock, so page faults are off.
pub(crate) fn compare(word: UserWord, expected: u64) -> Result<(), Refusal> {
    match word.read_nofault() {
        Some(value) if value == expected => Ok(()),
        Some(_) => Err(Refusal::Mismatch),
        None => Err(Refusal::Fault),
    }
}

/// Faults in a word after a [`Refusal::Fault`]. May sleep.
///
/// # Errors
///
/// `EFAULT`, `EINTR` if the task is killed.
pub(crate) fn fault_in(word: UserWord) -> Result {
    if task::fatal_signal_pending() {
        return Err(EINTR);
    }
    word.read().map(|_| ())
}

/// Which word to wait on, for which wakes, and how: a checked `struct afutex_watch`.
#[derive(Clone, Copy)]
pub(crate) struct Request {
    pub(crate) word: UserWord,
    pub(crate) scope: Scope,
    pub(crate) bitset: u32,
    pub(crate) value: u64,
    pub(crate) flags: u32,
}

impl Request {
    /// The flags of `struct afutex_watch` that say how to wait.
    const HOW: u32 = bindings::AFUTEX_COMPARE
        | bindings::AFUTEX_READY
        | bindings::AFUTEX_PERSISTENT
        | bindings::AFUTEX_NATIVE;

    /// Checks what a user asks for.
    ///
    /// # Errors
    ///
    /// `EINVAL`: unknown flags, a bitset of 0, a misaligned address; those of
    /// [`Self::with_comparison`]. `EFAULT`: an address outside user space.
    pub(crate) fn check(watch: &afutex_watch) -> Result<Self> {
        let (word, scope) = parse_word(watch.uaddr, watch.flags & !Self::HOW)?;
        let this = Self {
            word,
            scope,
            bitset: watch.mask,
            value: 0,
            flags: watch.flags & Self::HOW,
        };

        if this.bitset == 0 {
            return Err(EINVAL);
        }
        this.with_comparison(watch.val, watch.flags & Self::COMPARISON)
    }

    /// The flags that say what to compare, and what follows if the word holds another value.
    pub(crate) const COMPARISON: u32 = bindings::AFUTEX_COMPARE | bindings::AFUTEX_READY;

    /// The same request with another comparison: `value`, and `flags` of [`Self::COMPARISON`].
    ///
    /// # Errors
    ///
    /// `EINVAL`: other flags, `AFUTEX_READY` without `AFUTEX_COMPARE`, a value that does not fit
    /// the word or is given without `AFUTEX_COMPARE`.
    pub(crate) fn with_comparison(self, value: u64, flags: u32) -> Result<Self> {
        let compares = flags & bindings::AFUTEX_COMPARE != 0;

        if flags & !Self::COMPARISON != 0
            || !self.word.holds(value)
            || !compares && (flags & bindings::AFUTEX_READY != 0 || value != 0)
        {
            return Err(EINVAL);
        }
        Ok(Self {
            value,
            flags: self.flags & !Self::COMPARISON | flags,
            ..self
        })
    }

    /// Whether `flag` was given.
    #[inline]
    pub(crate) fn has(&self, flag: u32) -> bool {
        self.flags & flag != 0
    }

    /// Whether the word has to hold a value.
    #[inline]
    pub(crate) fn compares(&self) -> bool {
        self.has(bindings::AFUTEX_COMPARE)
    }

    /// Whether it is for wakes of futex(2).
    pub(crate) fn is_native(&self) -> bool {
        self.has(bindings::AFUTEX_NATIVE)
    }

    /// Compares the word, if that is asked for. Under the bucket's lock.
    pub(crate) fn validate(&self) -> Result<(), Refusal> {
        if self.compares() {
            compare(self.word, self.value)
        } else {
            Ok(())
        }
    }
}
