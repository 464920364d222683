// SPDX-License-Identifier: GPL-2.0

//! Wakes of futex(2): watches that fire on them.
//!
//! Such a watch waits in a table of its own, so that afutex's own wakes do not meet it. It is an
//! observer: futex(2) does not count it, it takes no wake from a waiter of futex(2), each call that
//! wakes its word counts one wake in it, whatever number the call is to wake, and it has none to
//! pass on when it is closed. How the wakes are seen, and why none is missed, says
//! `rust/futex_hook.c`.

use super::domain::Domain;
use super::key::Key;
use super::wakee::Wakee;
use crate::sys::futex_hook::{
    Observer,
    Offsets,
    SeenWake, //
};

impl Observer for Domain<Wakee> {
    #[inline]
    fn woken(&self, wake: &SeenWake<'_>) {
        Key::of_wake(wake, |key| self.table.wake_all(key, wake.fenced));
    }

    fn any_woken(&self, offsets: Option<&Offsets>) {
        self.table.wake_where(|key| match offsets {
            None => true,
            Some(offsets) => !key.is_private() && offsets.contain(key.page_offset()),
        });
    }
}
