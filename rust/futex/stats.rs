// SPDX-License-Identifier: GPL-2.0

//! Counters in `/sys/kernel/debug/afutex`: all 0 when nobody waits.

use super::table::Totals;
use super::Domain;
use kernel::debugfs::{
    Dir,
    File, //
};
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::Arc;

/// Pages pinned.
pub(crate) static PINNED: Atomic<i64> = Atomic::new(0);
/// File descriptors, but for `/dev/afutex` itself.
pub(crate) static FDS: Atomic<i64> = Atomic::new(0);

/// One more of something, for as long as it exists.
pub(crate) struct Counted(&'static Atomic<i64>);

impl Counted {
    /// Counts one up.
    pub(crate) fn new(counter: &'static Atomic<i64>) -> Self {
        counter.add(1, Relaxed);
        Self(counter)
    }
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.0.add(-1, Relaxed);
    }
}

type Counter = File<Arc<Domain>>;

/// The files.
#[pin_data]
pub(crate) struct Stats {
    _dir: Dir,
    #[pin]
    queued: Counter,
    #[pin]
    keys: Counter,
    #[pin]
    waiters: Counter,
    #[pin]
    shared: Counter,
    #[pin]
    pinned: Counter,
    #[pin]
    fds: Counter,
}

impl Stats {
    /// Creates an initialiser for the files of `domain`.
    pub(crate) fn new(domain: Arc<Domain>) -> impl PinInit<Self> {
        let dir = Dir::new(c"afutex");

        pin_init!(Self {
            queued <- dir.read_callback_file(c"queued", domain.clone(), &|domain, out| {
                write(out, totals(domain).entries)
            }),
            keys <- dir.read_callback_file(c"keys", domain.clone(), &|domain, out| {
                write(out, totals(domain).keys)
            }),
            waiters <- dir.read_callback_file(c"waiters", domain.clone(), &|domain, out| {
                write(out, totals(domain).waiters)
            }),
            shared <- dir.read_callback_file(c"shared", domain.clone(), &|domain, out| {
                write(out, totals(domain).shared)
            }),
            pinned <- dir.read_callback_file(c"pinned", domain.clone(), &|_, out| {
                write(out, PINNED.load(Relaxed))
            }),
            fds <- dir.read_callback_file(c"fds", domain.clone(), &|_, out| {
                write(out, FDS.load(Relaxed))
            }),
            _dir: dir.clone(),
        })
    }
}

fn totals(domain: &Arc<Domain>) -> Totals {
    domain.table.totals()
}

fn write(out: &mut fmt::Formatter<'_>, value: impl fmt::Display) -> fmt::Result {
    fmt::Display::fmt(&value, out)?;
    out.write_str("\n")
}
