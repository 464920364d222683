// SPDX-License-Identifier: GPL-2.0

//! The calls in the manner of futex2: futex_wait(2), futex_wake(2), futex_requeue(2) and
//! futex_waitv(2), for words of every size.

use super::quota::{
    Charges,
    Quotas, //
};
use super::requeue::{
    self,
    Counts, //
};
use super::table::Table;
use super::wait::{
    self,
    Timeout, //
};
use super::waitv::{
    self,
    WaitSpec, //
};
use super::wake::{
    self,
    Waker, //
};
use super::wakee::Wakee;
use super::word::parse_word;
use crate::sys::bindings::{
    self,
    afutex_requeue,
    afutex_wait,
    afutex_waitv,
    afutex_wake,
    afutex_wakev,
    afutex_wakev_word,
    futex_waitv, //
};
use crate::sys::task;
use crate::sys::time::Deadline;
use crate::sys::user_mem;
use kernel::prelude::*;

/// Checks a bitset: 32 bits, not 0; `EINVAL`.
fn check_bitset(mask: u64) -> Result<u32> {
    match u32::try_from(mask) {
        Ok(bitset @ 1..) => Ok(bitset),
        _ => Err(EINVAL),
    }
}

/// `AFUTEX_IOC_WAIT`.
///
/// # Errors
///
/// `EINVAL` for unknown flags, a mask of 0 or of more than 32 bits, a value that does not fit the
/// word, another clock, a misaligned address; those of [`wait::wait`].
pub(crate) fn wait(table: &Table<Wakee>, args: afutex_wait) -> Result {
    let (word, scope) = parse_word(args.uaddr, args.flags)?;
    let bitset = check_bitset(args.mask)?;

    if !word.holds(args.val) {
        return Err(EINVAL);
    }
    let timeout =
        Deadline::from_user(args.timeout, args.clockid)?.map_or(Timeout::None, Timeout::Absolute);
    wait::wait(table, word, scope, args.val, bitset, timeout)
}

/// `AFUTEX_IOC_WAKE`.
///
/// # Errors
///
/// `EINVAL` for unknown flags, a mask of 0 or of more than 32 bits, a misaligned address; those of
/// [`wake::wake`].
pub(crate) fn wake(table: &Table<Wakee>, args: afutex_wake) -> Result<u32> {
    let (word, scope) = parse_word(args.uaddr, args.flags)?;

    wake::wake(table, word, scope, args.count, check_bitset(args.mask)?)
}

/// `AFUTEX_IOC_REQUEUE`.
///
/// # Errors
///
/// `EINVAL` for unknown flags, padding that is not 0, a value that does not fit the word, a
/// misaligned address; those of [`requeue::requeue`].
pub(crate) fn requeue(table: &Table<Wakee>, args: afutex_requeue) -> Result<u32> {
    let from = parse_word(args.uaddr, args.flags)?;
    let to = parse_word(args.uaddr2, args.flags)?;

    if args.pad != 0 || !from.0.holds(args.val) {
        return Err(EINVAL);
    }
    let counts = Counts {
        wake: args.wake,
        requeue: args.requeue,
    };
    requeue::requeue(table, from, to, counts, Some(args.val))
}

/// `AFUTEX_IOC_WAITV`.
///
/// # Errors
///
/// `EINVAL` for none or too many words, another clock, and in each word for unknown flags, a
/// reserved field that is not 0, a value that does not fit, a misaligned address; `ENOSPC` for
/// more words than the user may have watches, `EFAULT`, `ENOMEM`, `EINTR` if the task is killed;
/// those of [`waitv::waitv`].
pub(crate) fn waitv(table: &Table<Wakee>, quotas: &Quotas, args: afutex_waitv) -> Result<usize> {
    // futex_waitv(2) has 128 words for each task that sleeps, and each user a number of tasks.
    const UNCHARGED: u32 = 128;

    if !(1..=bindings::AFUTEX_WAITV_MAX).contains(&args.nr) {
        return Err(EINVAL);
    }
    let deadline = Deadline::from_user(args.timeout, args.clockid)?;
    let nr = args.nr as usize;
    let mut addr = usize::try_from(args.waiters).map_err(|_| EFAULT)?;
    let _charges = match args.nr {
        0..=UNCHARGED => None,
        _ => Some(Charges::new(quotas.current()?, nr)?),
    };

    let mut waiters = KVVec::with_capacity(nr, GFP_KERNEL_ACCOUNT)?;
    for number in 0..nr {
        if number % 64 == 63 && task::fatal_signal_pending() {
            return Err(EINTR);
        }
        let waiter: futex_waitv = user_mem::read(addr)?;
        addr = addr.wrapping_add(size_of::<futex_waitv>());
        let (word, scope) = parse_word(waiter.uaddr, waiter.flags)?;

        if waiter.__reserved != 0 || !word.holds(waiter.val) {
            return Err(EINVAL);
        }
        waiters.push(
            WaitSpec {
                word,
                scope,
                expected: waiter.val,
            },
            GFP_KERNEL_ACCOUNT,
        )?;
    }
    waitv::waitv(table, &waiters, deadline)
}

/// `AFUTEX_IOC_WAKEV`. Returns how many words were gone through.
///
/// # Errors
///
/// `EINVAL` for too many words, or padding that is not 0; `EFAULT` if the array cannot be accessed;
/// earlier words may have been woken by then. The error of a single word is stored in its `result`.
pub(crate) fn wakev(table: &Table<Wakee>, args: afutex_wakev) -> Result<usize> {
    if args.nr > bindings::AFUTEX_WAKEV_MAX || args.pad != 0 {
        return Err(EINVAL);
    }
    let mut addr = usize::try_from(args.words).map_err(|_| EFAULT)?;
    let nr = args.nr as usize;

    // A few at a time, so that reading costs little and nothing is allocated.
    const FEW: usize = 16;
    let mut few = user_mem::Buffer::<afutex_wakev_word, FEW>::new();
    let mut done = 0;
    // One barrier for all words: the caller's stores come before the call.
    let waker = Waker::new(table);
    while done < nr && !task::fatal_signal_pending() {
        let words = few.read(addr, nr - done)?;

        for word in words.iter_mut() {
            word.result = match wake_word(&waker, word) {
                Ok(woken) => i32::try_from(woken).unwrap_or(i32::MAX),
                Err(err) => err.to_errno(),
            };
        }
        user_mem::write_slice(addr, words)?;
        addr = addr.wrapping_add(size_of_val(words));
        done += words.len();
    }
    Ok(done)
}

#[inline(always)]
fn wake_word(waker: &Waker<'_, Wakee>, args: &afutex_wakev_word) -> Result<u32> {
    let (word, scope) = parse_word(args.uaddr, args.flags)?;

    waker.wake(word, scope, args.count, args.mask)
}
