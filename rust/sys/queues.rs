// SPDX-License-Identifier: GPL-2.0

//! Queues of nodes, each of an identity, and each node in memory of its owner's.
//!
//! A [`Queues`] lives under a lock. What it holds are items, each in a [`Node`]: on the stack of a
//! task that sleeps, or inside an object that is counted. Items of one identity form a queue, first
//! come first; to find a queue costs the number of queues, never that of items.
//!
//! [`kernel::list`] has one list under one lock, of objects that it owns. Here an item is found by
//! its identity, moves from lock to lock with its node in place, and can be looked for without a
//! lock.
//!
//! # Layout
//!
//! ```text
//!   Queues.first --> [a] <-----> [c] <-----> [d]        leads: the first of each queue
//!                   | ^         | ^         | ^
//!                   v |         +-+         v |        queue: circular
//!                   [b]                     [e]
//! ```

use super::read_once::read_once;
use core::cell::UnsafeCell;
use core::marker::PhantomPinned;
use core::mem::MaybeUninit;
use core::ptr;
use kernel::prelude::*;
use kernel::sync::atomic::{
    Acquire,
    Atomic,
    Release, //
};

/// What is held in [`Queues`].
pub(crate) trait Item {
    /// What distinguishes queues.
    type Id: PartialEq;

    /// The queue that the item belongs on. May change in [`Cursor::transfer`] only.
    fn id(&self) -> &Self::Id;
}

/// The neighbours of a node.
struct Links<T> {
    prev: *const Node<T>,
    next: *const Node<T>,
}

impl<T> Links<T> {
    const fn none() -> UnsafeCell<Self> {
        UnsafeCell::new(Self {
            prev: ptr::null(),
            next: ptr::null(),
        })
    }
}

/// The place for an item.
///
/// An item is *queued* in a [`Queues`], or *disarmed* with some other data that a lock protects, or
/// there is none. Whoever holds the lock proves it with a mutable reference to what it protects.
///
/// # Invariants
///
/// `owner` is one of
///
/// - 0: `item` is not initialised, and the links mean nothing;
/// - the address of a pinned [`Queues`], on one of whose queues the node is: `item` is initialised,
///   and only the mutable borrower of that `Queues` may access item and links;
/// - one more than the address of an object: `item` is initialised, and only the mutable borrower
///   of that object may access it. Two live objects that are mutably borrowed, and are not
///   zero-sized, have two addresses.
///
/// Whoever changes `owner` from 0 has the node to itself until the change is complete.
#[pin_data(PinnedDrop)]
pub(crate) struct Node<T> {
    owner: Atomic<usize>,
    /// On the queue. Circular.
    queue: UnsafeCell<Links<T>>,
    /// Among the leads, for the first of a queue. Others have themselves as `next`.
    leads: UnsafeCell<Links<T>>,
    item: UnsafeCell<MaybeUninit<T>>,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: Only items are ever accessed through a node, each by one thread at a time.
unsafe impl<T: Send> Send for Node<T> {}
// SAFETY: By the type invariants an item is only accessed through a mutable reference, and
// there is only one.
unsafe impl<T: Send> Sync for Node<T> {}

/// The mark of a disarmed item in `owner`: addresses are even.
const DISARMED: usize = 1;

/// What `owner` is for an item that is disarmed with `with`.
fn disarmed_with<H>(with: &Pin<&mut H>) -> usize {
    const { assert!(size_of::<H>() > 0 && align_of::<H>() > 1) };
    ptr::from_ref(&**with).addr() | DISARMED
}

impl<T> Node<T> {
    /// Creates an initialiser for a node without an item.
    ///
    /// There is no other way to a node, so every node is pinned.
    #[inline]
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: `owner` is 0.
        pin_init!(Self {
            owner: Atomic::new(0),
            queue: Links::none(),
            leads: Links::none(),
            item: UnsafeCell::new(MaybeUninit::uninit()),
            _pin: PhantomPinned,
        })
    }

    /// Whether the item is queued at this moment, as may be asked without a lock.
    ///
    /// `false` means that all is visible that was done before the item was taken away.
    pub(crate) fn is_queued(&self) -> bool {
        self.queues_addr().is_some()
    }

    /// The address of the [`Queues`] that the item was queued in at this moment.
    pub(crate) fn queues_addr(&self) -> Option<usize> {
        match self.owner.load(Acquire) {
            0 => None,
            owner if owner & DISARMED != 0 => None,
            owner => Some(owner),
        }
    }

    /// Disarms `item` with `with`; gives it back if the node has one.
    pub(crate) fn disarm<H>(&self, with: Pin<&mut H>, item: T) -> Result<(), T> {
        if self
            .owner
            .cmpxchg(0, disarmed_with(&with), Acquire)
            .is_err()
        {
            return Err(item);
        }
        // SAFETY: `owner` was 0, and we borrow what it is now.
        // INVARIANT: `item` is initialised.
        unsafe { (*self.item.get()).write(item) };
        Ok(())
    }

