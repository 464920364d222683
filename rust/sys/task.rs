// SPDX-License-Identifier: GPL-2.0

//! Putting the current task to sleep until it is woken, a signal, or a deadline.

use super::bindings as afutex;
use kernel::bindings;
use kernel::prelude::*;

/// The clocks that a deadline can be on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_REALTIME`.
    Realtime,
}

/// A moment of a clock of the machine, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    expires: i64,
    clock: Clock,
}

impl Deadline {
    /// The moment that is a relative `timespec` from now, as futex(2) reckons it.
    ///
    /// `addr` is that of a `struct __kernel_timespec` in user memory. A moment beyond the end of
    /// the clock (the year 2262) becomes that end.
    ///
    /// # Errors
    ///
    /// `EFAULT` if it cannot be read, `EINVAL` if it is negative or has too many nanoseconds.
    pub(crate) fn after_user_timespec(addr: u64) -> Result<Self> {
        let relative = read_timespec(addr)?;

        Ok(Self {
            // SAFETY: Both may be called from any context; the sum saturates.
            expires: unsafe { bindings::ktime_add_safe(bindings::ktime_get(), relative) },
            clock: Clock::Monotonic,
        })
    }

    /// Reads an absolute deadline on `clockid`; none if `addr` is 0.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another clock than `CLOCK_MONOTONIC` and `CLOCK_REALTIME`; those of
    /// [`Self::at_user_timespec`].
    pub(crate) fn from_user(addr: u64, clockid: i32) -> Result<Option<Self>> {
        let clock = match u32::try_from(clockid) {
            Ok(bindings::CLOCK_MONOTONIC) => Clock::Monotonic,
            Ok(bindings::CLOCK_REALTIME) => Clock::Realtime,
            _ => return Err(EINVAL),
        };

        match addr {
            0 => Ok(None),
            addr => Self::at_user_timespec(addr, clock).map(Some),
        }
    }

    /// The moment that an absolute `timespec` is, in the time namespace of the current task.
    ///
    /// # Errors
    ///
    /// As [`Self::after_user_timespec`].
    pub(crate) fn at_user_timespec(addr: u64, clock: Clock) -> Result<Self> {
        let absolute = read_timespec(addr)?;

        Ok(Self {
            expires: match clock {
                // SAFETY: Reads the current task's namespace.
                Clock::Monotonic => unsafe { afutex::afutex_monotonic_to_host(absolute) },
                Clock::Realtime => absolute,
            },
            clock,
        })
    }
}

/// Reads a `struct __kernel_timespec`, in nanoseconds.
fn read_timespec(addr: u64) -> Result<i64> {
    const NSEC_PER_SEC: i64 = 1_000_000_000;

    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    let mut ts = bindings::timespec64 {
        tv_sec: 0,
        tv_nsec: 0,
    };

    // SAFETY: `ts` is valid for writing, and `get_timespec64` checks the user's address.
    kernel::error::to_result(unsafe {
        bindings::get_timespec64(&mut ts, core::ptr::without_provenance::<_>(addr))
    })?;
    if ts.tv_sec < 0 || !(0..NSEC_PER_SEC).contains(&(ts.tv_nsec as i64)) {
        return Err(EINVAL);
    }
    Ok(ts
        .tv_sec
        .saturating_mul(NSEC_PER_SEC)
        .saturating_add(ts.tv_nsec as i64))
}

/// Why a sleep ended.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sleep {
    /// The condition holds.
    Done,
    /// A signal is pending.
    Interrupted,
    /// The deadline has passed.
    TimedOut,
}

/// Sleeps until `done()` holds, a signal is pending, or `deadline` passes.
///
/// The task is in state S meanwhile, and freezable. Whoever makes `done()` true must wake it
/// afterwards; `done` must not sleep or take sleeping locks. Must not be called in atomic context.
pub(crate) fn sleep_until(deadline: Option<Deadline>, done: impl Fn() -> bool) -> Sleep {
    let result = loop {
        // The full barrier in here pairs with the one in wake_up_process(): either the waker sees
        // the new state, or `done` sees what the waker did.
        //
        // SAFETY: The state is set back to running below.
        unsafe {
            afutex::afutex_set_current_state(
                bindings::TASK_INTERRUPTIBLE | bindings::TASK_FREEZABLE,
            )
        };

        if done() {
            break Sleep::Done;
        }
        if kernel::current!().signal_pending() {
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
    let clock = match clock {
        Clock::Monotonic => bindings::CLOCK_MONOTONIC,
        Clock::Realtime => bindings::CLOCK_REALTIME,
    };

    // SAFETY: `expires` is valid for the call; the rest by the safety requirements.
    let ret = unsafe {
        bindings::schedule_hrtimeout_range_clock(
            &mut expires,
            afutex::afutex_timer_slack(),
            bindings::hrtimer_mode_HRTIMER_MODE_ABS,
            clock as i32,
        )
    };
    ret == 0
}

/// Whether the current task has been killed, so that retrying anything is in vain.
pub(crate) fn fatal_signal_pending() -> bool {
    // SAFETY: Reads flags of the current task.
    unsafe { afutex::afutex_fatal_signal_pending() }
}

/// Lets another task run, if one should.
pub(crate) fn cond_resched() {
    // SAFETY: The callers hold no spinlock.
    unsafe { afutex::afutex_cond_resched() };
}

/// Whether the current task may look into other tasks (`CAP_SYS_PTRACE`).
pub(crate) fn may_ptrace() -> bool {
    // SAFETY: `capable` may be called from any task.
    unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as i32) }
}
