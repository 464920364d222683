// SPDX-License-Identifier: GPL-2.0

//! A task that sleeps on many words.

use super::bucket::Notify;
use kernel::prelude::*;
use kernel::sync::aref::ARef;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};
use kernel::sync::Arc;
use kernel::task::Task;

/// A task that sleeps on many words: the wakee of each of its waiters.
pub(crate) struct Sleeper {
    task: ARef<Task>,
    woken: Atomic<bool>,
}

impl Sleeper {
    /// Creates one for the current task.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of_current() -> Result<Arc<Self>> {
        let task: &Task = kernel::current!();

        Ok(Arc::new(
            Self {
                task: task.into(),
                woken: Atomic::new(false),
            },
            GFP_KERNEL_ACCOUNT,
        )?)
    }

    /// Whether any of the words was woken.
    pub(crate) fn is_woken(&self) -> bool {
        self.woken.load(Acquire)
    }
}

impl Notify for Arc<Sleeper> {
    /// Wakes the task, whichever word was woken.
    fn notify(&self) {
        self.woken.store(true, Release);
        self.task.wake_up();
    }
}
