// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAKE`, `FUTEX_WAKE_BITSET` and `FUTEX_WAKE_OP`.

use super::entry::Waiter;
use super::key::{
    CurrentMm,
    Key,
    Scope, //
};
use super::set::Set;
use super::table::Table;
use super::watch::Watch;
use super::Domain;
use crate::sys::bindings;
use crate::sys::pseudo_file::Pollable;
use crate::sys::task;
use crate::sys::user_word::{
    AtomicOp,
    UserWord, //
};
use kernel::prelude::*;
use kernel::sync::Arc;

/// Matches every entry: `FUTEX_BITSET_MATCH_ANY`.
pub(crate) const ANY: u32 = bindings::FUTEX_BITSET_MATCH_ANY;

/// How many entries are woken in one go: bounds the time a lock is held, and the stack.
pub(super) const CAPACITY: usize = 16;

/// How many are woken under one hold of a lock at most, though nobody need be told of them.
const BURST: u32 = 64;

/// Somebody who is to be told of a wake.
///
/// Dropped after the lock, with all that is in it.
pub(super) enum Notice {
    /// Whoever had this waiter.
    Waiter(Waiter),
    /// A watch, which keeps its waiter.
    Watch(Arc<Pollable<Watch>>),
    /// A set, whose members keep theirs.
    Set(Arc<Pollable<Set>>),
}

impl Notice {
    /// Tells him. No lock may be held.
    pub(super) fn notify(&self) {
        match self {
            Notice::Waiter(waiter) => waiter.wakee.notify(),
            Notice::Watch(watch) => watch.notify_readable(),
            Notice::Set(set) => set.notify_readable(),
        }
    }
}

/// Those that a waker has woken and not told yet.
///
/// Filled under a bucket's lock, told and dropped after it.
pub(super) struct WakeQ<'a> {
    /// On the caller's stack: too large to be moved about.
    few: &'a mut [Option<Notice>; CAPACITY],
    len: usize,
    /// Room for more, if the caller made it before the lock was taken.
    many: Option<KVVec<Notice>>,
    woken: u32,
    left: i32,
}

impl<'a> WakeQ<'a> {
    /// Makes an empty wake_q, of room that is empty too.
    pub(super) fn new(few: &'a mut [Option<Notice>; CAPACITY]) -> Self {
        Self {
            few,
            len: 0,
            many: None,
            woken: 0,
            left: 0,
        }
    }

    /// Whether there is room for one more.
    #[inline]
    pub(super) fn has_room(&self) -> bool {
        match &self.many {
            None => self.len < CAPACITY && self.room() != 0,
            Some(many) => self.len < CAPACITY || many.len() < many.capacity(),
        }
    }

    /// How many more may be woken in one go, if nobody need be told of them.
    #[inline]
    pub(super) fn room(&self) -> u32 {
        match &self.many {
            None => BURST.saturating_sub(self.woken),
            Some(_) => BURST,
        }
    }

    /// How many there is room for in all.
    pub(super) fn capacity(&self) -> usize {
        CAPACITY.saturating_add(self.many.as_ref().map_or(0, KVVec::capacity))
    }

    /// Makes room for `count`, all to be woken under one hold of the lock. May sleep.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(super) fn reserve(&mut self, count: usize) -> Result {
        if count > CAPACITY {
            self.many = Some(KVVec::with_capacity(count, GFP_KERNEL_ACCOUNT)?);
        }
        Ok(())
    }

    /// How many were woken.
    pub(super) fn woken(&self) -> u32 {
        self.woken
    }

    /// How many of them left the table.
    pub(super) fn left(&self) -> i32 {
        self.left
    }

    /// Counts those who were woken, and those of them who have left the table.
    #[inline]
    pub(super) fn count(&mut self, woken: u32, left: i32) {
        self.woken = self.woken.wrapping_add(woken);
        self.left = self.left.wrapping_add(left);
    }

    /// Adds somebody to be told. There must be room.
    #[inline]
    pub(super) fn push(&mut self, woken: Notice) {
        match (self.few.get_mut(self.len), &mut self.many) {
            (Some(slot), _) => {
                *slot = Some(woken);
                self.len = self.len.wrapping_add(1);
            }
            (None, Some(many)) => drop(many.push_within_capacity(woken)),
            (None, None) => (),
        }
    }

    fn last(&self) -> Option<&Notice> {
        match &self.many {
            Some(many) if !many.is_empty() => many.last(),
            _ => self.few.get(self.len.wrapping_sub(1))?.as_ref(),
        }
    }

    /// Adds a set, to be told once of all its members that are woken one after the other.
    #[inline]
    pub(super) fn push_set(&mut self, set: &Arc<Pollable<Set>>) {
        if !matches!(self.last(), Some(Notice::Set(last)) if Arc::ptr_eq(last, set)) {
            self.push(Notice::Set(set.clone()));
        }
    }

    /// The set that was added last, if a set was.
    #[inline]
    pub(super) fn last_set(&self) -> Option<&Pollable<Set>> {
        match self.last() {
            Some(Notice::Set(set)) => Some(set),
            _ => None,
        }
    }

    /// Tells them, in order, drops what was taken off, and is empty again. No lock may be held.
    pub(super) fn notify(&mut self) {
        for slot in self.few.iter_mut().take(self.len) {
            if let Some(woken) = slot.take() {
                woken.notify();
            }
        }
        if let Some(many) = &mut self.many {
            for woken in many.drain_all() {
                woken.notify();
            }
        }
        self.len = 0;
        self.woken = 0;
        self.left = 0;
    }
}