    /// The item, if it is disarmed with `with`.
    pub(crate) fn disarmed<'a, H>(&'a self, with: Pin<&'a mut H>) -> Option<&'a T> {
        if read_once(&self.owner) != disarmed_with(&with) {
            return None;
        }
        // SAFETY: By the type invariants it is initialised, and ours as long as `with` is borrowed.
        Some(unsafe { (*self.item.get()).assume_init_ref() })
    }

    /// Takes the item, if it is disarmed with `with`.
    #[inline]
    pub(crate) fn take_disarmed<H>(&self, with: Pin<&mut H>) -> Option<T> {
        if read_once(&self.owner) != disarmed_with(&with) {
            return None;
        }
        // SAFETY: By the type invariants it is initialised and ours.
        let item = unsafe { (*self.item.get()).assume_init_read() };
        // INVARIANT: It was moved out.
        self.owner.store(0, Release);
        Some(item)
    }
}

#[pinned_drop]
impl<T> PinnedDrop for Node<T> {
    /// An owner takes the item away before the node goes: else queues would lead into freed memory.
    fn drop(self: Pin<&mut Self>) {
        assert!(self.owner.load(Acquire) == 0);
    }
}

/// Queues of items.
///
/// # Invariants
///
/// - `first` is null or the lead of a queue, and the `leads` of each lead lead to the next and the
///   previous one, or are null.
/// - All nodes on the queues are pinned and have this as their owner, so they stay valid.
/// - All items on a queue have one identity, and two queues have two.
#[pin_data(PinnedDrop)]
pub(crate) struct Queues<T> {
    first: *const Node<T>,
    /// How many queues there are.
    queues: usize,
    /// How many items are on them.
    items: usize,
    #[pin]
    _pin: PhantomPinned,
}

// SAFETY: `Queues` hold items, and nodes that may be used from any thread.
unsafe impl<T: Send> Send for Queues<T> {}

#[pinned_drop]
impl<T> PinnedDrop for Queues<T> {
    fn drop(self: Pin<&mut Self>) {
        assert!(self.first.is_null());
    }
}

impl<T> Queues<T> {
    /// Creates an initialiser for no queues.
    pub(crate) fn new() -> impl PinInit<Self> {
        // INVARIANT: There is no lead.
        pin_init!(Self {
            first: ptr::null(),
            queues: 0,
            items: 0,
            _pin: PhantomPinned,
        })
    }

    /// The address that [`Node::queues_addr`] returns for what is queued here.
    fn addr(&self) -> usize {
        ptr::from_ref(self).addr()
    }

    /// Where the first lead is noted. Queues are never moved through it.
    fn first(self: Pin<&mut Self>) -> &mut *const Node<T> {
        self.project().first
    }

    /// Counts `more` queues.
    fn count_queues(self: Pin<&mut Self>, more: isize) {
        let queues = self.project().queues;

        *queues = queues.wrapping_add_signed(more);
    }

    /// Counts `more` items.
    fn count_items(self: Pin<&mut Self>, more: isize) {
        let items = self.project().items;

        *items = items.wrapping_add_signed(more);
    }

    /// Puts a lead before all others.
    ///
    /// # Safety
    ///
    /// `node` must be the only one of its queue, which is not among the queues yet, and be valid.
    unsafe fn add_lead(mut self: Pin<&mut Self>, node: *const Node<T>) {
        let next = self.first;

        self.as_mut().count_queues(1);
        // SAFETY: `node` is valid by the safety requirements, `next` by the type invariants.
        unsafe {
            *(*node).leads.get() = Links {
                prev: ptr::null(),
                next,
            };
            if !next.is_null() {
                (*(*next).leads.get()).prev = node;
            }
        }
        *self.as_mut().first() = node;
    }

    /// Replaces a lead by `new`, which may be null: then the queue goes.
    ///
    /// # Safety
    ///
    /// `old` must be a lead, and `new` be null or another node of its queue.
    unsafe fn replace_lead(mut self: Pin<&mut Self>, old: *const Node<T>, new: *const Node<T>) {
        // SAFETY: `old` and `new` are valid by the safety requirements, their neighbours by the
        // type invariants.
        unsafe {
            let leads = (*old).leads.get();
            let Links { prev, next } = leads.read();
            (*leads).next = old;

            let (to_next, to_prev) = if new.is_null() {
                self.as_mut().count_queues(-1);
                (next, prev)
            } else {
                *(*new).leads.get() = Links { prev, next };
                (new, new)
            };
            if prev.is_null() {
                *self.as_mut().first() = to_next;
            } else {
                (*(*prev).leads.get()).next = to_next;
            }
            if !next.is_null() {
                (*(*next).leads.get()).prev = to_prev;
            }
        }
    }

