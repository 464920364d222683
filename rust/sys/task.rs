// SPDX-License-Identifier: GPL-2.0

//! What is asked of the current task: its signals and its rights.
//!
//! C headers: [`include/linux/sched/signal.h`](srctree/include/linux/sched/signal.h),
//! [`include/linux/capability.h`](srctree/include/linux/capability.h).

use super::bindings as afutex;
use kernel::bindings;

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

/// Whether a signal is pending that the current task has a handler for.
pub(crate) fn handler_pending() -> bool {
    // SAFETY: Looks at the signals of the current task, under their lock.
    unsafe { afutex::afutex_handler_pending() }
}

/// Whether the current task may look into other tasks (`CAP_SYS_PTRACE`).
pub(crate) fn may_ptrace() -> bool {
    // SAFETY: `capable` may be called from any task.
    unsafe { bindings::capable(bindings::CAP_SYS_PTRACE as i32) }
}
