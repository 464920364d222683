// SPDX-License-Identifier: GPL-2.0

//! Counters in `/sys/kernel/debug/afutex`: all 0 when there are no waiters.

use super::count::{
    FDS,
    PINNED, //
};
use super::domain::Machine;
use super::wakee::Wakee;
use crate::sys::futex_hook;
use kernel::debugfs::{
    Dir,
    File, //
};
use kernel::fmt;
use kernel::prelude::*;
use kernel::sync::atomic::Relaxed;
use kernel::sync::Arc;

type Counter = File<Arc<Machine<Wakee>>>;

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
    #[pin]
    native_in_place: Counter,
    #[pin]
    native_hooked: Counter,
    #[pin]
    native_handed_on: Counter,
    #[pin]
    native_unknown: Counter,
}

impl Stats {
    /// Creates an initialiser for the files of `machine`.
    pub(crate) fn new(machine: Arc<Machine<Wakee>>) -> impl PinInit<Self> {
        let dir = Dir::new(c"afutex");

        pin_init!(Self {
            queued <- dir.read_callback_file(c"queued", machine.clone(), &|machine, out| {
                write(out, machine.totals().queued)
            }),
            keys <- dir.read_callback_file(c"keys", machine.clone(), &|machine, out| {
                write(out, machine.totals().keys)
            }),
            waiters <- dir.read_callback_file(c"waiters", machine.clone(), &|machine, out| {
                write(out, machine.totals().waiters)
            }),
            shared <- dir.read_callback_file(c"shared", machine.clone(), &|machine, out| {
                write(out, machine.totals().by_offset)
            }),
            pinned <- dir.read_callback_file(c"pinned", machine.clone(), &|_, out| {
                write(out, PINNED.load(Relaxed))
            }),
            fds <- dir.read_callback_file(c"fds", machine.clone(), &|_, out| {
                write(out, FDS.load(Relaxed))
            }),
            native_in_place <- dir.read_callback_file(
                c"native_in_place",
                machine.clone(),
                &|_, out| write(out, futex_hook::stats().in_place),
            ),
            native_hooked <- dir.read_callback_file(
                c"native_hooked",
                machine.clone(),
                &|_, out| write(out, futex_hook::stats().hooked),
            ),
            native_handed_on <- dir.read_callback_file(
                c"native_handed_on",
                machine.clone(),
                &|_, out| write(out, futex_hook::stats().handed_on),
            ),
            native_unknown <- dir.read_callback_file(
                c"native_unknown",
                machine.clone(),
                &|_, out| write(out, futex_hook::stats().unknown),
            ),
            _dir: dir.clone(),
        })
    }
}

fn write(out: &mut fmt::Formatter<'_>, value: impl fmt::Display) -> fmt::Result {
    fmt::Display::fmt(&value, out)?;
    out.write_str("\n")
}