    /// Takes `node` off its queue. Its owner is still this.
    ///
    /// # Safety
    ///
    /// `node` must be on a queue of this.
    unsafe fn unlink(mut self: Pin<&mut Self>, node: *const Node<T>) {
        // SAFETY: The node and its neighbours are valid by the type invariants. If it is a lead,
        // the next of its queue, if there is one, follows it as such.
        unsafe {
            let Links { prev, next } = (*node).queue.get().read();
            let is_lead = (*(*node).leads.get()).next != node;

            self.as_mut().count_items(-1);
            if next == node {
                self.replace_lead(node, ptr::null());
                return;
            }
            (*(*prev).queue.get()).next = next;
            (*(*next).queue.get()).prev = prev;
            if is_lead {
                self.replace_lead(node, next);
            }
        }
    }

    /// Puts `node` last on the queue of `lead`, or, if that is null, on a queue of its own.
    ///
    /// # Safety
    ///
    /// `node` must be pinned, have this as its owner, and be on no queue. `lead` must be null, if
    /// no queue has the identity of its item, or the lead of the one that has.
    unsafe fn append(mut self: Pin<&mut Self>, lead: *const Node<T>, node: *const Node<T>) {
        self.as_mut().count_items(1);
        // SAFETY: Both are valid by the safety requirements.
        // INVARIANT: The node is on the queue of its identity.
        unsafe {
            if lead.is_null() {
                *(*node).queue.get() = Links {
                    prev: node,
                    next: node,
                };
                self.add_lead(node);
                return;
            }
            Self::join(lead, node, node);
        }
    }

    /// Puts the nodes from `first` to `last`, which follow one another, before `next`: last, if
    /// that is the lead of its queue.
    ///
    /// # Safety
    ///
    /// All must be valid, and those from `first` to `last` on no other queue.
    unsafe fn join(next: *const Node<T>, first: *const Node<T>, last: *const Node<T>) {
        // SAFETY: By the safety requirements.
        unsafe {
            let prev = (*(*next).queue.get()).prev;

            (*(*first).queue.get()).prev = prev;
            (*(*last).queue.get()).next = next;
            // It is no lead, or none any more.
            (*(*first).leads.get()).next = first;
            (*(*prev).queue.get()).next = first;
            (*(*next).queue.get()).prev = last;
        }
    }

    /// Takes `node` off its queue and its item out of it.
    ///
    /// # Safety
    ///
    /// `node` must be on a queue of this. It may be gone when this returns.
    unsafe fn take(self: Pin<&mut Self>, node: *const Node<T>) -> T {
        // SAFETY: By the safety requirements it is here, so the item is initialised and ours.
        unsafe {
            self.unlink(node);
            let item = (*(*node).item.get()).assume_init_read();
            // INVARIANT: It was moved out. From here on the owner may drop the node.
            (*node).owner.store(0, Release);
            item
        }
    }

    /// Takes the item of `node`, if it is queued here.
    pub(crate) fn remove(self: Pin<&mut Self>, node: &Node<T>) -> Option<T> {
        if read_once(&node.owner) != self.addr() {
            return None;
        }
        // SAFETY: By the type invariants it is on a queue of this.
        Some(unsafe { self.take(node) })
    }

    /// The number of queues, and of items on them.
    pub(crate) fn totals(&self) -> (usize, usize) {
        (self.queues, self.items)
    }
}

impl<T: Item> Queues<T> {
    /// The lead of the queue of `id`, or null.
    #[inline]
    fn lead_of(&self, id: &T::Id) -> *const Node<T> {
        let first = self.first;

        // SAFETY: Heads are valid, and hold items, by the type invariants.
        if first.is_null() || unsafe { (*(*first).item.get()).assume_init_ref() }.id() == id {
            return first;
        }
        // SAFETY: As above.
        unsafe { Self::lead_behind(first, id) }
    }

    /// Like `lead_of`, among those behind `lead`.
    ///
    /// # Safety
    ///
    /// `lead` must be a lead, and its queues borrowed.
    unsafe fn lead_behind(mut lead: *const Node<T>, id: &T::Id) -> *const Node<T> {
        loop {
            // SAFETY: By the safety requirements, and the type invariants, leads are valid and hold
            // items.
            unsafe {
                lead = (*(*lead).leads.get()).next;
                if lead.is_null() || (*(*lead).item.get()).assume_init_ref().id() == id {
                    return lead;
                }
            }
        }
    }

