// SPDX-License-Identifier: GPL-2.0

//! Counters in `/sys/kernel/debug/afutex`: all 0 when nobody waits.

use super::table::Census;
use super::Futexes;
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

type Counter = File<Arc<Futexes>>;

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
    /// Creates an initialiser for the files of `futexes`.
    pub(crate) fn new(futexes: Arc<Futexes>) -> impl PinInit<Self> {
        let dir = Dir::new(c"afutex");

        pin_init!(Self {
            queued <- dir.read_callback_file(c"queued", futexes.clone(), &|futexes, out| {
                write(out, census(futexes).entries)
            }),
            keys <- dir.read_callback_file(c"keys", futexes.clone(), &|futexes, out| {
                write(out, census(futexes).keys)
            }),
            waiters <- dir.read_callback_file(c"waiters", futexes.clone(), &|futexes, out| {
                write(out, census(futexes).waiters)
            }),
            shared <- dir.read_callback_file(c"shared", futexes.clone(), &|futexes, out| {
                write(out, census(futexes).shared)
            }),
            pinned <- dir.read_callback_file(c"pinned", futexes.clone(), &|_, out| {
                write(out, PINNED.load(Relaxed))
            }),
            fds <- dir.read_callback_file(c"fds", futexes.clone(), &|_, out| {
                write(out, FDS.load(Relaxed))
            }),
            _dir: dir.clone(),
        })
    }
}

fn census(futexes: &Arc<Futexes>) -> Census {
    futexes.table.census()
}

fn write(out: &mut fmt::Formatter<'_>, value: impl fmt::Display) -> fmt::Result {
    fmt::Display::fmt(&value, out)?;
    out.write_str("\n")
}
