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

// SAFETY: All bit patterns are valid: the fields are integers and there is no padding.
unsafe impl FromBytes for afutex_call {}

// SAFETY: There is no uninitialised byte: the fields are integers and there is no padding.
unsafe impl AsBytes for afutex_info {}

const _: () = assert!(core::mem::size_of::<afutex_call>() == 40);
const _: () = assert!(core::mem::size_of::<afutex_info>() == 24);
