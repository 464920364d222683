// SPDX-License-Identifier: GPL-2.0

//! The watches that a user may have in sets.

use crate::sys::machine;
use kernel::new_mutex;
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
    Mutex, //
};
use kernel::task::Kuid;

/// The bytes that a watch is reckoned at when the limit is derived from memory: about what it takes.
const WATCH_BYTES: usize = 224;

/// The watches of one user.
struct User {
    watches: Atomic<usize>,
}

/// A user with sets: how many, and what is counted for all of them.
struct Node {
    user: Arc<User>,
    sets: usize,
}

/// The users that have sets.
#[pin_data]
pub(crate) struct Users {
    #[pin]
    nodes: Mutex<RBTree<u32, Node>>,
    limit: usize,
}

impl Users {
    /// Creates an initialiser with no user. `limit` is that of each, or 0 for one that lets all
    /// the watches of a user take 4 % of the memory, as epoll has it.
    pub(crate) fn new(limit: usize) -> impl PinInit<Self> {
        let limit = match limit {
            0 => machine::memory_bytes() / 25 / WATCH_BYTES,
            limit => limit,
        };

        pin_init!(Self {
            nodes <- new_mutex!(RBTree::new(), "afutex_users"),
            limit,
        })
    }
}

/// The current user's share, for a set.
///
/// # Invariants
///
/// `users` has a node for `uid`, with `user` in it, and this is counted there as one of its sets.
pub(crate) struct Quota {
    users: Arc<Users>,
    uid: u32,
    user: Arc<User>,
}

impl Quota {
    /// Finds the current user's.
    ///
    /// # Errors
    ///
    /// `ENOMEM`.
    pub(crate) fn of_current(users: &Arc<Users>) -> Result<Self> {
        let uid = Kuid::current_euid().into_raw().val;
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
                sets: 1,
            },
            GFP_KERNEL_ACCOUNT,
        )?;

        let mut nodes = users.nodes.lock();
        let user = match nodes.get_mut(&uid) {
            Some(node) => {
                node.sets += 1;
                node.user.clone()
            }
            None => {
                nodes.insert(spare);
                user
            }
        };
        drop(nodes);
        // INVARIANT: Just counted.
        Ok(Self {
            users: users.clone(),
            uid,
            user,
        })
    }

    /// Charges one watch; `ENOSPC` over the limit.
    pub(crate) fn charge(&self) -> Result {
        if self.user.watches.fetch_add(1, Relaxed) >= self.users.limit {
            self.uncharge(1);
            return Err(ENOSPC);
        }
        Ok(())
    }

    /// Gives back what was charged.
    pub(crate) fn uncharge(&self, count: usize) {
        self.user.watches.fetch_sub(count, Relaxed);
    }

    /// What the user has, over all its sets, and what it may have.
    pub(crate) fn usage(&self) -> (usize, usize) {
        (self.user.watches.load(Relaxed), self.users.limit)
    }
}

impl Drop for Quota {
    fn drop(&mut self) {
        let mut nodes = self.users.nodes.lock();
        let mut last = false;

        if let Some(node) = nodes.get_mut(&self.uid) {
            node.sets -= 1;
            last = node.sets == 0;
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
