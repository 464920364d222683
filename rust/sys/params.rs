// SPDX-License-Identifier: GPL-2.0

//! The module's parameters, which `rust/helpers/params.c` declares.

use super::bindings;

/// Fills in what was not given at load time.
pub(crate) fn init() {
    // SAFETY: Called before the parameters are used.
    unsafe { bindings::afutex_params_init() };
}

/// The number of buckets that was asked for: a power of two, or 0.
pub(crate) fn buckets() -> usize {
    // SAFETY: It may change at any time, as a whole.
    unsafe { (&raw const bindings::afutex_buckets).read_volatile() }
}

/// Notes how many buckets there are, to be read in sysfs.
pub(crate) fn note_buckets(buckets: usize) {
    // SAFETY: It may be read at any time, as a whole.
    unsafe { (&raw mut bindings::afutex_buckets).write_volatile(buckets) };
}

/// How many watches a user may have at this moment.
#[inline]
pub(crate) fn max_user_watches() -> usize {
    // SAFETY: It may change at any time, as a whole.
    unsafe { (&raw const bindings::afutex_max_user_watches).read_volatile() }
}

/// Whether descriptors may wait for wakes of futex(2).
pub(crate) fn native() -> bool {
    // SAFETY: It does not change after the module was loaded.
    unsafe { bindings::afutex_native }
}