/// Somebody who wakes one word or many.
///
/// What he stored before he became one is seen by those whom he does not wake.
pub(crate) struct Waker<'a> {
    table: &'a Table,
    mm: CurrentMm,
}

impl<'a> Waker<'a> {
    /// Makes the current task one. A full barrier.
    #[inline]
    pub(crate) fn new(domain: &'a Domain) -> Self {
        Self {
            mm: CurrentMm::get_after_fence(),
            table: &domain.table,
        }
    }

    /// Wakes up to `count` of those who wait on `word` for a bit of `mask`, and returns how many.
    ///
    /// # Errors
    ///
    /// `EINVAL` if `mask` is 0; those of [`Key::with`], if anybody waits on a shared word at that
    /// offset of a page: else no page is looked up.
    #[inline(always)]
    pub(crate) fn wake(&self, word: UserWord, scope: Scope, count: u32, mask: u32) -> Result<u32> {
        if mask == 0 {
            return Err(EINVAL);
        }
        match scope {
            Scope::Private => {
                Ok(self
                    .table
                    .wake_after_fence(&Key::private(self.mm, word), count, mask))
            }
            Scope::Shared if self.table.is_unshared(word) => Ok(0),
            Scope::Shared => self.wake_shared(word, count, mask),
        }
    }

    /// As `wake`, by the page.
    #[inline(never)]
    fn wake_shared(&self, word: UserWord, count: u32, mask: u32) -> Result<u32> {
        Key::with_shared(self.mm, word, |id| {
            self.table.wake_after_fence(id, count, mask)
        })
    }

    /// As `wake`, of one, whatever he waits for: for who does nothing else.
    #[inline(always)]
    pub(crate) fn wake_one(&self, word: UserWord, scope: Scope) -> Result<u32> {
        match scope {
            Scope::Private => Ok(self
                .table
                .wake_one_after_fence(&Key::private(self.mm, word))),
            Scope::Shared if self.table.is_unshared(word) => Ok(0),
            Scope::Shared => {
                Key::with_shared(self.mm, word, |id| self.table.wake_one_after_fence(id))
            }
        }
    }
}

/// As [`Waker::wake`], of one word.
#[inline]
pub(crate) fn wake(
    domain: &Domain,
    word: UserWord,
    scope: Scope,
    count: u32,
    mask: u32,
) -> Result<u32> {
    Waker::new(domain).wake(word, scope, count, mask)
}

/// What `FUTEX_WAKE_OP` does to the second word, and asks of what it held: `val3` of futex(2).
#[derive(Clone, Copy)]
struct WakeOp {
    op: AtomicOp,
    compare: u32,
    operand: i32,
}

impl WakeOp {
    /// Takes the encoding of `FUTEX_OP()` in `<linux/futex.h>` apart.
    fn decode(encoded: u32) -> Self {
        // Fields of 12 bits, with a sign.
        let signed = |shift: u32| (encoded << shift) as i32 >> 20;
        let mut arg = signed(8);

        if encoded >> 28 & bindings::FUTEX_OP_OPARG_SHIFT != 0 {
            arg = 1i32.wrapping_shl(arg as u32);
        }
        Self {
            op: AtomicOp {
                op: encoded >> 28 & 7,
                arg,
            },
            compare: encoded >> 24 & 15,
            operand: signed(20),
        }
    }

