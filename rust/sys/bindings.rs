// SPDX-License-Identifier: GPL-2.0

//! Bindings generated from `rust/bindings.h`.

#![allow(
    clippy::all,
    dead_code,
    improper_ctypes,
    missing_docs,
    non_camel_case_types,
    non_upper_case_globals,
    non_snake_case,
    unreachable_pub,
    unsafe_op_in_unsafe_fn,
    clippy::undocumented_unsafe_blocks,
    unused_imports
)]

include!(env!("AFUTEX_BINDINGS"));

use kernel::transmute::{
    AsBytes,
    FromBytes, //
};

/// Structures of the ABI: of integers only, without padding.
macro_rules! abi {
    ($($name:ident: $size:literal,)*) => {$(
        // SAFETY: All bit patterns are valid: the fields are integers.
        unsafe impl FromBytes for $name {}

        // SAFETY: There is no uninitialised byte: the fields are integers, without padding.
        unsafe impl AsBytes for $name {}

        const _: () = assert!(core::mem::size_of::<$name>() == $size);
    )*};
}

abi! {
    afutex_call: 40,
    afutex_info: 24,
    afutex_watch: 32,
    afutex_open: 40,
    afutex_rearm: 24,
    afutex_wait: 40,
    afutex_wake: 24,
    afutex_requeue: 40,
    afutex_waitv: 24,
    afutex_wakev: 16,
    afutex_wakev_word: 24,
    afutex_set: 8,
    afutex_set_mapped: 16,
    afutex_ring: 128,
    afutex_ctl: 48,
    afutex_ctlv: 16,
    afutex_event: 16,
    afutex_domain_args: 16,
    afutex_set_wait: 40,
    futex_waitv: 24,
}
