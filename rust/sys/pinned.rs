// SPDX-License-Identifier: GPL-2.0

//! What is pinned since its owner is.

use kernel::prelude::*;
use kernel::sync::Arc;

/// What an [`Arc`] holds never moves.
pub(crate) fn in_arc<T>(arc: &Arc<T>) -> Pin<&T> {
    // SAFETY: Nobody can move out of an `Arc`, and a `UniqueArc` that is made of one is pinned.
    unsafe { Pin::new_unchecked(&**arc) }
}

/// The elements of a pinned slice.
pub(crate) fn each<T>(slice: Pin<&[T]>) -> impl Iterator<Item = Pin<&T>> {
    slice.get_ref().iter().map(|element| {
        // SAFETY: A slice owns its elements, so they stay where they are as it does.
        unsafe { Pin::new_unchecked(element) }
    })
}