    /// The first item of the queue of `id`, if there is one.
    pub(crate) fn find(self: Pin<&mut Self>, id: &T::Id) -> Option<Cursor<'_, T>> {
        let lead = self.lead_of(id);

        // INVARIANT: It is the lead of one of the queues.
        (!lead.is_null()).then_some(Cursor {
            queues: self,
            lead,
            at: lead,
        })
    }

    /// The identity of a queue of which the first item that `counts` also `matches`.
    pub(crate) fn find_first(
        self: Pin<&mut Self>,
        counts: impl Fn(&T) -> bool,
        matches: impl Fn(&T) -> bool,
    ) -> Option<T::Id>
    where
        T::Id: Copy,
    {
        let mut lead = self.first;

        while !lead.is_null() {
            let mut node = lead;
            // SAFETY: By the type invariants leads, and all nodes on their queues, are valid and
            // hold items.
            unsafe {
                loop {
                    let item = (*(*node).item.get()).assume_init_ref();

                    if counts(item) {
                        if matches(item) {
                            return Some(*item.id());
                        }
                        break;
                    }
                    node = (*(*node).queue.get()).next;
                    if node == lead {
                        break;
                    }
                }
                lead = (*(*lead).leads.get()).next;
            }
        }
        None
    }

    /// Queues `item` in `node`, behind all others of its identity; gives it back if the node has
    /// one.
    ///
    /// `adopt` sees the first of those others before, and may change all of the item but its
    /// identity.
    pub(crate) fn push(
        self: Pin<&mut Self>,
        node: &Node<T>,
        mut item: T,
        adopt: impl FnOnce(&T, &mut T),
    ) -> Result<(), T> {
        if node.owner.cmpxchg(0, self.addr(), Acquire).is_err() {
            return Err(item);
        }
        let lead = self.lead_of(item.id());
        // SAFETY: `owner` was 0, so the node is ours. It is pinned, as all are, and is dropped by
        // nothing before `owner` is 0 again: `drop` checks it.
        // INVARIANT: The item is initialised, and the node on a queue of its owner.
        unsafe {
            if !lead.is_null() {
                adopt((*(*lead).item.get()).assume_init_ref(), &mut item);
            }
            (*node.item.get()).write(item);
            self.append(lead, node);
        }
        Ok(())
    }

    /// Queues the item that is disarmed with `with` in `node`, behind all others of its identity,
    /// if that is `id`. Tells whether it did.
    ///
    /// `f` sees the first of those others, if there is one, and may change all of the item but its
    /// identity.
    pub(crate) fn push_disarmed<H>(
        self: Pin<&mut Self>,
        node: &Node<T>,
        with: Pin<&mut H>,
        id: &T::Id,
        f: impl FnOnce(Option<&T>, &mut T),
    ) -> bool {
        if read_once(&node.owner) != disarmed_with(&with) {
            return false;
        }
        // SAFETY: By the type invariants the item is initialised and ours, and the node is on no
        // queue. It is pinned, and is not dropped before `owner` is 0: `drop` checks it.
        // INVARIANT: The node is on a queue of its new owner.
        unsafe {
            let item = (*node.item.get()).assume_init_mut();
            if item.id() != id {
                return false;
            }
            let lead = self.lead_of(id);
            f(
                lead.as_ref()
                    .map(|lead| (*lead.item.get()).assume_init_ref()),
                item,
            );
            node.owner.store(self.addr(), Release);
            self.append(lead, node);
        }
        true
    }

    /// The position of `node`, if it is queued here.
    pub(crate) fn at(self: Pin<&mut Self>, node: &Node<T>) -> Option<Cursor<'_, T>> {
        if read_once(&node.owner) != self.addr() {
            return None;
        }
        // SAFETY: By the type invariants the item is initialised, and ours.
        let lead = self.lead_of(unsafe { (*node.item.get()).assume_init_ref() }.id());

        // INVARIANT: The node is on the queue of its identity.
        Some(Cursor {
            queues: self,
            lead,
            at: node,
        })
    }
}

/// What [`Cursor::transfer`] is to do with an item.
pub(crate) enum Transfer {
    /// It goes to the other queue.
    Move,
    /// It stays where it is.
    Stay,
    /// It stays, and so do those behind it.
    Stop,
}

/// A position on a queue.
///
/// # Invariants
///
/// `lead` is the lead of a queue of `queues`, and `at` is on that queue.
pub(crate) struct Cursor<'a, T> {
    queues: Pin<&'a mut Queues<T>>,
    lead: *const Node<T>,
    at: *const Node<T>,
}

impl<'a, T> Cursor<'a, T> {
    /// The item.
    pub(crate) fn item(&self) -> &T {
        // SAFETY: By the type invariants, and since `queues` is borrowed for as long.
        unsafe { (*(*self.at).item.get()).assume_init_ref() }
    }

