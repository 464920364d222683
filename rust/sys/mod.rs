// SPDX-License-Identifier: GPL-2.0

//! Safe abstractions over what the `kernel` crate lacks.
//!
//! Everything unsafe that the futex code above needs is in here, one noun a file. Where the crate
//! has something similar, the file says why that does not serve. Nothing in here imports futex
//! code, and only the atomic operations of `user_word` are made for it.

pub(crate) mod bindings;
pub(crate) mod fence;
pub(crate) mod fifo;
pub(crate) mod futex_hook;
pub(crate) mod locked_vm;
pub(crate) mod machine;
pub(crate) mod misc_device;
pub(crate) mod mm;
pub(crate) mod nested_lock;
pub(crate) mod page;
pub(crate) mod params;
pub(crate) mod poll;
pub(crate) mod pseudo_file;
pub(crate) mod pseudo_fs;
pub(crate) mod queues;
pub(crate) mod read_once;
pub(crate) mod restart;
pub(crate) mod shared_pages;
pub(crate) mod sigio;
pub(crate) mod sleep;
pub(crate) mod slots;
pub(crate) mod task;
pub(crate) mod time;
pub(crate) mod user_mem;
pub(crate) mod user_word;
