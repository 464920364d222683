// SPDX-License-Identifier: GPL-2.0

//! Timeouts and deadlines that users give.
//!
//! C header: [`include/linux/ktime.h`](srctree/include/linux/ktime.h).
//!
//! [`kernel::time::Instant`] has its clock in its type, and no way to be made from a number: it
//! cannot be a deadline on a clock that a user chooses.

use super::bindings as afutex;
use kernel::bindings;
use kernel::error::to_result;
use kernel::prelude::*;
use kernel::time::{
    ClockSource,
    Delta,
    Monotonic,
    RealTime,
    NSEC_PER_SEC, //
};

/// The clocks that a deadline can be on.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Clock {
    /// `CLOCK_MONOTONIC`.
    Monotonic,
    /// `CLOCK_REALTIME`.
    Realtime,
}

impl Clock {
    /// The kernel's number of the clock.
    pub(super) fn id(self) -> bindings::clockid_t {
        match self {
            Clock::Monotonic => Monotonic::ID,
            Clock::Realtime => RealTime::ID,
        }
    }
}

/// A moment of a clock of the machine, in nanoseconds.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) struct Deadline {
    pub(super) expires: bindings::ktime_t,
    pub(super) clock: Clock,
}

impl Deadline {
    /// Returns the moment that is `timeout` from now, by `CLOCK_MONOTONIC`.
    ///
    /// A moment beyond the end of the clock (the year 2262) becomes that end.
    pub(crate) fn after(timeout: Delta) -> Self {
        Self {
            // SAFETY: May be called from any context; the sum saturates.
            expires: unsafe {
                bindings::ktime_add_safe(Monotonic::ktime_get(), timeout.as_nanos())
            },
            clock: Clock::Monotonic,
        }
    }

    /// Reads an absolute deadline on `clockid`; none if `addr` is 0.
    ///
    /// # Errors
    ///
    /// `EINVAL` for another clock than `CLOCK_MONOTONIC` and `CLOCK_REALTIME`; those of
    /// [`Self::at_user_timespec`].
    pub(crate) fn from_user(addr: u64, clockid: i32) -> Result<Option<Self>> {
        let clock = match clockid {
            Monotonic::ID => Clock::Monotonic,
            RealTime::ID => Clock::Realtime,
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
    /// Those of [`read_timespec`].
    pub(crate) fn at_user_timespec(addr: u64, clock: Clock) -> Result<Self> {
        let absolute = read_timespec(addr)?.as_nanos();

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

/// Reads a `struct __kernel_timespec` in user memory. What is too long becomes the longest.
///
/// # Errors
///
/// `EFAULT` if it cannot be read, `EINVAL` if it is negative or has too many nanoseconds.
pub(crate) fn read_timespec(addr: u64) -> Result<Delta> {
    let addr = usize::try_from(addr).map_err(|_| EFAULT)?;
    let mut ts = bindings::timespec64 {
        tv_sec: 0,
        tv_nsec: 0,
    };

    // SAFETY: `ts` is valid for writing, and `get_timespec64` checks the user's address.
    to_result(unsafe {
        bindings::get_timespec64(&mut ts, core::ptr::without_provenance::<_>(addr))
    })?;
    if ts.tv_sec < 0 || !(0..NSEC_PER_SEC).contains(&(ts.tv_nsec as i64)) {
        return Err(EINVAL);
    }
    Ok(Delta::from_nanos(
        ts.tv_sec
            .saturating_mul(NSEC_PER_SEC)
            .saturating_add(ts.tv_nsec as i64),
    ))
}