    /// Queues `item`, which has the identity of this queue, in `node`, before the item at the
    /// cursor. Gives it back if the node has one, or it has another identity.
    pub(crate) fn insert(mut self, node: &Node<T>, item: T) -> Result<(), T>
    where
        T: Item,
    {
        if item.id() != self.item().id()
            || node.owner.cmpxchg(0, self.queues.addr(), Acquire).is_err()
        {
            return Err(item);
        }
        // SAFETY: `owner` was 0, so the node is ours. It is pinned, as all are, and is not dropped
        // before `owner` is 0 again, as `drop` sees to. `at` is valid by the type invariants.
        // INVARIANT: The item is initialised, and the node on a queue of its owner. If it is before
        // the lead, it becomes that.
        unsafe {
            (*node.item.get()).write(item);
            Queues::join(self.at, node, node);
            if self.at == self.lead {
                self.queues.as_mut().replace_lead(self.at, node);
            }
        }
        self.queues.as_mut().count_items(1);
        Ok(())
    }

    /// Goes on through the queue, and does with each item as `f` says. Returns the position where
    /// `f` said to stop, if it did.
    ///
    /// Items that move go, in order, to the queue of the identity that `f` gives them, one for all:
    /// in `other`, or in the same `Queues` if that is `None`. There they go before `before`, if
    /// that is on that queue and not its lead, and to the end if not.
    pub(crate) fn transfer(
        mut self,
        mut other: Option<Pin<&mut Queues<T>>>,
        before: Option<&Node<T>>,
        mut f: impl FnMut(&mut T) -> Transfer,
    ) -> Option<Self>
    where
        T: Item,
    {
        let owner = match &other {
            Some(other) => other.addr(),
            None => self.queues.addr(),
        };
        // The lead of a queue of those that move, which is of neither `Queues` yet.
        let mut moved: *const Node<T> = ptr::null();
        let mut count = 0;

        // SAFETY: All nodes on the queues are valid, and their items initialised, by the type
        // invariants, and both `Queues` are borrowed mutably. A node that was unlinked is on the
        // queue of `moved` and nowhere else until that is joined to what it goes to.
        // INVARIANT: At no time `owner` is 0. When this returns, each node is on a queue of its
        // owner. If the lead leaves, the next one, if there is one, is the new lead.
        unsafe {
            let last = (*(*self.lead).queue.get()).prev;
            let stopped = loop {
                let at = self.at;
                let next = (*(*at).queue.get()).next;
                match f((*(*at).item.get()).assume_init_mut()) {
                    Transfer::Stop => break true,
                    Transfer::Stay => (),
                    Transfer::Move => {
                        if at == self.lead {
                            self.lead = next;
                        }
                        self.queues.as_mut().unlink(at);
                        (*at).owner.store(owner, Release);
                        count += 1;
                        if moved.is_null() {
                            *(*at).queue.get() = Links { prev: at, next: at };
                            moved = at;
                        } else {
                            Queues::join(moved, at, at);
                        }
                    }
                }
                if at == last {
                    break false;
                }
                self.at = next;
            };

            if !moved.is_null() {
                let mut target = match &mut other {
                    Some(other) => other.as_mut(),
                    None => self.queues.as_mut(),
                };
                let id = (*(*moved).item.get()).assume_init_ref().id();
                let before = before.filter(|node| {
                    read_once(&node.owner) == target.addr()
                        && ptr::eq((*node.leads.get()).next, *node)
                        && (*node.item.get()).assume_init_ref().id() == id
                });
                let next = match before {
                    Some(node) => node,
                    None => target.lead_of(id),
                };

                target.as_mut().count_items(count);
                if next.is_null() {
                    target.add_lead(moved);
                } else {
                    Queues::join(next, moved, (*(*moved).queue.get()).prev);
                }
            }
            stopped.then_some(self)
        }
    }

    /// Whether there is no other on the queue.
    #[inline]
    pub(crate) fn is_alone(&self) -> bool {
        // SAFETY: `at` is valid by the type invariants.
        unsafe { (*(*self.at).queue.get()).next == self.at }
    }

    /// Goes on to the next on the queue, unless this was the last.
    pub(crate) fn next(self) -> Option<Self> {
        // SAFETY: `at` is valid by the type invariants.
        let next = unsafe { (*(*self.at).queue.get()).next };

        // INVARIANT: `next` is on the same queue.
        (next != self.lead).then_some(Self { at: next, ..self })
    }