    /// Whether `old` is what is asked for.
    ///
    /// # Errors
    ///
    /// `ENOSYS` for an unknown comparison.
    fn holds(self, old: i32) -> Result<bool> {
        Ok(match self.compare {
            bindings::FUTEX_OP_CMP_EQ => old == self.operand,
            bindings::FUTEX_OP_CMP_NE => old != self.operand,
            bindings::FUTEX_OP_CMP_LT => old < self.operand,
            bindings::FUTEX_OP_CMP_LE => old <= self.operand,
            bindings::FUTEX_OP_CMP_GT => old > self.operand,
            bindings::FUTEX_OP_CMP_GE => old >= self.operand,
            _ => return Err(ENOSYS),
        })
    }
}

/// Changes `second` as `encoded` says, wakes up to `count` on `first`, and, if `second` held what
/// `encoded` asks for, up to `count2` on `second`. Returns how many were woken.
///
/// The change, and the drawing of the line between those who waited before and those who come
/// after, are one step.
///
/// # Errors
///
/// `ENOSYS` for an unknown operation or comparison, `EFAULT` if `second` cannot be written, `EINTR`
/// when killed meanwhile; those of [`Key::with`].
pub(crate) fn wake_op(
    domain: &Domain,
    first: UserWord,
    second: UserWord,
    scope: Scope,
    count: u32,
    count2: u32,
    encoded: u32,
) -> Result<u32> {
    let table = &domain.table;
    let op = WakeOp::decode(encoded);

    loop {
        let tried = Key::with(first, scope, |id| {
            Key::with(second, scope, |id2| {
                let (old, before) = table.atomically(id, id2, || second.atomic_op(op.op));
                let also = op.holds(old?)?;

                let mut woken = table.wake_before(id, before.0, count, ANY);
                if also {
                    woken = woken.saturating_add(table.wake_before(id2, before.1, count2, ANY));
                }
                Ok(woken)
            })
        })??;

        match tried {
            Err(err) if err == EFAULT => second.fault_in_writeable()?,
            done => return done,
        }
        if task::fatal_signal_pending() {
            return Err(EINTR);
        }
    }
}

#[kunit_tests(afutex_wake_op)]
mod tests {
    use super::*;

    /// `FUTEX_OP(op, oparg, cmp, cmparg)`.
    fn encode(op: u32, arg: i32, compare: u32, operand: i32) -> u32 {
        op << 28 | compare << 24 | (arg as u32 & 0xfff) << 12 | operand as u32 & 0xfff
    }

    #[test]
    fn fields_have_signs() {
        let op = WakeOp::decode(encode(1, -5, 2, -2048));

        assert_eq!(op.op.op, 1);
        assert_eq!(op.op.arg, -5);
        assert_eq!(op.compare, 2);
        assert_eq!(op.operand, -2048);
        assert_eq!(WakeOp::decode(encode(0, 2047, 0, 2047)).op.arg, 2047);
    }

    /// As in futex(2), a shift beyond the word is taken modulo 32.
    #[test]
    fn argument_may_be_a_shift() {
        assert_eq!(WakeOp::decode(encode(8 | 2, 5, 0, 0)).op.arg, 32);
        assert_eq!(WakeOp::decode(encode(8 | 2, 5, 0, 0)).op.op, 2);
        assert_eq!(WakeOp::decode(encode(8, 33, 0, 0)).op.arg, 2);
        assert_eq!(WakeOp::decode(encode(8, 31, 0, 0)).op.arg, i32::MIN);
    }

    #[test]
    fn comparisons() -> Result {
        for (compare, less, equal, greater) in [
            (bindings::FUTEX_OP_CMP_EQ, false, true, false),
            (bindings::FUTEX_OP_CMP_NE, true, false, true),
            (bindings::FUTEX_OP_CMP_LT, true, false, false),
            (bindings::FUTEX_OP_CMP_LE, true, true, false),
            (bindings::FUTEX_OP_CMP_GT, false, false, true),
            (bindings::FUTEX_OP_CMP_GE, false, true, true),
        ] {
            let op = WakeOp::decode(encode(0, 0, compare, -3));

            assert_eq!(op.holds(-4)?, less);
            assert_eq!(op.holds(-3)?, equal);
            assert_eq!(op.holds(-2)?, greater);
        }
        assert!(WakeOp::decode(encode(0, 0, 6, 0)).holds(0).is_err());
        Ok(())
    }
}
