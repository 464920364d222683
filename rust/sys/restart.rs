// SPDX-License-Identifier: GPL-2.0

//! System calls that wait for a relative time and are restarted.
//!
//! C header: [`include/linux/restart_block.h`](srctree/include/linux/restart_block.h).
//!
//! A system call that a tracer, the cgroup freezer, task work or a stop interrupts has to return,
//! although no handler runs and the kernel then restarts it. A restarted call must go on to the
//! deadline that it began with. The kernel has `restart_block` for that, but its function cannot be
//! one of a module: a task may call it long after the module has gone.
//!
//! Here the call returns `ERESTARTNOHAND` and [`Restarts`] remembers its deadline. A restarted call
//! is recognised by its task and by all of the task's registers: between interruption and restart
//! nothing changes them.
//!
//! # What is not recognised
//!
//! A call whose handler is pending when it is interrupted is not remembered. A handler may still
//! become pending later, while the task is stopped or frozen. The call then ends with `EINTR`, and
//! the record stays until the task's next call. If that is the very same call, with the same
//! registers, arguments and timeout, it is taken for a restart and ends at the first deadline.

use super::bindings as afutex;
use super::task;
use super::time::Deadline;
use core::mem::MaybeUninit;
use kernel::bindings;
use kernel::current;
use kernel::new_mutex;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Mutex;
use kernel::task::Task;
use kernel::time::Delta;
use kernel::transmute::AsBytes;

/// How many calls are remembered at most: less memory than a pipe takes. If more are interrupted at
/// once, those that were interrupted first wait for their full time again.
const MAX_RECORDS: usize = 128;

/// A task, which may be gone. No two tasks are the same.
#[derive(PartialEq, Eq)]
struct TaskId {
    address: usize,
    started: u64,
}

impl TaskId {
    fn current() -> Self {
        let task: &Task = current!();

        Self {
            address: task.as_ptr().addr(),
            // SAFETY: The task is valid. The field does not change but by the task itself.
            started: unsafe { (*task.as_ptr()).start_time },
        }
    }
}

/// The registers that a task entered the kernel with.
struct UserRegs(bindings::pt_regs);

impl UserRegs {
    /// Those of the current task, in a system call.
    fn current() -> Self {
        let mut regs = MaybeUninit::uninit();

        // SAFETY: There is room for them, and the helper writes all of it.
        Self(unsafe {
            afutex::afutex_get_user_regs(regs.as_mut_ptr());
            regs.assume_init()
        })
    }

    /// Whether the current task entered the kernel with the same.
    fn are_current(&self) -> bool {
        // SAFETY: They are valid for reading.
        unsafe { afutex::afutex_user_regs_equal(&self.0) }
    }
}

/// An interrupted call.
struct Record<A> {
    task: TaskId,
    regs: UserRegs,
    args: A,
    timeout: Delta,
    deadline: Deadline,
}

/// The calls that were interrupted and are to be restarted. `A` are their arguments.
#[pin_data]
pub(crate) struct Restarts<A> {
    /// How many records there are. A task sees its own.
    count: Atomic<usize>,
    /// The oldest first; at most one for each task.
    #[pin]
    records: Mutex<KVVec<Record<A>>>,
}

impl<A: AsBytes> Restarts<A> {
    /// Creates an initialiser with no calls.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            count: Atomic::new(0),
            records <- new_mutex!(KVVec::new(), "afutex_restarts"),
        })
    }

    /// Returns the deadline that the current task's call began with, if it is being restarted.
    ///
    /// To be called once for each call, in the system call itself.
    #[inline]
    pub(crate) fn resume(&self, args: &A, timeout: Delta) -> Option<Deadline> {
        if self.count.load(Relaxed) == 0 {
            return None;
        }
        self.take()
            .filter(|record| {
                record.regs.are_current()
                    && record.args.as_bytes() == args.as_bytes()
                    && record.timeout == timeout
            })
            .map(|record| record.deadline)
    }

    /// Remembers the current task's call, and returns the error that it is to end with.
    ///
    /// `ERESTARTNOHAND`, or `EINTR` if a handler is to run, the task was killed, or there is no
    /// memory.
    #[cold]
    pub(crate) fn interrupted(&self, args: A, timeout: Delta, deadline: Deadline) -> Error {
        if task::fatal_signal_pending() || task::handler_pending() {
            return EINTR;
        }
        let record = Record {
            task: TaskId::current(),
            regs: UserRegs::current(),
            args,
            timeout,
            deadline,
        };

        match self.put(record) {
            Ok(()) => ERESTARTNOHAND,
            Err(_) => EINTR,
        }
    }

    /// Takes out the current task's record.
    #[cold]
    fn take(&self) -> Option<Record<A>> {
        let task = TaskId::current();
        let mut records = self.records.lock();
        let at = records.iter().position(|record| record.task == task)?;
        let record = records.remove(at).ok();

        self.count.store(records.len(), Relaxed);
        record
    }

    /// Adds a record, in place of the oldest if there are too many; `ENOMEM`.
    fn put(&self, record: Record<A>) -> Result {
        let mut records = self.records.lock();

        if records.len() >= MAX_RECORDS {
            // Of a task that was killed, as like as not.
            let _ = records.remove(0);
        }
        records.push(record, GFP_KERNEL_ACCOUNT)?;
        self.count.store(records.len(), Relaxed);
        Ok(())
    }
}
