// SPDX-License-Identifier: GPL-2.0

//! `AFUTEX_IOC_CALL`: futex(2), as a structure.

use super::domain::{
    Domain,
    FutexFs, //
};
use super::quota::Quotas;
use super::requeue::Counts;
use super::wait::Timeout;
use super::wakee::Wakee;
use super::word::{
    Scope,
    ANY, //
};
use super::{
    open,
    requeue,
    wait,
    wake,
    wake_op, //
};
use crate::sys::bindings::{
    self,
    afutex_call, //
};
use crate::sys::pseudo_fs::Mount;
use crate::sys::restart::Restarts;
use crate::sys::time::{
    read_timespec,
    Clock,
    Deadline, //
};
use crate::sys::user_word::UserWord;
use kernel::prelude::*;
use kernel::sync::Arc;

/// The commands that [`call`] carries out.
pub(crate) const COMMANDS: [u32; 8] = [
    bindings::FUTEX_WAIT,
    bindings::FUTEX_WAKE,
    bindings::FUTEX_FD,
    bindings::FUTEX_REQUEUE,
    bindings::FUTEX_CMP_REQUEUE,
    bindings::FUTEX_WAKE_OP,
    bindings::FUTEX_WAIT_BITSET,
    bindings::FUTEX_WAKE_BITSET,
];

/// A count of futex(2) for wakes: an `int`, and none means one.
fn at_least_one(count: u32) -> u32 {
    (count as i32).max(1) as u32
}

/// A count of futex(2) for requeues: an `int` that may not be negative.
fn not_negative(count: u32) -> Result<u32> {
    if (count as i32) < 0 {
        Err(EINVAL)
    } else {
        Ok(count)
    }
}

/// Carries out a command of futex(2).
///
/// # Errors
///
/// `EINVAL` if the padding is not 0, `ENOSYS` for a command or a flag that is not known or not for
/// that command; those of the operation.
pub(crate) fn call(
    domain: &Arc<Domain<Wakee>>,
    mount: &Mount<FutexFs>,
    quotas: &Quotas,
    restarts: &Restarts<afutex_call>,
    call: afutex_call,
) -> Result<isize> {
    let table = &domain.table;

    if call.pad != 0 {
        return Err(EINVAL);
    }

    let command = call.op & bindings::AFUTEX_CMD_MASK;
    let flags = call.op & !bindings::AFUTEX_CMD_MASK;
    let realtime = flags & bindings::FUTEX_CLOCK_REALTIME != 0;
    let scope = if flags & bindings::FUTEX_PRIVATE_FLAG != 0 {
        Scope::Private
    } else {
        Scope::Shared
    };

    // futex(2) reads the timeout before it looks at anything else.
    let mut relative = None;
    let timeout = match (command, call.timeout) {
        (bindings::FUTEX_WAIT, 1..) => {
            let time = read_timespec(call.timeout)?;
            let deadline = restarts
                .resume(&call, time)
                .unwrap_or_else(|| Deadline::after(time));

            relative = Some((time, deadline));
            Timeout::Relative(deadline)
        }
        (bindings::FUTEX_WAIT_BITSET, 1..) => {
            let clock = if realtime {
                Clock::Realtime
            } else {
                Clock::Monotonic
            };
            Timeout::Absolute(Deadline::at_user_timespec(call.timeout, clock)?)
        }
        _ => Timeout::None,
    };

    if flags & !(bindings::FUTEX_PRIVATE_FLAG | bindings::FUTEX_CLOCK_REALTIME) != 0
        || realtime && command != bindings::FUTEX_WAIT_BITSET
        || !COMMANDS.contains(&command)
    {
        return Err(ENOSYS);
    }

    let word = || UserWord::new(call.uaddr);
    let word2 = || UserWord::new(call.uaddr2);
    // Where there is no timeout its place is taken by a second count.
    let val2 = call.timeout as u32;
    match command {
        bindings::FUTEX_WAIT => {
            match wait::wait(table, word()?, scope, call.val.into(), ANY, timeout) {
                Ok(()) => Ok(0),
                Err(ERESTART_RESTARTBLOCK) => Err(relative.map_or(EINTR, |(time, deadline)| {
                    restarts.interrupted(call, time, deadline)
                })),
                Err(err) => Err(err),
            }
        }
        bindings::FUTEX_WAIT_BITSET => {
            wait::wait(table, word()?, scope, call.val.into(), call.val3, timeout).map(|()| 0)
        }
        bindings::FUTEX_WAKE => {
            wake::wake(table, word()?, scope, at_least_one(call.val), ANY).map(|n| n as isize)
        }
        bindings::FUTEX_WAKE_BITSET => {
            wake::wake(table, word()?, scope, at_least_one(call.val), call.val3).map(|n| n as isize)
        }
        bindings::FUTEX_FD => {
            // Signals have small numbers.
            let native = call.val & bindings::AFUTEX_NATIVE != 0;
            let signal = call.val & !bindings::AFUTEX_NATIVE;

            open::futex_fd(domain, mount, quotas, word()?, scope, signal, native)
                .map(|fd| fd as isize)
        }
        bindings::FUTEX_REQUEUE | bindings::FUTEX_CMP_REQUEUE => {
            let counts = Counts {
                wake: not_negative(call.val)?,
                requeue: not_negative(val2)?,
            };
            let expected = (command == bindings::FUTEX_CMP_REQUEUE).then_some(call.val3.into());

            requeue::requeue(table, (word()?, scope), (word2()?, scope), counts, expected)
                .map(|n| n as isize)
        }
        bindings::FUTEX_WAKE_OP => wake_op::wake_op(
            table,
            word()?,
            word2()?,
            scope,
            at_least_one(call.val),
            at_least_one(val2),
            call.val3,
        )
        .map(|n| n as isize),
        _ => Err(ENOSYS),
    }
}
