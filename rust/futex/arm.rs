// SPDX-License-Identifier: GPL-2.0

//! Queueing a waiter if its word holds what it should: what `futex_wait_setup()` is to futex(2).

use super::bucket::{
    Entry,
    Waiter,
    Wake, //
};
use super::key::Key;
use super::table::Table;
use super::word::{
    fault_in,
    Refusal,
    Scope, //
};
use crate::sys::user_word::UserWord;
use kernel::prelude::*;

/// Queues `waiter`, which waits on `word`, in `entry`, if `validate` lets it. Returns the key that
/// it is queued for; `None` means that the word holds another value.
///
/// `validate` runs under the bucket's lock, after the point from which no wake is missed. If it
/// cannot read the word without a page fault, the word is faulted in, the key is taken anew, since
/// another page may be mapped now, and all is done again.
///
/// `waiter` is taken if it is queued, and left otherwise.
///
/// # Errors
///
/// `EBUSY` if the entry has a waiter already, `EFAULT` if the word cannot be read, `EINTR` if the
/// task is killed; those of [`Table::key_for`].
pub(crate) fn queue_if<W: Wake>(
    table: &Table<W>,
    entry: &Entry<W>,
    waiter: &mut Option<Waiter<W>>,
    word: UserWord,
    scope: Scope,
    validate: impl Fn() -> Result<(), Refusal>,
) -> Result<Option<Key>> {
    while let Some(one) = waiter.take() {
        let key = *one.key.key();
        let Err((refusal, refused)) = table.queue(entry, one, &validate) else {
            return Ok(Some(key));
        };
        let refused = waiter.insert(refused);

        match refusal {
            Refusal::Mismatch => return Ok(None),
            Refusal::Busy => return Err(EBUSY),
            Refusal::Fault => {
                fault_in(word)?;
                refused.key = table.key_for(word, scope)?;
            }
        }
    }
    Ok(None)
}