    /// Has `f` take the node off its queue, and goes on to the next, unless this was the last.
    ///
    /// # Safety
    ///
    /// `f` must do that, and nothing else to the queues.
    unsafe fn leave<R>(
        mut self,
        f: impl FnOnce(Pin<&mut Queues<T>>, *const Node<T>) -> R,
    ) -> (R, Option<Self>) {
        let at = self.at;
        // SAFETY: `at` is valid by the type invariants.
        let next = unsafe { (*(*at).queue.get()).next };
        let is_last = next == self.lead;
        let ret = f(self.queues.as_mut(), at);

        // INVARIANT: `next` was on the same queue, and is its lead if `at` was.
        let left = (!is_last).then_some(Self {
            lead: if at == self.lead { next } else { self.lead },
            at: next,
            ..self
        });
        (ret, left)
    }

    /// Gives away the item, and goes on.
    pub(crate) fn remove(self) -> (T, Option<Self>) {
        // SAFETY: By the type invariants the node is on a queue of `queues`, and `take` takes it
        // off.
        unsafe { self.leave(|queues, at| queues.take(at)) }
    }

    /// Disarms the item with `with`, and goes on.
    pub(crate) fn disarm<H>(self, with: Pin<&mut H>) -> Option<Self> {
        let owner = disarmed_with(&with);

        // SAFETY: By the type invariants the node is on a queue of `queues`.
        let ((), next) = unsafe {
            self.leave(|queues, at| {
                queues.unlink(at);
                // INVARIANT: The node is on no queue, and the item is initialised. Who borrows
                // `with` next is ordered after us by its lock.
                (*at).owner.store(owner, Release);
            })
        };
        next
    }

    /// Sends the item to the end of its queue, and goes on to who was next.
    ///
    /// `f` may change all of the item but its identity.
    #[inline(always)]
    pub(crate) fn rotate(mut self, f: impl FnOnce(&mut T)) -> Option<Self> {
        let (at, old) = (self.at, self.lead);

        // SAFETY: All nodes of the queue are valid by the type invariants, and `queues` is borrowed
        // mutably. The new lead is another node of the queue of the old one.
        unsafe {
            f((*(*at).item.get()).assume_init_mut());

            let next = (*(*at).queue.get()).next;
            if next == old {
                // It is the last, perhaps the only one.
                return None;
            }
            if at == old {
                // On a circle, the last comes before the first.
                self.queues.as_mut().replace_lead(at, next);
                self.lead = next;
            } else {
                self.queues.as_mut().unlink(at);
                self.queues.as_mut().append(old, at);
            }
            self.at = next;
        }
        Some(self)
    }
}

#[kunit_tests(afutex_queues)]
mod tests {
    use super::*;
    use kernel::new_spinlock;
    use kernel::sync::SpinLock;

    #[derive(Debug, PartialEq)]
    struct Number {
        queue: u32,
        number: u32,
    }

    impl Item for Number {
        type Id = u32;

        fn id(&self) -> &u32 {
            &self.queue
        }
    }

    type Locked = Pin<KBox<SpinLock<Queues<Number>>>>;

    fn queues() -> Result<Locked> {
        KBox::pin_init(new_spinlock!(Queues::new(), "afutex_test"), GFP_KERNEL)
    }

    /// Others, whose lock may be taken with the lock of those held.
    fn others() -> Result<Locked> {
        KBox::pin_init(
            new_spinlock!(Queues::new(), "afutex_test_other"),
            GFP_KERNEL,
        )
    }

    fn nodes<const N: usize>() -> Result<[Pin<KBox<Node<Number>>>; N]> {
        let mut all = [const { None }; N];

        for slot in all.iter_mut() {
            *slot = Some(KBox::pin_init(Node::new(), GFP_KERNEL)?);
        }
        Ok(all.map(|slot| slot.unwrap()))
    }

    fn push(queues: &Locked, node: &Pin<KBox<Node<Number>>>, queue: u32, number: u32) {
        let item = Number { queue, number };

        assert!(queues
            .lock()
            .as_mut()
            .push(node, item, |first, item| assert_eq!(
                first.queue,
                item.queue
            ))
            .is_ok());
    }

    /// The numbers on a queue, as decimal digits, first to last.
    fn digits(queues: &Locked, queue: u32) -> u32 {
        let mut guard = queues.lock();
        let mut at = guard.as_mut().find(&queue);
        let mut digits = 0;

        while let Some(cursor) = at {
            digits = digits * 10 + cursor.item().number;
            at = cursor.next();
        }
        digits
    }

