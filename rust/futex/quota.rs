// SPDX-License-Identifier: GPL-2.0

//! The watches that a user may have: members of sets, descriptors, and the words that a task waits
//! on at once. A domain counts as as many as would fill its memory.
//!
//! Each is charged to the user that made it, or that made its set, before anything is allocated,
//! and given back when it goes, wherever that is: what is charged holds the [`Quota`]. The limit is
//! the module's parameter `max_user_watches` at that moment.

use crate::sys::bindings;
use crate::sys::params;
use crate::sys::read_once::read_once;
use kernel::new_spinlock;
use kernel::prelude::*;
use kernel::rbtree::{
    RBTree,
    RBTreeNode, //
};
use kernel::sync::atomic::{
    Atomic,
    Relaxed, //
};
use kernel::sync::{
    Arc,
    SpinLock, //
};
use kernel::task::Kuid;

/// The watches of one user.
struct User {
    watches: Atomic<usize>,
}

/// A user with quotas: how many, and what is counted for all of them.
struct Node {
    user: Arc<User>,
    quotas: usize,
}

/// The users that have quotas.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    nodes: SpinLock<RBTree<u32, Node>>,
}

impl Users {
    /// Creates an initialiser with no user.
    pub(crate) fn new() -> impl PinInit<Self> {
        pin_init!(Self {
            nodes <- new_spinlock!(RBTree::new(), "afutex_users"),
        })
    }
}

/// A user's share.
///
/// # Invariants
///
/// `users` has a node for `uid`, with `user` in it, and this is counted there as one of its quotas.
pub(crate) struct Quota {
    users: Arc<Users>,
    uid: u32,
    kuid: Kuid,
    user: Arc<User>,
}

impl Quota {
    /// Finds the current user's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    fn of_current(users: &Arc<Users>) -> Result<Arc<Self>> {
        let kuid = Kuid::current_euid();
        let uid = kuid.into_raw().val;
        let user = Arc::new(
            User {
                watches: Atomic::new(0),
            },
            GFP_KERNEL_ACCOUNT,
        )?;
        let spare = RBTreeNode::new(
            uid,
            Node {
                user: user.clone(),
                quotas: 1,
            },
            GFP_KERNEL_ACCOUNT,
        )?;

        let mut nodes = users.nodes.lock();
        let user = match nodes.get_mut(&uid) {
            Some(node) => {
                node.quotas += 1;
                node.user.clone()
            }
            None => {
                nodes.insert(spare);
                user
            }
        };
        drop(nodes);
        // INVARIANT: Just counted.
        let quota = Self {
            users: users.clone(),
            uid,
            kuid,
            user,
        };
        Ok(Arc::new(quota, GFP_KERNEL_ACCOUNT)?)
    }

    /// Charges `count` watches.
    ///
    /// # Errors
    ///
    /// `ENOSPC` if they would be more than the limit.
    pub(crate) fn charge(&self, count: usize) -> Result {
        let mut old = read_once(&self.user.watches);

        loop {
            let new = old
                .checked_add(count)
                .filter(|&new| new <= params::max_user_watches())
                .ok_or(ENOSPC)?;

            match self.user.watches.cmpxchg(old, new, Relaxed) {
                Ok(_) => return Ok(()),
                Err(now) => old = now,
            }
        }
    }

    /// Charges one watch; `ENOSPC` over the limit.
    #[inline]
    pub(crate) fn charge_one(&self) -> Result {
        if self.user.watches.fetch_add(1, Relaxed) >= params::max_user_watches() {
            self.uncharge(1);
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// The user.
    pub(crate) fn user(&self) -> Kuid {
        self.kuid
    }

    /// Gives back what was charged.
    #[inline]
    pub(crate) fn uncharge(&self, count: usize) {
        self.user.watches.fetch_sub(count, Relaxed);
    }

    /// What the user has, and what it may have.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (read_once(&self.user.watches), params::max_user_watches())
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let mut nodes = self.users.nodes.lock();
        let mut last = false;

        if let Some(node) = nodes.get_mut(&self.uid) {
            node.quotas -= 1;
            last = node.quotas == 0;
        }
        let gone = if last {
            nodes.remove_node(&self.uid)
        } else {
            None
        };
        drop(nodes);
        drop(gone);
    }
}

/// The quotas of the users of one open device: most often of the one that opened it.
pub(crate) struct Quotas {
    users: Arc<Users>,
    opener: Arc<Quota>,
}

impl Quotas {
    /// Creates them for a device that the current user opens.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn new(users: &Arc<Users>) -> Result<Self> {
        Ok(Self {
            users: users.clone(),
            opener: Quota::of_current(users)?,
        })
    }

    /// The current user's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    #[inline]
    pub(crate) fn current(&self) -> Result<Arc<Quota>> {
        if Kuid::current_euid().into_raw().val == self.opener.uid {
            Ok(self.opener.clone())
        } else {
            Quota::of_current(&self.users)
        }
    }
}

/// A watch that is charged; given back on drop.
pub(crate) struct Charge(Arc<Quota>);

impl Charge {
    /// Charges one watch; `ENOSPC` over the limit.
    #[inline]
    pub(crate) fn new(quota: Arc<Quota>) -> Result<Self> {
        quota.charge_one()?;
        Ok(Self(quota))
    }

    /// The user.
    pub(crate) fn user(&self) -> Kuid {
        self.0.user()
    }
}

impl Drop for Charge {
    #[inline]
    fn drop(&mut self) {
        self.0.uncharge(1);
    }
}

/// Many watches that are charged; given back on drop.
pub(crate) struct Charges {
    quota: Arc<Quota>,
    count: usize,
}

impl Charges {
    /// Charges `count` watches; `ENOSPC` over the limit.
    pub(crate) fn new(quota: Arc<Quota>, count: usize) -> Result<Self> {
        quota.charge(count)?;
        Ok(Self { quota, count })
    }

    /// Charges memory as the watches that would fill it: so one limit bounds both. `ENOSPC` over
    /// the limit.
    pub(crate) fn for_memory(quota: Arc<Quota>, bytes: usize) -> Result<Self> {
        Self::new(quota, bytes.div_ceil(bindings::AFUTEX_WATCH_BYTES as usize))
    }
}

impl Drop for Charges {
    fn drop(&mut self) {
        self.quota.uncharge(self.count);
    }
}
