// SPDX-License-Identifier: GPL-2.0

//! Waiting for a requeue that moves very many waiters.
//!
//! A requeue that cannot do all under one hold of its locks puts a [`Mark::Barrier`] first in the
//! queues of both words until it is done. A task that meets the barrier waits here. It waits for
//! any requeue to end, since they are rare, and then looks again.
//!
//! [`Mark::Barrier`]: super::bucket::Mark::Barrier

use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    CondVar,
    Mutex, //
};
use kernel::{
    new_condvar,
    new_mutex, //
};

/// The number of requeues with barriers that have ended.
#[pin_data]
pub(crate) struct Barriers {
    ended: Atomic<u64>,
    #[pin]
    lock: Mutex<()>,
    #[pin]
    changed: CondVar,
}

/// A moment: how many had ended.
pub(crate) struct Seen(u64);

impl Barriers {
    /// Creates an initialiser.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            ended: Atomic::new(0),
            lock <- new_mutex!((), "afutex_barriers"),
            changed <- new_condvar!("afutex_barriers"),
        })
    }

    /// The moment. To be taken under the lock of the bucket in which a barrier is.
    pub(crate) fn seen(&self) -> Seen {
        Seen(self.ended.load(Relaxed))
    }

    /// Waits until a requeue ends that had not at the moment `seen`. No lock may be held.
    ///
    /// The requeue is in the kernel and waits for nothing that a user can delay.
    pub(crate) fn wait(&self, seen: Seen) {
        let mut guard = self.lock.lock();

        while self.ended.load(Relaxed) == seen.0 {
            self.changed.wait(&mut guard);
        }
    }

    /// Notes that a requeue has ended. To be called after its barriers were taken away.
    pub(crate) fn end(&self) {
        let guard = self.lock.lock();

        self.ended.fetch_add(1, Relaxed);
        self.changed.notify_all();
        drop(guard);
    }
}
