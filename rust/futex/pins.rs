// SPDX-License-Identifier: GPL-2.0

//! The pages that are waited on: each folio is pinned once, and charged once, for each user.
//!
//! A pin is found by its folio and user, whatever word of the folio is waited on, and whether the
//! waiter is queued or was woken and not read. So a user pays for what it keeps pinned, whichever
//! waiter came first, and not for what others keep.
//!
//! The lock of a shard is taken below that of a bucket: a requeue drops keys there. Nothing that
//! happens when the last reference goes sleeps.

use super::count::{
    Counted,
    PINNED, //
};
use crate::sys::locked_vm::UserId;
use crate::sys::page::{
    FolioId,
    PinnedFolio, //
};
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::rbtree::{
    RBTree,
    RBTreeNode, //
};
use kernel::sync::atomic::{
    Atomic,
    Full,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    SpinLock, //
};

/// What a pin is found by.
type Id = (FolioId, UserId);

/// Into how many trees the pins are spread, so that waiters on different pages seldom meet.
const SHARDS: usize = 64;

/// Some of the pins.
#[pin_data]
struct Shard {
    #[pin]
    tree: SpinLock<RBTree<Id, Arc<Pin>>>,
}

/// All pins of a table.
pub(crate) struct Pins {
    shards: core::pin::Pin<KVBox<[Shard]>>,
}

/// A folio that a user keeps pinned.
struct Pin {
    pins: Arc<Pins>,
    folio: PinnedFolio,
    /// How many [`PinRef`] there are. It goes from 0 to 1 only under the lock of the shard.
    uses: Atomic<usize>,
    _count: Counted,
}

impl Pin {
    fn id(&self) -> Id {
        (self.folio.id(), self.folio.user())
    }
}

impl Pins {
    /// Creates an empty collection.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new() -> Result<Arc<Self>> {
        let shard = |_| {
            try_pin_init!(Shard {
                tree <- new_spinlock!(RBTree::new(), "afutex_pins"),
            }? Error)
        };

        Ok(Arc::new(
            Self {
                shards: KVBox::pin_slice(shard, SHARDS, GFP_KERNEL)?,
            },
            GFP_KERNEL,
        )?)
    }

    fn tree(&self, id: &Id) -> &SpinLock<RBTree<Id, Arc<Pin>>> {
        // Folios are as far apart as descriptions of pages are: 64 bytes.
        let number = id.0.addr() / 64;

        &self.shards[(number ^ number / SHARDS) % SHARDS].tree
    }

    /// The pin that the current user has on `folio`, if it has one.
    pub(crate) fn get(&self, folio: FolioId) -> Option<PinRef> {
        let id = (folio, UserId::current());
        let tree = self.tree(&id).lock();

        tree.get(&id).map(PinRef::new)
    }

    /// Pins the folio at `addr` in the current task's memory for the current user. May sleep, and
    /// fault.
    ///
    /// # Errors
    ///
    /// Those of [`PinnedFolio::pin`].
    pub(crate) fn pin(self: &Arc<Self>, addr: usize) -> Result<PinRef> {
        let pin = Arc::new(
            Pin {
                pins: self.clone(),
                folio: PinnedFolio::pin(addr)?,
                uses: Atomic::new(0),
                _count: Counted::new(&PINNED),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let id = pin.id();
        let node = RBTreeNode::new(id, pin.clone(), GFP_KERNEL_ACCOUNT)?;

        let mut tree = self.tree(&id).lock();
        // Another thread may have been faster; ours is dropped after the lock.
        if let Some(found) = tree.get(&id) {
            return Ok(PinRef::new(found));
        }
        tree.insert(node);
        Ok(PinRef::new(&pin))
    }
}

/// A user's pin on the folio of a word.
///
/// # Invariants
///
/// It is counted in `uses` of the pin.
pub(crate) struct PinRef(Arc<Pin>);

impl PinRef {
    /// Under the lock of the shard, unless there is another reference.
    fn new(pin: &Arc<Pin>) -> Self {
        pin.uses.fetch_add(1, Relaxed);
        // INVARIANT: Just counted.
        Self(pin.clone())
    }

    /// Whether the folio still is where its file has it.
    pub(crate) fn is_attached(&self) -> bool {
        self.0.folio.is_attached()
    }
}

impl Clone for PinRef {
    fn clone(&self) -> Self {
        Self::new(&self.0)
    }
}

impl Drop for PinRef {
    fn drop(&mut self) {
        if self.0.uses.fetch_sub(1, Full) != 1 {
            return;
        }
        let id = self.0.id();
        let mut tree = self.0.pins.tree(&id).lock();
        // It may have been found again in between, and even have gone for good.
        let is_last = self.0.uses.load(Relaxed) == 0
            && tree
                .get(&id)
                .is_some_and(|found| Arc::ptr_eq(found, &self.0));
        let node = if is_last { tree.remove_node(&id) } else { None };

        drop(tree);
        drop(node);
    }
}
