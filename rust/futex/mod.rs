// SPDX-License-Identifier: GPL-2.0

//! The futex: words, keys, the table, those that wait, and what callers can do.
//!
//! Nouns are generic over what is woken, `W`, and know of it only what the trait
//! [`Wake`](bucket::Wake) says. `wakee` lists the kinds; verbs are written for the filled-in types.
//!
//! # Layers
//!
//! A file imports from lower layers only, and never from its own; the children of `watch` and `set`
//! are files of their own.
//!
//! 1. word unread count barrier quota opener
//! 2. pins set/ring
//! 3. key
//! 4. hash bucket
//! 5. table
//! 6. arm wake
//! 7. wake_op requeue domain bell
//! 8. sleeper fd watch set
//! 9. wakee
//! 10. native wait waitv watch/file set/ctl
//! 11. set/read
//! 12. open
//! 13. call futex2 stats
//! 14. handle
//! 15. device

#![forbid(unsafe_code)]

pub(crate) mod arm;
pub(crate) mod barrier;
#[cfg(CONFIG_KUNIT)]
pub(crate) mod bell;
pub(crate) mod bucket;
pub(crate) mod call;
pub(crate) mod count;
pub(crate) mod device;
pub(crate) mod domain;
pub(crate) mod fd;
pub(crate) mod futex2;
pub(crate) mod handle;
pub(crate) mod hash;
pub(crate) mod key;
pub(crate) mod native;
pub(crate) mod open;
pub(crate) mod opener;
pub(crate) mod pins;
pub(crate) mod quota;
pub(crate) mod requeue;
pub(crate) mod set;
pub(crate) mod sleeper;
pub(crate) mod stats;
pub(crate) mod table;
pub(crate) mod unread;
pub(crate) mod wait;
pub(crate) mod waitv;
pub(crate) mod wake;
pub(crate) mod wake_op;
pub(crate) mod wakee;
pub(crate) mod watch;
pub(crate) mod word;