    #[test]
    fn first_come_first() -> Result {
        let queues = queues()?;
        let nodes = nodes::<6>()?;

        for (n, node) in nodes.iter().enumerate() {
            push(&queues, node, n as u32 % 2, n as u32 + 1);
        }
        assert_eq!(digits(&queues, 0), 135);
        assert_eq!(digits(&queues, 1), 246);
        assert_eq!(digits(&queues, 2), 0);
        assert_eq!(queues.lock().totals(), (2, 6));
        // The first, the last, the one between.
        for (n, left) in [(0, 35), (4, 3), (2, 0)] {
            assert!(queues.lock().as_mut().remove(&nodes[n]).is_some());
            assert!(queues.lock().as_mut().remove(&nodes[n]).is_none());
            assert!(!nodes[n].is_queued());
            assert_eq!(digits(&queues, 0), left);
        }
        assert_eq!(queues.lock().totals(), (1, 3));
        for n in [3, 1, 5] {
            assert!(queues.lock().as_mut().remove(&nodes[n]).is_some());
        }
        assert_eq!(queues.lock().totals(), (0, 0));
        Ok(())
    }

    #[test]
    fn a_node_has_one_item() -> Result {
        let (queues, other) = (queues()?, others()?);
        let nodes = nodes::<1>()?;
        let item = || Number {
            queue: 9,
            number: 9,
        };

        push(&queues, &nodes[0], 1, 1);
        assert!(other
            .lock()
            .as_mut()
            .push(&nodes[0], item(), |_, _| ())
            .is_err());
        assert!(other.lock().as_mut().remove(&nodes[0]).is_none());
        let mut with = 0u32;
        assert!(nodes[0].disarm(Pin::new(&mut with), item()).is_err());
        assert!(nodes[0].take_disarmed(Pin::new(&mut with)).is_none());
        assert!(queues.lock().as_mut().remove(&nodes[0]).is_some());
        assert!(nodes[0].disarm(Pin::new(&mut with), item()).is_ok());
        assert!(!nodes[0].is_queued());
        assert!(queues
            .lock()
            .as_mut()
            .push(&nodes[0], item(), |_, _| ())
            .is_err());
        assert_eq!(nodes[0].take_disarmed(Pin::new(&mut 0u32)), None);
        assert_eq!(nodes[0].take_disarmed(Pin::new(&mut with)), Some(item()));
        Ok(())
    }

    /// Each way to go on, from each place.
    #[test]
    fn cursors_go_on_to_who_was_next() -> Result {
        for at in 0..3usize {
            for how in 0..3 {
                let queues = queues()?;
                let nodes = nodes::<4>()?;
                let mut with = 0u32;

                push(&queues, &nodes[3], 8, 8);
                for n in 0..3 {
                    push(&queues, &nodes[n], 0, n as u32 + 1);
                }

                let mut guard = queues.lock();
                let mut cursor = guard.as_mut().find(&0).ok_or(EINVAL)?;
                for _ in 0..at {
                    cursor = cursor.next().ok_or(EINVAL)?;
                }
                let next = match how {
                    0 => cursor.remove().1,
                    1 => cursor.disarm(Pin::new(&mut with)),
                    _ => cursor.rotate(|_| ()),
                };
                let number = next.map_or(0, |cursor| cursor.item().number);
                drop(guard);

                assert_eq!(number, [2, 3, 0][at]);
                let left = [[23, 13, 12], [23, 13, 12], [231, 132, 123]][how][at];
                assert_eq!(digits(&queues, 0), left);
                assert_eq!(
                    nodes[at].take_disarmed(Pin::new(&mut with)).is_some(),
                    how == 1
                );
                for node in &nodes {
                    queues.lock().as_mut().remove(node);
                }
            }
        }
        Ok(())
    }

    #[test]
    fn rotating_goes_round() -> Result {
        let queues = queues()?;
        let nodes = nodes::<3>()?;

        for (n, node) in nodes.iter().enumerate() {
            push(&queues, node, 0, n as u32 + 1);
        }
        for expected in [231, 312, 123] {
            let mut guard = queues.lock();
            let first = guard.as_mut().find(&0).ok_or(EINVAL)?;
            first.rotate(|item| assert!(item.number != 0));
            drop(guard);
            assert_eq!(digits(&queues, 0), expected);
        }
        for node in &nodes {
            queues.lock().as_mut().remove(node);
        }
        Ok(())
    }

    /// Odd ones go; to a queue that is there or not, of the same or of other `Queues`.
    #[test]
    fn transfer() -> Result {
        for there in [false, true] {
            for across in [false, true] {
                let (queues, other) = (queues()?, others()?);
                let nodes = nodes::<6>()?;
                let to = if across { &other } else { &queues };

                if there {
                    push(to, &nodes[5], 1, 9);
                }
                for n in 0..5 {
                    push(&queues, &nodes[n], 0, n as u32 + 1);
                }
                let mut guard = queues.lock();
                let mut guard2 = across.then(|| other.lock());
                let other_rings = guard2.as_mut().map(|guard| guard.as_mut());
                let first = guard.as_mut().find(&0).ok_or(EINVAL)?;
                let stopped = first.transfer(other_rings, None, |item| match item.number {
                    4 => Transfer::Stop,
                    2 => Transfer::Stay,
                    _ => {
                        item.queue = 1;
                        Transfer::Move
                    }
                });
                assert_eq!(stopped.map(|cursor| cursor.item().number), Some(4));
                drop((guard2, guard));

                assert_eq!(digits(&queues, 0), 245);
                assert_eq!(digits(to, 1), if there { 913 } else { 13 });
                assert!(nodes.iter().take(5).all(|node| node.is_queued()));
                for node in &nodes {
                    queues.lock().as_mut().remove(node);
                    other.lock().as_mut().remove(node);
                }
            }
        }
        Ok(())
    }

