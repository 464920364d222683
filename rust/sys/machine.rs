// SPDX-License-Identifier: GPL-2.0

//! What the machine has: CPUs, memory, random numbers.

use super::bindings as afutex;
use kernel::bindings;

/// The number of CPUs that this machine may ever have.
pub(crate) fn possible_cpus() -> usize {
    // SAFETY: Reads a mask that does not change after boot.
    unsafe { afutex::afutex_num_possible_cpus() as usize }
}

/// 64 random bits.
pub(crate) fn random_u64() -> u64 {
    // SAFETY: May be called from any context.
    unsafe { bindings::get_random_u64() }
}

/// How many bytes of memory this machine has.
pub(crate) fn memory_bytes() -> usize {
    // SAFETY: Reads a counter.
    unsafe { afutex::afutex_memory_pages() as usize }.saturating_mul(kernel::page::PAGE_SIZE)
}
