// SPDX-License-Identifier: GPL-2.0

//! `FUTEX_WAKE_OP`.

use super::bucket::Wake;
use super::key::Key;
use super::table::Table;
use super::word::{
    Scope,
    ANY, //
};
use crate::sys::bindings;
use crate::sys::nested_lock::Pair;
use crate::sys::task;
use crate::sys::user_word::{
    AtomicOp,
    UserWord, //
};
use kernel::prelude::*;

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

impl<W: Wake> Table<W> {
    /// Calls `f` under the locks of both words' buckets, at a moment at which no requeue moves
    /// waiters from or to either word. Returns also the next number of the one and of the other
    /// bucket at that moment.
    ///
    /// # Errors
    ///
    /// `EINTR` if the task is killed.
    fn atomically<R>(
        &self,
        key: &Key,
        key2: &Key,
        f: impl FnOnce() -> R,
    ) -> Result<(R, (u64, u64))> {
        let pair = self.lock_both_unbarred(key, key2).ok_or(EINTR)?;
        let ret = f();

        Ok(match pair {
            Pair::Same(inner) => (ret, (inner.ticket.next(), inner.ticket.next())),
            Pair::Two(first, second) => (ret, (first.ticket.next(), second.ticket.next())),
        })
    }
}

/// Changes `second` as `encoded` says, wakes up to `count` waiters on `first`, and, if `second`
/// held what `encoded` asks for, up to `count2` on `second`. Returns how many were woken.
///
/// The waiters that are woken were queued when the word was changed.
///
/// # Errors
///
/// `ENOSYS` for an unknown operation or comparison, `EFAULT` if `second` cannot be written, `EINTR`
/// if the task is killed; those of [`Key::with`].
pub(crate) fn wake_op<W: Wake>(
    table: &Table<W>,
    first: UserWord,
    second: UserWord,
    scope: Scope,
    count: u32,
    count2: u32,
    encoded: u32,
) -> Result<u32> {
    let op = WakeOp::decode(encoded);

    loop {
        let tried = Key::with(first, scope, |key| {
            Key::with(second, scope, |key2| {
                let (old, before) = table.atomically(key, key2, || second.atomic_op(op.op))?;
                let also = op.holds(old?)?;

                let mut woken = table.wake_before(key, before.0, count, ANY);
                if also {
                    woken = woken.saturating_add(table.wake_before(key2, before.1, count2, ANY));
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