    /// A mark before each item, while that and others go.
    #[test]
    fn a_mark_keeps_its_place() -> Result {
        for at in 0..3usize {
            for gone in 0..8u32 {
                let queues = queues()?;
                let nodes = nodes::<4>()?;

                for n in 0..3 {
                    push(&queues, &nodes[n], 0, n as u32 + 1);
                }
                let mut guard = queues.lock();
                let mut cursor = guard.as_mut().find(&0).ok_or(EINVAL)?;
                for _ in 0..at {
                    cursor = cursor.next().ok_or(EINVAL)?;
                }
                let mark = Number {
                    queue: 0,
                    number: 9,
                };
                assert!(cursor.insert(&nodes[3], mark).is_ok());
                assert_eq!(guard.totals(), (1, 4));
                drop(guard);
                assert_eq!(digits(&queues, 0), [9123, 1923, 1293][at]);

                for n in 0..3 {
                    if gone & 1 << n != 0 {
                        queues.lock().as_mut().remove(&nodes[n]);
                    }
                }
                let mut guard = queues.lock();
                let (mark, next) = guard.as_mut().at(&nodes[3]).ok_or(EINVAL)?.remove();
                assert_eq!(mark.number, 9);
                let expected = (at..3).find(|n| gone & 1 << n == 0);
                assert_eq!(
                    next.map(|cursor| cursor.item().number as usize),
                    expected.map(|n| n + 1)
                );
                drop(guard);
                assert!(queues.lock().as_mut().at(&nodes[3]).is_none());
                for node in &nodes {
                    queues.lock().as_mut().remove(node);
                }
                assert_eq!(queues.lock().totals(), (0, 0));
            }
        }
        Ok(())
    }

    #[test]
    fn a_mark_is_of_its_queue() -> Result {
        let queues = queues()?;
        let nodes = nodes::<2>()?;
        let mark = Number {
            queue: 1,
            number: 9,
        };

        push(&queues, &nodes[0], 0, 1);
        let mut guard = queues.lock();
        let first = guard.as_mut().find(&0).ok_or(EINVAL)?;
        assert!(first.insert(&nodes[1], mark).is_err());
        assert!(guard.as_mut().at(&nodes[1]).is_none());
        drop(guard);
        queues.lock().as_mut().remove(&nodes[0]);
        Ok(())
    }

    /// In two steps, to a queue that has others behind the place.
    #[test]
    fn transfer_to_a_place() -> Result {
        let (queues, other) = (queues()?, others()?);
        let nodes = nodes::<8>()?;

        for n in 0..4 {
            push(&queues, &nodes[n], 0, n as u32 + 1);
        }
        for (n, number) in [(4, 7), (5, 9), (6, 8)] {
            push(&other, &nodes[n], 1, number);
        }
        for left in [3, 4] {
            let mut guard = queues.lock();
            let mut guard2 = other.lock();
            let first = guard.as_mut().find(&0).ok_or(EINVAL)?;
            let stopped = first.transfer(Some(guard2.as_mut()), Some(&nodes[5]), |item| {
                if item.number == left {
                    return Transfer::Stop;
                }
                item.queue = 1;
                Transfer::Move
            });
            assert!(stopped.is_some());
        }
        assert_eq!(digits(&queues, 0), 4);
        assert_eq!(digits(&other, 1), 712398);
        assert_eq!(queues.lock().totals(), (1, 1));
        assert_eq!(other.lock().totals(), (1, 6));
        // Before the lead, and on another queue, is the end.
        for before in [4, 7] {
            let mut guard = queues.lock();
            let mut guard2 = other.lock();
            let Some(first) = guard.as_mut().find(&0) else {
                break;
            };
            let all = first.transfer(Some(guard2.as_mut()), Some(&nodes[before]), |item| {
                item.queue = 1;
                Transfer::Move
            });
            assert!(all.is_none());
        }
        assert_eq!(digits(&other, 1), 7123984);
        for node in &nodes {
            other.lock().as_mut().remove(node);
        }
        Ok(())
    }
}
