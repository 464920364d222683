// SPDX-License-Identifier: GPL-2.0

//! Putting the current task to sleep until it is woken, interrupted, or a deadline passes.
//!
//! C header: [`include/linux/sched.h`](srctree/include/linux/sched.h), `set_current_state()`.

use super::bindings as afutex;
use super::time::Deadline;
use kernel::bindings;
use kernel::current;
use kernel::ffi::c_int;
use kernel::task::{
    TASK_FREEZABLE,
    TASK_INTERRUPTIBLE, //
};

/// The state of a task that sleeps here: it can be interrupted and frozen.
pub(super) const SLEEPING: c_int = TASK_INTERRUPTIBLE | TASK_FREEZABLE;

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// The condition holds.
    Done,
    /// The task has to return to user space: a signal, or what uses the same way.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// Sleeps until `done()` holds, a signal is pending, or `deadline` passes.
///
/// The task sleeps as [`SLEEPING`] says. Whoever makes `done()` true must wake it
/// afterwards; `done` must not sleep or take sleeping locks. Must not be called in atomic context.
pub(crate) fn sleep_until(deadline: Option<Deadline>, done: impl Fn() -> bool) -> Sleep {
    let result = loop {
        // The full barrier in here pairs with the one in wake_up_process(): either the waker sees
        // the new state, or `done` sees what the waker did.
        //
        // SAFETY: The state is set back to running below.
        unsafe { afutex::afutex_set_current_state(SLEEPING as u32) };

        if done() {
            break Sleep::Done;
        }
        if current!().signal_pending() {
            break Sleep::Interrupted;
        }

        // SAFETY: We may sleep, by the contract of this function.
        if unsafe { schedule_until(deadline) } {
            break if done() { Sleep::Done } else { Sleep::TimedOut };
        }
    };

    // SAFETY: A running task is running.
    unsafe { afutex::afutex_set_running() };
    result
}

/// Gives up the CPU until the task is woken or `deadline` passes; returns whether it has passed.
///
/// # Safety
///
/// The task must be allowed to sleep, and must have set its state before it looked at what it waits
/// for.
pub(super) unsafe fn schedule_until(deadline: Option<Deadline>) -> bool {
    let Some(Deadline { mut expires, clock }) = deadline else {
        // SAFETY: By the safety requirements.
        unsafe { bindings::schedule() };
        return false;
    };
    // SAFETY: `expires` is valid for the call; the rest by the safety requirements.
    let ret = unsafe {
        bindings::schedule_hrtimeout_range_clock(
            &mut expires,
            afutex::afutex_timer_slack(),
            bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            clock.id(),
        )
    };
    ret == 0
}
